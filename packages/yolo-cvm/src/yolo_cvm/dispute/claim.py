"""Claims: what somebody says about one place of the tree over an operator's result.

At a branch a claim names the two digests below it, at a leaf its elements. The path from there to
the root of the tensor proves that it belongs to the receipt of the one who claims it. Two people
answer each other, each claim one level below the last, until a leaf is reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import PathLike, read_bytes
from yolo_core.graph.integers import MAX_ELEMENTS, MAX_NDIM, Shape, elements
from yolo_cvm.dispute.strict_json import count_of, digests_of, elements_of, read_record, written
from yolo_cvm.receipts.digests import LEAF_ELEMENTS, tensor_leaves, tensor_title
from yolo_cvm.receipts.trees import (
    branch,
    leaf,
    level_width,
    root_from,
    siblings,
    tree_height,
    tree_levels,
)

FORMAT = "yolo-cvm claim 1"

_LIMIT = 1 << 16
_KEYS = frozenset(
    ("node", "output", "shape", "level", "index", "children", "elements", "path")
)  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """node, output: which result of which operator; shape: of that tensor.

    level, index: the place in its tree; children: the digests below a branch, one where the last
    node of a level moved up; elements: of a leaf; path: the digests beside the way to the top.
    """

    node: int
    output: int
    shape: Shape
    level: int
    index: int
    children: tuple[bytes, ...]
    elements: tuple[int, ...]
    path: tuple[bytes, ...]

    @property
    def is_leaf(self) -> bool:
        """True where it names elements."""
        return self.level == 0

    def root(self) -> str:
        """The root of the tensor that the claim belongs to, hexadecimal."""
        if self.is_leaf:
            digest = leaf(np.array(self.elements, "<i4").tobytes())
        else:
            digest = branch(*self.children) if len(self.children) == 2 else self.children[0]
        count = leaf_count(self.shape)
        title = tensor_title(self.shape)
        return root_from(title, count, {self.index: digest}, self.path, self.level).hex()

    def record(self) -> dict[str, Any]:
        """The claim as its file holds it, without the format."""
        return {
            "node": self.node,
            "output": self.output,
            "shape": list(self.shape),
            "level": self.level,
            "index": self.index,
            "children": [digest.hex() for digest in self.children],
            "elements": list(self.elements),
            "path": [digest.hex() for digest in self.path],
        }

    def to_json(self) -> bytes:
        """The claim as the bytes of its file."""
        return written(FORMAT, self.record())


def leaf_count(shape: Shape) -> int:
    """How many leaves the tree over a tensor of this shape has."""
    return -(-elements(shape) // LEAF_ELEMENTS)


def first_claim(node: int, output: int, result: Array) -> Claim:
    """The claim at the top of the tree over a result."""
    levels = tree_levels(tensor_leaves(result))
    return _claim(node, output, result, levels, len(levels) - 1, 0)


def next_claim(result: Array, against: Claim) -> Claim:
    """The answer to another's claim: at the first place below it where one's own result differs.

    InputError where the claim is of a leaf, of another shape, or agrees with the result.
    """
    levels = tree_levels(tensor_leaves(result))
    if against.shape != result.shape:
        raise InputError("--against", f"has the shape {against.shape}", f"{result.shape}")
    if against.is_leaf:
        raise InputError("--against", "is of a leaf, which is answered by a witness")
    below = levels[against.level - 1][2 * against.index : 2 * against.index + 2]
    for k, (own, other) in enumerate(zip(below, against.children)):
        if own != other:
            place = (against.level - 1, 2 * against.index + k)
            return _claim(against.node, against.output, result, levels, *place)
    raise InputError("--against", "agrees with this run of the model")


def leaf_claim(node: int, output: int, result: Array, index: int) -> Claim:
    """The claim of a leaf."""
    return _claim(node, output, result, tree_levels(tensor_leaves(result)), 0, index)


def leaf_elements(array: Array, index: int) -> tuple[int, ...]:
    """The elements of leaf number `index` of the tree over a tensor."""
    ordered = np.moveaxis(array, 1, -1) if array.ndim == 4 else array
    start = index * LEAF_ELEMENTS
    return tuple(ordered.reshape(-1)[start : start + LEAF_ELEMENTS].tolist())


def _claim(
    node: int, output: int, result: Array, levels: list[list[bytes]], level: int, index: int
) -> Claim:
    return Claim(
        node,
        output,
        tuple(result.shape),
        level,
        index,
        tuple(levels[level - 1][2 * index : 2 * index + 2]) if level else (),
        () if level else leaf_elements(result, index),
        tuple(siblings(levels, [index], level)),
    )


def read_claim(path: PathLike) -> Claim:
    """A claim file, checked to be whole and canonical. InputError otherwise."""
    return claim_from(read_record(read_bytes(path, _LIMIT), path, FORMAT, _KEYS), path)


def claim_from(record: Any, path: PathLike) -> Claim:
    """The claim of a record as `Claim.record` gives it. InputError where it is none."""
    if not isinstance(record, dict) or set(record) != _KEYS:
        raise InputError(path, "a claim has missing or unknown keys", ", ".join(sorted(_KEYS)))
    dims = record["shape"]
    if not isinstance(dims, list) or not 1 <= len(dims) <= MAX_NDIM:
        raise InputError(path, "the shape of a claim is none")
    shape = tuple(count_of(path, "a dimension", dim, 2**24) for dim in dims)
    if not 0 < elements(shape) <= MAX_ELEMENTS:
        raise InputError(path, f"a claim has the shape {shape}", "1..2^30 elements")
    count = leaf_count(shape)
    level = count_of(path, "level", record["level"], tree_height(count))
    index = count_of(path, "index", record["index"], level_width(count, level) - 1)
    children = digests_of(path, "children", record["children"], 2)
    values: tuple[int, ...] = ()
    if level:
        here = level_width(count, level - 1) - 2 * index
        if len(children) != min(2, here) or record["elements"] != []:
            raise InputError(path, "a claim of a branch has the wrong children or has elements")
    else:
        values = elements_of(path, "elements", record["elements"])
        if children or len(values) != min(LEAF_ELEMENTS, elements(shape) - index * LEAF_ELEMENTS):
            raise InputError(path, "a claim of a leaf has children or the wrong count of elements")
    claim = Claim(
        count_of(path, "node", record["node"]),
        count_of(path, "output", record["output"]),
        shape,
        level,
        index,
        children,
        values,
        digests_of(path, "path", record["path"], 64),
    )
    try:
        claim.root()
    except ValueError as error:
        raise InputError(path, f"the path of a claim does not fit: {error}") from None
    return claim
