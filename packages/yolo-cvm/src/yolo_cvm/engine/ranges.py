"""What values every tensor can hold, proven from parameters and the input's precision.

Declared precisions are not trusted: some rules of the machine are unsound (specification 3.2), and
narrow storage must be right for every valid program. Where a sum could wrap, the range is all of
int32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from yolo_core.graph import Entry, Graph, Node
from yolo_core.graph.integers import INT32_MAX, INT32_MIN, limit

Range = tuple[int, int]
EVERYTHING: Range = (INT32_MIN, INT32_MAX)

_SAME = frozenset(
    [
        "max_pool2d",
        "upsampling",
        "repeat",
        "tile",
        "flatten",
        "expand_dims",
        "reshape",
        "squeeze",
        "transpose",
        "strided_slice",
        "slice_like",
        "take",
    ]
)


def ranges(graph: Graph) -> dict[Entry, Range]:
    """The proven (lowest, highest) of every tensor."""
    found: dict[Entry, Range] = {}
    for index, node in enumerate(graph.nodes):
        if index == graph.input_index:
            bound = limit(graph.input_precision)
            result = [(-bound, bound)]
        elif node.is_variable:
            values = graph.parameters.stored(node.name)
            result = [(int(values.min()), int(values.max()))]
        else:
            result = _of(graph, node, [found[e] for e in node.inputs])
        for output, (low, high) in enumerate(result):
            fits = low >= INT32_MIN and high <= INT32_MAX
            found[Entry(index, output)] = (low, high) if fits else EVERYTHING
    return found


def _of(graph: Graph, node: Node, x: Sequence[Range]) -> list[Range]:
    """Ranges before wrapping; a range that leaves int32 is widened by the caller."""
    op, a = node.op, node.attributes
    if op in _SAME:
        return [x[0]]
    if op == "cvm_lut":
        return [x[1]]
    if op == "concatenate":
        return [(min(r[0] for r in x), max(r[1] for r in x))]
    if op == "where" and graph.shape(node.inputs[0]) == node.shapes[0]:
        return [(min(r[0] for r in x[1:]), max(r[1] for r in x[1:]))]
    if op == "relu":
        return [(max(x[0][0], 0), max(x[0][1], 0))]
    if op == "clip":
        return [_clamp(x[0], a.a_min, a.a_max)]
    if op == "cvm_clip":
        return [_clamp(x[0], -limit(a.precision), limit(a.precision))]
    if op == "cvm_right_shift":
        low, high = (round_shift(v, a.shift_bit) for v in x[0])
        return [_clamp((low, high), -limit(a.precision), limit(a.precision))]
    if op in ("broadcast_add", "elemwise_add"):
        return [(x[0][0] + x[1][0], x[0][1] + x[1][1])]
    if op in ("broadcast_sub", "elemwise_sub"):
        return [(x[0][0] - x[1][1], x[0][1] - x[1][0])]
    if op == "broadcast_mul":
        corners = [p * q for p in x[0] for q in x[1]]
        return [(min(corners), max(corners))]
    if op == "broadcast_max":
        return [(max(x[0][0], x[1][0]), max(x[0][1], x[1][1]))]
    if op == "broadcast_greater":
        return [(0, 1)]
    if op == "cvm_precision":
        return [(1, 32)]
    if op in ("conv2d", "dense"):
        return [_products(graph, node, x)]
    # Others are not worth the proof; `where` by rows may tear an element into bytes.
    return [EVERYTHING] * len(node.shapes)


def _products(graph: Graph, node: Node, x: Sequence[Range]) -> Range:
    """Of a convolution or dense layer: 127 * sum |w| + bias, largest over output channels."""
    weight = graph.nodes[node.inputs[1].node]
    bias = graph.nodes[node.inputs[2].node] if len(node.inputs) == 3 else None
    if not weight.is_variable or (bias is not None and not bias.is_variable):
        return EVERYTHING
    if weight.name not in graph.parameters:
        return EVERYTHING
    values = graph.parameters.stored(weight.name)
    wide = np.int16 if values.dtype == np.int8 else np.int64
    sums = np.abs(values, dtype=wide).reshape(len(values), -1).sum(axis=1, dtype=np.int64)
    most = sums * max(abs(x[0][0]), abs(x[0][1]))
    low, high = -most, most
    if bias is not None:
        if bias.name not in graph.parameters:
            return EVERYTHING
        low = low + graph.parameters[bias.name]
        high = high + graph.parameters[bias.name]
    return int(low.min()), int(high.max())


def round_shift(value: int, shift: int) -> int:
    """floor(value / 2^shift + 1/2)."""
    return (value + (1 << (shift - 1))) >> shift


def _clamp(r: Range, low: int, high: int) -> Range:
    return (min(max(r[0], low), high), min(max(r[1], low), high))
