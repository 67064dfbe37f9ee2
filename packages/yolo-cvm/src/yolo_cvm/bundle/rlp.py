"""RLP, the notation of Ethereum-like transactions; canonical in both directions.

Written by hand because its bytes are hashed by a chain: one spelling alone may be accepted.

A value is a byte string or a list of values. Numbers are written big-endian without leading
zeros (zero is the empty string). The decoder takes only what the encoder writes.

Written here rather than taken from the `rlp` package: that one brings eleven others, four of
them compiled, for these few lines. The tests hold it against them.
"""

from __future__ import annotations

from typing import Any

from yolo_core.errors import InputError

#: Deepest nesting that is read; the payloads need two levels.
DEPTH_LIMIT = 16

_STRING, _LIST = 0x80, 0xC0
#: Longest body whose length stands in the first byte itself.
_SHORT = 55


def encode(value: Any) -> bytes:
    """The RLP of bytes, a non-negative int, or a list (or tuple) of such."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = number_to_bytes(value)
    if isinstance(value, bytes):
        return string_head(value) + value
    if isinstance(value, (list, tuple)):
        body = b"".join(map(encode, value))
        return _head(_LIST, len(body)) + body
    raise TypeError(f"RLP has no {type(value).__name__}")


def string_head(value: bytes) -> bytes:
    """What the RLP of a byte string has before its bytes; nothing for one byte below 128."""
    return b"" if len(value) == 1 and value[0] < _STRING else _head(_STRING, len(value))


def decode(data: bytes, source: str) -> Any:
    """The one value that `data` spells: bytes, or a list of values.

    source: name for errors. Raises InputError with the byte offset of the fault.
    """
    value, end = _item(data, 0, len(data), 0, source)
    if end != len(data):
        raise _fault(source, end, "bytes follow the end of the value")
    return value


def number_to_bytes(value: int) -> bytes:
    """Big-endian bytes without leading zeros; zero has none at all."""
    if value < 0:
        raise ValueError("RLP has no negative numbers")
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def bytes_to_number(value: bytes, source: str) -> int:
    """The number that `number_to_bytes` wrote; leading zeros are refused."""
    if value[:1] == b"\0":
        raise InputError(source, "a number has leading zeros", "canonical RLP")
    return int.from_bytes(value, "big")


def _head(kind: int, length: int) -> bytes:
    if length <= _SHORT:
        return bytes([kind + length])
    size = number_to_bytes(length)
    return bytes([kind + _SHORT + len(size)]) + size


def _item(data: bytes, at: int, end: int, depth: int, source: str) -> tuple[Any, int]:
    """The value that starts at offset `at` and may not pass `end`, and the offset after it."""
    if at >= end:
        raise _fault(source, at, "ends too early")
    first = data[at]
    if first < _STRING:
        return data[at : at + 1], at + 1
    kind = _LIST if first >= _LIST else _STRING
    start, length = at + 1, first - kind
    if length > _SHORT:
        size = data[start : min(start + length - _SHORT, end)]
        start += length - _SHORT
        length = int.from_bytes(size, "big")
        if size[:1] == b"\0" or length <= _SHORT:
            raise _fault(source, at, "the length is not in its shortest form")
    stop = start + length
    if stop > end:
        raise _fault(source, at, f"a value of {length} bytes is longer than the rest")
    if kind == _STRING:
        if length == 1 and data[start] < _STRING:
            raise _fault(source, at, "a single byte is not in its shortest form")
        return data[start:stop], stop
    if depth == DEPTH_LIMIT:
        raise _fault(source, at, f"is nested deeper than {DEPTH_LIMIT} levels")
    items = []
    at = start
    while at < stop:
        item, at = _item(data, at, stop, depth + 1, source)
        items.append(item)
    return items, stop


def _fault(source: str, at: int, cause: str) -> InputError:
    return InputError(source, f"byte {at}: {cause}", "canonical RLP")
