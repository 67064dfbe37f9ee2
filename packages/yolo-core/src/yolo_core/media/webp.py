"""What decoders of WebP disagree about: orientation and animation, read from the file itself.

OpenCV to 4.12 shows a WebP as it is stored and from 4.13 on turned by its EXIF orientation; of an
animated one some versions read the first frame and some nothing. A picture must have one answer.
Source: the WebP container specification (RIFF chunks) and TIFF 6.0 (the directory in EXIF).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError

_ORIENTATION, _SHORT = 0x0112, 3
_ENTRY = 12
_SIDE = 0x3FFF
_MOST_ENTRIES = 1000


def is_webp(data: bytes) -> bool:
    """Whether the bytes of a file are a WebP."""
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def size(data: bytes, source: str) -> tuple[int, int]:
    """(width, height) of a WebP; (0, 0) where it says none. InputError for an animated one."""
    if is_animated(data):
        raise InputError(source, "is an animated WebP", "a still one")
    for name, content in _chunks(data):
        if name == b"VP8X":
            return _number(content, 4, 3) + 1, _number(content, 7, 3) + 1
        if name == b"VP8L":
            sides = _number(content, 1, 4)
            return (sides & _SIDE) + 1, (sides >> 14 & _SIDE) + 1
        if name == b"VP8 ":
            return _number(content, 6, 2) & _SIDE, _number(content, 8, 2) & _SIDE
    return 0, 0


def _number(content: bytes, at: int, size: int) -> int:
    return int.from_bytes(content[at : at + size], "little")


def is_animated(data: bytes) -> bool:
    """Whether a WebP holds frames instead of one picture."""
    return any(name in (b"ANIM", b"ANMF") for name, _ in _chunks(data))


def orientation(data: bytes) -> int:
    """The EXIF orientation of a WebP, 1 to 8; 1 where it says none, or nothing sensible."""
    for name, content in _chunks(data):
        if name == b"EXIF":
            return _from_exif(content[6:] if content[:6] == b"Exif\0\0" else content)
    return 1


def upright(image: Array, orientation: int) -> Array:
    """An image [h, w, 3] that was stored with this orientation, as it is meant to be seen."""
    if orientation in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        yield data[at : at + 4], data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2  # chunks are padded to even lengths


def _from_exif(tiff: bytes) -> int:
    if tiff[:4] == b"II*\0":
        little = True
    elif tiff[:4] == b"MM\0*":
        little = False
    else:
        return 1

    def value(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], "little" if little else "big")

    first = value(4, 4)
    for number in range(min(value(first, 2), _MOST_ENTRIES)):
        at = first + 2 + _ENTRY * number
        if value(at, 2) == _ORIENTATION and value(at + 2, 2) == _SHORT:
            found = value(at + 8, 2)
            return found if 1 <= found <= 8 else 1
    return 1
