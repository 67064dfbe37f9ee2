"""Chains of reshapes and transpositions that end a branch, as one scattered store.

A detection head is reshaped and transposed into rows; the tile program can write each channel of
each pixel straight to its final place when that place is linear in image, row and column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph import Entry, Graph

MOVES = frozenset(["reshape", "transpose", "flatten", "expand_dims", "squeeze"])


@dataclass(frozen=True)
class Layout:
    """Element (image, y, x, channel) of a value lies at
    image * image_stride + y * row_stride + x * pixel_stride + offsets[channel] of `entry`.

    nodes: the operators that this replaces.
    """

    entry: Entry
    offsets: Array
    image: int
    row: int
    pixel: int
    nodes: tuple[int, ...] = ()


def natural(entry: Entry, shape: tuple[int, ...]) -> Layout:
    """The value in its own row-major order [batch, channels, height, width]."""
    _, channels, height, width = shape
    plane = height * width
    return Layout(entry, np.arange(channels) * plane, channels * plane, width, 1)


def follow(
    graph: Graph, entry: Entry, consumers: dict[Entry, list[int]], heads: set[Entry]
) -> Layout:
    """The farthest place down a chain of moves that a scattered store can reach."""
    best = natural(entry, graph.shape(entry))
    chain: list[int] = []
    at = entry
    while at not in heads and len(consumers.get(at, [])) == 1:
        index = consumers[at][0]
        if graph.nodes[index].op not in MOVES:
            break
        chain.append(index)
        at = Entry(index)
    # A chain of reshapes alone needs no store of another kind: views are free.
    while chain and not any(graph.nodes[i].op == "transpose" for i in chain):
        chain.clear()
    while chain:
        found = _layout(graph, entry, chain)
        if found is not None:
            return found
        chain.pop()
    return best


def _layout(graph: Graph, entry: Entry, chain: list[int]) -> Layout | None:
    shape = graph.shape(entry)
    source = np.arange(int(np.prod(shape)), dtype=np.int32).reshape(shape)
    moved = source
    for index in chain:
        node = graph.nodes[index]
        (moved,) = node.operator.meaning([moved], node.attributes)
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
    return Layout(Entry(chain[-1]), offsets, image, row, pixel, tuple(chain))
