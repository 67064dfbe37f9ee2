"""Padding with a zero point, recognised.

A convolution whose input has the zero point z should pad with z, but the machine pads with 0, so a
quantizer adds a correction that depends on how many taps fall outside: a table indexed by rows and
columns (specification 6.8 e). Where the correction is exactly z times the weights outside plus a
constant per channel, the engine pads with z and the whole addition disappears.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph.operators import Attributes

CODES = range(-128, 128)


@dataclass(frozen=True)
class Correction:
    """correction[o, y, x] = table[o, rows[y], columns[x]], int32."""

    table: Array
    rows: Array
    columns: Array


@dataclass(frozen=True)
class Border:
    """Padding with `fill` and adding `bias` [channels] replaces the correction."""

    fill: int
    bias: Array


def _patterns(size: int, count: int, kernel: int, stride: int, pad: int, dilation: int) -> Array:
    """[count, kernel] bool: which taps of each output position lie inside the picture."""
    at = (np.arange(count) * stride - pad)[:, None] + np.arange(kernel)[None, :] * dilation
    return (at >= 0) & (at < size)


def recognise(
    correction: Correction, weight: Array, size: tuple[int, int], a: Attributes
) -> Border | None:
    """The border that equals the correction, or None.

    weight: [O, C, kh, kw]; size: height and width of the convolution's input.
    """
    axes = []
    for axis, classes in enumerate((correction.rows, correction.columns)):
        inside = _patterns(
            size[axis],
            len(classes),
            weight.shape[2 + axis],
            a.strides[axis],
            a.padding[axis],
            a.dilation[axis],
        )
        axes.append(np.unique(np.column_stack([classes, inside]), axis=0))
    rows, columns = axes
    taps = weight.astype(np.int64).sum(axis=1)
    inside = np.einsum("ors,yr,xs->oyx", taps, rows[:, 1:], columns[:, 1:])
    outside = taps.sum(axis=(1, 2))[:, None, None] - inside
    given = correction.table.astype(np.int64)[:, rows[:, 0]][:, :, columns[:, 0]]

    whole = np.logical_and.outer(rows[:, 1:].all(axis=1), columns[:, 1:].all(axis=1))
    if not whole.any():
        return None
    y, x = np.argwhere(whole)[0]
    bias = given[:, y, x]
    moved = given - bias[:, None, None]
    if not moved.any():
        return Border(0, bias)
    where = np.argwhere(outside)
    if not len(where):
        return None
    o, y, x = where[0]
    fill, rest = divmod(int(moved[o, y, x]), int(outside[o, y, x]))
    if rest or fill not in CODES or not np.array_equal(moved, fill * outside):
        return None
    return Border(fill, bias)
