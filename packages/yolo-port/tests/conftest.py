"""Where the real data is, and small helpers that every test of yolo-port shares."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from yolo_port.cli import main


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data; the test is skipped where it is not."""
    path = Path(os.environ.get("YOLO_SHARED", Path(__file__).parents[4] / "shared")) / "data"
    if not (path / "yolov5n.pt").is_file():
        pytest.skip("the real yolov5n.pt is not here (set YOLO_SHARED)")
    return path


@pytest.fixture
def run() -> Any:
    """Call the command line: run("convert", path, …) → click's result."""

    # click 8.2 always keeps the two streams apart; before, it had to be asked.
    old = "mix_stderr" in inspect.signature(CliRunner).parameters
    options: dict[str, Any] = {"mix_stderr": False} if old else {}
    runner = CliRunner(**options)

    def call(*arguments: object) -> Any:
        return runner.invoke(main, [str(argument) for argument in arguments])

    return call
