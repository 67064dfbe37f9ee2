"""Comparing a receipt with the model it speaks of, and two receipts with each other."""

from __future__ import annotations

from itertools import zip_longest

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.words import shown
from yolo_cvm.model import Model
from yolo_cvm.receipts import digests, version_1, version_2
from yolo_cvm.receipts.reader import AnyReceipt
from yolo_cvm.receipts.record import NodeDigest
from yolo_cvm.receipts.version_1 import ReceiptVersion1


def verify(receipt: AnyReceipt, model: Model, x: Array) -> str | None:
    """Run again and compare. Returns None where all agrees, else the first thing that differs."""
    found = (
        ("symbol file", model.symbol_digest, receipt.symbol),
        ("params file", model.params_digest, receipt.params),
    )
    for what, ours, theirs in found:
        if ours != theirs:
            return f"the {what} is another one"
    old = isinstance(receipt, ReceiptVersion1)
    digest = digests.tensor_digest if old else digests.tensor_root
    if digest(model.prepare(x)) != receipt.input:
        return "the input is another one"
    again = version_1.compute(model, x) if old else version_2.run_with_receipt(model, x)[1]
    if getattr(receipt, "model", None) != getattr(again, "model", None):
        return "the model is another one"
    return first_difference(receipt, again)


def first_difference(left: AnyReceipt, right: AnyReceipt) -> str | None:
    """The first node at which two runs of one model on one input part; None where none does.

    InputError where the receipts are of different versions, models or inputs, which no node
    explains.
    """
    check_comparable(left, right)
    for a, b in zip_longest(left.nodes, right.nodes):
        if a is None or b is None or a.node != b.node:
            return f"the lists of nodes, at {_listed(a)} and {_listed(b)}"
        if a != b:
            outputs = [k for k, (p, q) in enumerate(zip(a.outputs, b.outputs)) if p != q]
            which = f", output {outputs[0]}" if len(a.outputs) > 1 and outputs else ""
            return f"node {a.node} '{shown(a.name)}' ({shown(a.op)}){which}"
    if left.gas != right.gas:
        return f"no node, but the gas, {left.gas} and {right.gas}"
    return None if left == right else "no node, but the heads or the output"


def _listed(node: NodeDigest | None) -> str:
    return "its end" if node is None else f"node {node.node}"


def check_comparable(left: AnyReceipt, right: AnyReceipt) -> None:
    """InputError where two receipts are of different versions, models or inputs."""
    if type(left) is not type(right):
        raise InputError("receipts", "are of different versions", "two of one version")
    for name in ("symbol", "params", "model", "input"):
        if getattr(left, name, None) != getattr(right, name, None):
            raise InputError(
                "receipts", f"the {name} differs", "two runs of one model on one input"
            )
