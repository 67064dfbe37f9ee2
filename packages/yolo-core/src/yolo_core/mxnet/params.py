"""MXNet's `.params` file in NumPy: a dictionary of arrays, strictly read, without MXNet.

Read by hand because such files come from strangers: MXNet allocates what a length says.

Layout (little-endian): u64 0x112, u64 0, u64 count, then per array u32 0xF993FAC9 (or …CA),
i32 storage type 0, i32 ndim, ndim x i64 dims, i32 device type, i32 device id, i32 dtype, data;
then u64 count and per name u64 length and bytes. MXNet's own reader trusts every one of these
numbers, so files from outside are read here and nowhere else.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import PathLike, read_bytes

#: Largest parameter file that is read: yolov5x in double precision is 0.7 GB.
FILE_LIMIT = 1 << 30
NAME_LIMIT = 4096
_MAX_NDIM = 8
_MAX_SIDE = 1 << 31

_LIST_MAGIC = 0x112
_ARRAY_MAGIC = 0xF993FAC9
_ARRAY_MAGIC_NUMPY_SHAPE = 0xF993FACA
_CPU = 1
_DTYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "|u1", 4: "<i4", 5: "|i1", 6: "<i8"}
_FLAGS = {np.dtype(code): flag for flag, code in _DTYPES.items()}


class _Reader:
    """A cursor over the file's bytes that refuses to step past their end."""

    def __init__(self, data: bytes, source: str) -> None:
        self._data, self._at, self.source = memoryview(data), 0, source

    def fail(self, cause: str, expected: str = "an MXNet parameter file") -> InputError:
        return InputError(self.source, f"{cause} at byte {self._at}", expected)

    def take(self, count: int) -> memoryview:
        if count > len(self._data) - self._at:
            raise self.fail("is cut short", f"{count} more bytes")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, code: str) -> int:
        layout = struct.Struct("<" + code)
        return int(layout.unpack(self.take(layout.size))[0])

    def count(self, bytes_each: int) -> int:
        """A count of records that need at least `bytes_each` bytes: bounded by what is left."""
        count = self.number("Q")
        if count > (len(self._data) - self._at) // bytes_each:
            raise self.fail(f"announces {count} records and has no room for them")
        return count

    def finish(self) -> None:
        if self._at != len(self._data):
            raise self.fail(f"has {len(self._data) - self._at} bytes too many", "the end")


def _read_array(reader: _Reader) -> Array:
    magic = reader.number("I")
    if magic not in (_ARRAY_MAGIC, _ARRAY_MAGIC_NUMPY_SHAPE):
        raise reader.fail(f"has array magic {magic:#x}", f"{_ARRAY_MAGIC:#x}")
    if reader.number("i") != 0:
        raise reader.fail("holds a sparse array", "dense arrays")
    ndim = reader.number("i")
    if not 0 <= ndim <= _MAX_NDIM:
        raise reader.fail(f"has an array of {ndim} dimensions", f"at most {_MAX_NDIM}")
    shape = tuple(reader.number("q") for _ in range(ndim))
    # A zero among them makes the array empty, however long the other sides are.
    if any(side < 0 for side in shape) or math.prod(side or 1 for side in shape) > _MAX_SIDE:
        raise reader.fail(f"has an array of shape {shape}", f"sides of 0 to {_MAX_SIDE}")
    reader.take(8)  # the device it was saved from
    flag = reader.number("i")
    if flag not in _DTYPES:
        raise reader.fail(f"has dtype code {flag}", f"one of {sorted(_DTYPES)}")
    dtype = np.dtype(_DTYPES[flag])
    raw = reader.take(math.prod(shape) * dtype.itemsize)
    return np.frombuffer(raw, dtype).reshape(shape).copy()


def decode_params(data: bytes, source: str) -> dict[str, Array]:
    """Name (with its `arg:` or `aux:` prefix) → array. InputError for anything irregular."""
    reader = _Reader(data, source)
    if reader.number("Q") != _LIST_MAGIC or reader.number("Q") != 0:
        raise InputError(source, "does not begin like one", "an MXNet parameter file")
    arrays = [_read_array(reader) for _ in range(reader.count(24))]
    if reader.count(8) != len(arrays):
        raise reader.fail("has not one name per array", f"{len(arrays)} names")
    found: dict[str, Array] = {}
    for array in arrays:
        length = reader.number("Q")
        if length > NAME_LIMIT:
            raise reader.fail(f"has a name of {length} bytes", f"at most {NAME_LIMIT}")
        try:
            name = bytes(reader.take(length)).decode("utf-8")
        except UnicodeDecodeError as error:
            raise reader.fail("has a name that is not UTF-8") from error
        if name in found:
            raise reader.fail(f"names {name!r} twice", "unique names")
        found[name] = array
    reader.finish()
    return found


def read_params(path: PathLike) -> dict[str, Array]:
    """`decode_params` of a file of at most 1 GiB."""
    return decode_params(read_bytes(path, FILE_LIMIT), str(path))


def encode_params(arrays: Mapping[str, Array]) -> bytes:
    """The file that `mxnet.nd.load` reads. Arrays keep their order and their dtype."""
    parts = [struct.pack("<QQQ", _LIST_MAGIC, 0, len(arrays))]
    for array in arrays.values():
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        parts.append(struct.pack("<Iii", _ARRAY_MAGIC, 0, little.ndim))
        parts.append(struct.pack(f"<{little.ndim}q", *little.shape))
        parts.append(struct.pack("<iii", _CPU, 0, _FLAGS[little.dtype]))
        parts.append(little.tobytes())
    parts.append(struct.pack("<Q", len(arrays)))
    for name in arrays:
        encoded = name.encode("utf-8")
        parts.append(struct.pack("<Q", len(encoded)) + encoded)
    return b"".join(parts)
