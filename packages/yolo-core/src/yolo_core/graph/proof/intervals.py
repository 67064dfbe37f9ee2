"""Intervals of tensors: what `ranges` computes with and `bounds` certifies.

An interval may be as fine as one per element or as coarse as one per tensor; nothing here knows
what an operator does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph.integers import Shape
from yolo_core.graph.operators import Attributes
from yolo_core.graph.operators.operator import Operator

# Ranges finer than this many intervals are merged; a channel axis nearly always fits.
MAX_INTERVALS = 4096


@dataclass(frozen=True)
class Range:
    """Lowest and highest value, at a grain of the tensor's own axes.

    lo, hi: int64 arrays of the tensor's rank; each dim is the tensor's dim or 1, where 1 says
    that the interval holds along the whole axis.
    """

    lo: Array
    hi: Array

    @property
    def low(self) -> int:
        """The lowest value of the whole tensor."""
        return int(self.lo.min())

    @property
    def high(self) -> int:
        """The highest value of the whole tensor."""
        return int(self.hi.max())

    def merged(self, *axes: int) -> Range:
        """The range with the given axes merged to one interval."""
        return Range(self.lo.min(axis=axes, keepdims=True), self.hi.max(axis=axes, keepdims=True))

    def moved(self, move: Callable[[Array], Array]) -> Range:
        """The range whose both ends are rearranged by `move`."""
        return Range(move(self.lo), move(self.hi))

    def including(self, low: int, high: int) -> Range:
        """The smallest range that also holds low..high."""
        return Range(np.minimum(self.lo, low), np.maximum(self.hi, high))

    def compact(self, most: int = MAX_INTERVALS) -> Range:
        """The same range with at most `most` intervals; height and width merge first."""
        result = self
        order = [3, 2] if self.lo.ndim == 4 else []
        order += sorted(range(self.lo.ndim), key=lambda axis: -self.lo.shape[axis])
        for axis in order:
            if result.lo.size <= most:
                break
            result = result.merged(axis)
        return result


@dataclass(frozen=True)
class Site:
    """One node as the range functions see it.

    x: ranges of the operands; shapes, y: shapes of operands and results; a: attributes;
    values: the exact values of operands that are parameters, int8 or int32, None for the others.
    """

    operator: Operator
    x: Sequence[Range]
    shapes: Sequence[Shape]
    y: Sequence[Shape]
    a: Attributes
    values: Sequence[Array | None]


def scalar(low: int, high: int, ndim: int) -> Range:
    """One interval for a whole tensor of `ndim` axes."""
    ones = (1,) * ndim
    return Range(np.full(ones, low, np.int64), np.full(ones, high, np.int64))


def exact(values: Array) -> Range:
    """The range of known values."""
    wide = values.astype(np.int64) if values.size <= MAX_INTERVALS else values
    found = Range(wide, wide).compact()
    return Range(found.lo.astype(np.int64), found.hi.astype(np.int64))
