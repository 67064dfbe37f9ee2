"""Inputs that a node stores: which bytes of a `.npy` file become the content (spec A20, A21).

Read by hand, and not by `yolo_core.yolo.npy`: nodes agree on what the original accepts, which is
more than NumPy writes.
"""

from __future__ import annotations

import re

import numpy as np

from yolo_core.graph import LogicError, RuntimeFault
from yolo_core.yolo.npy import MAGIC

SOURCE = "stored input"

_LENGTH_BYTES = {b"\x01\x00": 2, b"\x02\x00": 4}
_DESCR = re.compile(rb"'descr':\s*'([^']*)'")
_ORDER = re.compile(rb"'fortran_order':\s*(?:True|False)")
_SHAPE = re.compile(rb"'shape':\s*\(([^(]*)\)")
_INTEGER = re.compile(rb"[+-]?[0-9]{1,40}")
_INT64 = 1 << 63
# An original on x86-64 cannot ask for more memory than this; it closes the connection.
_ADDRESSABLE = 1 << 48


def content(data: bytes) -> bytes:
    """The content that a stored input hands to inference.

    Values of one byte as they lie; those of four bytes read in the file's order and written
    little-endian, which a model with an input of four bytes then reads big-endian, as the
    original has it. LogicError for a file that is none of these; RuntimeFault for the three that
    end the original's request without an answer.
    """
    version = data[len(MAGIC) : len(MAGIC) + 2]
    if not data.startswith(MAGIC) or version not in _LENGTH_BYTES:
        raise LogicError(SOURCE, "is no .npy file of version 1.0 or 2.0")
    start = len(MAGIC) + 2 + _LENGTH_BYTES[version]
    end = start + int.from_bytes(data[len(MAGIC) + 2 : start], "little")
    header = data[start:end]
    descr, order, shape = (kind.search(header) for kind in (_DESCR, _ORDER, _SHAPE))
    if descr is None or order is None or shape is None:
        raise LogicError(SOURCE, "its header lacks descr, fortran_order or shape")
    count = _count(shape[1])
    if not descr[1]:
        raise RuntimeFault(SOURCE, "its descr is empty")
    kind = descr[1][1:]
    if kind not in (b"i1", b"i4"):
        raise LogicError(SOURCE, "holds no integers of one or four bytes", "i1 or i4")
    size = count * int(kind[1:])
    if not 0 <= size <= _ADDRESSABLE:
        raise RuntimeFault(SOURCE, "its shape has a negative product, or one beyond all memory")
    if size and len(data) - end < size:
        raise LogicError(SOURCE, f"ends before the {count} values of its shape")
    values = data[end : end + size]
    if kind == b"i4" and descr[1].startswith(b">"):
        return np.frombuffer(values, ">i4").astype("<i4").tobytes()
    return values


def _count(shape: bytes) -> int:
    """Product of the sizes up to the first empty one, as integers of 64 bits."""
    count = 1
    for size in shape.split(b","):
        text = size.strip(b" ")
        if not text:
            break
        if not _INTEGER.fullmatch(text) or not -_INT64 <= int(text) < _INT64:
            raise RuntimeFault(SOURCE, "a size of its shape is not an integer")
        count = (count * int(text) + _INT64) % (2 * _INT64) - _INT64
    return count
