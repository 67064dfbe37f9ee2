"""A strict JSON reader that walks the large structures and decodes only small elements at once.

Written by hand: which texts are accepted is a matter of consensus, and a hostile file may not make
Python build what it describes.

Source: spec 1.8. Duplicate keys, numbers that are no integers, foreign escapes, truncated or
trailing text are refused; memory and time stay bounded however hostile the text is, since no
more than `element_bytes` of it become Python objects before somebody has looked at them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from yolo_core.graph.errors import RuntimeFault

# A piece of the text is copied before it is decoded; most values are far shorter than allowed.
_SHORT = 256

_SPACE = re.compile(r"[ \t\n\r]*")
# Escapes that the machine's files know are \r \n \\ \t \"; the look-behind skips escaped pairs.
_FOREIGN_ESCAPE = re.compile(r'(?<!\\)(?:\\\\)*\\[^rn\\t"]')


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text[:20]} is not an integer")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key appears twice")
    return members


class JsonReader:
    """A position in a JSON text.

    text: the file decoded as latin-1, so that each byte stays one character; `utf8` turns the
    strings that people see back. source: name for error messages. All failures: RuntimeFault.
    """

    def __init__(self, text: str, source: str, element_bytes: int) -> None:
        self._text = text
        self._source = source
        self._limit = element_bytes
        self._at = 0
        self._scan = json.JSONDecoder(
            object_pairs_hook=_object, parse_float=_no_number, parse_constant=_no_number
        ).scan_once  # type: ignore[attr-defined]

    def members(self) -> Iterator[str]:
        """The keys of the object here; the caller consumes each value before the next key."""
        self._expect("{")
        if self._next("}"):
            return
        seen = set()
        while True:
            key = self.value("a key")
            if not isinstance(key, str):
                self.fail("a key that is not a string")
            if key in seen:
                self.fail(f"key {key[:60]!r} appears twice")
            seen.add(key)
            self._expect(":")
            yield key
            if not self._next(","):
                break
        self._expect("}")

    def items(self) -> Iterator[int]:
        """The positions 0, 1, .. of the array here; the caller consumes each item."""
        self._expect("[")
        if self._next("]"):
            return
        count = 0
        while True:
            yield count
            count += 1
            if not self._next(","):
                break
        self._expect("]")

    def value(self, what: str) -> Any:
        """The one small value here, fully decoded."""
        start = self._skip()
        trouble: Exception | None = None
        for size in (_SHORT, self._limit):
            piece = self._text[start : start + size]
            try:
                value, length = self._scan(piece, 0)
            except (StopIteration, ValueError, RecursionError) as error:
                trouble = error
                continue
            # A number that ends with its piece may go on behind it.
            if length < len(piece) or start + length == len(self._text):
                break
        else:
            self._refuse(what, trouble, len(piece))
        if _FOREIGN_ESCAPE.search(piece, 0, length):
            self.fail(f'{what} has an escape other than \\r \\n \\t \\\\ \\"')
        self._at = start + length
        return value

    def _refuse(self, what: str, trouble: Exception | None, size: int) -> NoReturn:
        """Say why a value could not be decoded from the `size` characters that it may have."""
        if isinstance(trouble, RecursionError):
            self.fail(f"{what} is nested too deeply")
        # Where the text was cut inside the value, the value is missed behind its beginning.
        if isinstance(trouble, StopIteration) and (size < self._limit or trouble.value == 0):
            self.fail(f"no value for {what}")
        if size == self._limit:
            self.fail(f"{what} is broken or longer than {self._limit} bytes")
        self.fail(f"{what} is broken ({getattr(trouble, 'msg', trouble)})")

    def end(self) -> None:
        """Nothing but blanks follows."""
        if self._skip() != len(self._text):
            self.fail("text after the end")

    def fail(self, cause: str) -> NoReturn:
        """RuntimeFault at this position."""
        raise RuntimeFault(self._source, f"{cause}, at byte {self._at}", "JSON of spec 1")

    def _skip(self) -> int:
        match = _SPACE.match(self._text, self._at)
        assert match
        self._at = match.end()
        return self._at

    def _next(self, mark: str) -> bool:
        at = self._skip()
        if self._text[at : at + 1] != mark:
            return False
        self._at = at + 1
        return True

    def _expect(self, mark: str) -> None:
        if not self._next(mark):
            found = self._text[self._at : self._at + 1]
            self.fail(f"{found!r} instead of {mark!r}" if found else f"ends before {mark!r}")


def utf8(text: str, place: str) -> str:
    """A string of the reader as people wrote it; RuntimeFault where it is not UTF-8."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        raise RuntimeFault(place, "not UTF-8") from None
