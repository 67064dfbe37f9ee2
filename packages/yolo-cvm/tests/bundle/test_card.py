"""The model card alone lets a stranger make the input and read the output."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from yolo_core.arrays import Array
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.boxes import decode
from yolo_core.yolo.letterbox import Letterbox
from yolo_core.yolo.model_folder import Extension
from yolo_cvm.bundle.convention import input_lines, output_lines, to_picture

NUMBER = r"(-?\d+(?:\.\d+)?)"


def extension(letterbox: str = "letterbox", color: str = "rgb", size: str = "n") -> Extension:
    architecture = Architecture.named(size, nc=2)
    scales = (512.0,) * architecture.no
    return Extension(architecture, (64, 128), 254.0, -127, 8, scales, color, letterbox)


def numbers(pattern: str, text: str) -> list[float]:
    found = re.search(pattern.replace("#", NUMBER), text)
    assert found is not None, (pattern, text)
    return [float(number) for number in found.groups()]


def taps(source: int, target: int) -> list[tuple[int, int, int, int]]:
    """Two pixels and two shares for every target, by the words of the card."""
    found = []
    for i in range(target):
        position = np.float32((i + 0.5) * (1 / (target / source)) - 0.5)
        first = math.floor(position)
        if first < 0 or first >= source - 1:
            edge = 0 if first < 0 else source - 1
            found.append((edge, edge, 2048, 0))
            continue
        share = position - np.float32(first)
        right = round(float(share * np.float32(2048)))
        left = round(float((np.float32(1) - share) * np.float32(2048)))
        found.append((first, first + 1, left, right))
    return found


def made_by_the_card(card: str, picture: Array, height: int, width: int) -> Array:
    """The integers of the input, pixel by pixel, from the card's numbers alone."""
    if "stretched" in card:
        columns, rows = (int(n) for n in numbers("stretched to #×#", card))
        top = left = 0
    else:
        tall, wide = numbers(r"min\(# / height, # / width\)", card)
        ratio = min(tall / picture.shape[0], wide / picture.shape[1])
        rows, columns = (max(round(side * ratio), 1) for side in picture.shape[:2])
        left, top = (int(wide) - columns) // 2, (int(tall) - rows) // 2
    grey = 114 if "stretched" in card else int(numbers(r"grey \(#, #, #\)", card)[0])
    pixels = np.full((height, width, 3), grey)
    across, down = taps(picture.shape[1], columns), taps(picture.shape[0], rows)
    source = picture.astype(int)
    for y, (y0, y1, c, d) in enumerate(down):
        for x, (x0, x1, a, b) in enumerate(across):
            s0, s1 = (source[row, x0] * a + source[row, x1] * b for row in (y0, y1))
            mixed = (c * (s0 >> 4) >> 16) + (d * (s1 >> 4) >> 16)
            pixels[top + y, left + x] = (mixed + 2) >> 2
    scale, zero, low, high = numbers(r"pixel / 255 \* # \+ 0.5\) - #, limited to # to #", card)
    codes = np.clip(np.floor(pixels / 255 * scale + 0.5) - zero, low, high).astype(int)
    order = codes if "red, green, blue, rows" in card else codes[..., ::-1]
    return order.transpose(2, 0, 1)


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize("letterbox", ["letterbox", "squash"])
@pytest.mark.parametrize("shape", [(33, 50), (90, 300), (64, 128), (7, 200)])
def test_the_input_is_made_from_the_words(
    shape: tuple[int, int], letterbox: str, color: str
) -> None:
    meant = extension(letterbox, color)
    picture = np.random.RandomState(3).randint(0, 256, (*shape, 3)).astype(np.uint8)
    fitted, _ = Letterbox(*meant.imgsz, letterbox).apply(picture)
    expected = meant.quantize_input(fitted[None])[0]
    made = made_by_the_card("\n".join(input_lines(meant)), picture, *meant.imgsz)
    np.testing.assert_array_equal(made, expected)


def test_the_example_of_a_pixel_follows_from_the_words() -> None:
    card = "\n".join(input_lines(extension()))
    picture = np.tile(np.array([200, 100, 50], np.uint8), (480, 720, 1))
    made = made_by_the_card(card, picture, 64, 128)
    row, column, *codes = numbers("row #, column #, with the codes #, #, #", card)
    assert made[:, int(row), int(column)].tolist() == codes
    assert made[:, 0, 0].tolist() == numbers("row 0, column 0 has the codes #, #, #", card)


@pytest.mark.parametrize("size", ["n", "n6"])
def test_a_row_is_read_by_the_words(size: str) -> None:
    meant = extension(size=size)
    card = "\n".join(output_lines(meant))
    levels = re.findall(r"stride (\d+): ([^;\n]*)", card)
    row, stride, anchor, y, x = (
        int(n) for n in numbers("row # is of stride #, anchor #, y #, x #;", card)
    )
    sides = [tuple(map(float, word.split("×"))) for word in dict(levels)[str(stride)].split(", ")]
    scale = numbers("value = integer / #;", card)[0]
    integers = numbers("begins with #, #, #, #, #, #,", card)
    s = [1 / (1 + math.exp(-value / scale)) for value in integers]
    centre = (2 * s[0] - 0.5 + x) * stride, (2 * s[1] - 0.5 + y) * stride
    half = tuple((2 * s[2 + axis]) ** 2 * sides[anchor][axis] / 2 for axis in (0, 1))
    box = [c - h for c, h in zip(centre, half)] + [c + h for c, h in zip(centre, half)]
    told = numbers("x1 #, y1 #, x2 #, y2 # in pixels", card)
    np.testing.assert_allclose(told, box, atol=0.006)
    assert numbers("first class #", card)[0] == pytest.approx(s[4] * s[5], abs=6e-5)
    # The row is where the words of its order put it.
    before = sum((64 // int(k)) * (128 // int(k)) * len(v.split(", ")) for k, v in levels
                 if int(k) < stride)  # fmt: skip
    assert row == before + (anchor * (64 // stride) + y) * (128 // stride) + x
    values = np.array([[i / scale for i in integers]])
    np.testing.assert_allclose(
        decode(values, np.array([row]), meant.architecture, meant.imgsz)[0], box, atol=1e-6
    )


def test_boxes_go_back_to_the_picture_by_the_words() -> None:
    placement = Letterbox(64, 128).place(33, 50)
    x = (40 - placement.left) * 50 / placement.resized[1]
    assert placement.to_image(np.array([40.0, 0, 60, 64]))[0] == pytest.approx(x)
    assert "(x - columns to its left) * its width / its width in the input" in to_picture(
        extension()
    )
    assert "x * its width / 128, y * its height / 64" in to_picture(extension("squash"))
