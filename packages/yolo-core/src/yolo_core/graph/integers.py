"""The numbers of the machine: int32, precisions, and the helper functions of the rules.

Source: spec notation and 3.1. Nothing here knows operators or graphs.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph.errors import LogicError

Shape = tuple[int, ...]

INT32_MIN = -(2**31)
INT32_MAX = 2**31 - 1

MAX_PRECISION = 32
MAX_NDIM = 6
MAX_DIM = 2**24
MAX_ELEMENTS = 2**30


def limit(precision: int) -> int:
    """R(p) = 2^(p-1) - 1, the largest magnitude of a p-bit integer; R(1) = 0."""
    result: int = 2 ** (precision - 1) - 1
    return result


def bit_length(n: int) -> int:
    """bl(n): 0 for 0, 8 for 255, 9 for 256; n >= 0."""
    return int(n).bit_length()


def bits_for(magnitude: int) -> int:
    """The smallest precision from 2 on that holds -magnitude to magnitude."""
    return max(bit_length(magnitude) + 1, 2)


def growth(terms: int) -> int:
    """RS(k) = bl(k): the bits that a sum of k terms may grow by (spec 3.1)."""
    return bit_length(terms)


def precision_of(magnitude: int) -> int:
    """NP(n) = bl(n+1) + 1: the precision declared for the magnitude n >= 0 (spec 3.1).

    One more than needed where n + 1 is a power of two; the original counts so.
    """
    return bit_length(magnitude + 1) + 1


def elements(shape: Iterable[int]) -> int:
    """Number of elements of a shape, in exact arithmetic."""
    product = 1
    for dim in shape:
        product *= dim
    return product


def check_shape(shape: Shape) -> None:
    """Refuse a shape outside the limits of spec 4.5: 1..6 dims of 1..2^24, at most 2^30 elements.

    Raises LogicError.
    """
    if not 1 <= len(shape) <= MAX_NDIM:
        raise LogicError("shape", f"{len(shape)} dimensions", f"1..{MAX_NDIM}")
    for dim in shape:
        if not 1 <= dim <= MAX_DIM:
            raise LogicError("shape", f"dimension {dim}", "1..2^24")
    if elements(shape) > MAX_ELEMENTS:
        raise LogicError("shape", f"{elements(shape)} elements in {shape}", "at most 2^30")


def clamp(x: Array, precision: int) -> Array:
    """Each element of the int32 array brought into [-R(p), R(p)]."""
    bound = limit(precision)
    result: Array = np.minimum(np.maximum(x, np.int32(-bound)), np.int32(bound))
    return result
