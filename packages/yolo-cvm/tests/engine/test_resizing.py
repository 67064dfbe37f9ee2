"""The compiled resize gives the bytes of the definition, on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest

from yolo_core.arrays import Array
from yolo_core.yolo import letterbox
from yolo_core.yolo.predictor import resize_of
from yolo_cvm.engine import library
from yolo_cvm.engine.resizing import resize
from yolo_cvm.predictor import IntegerPredictor

SETS = library.instruction_sets()
pytestmark = pytest.mark.skipif(not SETS, reason="the package was installed without a compiler")
SIZES = [
    ((72, 128), (36, 64)), ((75, 100), (96, 128)), ((1, 1), (32, 64)), ((1, 90), (3, 640)),
    ((90, 1), (5, 7)), ((33, 47), (33, 47)), ((50, 47), (1, 1)), ((64, 64), (63, 65)),
    ((200, 31), (7, 400)),
]  # fmt: skip


def picture(height: int, width: int) -> Array:
    """Random bytes, the least and the largest among them in blocks."""
    random = np.random.default_rng(height * 1000 + width)
    pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels[: height // 3] = random.choice([0, 255], (height // 3, width, 3))
    return pixels


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(("source", "target"), SIZES)
def test_same_bytes(name: str, source: tuple[int, int], target: tuple[int, int]) -> None:
    image = picture(*source)
    assert np.array_equal(resize(image, *target, name), letterbox.resize(image, *target))


def test_views_of_other_pictures() -> None:
    image = picture(60, 80)
    for view in (image[::2, 5:70], image[:, ::-1], image[..., ::-1], image.transpose(1, 0, 2)):
        assert np.array_equal(resize(view, 32, 48), letterbox.resize(view, 32, 48))


def test_integer_models_resize_with_it() -> None:
    function = resize_of(IntegerPredictor.__new__(IntegerPredictor))
    assert function is resize
    for mode in letterbox.MODES:
        plain = letterbox.Letterbox(64, 96, mode)
        quick = letterbox.Letterbox(64, 96, mode, resize=function)
        image = picture(51, 43)
        assert np.array_equal(plain.apply(image)[0], quick.apply(image)[0])
        assert plain.apply(image)[1] == quick.apply(image)[1]


@pytest.mark.parametrize(
    ("axis", "row", "value"),
    [(0, 0, 9), (0, 1, -1), (1, 0, 12), (1, 2, 2049), (0, 3, -1), (0, 1, 7)],
)
def test_taps_outside_the_picture_are_refused(
    monkeypatch: pytest.MonkeyPatch, axis: int, row: int, value: int
) -> None:
    """The library trusts no caller: whatever it is given, it reads inside the picture."""
    sizes = [(9, 5), (12, 6)]
    honest = letterbox.taps

    def wrong(source: int, target: int) -> tuple[Array, ...]:
        found = [part.copy() for part in honest(source, target)]
        if (source, target) == sizes[axis]:
            found[row][1] = value
        return tuple(found)

    monkeypatch.setattr(letterbox, "taps", wrong)
    with pytest.raises(RuntimeError, match="tap"):
        resize(picture(9, 12), 5, 6)
