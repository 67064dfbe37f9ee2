"""Bytes in and bytes out, as the chain serialises them.

Source: spec 4.2 to 4.4. The C interface speaks little-endian and wants the exact length; the
chain's kernel speaks big-endian and cuts what is too long. Integers of one byte have no order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph import Graph, LogicError
from yolo_core.graph.integers import Shape, elements

C_INTERFACE, CHAIN = "c", "chain"

ARGMAX, DETECTION = "argmax", "detection"

_ORDER = {C_INTERFACE: "<", CHAIN: ">"}


def input_type_size(graph: Graph) -> int:
    """Bytes per input element: 1 where the input has at most 8 bits, else 4."""
    return 1 if graph.input_precision <= 8 else 4


def output_type_size(graph: Graph) -> int:
    """Bytes per output element: 1 where every head has at most 8 bits, else 4.

    The post-processing words `argmax` and `detection` force 4.
    """
    if graph.postprocess in (ARGMAX, DETECTION):
        return 4
    return 1 if max(graph.head_precisions) <= 8 else 4


def input_length(graph: Graph) -> int:
    """Bytes of one input."""
    return elements(graph.input_shape) * input_type_size(graph)


def output_length(graph: Graph) -> int:
    """Bytes of one output, also where the original knows the length and refuses to write it."""
    if _is_argmax(graph):
        return 4 * (elements(graph.head_shapes[0]) // graph.head_shapes[0][-1])
    return output_type_size(graph) * sum(elements(shape) for shape in graph.head_shapes)


def read_input(graph: Graph, data: bytes | memoryview, dialect: str = C_INTERFACE) -> Array:
    """The input integers, int8 or int32 in the graph's input shape, not yet clamped.

    dialect: "c" (little-endian, exact length) or "chain" (big-endian, what is too long is cut).
    LogicError for a wrong length.
    """
    wanted = input_length(graph)
    if len(data) < wanted or (len(data) > wanted and dialect == C_INTERFACE):
        raise LogicError("input", f"{len(data)} bytes", f"{wanted}")
    kind = _kind(input_type_size(graph), dialect)
    return np.frombuffer(data, kind, elements(graph.input_shape)).reshape(graph.input_shape)


def write_output(graph: Graph, outputs: list[Array], dialect: str = C_INTERFACE) -> bytes:
    """The bytes that the caller of the original gets for these int32 heads; see `join_heads`."""
    joined = join_heads(graph, outputs)
    return joined.astype(_kind(joined.itemsize, dialect), copy=False).tobytes()


def join_heads(graph: Graph, outputs: list[Array]) -> Array:
    """The integers of an output in the order of its bytes: int8, or int32 of this machine.

    One head: its elements, or with `argmax` the index of the first maximum of every row of the
    last axis. More heads: their rows interleaved, row i of every head in turn; heads of
    different row counts are a LogicError, and so is `detection` with one head: a chain sees no
    output of such models.
    """
    check_output(graph)
    if _is_argmax(graph):
        outputs = [np.argmax(outputs[0], axis=-1, keepdims=True)]
    # One byte per element is the low byte; honest values lose nothing.
    kind = np.int8 if output_type_size(graph) == 1 else np.int32
    result: Array = join(outputs).astype(kind, copy=False)
    return result


def join(heads: Sequence[Array]) -> Array:
    """Heads of equally many rows as one array of `joined_shape`: row i of every head in turn."""
    if len(heads) == 1:
        return heads[0]
    rows = [head.reshape(-1, head.shape[-1]) for head in heads]
    return np.concatenate(rows, axis=1).reshape(joined_shape([head.shape for head in heads]))


def joined_shape(shapes: Sequence[Shape]) -> Shape:
    """Shape of heads joined row by row; their leading axes are kept where all heads share them."""
    columns = sum(shape[-1] for shape in shapes)
    leading = {shape[:-1] for shape in shapes}
    return (*(leading.pop() if len(leading) == 1 else (elements(shapes[0][:-1]),)), columns)


def _is_argmax(graph: Graph) -> bool:
    return graph.postprocess == ARGMAX and len(graph.heads) == 1


def check_output(graph: Graph) -> None:
    """Refuse a program whose outputs the original never writes. LogicError."""
    if graph.postprocess == DETECTION and len(graph.heads) == 1:
        raise LogicError("heads", "one, to be joined by `detection`", "two or more, or raw output")
    counts = {elements(shape[:-1]) for shape in graph.head_shapes}
    if len(counts) > 1:
        raise LogicError("heads", f"{sorted(counts)} rows", "equal row counts to interleave")


def _kind(size: int, dialect: str) -> np.dtype[Any]:
    return np.dtype("i1") if size == 1 else np.dtype(f"{_ORDER[dialect]}i4")
