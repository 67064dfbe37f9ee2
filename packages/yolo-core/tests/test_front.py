"""The command `yolo`: it finds the packages' commands, and tells what is missing."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from yolo_core.errors import InputError
from yolo_core.front import wishes
from yolo_core.front.cli import main
from yolo_core.front.report import plan


def test_the_help_names_every_word_without_loading_a_package() -> None:
    result = CliRunner().invoke(main, ["-h"])
    assert result.exit_code == 0
    for word in (*wishes.WISHES, "report", "checks"):
        assert f"\n  {word} " in result.output


def test_a_missing_package_is_told_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wishes, "installed", lambda group: [])
    result = CliRunner().invoke(main, ["quantize", "x"])
    assert result.exit_code == 2
    assert "pip install yolo-mrt" in result.output


def test_the_first_package_that_is_installed_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        name, value = "detect", "yolo_cvm.cli:detect"

        @staticmethod
        def load() -> click.Command:
            return click.Command("of yolo-cvm")

    monkeypatch.setattr(wishes, "installed", lambda group: [Point])
    assert wishes.answering("detect").name == "of yolo-cvm"


def test_checks_tell_versions_processor_and_fonts() -> None:
    result = CliRunner().invoke(main, ["checks"])
    assert result.exit_code == 0, result.output
    for label in ("python", "yolo-core", "numpy", "processor", "instructions", "cores", "fonts"):
        assert f"\n{label} " in f"\n{result.output}"


def test_the_steps_of_foreign_weights_begin_with_their_conversion(tmp_path: Path) -> None:
    weights = tmp_path / "yolov5n.pt"
    weights.write_bytes(b"")
    steps = plan(weights, tmp_path / "data.yaml", tmp_path / "out", 320, "normal", 2)
    assert [step.package for step in steps] == [
        "yolo-port", "yolo-mrt", "yolo-eval", "yolo-eval", "yolo-eval",
    ]  # fmt: skip
    assert steps[1].words[1] == str(tmp_path / "out" / "weights" / "yolov5n")
    assert steps[1].words[-2:] == ("--imgsz", "320")


def test_weights_that_are_none_are_refused_before_any_step(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a checkpoint nor"):
        plan(tmp_path / "nothing", tmp_path / "data.yaml", None, None, "normal", 1)
