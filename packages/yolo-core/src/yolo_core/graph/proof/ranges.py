"""Proven ranges: for every operator, the interval of its results from those of its operands.

One function per operator, all sound for every int32 operand within its interval: before it wraps,
no result leaves the interval that is returned, which may be wider than int32. Whoever adds an
operator to the table adds its function here; `bounds` walks the program.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Callable

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph.integers import INT32_MAX, INT32_MIN, Shape, elements, limit
from yolo_core.graph.operators.reduce import Max, Sum
from yolo_core.graph.operators.shape import StridedSlice, Transpose
from yolo_core.graph.proof.intervals import MAX_INTERVALS, Range, Site, scalar

# Most table entries that one proof looks at; finer index ranges than that allows are merged.
MAX_LOOKED_AT = 2**28

# Sums of products up to here, and a bias, are exact in int64.
MAX_SUM = 2**62
#: Weights whose sums are worked out together.
TAPS_AT_A_TIME = 1 << 17

# --- one element at a time -----------------------------------------------------------------


def _monotone(s: Site) -> list[Range]:
    """An increasing function of one element: its own meaning at both ends."""

    def apply(end: Array) -> Array:
        return s.operator.meaning([end.astype(np.int32)], s.a)[0].astype(np.int64)

    return [s.x[0].moved(apply)]


def _magnitude(x: Range) -> Range:
    nearest = np.where(x.lo > 0, x.lo, np.where(x.hi < 0, -x.hi, np.int64(0)))
    return Range(nearest, np.maximum(-x.lo, x.hi))


def _abs(s: Site) -> list[Range]:
    return [_magnitude(s.x[0])]


def _negative(s: Site) -> list[Range]:
    return [Range(-s.x[0].hi, -s.x[0].lo)]


def _bits(s: Site) -> list[Range]:
    found = _magnitude(s.x[0])

    def apply(end: Array) -> Array:
        return s.operator.meaning([end.astype(np.int32)], s.a)[0].astype(np.int64)

    return [found.moved(apply)]


def _left_shift(s: Site) -> list[Range]:
    """The product is clamped after it wraps, so a product beyond int32 can become anything."""
    bound = np.int64(limit(s.a.precision))
    shifted = s.x[0].moved(lambda end: end << np.int64(s.a.shift_bit))
    if shifted.low < INT32_MIN or shifted.high > INT32_MAX:
        return [scalar(-int(bound), int(bound), s.x[0].lo.ndim)]
    return [shifted.moved(lambda end: np.clip(end, -bound, bound))]


# --- two operands --------------------------------------------------------------------------


def _add(s: Site) -> list[Range]:
    return [Range(s.x[0].lo + s.x[1].lo, s.x[0].hi + s.x[1].hi)]


def _sub(s: Site) -> list[Range]:
    return [Range(s.x[0].lo - s.x[1].hi, s.x[0].hi - s.x[1].lo)]


def _corners(values: Sequence[Array]) -> Range:
    lo = hi = values[0]
    for value in values[1:]:
        lo, hi = np.minimum(lo, value), np.maximum(hi, value)
    return Range(lo, hi)


def _mul(s: Site) -> list[Range]:
    p, q = s.x
    return [_corners([p.lo * q.lo, p.lo * q.hi, p.hi * q.lo, p.hi * q.hi])]


def _larger(s: Site) -> list[Range]:
    return [Range(np.maximum(s.x[0].lo, s.x[1].lo), np.maximum(s.x[0].hi, s.x[1].hi))]


def _div(s: Site) -> list[Range]:
    """Extremes lie at the ends of the divisor and at +-1, wherever these occur; by 0 gives 0."""
    top, bottom = s.x
    by_zero = (bottom.lo <= 0) & (bottom.hi >= 0)
    # a divisor that occurs, in place of those that do not; 0 where there is no other
    other = np.where(bottom.hi != 0, bottom.hi, bottom.lo)
    corners = []
    for divisor in (bottom.lo, bottom.hi, np.int64(1), np.int64(-1)):
        possible = (bottom.lo <= divisor) & (divisor <= bottom.hi) & (divisor != 0)
        chosen = np.where(possible, divisor, other)
        for end in (top.lo, top.hi):
            quotient = np.abs(end) // np.maximum(np.abs(chosen), 1)
            signed = np.where((end < 0) != (chosen < 0), -quotient, quotient)
            corners.append(np.where(chosen == 0, np.int64(0), signed))
    found = _corners(corners)
    return [
        Range(
            np.where(by_zero, np.minimum(found.lo, 0), found.lo),
            np.where(by_zero, np.maximum(found.hi, 0), found.hi),
        )
    ]


def _greater(s: Site) -> list[Range]:
    always, never = s.x[0].lo > s.x[1].hi, s.x[0].hi <= s.x[1].lo
    return [Range(always.astype(np.int64), 1 - never.astype(np.int64))]


# --- networks ------------------------------------------------------------------------------


def _channels(x: Range, count: int, axis: int) -> Range:
    """One interval per entry of an axis, as vectors."""
    others = tuple(d for d in range(x.lo.ndim) if d != axis)
    flat = x.merged(*others) if others else x
    return flat.moved(lambda end: np.broadcast_to(end.reshape(-1), (count,)))


def _product_sum(weight: Array, x: Range) -> Range:
    """Range [G * O] of weight [G, O, C, taps] times inputs, one interval per channel [G, C, 1]."""
    # sum of the positive and of the negative weights, from the sum and the sum of magnitudes
    total, size = _tap_sums(weight)
    alike = bool((x.lo == x.lo.flat[0]).all() and (x.hi == x.hi.flat[0]).all())
    if alike:  # one multiplication for all channels; NumPy multiplies matrices of integers slowly
        total, size = total.sum(axis=-1, dtype=np.int64), size.sum(axis=-1, dtype=np.int64)
    up = (size + total) >> 1
    down = size - up  # (size - total) / 2 may leave int16 on the way
    if alike:
        lo, hi = x.lo.flat[0], x.hi.flat[0]
        return Range((up * lo - down * hi).reshape(-1), (up * hi - down * lo).reshape(-1))
    up, down = up.astype(np.int64), down.astype(np.int64)
    return Range((up @ x.lo - down @ x.hi).reshape(-1), (up @ x.hi - down @ x.lo).reshape(-1))


def _tap_sums(weight: Array) -> tuple[Array, Array]:
    """Sums of the values and of the magnitudes over the last axis.

    Of few bytes in int16, tap by tap, and in pieces that stay in the cache: NumPy reduces short
    axes slowly.
    """
    taps = weight.shape[-1]
    few = taps <= 128 and (
        weight.dtype == np.int8 or (int(weight.min()) >= -128 and int(weight.max()) <= 127)
    )
    if not few:
        wide = weight.astype(np.int64)
        return wide.sum(axis=-1), np.abs(wide).sum(axis=-1)
    flat = weight.reshape(-1, taps)
    total, size = np.empty(len(flat), np.int16), np.empty(len(flat), np.int16)
    step = max(1, TAPS_AT_A_TIME // taps)
    for first in range(0, len(flat), step):
        wide = flat[first : first + step].T.astype(np.int16, order="C")
        wide.sum(axis=0, dtype=np.int16, out=total[first : first + step])
        np.abs(wide, out=wide).sum(axis=0, dtype=np.int16, out=size[first : first + step])
    return total.reshape(weight.shape[:-1]), size.reshape(weight.shape[:-1])


def _weighted(s: Site, data: Range, groups: int) -> Range:
    """Range per output of conv2d or dense without bias; data: one interval per input channel."""
    weight = s.values[1]
    outputs = s.shapes[1][0]
    terms = elements(s.shapes[1][1:])
    low, high = (
        (s.x[1].low, s.x[1].high) if weight is None else (int(weight.min()), int(weight.max()))
    )
    if max(-s.x[0].low, s.x[0].high) * max(-low, high) * terms > MAX_SUM:
        # Beyond what int64 adds up exactly: whatever it is, it is wider than int32.
        return scalar(-MAX_SUM, MAX_SUM, 1).moved(lambda end: np.repeat(end, outputs))
    if weight is None:
        product = _corners(
            [p * q for p in (data.lo.min(), data.hi.max()) for q in (np.int64(low), np.int64(high))]
        )
        return product.moved(lambda end: np.full(outputs, end * terms))
    return _product_sum(
        weight.reshape(groups, outputs // groups, s.shapes[1][1], -1),
        data.moved(lambda end: end.reshape(groups, -1, 1)),
    )


def _biased(s: Site, found: Range) -> Range:
    if not s.a.use_bias:
        return found
    return Range(found.lo + s.x[2].lo, found.hi + s.x[2].hi)


def _conv2d(s: Site) -> list[Range]:
    data = _channels(s.x[0], s.shapes[0][1], axis=1)
    if max(s.a.padding) > 0:
        data = data.including(0, 0)
    found = _biased(s, _weighted(s, data, s.a.groups))
    return [found.moved(lambda end: end.reshape(1, -1, 1, 1))]


def _dense(s: Site) -> list[Range]:
    data = _channels(s.x[0], s.shapes[0][1], axis=1)
    return [_biased(s, _weighted(s, data, 1)).moved(lambda end: end.reshape(1, -1))]


def _spatial(s: Site) -> list[Range]:
    return [s.x[0].merged(2, 3)]


# --- reductions ----------------------------------------------------------------------------


def _sum(s: Site) -> list[Range]:
    assert isinstance(s.operator, Sum)
    axes = s.operator.axes(len(s.shapes[0]), s.a)

    def apply(end: Array) -> Array:
        for axis in axes:
            times = s.shapes[0][axis] // end.shape[axis]
            end = end.sum(axis=axis, keepdims=True) * times
        return _reduced(end, axes, s)

    return [s.x[0].moved(apply)]


def _max(s: Site) -> list[Range]:
    assert isinstance(s.operator, Max)
    axes = s.operator.axes(len(s.shapes[0]), s.a)
    found = s.x[0].moved(
        lambda end: _reduced(end.max(axis=axes, keepdims=True) if axes else end, axes, s)
    )
    return [Range(np.maximum(found.lo, 0), np.maximum(found.hi, 0)) if not s.a.axis else found]


def _reduced(end: Array, axes: Sequence[int], s: Site) -> Array:
    if len(s.y[0]) == end.ndim:
        return end
    kept = tuple(d for axis, d in enumerate(end.shape) if axis not in axes)
    return end.reshape(kept or (1,))


# --- shapes --------------------------------------------------------------------------------


def _reshape(s: Site) -> list[Range]:
    """Runs of axes with equal products on both sides keep their grain where that is cheap."""
    old, new = s.shapes[0], s.y[0]
    found = s.x[0]
    i = j = 0
    shape: list[int] = []
    while i < len(old) or j < len(new):
        start_i, start_j = i, j
        left = old[i] if i < len(old) else 1
        right = new[j] if j < len(new) else 1
        i, j = min(i + 1, len(old)), min(j + 1, len(new))
        while left != right:
            if left < right:
                left, i = left * old[i], i + 1
            else:
                right, j = right * new[j], j + 1
        run = found.lo.shape[start_i:i]
        if elements(run) == left:
            shape.extend(new[start_j:j])
        else:
            if elements(run) > 1:
                found = found.merged(*range(start_i, i))
            shape.extend([1] * (j - start_j))
    return [found.moved(lambda end: end.reshape(shape))]


def _transpose(s: Site) -> list[Range]:
    assert isinstance(s.operator, Transpose)
    axes = s.operator.axes(len(s.shapes[0]), s.a)
    return [s.x[0].moved(lambda end: np.transpose(end, axes))]


def _concatenate(s: Site) -> list[Range]:
    axis = s.a.axis % len(s.y[0])
    common = [max(x.lo.shape[d] for x in s.x) for d in range(len(s.y[0]))]

    def spread(x: Range, shape: Shape) -> Range:
        target = [*common[:axis], shape[axis], *common[axis + 1 :]]
        return x.moved(lambda end: np.broadcast_to(end, target))

    # The grain of the other axes is dropped where the joined range would be too fine.
    parts = list(s.x)
    if s.y[0][axis] * elements(common) // common[axis] > MAX_INTERVALS:
        others = tuple(d for d in range(len(common)) if d != axis)
        parts = [x.merged(*others) for x in parts]
        common = [1] * len(common)
    if s.y[0][axis] > MAX_INTERVALS:
        parts = [x.merged(axis) for x in parts]
        return [
            Range(
                np.minimum.reduce([x.lo for x in parts]), np.maximum.reduce([x.hi for x in parts])
            )
        ]
    wide = [spread(x, shape) for x, shape in zip(parts, s.shapes)]
    return [
        Range(
            np.concatenate([x.lo for x in wide], axis), np.concatenate([x.hi for x in wide], axis)
        )
    ]


def _repeat(s: Site) -> list[Range]:
    return [s.x[0].merged(s.a.axis % len(s.y[0]))]


def _tile(s: Site) -> list[Range]:
    found = s.x[0].merged(*range(s.x[0].lo.ndim))
    return [found.moved(lambda end: end.reshape((1,) * len(s.y[0])))]


def _strided_slice(s: Site) -> list[Range]:
    assert isinstance(s.operator, StridedSlice)
    slices = s.operator.slices(s.shapes[0], s.a)

    def apply(end: Array) -> Array:
        for axis, (first, count, step) in enumerate(slices):
            if end.shape[axis] > 1:
                end = np.take(end, first + step * np.arange(count), axis=axis)
        return end

    return [s.x[0].moved(apply)]


def _slice_like(s: Site) -> list[Range]:
    cut = tuple(slice(size) for size in s.y[0])
    return [s.x[0].moved(lambda end: end[cut])]


def _take(s: Site) -> list[Range]:
    if s.a.axis is None:
        return [scalar(s.x[0].low, s.x[0].high, len(s.y[0]))]
    axis = s.a.axis % len(s.shapes[0])
    inner = (1,) * len(s.shapes[1])
    return [
        s.x[0]
        .merged(axis)
        .moved(lambda end: end.reshape(*end.shape[:axis], *inner, *end.shape[axis + 1 :]))
    ]


def _lut(s: Site) -> list[Range]:
    table = s.values[1]
    if table is None:
        return [scalar(s.x[1].low, s.x[1].high, len(s.y[0]))]
    flat = table.reshape(-1)
    index = s.x[0]
    if index.lo.size * flat.size > MAX_LOOKED_AT:
        index = scalar(index.low, index.high, index.lo.ndim)
    first = np.clip(index.lo, 0, s.a.in_dim - 1).reshape(-1)
    last = np.clip(index.hi, 0, s.a.in_dim - 1).reshape(-1)
    # Channels share few windows: each is looked at once.
    windows, which = np.unique(first * s.a.in_dim + last, return_inverse=True)
    parts = [flat[i : k + 1] for i, k in zip(*np.divmod(windows, s.a.in_dim))]
    ends = np.array([[part.min(), part.max()] for part in parts], np.int64)[which.reshape(-1)]
    shape = index.lo.shape
    return [Range(ends[:, 0].reshape(shape), ends[:, 1].reshape(shape))]


def _where(s: Site) -> list[Range]:
    cond, left, right = s.x
    found = Range(np.minimum(left.lo, right.lo), np.maximum(left.hi, right.hi))
    if cond.lo.ndim != left.lo.ndim:
        # The bytes that the operator leaves unwritten are 0; a row may end within an element.
        partial = elements(s.y[0][1:]) % 4
        found = found.including(0, 2 ** (8 * partial) - 1)
    return [found]


# --- detection -----------------------------------------------------------------------------


def _valid_counts(s: Site) -> list[Range]:
    return [scalar(0, s.shapes[0][1], 1), s.x[0].merged(0, 1).including(-1, -1)]


def _suppression(s: Site) -> list[Range]:
    return [s.x[0].merged(0, 1).including(-1, -1)]


RULES: Mapping[str, Callable[[Site], list[Range]]] = MappingProxyType(
    {
        "conv2d": _conv2d,
        "dense": _dense,
        "max_pool2d": _spatial,
        "upsampling": _spatial,
        "relu": _monotone,
        "abs": _abs,
        "negative": _negative,
        "cvm_precision": _bits,
        "clip": _monotone,
        "cvm_clip": _monotone,
        "cvm_right_shift": _monotone,
        "cvm_left_shift": _left_shift,
        "elemwise_add": _add,
        "elemwise_sub": _sub,
        "broadcast_add": _add,
        "broadcast_sub": _sub,
        "broadcast_mul": _mul,
        "broadcast_max": _larger,
        "broadcast_div": _div,
        "broadcast_greater": _greater,
        "sum": _sum,
        "max": _max,
        "repeat": _repeat,
        "tile": _tile,
        "flatten": _reshape,
        "concatenate": _concatenate,
        "expand_dims": _reshape,
        "reshape": _reshape,
        "squeeze": _reshape,
        "transpose": _transpose,
        "strided_slice": _strided_slice,
        "slice_like": _slice_like,
        "take": _take,
        "cvm_lut": _lut,
        "where": _where,
        "get_valid_counts": _valid_counts,
        "non_max_suppression": _suppression,
    }
)
