"""Bencoding (BEP 3), the notation of torrent files; canonical in both directions.

Written by hand because its bytes are the info hash: one spelling alone may be accepted.

The decoder takes only what the encoder writes: minimal numbers, dictionary keys sorted and
unique, nothing after the value. One value therefore has one spelling, and a digest over the
bytes is a digest over the value.

Written here rather than taken from a library: libtorrent's bindings are 25 MB of compiled code
for this half page, and an operator installs one small package. The tests hold it against them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

from yolo_core.errors import InputError

#: Deepest nesting that is read; a torrent needs four levels.
DEPTH_LIMIT = 16
#: Most values in all; a torrent of ours has some twenty, trackers aside.
VALUE_LIMIT = 10_000
#: Longest number in digits: what fits 64 bits.
DIGITS_LIMIT = 19


def encode(value: Any) -> bytes:
    """The bencoding of bytes, int, list (or tuple) and dict with bytes keys, nested at will."""
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, int) and not isinstance(value, bool):
        return b"i%de" % value
    if isinstance(value, (list, tuple)):
        return b"l" + b"".join(map(encode, value)) + b"e"
    if isinstance(value, dict):
        pairs = (encode(key) + encode(value[key]) for key in sorted(value))
        return b"d" + b"".join(pairs) + b"e"
    raise TypeError(f"bencoding has no {type(value).__name__}")


def decode(data: bytes, source: str) -> Any:
    """The one value that `data` spells: bytes, int, list, dict[bytes, ...].

    source: file name for errors. Raises InputError with the byte offset of the fault.
    """
    value, end = _value(data, 0, 0, count(1), source)
    if end != len(data):
        raise _fault(source, end, "bytes follow the end of the value")
    return value


def _value(data: bytes, at: int, depth: int, number: Iterator[int], source: str) -> tuple[Any, int]:
    """The value that starts at offset `at`, and the offset after it. number: counts the values."""
    if next(number) > VALUE_LIMIT:
        raise _fault(source, at, f"there are more than {VALUE_LIMIT} values")
    kind = data[at : at + 1]
    if kind.isdigit():
        return _string(data, at, source)
    if kind == b"i":
        return _number(data, at + 1, b"e", source)
    if kind not in (b"l", b"d"):
        raise _fault(source, at, "no value starts here" if kind else "ends too early")
    if depth == DEPTH_LIMIT:
        raise _fault(source, at, f"is nested deeper than {DEPTH_LIMIT} levels")
    start, at = at, at + 1
    items: list[Any] = []
    keys: list[bytes] = []
    while data[at : at + 1] != b"e":
        if kind == b"d":
            if not data[at : at + 1].isdigit():
                raise _fault(source, at, "a dictionary key must be a string")
            key_at = at
            key, at = _string(data, at, source)
            if keys and key <= keys[-1]:
                raise _fault(source, key_at, f"the key {key!r} is out of order or repeated")
            keys.append(key)
        if at >= len(data):
            raise _fault(source, start, "a list or dictionary never ends")
        item, at = _value(data, at, depth + 1, number, source)
        items.append(item)
    return (dict(zip(keys, items)) if kind == b"d" else items), at + 1


def _string(data: bytes, at: int, source: str) -> tuple[bytes, int]:
    length, start = _number(data, at, b":", source)
    if length > len(data) - start:
        raise _fault(source, at, f"a string of {length} bytes is longer than the rest")
    return data[start : start + length], start + length


def _number(data: bytes, at: int, terminator: bytes, source: str) -> tuple[int, int]:
    """The decimal number from `at` up to `terminator`, and the offset after the terminator."""
    end = data.find(terminator, at, at + DIGITS_LIMIT + 2)
    text = data[at:end] if end >= 0 else b""
    digits = text[1:] if text.startswith(b"-") else text
    minimal = digits == b"0" if digits.startswith(b"0") else digits.isdigit()
    if not minimal or len(digits) > DIGITS_LIMIT or text == b"-0":
        raise _fault(source, at, "no canonical number stands here")
    return int(text), end + 1


def _fault(source: str, at: int, cause: str) -> InputError:
    return InputError(source, f"byte {at}: {cause}", "canonical bencoding")
