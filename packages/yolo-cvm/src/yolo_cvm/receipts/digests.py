"""Digests that receipts are made of: of tensors and of a model.

The page docs/receipt.md states all of it for other implementations. Everything is SHA-256 over
integers and text, so it is the same for every engine, thread count, machine and version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph import Entry, Graph
from yolo_core.graph.files.symbol import attribute_strings
from yolo_core.graph.integers import Shape
from yolo_cvm.receipts.trees import leaf, tree_root

#: Elements of one leaf of a tensor's tree.
LEAF_ELEMENTS = 256


def tensor_digest(array: Array) -> str:
    """SHA-256 of `int32 1x3x64x64\\n` (the shape) and the little-endian int32 elements."""
    digest = hashlib.sha256(f"int32 {_dims(array.shape)}\n".encode("ascii"))
    digest.update(np.ascontiguousarray(array, "<i4").data.cast("B"))
    return digest.hexdigest()


def tensor_root(array: Array) -> str:
    """Root of the tree over a tensor's elements, from which any stretch of them can be proven.

    Leaf k holds elements 256 k to 256 k + 255 as little-endian int32. Elements are in row-major
    order; those of a tensor of four dimensions (n, c, y, x) are taken in the order (n, y, x, c),
    so that the operands of one value of a convolution lie in few leaves.
    """
    return tree_root(tensor_title(array.shape), tensor_leaves(array)).hex()


def tensor_title(shape: Shape) -> str:
    """The title of the tree over a tensor of this shape."""
    return f"yolo-cvm tensor 2 int32 {_dims(shape)}"


def tensor_leaves(array: Array) -> list[bytes]:
    """The leaves of the tree over a tensor's elements."""
    ordered = np.moveaxis(array, 1, -1) if array.ndim == 4 else array
    data = np.ascontiguousarray(ordered, "<i4").reshape(-1).data.cast("B")
    size = 4 * LEAF_ELEMENTS
    return [leaf(data[at : at + size]) for at in range(0, len(data), size)]


def tree_positions(shape: Shape, positions: Array) -> Array:
    """Where the elements at these row-major positions stand in the tree's order; int64."""
    if len(shape) != 4:
        return positions
    _, channels, height, width = shape
    pixels = height * width
    batch, rest = positions // (channels * pixels), positions % (channels * pixels)
    places: Array = (batch * pixels + rest % pixels) * channels + rest // pixels
    return places


def row_major_position(shape: Shape, position: int) -> int:
    """The row-major position of the element at a position of the tree's order."""
    if len(shape) != 4:
        return position
    _, channels, height, width = shape
    pixel, channel = divmod(position, channels)
    batch, inside = divmod(pixel, height * width)
    return (batch * channels + channel) * height * width + inside


def model_root(graph: Graph) -> str:
    """Root of the tree over a model's nodes, parameters included, from which any can be proven.

    Leaf: the `node_record` as canonical JSON. The heads and the postprocessing are part of the
    root's title.
    """
    leaves = [node_leaf(node_record(graph, number)) for number in range(len(graph.nodes))]
    return tree_root(model_title(graph), leaves).hex()


def model_title(graph: Graph) -> str:
    """The title of the tree over a model's nodes."""
    told = canonical({"heads": _pairs(graph.heads), "postprocess": graph.postprocess})
    return f"yolo-cvm model 2 {told}"


def node_record(graph: Graph, number: int) -> dict[str, Any]:
    """A node as a model's tree holds it.

    Keys: node, name, op (None for a variable), attributes, inputs, shapes, precisions and value
    (the `tensor_root` of a parameter, else None).
    """
    node = graph.nodes[number]
    bound = node.is_variable and number != graph.input_index
    return {
        "node": number,
        "name": node.name,
        "op": node.op,
        "attributes": attribute_strings(node),
        "inputs": _pairs(node.inputs),
        "shapes": [list(shape) for shape in node.shapes],
        "precisions": list(node.precisions),
        "value": tensor_root(graph.parameters[node.name]) if bound else None,
    }


def node_leaf(record: dict[str, Any]) -> bytes:
    """The leaf of a node's record."""
    return leaf(canonical(record).encode("ascii"))


def canonical(record: Any) -> str:
    """JSON in its one accepted spelling: sorted keys, no blanks, all but ASCII escaped."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _dims(shape: Shape) -> str:
    return "x".join(str(dim) for dim in shape)


def _pairs(entries: Sequence[Entry]) -> list[list[int]]:
    return [[entry.node, entry.output] for entry in entries]
