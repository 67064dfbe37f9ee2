"""What every command of every package has: the same help, version and ways of telling."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from commands import PACKAGES, all_commands, command_of
from yolo_core.front.cli import main as front
from yolo_core.front.wishes import WISHES, answering


def leaves() -> list[Any]:
    """(name, command) of all commands, those of `yolo` too."""
    found: list[Any] = []
    for package in PACKAGES:
        for name in all_commands(command_of(package), package):
            command: Any = command_of(package)
            for word in name.split()[1:]:
                command = command.commands[word]
            found.append(pytest.param(name, command, id=name))
    for word in WISHES:
        command = answering(word)
        if not isinstance(command, click.Group):
            found.append(pytest.param(f"yolo {word}", command, id=f"yolo {word}"))
    return found + [
        pytest.param(f"yolo {word}", command, id=f"yolo {word}")
        for word, command in front.commands.items()
    ]


@pytest.mark.parametrize(("name", "command"), leaves())
def test_every_command_has_the_same_options(name: str, command: click.Command) -> None:
    context = click.Context(command, info_name=name, **front.context_settings)
    words = {word for option in command.get_params(context) for word in option.opts}
    assert {"--json", "--quiet", "--log-file", "--version", "-h", "--help"} <= words
    text = command.get_help(context)
    first = text.split("\n\n")[1].strip()
    assert first.endswith((".", "…")) or ":" in first, first


@pytest.mark.parametrize("group", [front, *map(command_of, PACKAGES)])
def test_a_group_alone_shows_its_help(group: click.Command) -> None:
    told = CliRunner().invoke(group, [])
    asked = CliRunner().invoke(group, ["--help"])
    assert told.output.rstrip("\n") == asked.output.rstrip("\n")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_a_module_to_run(package: str, tmp_path: Path) -> None:
    module = [sys.executable, "-m", package.replace("-", "_")]
    told = subprocess.run([*module, "--version"], capture_output=True, text=True, cwd=tmp_path)
    assert re.fullmatch(rf"{package}, version \d+\.\d+\.\d+\n", told.stdout), told


def test_json_on_a_real_command(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "yolo_train", "shapes", "--out", "s", "--images", "10"]
    done = subprocess.run([*words, "--imgsz", "32", "--json"], capture_output=True, cwd=tmp_path)
    record = json.loads(done.stdout)
    assert record["result"] == {"data": "s/data.yaml"}
    assert record["exit_code"] == 0
