"""The `.npy` files that the chain stores as inputs: format 1.0, integers, nothing pickled.

NumPy's own writer pads the header differently from release to release, and these bytes enter an
info hash; its reader evaluates the header as Python. Both are a few lines here.
"""

from __future__ import annotations

import math
import re

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError

_MAGIC = b"\x93NUMPY\x01\x00"
_ALIGNMENT = 64
_HEADER = re.compile(
    rb"\{'descr': '\|i1', 'fortran_order': False, 'shape': \(((?:\d{1,9}, ?)*\d{0,9})\), ?\} *\n"
)


def encode(values: Array) -> bytes:
    """The file of an int8 or little-endian int32 array."""
    descr = np.lib.format.dtype_to_descr(values.dtype)
    shape = tuple(int(size) for size in values.shape)
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    padding = -(len(_MAGIC) + 2 + len(header) + 1) % _ALIGNMENT
    text = (header + " " * padding + "\n").encode("ascii")
    return _MAGIC + len(text).to_bytes(2, "little") + text + np.ascontiguousarray(values).tobytes()


def int8_shape(data: bytes, source: str) -> tuple[int, ...]:
    """The shape of a file of int8 values in C order. InputError for any other file."""
    start = len(_MAGIC) + 2
    end = start + int.from_bytes(data[len(_MAGIC) : start], "little")
    header = _HEADER.fullmatch(data[start:end])
    if data[: len(_MAGIC)] != _MAGIC or header is None:
        raise InputError(source, "is no .npy file of int8 in C order", "one written by numpy.save")
    shape = tuple(int(size) for size in header[1].split(b",") if size.strip())
    if len(data) - end != math.prod(shape):
        raise InputError(
            source, f"holds {len(data) - end} values", f"{math.prod(shape)} for its shape {shape}"
        )
    return shape
