"""The judge: who of two computed an operator wrongly, from a witness and the two receipts alone.

Everything that a witness says is bound to what both receipts agree on: the records of the node and
of its operands to the model root, the operands to the results of earlier nodes, the input or the
parameters, the claims to the result of either receipt. So it does not matter who made it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import PathLike
from yolo_core.graph.errors import GraphError
from yolo_core.graph.integers import Shape, elements
from yolo_core.words import shown
from yolo_cvm.dispute.claim import leaf_count
from yolo_cvm.dispute.element import Operation, element
from yolo_cvm.dispute.records import is_record, operation_of
from yolo_cvm.dispute.witness import OperandPart, Witness, disputed_element
from yolo_cvm.receipts.compare import check_comparable
from yolo_cvm.receipts.digests import (
    LEAF_ELEMENTS,
    node_leaf,
    tensor_root,
    tensor_title,
    tree_positions,
)
from yolo_cvm.receipts.record import NodeDigest
from yolo_cvm.receipts.trees import leaf, root_from
from yolo_cvm.receipts.version_2 import Receipt

SIDES = ("first", "second")


@dataclass(frozen=True)
class Verdict:
    """wrong: of "first" and "second" those whose receipt is wrong at the node, one or both.

    element: index in the result where one element was computed again, else None; computed,
    claimed: its value, and what the two receipts claim.
    """

    node: int
    name: str
    op: str
    wrong: tuple[str, ...]
    output: int | None = None
    element: tuple[int, ...] | None = None
    computed: int | None = None
    claimed: tuple[int, ...] = ()

    def lines(self, names: Mapping[str, str]) -> list[str]:
        """What a person is told; names: what "first" and "second" are called."""
        told = [f"node {self.node} '{shown(self.name)}' ({shown(self.op)})"]
        if self.element is not None:
            told[0] += f", output {self.output}, element {list(self.element)}: {self.computed}"
            told += [f"{shown(names[s])} says {v}" for s, v in zip(SIDES, self.claimed)]
        told += [f"{shown(names[side])} is wrong" for side in self.wrong]
        return told


def judge(
    witness: Witness, first: Receipt, second: Receipt, *, path: PathLike = "witness"
) -> Verdict:
    """Compute the disputed part of the first node again at which two receipts part.

    InputError where the receipts are not of one model and input, or do not part at a node, where
    the witness is of another node, or where anything in it does not follow from the receipts.
    """
    check_comparable(first, second)
    pair = _first_difference(first, second)
    if pair[0].node != witness.node:
        raise InputError(path, f"is of node {witness.node}", f"of node {pair[0].node}")
    records = _records(witness, first, path)
    record = records[witness.node]
    try:
        operation = operation_of(record, records, path)
        broken = _misnamed(pair, record, operation)
        if not broken and _omitted(record, records, first):
            broken = SIDES
        if broken:
            return Verdict(witness.node, record["name"], record["op"], broken)
        operands = _Operands(witness, record, records, operation, first, path)
        if witness.claims:
            return _judge_element(witness, pair, record, operation, operands, path)
        return _judge_node(pair, record, operation, operands)
    except GraphError as error:
        raise InputError(path, f"shows a node that is not valid: {error}") from None


def _first_difference(first: Receipt, second: Receipt) -> tuple[NodeDigest, NodeDigest]:
    """The first node that the two give differently. InputError where none can be judged."""
    for left, right in zip(first.nodes, second.nodes):
        if left.node != right.node:
            break
        if left != right:
            return left, right
    else:
        if len(first.nodes) == len(second.nodes):
            raise InputError("receipts", "agree in every node", "two that part at a node")
    raise InputError("receipts", "list different nodes", "a witness of the model's records")


def _omitted(
    record: dict[str, Any], records: Mapping[int, dict[str, Any]], receipt: Receipt
) -> bool:
    """Whether the receipts, which agree so far, leave out a result that the node reads."""
    listed = {node.node: len(node.outputs) for node in receipt.nodes}
    return any(
        records[node]["op"] is not None and output >= listed.get(node, 0)
        for node, output in record["inputs"]
    )


def _records(witness: Witness, receipt: Receipt, path: PathLike) -> dict[int, dict[str, Any]]:
    """The records of the witness by node, proven to be of the receipts' model."""
    records: dict[int, dict[str, Any]] = {}
    for record in witness.model.records:
        if not is_record(record) or not record["node"] < witness.model.count:
            raise InputError(path, "a record of a node is broken")
        if record["node"] in records:
            raise InputError(path, f"has two records of node {record['node']}")
        records[record["node"]] = record
    try:
        known = {number: node_leaf(record) for number, record in records.items()}
        model = witness.model
        root = root_from(model.title, model.count, known, model.proof).hex()
    except ValueError as error:
        raise InputError(path, f"the proof of its records does not fit: {error}") from None
    if root != receipt.model:
        raise InputError(path, "shows another model", "the one of the receipts")
    if witness.node not in records:
        raise InputError(path, f"has no record of node {witness.node}")
    return records


def _misnamed(
    pair: Sequence[NodeDigest], record: dict[str, Any], operation: Operation
) -> tuple[str, ...]:
    """Who lists the node under another name or operator, or with too many or too few results."""
    right = (record["name"], record["op"], len(operation.results))
    listed = [(node.name, node.op, len(node.outputs)) for node in pair]
    return tuple(side for side, one in zip(SIDES, listed) if one != right)


