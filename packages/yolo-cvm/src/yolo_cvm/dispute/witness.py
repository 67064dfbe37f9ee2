"""Witnesses: what is needed to run one operator again, bound to the receipts by hash paths.

A witness of a whole node holds all of its operands. One that answers another's claim holds both
claims of the disputed leaf and of the operands only the leaves that the first element depends on
in which the claims differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import PathLike, read_bytes
from yolo_cvm.dispute.claim import Claim, claim_from, leaf_claim, leaf_elements
from yolo_cvm.dispute.element import element
from yolo_cvm.dispute.observe import NodeRun
from yolo_cvm.dispute.strict_json import count_of, digests_of, elements_of, read_record, written
from yolo_cvm.receipts.digests import (
    LEAF_ELEMENTS,
    model_title,
    node_leaf,
    node_record,
    row_major_position,
    tensor_leaves,
    tree_positions,
)
from yolo_cvm.receipts.trees import siblings, tree_levels

FORMAT = "yolo-cvm witness 1"

#: Largest witness that is read, in bytes; of a whole node of a 640 detector a few MB are used.
WITNESS_LIMIT = 64 << 20

_KEYS = frozenset(("node", "model", "claims", "operands"))
_MODEL = frozenset(("title", "count", "records", "proof"))
_OPERAND = frozenset(("leaves", "proof"))


@dataclass(frozen=True)
class ModelPart:
    """Some nodes of a model: the tree's title, its count of leaves, records, and their proof."""

    title: str
    count: int
    records: tuple[dict[str, Any], ...]
    proof: tuple[bytes, ...]


@dataclass(frozen=True)
class OperandPart:
    """Some leaves of an operand, as (index, elements) in ascending order, and their proof."""

    leaves: tuple[tuple[int, tuple[int, ...]], ...]
    proof: tuple[bytes, ...]


@dataclass(frozen=True)
class Witness:
    """node: the operator; model: its record and those of its operands; claims: of the disputed
    leaf, by both, or none where the whole node is shown; operands: one part for each."""

    node: int
    model: ModelPart
    claims: tuple[Claim, ...]
    operands: tuple[OperandPart, ...]

    def to_json(self) -> bytes:
        """The witness as the bytes of its file."""
        model = self.model
        record = {
            "node": self.node,
            "model": {
                "title": model.title,
                "count": model.count,
                "records": list(model.records),
                "proof": [digest.hex() for digest in model.proof],
            },
            "claims": [claim.record() for claim in self.claims],
            "operands": [
                {
                    "leaves": [[index, list(values)] for index, values in part.leaves],
                    "proof": [digest.hex() for digest in part.proof],
                }
                for part in self.operands
            ],
        }
        return written(FORMAT, record)


def make_witness(run: NodeRun, against: Claim | None = None) -> Witness:
    """The witness of an operator's run: of the whole node, or against another's claim of a leaf.

    InputError where the claim is of another node or of a branch, or agrees with the run.
    """
    if against is None:
        claims: tuple[Claim, ...] = ()
        wanted = [set(range(len(tensor_leaves(array)))) for array in run.operands]
    else:
        claims = (against, _own(run, against))
        position = disputed_element(*claims)
        if position is None:
            raise InputError("--against", "agrees with this run of the model")
        wanted = _leaves_read(run, against.output, position)
    parts = tuple(_operand(array, leaves) for array, leaves in zip(run.operands, wanted))
    return Witness(run.node, _model_part(run), claims, parts)


def _own(run: NodeRun, against: Claim) -> Claim:
    """One's own claim of the leaf that another claims."""
    if against.node != run.node or against.output >= len(run.results):
        raise InputError("--against", f"is of node {against.node}, output {against.output}")
    result = run.results[against.output]
    if against.shape != result.shape:
        raise InputError("--against", f"has the shape {against.shape}", f"{result.shape}")
    if not against.is_leaf:
        raise InputError("--against", "is of a branch, which is answered by a claim")
    return leaf_claim(run.node, against.output, result, against.index)


