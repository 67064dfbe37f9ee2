"""Integers that need no file: the same on every machine and in every language."""

from __future__ import annotations

import hashlib

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph.integers import elements, limit


def values(seed: str, shape: tuple[int, ...], precision: int) -> Array:
    """Integers of the whole range of a precision, from SHAKE-256 of the seed."""
    stream = hashlib.shake_256(seed.encode("ascii")).digest(4 * elements(shape))
    wide = np.frombuffer(stream, "<u4").astype(np.int64)
    bound = limit(precision)
    return (wide % (2 * bound + 1) - bound).astype(np.int32).reshape(shape)
