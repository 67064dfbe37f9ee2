"""The container of a `.pt` file: a zip of one pickle and one entry per storage, strictly read.

PyTorch writes its zip without compression, so nothing in it can be larger than the file; a
compressed entry is refused as the zip bomb it would be. Storages are read one by one, only when
a tensor that is wanted needs them.
"""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_port.pickle_machine import Admit, Global, Persistent, Record, read_pickle
from yolo_port.readers.zip_container import open_zip
from yolo_port.source import is_shape

#: Largest `.pt` that is read: yolov5x with its optimizer's state is 1.4 GB.
FILE_LIMIT = 4 << 30
#: Largest pickle inside: yolov5x's is 0.3 MB.
PICKLE_LIMIT = 8 << 20
_LOCAL_HEADER_BYTES = 30

#: Storage class → its elements. BFloat16 comes as its upper half words and is widened later.
STORAGE_DTYPES = {
    Global("torch", "HalfStorage"): "<f2",
    Global("torch", "FloatStorage"): "<f4",
    Global("torch", "DoubleStorage"): "<f8",
    Global("torch", "BFloat16Storage"): "<u2",
    Global("torch", "LongStorage"): "<i8",
    Global("torch", "IntStorage"): "<i4",
    Global("torch", "ShortStorage"): "<i2",
    Global("torch", "CharStorage"): "|i1",
    Global("torch", "ByteStorage"): "|u1",
    Global("torch", "BoolStorage"): "|b1",
}
_BFLOAT16 = Global("torch", "BFloat16Storage")

REBUILD_TENSOR = Global("torch._utils", "_rebuild_tensor_v2")
REBUILD_PARAMETER = Global("torch._utils", "_rebuild_parameter")

#: Globals without which no tensor can be described.
TENSOR_GLOBALS = frozenset(STORAGE_DTYPES) | {REBUILD_TENSOR, REBUILD_PARAMETER}


class TorchArchive:
    """An opened `.pt`: its pickle as inert values, and its tensors on demand."""

    def __init__(self, path: Path, admit: Admit) -> None:
        """Open and check the container. InputError when it is not one that PyTorch writes."""
        self.path = str(path)
        # Tensors that share one storage could make much out of little, so what is read is counted.
        self._budget = 2 * os.path.getsize(path) + (1 << 20)
        self._zip, self._entries = _open(path)
        try:
            self._folder = self._single_folder()
            self.content = self._content(admit)
        except InputError:
            self.close()
            raise

    def _content(self, admit: Admit) -> Any:
        order, pickle = self._entry("byteorder"), self._entry("data.pkl")
        if order is not None and self._read(order) != b"little":
            raise InputError(self.path, "was written on a big-endian machine", "little-endian")
        if pickle is None:
            raise InputError(self.path, "is a zip without data.pkl", "a PyTorch file")
        if pickle.file_size > PICKLE_LIMIT:
            raise InputError(self.path, f"has a pickle of {pickle.file_size} bytes",
                             f"at most {PICKLE_LIMIT}")  # fmt: skip
        data = self._read(pickle)
        content, used = read_pickle(data, self.path, admit)
        if used != len(data):
            raise InputError(self.path, f"has {len(data) - used} bytes behind its pickle")
        return content

    def close(self) -> None:
        self._zip.close()

    def _single_folder(self) -> str:
        folders = {name.partition("/")[0] for name in self._entries}
        if len(folders) != 1 or not all("/" in name for name in self._entries):
            raise InputError(self.path, "is a zip of several folders", "a PyTorch file")
        return folders.pop()

    def _entry(self, name: str) -> zipfile.ZipInfo | None:
        return self._entries.get(f"{self._folder}/{name}")

    def _read(self, entry: zipfile.ZipInfo) -> bytes:
        try:
            return self._zip.read(entry)
        except (zipfile.BadZipFile, EOFError, OSError, ValueError, RuntimeError) as error:
            raise InputError(self.path, f"is damaged at {entry.filename} ({error})") from error

    def is_tensor(self, value: Any) -> bool:
        """Whether a value of `content` describes a tensor or a parameter."""
        return isinstance(value, Record) and value.function in (REBUILD_TENSOR, REBUILD_PARAMETER)

    def tensor(self, value: Any, name: str) -> Array:
        """The array that a value of `content` describes; own memory, dtype as stored.

        BFloat16 becomes float32. name: what to call the tensor in errors. InputError when sizes,
        strides and storage do not agree.
        """
        if self.is_tensor(value) and value.function == REBUILD_PARAMETER and value.arguments:
            value = value.arguments[0]
        if (
            not self.is_tensor(value)
            or value.function != REBUILD_TENSOR
            or not 6 <= len(value.arguments) <= 7
        ):
            raise InputError(self.path, f"has no tensor at {name}", "a dense tensor")
        storage, offset, shape, strides = value.arguments[:4]
        if not (_is_index(offset) and is_shape(shape) and _are_strides(strides)):
            raise InputError(self.path, f"describes {name} by what are not sizes")
        if len(shape) != len(strides):
            raise InputError(
                self.path, f"gives {name} {len(shape)} sizes and {len(strides)} strides"
            )
        entry, dtype, count = self._storage(storage, name)
        size = math.prod(shape)
        reach = offset + sum((side - 1) * step for side, step in zip(shape, strides)) + 1
        # `size > count` also stops a stride of 0 from making much out of little.
        if reach > count or size > count:
            raise InputError(self.path, f"has {name} of shape {shape} reaching outside its storage",
                             f"at most {count} elements")  # fmt: skip
        self._budget -= entry.file_size
        if self._budget < 0:
            raise InputError(self.path, "shares a storage between too many tensors")
        flat = np.frombuffer(self._read(entry), dtype)
        array = np.lib.stride_tricks.as_strided(
            flat[offset:], shape, tuple(step * flat.itemsize for step in strides), writeable=False
        )
        if storage.identity[1] == _BFLOAT16:
            return (array.astype(np.uint32) << 16).view(np.float32)
        return np.array(array)

    def _storage(self, storage: Any, name: str) -> tuple[zipfile.ZipInfo, np.dtype[Any], int]:
        identity = storage.identity if isinstance(storage, Persistent) else None
        if not isinstance(identity, tuple) or len(identity) != 5 or identity[0] != "storage":
            raise InputError(self.path, f"has {name} without a storage", "a PyTorch file")
        _, kind, key, _, count = identity
        dtype = STORAGE_DTYPES.get(kind) if isinstance(kind, Global) else None
        if dtype is None or not isinstance(key, str) or not _is_index(count):
            raise InputError(self.path, f"has {name} in an unknown storage", "a PyTorch file")
        entry = self._entry(f"data/{key}")
        if entry is None:
            raise InputError(self.path, f"lacks the storage {key} of {name}", "a complete file")
        needed = count * np.dtype(dtype).itemsize
        if entry.file_size != needed:
            raise InputError(
                self.path, f"has {entry.file_size} bytes in the storage of {name}", f"{needed}"
            )
        return entry, np.dtype(dtype), count