def disputed_element(left: Claim, right: Claim) -> int | None:
    """Row-major position of the first element in which two claims of a leaf differ."""
    for k, (one, other) in enumerate(zip(left.elements, right.elements)):
        if one != other:
            return row_major_position(left.shape, left.index * LEAF_ELEMENTS + k)
    return None


def _leaves_read(run: NodeRun, output: int, position: int) -> list[set[int]]:
    """Which leaves of every operand an element depends on."""
    leaves: list[set[int]] = [set() for _ in run.operands]

    def read(operand: int, positions: Array) -> Array:
        array = run.operands[operand]
        found = tree_positions(array.shape, positions) // LEAF_ELEMENTS
        leaves[operand].update(np.unique(found).tolist())
        return array.reshape(-1)[positions]

    element(run.operation, output, position, read)
    return leaves


def _operand(array: Array, wanted: set[int]) -> OperandPart:
    levels = tree_levels(tensor_leaves(array))
    leaves = tuple((index, leaf_elements(array, index)) for index in sorted(wanted))
    return OperandPart(leaves, tuple(siblings(levels, wanted)) if wanted else ())


def _model_part(run: NodeRun) -> ModelPart:
    graph = run.graph
    records = [node_record(graph, number) for number in range(len(graph.nodes))]
    levels = tree_levels([node_leaf(record) for record in records])
    shown = {run.node, *(entry.node for entry in graph.nodes[run.node].inputs)}
    return ModelPart(
        model_title(graph),
        len(records),
        tuple(records[number] for number in sorted(shown)),
        tuple(siblings(levels, shown)),
    )


def read_witness(path: PathLike) -> Witness:
    """A witness file, checked to be whole and canonical. InputError otherwise."""
    record = read_record(read_bytes(path, WITNESS_LIMIT), path, FORMAT, _KEYS)
    claims, operands = record["claims"], record["operands"]
    if not isinstance(claims, list) or len(claims) not in (0, 2) or not isinstance(operands, list):
        raise InputError(path, "claims or operands are not lists", "no claims or two")
    return Witness(
        count_of(path, "node", record["node"]),
        _read_model(path, record["model"]),
        tuple(claim_from(claim, path) for claim in claims),
        tuple(_read_operand(path, operand) for operand in operands),
    )


def _read_model(path: PathLike, record: Any) -> ModelPart:
    if not isinstance(record, dict) or set(record) != _MODEL:
        raise InputError(path, "the model has missing or unknown keys", ", ".join(sorted(_MODEL)))
    title, records = record["title"], record["records"]
    if not isinstance(title, str) or not title.isascii() or not isinstance(records, list):
        raise InputError(path, "the model's title or records are broken")
    if not all(isinstance(item, dict) for item in records):
        raise InputError(path, "a record of the model is not an object")
    count = count_of(path, "count", record["count"])
    return ModelPart(title, count, tuple(records), digests_of(path, "proof", record["proof"]))


def _read_operand(path: PathLike, record: Any) -> OperandPart:
    if not isinstance(record, dict) or set(record) != _OPERAND:
        raise InputError(path, "an operand has missing or unknown keys", "leaves, proof")
    if not isinstance(record["leaves"], list):
        raise InputError(path, "the leaves of an operand are not a list")
    leaves: list[tuple[int, tuple[int, ...]]] = []
    for item in record["leaves"]:
        if not isinstance(item, list) or len(item) != 2:
            raise InputError(path, "a leaf is not a pair of index and elements")
        index = count_of(path, "the index of a leaf", item[0])
        if leaves and index <= leaves[-1][0]:
            raise InputError(path, "lists a leaf twice or out of order")
        leaves.append((index, elements_of(path, "a leaf", item[1])))
    return OperandPart(tuple(leaves), digests_of(path, "proof", record["proof"]))
