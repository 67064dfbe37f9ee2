"""Models that decide by themselves: settings recorded as decided, and never mixed in silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from yolo_eval.cli import main

OWN = {"conf": 0.25, "iou": 0.45, "max_det": 100, "multi_label": False, "agnostic": False}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def coco(model: Path, shapes: Path, *options: object) -> dict[str, Any]:
    """The run file of a model."""
    out = model.with_suffix(".json")
    result = run("coco", model, "--data", shapes / "data.yaml", "--json", out, *options)
    assert result.exit_code == 0, result.output
    content: dict[str, Any] = json.loads(out.read_text())
    return content


def test_settings_are_recorded_as_decided(model: Callable[..., Path], shapes: Path) -> None:
    boxes = model("boxes.fake", kind="integer", decides=OWN)
    assert coco(boxes, shapes)["settings"] == {"mode": "letterbox", **OWN, "decided": "graph"}
    stricter = coco(boxes, shapes, "--conf", 0.5)["settings"]
    assert stricter["conf"] == 0.5
    rows = coco(boxes, shapes, "--rows")["settings"]
    assert (rows["conf"], rows["iou"], rows["multi_label"]) == (0.001, 0.6, True)
    assert "decided" not in rows


def test_other_settings_than_built_in_are_refused(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    boxes = model("boxes.fake", kind="integer", decides=OWN)
    for option in ("--conf", 0.001), ("--iou", 0.6), ("--max-det", 300):
        result = run("coco", boxes, "--data", shapes / "data.yaml", *option)
        assert result.exit_code == 2
        assert "graph decides by" in result.output
    picture = next((shapes / "images" / "val").iterdir())
    result = run("detect", boxes, picture, "--out", tmp_path / "out", "--iou", 0.7)
    assert result.exit_code == 2
    assert run("detect", boxes, picture, "--out", tmp_path / "out").exit_code == 0


def test_different_settings_are_said(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    models = model("a.fake"), model("b.fake", kind="integer", decides=OWN)
    for one in models:
        coco(one, shapes)
    files = [one.with_suffix(".json") for one in models]
    result = run("compare", *files, "--out", tmp_path / "cmp", "--resamples", 10)
    assert "conf is 0.001 in yolov5n float, 0.25 in yolov5n integer" in result.output
    metrics = json.loads((tmp_path / "cmp" / "metrics.json").read_text())
    assert metrics["different_settings"]["max_det"] == [300, 100]
    assert "different settings" in (tmp_path / "cmp" / "report.html").read_text()


def test_equal_settings_need_no_words(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    both = {"conf": 0.001, "iou": 0.6, "max_det": 300}
    models = model("a.fake"), model("b.fake", kind="integer", decides=both)
    for one in models:
        coco(one, shapes)
    files = [one.with_suffix(".json") for one in models]
    result = run("compare", *files, "--out", tmp_path / "cmp", "--resamples", 10)
    assert "different settings" not in result.output
    metrics = json.loads((tmp_path / "cmp" / "metrics.json").read_text())
    assert metrics["different_settings"] == {}
