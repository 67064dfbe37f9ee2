"""Bodies of remote inference: requests read, answers spelled, byte for byte as a node has them.

Source: spec A3, A4 and A7 to A12. Integers are told from other numbers by their text, keys match
without regard to case, and the hexadecimal digits of a picture never pass through the JSON
reader, which would take longer for them than the engine for the picture.
"""

from __future__ import annotations

import binascii
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from yolo_core.arrays import Array
from yolo_core.graph import GraphError, LogicError
from yolo_cvm.node.digits import Digits

STORED, CONTENT, GAS = 1, 2, 3

LOGIC_TEXT = "cvm kernel logic error"
RUNTIME_TEXT = "cvm kernel runtime error"
METHOD_TEXT = "request method not POST"
BODY_TEXT = "request body read error"
TYPE_TEXT = "unknown request property type"
PARSE_TEXT = "data parse error"

_UNSIGNED, _SIGNED = (0, (1 << 64) - 1), (-(1 << 63), (1 << 63) - 1)
_INTEGER = re.compile("-?[0-9]{1,20}")
_HEX = re.compile("0[xX]((?:[0-9a-fA-F]{2})*)")
_LONG, _TOKENS = 4096, 256


class UnknownType(Exception):
    """The body names no type of request that is known (A7)."""


class Unreadable(Exception):
    """The record of a known type cannot be read (A9)."""


class _Number(str):
    """A number of a body as it is spelled."""


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


def read_request(body: bytes) -> Request:
    """The request in a body. UnknownType, or Unreadable where its record is broken."""
    pairs, contents = _members(body)
    kind = _kind(pairs)
    readers: dict[str, Callable[[Any], Any]] = {"model": lambda v: _text(v, contents)}
    readers["modelsize"] = lambda v: _integer(v, _UNSIGNED)
    readers["cvm_networkid"] = lambda v: _integer(v, _SIGNED)
    if kind != GAS:
        readers["input"] = lambda v: (_text if kind == STORED else _bytes)(v, contents)
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


@dataclass(frozen=True)
class _Content:
    """Bytes that stood in a body as digits, and these, which are not copied."""

    data: bytes
    digits: memoryview


def _members(body: bytes) -> tuple[list[tuple[str, Any]], dict[str, _Content]]:
    """The folded keys and the values of the object in a body; UnknownType where there is none.

    Numbers come as `_Number`; a long string of digits comes as a key of the second result.
    """
    short, contents = _set_aside(body)
    try:
        value = json.loads(
            short.decode("utf-8", "replace"),
            object_pairs_hook=_Pairs,
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_refuse,
        )
    except (ValueError, RecursionError):
        raise UnknownType from None
    if not isinstance(value, _Pairs):
        raise UnknownType
    return [(_fold(key), item) for key, item in value], contents


class _Pairs(list[Any]):
    """The members of an object in their order, with repetitions."""


def _set_aside(body: bytes) -> tuple[bytes, dict[str, _Content]]:
    """The body with every long string of digits replaced by a name of it."""
    parts: list[bytes] = []
    contents: dict[str, _Content] = {}
    whole = memoryview(body)
    at = 0
    for _ in range(_TOKENS):
        start = body.find(b'"', at) + 1
        end = body.find(b'"', start) if start else -1
        if end < 0 or body.find(b"\\", start, end) >= 0:
            break
        if end - start > _LONG and body[start : start + 2] in (b"0x", b"0X"):
            try:
                content = _Content(binascii.unhexlify(whole[start + 2 : end]), whole[start:end])
            except binascii.Error:
                break
            name = secrets.token_hex(16)
            contents[name] = content
            parts += [body[at:start], name.encode("ascii"), b'"']
        else:
            parts.append(body[at : end + 1])
        at = end + 1
    return b"".join([*parts, body[at:]]), contents


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _fold(key: str) -> str:
    """A key without regard to case; the long s and the sign of kelvin are letters, too."""
    return key.replace("\u017f", "s").lower()


def _kind(pairs: list[tuple[str, Any]]) -> int:
    kind = 0
    for name, value in pairs:
        if name == "type":
            if value is None:
                kind = 0
                continue
            if not isinstance(value, _Number) or not value.isdigit() or len(value) > 10:
                raise UnknownType
            kind = int(value)
    if kind not in (STORED, CONTENT, GAS):
        raise UnknownType
    return kind


def _text(value: Any, contents: dict[str, _Content]) -> str:
    if not isinstance(value, str) or isinstance(value, _Number):
        raise Unreadable
    return str(contents[value].digits, "ascii") if value in contents else value


def _bytes(value: Any, contents: dict[str, _Content]) -> bytes:
    text = _text(value, {})
    if text in contents:
        return contents[text].data
    digits = _HEX.fullmatch(text)
    if digits is None and text:
        raise Unreadable
    return bytes.fromhex(digits[1]) if digits else b""


def _integer(value: Any, bounds: tuple[int, int]) -> int:
    if not isinstance(value, _Number) or not _INTEGER.fullmatch(value):
        raise Unreadable
    number = int(value)
    # A sign before a number without signs is a fault even before zero.
    if not bounds[0] <= number <= bounds[1] or (bounds[0] == 0 and value.startswith("-")):
        raise Unreadable
    return number
