"""The finished form as the integers that the compiled library reads, by the format's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph import Entry
from yolo_cvm.engine.format import (
    AXES,
    FINGERPRINT,
    PROGRAMS,
    STEPS,
    TENSORS,
    Field,
    Step,
    Storage,
)
from yolo_cvm.engine.planner.form import Form, Operation, Tensor, product
from yolo_cvm.engine.planner.needs import needs


@dataclass(frozen=True)
class Plan:
    """A plan for the library. words: int64; constants: int32 arrays that must outlive its use, and
    int8 arrays of weights.

    outputs: shapes of the distinct heads; heads: which of them each head of the graph is; bytes:
    the most memory that it takes;
    sources, kinds: of every step, the graph's node that it belongs to and what it is.
    """

    words: Array
    constants: tuple[Array, ...]
    outputs: tuple[tuple[int, ...], ...]
    heads: tuple[int, ...]
    arena_bytes: int
    bytes: int
    sources: tuple[int, ...]
    kinds: tuple[Step, ...]

    @property
    def names(self) -> list[str]:
        """Kinds of all steps in lower case."""
        return [kind.name.lower() for kind in self.kinds]


def encode(form: Form) -> Plan:
    """The words of a form that has passed `memory`."""
    graph, steps = form.graph, form.steps
    outputs = form.layout.outputs
    shapes = tuple(graph.shape(head) for head in outputs)
    words: list[int] = [
        FINGERPRINT,
        form.memory.arena,
        product(graph.input_shape),
        len(steps.literals),
        len(steps.tensors),
        len(steps.steps),
        len(outputs),
        *(product(shape) for shape in shapes),
        *(array.itemsize for array in steps.literals),
    ]
    for tensor in steps.tensors:
        words += _tensor(form, tensor)
    for step in steps.steps:
        own = _fields(STEPS[step.kind], step.fields)
        words += [len(own) + 1, int(step.kind), *own]
    number: Mapping[Entry, int] = {head: k for k, head in enumerate(outputs)}
    return Plan(
        np.array(words, np.int64),
        steps.literals,
        shapes,
        tuple(number[head] for head in graph.heads),
        form.memory.arena,
        needs(form),
        tuple(step.source for step in steps.steps),
        tuple(step.kind for step in steps.steps),
    )


def _tensor(form: Form, t: Tensor) -> list[int]:
    buffer = form.steps.buffers[t.buffer]
    offset = form.memory.offsets[t.buffer] if buffer.storage == Storage.ARENA else 0
    dims = t.dims + (1,) * (6 - len(t.dims))
    strides = (t.image_stride, t.row_stride, t.pixel_stride)
    return [
        int(buffer.storage),
        buffer.index,
        offset + t.start,
        int(t.dtype),
        len(t.dims),
        *dims,
        *strides,
        t.halo,
    ]


def _fields(fields: Sequence[Field], values: Mapping[str, Any]) -> list[int]:
    words: list[int] = []
    for field in fields:
        value = values[field.name]
        if field.kind in TENSORS:
            words.append(-1 if value is None else value.number)
        elif field.kind == AXES:
            words += _axes(value, field.high)
        elif field.kind in PROGRAMS:
            words.append(len(value))
            for operation in value:
                words += _operation(operation, PROGRAMS[field.kind][operation.kind])
        else:
            words.append(int(value))
    return words


def _axes(axes: Sequence[tuple[int, tuple[int, ...]]], operands: int) -> list[int]:
    words = [len(axes), *(size for size, _ in axes)]
    for operand in range(operands):
        words += [stride[operand] for _, stride in axes]
    return words


def _operation(operation: Operation, fields: Sequence[Field]) -> list[int]:
    own = _fields(fields, operation.fields)
    return [int(operation.kind), operation.dst, operation.a, operation.b, *own]
