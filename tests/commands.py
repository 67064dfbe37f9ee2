"""The commands as a user has them."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import click
from click.testing import CliRunner, Result

PACKAGES = ("yolo-core", "yolo-train", "yolo-port", "yolo-mrt", "yolo-cvm", "yolo-eval")
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


def command_of(package: str) -> click.Group:
    group: click.Group = importlib.import_module(package.replace("-", "_") + ".cli").main
    return group


def invoke(words: str, folder: Path) -> Result:
    package, *rest = words.split()
    before = Path.cwd()
    os.chdir(folder)
    try:
        return CliRunner().invoke(command_of(package), rest)
    finally:
        os.chdir(before)


def all_commands(group: click.Group, prefix: str) -> list[str]:
    names = []
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            names += all_commands(command, f"{prefix} {name}")
        else:
            names.append(f"{prefix} {name}")
    return names
