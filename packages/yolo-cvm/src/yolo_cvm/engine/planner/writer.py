"""Collects tensors, constants and steps while `emission` and `lowering` write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_cvm.engine.format import DType, Step, Storage
from yolo_cvm.engine.planner.form import Buffer, PlanStep, Steps, Tensor, frozen, product

#: Constants of at most this many bytes are stored once however often they occur.
SMALL = 1 << 14


@dataclass
class Writer:
    """Appends; `source` is the node that steps belong to."""

    buffers: list[Buffer] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    literals: list[Array] = field(default_factory=list)
    steps: list[PlanStep] = field(default_factory=list)
    until: dict[int, int] = field(default_factory=dict)
    source: int = 0
    _known: dict[bytes, int] = field(default_factory=dict)
    _held: dict[int, int] = field(default_factory=dict)

    def constant(self, values: Array) -> int:
        """Number of an int32 constant."""
        return self._literal(np.ascontiguousarray(values, dtype=np.int32))

    def weights(self, values: Array) -> int:
        """Number of a constant that a byte convolution packs: int8 values as they are."""
        return self._literal(
            np.ascontiguousarray(values, np.int8 if values.dtype == np.int8 else np.int32)
        )

    def _literal(self, array: Array) -> int:
        """Small equal arrays, and one array that is given again, are stored once."""
        array = array.reshape(-1)
        if array.nbytes > SMALL:
            address = array.__array_interface__["data"][0]
            number = self._held.get(address)
            if number is not None and self.literals[number].nbytes == array.nbytes:
                return number
            self._held[address] = len(self.literals)
        else:
            key = array.dtype.str.encode() + array.tobytes()
            if key in self._known:
                return self._known[key]
            self._known[key] = len(self.literals)
        self.literals.append(array)
        return len(self.literals) - 1

    def buffer(self, buffer: Buffer) -> int:
        """Number of a new buffer."""
        self.buffers.append(buffer)
        return len(self.buffers) - 1

    def constant_tensor(self, values: Array) -> Tensor:
        """A constant as a plain tensor of its own shape."""
        number = self.constant(values)
        size = self.literals[number].nbytes
        return self.plain(values.shape, self.buffer(Buffer(Storage.CONSTANT, number, size)))

    def plain(self, dims: Sequence[int], buffer: int | None = None, start: int = 0) -> Tensor:
        """A plain tensor, in working memory of its own unless a buffer is given."""
        dims = tuple(int(d) for d in dims)
        if buffer is None:
            buffer = self.buffer(Buffer(Storage.ARENA, 0, 4 * product(dims)))
        return self._add(Tensor(len(self.tensors), buffer, start, dims))

    def image(self, dims: Sequence[int], dtype: DType, halo: int = 0) -> Tensor:
        """An image [batch, height, width, channels] with a buffer of its own."""
        batch, height, width, channels = dims
        row = (width + 2 * halo) * channels
        plane = (height + 2 * halo) * row
        buffer = self.buffer(Buffer(Storage.ARENA, 0, batch * plane * dtype.size))
        start = (halo * row + halo * channels) * dtype.size
        return self._add(
            Tensor(len(self.tensors), buffer, start, tuple(dims), dtype, plane, row, channels, halo)
        )

    def channels(self, image: Tensor, first: int, count: int) -> Tensor:
        """A part of an image's channels, as an image on the same memory."""
        return self._add(
            replace(
                image,
                number=len(self.tensors),
                start=image.start + first * image.dtype.size,
                dims=(*image.dims[:3], count),
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

    def step(self, kind: Step, /, **fields: Any) -> None:
        """Append a step; its fields by the names of the format's table."""
        self.steps.append(PlanStep(kind, self.source, fields))

    def keep(self, tensor: Tensor) -> None:
        """The tensor's memory is needed until the last step so far, though no step names it."""
        self.until[tensor.buffer] = len(self.steps) - 1

    def finished(self) -> Steps:
        """Everything that was written."""
        until: Mapping[int, int] = frozen(self.until)
        return Steps(
            tuple(self.buffers),
            tuple(self.tensors),
            tuple(self.literals),
            tuple(self.steps),
            until,
        )

    def _add(self, tensor: Tensor) -> Tensor:
        self.tensors.append(tensor)
        return tensor
