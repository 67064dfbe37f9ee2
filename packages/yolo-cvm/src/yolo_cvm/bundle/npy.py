"""The `.npy` files that the chain stores as inputs: format 1.0, integers, nothing pickled.

Written by hand because these bytes enter an info hash, and NumPy's own writer pads the header
differently from release to release.
"""

from __future__ import annotations

import math

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.yolo.npy import MAGIC, read_npy_header

_VERSION = b"\x01\x00"
_ALIGNMENT = 64
_EXPECTED = "an .npy file of int8 values in C order, as numpy.save writes it"


def encode(values: Array) -> bytes:
    """The file of an int8 or little-endian int32 array."""
    descr = np.lib.format.dtype_to_descr(values.dtype)
    shape = tuple(int(size) for size in values.shape)
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    padding = -(len(MAGIC) + len(_VERSION) + 2 + len(header) + 1) % _ALIGNMENT
    text = (header + " " * padding + "\n").encode("ascii")
    return (
        MAGIC
        + _VERSION
        + len(text).to_bytes(2, "little")
        + text
        + np.ascontiguousarray(values).tobytes()
    )


def int8_shape(data: bytes, source: str) -> tuple[int, ...]:
    """The shape of a file of int8 values in C order. InputError for any other file."""
    header = read_npy_header(data, source, "the input", _EXPECTED)
    if data[len(MAGIC)] != 1 or header.code != "|i1":
        raise InputError(source, f"holds {header.code} values", _EXPECTED)
    count = len(data) - header.start
    if count != math.prod(header.shape):
        raise InputError(
            source,
            f"holds {count} values",
            f"{math.prod(header.shape)} for its shape {header.shape}",
        )
    return header.shape
