"""Exit codes: a shortage, a deadline and a defect are never taken for a difference."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from yolo_core.command import BAD_INPUT, DEFECT, LATE, SHORTAGE
from yolo_core.errors import ShortageError
from yolo_cvm import model
from yolo_cvm.cli import main


@pytest.mark.parametrize("command", ["inspect", "certify", "gas", "run"])
def test_a_command_gives_up_when_its_time_is_over(command: str, model_folder: Path) -> None:
    more = ["--input", str(model_folder / "input.npy")] if command == "run" else []
    arguments = [command, str(model_folder), *more, "--max-seconds"]
    late = CliRunner().invoke(main, [*arguments, "0.000001"])
    assert late.exit_code == LATE, late.output
    assert len(late.output.strip().splitlines()) == 1
    assert CliRunner().invoke(main, [*arguments, "600"]).exit_code == 0
    assert CliRunner().invoke(main, [*arguments, "0"]).exit_code == BAD_INPUT


@pytest.mark.parametrize("error", [MemoryError(), ShortageError("memory: too little")])
def test_a_shortage_has_its_own_code(
    error: MemoryError, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(model, "select", fail)
    done = CliRunner().invoke(main, ["certify", str(model_folder)])
    assert done.exit_code == SHORTAGE
    assert len(done.output.strip().splitlines()) == 1


def test_a_defect_has_its_own_code() -> None:
    script = (
        "import yolo_cvm.inspection, sys; yolo_cvm.inspection.figures = None\n"
        "from yolo_cvm.cli import main; main(['gas', sys.argv[1]])"
    )
    vectors = Path(__file__).parents[1] / "vectors" / "ops"
    target = next(path.parent for path in sorted(vectors.rglob("symbol")))
    done = subprocess.run(
        [sys.executable, "-c", script, str(target)], capture_output=True, text=True, check=False
    )
    assert done.returncode == DEFECT, done.stderr
    assert "Traceback" in done.stderr
