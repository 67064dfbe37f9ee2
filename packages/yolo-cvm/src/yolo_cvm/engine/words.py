"""The flat plan handed to the compiled library: constants, tensors, steps, all as integers.

The numbers mirror native/plan.cpp, plain.cpp, image.cpp and arch/kernels.h; whoever changes one
side changes the other. Memory is planned here from the first and last step that touch a buffer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np

from yolo_core.arrays import Array

MAGIC = 0x43564D01
ALIGNMENT = 64


class Step(IntEnum):
    """Opcodes; from TO_IMAGE on they work on images."""

    COPY = 1
    UNARY = 2
    BINARY = 3
    REDUCE = 4
    TAKE = 5
    WHERE = 6
    DENSE = 7
    CONV = 8
    MAX_POOL = 9
    VALID_COUNTS = 10
    SUPPRESS = 11
    TO_IMAGE = 20
    CONV_IMAGE = 21
    POINTWISE = 22
    POOL_IMAGE = 23
    COPY_IMAGE = 24
    HALO = 25


class Storage(IntEnum):
    """Where a tensor lives."""

    ARENA = 0
    CONSTANT = 1
    INPUT = 2
    OUTPUT = 3


class DType(IntEnum):
    """Element type of an image."""

    INT8 = 0
    INT16 = 1
    INT32 = 2

    @property
    def size(self) -> int:
        """Bytes of one element."""
        return (1, 2, 4)[self]


@dataclass(eq=False)
class Buffer:
    """A piece of memory that tensors share; in the arena it gets its place when all is known."""

    storage: Storage
    index: int = 0
    size: int = 0
    first: int = -1
    last: int = -1
    offset: int = 0


@dataclass(frozen=True, eq=False)
class Tensor:
    """A plain int32 tensor, or an image (pixel_stride > 0) of [batch, height, width, channels].

    start: bytes from the buffer's begin to the first element; strides in elements.
    """

    number: int
    buffer: Buffer
    start: int
    dims: tuple[int, ...]
    dtype: DType = DType.INT32
    image_stride: int = 0
    row_stride: int = 0
    pixel_stride: int = 0
    halo: int = 0

    @property
    def count(self) -> int:
        """Elements, without halo."""
        return product(self.dims)


@dataclass
class Plan:
    """The finished plan. words: int64; constants: int32 arrays that must outlive its use, and
    int8 arrays of weights.

    sources: for every step the graph node it belongs to.
    """

    words: Array
    constants: list[Array]
    outputs: list[tuple[int, ...]]
    input_shape: tuple[int, ...]
    arena_bytes: int
    sources: list[int]
    names: list[str]


@dataclass
class PlanWriter:
    """Collects constants, tensors and steps, then places the buffers."""

    input_shape: tuple[int, ...]
    constants: list[Array] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    steps: list[tuple[int, ...]] = field(default_factory=list)
    buffers: list[Buffer] = field(default_factory=list)
    outputs: list[tuple[int, ...]] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)
    source: int = 0
    _known: dict[bytes, int] = field(default_factory=dict)

    def constant(self, values: Array) -> int:
        """Number of an int32 constant; small equal ones are stored once."""
        return self._constant(np.ascontiguousarray(values, dtype=np.int32).reshape(-1))

    def weights(self, values: Array) -> int:
        """Number of a constant that a byte convolution packs: int8 values as they are."""
        if values.dtype != np.int8:
            return self.constant(values)
        return self._constant(np.ascontiguousarray(values).reshape(-1))

    def _constant(self, array: Array) -> int:
        key = array.dtype.str.encode() + array.tobytes() if array.size <= 4096 else b""
        if key and key in self._known:
            return self._known[key]
        self.constants.append(array)
        if key:
            self._known[key] = len(self.constants) - 1
        return len(self.constants) - 1

    def constant_tensor(self, values: Array) -> Tensor:
        """A constant as a plain tensor of its own shape."""
        return self.plain(values.shape, Buffer(Storage.CONSTANT, self.constant(values)))

    def input(self) -> Tensor:
        """The caller's int32 input."""
        return self.plain(self.input_shape, Buffer(Storage.INPUT))

    def output(self, shape: tuple[int, ...]) -> Buffer:
        """A new output array of the caller."""
        self.outputs.append(shape)
        return Buffer(Storage.OUTPUT, len(self.outputs) - 1)

    def arena(self, size: int) -> Buffer:
        """Working memory of `size` bytes."""
        buffer = Buffer(Storage.ARENA, size=size)
        self.buffers.append(buffer)
        return buffer

    def plain(self, dims: Sequence[int], buffer: Buffer | None = None, start: int = 0) -> Tensor:
        """A plain tensor, in working memory of its own unless a buffer is given."""
        dims = tuple(int(d) for d in dims)
        if buffer is None:
            buffer = self.arena(4 * product(dims))
        return self._add(Tensor(len(self.tensors), buffer, start, dims))

    def image(self, dims: Sequence[int], dtype: DType, halo: int = 0) -> Tensor:
        """An image [batch, height, width, channels] with a buffer of its own."""
        batch, height, width, channels = dims
        row = (width + 2 * halo) * channels
        plane = (height + 2 * halo) * row
        buffer = self.arena(batch * plane * dtype.size)
        start = (halo * row + halo * channels) * dtype.size
        return self._add(
            Tensor(len(self.tensors), buffer, start, tuple(dims), dtype, plane, row, channels, halo)
        )

    def channels(self, image: Tensor, first: int, count: int) -> Tensor:
        """A part of an image's channels, as an image on the same memory."""
        batch, height, width, _ = image.dims
        return self._add(
            Tensor(
                len(self.tensors),
                image.buffer,
                image.start + first * image.dtype.size,
                (batch, height, width, count),
                image.dtype,
                image.image_stride,
                image.row_stride,
                image.pixel_stride,
                image.halo,
            )
        )

    def framed(self, image: Tensor, top: int, bottom: int, left: int, right: int) -> Tensor:
        """An image with part of its border, as an image without border on the same memory."""
        batch, height, width, channels = image.dims
        start = top * image.row_stride + left * image.pixel_stride
        return self._add(
            replace(
                image,
                number=len(self.tensors),
                start=image.start - start * image.dtype.size,
                dims=(batch, height + top + bottom, width + left + right, channels),
                halo=0,
            )
        )

    def alias(self, tensor: Tensor, dims: Sequence[int]) -> Tensor:
        """A plain tensor under another shape."""
        return self.plain(dims, tensor.buffer, tensor.start)

    def step(
        self,
        opcode: Step,
        words: Iterable[int],
        reads: Sequence[Tensor],
        writes: Sequence[Tensor],
    ) -> None:
        """Append a step; reads and writes say how long buffers live."""
        number = len(self.steps)
        for tensor in (*reads, *writes):
            buffer = tensor.buffer
            if buffer.first < 0:
                buffer.first = number
            buffer.last = number
        self.steps.append((int(opcode), *(int(w) for w in words)))
        self.sources.append(self.source)

    def keep(self, tensor: Tensor) -> None:
        """The tensor's memory is needed until the last step so far, though no step names it."""
        tensor.buffer.last = max(tensor.buffer.last, len(self.steps) - 1)

    def finish(self) -> Plan:
        """Place the buffers and encode everything."""
        arena = place(self.buffers)
        words: list[int] = [
            MAGIC,
            arena,
            product(self.input_shape),
            len(self.constants),
            len(self.tensors),
            len(self.steps),
            len(self.outputs),
            *(product(shape) for shape in self.outputs),
            *(array.itemsize for array in self.constants),
        ]
        for t in self.tensors:
            dims = t.dims + (1,) * (6 - len(t.dims))
            words += [
                t.buffer.storage,
                t.buffer.index,
                t.buffer.offset + t.start,
                t.dtype,
                len(t.dims),
                *dims,
                t.image_stride,
                t.row_stride,
                t.pixel_stride,
                t.halo,
            ]
        for step in self.steps:
            words.append(len(step))
            words += step
        return Plan(
            np.array(words, np.int64),
            self.constants,
            self.outputs,
            self.input_shape,
            arena,
            self.sources,
            [Step(s[0]).name.lower() for s in self.steps],
        )

    def _add(self, tensor: Tensor) -> Tensor:
        self.tensors.append(tensor)
        return tensor


def product(dims: Iterable[int]) -> int:
    """Number of elements in exact arithmetic."""
    n = 1
    for d in dims:
        n *= int(d)
    return n


def place(buffers: Sequence[Buffer]) -> int:
    """Give every buffer an offset such that none overlaps another that lives at the same time.

    Largest first, each at the lowest free offset. Returns the bytes of the whole arena.
    """
    total = 0
    placed: list[Buffer] = []
    for buffer in sorted((b for b in buffers if b.first >= 0), key=lambda b: -b.size):
        size = -(-buffer.size // ALIGNMENT) * ALIGNMENT
        offset = 0
        for other in placed:
            if other.last < buffer.first or buffer.last < other.first:
                continue
            if offset + size <= other.offset:
                break
            offset = max(offset, other.offset + -(-other.size // ALIGNMENT) * ALIGNMENT)
        buffer.offset = offset
        total = max(total, offset + size)
        placed.append(buffer)
        placed.sort(key=lambda b: b.offset)
    return total
