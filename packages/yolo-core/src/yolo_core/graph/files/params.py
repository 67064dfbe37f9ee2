"""The params file: named int8 and int32 arrays, one after the other.

Read by hand: the files come from strangers, and what is accepted is a matter of consensus.

Source: spec 2. Reading checks every length against the bytes that are there before it believes
it, and gives views into the file; writing stores int8 where the declared precision allows.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph.errors import GraphError, LogicError, RuntimeFault
from yolo_core.graph.integers import MAX_NDIM, elements
from yolo_core.graph.limits import Limits
from yolo_core.graph.program import INPUT_NAME, Graph

SOURCE = "params"

LIST_MAGIC = 0xF7E58D4F05049CB7
ARRAY_MAGIC = 0xDD5E40F096B4A13F
CPU = 1
INT = 0
NAME_LIMIT = 4096

_HEADER = struct.Struct("<QQQ")
_COUNT = struct.Struct("<Q")
_ARRAY = struct.Struct("<QQiiiBBH")
_SIZE = struct.Struct("<q")


class _Bytes:
    """A position in the file. Its end within the list of names is a logic error, within an array
    a runtime fault, as the original tells them."""

    def __init__(self, data: bytes) -> None:
        self._view = memoryview(data)
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._view) - self._at

    def take(self, count: int, what: str, fault: type[GraphError] = RuntimeFault) -> memoryview:
        if count > self.left:
            raise fault(SOURCE, f"ends within {what}, at byte {len(self._view)}")
        piece = self._view[self._at : self._at + count]
        self._at += count
        return piece

    def unpack(
        self, layout: struct.Struct, what: str, fault: type[GraphError] = RuntimeFault
    ) -> tuple[int, ...]:
        return layout.unpack(self.take(layout.size, what, fault))


def decode(
    data: bytes, compat: bool = False, limits: Limits | None = None
) -> list[tuple[str, Array]]:
    """Name and array of every record of a params file: read-only int8 or int32 views of its bytes.

    compat: accept a name given twice (both are listed, in order) and bytes after the end
    (ignored), as the original does. Raises LogicError or RuntimeFault naming the array and the
    field.
    """
    found, end = _records(data, limits)
    if not compat:
        seen: set[str] = set()
        for name, _ in found:
            if name in seen:
                raise LogicError(f"{SOURCE}: array {name[:60]!r}", "given twice", "unique names")
            seen.add(name)
        if end < len(data):
            raise stale_bytes(end, len(data))
    return found


def stale_bytes(end: int, size: int) -> RuntimeFault:
    """The refusal of a file of `size` bytes whose records end at byte `end`."""
    return RuntimeFault(
        SOURCE,
        f"{size - end} stale bytes after the parameters, as the original's writer leaves them",
        f"{end} bytes: `truncate -s {end} params` removes them, compat ignores them",
    )


def oddities(start: bytes, size: int, limits: Limits | None = None) -> tuple[str, ...]:
    """What `compat` passes over in a file of `size` bytes, each with its remedy, in plain words.

    start: the file, or as much of it as holds the records. Raises as `decode`.
    """
    found, end = _records(start, limits)
    names = [name for name, _ in found]
    told = [
        f"the array {name[:60]!r} is given twice, the last one counts; keep only that"
        for name in dict.fromkeys(n for n, times in Counter(names).items() if times > 1)
    ]
    if INPUT_NAME in names:
        told.append(f"the array {INPUT_NAME!r} is the input and not used; leave it out")
    if end < size:
        told.append(
            f"{size - end:,} stale bytes after byte {end:,} are not used; "
            f"`truncate -s {end} params` removes them"
        )
    return tuple(f"{SOURCE}: {line}" for line in told)


def records_end(start: bytes, limits: Limits | None = None) -> int:
    """Where the records end in a file that begins with `start`. Raises as `decode`."""
    return _records(start, limits)[1]


def _records(data: bytes, limits: Limits | None) -> tuple[list[tuple[str, Array]], int]:
    """All records in order, and the position of the first byte after them."""
    limits = limits or Limits()
    if not data:
        raise LogicError(SOURCE, "empty file")
    reader = _Bytes(data)
    magic, _, count = reader.unpack(_HEADER, "the header", LogicError)
    if magic != LIST_MAGIC:
        raise LogicError(SOURCE, f"list magic {magic:#x}", f"{LIST_MAGIC:#x}")
    if count > limits.parameters:
        raise RuntimeFault(SOURCE, f"claims {count} names", f"at most {limits.parameters}")
    names = [_name(reader, n) for n in range(count)]
    (arrays,) = reader.unpack(_COUNT, "the array count", LogicError)
    if arrays != count:
        raise LogicError(SOURCE, f"{arrays} arrays for {count} names")
    found = [(name, _array(reader, f"{SOURCE}: array {name[:60]!r}")) for name in names]
    return found, len(data) - reader.left


def _name(reader: _Bytes, number: int) -> str:
    (length,) = reader.unpack(_COUNT, f"name {number}", LogicError)
    if length > NAME_LIMIT:
        raise RuntimeFault(SOURCE, f"name {number} of {length} bytes", f"at most {NAME_LIMIT}")
    try:
        return bytes(reader.take(length, f"name {number}", LogicError)).decode("utf-8")
    except UnicodeDecodeError:
        raise RuntimeFault(SOURCE, f"name {number} is not UTF-8") from None


def _array(reader: _Bytes, place: str) -> Array:
    magic, _, device, _, ndim, code, bits, lanes = reader.unpack(_ARRAY, place)
    if magic != ARRAY_MAGIC:
        raise RuntimeFault(place, f"array magic {magic:#x}", f"{ARRAY_MAGIC:#x}")
    if device != CPU:
        raise LogicError(place, f"device type {device}", f"{CPU}")
    if (code, lanes) != (INT, 1) or bits not in (8, 32):
        raise RuntimeFault(place, f"dtype code {code}, {bits} bits, {lanes} lanes", "int8 or int32")
    if not 1 <= ndim <= MAX_NDIM:
        raise LogicError(place, f"{ndim} dimensions", f"1..{MAX_NDIM}")
    shape: list[int] = [reader.unpack(_SIZE, place)[0] for _ in range(ndim)]
    (size,) = reader.unpack(_SIZE, place)
    if min(shape) < 1 or size != elements(shape) * bits // 8:
        raise RuntimeFault(place, f"{size} bytes for shape {tuple(shape)} of {bits} bits")
    values = np.frombuffer(reader.take(size, place), dtype="<i1" if bits == 8 else "<i4")
    values.flags.writeable = False
    return values.reshape(shape)


def size_limit(graph: Graph) -> int:
    """The most bytes that a params file of this program can have, all arrays being int32.

    Twice the declared parameters leave room for the duplicates that `compat` accepts.
    """
    size = _HEADER.size + _COUNT.size
    for node in graph.nodes:
        if node.is_variable:
            size += _COUNT.size + len(node.name.encode("utf-8")) + _ARRAY.size
            size += 8 * (len(node.shapes[0]) + 1) + 4 * elements(node.shapes[0])
    return 2 * size


def encode(graph: Graph) -> bytes:
    """The params file of a program: its parameters in node order, int8 where P <= 8."""
    nodes = [n for n in graph.nodes if n.is_variable and n.name != INPUT_NAME]
    return encode_arrays(
        {
            node.name: graph.parameters[node.name].astype(
                "<i1" if node.precisions[0] <= 8 else "<i4"
            )
            for node in nodes
        }
    )


def encode_arrays(arrays: Mapping[str, Array]) -> bytes:
    """A params file of int8 and int32 arrays in the order given."""
    pieces = [_HEADER.pack(LIST_MAGIC, 0, len(arrays))]
    for name in arrays:
        raw = name.encode("utf-8")
        pieces += [_COUNT.pack(len(raw)), raw]
    pieces.append(_COUNT.pack(len(arrays)))
    for array in arrays.values():
        bits = 8 * array.dtype.itemsize
        pieces.append(_ARRAY.pack(ARRAY_MAGIC, 0, CPU, 0, array.ndim, INT, bits, 1))
        pieces += [_SIZE.pack(dim) for dim in array.shape]
        pieces.append(_SIZE.pack(array.nbytes))
        pieces.append(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return b"".join(pieces)
