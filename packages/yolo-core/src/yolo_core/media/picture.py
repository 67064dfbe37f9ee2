"""What the bytes of a picture file say before anything is decoded: its kind and its size.

Only kinds are read of which every supported OpenCV makes the same pixels; anything else is refused
by name. Recorded digests in `tests/test_pixels.py` hold OpenCV 4.9 to 5.0 to this. A picture's size
is checked against a limit here, since a decoder takes memory for what a header says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from yolo_core.errors import InputError
from yolo_core.media import jpeg, png, tiff, webp

#: Most pixels of a picture, unless the environment variable `LIMIT_VARIABLE` says another number.
PIXEL_LIMIT = 1 << 27
LIMIT_VARIABLE = "YOLO_MAX_PIXELS"
#: A file may always unpack to so many pixels, and beyond to so many for each of its bytes: no
#: photograph comes near (JPEG has at most about 100), and a file of a kilobyte cannot ask for a
#: gigabyte.
_FREE_PIXELS, _PIXELS_PER_BYTE = 1 << 24, 256

READ = "a JPEG, PNG, BMP, TIFF, PFM or still WebP"

_PFM = re.compile(rb"P[Ff]\s+(\d{1,9})\s+(\d{1,9})\s+([+-]?[0-9.eE+-]{1,20})\s")
_FOREIGN = {
    "a GIF": (rb"GIF8",),
    "an AVIF": (rb".{4}ftypavi[fs]",),
    "a HEIC": (rb".{4}ftyp(hei|hev|mif1|msf1)",),
    "a JPEG 2000": (rb"\0\0\0\x0cjP  ", rb"\xff\x4f\xff\x51"),
    "a JPEG XL": (rb"\xff\x0a", rb"\0\0\0\x0cJXL "),
    "an OpenEXR picture": (rb"\x76\x2f\x31\x01",),
    "a Radiance picture": (rb"#\?R",),
    "a Photoshop file": (rb"8BPS",),
    "a portable anymap": (rb"P[1-7]\s",),
    "a Sun raster": (rb"\x59\xa6\x6a\x95",),
}


def check_picture(data: bytes, source: str) -> str:
    """The kind of a picture: "JPEG", "PNG", "BMP", "WebP", "TIFF" or "PFM".

    data: the whole file. InputError where the kind is not read, the file is known to be damaged, or
    the picture has more pixels than the limit.
    """
    found = next((entry for entry in _KINDS if entry[1](data)), None)
    if found is None:
        raise _refused(data, source)
    kind, _, size = found
    width, height = size(data, source)
    if width < 1 or height < 1:
        raise InputError(source, f"is no {kind} of any size", "a complete image")
    check_size(width, height, len(data), source)
    if kind == "PNG":
        png.check(data, source)
    return kind


def pixel_limit() -> int:
    """Most pixels of a picture. InputError where the environment names no number."""
    text = os.environ.get(LIMIT_VARIABLE)
    if text is None:
        return PIXEL_LIMIT
    if re.fullmatch("[1-9][0-9]{0,11}", text) is None:
        raise InputError(LIMIT_VARIABLE, f"is {text!r:.40}", "a number of pixels")
    return int(text)


def check_size(width: int, height: int, length: int | None, source: str) -> None:
    """InputError for more pixels than a picture, or a frame, may have in a file of `length` bytes.

    length: None where there is no file.
    """
    limit, told = pixel_limit(), "" if length is None else f" in {length} bytes"
    if length is not None and LIMIT_VARIABLE not in os.environ:
        limit = min(limit, max(_FREE_PIXELS, length * _PIXELS_PER_BYTE))
    if width * height > limit:
        cause = f"has {width}x{height} pixels{told}, more than the limit of {limit}"
        raise InputError(source, cause, f"a smaller image, or {LIMIT_VARIABLE}={width * height}")


def _refused(data: bytes, source: str) -> InputError:
    for kind, patterns in _FOREIGN.items():
        if any(re.match(pattern, data[:32], re.DOTALL) for pattern in patterns):
            cause = f"is {kind}, which OpenCV's releases read differently or not at all"
            return InputError(source, cause, READ)
    return InputError(source, "is not an image that can be decoded", READ)


def _bmp_size(data: bytes, source: str) -> tuple[int, int]:
    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], "little", signed=size == 4)

    if number(14, 4) == 12:  # the header of OS/2
        return number(18, 2), number(20, 2)
    return number(18, 4), abs(number(22, 4))  # a negative height: rows from the top


def _pfm_size(data: bytes, source: str) -> tuple[int, int]:
    found = _PFM.match(data[:64])
    return (int(found[1]), int(found[2])) if found else (0, 0)


_Size = Callable[[bytes, str], "tuple[int, int]"]
_KINDS: tuple[tuple[str, Callable[[bytes], bool], _Size], ...] = (
    ("JPEG", lambda data: data[:2] == b"\xff\xd8", jpeg.size),
    ("PNG", lambda data: data[:8] == png.START, png.size),
    ("BMP", lambda data: data[:2] == b"BM", _bmp_size),
    ("WebP", webp.is_webp, webp.size),
    ("TIFF", lambda data: data[:4] in tiff.STARTS, tiff.size),
    ("PFM", lambda data: _PFM.match(data[:64]) is not None, _pfm_size),
)
