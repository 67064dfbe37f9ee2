"""Boxes in pixels: on a copy, inside the picture, the first one on top."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from yolo_core.media.lettering import lettering, spelled
from yolo_core.yolo.drawing import LabelledBox, draw, encode_picture, labelled
from yolo_core.yolo.letterbox import opencv


def test_a_box_is_drawn_on_a_copy_with_its_label_above() -> None:
    image = np.full((60, 80, 3), 90, np.uint8)
    drawn = draw(image, [LabelledBox((20, 30, 60, 50), "cat", 0)])
    assert (image == 90).all()
    assert drawn[50, 40].tolist() == pytest.approx([0, 103, 165], abs=20)  # smoothed
    assert (drawn[20:29, 20:30] != 90).any()
    assert (drawn[35:45, 30:50] == 90).all()


def test_the_first_box_is_on_top() -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    one, other = (LabelledBox((20, 30, 60, 50), "", label) for label in (0, 1))
    assert draw(image, [one, other])[50, 40].tolist() == pytest.approx([0, 103, 165], abs=20)
    assert draw(image, [other, one])[50, 40].tolist() == pytest.approx([190, 70, 0], abs=20)


@pytest.mark.parametrize("corners", [(-50, -50, 500, 500), (0, 0, 0, 0), (79, 0, 90, 3)])
def test_boxes_beyond_the_picture_are_drawn_as_far_as_they_go(corners: tuple[int, ...]) -> None:
    image = np.zeros((60, 80, 3), np.uint8)
    assert draw(image, [LabelledBox(corners, "naïve ☃", 12)]).shape == image.shape


def test_detections_are_named_with_their_scores() -> None:
    (box,) = labelled(np.array([[1.0, 2, 3, 4, 0.876, 1]]), ["cat", "dog"])
    assert (list(box.corners), box.text, box.label) == ([1, 2, 3, 4], "dog 0.88", 1)


def test_a_png_gives_back_its_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    data = np.frombuffer(encode_picture(image, ".png"), np.uint8)
    assert (opencv().imdecode(data, 1)[:, :, ::-1] == image).all()


@pytest.mark.parametrize(
    "names",
    [("用户", "用产", "??"), ("Bus café", "Bus cafe", "Bus caf?"), ("да", "до", "??"),
     ("한국", "한곡", "??"), ("ひと", "ひど", "??"), ("😀", "😁", "?")],
)  # fmt: skip
def test_names_of_any_script_are_told_apart(names: tuple[str, ...]) -> None:
    image = np.full((200, 400, 3), 90, np.uint8)
    drawn = [draw(image, [LabelledBox((20, 100, 300, 180), name, 0)]).tobytes() for name in names]
    assert len(set(drawn)) == len(names)


def test_lettering_is_ink_of_one_height() -> None:
    for text in ("用户", "Bus café", "שלום", "😀", ""):
        ink = lettering(text, 20)
        assert ink.dtype == np.uint8
        assert ink.shape[0] == lettering("x", 20).shape[0]
        assert bool(ink.any()) == bool(text)
    # A composed and a decomposed accent are one letter.
    np.testing.assert_array_equal(lettering("caf\u00e9", 20), lettering("cafe\u0301", 20))


def test_what_no_font_has_is_written_as_its_number() -> None:
    assert spelled("用户 café 😀") == "用户 café [U+1F600]"
    # A mark that no font has is no exception, though shaping gives it a circle to stand on.
    assert spelled("\u0e01\u0e34 \u1780\u17b6") == "\u0e01\u0e34 [U+1780][U+17B6]"


@pytest.mark.parametrize("name", ["คนเดินเท้า", "पैदल यात्री", "নমস্তে", "வணக்கம்", "سيارة", "한국어"])
def test_scripts_that_have_a_font_are_written_with_it(name: str) -> None:
    assert spelled(name) == unicodedata.normalize("NFC", name)
    assert lettering(name, 20).any()


@pytest.mark.parametrize("corners", [(-50, -50, 10, 10), (390, 195, 420, 220), (0, 0, 400, 200)])
def test_labels_at_the_edges_stay_in_the_picture(corners: tuple[int, ...]) -> None:
    image = np.full((200, 400, 3), 90, np.uint8)
    for text in ("用户" * 60, "é"):
        assert draw(image, [LabelledBox(corners, text, 0)]).shape == image.shape
    tiny = np.full((3, 2, 3), 90, np.uint8)
    assert draw(tiny, [LabelledBox((0, 0, 2, 3), "用户", 0)]).shape == tiny.shape
