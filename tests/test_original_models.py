"""Models of the original toolchain are scored like ours: a baseline to compare with."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from commands import invoke

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "packages/yolo-cvm/tests"))

from cvm_samples import original_detector


def _dataset(folder: Path, names: list[str]) -> None:
    """Two grey pictures in which the whole is an object of class 1."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for number in range(2):
        grey = np.full((64, 64, 3), 100 + number, np.uint8)
        assert cv2.imwrite(str(folder / "images" / f"{number}.png"), grey)
        (folder / "labels" / f"{number}.txt").write_text("1 0.5 0.5 1 1\n")
    text = {"path": ".", "train": "images", "val": "images", "names": names}
    (folder / "data.yaml").write_text(json.dumps(text))


def _scored(words: str, folder: Path) -> dict[str, object]:
    result = invoke(f"yolo-eval coco {words} --data d/data.yaml --json r.json", folder)
    assert result.exit_code == 0, result.output
    run: dict[str, object] = json.loads((folder / "r.json").read_text())
    return run


def test_three_heads_with_the_original_ext_are_scored(tmp_path: Path) -> None:
    original_detector(tmp_path / "m")
    _dataset(tmp_path / "d", ["class0", "class1"])
    run = _scored("m", tmp_path)
    found = invoke("yolo-cvm detect m d/images/0.png --json", tmp_path)
    (record,) = json.loads(found.output)
    (box,) = record["detections"]
    predictions = run["predictions"]
    assert isinstance(predictions, list)
    assert [(row["image_id"], row["category_id"]) for row in predictions] == [(1, 2), (2, 2)]
    x, y, width, height = predictions[0]["bbox"]
    np.testing.assert_allclose([x, y, x + width, y + height], box["box"], atol=0.01)
    assert predictions[0]["score"] == pytest.approx(box["score"], abs=1e-4)


def test_the_original_yolov5n_is_scored(shared: Path, tmp_path: Path) -> None:
    _dataset(tmp_path / "d", [f"c{number}" for number in range(80)])
    run = _scored(str(shared / "golden" / "network" / "yolov5n_64"), tmp_path)
    model = run["model"]
    assert isinstance(model, dict)
    assert (model["kind"], model["imgsz"]) == ("integer", [64, 64])
