"""The integer detector: found by entry point, right about where things are, drawn and told."""

from __future__ import annotations

import json
from inspect import signature
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from cvm_samples import write_model

from yolo_core.errors import InputError
from yolo_core.graph import Graph, GraphBuilder
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.boxes import NmsSettings
from yolo_core.yolo.model_folder import Extension
from yolo_core.yolo.predictor import detect, open_predictor
from yolo_cvm.cli import main
from yolo_cvm.predictor import IntegerPredictor

SIDE = 32
#: Older releases of click mix the two streams unless told otherwise.
STREAMS: dict[str, Any] = (
    {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}
)
ARCHITECTURE = Architecture.named("n", nc=2, names=("cat", "dog"))
ROWS = ARCHITECTURE.rows(SIDE, SIDE)
#: The last row is the only cell of the coarsest level with its largest anchor.
FOUND = ROWS - 1


def constant_detector() -> Graph:
    """A detector that answers every picture alike: one dog in the middle, otherwise nothing."""
    columns = ARCHITECTURE.no
    bias = np.zeros((ROWS, columns), np.int64)
    bias[:, 4] = -80
    bias[FOUND] = [0, 0, -20, -20, 80, -80, 40]
    b = GraphBuilder()
    x = b.input("data", (1, 3, SIDE, SIDE), 8)
    weight = b.parameter("weight", np.zeros((bias.size, 3 * SIDE * SIDE), np.int64), 2)
    y = b.operator("dense", [
        b.operator("flatten", [x]), weight, b.parameter("bias", bias.ravel(), 8),
    ], units=bias.size)  # fmt: skip
    clipped = b.operator("cvm_clip", [y], precision=8)
    return b.build([b.operator("reshape", [clipped], shape=(1, ROWS, columns))])


def write_constant_detector(folder: Path) -> Path:
    """The folder, with that detector and what its integers mean."""
    write_model(folder, constant_detector())
    extension = Extension(
        architecture=ARCHITECTURE, imgsz=(SIDE, SIDE), input_scale=255.0, input_zero_point=-128,
        input_precision=8, output_scales=(10.0,) * ARCHITECTURE.no,
    )  # fmt: skip
    (folder / "ext").write_text(extension.to_json())
    return folder


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_constant_detector(tmp_path_factory.mktemp("detector"))


def test_predictor_is_found_and_scales_back(detector: Path) -> None:
    predictor = open_predictor(detector)
    assert (predictor.kind, predictor.imgsz) == ("integer", (SIDE, SIDE))
    logits = predictor.logits(np.zeros((3, SIDE, SIDE, 3), np.uint8))
    assert logits.shape == (3, ROWS, ARCHITECTURE.no)
    assert logits[1, FOUND].tolist() == [0, 0, -2, -2, 8, -8, 4]
    assert len(predictor.digest) == 64
    with pytest.raises(InputError, match="imgsz"):
        open_predictor(detector, imgsz=(64, 64))
    with pytest.raises(InputError, match="device"):
        open_predictor(detector, device="gpu:0")


def test_box_comes_back_in_the_pixels_of_the_picture(detector: Path) -> None:
    """The anchor of 373 x 326 shrinks by (2 sigmoid(-2))^2; the picture is twice the input."""
    picture = np.zeros((2 * SIDE, 2 * SIDE, 3), np.uint8)
    found = detect(open_predictor(detector), picture, NmsSettings.for_display())
    assert found.shape == (1, 6)
    shrink = (2 / (1 + np.exp(2))) ** 2
    width, height = (2 * side * shrink for side in (373, 326))
    box = np.clip([32 - width / 2, 32 - height / 2, 32 + width / 2, 32 + height / 2], 0, 64)
    assert np.allclose(found[0, :4], box)
    assert found[0, 5] == 1


def test_heads_of_another_shape_are_refused(detector: Path) -> None:
    predictor = open_predictor(detector)
    assert isinstance(predictor, IntegerPredictor)
    for shape in ((1, ROWS - 1, ARCHITECTURE.no), (1, ROWS, ARCHITECTURE.no + 1)):
        with pytest.raises(InputError, match="model output"):
            predictor.decode([np.zeros(shape, np.int32)], NmsSettings())


def test_command_draws_and_tells(detector: Path, tmp_path: Path) -> None:
    picture = tmp_path / "street.png"
    cv2.imwrite(str(picture), np.full((96, 128, 3), 90, np.uint8))
    out = tmp_path / "found"
    result = CliRunner().invoke(main, ["detect", str(detector), str(picture), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "dog" in result.output
    (record,) = json.loads((out / "detections.json").read_text())
    assert (record["image"], record["width"], record["height"]) == ("street.png", 128, 96)
    assert record["detections"][0]["name"] == "dog"
    drawn = cv2.imread(str(out / "street.png"))
    assert drawn.shape == (96, 128, 3)
    assert np.abs(drawn.astype(int) - 90).max() > 50


def test_command_takes_folders_videos_and_the_words_of_yolov5(
    detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p/sub").mkdir(parents=True)
    picture = np.full((96, 128, 3), 90, np.uint8)
    for name in ("a.png", "a.jpg", "sub/a.jpg"):
        cv2.imwrite(str(tmp_path / "p" / name), picture)
    (tmp_path / "p/bad.jpg").write_bytes(b"nothing")
    writer = cv2.VideoWriter(
        str(tmp_path / "p/film.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (128, 96)
    )
    for _ in range(2):
        writer.write(picture)
    writer.release()
    monkeypatch.chdir(tmp_path)
    words = ["detect", str(detector), "p", "--save-txt", "--save-crop", "--classes", "1", "--json"]
    result = CliRunner(**STREAMS).invoke(main, words)
    assert result.exit_code == 2
    assert "1 of 5 could not be read, first p/bad.jpg" in result.stderr
    records = json.loads(result.stdout)
    assert [(record["image"], record.get("frame")) for record in records] == [
        ("a.jpg", None), ("a_2.png", None), ("film.avi", 1), ("film.avi", 2), ("sub/a.jpg", None),
    ]  # fmt: skip
    out = tmp_path / "runs/detect/exp"
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()) == [
        "a.jpg", "a_2.png", "crops/dog/a_1.jpg", "crops/dog/a_2_1.jpg", "crops/dog/film_1_1.jpg",
        "crops/dog/film_2_1.jpg", "crops/dog/sub/a_1.jpg", "detections.json", "film.mp4",
        "labels/a.txt", "labels/a_2.txt", "labels/film_1.txt", "labels/film_2.txt",
        "labels/sub/a.txt", "sub/a.jpg",
    ]  # fmt: skip
    assert len((out / "labels/a.txt").read_text().split()) == 5


def test_nothing_is_written_unless_asked(
    detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((96, 128, 3), 90, np.uint8))
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["detect", str(detector), "a.png"]).exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("change", [{"input_shapes": [[-1, 3, 64, 64]]}, {"detection": {}}])
def test_an_ext_of_another_model_is_refused(
    change: dict[str, Any], detector: Path, tmp_path: Path
) -> None:
    for name in ("symbol", "params"):
        (tmp_path / name).write_bytes((detector / name).read_bytes())
    content = {**json.loads((detector / "ext").read_text()), **change}
    (tmp_path / "ext").write_text(json.dumps(content))
    with pytest.raises(InputError, match="ext"):
        open_predictor(tmp_path)
