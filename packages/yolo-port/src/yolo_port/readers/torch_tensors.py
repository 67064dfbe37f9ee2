"""Tensors that a PyTorch file describes: records of its pickle and bytes of its storages.

A tensor is a storage, an offset, sizes and strides. Storages are read one by one, only when a
tensor that is wanted needs them. Which container they lie in is known to the subclasses of
`TorchFile`.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_port.pickle_machine import Global, Persistent, Record
from yolo_port.readers.pickled_arrays import is_array, pickled_array
from yolo_port.source import is_shape

#: Largest `.pt` that is read: yolov5x with its optimizer's state is 1.4 GB.
FILE_LIMIT = 4 << 30
#: Largest pickle of a model: yolov5x's is 0.3 MB.
PICKLE_LIMIT = 8 << 20
#: Largest pickle that holds arrays of NumPy: yolov5m's are 85 MB, and half as much again as text.
ARRAYS_LIMIT = 256 << 20

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

_TENSOR = Global("torch._utils", "_rebuild_tensor_v2")
#: Functions that put something around a tensor, their first argument.
_AROUND = frozenset(
    Global("torch._utils", name) for name in ("_rebuild_parameter", "_rebuild_parameter_with_state")
)
#: Takes a function of those, a class, the function's arguments, and attributes that were set.
_WITH_ATTRIBUTES = Global("torch._tensor", "_rebuild_from_type_v2")
_PLAIN_CLASSES = ("torch.Tensor", "torch.nn.parameter.Parameter")

#: Globals without which no tensor can be described.
TENSOR_GLOBALS = frozenset(
    {*STORAGE_DTYPES, _TENSOR, _WITH_ATTRIBUTES, *_AROUND, Global("torch", "Tensor")}
)


class TorchFile(ABC):
    """An opened PyTorch file: `content`, its pickle as inert values, and its tensors on demand."""

    content: Any

    def __init__(self, path: Path) -> None:
        """InputError for a file that is too large."""
        size = os.path.getsize(path)
        if size > FILE_LIMIT:
            raise InputError(path, f"is larger than {FILE_LIMIT} bytes", "a smaller file")
        self.path = str(path)
        self.order: Literal["<", ">"] = "<"
        # Tensors that share one storage could make much out of little, so what is made is counted.
        self._budget = 2 * size + (1 << 20)
        self._shared: dict[str, bytes] = {}

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    @abstractmethod
    def _storage_size(self, key: str) -> int | None:
        """Bytes of the storage with that key; None where there is none."""

    @abstractmethod
    def _storage_bytes(self, key: str) -> bytes:
        """The storage with that key, all of it."""

    def is_tensor(self, value: Any) -> bool:
        """Whether a value of `content` describes a tensor, a parameter or an array of NumPy."""
        return is_array(value) or (
            isinstance(value, Record)
            and (value.function in (_TENSOR, _WITH_ATTRIBUTES) or value.function in _AROUND)
        )

    @staticmethod
    def _description(value: Any) -> tuple[Any, ...]:
        """Storage, offset, sizes and so on of the tensor in a record; empty where there is none."""
        for _ in range(4):
            if not isinstance(value, Record):
                break
            function, arguments = value.function, value.arguments
            if function == _WITH_ATTRIBUTES and len(arguments) == 4:
                function, kind, arguments, _ = arguments
                if str(kind) not in _PLAIN_CLASSES or not isinstance(arguments, tuple):
                    break
            if function == _TENSOR:
                return arguments
            if function not in _AROUND or not arguments:
                break
            value = arguments[0]
        return ()

    def tensor(self, value: Any, name: str) -> Array:
        """The array that a value of `content` describes; own memory, dtype as stored.

        BFloat16 becomes float32. name: what to call the tensor in errors. InputError when sizes,
        strides and storage do not agree.
        """
        if is_array(value):
            return pickled_array(value, self.path, name)
        arguments = self._description(value)
        if not 6 <= len(arguments) <= 7:
            raise InputError(self.path, f"has no tensor at {name}", "a dense tensor")
        storage, offset, shape, strides = arguments[:4]
        if not (_is_index(offset) and is_shape(shape) and _are_strides(strides)):
            raise InputError(self.path, f"describes {name} by what are not sizes")
        if len(shape) != len(strides):
            raise InputError(
                self.path, f"gives {name} {len(shape)} sizes and {len(strides)} strides"
            )
        key, dtype, count = self._storage(storage, name)
        size = math.prod(shape)
        reach = offset + sum((side - 1) * step for side, step in zip(shape, strides)) + 1
        # `size > count` also stops a stride of 0 from making much out of little.
        if reach > count or size > count:
            raise InputError(self.path, f"has {name} of shape {shape} reaching outside its storage",
                             f"at most {count} elements")  # fmt: skip
        flat = np.frombuffer(self._read(key, size, count, dtype), dtype)
        array = np.lib.stride_tricks.as_strided(
            flat[offset:], shape, tuple(step * flat.itemsize for step in strides), writeable=False
        )
        if storage.identity[1] == _BFLOAT16:
            return (array.astype(np.uint32) << 16).view(np.float32)
        return np.array(array, dtype.newbyteorder("="))

    def _read(self, key: str, size: int, count: int, dtype: np.dtype[Any]) -> bytes:
        """A storage; one that several tensors may share is kept."""
        data = self._shared.get(key)
        fresh = 0 if data is not None else count * dtype.itemsize
        self._budget -= max(fresh, size * dtype.itemsize)
        if self._budget < 0:
            raise InputError(self.path, "shares a storage between too many tensors")
        if data is None:
            data = self._storage_bytes(key)
            if size < count:
                self._shared[key] = data
        return data

    def _storage(self, storage: Any, name: str) -> tuple[str, np.dtype[Any], int]:
        identity = storage.identity if isinstance(storage, Persistent) else None
        sound = isinstance(identity, tuple) and len(identity) in (5, 6)
        if not isinstance(identity, tuple) or not sound or identity[0] != "storage":
            raise InputError(self.path, f"has {name} without a storage", "a PyTorch file")
        _, kind, key, _, count = identity[:5]
        code = STORAGE_DTYPES.get(kind) if isinstance(kind, Global) else None
        if code is None or not isinstance(key, str) or not _is_index(count) or any(identity[5:]):
            raise InputError(self.path, f"has {name} in an unknown storage", "a PyTorch file")
        dtype = np.dtype(code).newbyteorder(self.order)
        found = self._storage_size(key)
        if found is None:
            raise InputError(self.path, f"lacks the storage {key} of {name}", "a complete file")
        needed = count * dtype.itemsize
        if found != needed:
            raise InputError(self.path, f"has {found} bytes in the storage of {name}", f"{needed}")
        return key, dtype, count


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40


def _are_strides(value: Any) -> bool:
    return isinstance(value, tuple) and all(map(_is_index, value))
