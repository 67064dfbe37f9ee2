"""Bodies of remote inference: requests read, answers spelled, byte for byte as a node has them.

Source: spec A3, A4 and A7 to A12. Integers are told from other numbers by their text, and keys
match without regard to case.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from yolo_core.arrays import Array
from yolo_core.graph import GraphError, LogicError
from yolo_cvm.node.digits import Digits
from yolo_cvm.node.members import NoObject, Number, Text, Value, members

STORED, CONTENT, GAS = 1, 2, 3

LOGIC_TEXT = "cvm kernel logic error"
RUNTIME_TEXT = "cvm kernel runtime error"
METHOD_TEXT = "request method not POST"
BODY_TEXT = "request body read error"
TYPE_TEXT = "unknown request property type"
PARSE_TEXT = "data parse error"

_UNSIGNED, _SIGNED = (0, (1 << 64) - 1), (-(1 << 63), (1 << 63) - 1)
_INTEGER = re.compile("-?[0-9]{1,20}")
#: Keys that any type of request has, folded.
_KEYS = frozenset(
    ["type", "model", "input", "modelsize", "inputsize", "cvm_version", "cvm_networkid"]
)


class UnknownType(Exception):
    """The body names no type of request that is known (A7)."""


class Unreadable(Exception):
    """The record of a known type cannot be read (A9)."""


@dataclass(frozen=True)
class Request:
    """What a node asks. input: an info hash for STORED, the bytes for CONTENT, empty for GAS."""

    kind: int
    model: str
    input: str | bytes
    model_size: int
    input_size: int
    version: int
    network: int


def read_request(body: bytes | bytearray) -> Request:
    """The request in a body. UnknownType, or Unreadable where its record is broken.

    `members.TooMuch` for a body that is too large beside its strings.
    """
    try:
        pairs = [(name, value) for key, value in members(body) if (name := _fold(key)) in _KEYS]
    except NoObject:
        raise UnknownType from None
    kind = _kind(pairs)
    readers: dict[str, Callable[[Value], Any]] = {"model": _text}
    readers["modelsize"] = lambda v: _integer(v, _UNSIGNED)
    readers["cvm_networkid"] = lambda v: _integer(v, _SIGNED)
    if kind != GAS:
        readers["input"] = _text if kind == STORED else _bytes
        readers["cvm_version"] = lambda v: _integer(v, _SIGNED)
    if kind == STORED:
        readers["inputsize"] = lambda v: _integer(v, _UNSIGNED)
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in readers:
            found[name] = None if value is None else readers[name](value)
    # The last of equal keys counts, and null counts as absent (A8).
    found = {name: value for name, value in found.items() if value is not None}
    if "model" not in found or (kind != GAS and "input" not in found):
        raise Unreadable
    return Request(
        kind,
        found["model"],
        found.get("input", ""),
        found.get("modelsize", 0),
        found.get("inputsize", 0),
        found.get("cvm_version", 0),
        found.get("cvm_networkid", 0),
    )


def success(values: Array) -> Digits:
    """The answer with an output."""
    return Digits(values, b'{"data":"0x', b'","info":"ok"}')


def gas_answer(gas: int) -> bytes:
    """The answer with a gas, 8 bytes, highest first."""
    return b'{"data":"0x%016x","info":"ok"}' % gas


def failure(text: str) -> bytes:
    """The answer with an error text."""
    return b'{"data":"0x%s","info":"error"}' % text.encode("ascii").hex().encode("ascii")


def fault(error: GraphError) -> bytes:
    """The answer with one of the two failures of the machine."""
    return failure(LOGIC_TEXT if isinstance(error, LogicError) else RUNTIME_TEXT)


def unreadable() -> bytes:
    """Two answers one behind the other, since the original goes on after the first (A9)."""
    return failure(PARSE_TEXT) + failure(RUNTIME_TEXT)


def _fold(key: str) -> str:
    """A key without regard to case; the long s and the sign of kelvin are letters, too."""
    return key.replace("\u017f", "s").lower()


def _kind(pairs: list[tuple[str, Value]]) -> int:
    kind = 0
    for name, value in pairs:
        if name == "type":
            if value is None:
                kind = 0
                continue
            if not isinstance(value, Number) or not value.isdigit() or len(value) > 10:
                raise UnknownType
            kind = int(value)
    if kind not in (STORED, CONTENT, GAS):
        raise UnknownType
    return kind


def _text(value: Value) -> str:
    if not isinstance(value, Text):
        raise Unreadable
    return value.decoded()


def _bytes(value: Value) -> bytes:
    """Digits as they stand in the body: the original reads no escapes there."""
    if not isinstance(value, Text):
        raise Unreadable
    if value.content is not None:
        return value.content
    if value.raw and bytes(value.raw[:2]) not in (b"0x", b"0X"):
        raise Unreadable
    try:
        return binascii.unhexlify(value.raw[2:])
    except binascii.Error:
        raise Unreadable from None


def _integer(value: Value, bounds: tuple[int, int]) -> int:
    if not isinstance(value, Number) or not _INTEGER.fullmatch(value):
        raise Unreadable
    number = int(value)
    # A sign before a number without signs is a fault even before zero.
    if not bounds[0] <= number <= bounds[1] or (bounds[0] == 0 and value.startswith("-")):
        raise Unreadable
    return number
