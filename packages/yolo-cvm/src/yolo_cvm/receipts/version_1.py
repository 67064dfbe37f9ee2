"""Receipts of version 1: they are still verified, and no longer written.

Their root covers the results of operators alone, so two models can share it; nothing in the file
says so when other fields are replaced, except that `output` must follow from `heads`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

from yolo_core.arrays import Array
from yolo_core.graph.costs.gas import gas
from yolo_cvm.model import Model
from yolo_cvm.receipts.digests import tensor_digest
from yolo_cvm.receipts.record import SPECIFICATION, NodeDigest, observe, sha256_of
from yolo_cvm.receipts.trees import leaf, tree_top

FORMAT = "yolo-cvm receipt 1"


@dataclass(frozen=True)
class ReceiptVersion1:
    """What was run, on what, with what result. All digests are SHA-256 in hexadecimal.

    symbol, params: digests of the files; input, heads: of the tensors (`tensor_digest`);
    output: of the heads' digests in order; nodes: every operator in program order; root: the
    root over nodes; gas: of one inference.
    """

    symbol: str
    params: str
    input: str
    output: str
    heads: tuple[str, ...]
    gas: int
    nodes: tuple[NodeDigest, ...]
    root: str

    digests: ClassVar[tuple[str, ...]] = ("symbol", "params", "input", "output", "root")

    def to_json(self) -> str:
        """The receipt as text, the same for the same receipt."""
        record = {"format": FORMAT, "specification": SPECIFICATION, **asdict(self)}
        return json.dumps(record, indent=1, sort_keys=True) + "\n"

    def fault(self) -> str | None:
        """Which of its fields does not follow from the others; None where all do."""
        if operators_root(self.nodes) != self.root:
            return "its root does not follow from its nodes"
        if sha256_of(self.heads) != self.output:
            return "its output does not follow from its heads"
        return None

    def told(self) -> str:
        """What a person is told who verified it."""
        return f"root {self.root} (version 1: the root covers the operators' results alone)"


def operators_root(nodes: Sequence[NodeDigest]) -> str:
    """`tree_top` over leaves of the node number in 8 bytes big-endian and the output digests."""
    leaves = [
        leaf(node.node.to_bytes(8, "big") + b"".join(map(bytes.fromhex, node.outputs)))
        for node in nodes
    ]
    return tree_top(leaves).hex()


def compute(model: Model, x: Array) -> ReceiptVersion1:
    """The receipt of version 1 of one inference. x as for `Model.run`; LogicError as there."""
    seen = observe(model, x, tensor_digest)
    heads = tuple(map(tensor_digest, seen.heads))
    return ReceiptVersion1(
        symbol=model.symbol_digest,
        params=model.params_digest,
        input=tensor_digest(seen.data),
        output=sha256_of(heads),
        heads=heads,
        gas=gas(model.graph),
        nodes=seen.nodes,
        root=operators_root(seen.nodes),
    )
