"""Images in and boxes back: integer bilinear resize, placement, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.yolo.letterbox import (
    Letterbox,
    check_imgsz,
    decode_image,
    read_image,
    resize,
    rounded_imgsz,
)


def reference_resize(image: Array, height: int, width: int) -> Array:
    """Bilinear in exact arithmetic, half-pixel centres, edges repeated."""

    def taps(source: int, target: int) -> Any:
        at = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
        low = np.floor(at).astype(int)
        return low, np.minimum(low + 1, source - 1), at - low

    x0, x1, u = taps(image.shape[1], width)
    y0, y1, v = taps(image.shape[0], height)
    rows: Array = image[:, x0] * (1 - u)[:, None] + image[:, x1] * u[:, None]
    mixed: Array = rows[y0] * (1 - v)[:, None, None] + rows[y1] * v[:, None, None]
    return mixed


@pytest.mark.parametrize(
    "sizes", [(7, 5, 13, 9), (100, 63, 40, 40), (1, 1, 8, 8), (64, 48, 32, 24)]
)
def test_resize_is_bilinear(sizes: tuple[int, int, int, int]) -> None:
    h, w, height, width = sizes
    image = np.random.default_rng(sum(sizes)).integers(0, 256, (h, w, 3)).astype(np.uint8)
    ours = resize(image, height, width)
    assert ours.dtype == np.uint8
    assert np.abs(ours - reference_resize(image, height, width)).max() <= 1.01


def defined_resize(image: Array, height: int, width: int) -> Array:
    """The rules of `resize`, pixel by pixel on the whole picture at once."""

    def taps(source: int, target: int) -> tuple[Array, Array, Array, Array]:
        at = ((np.arange(target) + 0.5) * (1.0 / (target / source)) - 0.5).astype(np.float32)
        low = np.floor(at).astype(np.int64)
        share = np.where(
            (low < 0) | (low >= source - 1), np.float32(0), at - low.astype(np.float32)
        )
        low = np.clip(low, 0, source - 1)
        left, right = (np.rint(x * np.float32(2048)) for x in (np.float32(1) - share, share))
        return low, np.minimum(low + 1, source - 1), left.astype(int), right.astype(int)

    x0, x1, left, right = taps(image.shape[1], width)
    y0, y1, upper, lower = taps(image.shape[0], height)
    rows = (image[:, x0] * left[:, None] + image[:, x1] * right[:, None]) >> 4
    upper, lower = upper[:, None, None], lower[:, None, None]
    result: Array = ((rows[y0] * upper >> 16) + (rows[y1] * lower >> 16) + 2) >> 2
    return result


@pytest.mark.parametrize(
    "sizes",
    [
        (720, 1280, 360, 640),
        (37, 53, 16, 17),
        (37, 53, 17, 16),
        (9, 31, 33, 64),
        (1, 3, 50, 2),
        (300, 2, 1, 1),
        (40, 40, 47, 1),
    ],
)
def test_resize_has_the_bits_of_its_definition(sizes: tuple[int, int, int, int]) -> None:
    """Sizes around whole pieces, growing, shrinking and both."""
    h, w, height, width = sizes
    image = np.random.default_rng(sum(sizes)).integers(0, 256, (h, 2 * w, 3), np.uint8)
    for picture in (image[:, :w], image[:, ::2], image[:, :w] // 255 * 255):
        assert np.array_equal(
            resize(picture, height, width), defined_resize(picture, height, width)
        )


def test_resize_agrees_with_opencv() -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (333, 500, 3)).astype(np.uint8)
    difference = resize(image, 426, 640).astype(int) - cv2.resize(image, (640, 426))
    assert np.abs(difference).max() <= 1
    assert (difference != 0).mean() < 0.01


def test_constant_images_stay_constant() -> None:
    for value in (0, 1, 127, 254, 255):
        image = np.full((37, 91, 3), value, np.uint8)
        assert (resize(image, 64, 160) == value).all()


def test_letterbox_centres_on_grey_and_boxes_come_back() -> None:
    image = np.zeros((50, 100, 3), np.uint8)
    canvas, placement = Letterbox(64, 64).apply(image)
    assert canvas.shape == (64, 64, 3)
    assert placement.resized == (32, 64)
    assert (canvas[:16] == 114).all()
    assert (canvas[48:] == 114).all()
    assert (canvas[16:48] == 0).all()
    boxes = np.array([[0.0, 0.0, 100.0, 50.0], [10.0, 20.0, 30.0, 40.0]])
    np.testing.assert_allclose(placement.to_image(placement.from_image(boxes)), boxes)
    outside = placement.to_image(np.array([[-50.0, -50.0, 500.0, 500.0]]))
    np.testing.assert_array_equal(outside, [[0, 0, 100, 50]])


def test_squash_fills_the_input() -> None:
    canvas, placement = Letterbox(64, 64, mode="squash").apply(np.full((50, 100, 3), 9, np.uint8))
    assert (canvas == 9).all()
    np.testing.assert_allclose(
        placement.to_image(np.array([[0.0, 0.0, 64.0, 64.0]])), [[0, 0, 100, 50]]
    )


def test_extreme_aspect_ratio_keeps_a_pixel() -> None:
    canvas, placement = Letterbox(64, 64).apply(np.zeros((1, 5000, 3), np.uint8))
    assert placement.resized == (1, 64)
    assert canvas.shape == (64, 64, 3)


@pytest.mark.parametrize("name", ["bus", "zidane"])
def test_letterbox_equals_the_reference(shared: Path, name: str) -> None:
    expected = np.load(shared / "data" / f"reference_{name}_320.npz")["letterboxed_rgb"]
    image = read_image(shared / "data" / "images" / f"{name}.jpg")
    np.testing.assert_array_equal(Letterbox(320, 320).apply(image)[0], expected)


@pytest.mark.parametrize("value", [0, 31, 100, 8224, -32, (64,), (64, 65), "64", None, (1e3, 64)])
def test_refuses_other_sizes(value: Any) -> None:
    with pytest.raises(InputError, match="multiples of 32"):
        check_imgsz(value)


def test_accepts_a_side_or_a_pair() -> None:
    assert check_imgsz(320) == (320, 320)
    assert check_imgsz([64, 96]) == (64, 96)


def test_sides_between_the_multiples_are_rounded_up_and_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert rounded_imgsz(640, "--imgsz", 64) == (640, 640)
    assert capsys.readouterr().err == ""
    assert rounded_imgsz(100, "--imgsz") == (128, 128)
    assert rounded_imgsz([96, 256], "--imgsz", 64) == (128, 256)
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("--imgsz 100x100 is taken as 128x128")
    assert "multiples of 64" in second
    for value in (0, -32, 8193, "64", None, (64,)):
        with pytest.raises(InputError, match="multiples of 32"):
            rounded_imgsz(value)  # type: ignore[arg-type]


def test_refuses_what_is_no_whole_image(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    good = cv2.imencode(".jpg", image)[1].tobytes()
    for name, data, word in [
        ("empty.jpg", b"", "not an image"),
        ("text.jpg", b"hello", "not an image"),
        ("half.jpg", good[: len(good) // 2], "ends too early"),
    ]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=word) as caught:
            read_image(tmp_path / name)
        assert name in str(caught.value)
    with pytest.raises(InputError, match="does not exist"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(InputError, match="regular file"):
        read_image(tmp_path)


def webp_file(image: Any, orientation: int, big: bool) -> bytes:
    """A lossless WebP of an RGB image that is stored as it is and says this orientation."""
    plain = bytes(cv2.imencode(".webp", image[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 101])[1])
    order: Literal["big", "little"] = "big" if big else "little"
    head = b"MM\0*" if big else b"II*\0"
    entry = b"".join(n.to_bytes(size, order) for n, size in ((0x0112, 2), (3, 2), (1, 4)))
    value = orientation.to_bytes(2, order) + b"\0\0"
    exif = head + (8).to_bytes(4, order) + (1).to_bytes(2, order) + entry + value + b"\0\0\0\0"
    sides = b"".join((side - 1).to_bytes(3, "little") for side in image.shape[1::-1])
    extended = b"VP8X" + (10).to_bytes(4, "little") + b"\x08\0\0\0" + sides
    body = extended + plain[12:] + b"EXIF" + len(exif).to_bytes(4, "little") + exif
    return b"RIFF" + (4 + len(body)).to_bytes(4, "little") + b"WEBP" + body


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("big", [False, True])
def test_webp_is_read_upright_whatever_opencv_does(orientation: int, big: bool) -> None:
    upright = np.random.default_rng(0).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    flips = {1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
             5: upright.transpose(1, 0, 2), 6: np.rot90(upright, 1),
             7: np.rot90(upright, 2).transpose(1, 0, 2), 8: np.rot90(upright, -1)}  # fmt: skip
    stored = np.ascontiguousarray(flips[orientation])
    np.testing.assert_array_equal(decode_image(webp_file(stored, orientation, big), "x"), upright)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"GIF89a" + bytes(20), "a GIF"),
        (b"\0\0\0\x20ftypavif" + bytes(20), "an AVIF"),
        (b"RIFF\x14\0\0\0WEBPANIM\x06\0\0\0" + bytes(6), "an animated WebP"),
    ],
)
def test_formats_that_opencv_versions_read_differently_are_refused(data: bytes, word: str) -> None:
    with pytest.raises(InputError, match=word):
        decode_image(data, "x")
