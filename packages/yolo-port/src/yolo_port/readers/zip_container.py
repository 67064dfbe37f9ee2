"""Opening a zip from outside without building a million entries of it first."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

from yolo_core.errors import InputError

#: Most entries of a zip: yolov5x has 1,300 tensors, and its optimizer twice as many.
ENTRY_LIMIT = 20_000
_DIRECTORY_BYTES_PER_ENTRY = 200
_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_END_BYTES, _END64_BYTES, _LOCATOR64_BYTES, _COMMENT_BYTES = 22, 56, 20, 65535
# Where the size of the directory stands in either end record.
_SIZE = struct.Struct("<I"), 12
_SIZE64 = struct.Struct("<Q"), 40


def open_zip(path: Path, expected: str) -> zipfile.ZipFile:
    """The zip at `path`. InputError for damage, too many entries and a file that is no zip."""
    try:
        size = _directory_size(path)
        if size > ENTRY_LIMIT * _DIRECTORY_BYTES_PER_ENTRY:
            raise InputError(path, f"has a zip directory of {size} bytes", expected)
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InputError(path, f"is a damaged or truncated zip ({error})", expected) from error
    if len(archive.namelist()) > ENTRY_LIMIT:
        archive.close()
        raise InputError(path, f"has more than {ENTRY_LIMIT} zip entries", expected)
    return archive


def _directory_size(path: Path) -> int:
    """Bytes of the central directory as the end of the file announces them."""
    with open(path, "rb") as stream:
        length = stream.seek(0, 2)
        reach = _END_BYTES + _COMMENT_BYTES + _LOCATOR64_BYTES + _END64_BYTES
        stream.seek(max(length - reach, 0))
        tail = stream.read()
    end = tail.rfind(_END)
    if end < 0 or len(tail) - end < _END_BYTES:
        raise zipfile.BadZipFile("no end record")
    layout, place = _SIZE
    locator = end - _LOCATOR64_BYTES
    end64 = locator - _END64_BYTES
    if end64 >= 0 and tail.startswith(_LOCATOR64, locator) and tail.startswith(_END64, end64):
        end, (layout, place) = end64, _SIZE64
    return int(layout.unpack_from(tail, end + place)[0])
