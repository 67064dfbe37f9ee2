"""What the tests across packages share: the commands as a user has them, and the real data."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = Path(sys.executable).parent


def run(*arguments: object, cwd: Path | None = None, code: int = 0) -> str:
    """Run one of our commands as a process; its output, both streams. Asserts the exit code."""
    name, *rest = (str(argument) for argument in arguments)
    done = subprocess.run(
        [str(COMMANDS / name), *rest],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == code, f"{name} {rest}: exit code {done.returncode}\n{done.stdout}"
    return done.stdout


@pytest.fixture(scope="session")
def shared() -> Path:
    """The real checkpoint and images; not part of the repository."""
    folder = os.environ.get("YOLO_SHARED")
    if not folder or not Path(folder).is_dir():
        pytest.skip("YOLO_SHARED names no folder with the real data")
    return Path(folder)
