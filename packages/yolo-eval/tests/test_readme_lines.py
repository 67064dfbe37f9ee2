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


#: Beginnings of printed lines that are of COCO, or of what only real models are measured by.
OF_REAL_DATA = ("AP 29.46", "yolov5n integer scores")


def examples() -> list[tuple[str, list[str]]]:
    """All lines but those of `table`, which trains nothing and measures for minutes, each with the
    lines that are shown as its output."""
    text = README.read_text(encoding="utf-8")
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL):
        for line in filter(None, map(str.strip, block.splitlines())):
            if line.startswith("$ yolo-eval "):
                found.append((line[len("$ yolo-eval ") :], []))
            else:
                found[-1][1].append(line)
    return [example for example in found if not example[0].startswith("table")]


def form(line: str) -> str:
    """A line without its numbers and digests."""
    line = re.sub(r"\b(?=[0-9a-f]*[0-9])[0-9a-f]{8,}\b", "#", line)
    line = re.sub(r"[+\N{MINUS SIGN}-]?\d[\d,.]*|n/a", "#", line)
    return " ".join(line.split())


def pattern(line: str) -> re.Pattern[str]:
    """What a printed line must be like, as `form` has it; "…" stands for anything."""
    return re.compile(".*".join(map(re.escape, form(line.replace("...", "…")).split("…"))))


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
    shown = examples()
    assert {line.split()[0] for line, _ in shown} >= {"coco", "compare", "score", "merge", "detect"}
    for line, expected in shown:
        result = CliRunner().invoke(main, shlex.split(line))
        assert result.exit_code == 0, f"{line}: {result.output}"
        printed = [form(each) for each in result.output.splitlines()]
        for each in expected:
            if not each.startswith(OF_REAL_DATA):
                assert any(map(pattern(each).fullmatch, printed)), f"{each}\n{result.output}"
    for name in ("runs/compare/report.html", "runs/eval/yolov5n.html", "line.txt", "quant.json"):
        assert (tmp_path / name).is_file(), name
