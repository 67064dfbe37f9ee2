"""Activation tables: from a 12-bit index to codes, with a menu of scales shared by the network.

A convolution's accumulator becomes an index of INDEX_BITS bits that spans what its activation can
tell apart; a table maps it to the code of the activation. One table belongs to one threshold T:
code = round(value / scale) + zero, where the codes -127…127 span the activation's minimum to T.
All tables of a network lie end to end in one parameter, and a channel picks its own by the offset
that is added to its index, so scales per channel cost nothing at run time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yolo_core.arrays import Array
from yolo_core.yolo.elementary import sigmoid

INDEX_BITS = 12
INDEX_LIMIT = (1 << (INDEX_BITS - 1)) - 1
TABLE_SIZE = 2 * INDEX_LIMIT + 1
CODE_LIMIT = 127
LEVELS = 2 * CODE_LIMIT
#: A fine tensor carries this many more steps per step, as a second code of its own.
FINE_SHIFT = 3
FINE = 1 << FINE_SHIFT
#: Minimum of x * sigmoid(x), and how far below zero its argument still matters.
SILU_LOW, SILU_REACH = -0.27846454276107374, 8.0
#: The same of Hardswish, exactly, and of Mish.
HARDSWISH_LOW, HARDSWISH_REACH = -0.375, 3.0
MISH_LOW, MISH_REACH = -0.30884307, 12.0
#: Arguments of a leaky ReLU go this many times as far below zero as above.
LEAKY_REACH = 2.0
#: Minimum of each activation that has one of its own, and how far below zero arguments matter.
_DIPS = {
    "silu": (SILU_LOW, SILU_REACH),
    "hardswish": (HARDSWISH_LOW, HARDSWISH_REACH),
    "mish": (MISH_LOW, MISH_REACH),
}


def lowest(activation: str) -> float:
    """The minimum of an activation that has one of its own below zero, else 0."""
    return _DIPS.get(activation, (0.0, 0.0))[0]


def activation_low(activation: str, threshold: Array, slope: float) -> Array:
    """The smallest value that codes up to `threshold` have to span."""
    if activation in _DIPS:
        return np.full_like(threshold, _DIPS[activation][0])
    if activation == "identity":
        return -threshold
    return -slope * LEAKY_REACH * threshold if activation == "leaky" else np.zeros_like(threshold)


def activated(activation: str, x: Array, slope: float) -> Array:
    """The activation of float64 arguments; the same bits on every machine."""
    if activation == "silu":
        return x * sigmoid(x)
    if activation == "mish":
        # With s = 1 / (1 + exp(x)): tanh(log(1 + exp(x))) = (1 - s^2) / (1 + s^2).
        square = sigmoid(-x) * sigmoid(-x)
        return x * ((1.0 - square) / (1.0 + square))
    if activation == "hardswish":
        return x * np.clip(x + 3.0, 0.0, 6.0) / 6.0
    if activation == "identity":
        return x
    if activation == "relu6":
        return np.clip(x, 0.0, 6.0)
    return np.where(x > 0, x, x * slope)


@dataclass(frozen=True)
class Table:
    """One activation with one threshold.

    span: largest value whose argument has an index of its own; the threshold, or more where the
    same index is also read by a table of wider codes.
    """

    activation: str
    threshold: float
    span: float
    slope: float = 0.0

    @property
    def low(self) -> float:
        """Smallest value that has a code."""
        return float(activation_low(self.activation, np.array(self.threshold), self.slope))

    @property
    def scale(self) -> float:
        """Value of one code step."""
        return (self.threshold - self.low) / LEVELS

    @property
    def zero(self) -> int:
        """Code of the value 0."""
        return -CODE_LIMIT - round(self.low / self.scale)

    @property
    def _reach(self) -> float:
        if self.activation in _DIPS:
            return _DIPS[self.activation][1]
        if self.activation == "identity":
            return self.span
        return LEAKY_REACH * self.span if self.activation == "leaky" else self.span / 64

    @property
    def _top(self) -> float:
        # x - f(x) is at most -f's minimum where x is positive: for SiLU and Hardswish f(x) - x is
        # f(-x); for Mish it is smaller still.
        return self.span - _DIPS[self.activation][0] if self.activation in _DIPS else self.span

    @property
    def index_step(self) -> float:
        """Difference of the activation's arguments at neighbouring indices."""
        return (self._top + self._reach) / (2 * INDEX_LIMIT)

    @property
    def index_centre(self) -> float:
        """Argument at index 0 (the middle of the table)."""
        return (self._top - self._reach) / 2

    def values(self) -> Array:
        """The activation at every index, float64 [TABLE_SIZE]; the same bits everywhere."""
        x = self.index_centre + np.arange(-INDEX_LIMIT, INDEX_LIMIT + 1) * self.index_step
        return activated(self.activation, x, self.slope)

    def codes(self) -> Array:
        """int64 [TABLE_SIZE] in -127…127."""
        codes = np.floor(self.values() / self.scale + 0.5).astype(np.int64) + self.zero
        result: Array = np.clip(codes, -CODE_LIMIT, CODE_LIMIT)
        return result

    def fine_codes(self) -> Array:
        """What `codes` leaves over, in steps of scale / FINE: int64 [TABLE_SIZE], small."""
        rest = self.values() / self.scale - (self.codes() - self.zero)
        result: Array = np.clip(np.floor(rest * FINE + 0.5).astype(np.int64), -FINE, FINE)
        return result

    def wide_codes(self, exponent: int) -> Array:
        """Codes of step 2^-exponent around zero, for sums: int64 [TABLE_SIZE]."""
        result: Array = np.floor(np.ldexp(self.values(), exponent) + 0.5).astype(np.int64)
        return result
