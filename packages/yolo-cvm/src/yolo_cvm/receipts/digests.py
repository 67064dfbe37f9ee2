"""Digests that receipts are made of: of tensors, of a model, and trees over them.

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

#: Elements of one leaf of a tensor's tree.
LEAF_ELEMENTS = 256

_LEAF, _BRANCH, _ROOT = b"\x00", b"\x01", b"\x02"


def tensor_digest(array: Array) -> str:
    """SHA-256 of `int32 1x3x64x64\\n` (the shape) and the little-endian int32 elements."""
    digest = hashlib.sha256(f"int32 {_dims(array)}\n".encode("ascii"))
    digest.update(np.ascontiguousarray(array, "<i4").data.cast("B"))
    return digest.hexdigest()


def tensor_root(array: Array) -> str:
    """Root of the tree over a tensor's elements, from which any stretch of them can be proven.

    Leaf k holds elements 256 k to 256 k + 255 as little-endian int32. Elements are in row-major
    order; those of a tensor of four dimensions (n, c, y, x) are taken in the order (n, y, x, c),
    so that the operands of one value of a convolution lie in few leaves.
    """
    ordered = np.moveaxis(array, 1, -1) if array.ndim == 4 else array
    data = np.ascontiguousarray(ordered, "<i4").reshape(-1).data.cast("B")
    size = 4 * LEAF_ELEMENTS
    leaves = [leaf(data[at : at + size]) for at in range(0, len(data), size)]
    return tree_root(f"yolo-cvm tensor 2 int32 {_dims(array)}", leaves).hex()


def model_root(graph: Graph) -> str:
    """Root of the tree over a model's nodes, parameters included, from which any can be proven.

    Leaf: the node as canonical JSON with the keys node, name, op (null for a variable),
    attributes, inputs, shapes, precisions and value (the `tensor_root` of a parameter, else
    null). The heads and the postprocessing are part of the root's title.
    """
    title = canonical({"heads": _pairs(graph.heads), "postprocess": graph.postprocess})
    leaves = []
    for number, node in enumerate(graph.nodes):
        bound = node.is_variable and number != graph.input_index
        record = {
            "node": number,
            "name": node.name,
            "op": node.op,
            "attributes": attribute_strings(node),
            "inputs": _pairs(node.inputs),
            "shapes": node.shapes,
            "precisions": node.precisions,
            "value": tensor_root(graph.parameters[node.name]) if bound else None,
        }
        leaves.append(leaf(canonical(record).encode("ascii")))
    return tree_root(f"yolo-cvm model 2 {title}", leaves).hex()


def canonical(record: Any) -> str:
    """JSON in its one accepted spelling: sorted keys, no blanks, all but ASCII escaped."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def leaf(content: bytes | memoryview) -> bytes:
    """SHA-256 of 0x00 and a leaf's content."""
    digest = hashlib.sha256(_LEAF)
    digest.update(content)
    return digest.digest()


def tree_root(title: str, leaves: Sequence[bytes]) -> bytes:
    """SHA-256 of 0x02, the title (ASCII) and a line feed, the count of leaves in 8 bytes
    big-endian, and `tree_top`; so trees of two titles or two lengths never share a root."""
    head = _ROOT + title.encode("ascii") + b"\n" + len(leaves).to_bytes(8, "big")
    return hashlib.sha256(head + tree_top(leaves)).digest()


def tree_top(leaves: Sequence[bytes]) -> bytes:
    """The top of the hash tree over leaves as in RFC 6962; SHA-256 of nothing without leaves.

    Neighbours are joined level by level, SHA-256 of 0x01 and both; one that is left over at the
    end of a level moves up as it is.
    """
    if not leaves:
        return hashlib.sha256().digest()
    level = list(leaves)
    while len(level) > 1:
        pairs = len(level) // 2
        joined = [
            hashlib.sha256(_BRANCH + level[2 * k] + level[2 * k + 1]).digest() for k in range(pairs)
        ]
        level = joined + level[2 * pairs :]
    return level[0]


def _dims(array: Array) -> str:
    return "x".join(str(dim) for dim in array.shape)


def _pairs(entries: Sequence[Entry]) -> list[list[int]]:
    return [[entry.node, entry.output] for entry in entries]
