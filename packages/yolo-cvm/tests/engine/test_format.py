"""The table of the engine's format: both sides agree on it, and every row has a meaning."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from yolo_cvm.engine import format as table
from yolo_cvm.engine import library

NATIVE = Path(__file__).resolve().parents[2] / "native"
compiled = pytest.mark.skipif(
    not library.instruction_sets(), reason="the package was installed without a compiler"
)


@compiled
def test_the_library_was_compiled_from_this_table() -> None:
    opened = library.opened()
    assert opened is not None
    assert opened.cvm_format() == table.FINGERPRINT


def test_a_library_of_another_table_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "FINGERPRINT", table.FINGERPRINT + 1)
    library.find.cache_clear()
    assert library.opened() is None
    assert "another version" in library.absence()
    monkeypatch.undo()
    library.find.cache_clear()


ABSENT = """
import pathlib, sys, pytest
from yolo_cvm.engine import library
library.path = lambda: pathlib.Path("absent")
sys.exit(pytest.main(["--collect-only", "-q", sys.argv[1]]))
"""


@pytest.mark.parametrize(("wish", "code"), [("required", 4), ("", 0)])
def test_ci_fails_where_the_library_does_not_load(wish: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ABSENT, __file__],
        env={**os.environ, "YOLO_CVM_NATIVE": wish}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert ("YOLO_CVM_NATIVE requires it" in done.stderr) == bool(code)


def test_every_row_has_fields_and_a_meaning_in_cpp() -> None:
    assert set(table.STEPS) == set(table.Step)
    assert set(table.TILES) == set(table.Tile)
    sources = "".join(path.read_text("utf-8") for path in sorted(NATIVE.glob("*.cpp")))
    made = set(re.findall(r"CVM_STEP\((\w+),", sources)) | set(
        re.findall(r"> make_(\w+)\(W", sources)
    )
    assert {step.name.lower() for step in table.Step} <= made
    kernels = (NATIVE / "arch" / "tile_ops.h").read_text("utf-8")
    for tile in table.Tile:
        name = "".join(part.capitalize() for part in tile.name.split("_"))
        assert f"case k{name}:" in kernels, tile


def test_code_comes_last() -> None:
    for fields in table.STEPS.values():
        assert all(field.kind != table.CODE for field in fields[:-1])


def test_the_headers_name_every_step_and_operation() -> None:
    text = table.header() + table.fields_header()
    for name in [*table.Step.__members__, *table.Tile.__members__]:
        assert "".join(part.capitalize() for part in name.split("_")) + "Fields" in text
    assert str(table.FINGERPRINT) in text
