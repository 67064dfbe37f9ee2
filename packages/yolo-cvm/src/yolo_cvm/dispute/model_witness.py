"""Disputes about what needs no run: which operators a model has, its heads and its gas.

All records of a model lead to its root, on which both receipts agree. They say which nodes a
receipt must list, of which results its heads are, and what one inference costs. The bytes of
parameters are not needed: their roots stand in the records.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from yolo_core.errors import InputError
from yolo_core.files import PathLike, read_bytes
from yolo_core.graph import Entry, Graph, Node
from yolo_core.graph.costs.gas import gas
from yolo_core.graph.errors import GraphError
from yolo_core.graph.integers import check_shape
from yolo_core.graph.operators import Attributes
from yolo_core.words import shown
from yolo_cvm.dispute.judge import SIDES, Verdict, judge
from yolo_cvm.dispute.records import is_record, operation_of
from yolo_cvm.dispute.strict_json import read_record, written
from yolo_cvm.dispute.witness import WITNESS_LIMIT, read_witness
from yolo_cvm.receipts.compare import check_comparable
from yolo_cvm.receipts.digests import canonical, model_title, node_leaf, node_record
from yolo_cvm.receipts.trees import tree_root
from yolo_cvm.receipts.version_2 import Receipt

FORMAT = "yolo-cvm model witness 1"

_KEYS = frozenset(("title", "records"))
_TITLE = "yolo-cvm model 2 "


@dataclass(frozen=True)
class ModelWitness:
    """title: of the model's tree; records: of all its nodes, in order."""

    title: str
    records: tuple[dict[str, Any], ...]

    def to_json(self) -> bytes:
        """The witness as the bytes of its file."""
        return written(FORMAT, {"title": self.title, "records": list(self.records)})


@dataclass(frozen=True)
class ModelVerdict:
    """wrong: of "first" and "second" those whose receipt contradicts the model; reasons: of each
    of them the first thing that does."""

    wrong: tuple[str, ...]
    reasons: tuple[str, ...]

    def lines(self, names: Mapping[str, str]) -> list[str]:
        """What a person is told; names: what "first" and "second" are called."""
        told = [f"{shown(names[side])}: {why}" for side, why in zip(self.wrong, self.reasons)]
        return told + [f"{shown(names[side])} is wrong" for side in self.wrong]


def make_model_witness(graph: Graph) -> ModelWitness:
    """The witness of a bound program."""
    records = tuple(node_record(graph, number) for number in range(len(graph.nodes)))
    return ModelWitness(model_title(graph), records)


def read_model_witness(path: PathLike) -> ModelWitness:
    """A witness of a model, checked to be whole and canonical. InputError otherwise."""
    record = read_record(read_bytes(path, WITNESS_LIMIT), path, FORMAT, _KEYS)
    title, records = record["title"], record["records"]
    if not isinstance(title, str) or not title.isascii() or not isinstance(records, list):
        raise InputError(path, "the model's title or records are broken")
    for number, item in enumerate(records):
        if not isinstance(item, dict) or not is_record(item) or item["node"] != number:
            raise InputError(path, f"the record of node {number} is broken")
    return ModelWitness(title, tuple(records))


def judge_model(
    witness: ModelWitness, first: Receipt, second: Receipt, *, path: PathLike = "witness"
) -> ModelVerdict:
    """Whose nodes, heads or gas contradict the model. Each receipt is judged by itself.

    InputError where the receipts are not of one model and input, the witness is not of theirs, or
    neither contradicts it.
    """
    check_comparable(first, second)
    if tree_root(witness.title, [node_leaf(one) for one in witness.records]).hex() != first.model:
        raise InputError(path, "shows another model", "the one of the receipts")
    try:
        graph = _graph(witness, path)
        cost = gas(graph)
    except GraphError as error:
        raise InputError(path, f"shows a model that is not valid: {error}") from None
    found = [
        (side, _contradiction(witness, graph, cost, receipt))
        for side, receipt in zip(SIDES, (first, second))
    ]
    faults = [(side, why) for side, why in found if why is not None]
    if not faults:
        raise InputError(path, "contradicts neither receipt", "two that part in nodes, heads, gas")
    return ModelVerdict(tuple(side for side, _ in faults), tuple(why for _, why in faults))


def judge_file(path: PathLike, first: Receipt, second: Receipt) -> Verdict | ModelVerdict:
    """The verdict on a witness file of either kind; InputError as `judge` and `judge_model`."""
    head = f'{{"format":"{FORMAT}"'.encode("ascii")
    if read_bytes(path, WITNESS_LIMIT).startswith(head):
        return judge_model(read_model_witness(path), first, second, path=path)
    return judge(read_witness(path), first, second, path=path)


def _graph(witness: ModelWitness, path: PathLike) -> Graph:
    """The program that the records describe, without parameters."""
    by_number = {record["node"]: record for record in witness.records}
    nodes = []
    for record in witness.records:
        attributes = Attributes({})
        if record["op"] is not None:
            attributes = operation_of(record, by_number, path).attributes
        shapes = tuple(map(tuple, record["shapes"]))
        for shape in shapes:
            check_shape(shape)
        inputs = tuple(Entry(node, output) for node, output in record["inputs"])
        nodes.append(Node(record["name"], record["op"], inputs, attributes, shapes, ()))
    return Graph(tuple(nodes), _heads(witness, path), ())


def _heads(witness: ModelWitness, path: PathLike) -> tuple[Entry, ...]:
    """The heads that the title of the model's tree names."""
    broken = InputError(path, "the title of the model's tree is broken")
    if not witness.title.startswith(_TITLE):
        raise broken
    try:
        told = json.loads(witness.title[len(_TITLE) :])
    except (ValueError, RecursionError):
        raise broken from None
    if not isinstance(told, dict) or witness.title != _TITLE + canonical(told):
        raise broken
    heads = []
    for pair in told["heads"] if isinstance(told.get("heads"), list) else [None]:
        if not isinstance(pair, list) or [type(one) for one in pair] != [int, int]:
            raise broken
        node, output = pair
        if not 0 <= node < len(witness.records):
            raise broken
        if not 0 <= output < len(witness.records[node]["shapes"]):
            raise broken
        heads.append(Entry(node, output))
    return tuple(heads)


def _contradiction(witness: ModelWitness, graph: Graph, cost: int, receipt: Receipt) -> str | None:
    """The first thing in which a receipt contradicts the model; None where nothing does."""
    listed = ((one.node, one.name, one.op, len(one.outputs)) for one in receipt.nodes)
    operators = (
        (number, node.name, node.op, len(node.shapes))
        for number, node in enumerate(graph.nodes)
        if not node.is_variable
    )
    for right, told in zip_longest(operators, listed):
        if right != told:
            return f"lists {_listed(told)} where the model has {_listed(right)}"
    results = {one.node: one.outputs for one in receipt.nodes}
    heads = []
    for head in graph.heads:
        record = witness.records[head.node]
        if record["op"] is not None:
            heads.append(results[head.node][head.output])
        else:
            heads.append(receipt.input if record["value"] is None else record["value"])
    if tuple(heads) != receipt.heads:
        return "its heads are not the results of its nodes"
    if receipt.gas != cost:
        return f"gas {receipt.gas} where the model takes {cost}"
    return None


def _listed(node: tuple[int, str, str | None, int] | None) -> str:
    if node is None:
        return "no further node"
    number, name, op, outputs = node
    results = f" with {outputs} results" if outputs != 1 else ""
    return f"node {number} '{shown(name)}' ({shown(str(op))}){results}"
