"""Every command that a README shows exists, with the options shown."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from commands import run

ROOT = Path(__file__).resolve().parents[1]
READMES = [ROOT / "README.md", *sorted(ROOT.glob("packages/*/README.md"))]


def commands(text: str) -> list[Any]:
    """Lines of code blocks that begin with one of our commands, continuation lines joined."""
    fenced = re.findall(r"```[a-z]*\n(.*?)```", text, flags=re.DOTALL)
    indented = re.findall(r"^(?: {4}.*\n)+", text, flags=re.MULTILINE)
    lines = "\n".join(fenced + indented).replace("\\\n", " ").splitlines()
    found = [re.sub(r"^\$ ", "", line.strip()) for line in lines]
    return [line for line in found if re.match(r"yolo-(core|train|port|mrt|cvm|eval) [a-z]", line)]


def shown() -> list[Any]:
    """README and each of its distinct commands."""
    return [
        pytest.param(command, id=f"{readme.parent.name}:{command:.60}")
        for readme in READMES
        for command in sorted(set(commands(readme.read_text(encoding="utf-8"))))
    ]


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.parent.name)
def test_every_readme_shows_commands(readme: Any) -> None:
    assert commands(readme.read_text(encoding="utf-8")) or readme == READMES[0]


@pytest.mark.parametrize("command", shown())
def test_commands_of_the_readme_exist(command: Any) -> None:
    words = shlex.split(command, comments=True)
    words = words[: words.index("--") + 1] if "--" in words else words
    help_text = run(words[0], words[1], "--help")
    if "COMMAND [ARGS]" in help_text:  # a group: `yolo-core dataset check`
        help_text = run(*words[:3], "--help")
    for option in (word.partition("=")[0] for word in words[2:] if re.match("--?[a-z]", word)):
        assert re.search(rf"(^|[\s,/]){re.escape(option)}\b", help_text), f"{option} in {command}"
