"""From an image file to the network's pixels and back: the one place where it is done.

Calibration, evaluation and detection all come through here, so they see the same bytes. The
resize is bilinear in fixed-point integers, written out in NumPy: image libraries round it
differently from one processor to the next, and a rounding that moves would move the detections.
Colour order is RGB everywhere; whoever feeds a network in another order turns it there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import PathLike, read_bytes
from yolo_core.yolo import webp

FILL = 114
MODES = ("letterbox", "squash")
MAX_STRIDE = 32
MAX_SIDE = 8192
#: Largest image file, and largest image in pixels, that is decoded.
FILE_LIMIT = 256 << 20
PIXEL_LIMIT = 1 << 27

_COEFFICIENT_BITS = 11
_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"


def check_imgsz(
    value: int | Sequence[int], source: str = "imgsz", multiple: int = MAX_STRIDE
) -> tuple[int, int]:
    """(height, width) from one side or a pair; each a multiple of `multiple`, at most 8192.

    source: the option or file the value comes from, for the error. multiple: the largest stride
    of the model, `Architecture.max_stride`, where the model is known.
    """
    sides = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(sides) != 2 or any(
        not isinstance(side, int) or side % multiple or not multiple <= side <= MAX_SIDE
        for side in sides
    ):
        raise InputError(
            source,
            f"has the size {value!r:.40}",
            f"multiples of {multiple} from {multiple} to {MAX_SIDE}",
        )
    return int(sides[0]), int(sides[1])


def opencv() -> Any:
    """The cv2 module, told before its import how large an image it may decode.

    InputError with the remedy where it is not installed.
    """
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(PIXEL_LIMIT))
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
    try:
        import cv2
    except ImportError as error:
        raise InputError(
            "opencv",
            f"cannot be imported ({error})",
            'pip install "yolo-cvm[images]" (or "yolo-core[images]"), to read pictures',
        ) from error
    return cv2


def read_image(path: PathLike) -> Array:
    """uint8 [height, width, 3] RGB, turned upright by its EXIF orientation.

    InputError when the file is missing, no image, too large, or a JPEG that ends too early
    (which decoders fill up with grey and call a success).
    """
    return decode_complete(read_bytes(path, FILE_LIMIT), str(path))


def decode_complete(data: bytes, source: str) -> Array:
    """The picture in the bytes of an image file, refused as in `read_image`."""
    if data.startswith(_JPEG_START) and not _jpeg_ends(data):
        raise InputError(source, "is a JPEG that ends too early", "a complete image")
    return decode_image(data, source)


def _jpeg_ends(data: bytes) -> bool:
    """Whether an end marker follows the start of the first scan.

    The segments before it are stepped over, since a thumbnail in them has an end of its own;
    what follows the end (phones append films) is no matter.
    """
    at = len(_JPEG_START)
    while data[at : at + 1] == b"\xff" and data[at : at + 2] != _JPEG_SCAN:
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data.find(_JPEG_END, at) >= 0


def decode_image(data: bytes, source: str) -> Array:
    """uint8 [height, width, 3] RGB from the bytes of an image file."""
    cv2 = opencv()
    _refuse_ambiguous(data, source)
    how, turned = cv2.IMREAD_COLOR, 1
    if webp.is_webp(data):
        how, turned = how | cv2.IMREAD_IGNORE_ORIENTATION, webp.orientation(data)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), how) if data else None
    except cv2.error as error:
        raise InputError(source, "cannot be decoded", "an image of reasonable size") from error
    if image is None:
        raise InputError(source, "is not an image that can be decoded", "JPEG, PNG, BMP …")
    if image.shape[0] * image.shape[1] > PIXEL_LIMIT:
        raise InputError(source, f"has {image.shape[1]}x{image.shape[0]} pixels", "a smaller image")
    result: Array = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return webp.upright(result, turned) if turned != 1 else result


def _refuse_ambiguous(data: bytes, source: str) -> None:
    """Refuse formats that some versions of OpenCV decode and others do not, or otherwise."""
    kinds = {
        "a GIF": data[:4] == b"GIF8",
        "an AVIF": data[4:12] in (b"ftypavif", b"ftypavis"),
        "an animated WebP": webp.is_webp(data) and webp.is_animated(data),
    }
    for kind, found in kinds.items():
        if found:
            raise InputError(source, f"is {kind}", "a JPEG, PNG, BMP, TIFF or still WebP")


def _taps(source: int, target: int) -> tuple[Array, Array, Array, Array]:
    """For each target pixel: its two source indices and their weights (int32, sum 2048)."""
    scale = 1.0 / (target / source)
    # Single precision here is part of the definition: it decides ties, and only basic IEEE
    # operations take part, so it is the same everywhere.
    position = ((np.arange(target) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(position).astype(np.int64)
    share = position - first.astype(np.float32)
    share[(first < 0) | (first >= source - 1)] = 0
    first = np.clip(first, 0, source - 1)
    one = 1 << _COEFFICIENT_BITS
    right = np.rint(share * np.float32(one)).astype(np.int32)
    left = np.rint((np.float32(1) - share) * np.float32(one)).astype(np.int32)
    return first, np.minimum(first + 1, source - 1), left, right


def resize(image: Array, height: int, width: int) -> Array:
    """Bilinear resize of uint8 [h, w, 3] to [height, width, 3] with 11-bit weights.

    Horizontal: s = a*left + b*right. Vertical: (c*(s0 >> 4) >> 16) + (d*(s1 >> 4) >> 16), plus 2,
    shifted by 2. These are the scalar rules that OpenCV's INTER_LINEAR is built on.
    """
    if image.shape[:2] == (height, width):
        return image.copy()
    x0, x1, left, right = _taps(image.shape[1], width)
    y0, y1, upper, lower = _taps(image.shape[0], height)
    # Only the rows that count, or a picture of a million rows would take gigabytes.
    wanted, place = np.unique(np.concatenate((y0, y1)), return_inverse=True)
    source = image if len(wanted) == len(image) else image[wanted]
    rows = source[:, x0] * left[:, None] + source[:, x1] * right[:, None]
    rows >>= 4
    upper_part = (rows[place[:height]] * upper[:, None, None]) >> 16
    lower_part = (rows[place[height:]] * lower[:, None, None]) >> 16
    result: Array = ((upper_part + lower_part + 2) >> 2).astype(np.uint8)
    return result


@dataclass(frozen=True)
class Placement:
    """Where an image went inside the network's input.

    image: its (height, width) in pixels. resized: its size inside the input. left, top: offset.
    """

    image: tuple[int, int]
    resized: tuple[int, int]
    left: int
    top: int

    def to_image(self, boxes: Array) -> Array:
        """Boxes [..., 4] (x1 y1 x2 y2), input pixels → original pixels, clipped to the image."""
        height, width = self.image
        scale_x, scale_y = width / self.resized[1], height / self.resized[0]
        moved = np.empty(boxes.shape, np.float64)
        moved[..., 0::2] = np.clip((boxes[..., 0::2] - self.left) * scale_x, 0, width)
        moved[..., 1::2] = np.clip((boxes[..., 1::2] - self.top) * scale_y, 0, height)
        return moved

    def from_image(self, boxes: Array) -> Array:
        """Boxes [..., 4] (x1 y1 x2 y2) from original pixels to input pixels."""
        scale_x, scale_y = self.resized[1] / self.image[1], self.resized[0] / self.image[0]
        moved = np.empty(boxes.shape, np.float64)
        moved[..., 0::2] = boxes[..., 0::2] * scale_x + self.left
        moved[..., 1::2] = boxes[..., 1::2] * scale_y + self.top
        return moved


@dataclass(frozen=True)
class Letterbox:
    """Fit an image into height x width pixels.

    mode: "letterbox" keeps the aspect ratio and centres the image on grey; "squash" stretches it,
    as the original project did.
    """

    height: int
    width: int
    mode: str = "letterbox"
    fill: int = FILL

    def place(self, height: int, width: int) -> Placement:
        """Where an image of height x width pixels goes."""
        if self.mode == "squash":
            return Placement((height, width), (self.height, self.width), 0, 0)
        ratio = min(self.height / height, self.width / width)
        resized = (max(round(height * ratio), 1), max(round(width * ratio), 1))
        return Placement(
            (height, width),
            resized,
            (self.width - resized[1]) // 2,
            (self.height - resized[0]) // 2,
        )

    def apply(self, image: Array) -> tuple[Array, Placement]:
        """uint8 [h, w, 3] → uint8 [height, width, 3], and where it went."""
        placement = self.place(image.shape[0], image.shape[1])
        rows, columns = placement.resized
        canvas = np.full((self.height, self.width, 3), self.fill, np.uint8)
        canvas[placement.top : placement.top + rows, placement.left : placement.left + columns] = (
            resize(image, rows, columns)
        )
        return canvas, placement
