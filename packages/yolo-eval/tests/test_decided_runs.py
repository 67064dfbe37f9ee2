"""Models that decide by themselves: settings recorded as decided, and never mixed in silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command import run

from yolo_core.errors import InputError
from yolo_eval.figures.compare import compare, read_runs

OWN = {"conf": 0.25, "iou": 0.45, "max_det": 100, "multi_label": False, "agnostic": False}


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


@pytest.mark.parametrize(
    ("options", "key", "told"),
    [
        (("--conf", 0.25), "conf", "confidence is 0.001 in A, 0.25 in B"),
        (("--iou", 0.45), "iou", "IoU of suppression is 0.6 in A, 0.45 in B"),
        (("--max-det", 100), "max_det", "boxes per image is 300 in A, 100 in B"),
        (("--imgsz", 96), "imgsz", "input size is 64x64 in A, 96x96 in B"),
        (("--squash",), "mode", "resize is letterbox in A, squash in B"),
        (("--classes", "red,blue"), "classes", "choice of classes is all in A, 2 (blue, red) in B"),
        (("--rows",), None, ""),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, tuple) else "",
)
def test_runs_of_different_settings_are_refused_or_told_everywhere(
    model: Callable[..., Path],
    shapes: Path,
    tmp_path: Path,
    options: tuple[object, ...],
    key: str | None,
    told: str,
) -> None:
    models = model("a.fake"), model("b.fake", kind="integer")
    coco(models[0], shapes)
    coco(models[1], shapes, *options)
    files = [one.with_suffix(".json") for one in models]
    command = ("compare", "--no-measure", *files, "--out", tmp_path / "cmp", "--resamples", 10)
    refused = run(*command)
    if key is None:
        assert refused.exit_code == 0, refused.output
        return
    assert refused.exit_code == 2
    by_file = told.replace("A", str(files[0])).replace("B", str(files[1]))
    assert by_file in refused.output
    assert "--different-settings" in refused.output
    assert not (tmp_path / "cmp").exists()

    result = run(*command, "--different-settings")
    assert result.exit_code == 0, result.output
    by_label = told.replace("in A", "in yolov5n float").replace("in B", "in yolov5n integer")
    page = (tmp_path / "cmp" / "report.html").read_text()
    summary = (tmp_path / "cmp" / "summary.md").read_text()
    by_label = by_label.replace("is all in", "is 3 (blue, green, red) in")
    name = told.split(" is ", maxsplit=1)[0]
    heading = f"What changed between runs of different settings: {name}"
    for text in (result.output, page, summary):
        assert by_label in text
        assert heading in text
    metrics = json.loads((tmp_path / "cmp" / "metrics.json").read_text())
    assert list(metrics["different_settings"]) == [key]


def test_the_library_refuses_different_settings_too(
    model: Callable[..., Path], shapes: Path
) -> None:
    models = model("a.fake"), model("b.fake", kind="integer", decides=OWN)
    for one in models:
        coco(one, shapes)
    files = [one.with_suffix(".json") for one in models]
    with pytest.raises(InputError, match="confidence is"):
        read_runs(files, None)
    found = compare(read_runs(files, None, different=True), resamples=2)
    assert [different.key for different in found.different_settings()] == [
        "conf", "iou", "max_det", "multi_label"
    ]  # fmt: skip


def test_equal_settings_need_no_words(
    model: Callable[..., Path], shapes: Path, tmp_path: Path
) -> None:
    both = {"conf": 0.001, "iou": 0.6, "max_det": 300}
    models = model("a.fake"), model("b.fake", kind="integer", decides=both)
    for one in models:
        coco(one, shapes)
    files = [one.with_suffix(".json") for one in models]
    result = run("compare", "--no-measure", *files, "--out", tmp_path / "cmp", "--resamples", 10)
    assert "different settings" not in result.output
    metrics = json.loads((tmp_path / "cmp" / "metrics.json").read_text())
    assert metrics["different_settings"] == {}
