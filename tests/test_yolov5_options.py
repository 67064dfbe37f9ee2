"""The table of YOLOv5's options in the book tells what the commands take."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from commands import command_of
from yolo_train.cli import ABSENT

PAGE = Path(__file__).resolve().parents[1] / "docs" / "yolov5-options.md"
COMMANDS = {
    "train.py": ("yolo-train", "fit"),
    "val.py": ("yolo-eval", "coco"),
    "detect.py": ("yolo-eval", "detect"),
    "export.py": ("yolo-port", "convert"),
}


def rows(script: str) -> list[tuple[list[str], str, str]]:
    """Words of YOLOv5, what is typed here, and the remark, of each row below a heading."""
    part = PAGE.read_text("utf-8").split(f"## {script}")[1].split("\n## ")[0]
    lines = re.findall(r"^\| (`--.+?) \| ?(.*?) ?\| ?(.*?) ?\|$", part, flags=re.MULTILINE)
    return [(re.findall(r"`(--[^`]+)`", words), here, why) for words, here, why in lines]


def taken(package: str, name: str) -> set[str]:
    parameters = command_of(package).commands[name].params
    options = [option for option in parameters if isinstance(option, click.Option)]
    return {word for option in options for word in (*option.opts, *option.secondary_opts)}


def test_training_answers_an_absent_option_with_the_reason_of_the_table() -> None:
    table = {
        word: why for words, here, why in rows("train.py") if here == "absent" for word in words
    }
    assert ABSENT.items() <= table.items()
    for word, why in ABSENT.items():
        done = CliRunner().invoke(command_of("yolo-train"), ["fit", "--data", "x", word])
        assert (done.exit_code, why in done.output) == (2, True), done.output


@pytest.mark.parametrize("script", COMMANDS)
def test_every_row_tells_what_the_command_takes(script: str) -> None:
    options = taken(*COMMANDS[script])
    found = rows(script)
    assert found
    for words, here, why in found:
        if not here:
            assert set(words) <= options, words
            continue
        assert why or here != "absent", words
        assert not {word for word in words if " " not in word} & options, words
        named = re.findall(r"^`(--[a-z-]+)`$", here)
        assert set(named) <= options, here
