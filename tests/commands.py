"""The commands as a user has them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
