"""The `yolo-core` command as a user types it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from core_samples import random_parameters

from yolo_core.cli import main
from yolo_core.mxnet.checkpoint import Checkpoint, write_checkpoint
from yolo_core.yolo.architecture import Architecture


def run(*arguments: str) -> Any:
    return CliRunner().invoke(main, list(arguments))


def test_architecture() -> None:
    result = run("architecture", "yolov5n")
    assert result.exit_code == 0
    assert "1,872,157 parameters, 60 convolutions, 2.23 GMAC and 25,200 rows" in result.output


def test_checkpoint(tmp_path: Path) -> None:
    architecture = Architecture.named("n", names=["cat"])
    write_checkpoint(
        tmp_path / "w", Checkpoint(architecture, random_parameters(architecture, True), True)
    )
    result = run("checkpoint", str(tmp_path / "w"))
    assert result.exit_code == 0
    assert "1 classes: cat" in result.output
    assert "folded" in result.output


def test_dataset(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "labels" / "a.txt").write_text("0 .5 .5 .5 .5\n1 .5 .5 .1 .1\n")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cat, dog]\n")
    result = run("dataset", str(tmp_path / "data.yaml"))
    assert "train: 2 images (1 without a label file), 2 boxes: cat 1, dog 1\n" in result.output


def test_bad_input_is_one_line_and_code_2(tmp_path: Path) -> None:
    for arguments, word in [
        (["architecture", "yolov9"], "yolov5n, s, m, l or x"),
        (["architecture", "yolov5n", "--imgsz", "0"], "multiples of 32"),
        (["checkpoint", str(tmp_path / "none")], "does not exist"),
        (["dataset", str(tmp_path)], "is a folder"),
    ]:
        result = run(*arguments)
        assert result.exit_code == 2
        assert result.output.startswith("Error: ")
        assert len(result.output.splitlines()) == 1
        assert word in result.output


def checked(folder: Path, text: str) -> str:
    """What `dataset check` tells of a data.yaml of this text, beside a folder of one picture."""
    (folder / "pictures").mkdir()
    cv2.imwrite(str(folder / "pictures" / "a.png"), np.zeros((8, 8, 3), np.uint8))
    data = folder / "data.yaml"
    data.write_text(text)
    done = run("dataset", "check", str(data))
    assert done.exit_code == 0, done.output
    return str(done.output)


def test_the_name_of_an_absent_folder_is_escaped(tmp_path: Path) -> None:
    told = checked(tmp_path, 'train: "a\\e[2J\\0\\nproven"\nval: pictures\nnames: [a]\n')
    assert all(line.isprintable() for line in told.split("\n"))
    assert r"a\x1b[2J\x00\nproven as `train`, which does not exist" in told


def test_a_check_names_the_key_that_yolov5_does_not_read(tmp_path: Path) -> None:
    told = checked(tmp_path, "train: pictures\nvalid: valid\nnames: [a]\n")
    assert "val: has no `val` but `valid`, which YOLOv5 does not read" in told


@pytest.mark.parametrize("words", [["architecture", "n"], ["checkpoint"], []])
def test_a_word_too_many_is_repeated_on_one_line(words: list[str]) -> None:
    hostile = "a\x9b2J\u202e\nproven: all is well"
    done = CliRunner().invoke(main, [*words, "x", hostile, f"--{hostile}"])
    assert done.exit_code == 2
    assert all(line.isprintable() for line in done.output.split("\n"))
    assert not any(line.startswith("proven") for line in done.output.split("\n"))
