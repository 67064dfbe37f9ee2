"""What tensors alone do not tell, as one JSON text inside the files that this package writes.

Class names, anchors, activation and notes travel in the metadata of safetensors and ONNX files
and beside the tensors of a `.pt`, so that a model which leaves comes back the same.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from yolo_core.errors import InputError
from yolo_core.files import each_key_once, parse_json
from yolo_core.mxnet.checkpoint import Checkpoint
from yolo_core.yolo.architecture import BATCH_NORM_EPSILON, Architecture
from yolo_port.pickle_machine import Record, mapping
from yolo_port.source import is_shape

#: The key of the text in a file's metadata.
KEY = "yolo_checkpoint"
_LIMIT = 1 << 20
#: Keys under which people store class names beside a state dict.
_NAME_KEYS = ("names", "class_names", "classes", "CLASSES")
#: Deepest nesting of notes; YAML, where they go, is written recursively.
_MAX_DEPTH = 8
#: NumPy's types of text and numbers that class names may have.
_SIMPLE_TYPE = re.compile(r"([Ufib])(\d{1,4})")
# A flat list of quoted words, or numbers with a quoted word each; anything nested or computed
# could take Python's parser beyond its stack, which ends the process.
_WORD = r"""(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")"""
_NAMES = re.compile(
    rf"\[(?:{_WORD}(?:, ?|(?=\])))*\]|\{{(?:\d{{1,6}}: ?{_WORD}(?:, ?|(?=\}})))*\}}"
)


def describe(checkpoint: Checkpoint) -> str:
    """The text for a checkpoint; its colour order is always RGB in the files it goes into."""
    record = {**checkpoint.architecture.to_dict(), "meta": dict(checkpoint.meta)}
    return json.dumps(record, sort_keys=True, ensure_ascii=True, default=str)


def understand(text: str, path: str) -> dict[str, Any]:
    """What such a text says of a `SourceModel`, as its fields."""
    record = parse_json(text, f"{path}: {KEY}") if len(text) <= _LIMIT else {}
    architecture = Architecture.from_dict(record, path)
    meta = record.get("meta", {})
    if not isinstance(meta, dict) or not _is_shallow(meta, _MAX_DEPTH):
        raise InputError(path, f"has a {KEY} text without plain notes", "an untouched text")
    return {
        "names": architecture.names,
        "anchors": architecture.anchors,
        "architecture": architecture,
        "activation": architecture.activation,
        "epsilon": BATCH_NORM_EPSILON,
        "notes": meta,
    }


def _is_shallow(value: Any, depth: int) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth > 0 and all(_is_shallow(part, depth - 1) for part in parts)


def understand_ultralytics_names(text: str, path: str) -> tuple[str, ...]:
    """Class names from the list or dictionary literal that Ultralytics writes into ONNX."""
    if len(text) > _LIMIT or not _NAMES.fullmatch(text):
        raise InputError(path, "has class names that cannot be read", "a list of names")
    try:
        literal = ast.parse(text, mode="eval").body
        value = ast.literal_eval(literal)
    except (ValueError, SyntaxError) as error:
        raise InputError(path, "has class names that cannot be read", "a list of names") from error
    if isinstance(literal, ast.Dict) and len(value) < len(literal.keys):
        raise InputError(path, "numbers two class names alike", "each number once")
    names = checked_names(value, path)
    if names is None:
        raise InputError(path, "has empty class names", "a list of names")
    return names


def names_beside(places: Iterable[Mapping[Any, Any]], path: str) -> dict[str, Any]:
    """`names` of a `SourceModel`, or `names_fault`, from the dictionaries beside a state dict.

    A list, a dictionary of numbers, or the JSON or Python text of either; the first counts.
    """
    for place in places:
        for key in _NAME_KEYS:
            value = plain(place.get(key))
            listed = isinstance(value, (list, dict))
            text = isinstance(value, str) and value.lstrip()[:1] in ("[", "{")
            if value is None or not (listed or text or key == _NAME_KEYS[0]):
                continue  # "classes" is often a number
            try:
                value = _from_text(value.strip(), path) if text else value
                return {"names": checked_names(value, path)}
            except InputError as error:
                return {"names_fault": error}
    return {}


def _from_text(text: str, path: str) -> Any:
    """The list or dictionary of names that a JSON text, or else a Python literal, stands for."""
    try:
        once = each_key_once(path)
        return json.loads(text, object_pairs_hook=once) if len(text) <= _LIMIT else None
    except (ValueError, RecursionError):
        return understand_ultralytics_names(text, path)


def checked_names(value: Any, path: str) -> tuple[str, ...] | None:
    """Class names from the list or the index → name dictionary that YOLOv5 stores.

    YOLOv5 trains with names that are numbers or True: they become their text. An empty one
    becomes class0 and so on; blanks and line ends around a name go.
    """
    if isinstance(value, dict):
        count = len(value)
        value = {int(key) if _is_number(key) else key: name for key, name in value.items()}
        if any(type(key) is not int for key in value) or set(value) != set(range(count)):
            raise InputError(path, "has class names with gaps in their numbers", "0, 1, 2 …")
        value = [value[index] for index in range(count)]
    if value is None:
        return None
    if isinstance(value, str):  # of one class
        value = [value]
    words = (str, bool, int, float)
    if not isinstance(value, (list, tuple)) or not all(isinstance(each, words) for each in value):
        raise InputError(path, "has class names that are not text", "a list of names, or --names "
                         "DATA.yaml")  # fmt: skip
    return tuple(str(each).strip() or f"class{index}" for index, each in enumerate(value))


def _is_number(key: Any) -> bool:
    """Whether a key is a class number written as text, as JSON keeps it."""
    return isinstance(key, str) and len(key) < 6 and key.isascii() and key.isdigit()


def plain(value: Any) -> Any:
    """A value of a pickle with NumPy's scalars, tuples and dictionaries as plain ones.

    Records of anything else stay as they are; nothing is called.
    """
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if not isinstance(value, Record):
        return value
    pairs = mapping(value)
    if pairs is not None:
        return {key: plain(each) for key, each in pairs.items()}
    if value.function.name == "UserList" and isinstance(value.state, dict):
        return plain(value.state.get("data"))
    if value.function.name == "scalar" and len(value.arguments) == 2:
        return _scalar(value.arguments)
    if value.function.name == "str_" and value.arguments:
        return value.arguments[0]
    if value.function.name == "_reconstruct":
        return _text_array(value)
    return value


def _raw(value: Any) -> bytes:
    """The bytes that a pickle holds as bytes, or, in its protocol 2, as Latin-1 text."""
    if isinstance(value, Record) and value.function.name == "encode" and value.arguments:
        text = value.arguments[0]
        return text.encode("latin-1", "replace") if isinstance(text, str) else b""
    return value if isinstance(value, bytes) else b""


def _dtype(value: Any) -> str:
    """The code of a NumPy type, `U3` or `f8`, from its record."""
    found = value.arguments[0] if isinstance(value, Record) and value.arguments else ""
    return found if isinstance(found, str) else ""


def decoded(code: str, raw: bytes, count: int) -> list[Any] | None:
    """`count` values of a NumPy type of text or numbers; None for any other."""
    found = _SIMPLE_TYPE.fullmatch(code)
    if not found or len(raw) > _LIMIT:
        return None
    width = int(found.group(2)) * (4 if found.group(1) == "U" else 1)
    if width * count != len(raw):
        return None
    parts = [raw[at : at + width] for at in range(0, len(raw), width)] if width else [b""] * count
    if found.group(1) == "U":
        return [part.decode("utf-32-le", "replace").rstrip("\0") for part in parts]
    return [np.frombuffer(part, f"<{code}")[0].item() for part in parts]


def _scalar(arguments: tuple[Any, ...]) -> Any:
    values = decoded(_dtype(arguments[0]), _raw(arguments[1]), 1)
    return values[0] if values else None


def _text_array(record: Record) -> Any:
    """A NumPy array of names as a list."""
    state = record.state
    if not isinstance(state, tuple) or len(state) != 5 or not is_shape(state[1]):
        return record
    if isinstance(state[4], list):
        return [plain(each) for each in state[4]]
    count = math.prod(state[1])
    values = decoded(_dtype(state[2]), _raw(state[4]), count) if count <= _LIMIT else None
    return record if values is None else values
