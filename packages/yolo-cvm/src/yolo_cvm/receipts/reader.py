"""Reading receipts of both versions: only what a writer would have written is accepted."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import Any, Union

from yolo_core.errors import InputError
from yolo_core.files import PathLike, read_bytes
from yolo_cvm.receipts import version_1, version_2
from yolo_cvm.receipts.record import SPECIFICATION, NodeDigest
from yolo_cvm.receipts.version_1 import ReceiptVersion1
from yolo_cvm.receipts.version_2 import Receipt

AnyReceipt = Union[Receipt, ReceiptVersion1]

#: Largest receipt that is read, in bytes.
RECEIPT_LIMIT = 64 << 20

_KINDS: dict[str, type[Receipt] | type[ReceiptVersion1]] = {
    version_1.FORMAT: ReceiptVersion1,
    version_2.FORMAT: Receipt,
}
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NODE = {field.name for field in fields(NodeDigest)}


def read_receipt(path: PathLike) -> AnyReceipt:
    """A receipt file, checked to be whole, canonical and to agree with its own digests.

    InputError otherwise. A key given twice, a name that is no text, other blanks, another order of
    keys and another spelling of a number are refused like a digest that does not follow.
    """
    return receipt_from(read_bytes(path, RECEIPT_LIMIT), path)


def read_version_2(path: PathLike) -> Receipt:
    """As `read_receipt`; InputError for a receipt of version 1 too, which binds too little."""
    receipt = read_receipt(path)
    if not isinstance(receipt, Receipt):
        raise InputError(path, "is a receipt of version 1", f"{version_2.FORMAT!r}")
    return receipt


def receipt_from(data: bytes, path: PathLike) -> AnyReceipt:
    """The receipt in the bytes of its file; see `read_receipt`. path: its name, for the error."""
    try:
        text = data.decode("ascii")
        record = json.loads(text, parse_float=_no_count, parse_constant=_no_count)
    except (ValueError, RecursionError) as error:
        raise InputError(path, "is not a receipt", "canonical JSON of docs/receipt.md") from error
    kind = _KINDS.get(str(record.get("format"))) if isinstance(record, dict) else None
    if kind is None:
        raise InputError(path, "is not a receipt", " or ".join(map(repr, _KINDS)))
    if record.pop("specification", None) != SPECIFICATION:
        raise InputError(path, "follows another specification", SPECIFICATION)
    record.pop("format")
    receipt = _receipt(path, kind, record)
    if receipt.to_json() != text:
        raise InputError(path, "is not spelled as a receipt is written", "its canonical form")
    fault = receipt.fault()
    if fault:
        raise InputError(path, fault, "an unaltered receipt")
    return receipt


def _no_count(text: str) -> None:
    raise ValueError(f"{text[:20]} is not a count")


def _receipt(
    path: PathLike, kind: type[Receipt] | type[ReceiptVersion1], record: dict[str, Any]
) -> AnyReceipt:
    names = {field.name for field in fields(kind)}
    if set(record) != names:
        raise InputError(path, "has missing or unknown keys", ", ".join(sorted(names)))
    for name in kind.digests:
        _check_digest(path, name, record[name])
    if type(record["gas"]) is not int or record["gas"] < 0:
        raise InputError(path, "gas is not a count")
    heads, listed = record["heads"], record["nodes"]
    if not isinstance(heads, list) or not isinstance(listed, list):
        raise InputError(path, "heads or nodes are not lists")
    for head in heads:
        _check_digest(path, "heads", head)
    nodes = tuple(_node(path, item) for item in listed)
    if any(a.node >= b.node for a, b in zip(nodes, nodes[1:])):
        raise InputError(path, "lists a node twice or out of order", "nodes in program order")
    return kind(**{**record, "heads": tuple(heads), "nodes": nodes})


def _check_digest(path: PathLike, name: str, value: Any) -> None:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise InputError(path, f"{name} is not a digest", "64 lower-case hexadecimal digits")


def _node(path: PathLike, item: Any) -> NodeDigest:
    if not isinstance(item, dict) or set(item) != _NODE:
        raise InputError(path, "a node record is broken", "node, name, op, outputs")
    number, name, op, outputs = (item[key] for key in ("node", "name", "op", "outputs"))
    if type(number) is not int or not 0 <= number < 2**31 or not isinstance(outputs, list):
        raise InputError(path, "a node record is broken", "node, name, op, outputs")
    if not isinstance(name, str) or not isinstance(op, str):
        raise InputError(path, f"node {number} has a name or op that is not text", "text")
    for digest in outputs:
        _check_digest(path, f"node {number}", digest)
    return NodeDigest(number, name, op, tuple(outputs))
