"""The command lines of the README, run literally and in order in one folder."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from fake_predictor import README_MODELS

from yolo_eval.cli import main

README = Path(__file__).parents[1] / "README.md"


def lines() -> list[str]:
    """All lines but those of `table`, which trains nothing and measures for minutes."""
    text = README.read_text(encoding="utf-8")
    blocks = re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)
    found = re.findall(r"^\$ yolo-eval (.*)$", "\n".join(blocks), flags=re.MULTILINE)
    return [line for line in found if not line.startswith("table")]


def furnish(folder: Path, shapes: Path) -> None:
    """The files that the README takes for granted: models, a data set, pictures, a film."""
    for name, options in zip(README_MODELS, ({}, {"kind": "integer", "score": 0.8})):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(json.dumps(options))
    shutil.copytree(shapes / "images/val", folder / "val/images")
    (folder / "data.yaml").write_text((shapes / "data.yaml").read_text() + f"path: {shapes}\n")
    images = [
        {"id": number, "file_name": path.name, "width": 64, "height": 64}
        for number, path in enumerate(sorted((folder / "val/images").iterdir()), 1)
    ]
    note = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 12, 12]}
    content = {
        "images": images,
        "categories": [{"id": 1, "name": "red"}],
        "annotations": [{**note, "area": 144, "iscrowd": 0}],
    }
    (folder / "val/instances.json").write_text(json.dumps(content))
    picture = np.full((64, 64, 3), 114, dtype=np.uint8)
    (folder / "holiday").mkdir()
    for name in ("bus.jpg", "holiday/1.jpg", "holiday/2.jpg"):
        cv2.imwrite(str(folder / name), picture)
    film = cv2.VideoWriter(str(folder / "drive.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 64))
    for _ in range(3):
        film.write(picture)
    film.release()


def test_every_line_runs_as_printed(
    shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(tmp_path, shapes)
    monkeypatch.chdir(tmp_path)
    shown = lines()
    assert {line.split()[0] for line in shown} >= {"coco", "compare", "score", "merge", "detect"}
    for line in shown:
        result = CliRunner().invoke(main, shlex.split(line))
        assert result.exit_code == 0, f"{line}: {result.output}"
    for name in ("runs/compare/report.html", "runs/eval/yolov5n.html", "line.txt", "quant.json"):
        assert (tmp_path / name).is_file(), name
