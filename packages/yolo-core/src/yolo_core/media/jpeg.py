"""The size of a JPEG, and whether all of its scans are there, from its markers.

Decoders fill what is missing with grey or, of a progressive picture, with a blur that differs from
one release of libjpeg-turbo to the next, and call it a success. Source: ITU-T T.81 (markers B.1,
frame and scan headers B.2.2 and B.2.3, progressive scans G.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from yolo_core.errors import InputError

_START_OF_SCAN, _END = 0xDA, 0xD9
_PROGRESSIVE = 0xC2
_FRAMES = (0xC0, 0xC1, _PROGRESSIVE)
#: Frames of other processes: lossless, hierarchical, arithmetic coding.
_OTHER_FRAMES = (0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
#: Markers without a segment: TEM and the restarts.
_BARE = (0x01, *range(0xD0, 0xD8))
#: What ends the coded data of a scan: any marker but a stuffed zero, a fill byte or a restart.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_COEFFICIENTS = 64
#: Most pixels that all scans of a picture go over together. A scan of a few bytes costs as much
#: time as any other; pictures as they are made have about ten.
_SCANNED = 1 << 31
_WHOLE = "a complete image"


def size(data: bytes, source: str) -> tuple[int, int]:
    """(width, height). InputError for a JPEG that ends too early, or that decoders do not read."""
    frame: bytes | None = None
    progressive, scans = False, 0
    missing: dict[int, list[int]] = {}
    for marker, segment in _segments(data):
        if marker in _OTHER_FRAMES or (marker in _FRAMES and segment[:1] != b"\x08"):
            raise InputError(source, "is a JPEG of a kind that is not read", "8 bits, Huffman")
        if marker in _FRAMES and frame is None:
            frame, progressive = segment, marker == _PROGRESSIVE
            # For every component the lowest bit that is known of each coefficient; -1 is none.
            missing = {segment[at]: [-1] * _COEFFICIENTS for at in range(6, len(segment), 3)}
        elif marker == _START_OF_SCAN:
            scans += 1
            _note_scan(segment, missing, progressive)
        elif marker == _END:
            break
    else:
        raise InputError(source, "is a JPEG that ends too early", _WHOLE)
    if frame is None:
        raise InputError(source, "is not an image that can be decoded", _WHOLE)
    if not missing or any(any(known) for known in missing.values()):
        raise InputError(source, "is a JPEG that ends too early (scans are missing)", _WHOLE)
    width, height = int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big")
    if width * height * scans > _SCANNED:
        cause = f"is a JPEG of {scans} scans of {width}x{height} pixels"
        raise InputError(source, cause, "fewer scans")
    return width, height


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of every segment to the end marker; coded data is stepped over.

    Segments hold pictures of their own (thumbnails), so their length counts, not what is in them.
    """
    at = 2
    while True:
        found = _MARKER.search(data, at)
        if found is None:
            return
        marker, at = data[found.start() + 1], found.end()
        if marker == _END:
            yield marker, b""
            return
        if marker in _BARE:
            continue
        length = int.from_bytes(data[at : at + 2], "big")
        segment = data[at + 2 : at + length]
        if length < 2 or len(segment) < length - 2:
            return
        yield marker, segment
        at += length


def _note_scan(segment: bytes, missing: dict[int, list[int]], progressive: bool) -> None:
    """Take note of what a scan brings. Of a sequential one decoders heed the components alone."""
    count = segment[0] if segment else 0
    if len(segment) != 4 + 2 * count:
        return
    first, last, precision = segment[1 + 2 * count :] if progressive else (0, 63, 0)
    for at in range(1, 1 + 2 * count, 2):
        known = missing.get(segment[at])
        if known is not None:
            for k in range(first, min(last, _COEFFICIENTS - 1) + 1):
                known[k] = precision & 15
