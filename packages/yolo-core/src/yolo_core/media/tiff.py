"""What the first picture of a TIFF is: its size, and whether it is of a form that is read.

OpenCV's releases differ about tiles whose area is no multiple of 1,024 pixels, and floating-point
samples have no scale of their own; a raw camera file (DNG) keeps a small preview in the place of
the picture. Source: TIFF 6.0 (section 2 and the tags), DNG 1.4, BigTIFF.
"""

from __future__ import annotations

from dataclasses import dataclass

from yolo_core.errors import InputError

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _COLOR = 254, 256, 257, 258, 259, 262
_TILE_WIDTH, _TILE_HEIGHT, _SAMPLE_FORMAT = 322, 323, 339
#: None, CCITT (three), LZW, JPEG, deflate (two), PackBits.
_COMPRESSIONS = (1, 2, 3, 4, 5, 7, 8, 32946, 32773)
#: White or black is zero, RGB, palette, CMYK, YCbCr, Lab.
_COLORS = (0, 1, 2, 3, 5, 6, 8)
_SIZES = {1: 1, 3: 2, 4: 4, 16: 8}
_TILE_AREA = 1024
_MOST_ENTRIES, _MOST_VALUES = 1000, 16
_EXPECTED = "whole numbers of 1, 8 or 16 bits"


@dataclass(frozen=True)
class _File:
    data: bytes
    little: bool
    big: bool

    def number(self, at: int, size: int) -> int:
        return int.from_bytes(self.data[at : at + size], "little" if self.little else "big")

    def tags(self) -> dict[int, tuple[int, ...]]:
        """Whole numbers in the first directory, by tag."""
        wide, entry, counted = (8, 20, 8) if self.big else (4, 12, 2)
        first = self.number(8 if self.big else 4, wide)
        found: dict[int, tuple[int, ...]] = {}
        for number in range(min(self.number(first, counted), _MOST_ENTRIES)):
            at = first + counted + entry * number
            tag, kind = self.number(at, 2), self.number(at + 2, 2)
            size, count = _SIZES.get(kind), self.number(at + 4, wide)
            if size is None or count < 1:
                continue
            place = at + 4 + wide
            if size * count > wide:
                place = self.number(place, wide)
            values = (self.number(place + size * k, size) for k in range(min(count, _MOST_VALUES)))
            found[tag] = tuple(values)
        return found


def size(data: bytes, source: str) -> tuple[int, int]:
    """(width, height) of the first picture. InputError for a form that is not read."""
    tags = _File(data, data[:2] == b"II", data[2:3] == b"+" or data[3:4] == b"+").tags()
    faults = {
        "holds raw sensor data behind a preview": tags.get(_SUBFILE, (0,))[0] & 1 == 1,
        "holds colours of an unknown kind": tags.get(_COLOR, (1,))[0] not in _COLORS,
        "is compressed in a way that is not read": (
            tags.get(_COMPRESSION, (1,))[0] not in _COMPRESSIONS
        ),
        "has samples of floating-point or signed numbers": (
            not set(tags.get(_SAMPLE_FORMAT, (1,))) <= {1, 4}
        ),
        "has samples of other sizes": not set(tags.get(_BITS, (1,))) <= {1, 8, 16},
        "has tiles that OpenCV's releases read differently": (
            tags.get(_TILE_WIDTH, (0,))[0] * tags.get(_TILE_HEIGHT, (0,))[0] % _TILE_AREA != 0
        ),
    }
    for fault, found in faults.items():
        if found:
            raise InputError(source, f"is a TIFF that {fault}", f"{_EXPECTED}, in strips")
    return tags.get(_WIDTH, (0,))[0], tags.get(_HEIGHT, (0,))[0]
