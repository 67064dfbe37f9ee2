"""Exponential, sigmoid and logarithm that are the same bits on every machine.

Library functions differ between processors. These use nothing but IEEE +, -, *, / and exact
scaling by powers of two, each rounded by itself, so tables and detections made with them never
depend on where they were made.
"""

from __future__ import annotations

import numpy as np

from yolo_core.arrays import Array

#: Beyond this a logit decides nothing any more: sigmoid(±40) is 1 or 4e-18.
_LOGIT_LIMIT = 40.0

_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10
_SQRT_HALF = 0.7071067811865476
# 1/k! for Horner's rule; 13 terms are exact to double precision on |r| <= ln(2) / 2.
_INVERSE_FACTORIALS = tuple(
    1.0 / factorial
    for factorial in (6227020800, 479001600, 39916800, 3628800, 362880, 40320, 5040, 720, 120, 24,
                      6, 2, 1, 1)
)  # fmt: skip
# 1/(2k + 1) for the series of atanh; 12 terms are exact to double precision on |s| <= 0.172.
_ODD_RECIPROCALS = tuple(1.0 / odd for odd in range(23, 0, -2))


def exponential(x: Array) -> Array:
    """e^x in float64; |x| at most 700."""
    x = np.asarray(x, np.float64)
    power = np.rint(x * _LOG2_E)
    rest = (x - power * _LN2_HIGH) - power * _LN2_LOW
    result = np.full_like(rest, _INVERSE_FACTORIALS[0])
    for coefficient in _INVERSE_FACTORIALS[1:]:
        result *= rest
        result += coefficient
    scaled: Array = np.ldexp(result, power.astype(np.int32))
    return scaled


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x) in float64; x is limited to ±40."""
    negated = -np.clip(np.asarray(x, np.float64), -_LOGIT_LIMIT, _LOGIT_LIMIT)
    result: Array = 1.0 / (1.0 + exponential(negated))
    return result


def log2(x: Array) -> Array:
    """The logarithm to base 2 of positive numbers, float64."""
    mantissa, power = np.frexp(np.asarray(x, np.float64))
    small = mantissa < _SQRT_HALF
    mantissa = np.where(small, mantissa * 2.0, mantissa)
    exponent = power - small.astype(power.dtype)
    ratio = (mantissa - 1.0) / (mantissa + 1.0)
    square = ratio * ratio
    series = np.full_like(ratio, _ODD_RECIPROCALS[0])
    for coefficient in _ODD_RECIPROCALS[1:]:
        series *= square
        series += coefficient
    result: Array = exponent.astype(np.float64) + (2.0 * ratio * series) * _LOG2_E
    return result