class _Operands:
    """The operands of a witness, each leaf proven to belong to the tensor that both agree on."""

    def __init__(
        self,
        witness: Witness,
        record: dict[str, Any],
        records: dict[int, dict[str, Any]],
        operation: Operation,
        receipt: Receipt,
        path: PathLike,
    ) -> None:
        if len(witness.operands) != len(operation.operands):
            raise InputError(path, f"shows {len(witness.operands)} operands")
        self._path = path
        self._shapes = operation.operands
        self._leaves: list[dict[int, Array]] = []
        self._used: list[set[int]] = [set() for _ in witness.operands]
        for part, shape, (node, output) in zip(
            witness.operands, operation.operands, record["inputs"]
        ):
            root = _agreed_root(records[node], output, receipt, path)
            self._leaves.append(self._proven(part, shape, root))

    def _proven(self, part: OperandPart, shape: Shape, root: str) -> dict[int, Array]:
        count = leaf_count(shape)
        held = {}
        for index, values in part.leaves:
            right = min(LEAF_ELEMENTS, elements(shape) - index * LEAF_ELEMENTS)
            if len(values) != right:
                raise InputError(self._path, f"leaf {index} has {len(values)} elements", f"{right}")
            held[index] = np.array(values, "<i4")
        if not held and not part.proof:
            return held  # nothing of this operand is read
        digests = {index: leaf(values.tobytes()) for index, values in held.items()}
        try:
            found = root_from(tensor_title(shape), count, digests, part.proof).hex()
        except ValueError as error:
            raise InputError(self._path, f"the proof of an operand does not fit: {error}") from None
        if found != root:
            raise InputError(self._path, "shows another operand", "the one of the receipts")
        return held

    def read(self, operand: int, positions: Array) -> Array:
        """Elements of an operand. InputError where the witness does not hold them."""
        held = self._leaves[operand]
        places = tree_positions(self._shapes[operand], positions)
        values = np.empty(places.shape, np.int32)
        indices = places // LEAF_ELEMENTS
        for index in np.unique(indices).tolist():
            if index not in held:
                raise InputError(self._path, f"operand {operand} lacks leaf {index}")
            here = indices == index
            values[here] = held[index][places[here] - index * LEAF_ELEMENTS]
            self._used[operand].add(index)
        return values

    def whole(self, operand: int) -> Array:
        """All elements of an operand."""
        shape = self._shapes[operand]
        if len(self._leaves[operand]) != leaf_count(shape):
            raise InputError(self._path, f"operand {operand} is not whole")
        data = np.concatenate([self._leaves[operand][k] for k in sorted(self._leaves[operand])])
        self._used[operand] = set(self._leaves[operand])
        if len(shape) != 4:
            return data.reshape(shape)
        batch, channels, height, width = shape
        ordered = data.reshape(batch, height, width, channels)
        return np.ascontiguousarray(np.moveaxis(ordered, -1, 1))

    def check_all_used(self) -> None:
        """InputError where the witness holds more than was needed."""
        if any(set(held) != used for held, used in zip(self._leaves, self._used)):
            raise InputError(self._path, "holds leaves that the disputed element does not need")


def _agreed_root(record: dict[str, Any], output: int, receipt: Receipt, path: PathLike) -> str:
    """The tensor root of an operand, on which both receipts agree."""
    if record["op"] is None:
        value = record["value"]
        return receipt.input if value is None else str(value)
    for node in receipt.nodes:
        if node.node == record["node"] and output < len(node.outputs):
            return node.outputs[output]
    raise AssertionError("_omitted has looked for it")


def _judge_node(
    pair: Sequence[NodeDigest],
    record: dict[str, Any],
    operation: Operation,
    operands: _Operands,
) -> Verdict:
    """The whole operator, computed again."""
    arrays = [operands.whole(k) for k in range(len(operation.operands))]
    results = operation.operator.meaning(arrays, operation.attributes)
    right = tuple(map(tensor_root, results))
    wrong = tuple(side for side, node in zip(SIDES, pair) if node.outputs != right)
    return Verdict(record["node"], record["name"], record["op"], wrong)


def _judge_element(
    witness: Witness,
    pair: Sequence[NodeDigest],
    record: dict[str, Any],
    operation: Operation,
    operands: _Operands,
    path: PathLike,
) -> Verdict:
    """The first element in which the two claims differ, computed again."""
    left, right = witness.claims
    places = {(c.node, c.output, c.shape, c.level, c.index) for c in witness.claims}
    if len(places) != 1 or left.node != witness.node or not left.is_leaf:
        raise InputError(path, "its claims are not of one leaf of the disputed node")
    output = left.output
    if output >= len(operation.results) or left.shape != operation.results[output]:
        raise InputError(path, "its claims are of another shape", f"{operation.results}")
    sides = [node.outputs[output] for node in pair]
    if sides[0] == sides[1]:
        raise InputError(path, f"its claims are of output {output}, on which the receipts agree")
    if [left.root(), right.root()] == sides[::-1]:
        left, right = right, left
    if [left.root(), right.root()] != sides:
        raise InputError(path, "its claims do not belong to the two receipts")
    position = disputed_element(left, right)
    if position is None:
        raise InputError(path, "its claims agree, which decides nothing")
    computed = element(operation, output, position, operands.read)
    operands.check_all_used()
    claimed = (_at(left.elements, left.shape, left.index, position),
               _at(right.elements, right.shape, right.index, position))  # fmt: skip
    wrong = tuple(side for side, value in zip(SIDES, claimed) if value != computed)
    index = tuple(int(i) for i in np.unravel_index(position, left.shape))
    return Verdict(
        record["node"], record["name"], record["op"], wrong, output, index, computed, claimed
    )


def _at(values: Sequence[int], shape: Shape, index: int, position: int) -> int:
    """The element at a row-major position, from the elements of its leaf."""
    place = int(tree_positions(shape, np.array([position], np.int64))[0])
    return values[place - index * LEAF_ELEMENTS]
