"""Chains of reshapes and transpositions that end a branch, as one scattered store.

A detection head is reshaped and transposed into rows; tile code can write each channel of each
pixel straight to its final place when that place is linear in image, row and column.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from yolo_core.graph import Entry
from yolo_core.graph.integers import INT32_MAX
from yolo_cvm.engine.planner.form import Form, Scatter, product

MOVES = frozenset(["reshape", "transpose", "flatten", "expand_dims", "squeeze"])
#: Operators of a chain that are looked at, and elements whose places fit int32.
MOST_MOVES = 16
MOST_ELEMENTS = INT32_MAX


def natural(entry: Entry, shape: tuple[int, ...]) -> Scatter:
    """The value in its own row-major order [batch, channels, height, width]."""
    _, channels, height, width = shape
    plane = height * width
    return Scatter(entry, np.arange(channels) * plane, channels * plane, width, 1)


def follow(form: Form, entry: Entry) -> Scatter:
    """The farthest place down a chain of moves that a scattered store can reach."""
    graph = form.graph
    shape = graph.shape(entry)
    best = natural(entry, shape)
    chain = _chain(form, entry)
    # A chain of reshapes alone needs no store of another kind: views are free.
    if product(shape) > MOST_ELEMENTS or all(graph.nodes[i].op != "transpose" for i in chain):
        return best
    axes: list[_Axis] = list(zip(shape, _strides(shape)))
    for length, index in enumerate(chain, 1):
        node = graph.nodes[index]
        if node.op == "transpose":
            before = graph.shape(node.inputs[0])
            order = node.operator.axes(len(before), node.attributes)  # type: ignore[attr-defined]
            cut = _cut(axes, before)
            if cut is None:
                return best
            parts = _grouped(cut, before)
            axes = [axis for i in order for axis in parts[i]]
        found = _scatter(shape, axes, Entry(index), tuple(chain[:length]))
        best = found or best
    return best


#: Part of an axis: its size, and how far a step moves in the value that the chain begins with.
_Axis = tuple[int, int]


def _strides(shape: Sequence[int]) -> list[int]:
    """How far a step along each axis moves in row-major order."""
    return [product(shape[i + 1 :]) for i in range(len(shape))]


def _cut(axes: Sequence[_Axis], shape: Sequence[int]) -> list[_Axis] | None:
    """The same order in parts none of which reaches over two axes of `shape`.

    None where an axis would have to be cut in uneven pieces.
    """
    result: list[_Axis] = []
    waiting = [axis for axis in reversed(axes) if axis[0] > 1]
    for size in shape:
        while size > 1:
            part, stride = waiting.pop()
            inner = part // size if part % size == 0 else 1
            if inner > 1:
                waiting.append((inner, stride))
                part, stride = size, stride * inner
            if size % part:
                return None
            result.append((part, stride))
            size //= part
    return result


def _grouped(axes: Sequence[_Axis], shape: Sequence[int]) -> list[list[_Axis]]:
    """The parts of each axis of `shape`."""
    waiting = list(reversed(axes))
    groups = []
    for size in shape:
        group: list[_Axis] = []
        while size > 1:
            group.append(waiting.pop())
            size //= group[-1][0]
        groups.append(group)
    return groups


def _chain(form: Form, entry: Entry) -> list[int]:
    """The moves that follow, each the only reader of the one before."""
    chain: list[int] = []
    while len(chain) < MOST_MOVES and len(form.readers.get(entry, ())) == 1:
        index = form.readers[entry][0]
        if entry in form.heads or form.graph.nodes[index].op not in MOVES:
            break
        chain.append(index)
        entry = Entry(index)
    return chain


def _scatter(
    shape: tuple[int, ...], axes: Sequence[_Axis], entry: Entry, absorbed: tuple[int, ...]
) -> Scatter | None:
    """Where a value of `shape` lies after it was moved, if that is linear in image, row, column.

    axes: the parts of its axes in the order in which they lie now.
    """
    strides = _strides([size for size, _ in axes])
    places = [(size, source, now) for (size, source), now in zip(axes, strides) if size > 1]
    # of every axis of the value: its parts as (size, steps of the axis, where a step leads now)
    parts: list[list[tuple[int, int, int]]] = []
    for size, stride in zip(shape, _strides(shape)):
        inside = [p for p in places if stride <= p[1] < stride * size]
        parts.append([(part, source // stride, now) for part, source, now in inside])
    steps = [_step(parts[axis]) for axis in (0, 2, 3)]
    if None in steps:
        return None
    image, row, pixel = (step or 0 for step in steps)
    # Axes of one element take the stride that lets rows follow each other.
    if shape[3] == 1:
        pixel = row
    if shape[2] == 1:
        row = pixel * shape[3]
    channel = np.arange(shape[1])
    offsets = np.zeros(shape[1], np.int64)
    for size, steps_of_axis, now in parts[1]:
        offsets += channel // steps_of_axis % size * now
    return Scatter(entry, offsets, image, row, pixel, absorbed)


def _step(parts: Sequence[tuple[int, int, int]]) -> int | None:
    """How far a step along an axis leads, 0 for an axis of one element; None where that differs."""
    first = min(((steps, now) for _, steps, now in parts), default=(1, 0))[1]
    return first if all(now == first * steps for _, steps, now in parts) else None
