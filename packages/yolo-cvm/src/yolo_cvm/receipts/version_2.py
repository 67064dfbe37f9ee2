"""Receipts of version 2: one identity over model, input, outputs, gas and every result.

The format is described in docs/receipt.md. Two receipts with one identity are the same receipt;
whoever compares runs compares identities.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

from yolo_core.arrays import Array
from yolo_core.graph.costs.gas import gas
from yolo_cvm.model import Model
from yolo_cvm.receipts.digests import canonical, model_root, tensor_root
from yolo_cvm.receipts.record import SPECIFICATION, NodeDigest, observe
from yolo_cvm.receipts.trees import leaf, tree_root

FORMAT = "yolo-cvm receipt 2"


@dataclass(frozen=True)
class Receipt:
    """What was run, on what, with what result. All digests are SHA-256 in hexadecimal.

    symbol, params: digests of the files; model: `model_root` of what they mean; input, heads:
    `tensor_root` of the tensors; gas: of one inference; nodes: every operator in program order
    with the `tensor_root` of each output; root: of the tree over nodes; identity: over all of it.
    """

    symbol: str
    params: str
    model: str
    input: str
    heads: tuple[str, ...]
    gas: int
    nodes: tuple[NodeDigest, ...]
    root: str
    identity: str

    digests: ClassVar[tuple[str, ...]] = ("symbol", "params", "model", "input", "root", "identity")

    def to_json(self) -> str:
        """The receipt as text; no other spelling of it is accepted."""
        record = {"format": FORMAT, "specification": SPECIFICATION, **asdict(self)}
        return json.dumps(record, indent=1, sort_keys=True, ensure_ascii=True) + "\n"

    def fault(self) -> str | None:
        """Which of its fields does not follow from the others; None where all do."""
        if nodes_root(self.nodes) != self.root:
            return "its root does not follow from its nodes"
        if self.identity != identity_of(self):
            return "its identity does not follow from its fields"
        return None

    def told(self) -> str:
        """What a person is told who verified it."""
        return f"identity {self.identity}"


def nodes_root(nodes: Sequence[NodeDigest]) -> str:
    """Root of the tree over the operators: leaf n is node record n as canonical JSON."""
    leaves = [leaf(canonical(asdict(node)).encode("ascii")) for node in nodes]
    return tree_root("yolo-cvm receipt 2 nodes", leaves).hex()


def identity_of(receipt: Receipt) -> str:
    """SHA-256 of the format, a line feed and the fields but nodes and identity, canonical JSON."""
    fields = {
        name: value for name, value in vars(receipt).items() if name not in ("nodes", "identity")
    }
    text = canonical({"specification": SPECIFICATION, "operators": len(receipt.nodes), **fields})
    return hashlib.sha256(f"{FORMAT}\n{text}".encode("ascii")).hexdigest()


def run_with_receipt(model: Model, x: Array) -> tuple[list[Array], Receipt]:
    """One inference and its receipt. x as for `Model.run`; LogicError as there."""
    seen = observe(model, x, tensor_root)
    fields = Receipt(
        symbol=model.symbol_digest,
        params=model.params_digest,
        model=model_root(model.graph),
        input=tensor_root(seen.data),
        heads=tuple(map(tensor_root, seen.heads)),
        gas=gas(model.graph),
        nodes=seen.nodes,
        root=nodes_root(seen.nodes),
        identity="",
    )
    return list(seen.heads), Receipt(**{**vars(fields), "identity": identity_of(fields)})
