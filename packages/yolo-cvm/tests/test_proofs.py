"""The proofs take what they prove from today's sources; `nox -s prove` runs them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

PROOFS = Path(__file__).resolve().parents[1] / "proofs"
sys.path.insert(0, str(PROOFS))

from extract import ExtractError, harness  # noqa: E402

FILES = sorted(PROOFS.glob("*.c"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_a_proof_takes_is_there(path: Path) -> None:
    source = harness(path.read_text("utf-8"))
    assert "//@" not in source
    assert source.count("REACHED;") == 1
    assert "CLAIM(" in source or "static" in source


@pytest.mark.parametrize(
    ("directive", "message"),
    [
        ("//@ take arch/loops.h no_such_function", "0 functions are called"),
        ("//@ take arch/loops.h sum_row\n//@ loop sum_row 3: x", "has 2 loops, and no loop 3"),
        ("//@ take arch/loops.h sum_row\n//@ given sum_row: y = not there", "has no not there"),
        ("//@ loop sum_row 1: x", "has a contract and is not taken"),
        ("//@ lambda arch/loops.h unary_row 99 int32_t f(int32_t x)", "has 8 lambdas"),
        ("//@ constant plan.cpp kNone", "there is no constant"),
        ("//@ struct plan.h None", "there is no struct"),
        ("//@ prove it", "is no directive"),
    ],
)
def test_a_proof_of_what_is_gone_is_refused(directive: str, message: str) -> None:
    with pytest.raises(ExtractError, match=message):
        harness(directive)


def test_every_fault_has_its_place_and_its_proof() -> None:
    for fault in json.loads((PROOFS / "faults.json").read_text("utf-8")):
        assert fault["before"] in (PROOFS.parent / "native" / fault["file"]).read_text("utf-8")
        assert PROOFS / f"{fault['proof']}.c" in FILES


def test_every_proof_is_told_of() -> None:
    text = (PROOFS / "README.md").read_text("utf-8")
    assert [path.stem for path in FILES if f"`{path.stem}`" not in text] == []
