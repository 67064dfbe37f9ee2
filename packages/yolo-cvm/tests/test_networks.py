"""Every command on networks that are no detectors: each works, or ends in one line.

On the networks that come with the package, and on those of the original where they are at hand.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from yolo_core.command import BAD_INPUT
from yolo_cvm.cli import main

PACKAGE = Path(__file__).parents[1]


def _networks() -> Iterator[Path]:
    yield from sorted((PACKAGE / "vectors" / "network").iterdir())
    shared = Path(os.environ.get("YOLO_SHARED") or PACKAGE.parents[2] / "shared")
    zoo = shared / "cases" / "zoo"
    yield from sorted(p.parent for p in zoo.glob("*/symbol"))


def _ends(*arguments: object) -> int:
    """Runs a command; it is done, or names what is wrong in one line."""
    done = CliRunner().invoke(main, [str(a) for a in arguments])
    assert done.exit_code in (0, BAD_INPUT), (arguments, done.output, done.exception)
    if done.exit_code:
        told = [line for line in done.output.splitlines() if not line.startswith("warning")]
        assert len(told) == 1, (arguments, done.output)
    return done.exit_code


def _loads(folder: Path) -> bool:
    return _ends("inspect", "--compat", folder) == 0


@pytest.mark.parametrize("folder", [pytest.param(p, id=p.name) for p in _networks()])
def test_every_command_works_or_says_why_not(folder: Path, tmp_path: Path) -> None:
    given = folder / "input.npy"
    model = tmp_path / "model"
    model.mkdir()
    for name in ("symbol", "params", "ext"):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, model / name)
    loads = _loads(model)
    assert loads == ("refused" not in folder.name)
    for arguments in (
        ["inspect", "--nodes"], ["inspect", "--plan"], ["inspect", "--plan", "--after", "chains"],
        ["inspect", "--engine"], ["certify", "--nodes"], ["model-meta"],
    ):  # fmt: skip
        _ends(*arguments, model)
    _ends("gas", "--json", model)
    for picture in (tmp_path / "none.png", given):
        for more in (["detect"], ["encode", "--out", tmp_path / "encoded"]):
            assert _ends(*more, model, picture) == BAD_INPUT
    _ends("contract", model, "--out", tmp_path / "contract")
    _ends("plan", "--compat", model, "--out", tmp_path / "plan")
    if not loads or not given.is_file():
        return
    answer, receipt = tmp_path / "answer", tmp_path / "receipt.json"
    run = ["run", "--compat", model, "--output"]
    assert _ends(*run, tmp_path / "y.npy", "--input", given, "--receipt", receipt) == 0
    (tmp_path / "x").write_bytes(np.load(given).tobytes())
    assert _ends(*run, answer, "--input", tmp_path / "x", "--bytes", "c") == 0
    assert _ends("verify", "--compat", receipt, model, "--input", given) == 0
    _ends("decode", model, answer)
    expected = folder / "output_c_0.npy"
    if expected.is_file():
        assert answer.read_bytes() == np.load(expected).tobytes()
    if _ends("bundle", model, "--out", tmp_path / "bundle") == 0:
        assert _ends("bundle", "--check", tmp_path / "bundle") == 0
        bundled = ["run", tmp_path / "bundle", "--input", given, "--output", tmp_path / "z.npy"]
        assert _ends(*bundled) == 0
