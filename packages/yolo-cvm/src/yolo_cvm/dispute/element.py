"""One element of an operator's result, computed from the few elements that it depends on.

A rule per operator says which elements these are and hands them to the operator's own `meaning`,
as a smaller problem of the same kind; so what an operator means is still said in one place. Whoever
writes a witness runs a rule to learn what it reads, whoever judges one runs the same rule on what
the witness holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph.errors import LogicError
from yolo_core.graph.integers import Shape, elements
from yolo_core.graph.operators import TABLE, Attributes, Operator
from yolo_core.graph.operators.operator import Shapes

#: Most elements that one element may depend on. All of yolov5's operators stay far below.
MOST_READ = 1 << 20

#: Gives the int32 elements of an operand at row-major positions (int64, any shape).
Read = Callable[[int, Array], Array]


@dataclass(frozen=True)
class Operation:
    """An operator with its attributes and the shapes of its operands."""

    operator: Operator
    attributes: Attributes
    operands: Shapes

    @cached_property
    def results(self) -> tuple[Shape, ...]:
        """The shapes of its results. LogicError where the operands do not fit."""
        return self.operator.shape(self.operands, self.attributes)


@dataclass(frozen=True)
class _Wanted:
    """The element that a rule computes: at the index `at` of result `output`."""

    operation: Operation
    output: int
    at: tuple[int, ...]
    read: Read

    @property
    def a(self) -> Attributes:
        """The attributes of the operator."""
        return self.operation.attributes

    @property
    def x(self) -> Shapes:
        """The shapes of the operands."""
        return self.operation.operands

    def one(self, operand: int, at: Sequence[int]) -> Array:
        """One element of an operand as an array of shape [1]."""
        return self.grid(operand, [[index] for index in at]).reshape(1)

    def grid(self, operand: int, axes: Sequence[Any]) -> Array:
        """The elements of an operand at all combinations of indices, given axis by axis."""
        chosen = [np.asarray(axis, np.int64) for axis in axes]
        if elements(len(axis) for axis in chosen) > MOST_READ:
            raise LogicError("element", "depends on too much", f"at most {MOST_READ} elements")
        return self.read(operand, _positions(self.x[operand], np.ix_(*chosen)))

    def whole(self, operand: int, *first: int) -> Array:
        """All of an operand at the given first indices."""
        rest = self.x[operand][len(first) :]
        if elements(rest) > MOST_READ:
            raise LogicError("element", "depends on too much", f"at most {MOST_READ} elements")
        return self.grid(operand, [*([index] for index in first), *map(range, rest)])

    def meaning(self, arrays: Sequence[Array], **changed: object) -> Array:
        """What the operator makes of smaller operands, with some attributes changed."""
        attributes = Attributes({**self.a, **changed})  # type: ignore[dict-item]
        return self.operation.operator.meaning(arrays, attributes)[self.output]


def element(operation: Operation, output: int, position: int, read: Read) -> int:
    """The element at a row-major position of an operator's result number `output`.

    read: gives elements of the operands. LogicError where it depends on more than MOST_READ, or
    where operands or attributes break a rule of the operator.
    """
    at = np.unravel_index(position, operation.results[output])
    wanted = _Wanted(operation, output, tuple(int(index) for index in at), read)
    return int(_RULES[operation.operator.name](wanted).reshape(-1)[0])


def _positions(shape: Shape, index: Sequence[Array]) -> Array:
    """Row-major positions, int64, of broadcastable indices."""
    positions: Array = np.zeros((), np.int64)
    for size, axis in zip(shape, index):
        positions = positions * size + axis
    return positions


def _each(w: _Wanted) -> Array:
    """Operators whose operands all have the result's shape."""
    return w.meaning([w.one(k, w.at) for k in range(len(w.x))])


def _broadcast(w: _Wanted) -> Array:
    operands = []
    for k, shape in enumerate(w.x):
        aligned = w.at[len(w.at) - len(shape) :]
        operands.append(w.one(k, [0 if size == 1 else i for size, i in zip(shape, aligned)]))
    return w.meaning(operands)


def _conv2d(w: _Wanted) -> Array:
    batch, channel, *corner = w.at
    _, depth, *kernel = w.x[1]
    first = channel // (w.a.channels // w.a.groups) * depth
    taps, inside = [], []
    for d, start in enumerate(corner):
        reached = start * w.a.strides[d] - w.a.padding[d] + np.arange(kernel[d]) * w.a.dilation[d]
        inside.append(np.flatnonzero((reached >= 0) & (reached < w.x[0][2 + d])))
        taps.append(reached[inside[-1]])
    window = np.zeros((1, depth, *kernel), np.int32)
    window[np.ix_(np.zeros(1, np.int64), np.arange(depth), *inside)] = w.grid(
        0, [[batch], range(first, first + depth), *taps]
    )
    operands = [window, w.whole(1, channel)]
    if w.a.use_bias:
        operands.append(w.one(2, [channel]))
    one = (1, 1)
    return w.meaning(operands, channels=1, groups=1, strides=one, padding=(0, 0), dilation=one)


def _dense(w: _Wanted) -> Array:
    row, unit = w.at
    operands = [w.whole(0, row), w.whole(1, unit)]
    if w.a.use_bias:
        operands.append(w.one(2, [unit]))
    return w.meaning(operands)


