"""What a PNG file says of itself: its size, and whether its pieces are sound.

The decoder would say the second on the terminal in words of its own, without the file's name.
Source: the PNG specification, third edition, sections 5 (chunks and their checksums) and 11.2
(critical chunks).
"""

from __future__ import annotations

import zlib

from yolo_core.errors import InputError

START = b"\x89PNG\r\n\x1a\n"
#: Longest side that the decoder reads.
_SIDE = 1_000_000
_MOST_CHUNKS = 1 << 18  # a picture of 100 MB has some ten thousand
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PALETTE = 3
_ANCILLARY = 0x20  # of the first letter of a chunk's name: decoders may leave it out


def size(data: bytes, source: str) -> tuple[int, int]:
    """(width, height) by the header of a PNG; (0, 0) where it says none."""
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def check(data: bytes, source: str) -> None:
    """InputError unless the critical chunks are known, whole, and in their order."""
    whole = memoryview(data)
    at = len(START)
    names: list[bytes] = []
    for _ in range(_MOST_CHUNKS):
        if names and names[-1] == b"IEND":
            break
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 8 + length
        if end + 4 > len(data):
            raise InputError(source, "is a PNG that ends too early", "a complete image")
        if not name[0] & _ANCILLARY:
            if zlib.crc32(whole[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
                raise InputError(
                    source, f"is a PNG with a damaged piece at byte {at}", "its checksum"
                )
            names.append(name)
        at = end + 4
    _check_order(names, source)
    _check_header(data, source)
    if data[25] == _PALETTE and names[1] != b"PLTE":
        raise InputError(source, "is a PNG without its palette", "a complete image")


def _check_header(data: bytes, source: str) -> None:
    width, height = size(data, source)
    if max(width, height) > _SIDE:
        raise InputError(source, f"is a PNG of {width}x{height} pixels", f"sides up to {_SIDE}")
    if data[8:12] != b"\0\0\0\x0d" or data[24] not in _DEPTHS.get(data[25], ()):
        raise InputError(source, "is a PNG whose header is none", "one of the PNG specification")


def _check_order(names: list[bytes], source: str) -> None:
    """names: of critical chunks."""
    first = 2 if names[1:2] == [b"PLTE"] else 1
    pictures = names[first:-1]
    if names[:1] != [b"IHDR"] or set(pictures) != {b"IDAT"} or names[-1] != b"IEND":
        raise InputError(
            source, "is a PNG of unknown or misplaced pieces", "IHDR, PLTE or none, IDAT, IEND"
        )
