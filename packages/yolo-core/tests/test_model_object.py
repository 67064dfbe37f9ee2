"""The object `Model`: what it takes, what it finds, how it shows itself."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from core_samples import random_parameters
from PIL import Image

import yolo_core
from yolo_core.errors import InputError
from yolo_core.mxnet.checkpoint import Checkpoint, write_checkpoint
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.letterbox import read_image

NAMES = ("person", "<b>bus</b>")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> yolo_core.Model:
    architecture = Architecture.named("n", nc=2, names=NAMES)
    parameters = random_parameters(architecture, True)
    stem = tmp_path_factory.mktemp("model") / "net"
    write_checkpoint(stem, Checkpoint(architecture, parameters, True, meta={"imgsz": [64, 64]}))
    return yolo_core.Model(stem)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "bus.png"
    pixels = np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def tensor(values: Any) -> Any:
    """What PyTorch's tensors have that is used here."""
    itself = SimpleNamespace(shape=values.shape, numpy=lambda: values)
    itself.cpu = itself.detach = lambda: itself
    return itself


def test_every_kind_of_picture_gives_the_same_boxes(model: yolo_core.Model, picture: Path) -> None:
    pixels = read_image(picture)
    planes = np.moveaxis(pixels, 2, 0)
    expected = model(picture, conf=0.0001, max_det=5)
    assert len(expected) == 5
    for same in (
        str(picture), Image.open(picture), pixels, np.asfortranarray(pixels), tensor(planes),
        tensor(planes.astype(np.float32) / 255),
    ):  # fmt: skip
        np.testing.assert_array_equal(model(same, conf=0.0001, max_det=5).boxes, expected.boxes)
    for several in (
        [picture, pixels], (pixels, Image.open(picture)), np.stack([pixels, pixels]),
        tensor(np.stack([planes, planes])),
    ):  # fmt: skip
        found = model(several, conf=0.0001, max_det=5)
        assert [len(item) for item in found] == [5, 5]
        np.testing.assert_array_equal(found[1].boxes, expected.boxes)
    assert len(model(picture.parent)) == 1  # a folder
    assert model(np.zeros((32, 32), np.uint8)).image.shape == (32, 32, 3)  # grey


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (5, "is of the type int; expected a path"),
        (None, "NoneType"),
        ({}, "dict"),
        ([], "empty list"),
        (np.zeros((4, 4, 3)), "array of float64; expected uint8"),
        (np.zeros((3, 40, 40), np.uint8), "[3, 40, 40]"),
        (np.zeros((0, 4, 4, 3), np.uint8), "empty batch"),
        (np.zeros((0, 4, 3), np.uint8), "[0, 4, 3]"),
        (tensor(np.zeros((4, 4, 3), np.float32)), "[4, 4, 3]; expected [3, height, width]"),
        (tensor(np.full((3, 4, 4), 255, np.float32)), "from 0 to 1"),
        (tensor(np.full((3, 4, 4), np.nan, np.float32)), "from 0 to 1"),
        ("nowhere.jpg", "nowhere.jpg: does not exist"),
        ("https://example.org/bus.jpg", "nothing is downloaded"),
        (["nowhere.jpg"], "does not exist"),
    ],
)
def test_anything_else_is_refused_in_words(model: yolo_core.Model, source: Any, said: str) -> None:
    with pytest.raises(InputError) as caught:
        model(source)
    assert said in str(caught.value)


def test_unknown_options_and_no_model_are_refused(
    model: yolo_core.Model, picture: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="conf, iou, max_det"):
        model(picture, treshold=0.5)
    with pytest.raises(InputError, match="which the model does not have"):
        model(picture, classes=[7])
    with pytest.raises(InputError, match="is not a model"):
        yolo_core.Model(tmp_path / "nothing")


def test_the_object_shows_itself_shortly_and_as_a_card(model: yolo_core.Model) -> None:
    assert repr(model).endswith("float yolov5n, 64x64, 2 classes)")
    card = model._repr_html_()
    assert "&lt;b&gt;bus" in card
    assert "<b>bus" not in card
    assert model.predictor.digest in card


def test_what_is_found_prints_draws_and_converts(
    model: yolo_core.Model, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = model(picture, conf=0.0001, max_det=3)
    assert repr(found).startswith("<")
    assert "80x48: " in repr(found)
    assert len(str(found).splitlines()) == 4
    assert found._repr_png_().startswith(b"\x89PNG")
    assert found.draw().shape == found.image.shape
    found.save(tmp_path / "drawn.jpg")
    assert read_image(tmp_path / "drawn.jpg").shape == (48, 80, 3)
    with pytest.raises(InputError, match=r"jpg or \.png"):
        found.save(tmp_path / "drawn.txt")
    both = model([picture, picture], conf=0.0001, max_det=3)
    assert repr(both) == "<2 pictures: 6 boxes>"
    entries = both.coco([7, 9])
    assert [entry["image_id"] for entry in entries] == [7] * 3 + [9] * 3
    x1, y1, x2, y2, score, label = found.boxes[0]
    assert entries[0] == {
        "image_id": 7, "category_id": int(label), "bbox": [x1, y1, x2 - x1, y2 - y1],
        "score": score,
    }  # fmt: skip
    assert found.coco(1, [1, 6])[0]["category_id"] == [1, 6][int(label)]
    with pytest.raises(InputError, match="one a class"):
        found.coco(1, [1])
    with pytest.raises(InputError, match="one a picture"):
        both.coco([7])
    frames = SimpleNamespace(DataFrame=_Frame)
    monkeypatch.setitem(sys.modules, "pandas", frames)
    assert list(found.pandas()) == [
        "xmin", "ymin", "xmax", "ymax", "confidence", "class", "name",
    ]  # fmt: skip
    copy = found.numpy()
    copy[:] = 0
    assert found.boxes.any()


def test_a_library_that_is_absent_is_named(
    model: yolo_core.Model, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(InputError, match="pip install supervision"):
        model(picture).supervision()


class _Frame(builtins.dict):  # type: ignore[type-arg]
    """As much of a DataFrame as is used."""

    def __init__(self, data: Any, columns: list[str]) -> None:
        super().__init__(zip(columns, data.T))
