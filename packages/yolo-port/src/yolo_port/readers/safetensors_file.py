"""A `.safetensors` file: the library checks the container, `matching` the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import parse_json, read_bytes
from yolo_port.description import KEY, names_beside, understand
from yolo_port.source import SourceModel, is_shape
from yolo_port.state_dict import tidy

#: Largest file: yolov5x in double precision is 0.7 GB.
FILE_LIMIT = 1 << 30
#: Longest header: yolov5x's is 0.1 MB, and a description of ours at most one.
HEADER_LIMIT = 2 << 20
_MAX_TENSORS = 4000
_LENGTH_BYTES = 8
# The format's words for element types. BFloat16 is the upper half of a float32.
_DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BF16": "<u2", "I32": "<i4", "I64": "<i8"}


def is_safetensors(head: bytes, length: int) -> bool:
    """Whether a file begins with the length of a JSON header that fits into it."""
    size = int.from_bytes(head[:_LENGTH_BYTES], "little")
    return head[_LENGTH_BYTES : _LENGTH_BYTES + 1] == b"{" and size <= length - _LENGTH_BYTES


def read_safetensors(path: Path) -> SourceModel:
    """The tensors of a file. InputError for a damaged file and other element types."""
    source = str(path)
    data = read_bytes(path, FILE_LIMIT)
    size = int.from_bytes(data[:_LENGTH_BYTES], "little")
    if size > HEADER_LIMIT:
        raise InputError(source, f"has a header of {size} bytes", f"at most {HEADER_LIMIT}")
    try:
        found = deserialize(data)
    except SafetensorError as error:
        raise InputError(source, f"is not a readable safetensors file ({error})") from error
    if len(found) > _MAX_TENSORS:
        raise InputError(source, f"has {len(found)} tensors", f"at most {_MAX_TENSORS}")
    # The library has found the header sound, and hands over all of it but the metadata.
    # Of a name that stands twice it would take one of the two.
    header = parse_json(data[_LENGTH_BYTES : _LENGTH_BYTES + size].decode("utf-8"), source)
    metadata = header.get("__metadata__") or {}
    tensors, anchors = tidy({name: _array(each, name, source) for name, each in found}, source)
    if KEY in metadata:
        described = understand(metadata[KEY], source)
    else:
        described = {"grid_anchors": anchors, **names_beside([metadata], source)}
    return SourceModel(source, "safetensors", tensors, **described)


def _array(record: dict[str, Any], name: str, source: str) -> Array:
    kind, shape = record["dtype"], tuple(record["shape"])
    if kind not in _DTYPES:
        raise InputError(source, f"has {name[:80]} as {kind}", "floating point")
    if not is_shape(shape):
        raise InputError(source, f"has {name[:80]} of shape {shape!s:.80}", "a shape of YOLOv5")
    array = np.frombuffer(record["data"], _DTYPES[kind]).reshape(shape)
    return (array.astype(np.uint32) << 16).view(np.float32) if kind == "BF16" else array
