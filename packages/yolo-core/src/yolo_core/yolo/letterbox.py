"""From an image file to the network's pixels and back: the one place where it is done.

Calibration, evaluation and detection all come through here, so they see the same bytes. The
resize is bilinear in fixed-point integers, written out in NumPy: image libraries round it
differently from one processor to the next, and a rounding that moves would move the detections.
Colour order is RGB everywhere; whoever feeds a network in another order turns it there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError, ShortageError, is_shortage
from yolo_core.files import PathLike, read_bytes
from yolo_core.media import webp
from yolo_core.media.picture import READ, check_picture, pixel_limit

FILL = 114
MODES = ("letterbox", "squash")
MAX_STRIDE = 32
MAX_SIDE = 8192
#: Largest image file that is decoded, in bytes.
FILE_LIMIT = 256 << 20

_COEFFICIENT_BITS = 11
_ROWS_AT_ONCE = 256
#: Rows of the result that are resized together.
_RESIZED_AT_ONCE = 16


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


def rounded_imgsz(
    value: int | Sequence[int], source: str = "imgsz", multiple: int = MAX_STRIDE
) -> tuple[int, int]:
    """What `check_imgsz` gives, with sides in between taken up to the next multiple.

    YOLOv5 does so. A line on standard error says what was asked for and what is taken.
    """
    sides = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if all(type(side) is int and side > 0 for side in sides):
        taken = [-(-side // multiple) * multiple for side in sides]
        found = check_imgsz(taken, source, multiple)
        if taken != list(sides):
            asked, size = ("x".join(map(str, each)) for each in (sides, taken))
            print(f"{source} {asked} is taken as {size}: its sides must be multiples of "
                  f"{multiple}, the largest stride of the model.", file=sys.stderr)  # fmt: skip
        return found
    return check_imgsz(value, source, multiple)


_NO_ROOM = "this machine has too little memory for it"


def opencv() -> Any:
    """The cv2 module, told before its import how large an image it may decode.

    InputError with the remedy where it is not installed, ShortageError where it has no room.
    """
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(pixel_limit()))
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # quiet
    try:
        import cv2
    except ImportError as error:
        if is_shortage(error):
            raise ShortageError(f"opencv: {_NO_ROOM} ({error})") from error
        raise InputError(
            "opencv",
            f"cannot be imported ({error})",
            'pip install "yolo-cvm[images]" (or "yolo-core[images]"), to read pictures',
        ) from error
    if not hasattr(cv2, "imdecode"):  # half of it, since another thread found no room for it
        raise ShortageError(f"opencv: {_NO_ROOM}")
    return cv2


def read_image(path: PathLike) -> Array:
    """uint8 [height, width, 3] RGB, turned upright by its EXIF orientation.

    InputError when the file is missing, no image of a kind that is read, larger than the limit
    (`yolo_core.media.picture`), or known to be cut.
    """
    return decode_image(read_bytes(path, FILE_LIMIT), str(path))


def decode_image(data: bytes, source: str) -> Array:
    """The picture in the bytes of an image file, refused as in `read_image`.

    It takes three bytes a pixel, and while it is decoded up to eight more.
    """
    kind = check_picture(data, source)
    cv2 = opencv()
    how, turned = cv2.IMREAD_COLOR, 1
    if kind == "WebP":
        how, turned = how | cv2.IMREAD_IGNORE_ORIENTATION, webp.orientation(data)
    elif kind == "PFM":
        how = cv2.IMREAD_UNCHANGED
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), how)
    except cv2.error as error:
        raise InputError(source, "cannot be decoded", "an image of reasonable size") from error
    if image is None:
        raise InputError(source, "is not an image that can be decoded", READ)
    if image.dtype != np.uint8:
        image = _from_numbers(image, source)
    for at in range(0, len(image), _ROWS_AT_ONCE):  # in place, or it would take twice the memory
        rows = image[at : at + _ROWS_AT_ONCE]
        rows[:] = cv2.cvtColor(rows, cv2.COLOR_BGR2RGB)
    return webp.upright(image, turned) if turned != 1 else image


def _from_numbers(image: Array, source: str) -> Array:
    """A picture of floats as one of bytes; grey becomes three channels alike.

    The numbers mean 0 to 255, as YOLOv5 takes them. InputError for a picture from 0 to 1, which
    would be black, and for what is no number.
    """
    if not np.isfinite(image).all():
        raise InputError(source, "holds infinite numbers or none", "0 to 255")
    if image.max() <= 1:
        raise InputError(source, "holds numbers from 0 to 1, which would be black", "0 to 255")
    grey = image[..., None] if image.ndim == 2 else image
    whole = np.rint(np.clip(grey, 0, 255)).astype(np.uint8)
    return np.broadcast_to(whole, (*whole.shape[:2], 3)).copy()


def taps(source: int, target: int) -> tuple[Array, Array, Array, Array]:
    """For each of `target` pixels of an axis: its two indices among `source` pixels (int64) and
    their weights (int32, 0 to 2048, sum 2048)."""
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
    shifted by 2. These are the scalar rules that OpenCV's INTER_LINEAR is built on. This is the
    definition; a predictor may bring a faster function that gives the same bytes (`resize_of`).
    """
    if image.shape[:2] == (height, width):
        return image.copy()
    x0, x1, left, right = taps(image.shape[1], width)
    y0, y1, upper, lower = taps(image.shape[0], height)
    # Bytes in a row rather than pixels: loops over three channels would take most of the time.
    channels = np.arange(3)
    first, second = ((x[:, None] * 3 + channels).ravel() for x in (x0, x1))
    left, right = np.repeat(left, 3), np.repeat(right, 3)
    source = image.reshape(len(image), -1)
    result = np.empty((height, width, 3), np.uint8)
    flat = result.reshape(height, -1)
    # A few rows at a time stay in the nearest caches, and only the rows that count are read.
    for top in range(0, height, _RESIZED_AT_ONCE):
        part = slice(top, min(top + _RESIZED_AT_ONCE, height))
        wanted, place = np.unique(np.concatenate((y0[part], y1[part])), return_inverse=True)
        taken = source[wanted]
        rows = np.take(taken, first, axis=1) * left
        rows += np.take(taken, second, axis=1) * right
        rows >>= 4
        count = part.stop - part.start
        upper_part, lower_part = rows[place[:count]], rows[place[count:]]
        upper_part *= upper[part, None]
        upper_part >>= 16
        lower_part *= lower[part, None]
        lower_part >>= 16
        upper_part += lower_part
        upper_part += 2
        upper_part >>= 2
        flat[part] = upper_part
    return result


#: A function that does what `resize` does.
Resize = Callable[[Array, int, int], Array]


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
    as the original project did. resize: gives what the function `resize` gives.
    """

    height: int
    width: int
    mode: str = "letterbox"
    fill: int = FILL
    resize: Resize = resize

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
            self.resize(image, rows, columns)
        )
        return canvas, placement