def _open(path: Path) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """The zip and its entries by name; every entry is stored, and lies apart from the others."""
    source = str(path)
    length = os.path.getsize(path)
    if length > FILE_LIMIT:
        raise InputError(source, f"is larger than {FILE_LIMIT} bytes", "a smaller file")
    archive = open_zip(path, "a PyTorch file of 1.6 or later")
    try:
        entries: dict[str, zipfile.ZipInfo] = {}
        infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
        for info, following in zip(infos, [*infos[1:], None]):
            name = info.filename
            if info.flag_bits & 1:
                raise InputError(
                    source, f"has the encrypted zip entry {name[:80]}", "plain entries"
                )
            if "/code/" in name or name.endswith("/constants.pkl"):
                expected = "the .pt that it was exported from, or an ONNX export"
                raise InputError(source, "is a TorchScript export, whose layers are code", expected)
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise InputError(source, f"has the compressed zip entry {name[:80]} (a zip bomb?)",
                                 "stored entries, as PyTorch writes them")  # fmt: skip
            end = info.header_offset + _LOCAL_HEADER_BYTES + len(name) + info.file_size
            if end > (following.header_offset if following else length):
                raise InputError(
                    source, f"has the zip entry {name[:80]} inside another (a zip bomb?)"
                )
            if name in entries:
                raise InputError(source, f"has the zip entry {name[:80]} twice", "unique entries")
            if "\\" in name or not {"", ".", ".."}.isdisjoint(name.split("/")):
                raise InputError(source, f"has the zip entry {name[:80]!r}, a path that leads away",
                                 "plain names")  # fmt: skip
            entries[name] = info
        if not entries:
            raise InputError(source, "is an empty zip", "a PyTorch file")
    except InputError:
        archive.close()
        raise
    return archive, entries


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40


def _are_strides(value: Any) -> bool:
    return isinstance(value, tuple) and all(map(_is_index, value))
