"""Training on batches of like shapes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from yolo_core.yolo.letterbox import read_image
from yolo_train.cli import main
from yolo_train.images import size_of
from yolo_train.learner import Learner
from yolo_train.rectangles import by_shape, rectangle


def fit(data: Path, project: Path, *words: str) -> Any:
    command = ["fit", "--data", str(data), "--project", str(project), "--imgsz", "64",
               "--batch-size", "8", "--nominal-batch", "16"]  # fmt: skip
    return CliRunner().invoke(main, [*command, *words])


def test_rectangular_training_shows_like_shapes_together(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    shutil.copytree(shapes.parent, data)
    for number, path in enumerate(sorted((data / "images" / "train").iterdir())):
        picture = read_image(path)
        cv2.imwrite(str(path), picture[:32] if number % 2 else picture[:, :40])
    learn, seen = Learner.learn, []

    def watched(learner: Learner, batch: Any, *words: Any) -> Any:
        seen.append(batch.images.shape[2:])
        return learn(learner, batch, *words)

    monkeypatch.setattr(Learner, "learn", watched)
    words = ("--epochs", "2", "--rect", "--optimizer", "sgd")
    for name, workers in (("a", "0"), ("b", "2")):
        result = fit(data / shapes.name, tmp_path, *words, "--name", name, "--workers", workers)
        assert result.exit_code == 0, result.output
    # 12 wide pictures and 12 high ones; the batch in the middle has both.
    assert sorted(seen[:3]) == [(32, 64), (64, 64), (64, 64)]
    assert seen[:6] == seen[6:]
    one, other = (tmp_path / name / "weights" / "last-0000.params" for name in "ab")
    assert one.read_bytes() == other.read_bytes()
    scaled = fit(data / shapes.name, tmp_path, *words, "--multi-scale", "--no-plots")
    assert scaled.exit_code == 0, scaled.output


def test_images_of_like_shape_share_a_rectangle_without_a_pixel_too_few() -> None:
    rng = np.random.default_rng(0)
    sizes = [(int(h), int(w)) for h, w in rng.integers(1, 2000, (400, 2))]
    order = by_shape(sizes)
    assert sorted(order) == list(range(400))
    for start in range(0, 400, 8):
        members = [sizes[number] for number in order[start : start + 8]]
        height, width = rectangle(members, 320, 32)
        scaled = np.array([size_of(size, 320) for size in members])
        assert (scaled <= (height, width)).all()
        assert (scaled.max(0) > (height - 32, width - 32)).all()
