"""Reading the small JSON files of a dispute: one spelling, known keys, bounded sizes."""

from __future__ import annotations

import json
import re
from typing import Any

from yolo_core.errors import InputError
from yolo_core.files import PathLike
from yolo_core.graph.integers import INT32_MAX, INT32_MIN
from yolo_cvm.receipts.digests import LEAF_ELEMENTS, canonical

_DIGEST = re.compile(r"[0-9a-f]{64}")


def read_record(data: bytes, path: PathLike, form: str, keys: frozenset[str]) -> dict[str, Any]:
    """The record in the bytes of a file, without its `format`. InputError where it is another.

    The file is the canonical JSON of an object with exactly these keys and `format`, which is
    `form`, and a line feed.
    """
    try:
        record = json.loads(data.decode("ascii"), parse_float=_refuse, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(path, "is not readable", f"canonical JSON of a {form!r}") from error
    if not isinstance(record, dict) or record.get("format") != form:
        raise InputError(path, "has another format", repr(form))
    del record["format"]
    if set(record) != keys:
        raise InputError(path, "has missing or unknown keys", ", ".join(sorted(keys)))
    if data != written(form, record):
        raise InputError(path, "is not spelled as it is written", "its canonical form")
    return record


def written(form: str, record: dict[str, Any]) -> bytes:
    """The bytes of the file that holds a record."""
    return (canonical({"format": form, **record}) + "\n").encode("ascii")


def digests_of(path: PathLike, what: str, value: Any, most: int = 1 << 20) -> tuple[bytes, ...]:
    """A list of digests in hexadecimal, as bytes. InputError where it is none."""
    if not isinstance(value, list) or len(value) > most:
        raise InputError(path, f"{what} is not a list of digests")
    for item in value:
        if not isinstance(item, str) or not _DIGEST.fullmatch(item):
            raise InputError(path, f"{what} holds no digest", "64 lower-case hexadecimal digits")
    return tuple(map(bytes.fromhex, value))


def count_of(path: PathLike, what: str, value: Any, most: int = 2**31 - 1) -> int:
    """A count of 0 to `most`. InputError where it is none."""
    if type(value) is not int or not 0 <= value <= most:
        raise InputError(path, f"{what} is not a count", f"0..{most}")
    return value


def elements_of(path: PathLike, what: str, value: Any) -> tuple[int, ...]:
    """The elements of one leaf: 1 to 256 numbers of 32 bits. InputError where they are none."""
    if not isinstance(value, list) or not 0 < len(value) <= LEAF_ELEMENTS:
        raise InputError(path, f"{what} is not a leaf", f"1..{LEAF_ELEMENTS} elements")
    for item in value:
        if type(item) is not int or not INT32_MIN <= item <= INT32_MAX:
            raise InputError(path, f"{what} holds no integer of 32 bits")
    return tuple(value)


def _refuse(text: str) -> None:
    raise ValueError(f"{text[:20]} is not an integer")
