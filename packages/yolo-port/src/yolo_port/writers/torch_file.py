"""A checkpoint as a `.pt` file, written without PyTorch.

The pickle is an ordered dictionary of tensors and nothing else, in the few opcodes below, so
`torch.load(weights_only=True)` takes it. The description is an attribute of the dictionary,
where PyTorch itself keeps its `_metadata`.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from yolo_core.arrays import Array
from yolo_core.files import atomic_write
from yolo_core.mxnet.checkpoint import Checkpoint
from yolo_port.description import KEY, describe
from yolo_port.state_dict import ultralytics_state_dict

_STORAGES = {"float32": "FloatStorage", "int64": "LongStorage"}
# PyTorch maps storages into memory and wants them aligned.
_ALIGNMENT = 64
_LOCAL_HEADER_BYTES = 30
_PADDING_FIELD = 0x4246
# The earliest date a zip can hold: the file must not depend on the clock.
_DATE = (1980, 1, 1, 0, 0, 0)


def write_torch(stem: Path, checkpoint: Checkpoint) -> list[Path]:
    """Write `<stem>.pt`. Same checkpoint, same bytes."""
    path = stem.with_name(f"{stem.name}.pt")
    atomic_write(path, encode_torch(ultralytics_state_dict(checkpoint), describe(checkpoint)))
    return [path]


def encode_torch(tensors: Mapping[str, Array], description: str) -> bytes:
    """The bytes of a `.pt` with these tensors (float32 or int64)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "archive/data.pkl", _pickle(tensors, description))
        _add(archive, "archive/byteorder", b"little")
        for key, array in enumerate(tensors.values()):
            little = array.astype(array.dtype.newbyteorder("<"))
            _add(archive, f"archive/data/{key}", little.tobytes())
        _add(archive, "archive/version", b"3\n")
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Add an entry whose data begins at a multiple of the alignment."""
    info = zipfile.ZipInfo(name, _DATE)
    assert archive.fp is not None
    start = archive.fp.tell() + _LOCAL_HEADER_BYTES + len(name) + 4
    padding = -start % _ALIGNMENT
    info.extra = struct.pack("<HH", _PADDING_FIELD, padding) + b"Z" * padding
    archive.writestr(info, data)


def _pickle(tensors: Mapping[str, Array], description: str) -> bytes:
    parts = [b"\x80\x02", _name("collections", "OrderedDict"), b")R("]
    for key, (name, array) in enumerate(tensors.items()):
        strides = [
            stride // array.itemsize for stride in np.empty(array.shape, array.dtype).strides
        ]
        parts += [
            _text(name),
            _name("torch._utils", "_rebuild_tensor_v2"),
            b"((",
            _text("storage"),
            _name("torch", _STORAGES[array.dtype.name]),
            _text(str(key)),
            _text("cpu"),
            _integer(array.size),
            b"tQ",  # the persistent identity of the storage
            _integer(0),
            _tuple(array.shape),
            _tuple(strides),
            b"\x89",  # requires_grad: False
            _name("collections", "OrderedDict"),
            b")RtR",
        ]
    parts += [b"u}", _text(KEY), _text(description), b"sb."]
    return b"".join(parts)


def _name(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode("ascii")


def _text(text: str) -> bytes:
    data = text.encode("utf-8")
    return b"X" + struct.pack("<I", len(data)) + data


def _integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _tuple(values: list[int] | tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(_integer, values)) + b"t"