def _max_pool2d(w: _Wanted) -> Array:
    taps = []
    for d, start in enumerate(w.at[2:]):
        pad = (w.a.padding[0], w.a.padding[-1])[d]
        begin = start * w.a.strides[d] - pad
        end = min(begin + w.a.pool_size[d], w.x[0][2 + d])
        taps.append(range(max(begin, 0), end))
    window = w.grid(0, [[w.at[0]], [w.at[1]], *taps])
    size = tuple(len(axis) for axis in taps)
    return w.meaning([window], pool_size=size, strides=(1, 1), padding=(0, 0), ceil_mode=False)


def _upsampling(w: _Wanted) -> Array:
    batch, channel, y, x = w.at
    return w.one(0, [batch, channel, y // w.a.scale, x // w.a.scale])


def _reduction(w: _Wanted) -> Array:
    reduced = w.operation.operator.axes(len(w.x[0]), w.a)  # type: ignore[attr-defined]
    kept = [d for d in range(len(w.x[0])) if w.a.keepdims or d not in reduced]
    at = dict(zip(kept, w.at))
    axes = [range(n) if d in reduced else [at[d]] for d, n in enumerate(w.x[0])]
    return w.meaning([w.grid(0, axes)])


def _copy(w: _Wanted) -> Array:
    position = _positions(w.operation.results[0], [np.array(i) for i in w.at])
    return w.read(0, position.reshape(1))


def _transpose(w: _Wanted) -> Array:
    axes = w.operation.operator.axes(len(w.at), w.a)  # type: ignore[attr-defined]
    source = dict(zip(axes, w.at))
    return w.one(0, [source[d] for d in range(len(w.at))])


def _concatenate(w: _Wanted) -> Array:
    at, axis = list(w.at), w.a.axis % len(w.at)
    operand = 0
    while at[axis] >= w.x[operand][axis]:
        at[axis] -= w.x[operand][axis]
        operand += 1
    return w.one(operand, at)


def _repeat(w: _Wanted) -> Array:
    at, axis = list(w.at), w.a.axis % len(w.at)
    at[axis] //= w.a.repeats
    return w.one(0, at)


def _tile(w: _Wanted) -> Array:
    aligned = w.at[len(w.at) - len(w.x[0]) :]
    return w.one(0, [i % size for i, size in zip(aligned, w.x[0])])


def _strided_slice(w: _Wanted) -> Array:
    slices = w.operation.operator.slices(w.x[0], w.a)  # type: ignore[attr-defined]
    return w.one(0, [begin + i * stride for i, (begin, _, stride) in zip(w.at, slices)])


def _slice_like(w: _Wanted) -> Array:
    return w.one(0, w.at)


def _take(w: _Wanted) -> Array:
    data, indices = w.x
    if w.a.axis is None:
        index = int(w.one(1, w.at)[0])
        return w.read(0, np.array([min(max(index, 0), elements(data) - 1)], np.int64))
    axis = w.a.axis % len(data)
    index = int(w.one(1, w.at[axis : axis + len(indices)])[0])
    index = min(max(index, 0), data[axis] - 1)
    return w.one(0, [*w.at[:axis], index, *w.at[axis + len(indices) :]])


def _cvm_lut(w: _Wanted) -> Array:
    index = int(w.one(0, w.at)[0])
    return w.read(1, np.array([min(max(index, 0), w.a.in_dim - 1)], np.int64))


def _where(w: _Wanted) -> Array:
    if w.x[0] == w.x[1]:
        return _each(w)
    return _in_first(w, [w.one(0, w.at[:1]), w.whole(1, w.at[0]), w.whole(2, w.at[0])])


def _of_batch(w: _Wanted) -> Array:
    """Operators whose results depend on all rows of their batch, and on nothing else."""
    return _in_first(w, [w.whole(k, w.at[0]) for k in range(len(w.x))])


def _in_first(w: _Wanted, operands: Sequence[Array]) -> Array:
    """The element that is wanted where the operands are cut to its row or batch."""
    at = (0, *w.at[1:])
    return np.asarray(w.meaning(operands)[at])


_RULES: dict[str, Callable[[_Wanted], Array]] = {
    **dict.fromkeys(
        (
            "relu", "abs", "negative", "cvm_precision", "clip", "cvm_clip", "cvm_right_shift",
            "cvm_left_shift", "elemwise_add", "elemwise_sub",
        ),
        _each,
    ),
    **dict.fromkeys((name for name in TABLE if name.startswith("broadcast_")), _broadcast),
    **dict.fromkeys(("flatten", "expand_dims", "squeeze", "reshape"), _copy),
    **dict.fromkeys(("sum", "max"), _reduction),
    **dict.fromkeys(("get_valid_counts", "non_max_suppression"), _of_batch),
    "conv2d": _conv2d,
    "dense": _dense,
    "max_pool2d": _max_pool2d,
    "upsampling": _upsampling,
    "transpose": _transpose,
    "concatenate": _concatenate,
    "repeat": _repeat,
    "tile": _tile,
    "strided_slice": _strided_slice,
    "slice_like": _slice_like,
    "take": _take,
    "cvm_lut": _cvm_lut,
    "where": _where,
}  # fmt: skip
