"""Receipts: proof of what was computed, that anyone can check by computing it again.

The format is described in docs/receipt.md. A receipt speaks of integers only: it is the same,
byte for byte, for every engine, thread count, machine and library version.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import PathLike, read_json
from yolo_core.graph import Entry
from yolo_core.graph.costs.gas import gas
from yolo_cvm.model import Model

FORMAT = "yolo-cvm receipt 1"
SPECIFICATION = "CVM, 37 operators, formal back end, 1"
RECEIPT_LIMIT = 64 << 20

_DIGEST = re.compile(r"[0-9a-f]{64}")
_LEAF, _BRANCH = b"\x00", b"\x01"


@dataclass(frozen=True)
class NodeDigest:
    """One operator's results: its number, name and operator, and the digest of each output."""

    node: int
    name: str
    op: str
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Receipt:
    """What was run, on what, with what result. All digests are SHA-256 in hexadecimal.

    symbol, params: digests of the files; input, heads: of the tensors (`tensor_digest`);
    output: of the heads' digests in order; nodes: every operator in program order; root: the
    Merkle root over nodes; gas: of one inference.
    """

    symbol: str
    params: str
    input: str
    output: str
    heads: tuple[str, ...]
    gas: int
    nodes: tuple[NodeDigest, ...]
    root: str

    def to_json(self) -> str:
        """The receipt as text, the same for the same receipt."""
        record = {"format": FORMAT, "specification": SPECIFICATION, **asdict(self)}
        return json.dumps(record, indent=1, sort_keys=True) + "\n"


def tensor_digest(array: Array) -> str:
    """SHA-256 of `int32 1x3x64x64\\n` (the shape) and the little-endian int32 elements."""
    shape = "x".join(str(dim) for dim in array.shape)
    digest = hashlib.sha256(f"int32 {shape}\n".encode("ascii"))
    digest.update(np.ascontiguousarray(array, "<i4").data.cast("B"))
    return digest.hexdigest()


def merkle_root(nodes: Sequence[NodeDigest]) -> str:
    """The root of the hash tree over the operators, in the manner of RFC 6962.

    Leaf: SHA-256 of 0x00, the node number as 8 bytes big-endian, and its output digests; branch:
    SHA-256 of 0x01 and both children; the left child holds the largest power of two below the
    count. No operators: SHA-256 of nothing.
    """
    leaves = [
        hashlib.sha256(
            _LEAF + node.node.to_bytes(8, "big") + b"".join(map(bytes.fromhex, node.outputs))
        ).digest()
        for node in nodes
    ]
    return _root(leaves).hex()


def _root(leaves: Sequence[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(_BRANCH + _root(leaves[:split]) + _root(leaves[split:])).digest()


def run_with_receipt(model: Model, x: Array) -> tuple[list[Array], Receipt]:
    """One inference and its receipt. x as for `Model.run`; LogicError as there."""
    data = model.prepare(x)
    graph = model.graph
    wanted = set(graph.heads)
    kept = {Entry(graph.input_index): data}
    nodes = []
    for number, outputs in model.trace(data):
        node = graph.nodes[number]
        assert node.op is not None
        digests = tuple(tensor_digest(array) for array in outputs)
        nodes.append(NodeDigest(number, node.name, node.op, digests))
        for k, array in enumerate(outputs):
            if Entry(number, k) in wanted:
                kept[Entry(number, k)] = np.array(array, dtype=np.int32)
    heads = [
        graph.parameters[graph.nodes[head.node].name] if head not in kept else kept[head]
        for head in graph.heads
    ]
    digests = tuple(tensor_digest(head) for head in heads)
    receipt = Receipt(
        symbol=model.symbol_digest,
        params=model.params_digest,
        input=tensor_digest(data),
        output=hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest(),
        heads=digests,
        gas=gas(graph),
        nodes=tuple(nodes),
        root=merkle_root(nodes),
    )
    return heads, receipt


def verify(receipt: Receipt, model: Model, x: Array) -> str | None:
    """Run again and compare. Returns None where all agrees, else the first thing that differs."""
    found = (
        ("symbol file", model.symbol_digest, receipt.symbol),
        ("params file", model.params_digest, receipt.params),
    )
    for what, ours, theirs in found:
        if ours != theirs:
            return f"the {what} is another one"
    if tensor_digest(model.prepare(x)) != receipt.input:
        return "the input is another one"
    _, again = run_with_receipt(model, x)
    return first_difference(receipt, again)


def first_difference(left: Receipt, right: Receipt) -> str | None:
    """The first node at which two runs of one model on one input part; None where none does.

    InputError where the receipts are of different models or inputs, which no node explains.
    """
    for name in ("symbol", "params", "input"):
        if getattr(left, name) != getattr(right, name):
            raise InputError(
                "receipts", f"the {name} differs", "two runs of one model on one input"
            )
    if [node.node for node in left.nodes] != [node.node for node in right.nodes]:
        raise InputError("receipts", "list different nodes", "two runs of one model")
    for a, b in zip(left.nodes, right.nodes):
        if a != b:
            outputs = [k for k, (p, q) in enumerate(zip(a.outputs, b.outputs)) if p != q]
            which = f", output {outputs[0]}" if len(a.outputs) > 1 and outputs else ""
            return f"node {a.node} {a.name!r} ({a.op}){which}"
    return None if left == right else "no node, but the heads, the output or the gas"


def read_receipt(path: PathLike) -> Receipt:
    """A receipt file, checked to be whole and to agree with its own root. InputError otherwise."""
    record = read_json(path, RECEIPT_LIMIT)
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise InputError(path, "is no receipt", f"format {FORMAT!r}")
    if record.get("specification") != SPECIFICATION:
        raise InputError(path, f"follows {record.get('specification')!r:.80}", SPECIFICATION)
    fields = set(Receipt.__dataclass_fields__)
    if set(record) != fields | {"format", "specification"}:
        raise InputError(path, "has missing or unknown keys", ", ".join(sorted(fields)))
    for name in ("symbol", "params", "input", "output", "root"):
        _check_digest(path, name, record[name])
    if type(record["gas"]) is not int or record["gas"] < 0:
        raise InputError(path, "gas is no count")
    heads, listed = record["heads"], record["nodes"]
    if not isinstance(heads, list) or not isinstance(listed, list):
        raise InputError(path, "heads or nodes are no lists")
    for head in heads:
        _check_digest(path, "heads", head)
    nodes = tuple(_node(path, item) for item in listed)
    receipt = Receipt(
        **{name: record[name] for name in ("symbol", "params", "input", "output", "root", "gas")},
        heads=tuple(heads),
        nodes=nodes,
    )
    if merkle_root(nodes) != receipt.root:
        raise InputError(path, "its root does not follow from its nodes", "an unaltered receipt")
    return receipt


def _check_digest(path: PathLike, name: str, value: Any) -> None:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise InputError(path, f"{name} is no digest", "64 hexadecimal digits")


def _node(path: PathLike, item: Any) -> NodeDigest:
    if not isinstance(item, dict) or set(item) != {"node", "name", "op", "outputs"}:
        raise InputError(path, "a node record is broken", "node, name, op, outputs")
    number, outputs = item["node"], item["outputs"]
    if type(number) is not int or not 0 <= number < 2**31 or not isinstance(outputs, list):
        raise InputError(path, "a node record is broken", "node, name, op, outputs")
    for digest in outputs:
        _check_digest(path, f"node {number}", digest)
    return NodeDigest(number, str(item["name"]), str(item["op"]), tuple(outputs))
