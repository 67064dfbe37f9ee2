"""The outermost members of a JSON object, as a node of the chain reads them.

What a member holds is passed over and never built, so that a body of any form takes the memory of
its bytes and time in proportion to them: nested as deeply as the original allows, which is deeper
than Python's reader goes. The hexadecimal digits of a picture become bytes at once, since a reader
of JSON would take longer for them than the engine for the picture.

Source: spec A7 and A8, RFC 8259.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Union

from yolo_cvm.node import digits

#: Levels of nesting, the object itself counted, that the original reads.
DEPTH = 10_000
#: Marks, numbers, words and stretches of strings of one body. A node sends about forty.
TOKENS = 1 << 18

# A key of more bytes is none of ours, whatever escapes spell it.
_KEY_BYTES = 128
# A string of digits from which it is worth reading them at once.
_LONG = 4096

_TOKEN = re.compile(
    rb"[ \t\r\n]*(?:([\[\]{},:\"])|"
    rb"(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null))"
)
_SPACE = re.compile(rb"[ \t\r\n]*")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_ESCAPES = re.compile(rb'(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})){1,64}')

_CLOSING = {b"[": b"]", b"{": b"}"}
_FRESH, _VALUE, _COMMA = range(3)


class NoObject(Exception):
    """The body is not one JSON object."""


class TooMuch(Exception):
    """The body has more than `TOKENS` tokens."""


class Other:
    """An object, an array, true or false."""


class Number(str):
    """A number as it is spelled."""


@dataclass(frozen=True)
class Text:
    """A string. raw: its bytes as they stand between the quotes; content: what its digits spell,
    where they have been read."""

    raw: memoryview
    content: bytes | None = None

    def decoded(self) -> str:
        """The string; bytes that are no UTF-8 become U+FFFD, as in the original."""
        spelled = str(self.raw, "utf-8", "replace")
        result: str = json.loads(f'"{spelled}"') if "\\" in spelled else spelled
        return result


Value = Union[Text, Number, Other, None]


def members(body: bytes | bytearray) -> Iterator[tuple[str, Value]]:
    """Keys and values of the object in a body, in their order, with repetitions.

    Keys that are too long for any of ours are left out. NoObject where the body is not an object,
    which shows only at its end; TooMuch.
    """
    reader = _Reader(body)
    if reader.token() != b"{":
        raise NoObject
    token = reader.token()
    while token != b"}":
        if token != b'"':
            raise NoObject
        key = reader.string()
        if reader.token() != b":":
            raise NoObject
        value = reader.value(reader.token())
        if len(key.raw) <= _KEY_BYTES:
            yield key.decoded(), value
        token = reader.token()
        if token == b",":
            token = reader.token()
            if token == b"}":
                raise NoObject
        elif token != b"}":
            raise NoObject
    reader.end()


class _Reader:
    """A position in a body."""

    def __init__(self, body: bytes | bytearray) -> None:
        self._body = body
        self._whole = memoryview(body)
        self._at = 0
        self._left = TOKENS

    def token(self) -> bytes:
        """The next mark, number or word; a string only begins."""
        self._count()
        match = _TOKEN.match(self._body, self._at)
        if match is None:
            raise NoObject
        self._at = match.end()
        return match[1] or match[2]

    def end(self) -> None:
        """NoObject where anything but space follows."""
        if not _SPACE.fullmatch(self._body, self._at):
            raise NoObject

    def value(self, token: bytes) -> Value:
        """The value that a token begins."""
        if token == b'"':
            return self._digits() or self.string()
        if token in _CLOSING:
            self._nested(_CLOSING[token])
            return Other()
        if token in (b"true", b"false"):
            return Other()
        if token in b"]},:":
            raise NoObject
        return None if token == b"null" else Number(token, "ascii")

    def string(self) -> Text:
        """The string whose first quote has been read."""
        begin = self._at
        while True:
            self._at = _PLAIN.match(self._body, self._at).end()  # type: ignore[union-attr]
            if self._body[self._at : self._at + 1] == b'"':
                self._at += 1
                return Text(self._whole[begin : self._at - 1])
            escapes = _ESCAPES.match(self._body, self._at)
            if escapes is None:
                raise NoObject
            self._count()
            self._at = escapes.end()

    def _digits(self) -> Text | None:
        """The string here, where it is a long one of digits; else None."""
        begin = self._at
        if self._body[begin : begin + 2] not in (b"0x", b"0X"):
            return None
        end = self._body.find(b'"', begin)
        if end - begin < _LONG:
            return None
        content = digits.read(self._whole[begin + 2 : end])
        if content is None:
            return None
        self._at = end + 1
        return Text(self._whole[begin:end], content)

    def _nested(self, closing: bytes) -> None:
        """Pass over an array or object that has begun. closing: what ends it."""
        inside, state = [closing], _FRESH
        while inside:
            token = self.token()
            if token == inside[-1] and state != _COMMA:
                inside.pop()
                state = _VALUE
                continue
            if state == _VALUE:
                if token != b",":
                    raise NoObject
                state = _COMMA
                continue
            if inside[-1] == b"}":
                token = self._named(token)
            if token in _CLOSING:
                if len(inside) + 2 > DEPTH:
                    raise NoObject
                inside.append(_CLOSING[token])
                state = _FRESH
                continue
            if token == b'"':
                self.string()
            elif token in b"]},:":
                raise NoObject
            state = _VALUE

    def _named(self, token: bytes) -> bytes:
        """Pass over a key; the token that begins its value."""
        if token != b'"':
            raise NoObject
        self.string()
        if self.token() != b":":
            raise NoObject
        return self.token()

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise TooMuch
