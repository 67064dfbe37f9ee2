"""What tensors alone do not tell, as one JSON text inside the files that this package writes.

Class names, anchors, activation and notes travel in the metadata of safetensors and ONNX files
and beside the tensors of a `.pt`, so that a model which leaves comes back the same.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from yolo_core.errors import InputError
from yolo_core.mxnet.checkpoint import Checkpoint
from yolo_core.yolo.architecture import Architecture

#: The key of the text in a file's metadata.
KEY = "yolo_checkpoint"
_LIMIT = 1 << 20
#: Deepest nesting of notes; YAML, where they go, is written recursively.
_MAX_DEPTH = 8
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
    """`names`, `anchors`, `activation` and `notes` of a `SourceModel` from such a text."""
    try:
        record = json.loads(text) if len(text) <= _LIMIT else {}
    except (ValueError, RecursionError) as error:
        raise InputError(path, f"has a {KEY} text that is not JSON", "an untouched text") from error
    architecture = Architecture.from_dict(record, path)
    meta = record.get("meta", {})
    if not isinstance(meta, dict) or not _is_shallow(meta, _MAX_DEPTH):
        raise InputError(path, f"has a {KEY} text without plain notes", "an untouched text")
    return {
        "names": architecture.names,
        "anchors": architecture.anchors,
        "activation": architecture.activation,
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
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError) as error:
        raise InputError(path, "has class names that cannot be read", "a list of names") from error
    names = checked_names(value, path)
    if names is None:
        raise InputError(path, "has empty class names", "a list of names")
    return names


def checked_names(value: Any, path: str) -> tuple[str, ...] | None:
    """Class names from the list or the index → name dictionary that YOLOv5 stores."""
    if isinstance(value, dict):
        if any(type(key) is not int for key in value) or set(value) != set(range(len(value))):
            raise InputError(path, "has class names with gaps in their numbers", "0, 1, 2 …")
        value = [value[index] for index in range(len(value))]
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
        raise InputError(path, "has class names that are not text", "a list of names")
    return tuple(value)
