"""Chains of reshapes and transpositions that end a branch, as one scattered store.

A detection head is reshaped and transposed into rows; tile code can write each channel of each
pixel straight to its final place when that place is linear in image, row and column.
"""

from __future__ import annotations

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph import Entry
from yolo_cvm.engine.planner.form import Form, Scatter, product

MOVES = frozenset(["reshape", "transpose", "flatten", "expand_dims", "squeeze"])
#: Operators of a chain that are looked at, and elements that are traced through them.
MOST_MOVES = 16
MOST_ELEMENTS = 1 << 22


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
    source = np.arange(product(shape), dtype=np.int32).reshape(shape)
    moved = source
    for length, index in enumerate(chain, 1):
        node = graph.nodes[index]
        (moved,) = node.operator.meaning([moved], node.attributes)
        found = _scatter(source, moved, Entry(index), tuple(chain[:length]))
        best = found or best
    return best


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
    source: Array, moved: Array, entry: Entry, absorbed: tuple[int, ...]
) -> Scatter | None:
    """Where the elements of `source` went, if that is linear in image, row and column."""
    shape = source.shape
    place: Array = np.empty(source.size, np.int32)
    place[moved.reshape(-1)] = source.reshape(-1)
    place = place.reshape(shape)
    image = int(place[1, 0, 0, 0]) if shape[0] > 1 else 0
    row = int(place[0, 0, 1, 0] - place[0, 0, 0, 0]) if shape[2] > 1 else 0
    pixel = int(place[0, 0, 0, 1] - place[0, 0, 0, 0]) if shape[3] > 1 else 0
    image -= int(place[0, 0, 0, 0]) if shape[0] > 1 else 0
    if min(image, row, pixel) < 0:
        return None
    # Axes of one element take the stride that lets rows follow each other.
    if shape[3] == 1:
        pixel = row
    if shape[2] == 1:
        row = pixel * shape[3]
    offsets = place[0, :, 0, 0].copy()
    # int32 throughout: the arrays are as large as the head itself
    n, h, w = (np.arange(size, dtype=np.int32) for size in (shape[0], *shape[2:]))
    plane = (h * np.int32(row))[:, None] + w * np.int32(pixel)
    expected = offsets[:, None, None] + plane + (n * np.int32(image))[:, None, None, None]
    if not np.array_equal(place, expected):
        return None
    return Scatter(entry, offsets, image, row, pixel, absorbed)
