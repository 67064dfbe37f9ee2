"""A whole run, in the commands a user types, on the datasets that other tools export."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from commands import invoke
from yolo_core.arrays import Array

WIDTH, HEIGHT = 80, 60


def picture(seed: int) -> tuple[Array, list[tuple[int, list[float]]]]:
    """A picture, and of its two objects the class and the corners as shares of the picture."""
    rng = np.random.default_rng(seed)
    image = rng.integers(90, 140, (HEIGHT, WIDTH, 3), np.uint8)
    objects = []
    for label in (seed % 3, (seed + 1) % 3):
        w, h = (int(rng.integers(16, side // 2)) for side in (WIDTH, HEIGHT))
        x, y = int(rng.integers(0, WIDTH - w)), int(rng.integers(0, HEIGHT - h))
        corners = np.array([[x + w // 2, y], [x + w, y + h], [x, y + h]])
        cv2.fillPoly(image, [corners.astype(np.int32)], (40 + 90 * label, 200, 60))
        objects.append((label, (corners / [WIDTH, HEIGHT]).ravel().tolist()))
    return image, objects


def box_row(label: int, corners: list[float]) -> str:
    x, y = np.array(corners[::2]), np.array(corners[1::2])
    sides = ((x.min() + x.max()) / 2, (y.min() + y.max()) / 2, np.ptp(x), np.ptp(y))
    return " ".join([str(label), *(f"{side:.6f}" for side in sides)])


def export(folder: Path, outlines: bool) -> None:
    """Roboflow's layout with boxes; or a list with outlines, as Windows writes it."""
    for split, first in (("train", 0), ("valid", 50)):
        images = folder / split / "images"
        labels = folder / split / "labels"
        for place in (images, labels):
            place.mkdir(parents=True)
        for seed in range(first, first + 3):
            image, objects = picture(seed)
            name = f"bild {seed} é_jpg.rf.{seed}"
            cv2.imencode(".jpg", image)[1].tofile(images / f"{name}.jpg")
            rows = [
                f"{label} " + " ".join(f"{side:.6f}" for side in corners) if outlines
                else box_row(label, corners) for label, corners in objects
            ]  # fmt: skip
            (labels / f"{name}.txt").write_bytes(("\r\n".join(rows)).encode())
    names = "nc: 3\r\nnames: ['circle', 'square', 'triangle']\r\n"
    if outlines:
        lines = sorted(f".\\train\\images\\{p.name}" for p in (folder / "train/images").iterdir())
        (folder / "train.txt").write_bytes("\r\n".join(lines).encode("utf-8-sig"))
        text = f"train: train.txt\r\nval: valid\\images\r\n{names}"
    else:
        text = (
            f"train: ../train/images\r\nval: ../valid/images\r\ntest: ../test/images\r\n\r\n{names}"
        )
        text += "\r\nroboflow:\r\n  workspace: w\r\n  url: https://example.org\r\n"
    (folder / "data.yaml").write_bytes(text.encode("utf-8-sig"))


@pytest.mark.parametrize("outlines", [False, True], ids=["boxes", "outlines"])
def test_from_an_export_to_a_bundle(work: Path, tmp_path: Path, outlines: bool) -> None:
    shutil.copytree(work / "w", tmp_path / "w")
    export(tmp_path / "set", outlines)

    def do(words: str) -> str:
        result = invoke(words, tmp_path)
        assert result.exit_code == 0, result.output
        return result.output

    assert "train: 3 images (0 without a label file), 6 boxes" in do(
        "yolo-core dataset set/data.yaml"
    )
    do("yolo-core dataset convert set/data.yaml --out coco")
    segments = "--segments" if outlines else ""
    do("yolo-core dataset convert coco/train.json coco/val.json --images set/train/images "
       f"--images set/valid/images --out yolo {segments}")  # fmt: skip
    do("yolo-mrt quantize w/n --data yolo/data.yaml --imgsz 64 --num-calib 2 --out q")
    truths = "--data set/data.yaml", "--data yolo/data.yaml", (
        "--images set/valid/images --annotations coco/val.json"
    )  # fmt: skip
    runs = []
    for number, truth in enumerate(truths):
        do(f"yolo-eval coco q {truth} --json {number}.json")
        runs.append(json.loads((tmp_path / f"{number}.json").read_text()))
    for run in runs[1:]:
        assert run["predictions"] == runs[0]["predictions"]
        assert run["metrics"] == runs[0]["metrics"]
        for one, other in zip(run["annotations"], runs[0]["annotations"]):
            assert one["bbox"] == pytest.approx(other["bbox"], abs=1e-3)
    assert len(runs[0]["annotations"]) == 6
    do("yolo-cvm detect q set/valid/images --out found --save-txt")
    pictures = {path.name for path in (tmp_path / "set/valid/images").iterdir()}
    assert pictures < {path.name for path in (tmp_path / "found").iterdir()}
    do("yolo-cvm bundle q --metrics 0.json --out bundle")
    do("yolo-cvm bundle --check bundle")
