"""Models whose graph decides, from stages and from a finished model of rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from yolo_core.graph import interpret
from yolo_core.yolo.boxes import detections
from yolo_core.yolo.model_folder import read_model_folder
from yolo_mrt.cli import main

FILES = ("symbol", "params", "ext", "data.npy")
OPTIONS = ("--conf", "0.1", "--iou", "60", "--max-det", "30", "--top-k", "500")


def invoke(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def models(
    checkpoint: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A model of rows and one of boxes, from one calibration."""
    folder = tmp_path_factory.mktemp("models")
    words = ["quantize", checkpoint, "--data", pictures, "--imgsz", 64, "--work", folder / "work"]
    invoke(*words, "--out", folder / "rows")
    told = invoke(*words, "--out", folder / "boxes", "--boxes", *OPTIONS)
    assert told.count("unchanged") == 4
    assert "boxes [1, 30, 6] of score above 0.1" in told
    return folder / "rows", folder / "boxes"


def test_the_converter_gives_the_same_bytes(models: tuple[Path, Path], tmp_path: Path) -> None:
    rows, boxes = models
    invoke("boxes", rows, "--out", tmp_path / "converted", *OPTIONS)
    for name in FILES:
        assert (tmp_path / "converted" / name).read_bytes() == (boxes / name).read_bytes()


def test_both_forms_find_the_same(models: tuple[Path, Path]) -> None:
    rows, boxes = (read_model_folder(folder) for folder in models)
    extension = boxes.extension()
    assert extension.boxes is not None
    assert extension.boxes.max_det == 30
    data = np.load(models[1] / "data.npy").astype(np.int32)
    logits = rows.extension().dequantize(interpret.run(rows.graph, data)[0])[0]
    host = detections(logits, extension.architecture, (64, 64), extension.boxes.nms())
    found = extension.boxes.read(interpret.run(boxes.graph, data)[0][0])
    assert len(found) == len(host) > 0
    assert np.abs(found - host).max() < 0.05


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--boxes", "--conf", "1"), "conf: is 1.0"),
        (("--boxes", "--iou", "45.5"), "iou: is 45.5"),
        (("--boxes", "--iou", "half"), "iou: is half"),
        (("--boxes", "--max-det", "0"), "max-det: is 0"),
        (("--boxes", "--top-k", "4097"), "top-k: is 4097"),
        (("--conf", "0.5"), "--boxes"),
    ],
)
def test_bad_settings_are_refused_before_any_work(
    words: tuple[str, ...], told: str, checkpoint: Path, pictures: Path, tmp_path: Path
) -> None:
    output = invoke("quantize", checkpoint, "--data", pictures, "--imgsz", 64,
                    "--out", tmp_path / "q", *words, code=2)  # fmt: skip
    assert output.count("\n") == 1
    assert told in output
    assert not list(tmp_path.iterdir())


def test_boxes_are_not_decided_on_again(models: tuple[Path, Path], tmp_path: Path) -> None:
    output = invoke("boxes", models[1], "--out", tmp_path / "twice", code=2)
    assert "decides already" in output
    output = invoke("boxes", models[0], "--out", models[0], code=2)
    assert "lies where its result would go" in output
