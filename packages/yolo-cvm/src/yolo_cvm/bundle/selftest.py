"""The vector by which a bundle proves that it computes: one input made by a rule, two digests.

The input needs no file: it is a stretch of SHAKE-256. Its integers fill the declared precision,
so every branch of a network sees large and small values of both signs.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import numpy as np

from yolo_core.arrays import Array

#: What the manifest states, so that another implementation can make the same input.
RULE = (
    "bytes of SHAKE-256 over the ASCII text 'yolo-cvm self-test/1', read as little-endian signed "
    "integers of 8 bits (precision up to 8) or 32 bits, shifted right arithmetically to the "
    "input's precision, clamped to +-(2^(precision-1) - 1), row-major; digests as in receipts: "
    "SHA-256 over 'int32 ', the sizes joined by 'x', a line feed, the values as little-endian int32"
)
_SEED = b"yolo-cvm self-test/1"


def make_input(shape: Sequence[int], precision: int) -> Array:
    """The self-test's input. Returns int8 (precision up to 8) or int32, of the given shape."""
    kind = np.dtype("<i1") if precision <= 8 else np.dtype("<i4")
    stream = hashlib.shake_256(_SEED).digest(math.prod(shape) * kind.itemsize)
    limit = (1 << (precision - 1)) - 1
    values = np.right_shift(np.frombuffer(stream, kind), 8 * kind.itemsize - precision)
    result: Array = np.maximum(values, -limit).astype(kind).reshape(shape)
    return result
