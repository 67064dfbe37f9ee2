"""Running a program with the operators' own meaning: the definition of what it computes.

Other engines must give the same integers for every node; this one is read, not raced.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph.errors import LogicError
from yolo_core.graph.integers import limit
from yolo_core.graph.program import Entry, Graph


def check_input(graph: Graph, data: Array) -> Array:
    """The input as a contiguous int32 array.

    data: integers of the graph's input shape within its declared precision, any integer dtype.
    Raises LogicError otherwise; whoever wants the chain's clamping clamps before.
    """
    data = np.asarray(data)
    if data.dtype.kind not in "iu":
        raise LogicError("input", f"dtype {data.dtype}", "integers")
    if data.shape != graph.input_shape:
        raise LogicError("input", f"shape {data.shape}", f"{graph.input_shape}")
    bound = limit(graph.input_precision)
    if int(data.min()) < -bound or int(data.max()) > bound:
        raise LogicError("input", f"values {data.min()}..{data.max()}", f"-{bound}..{bound}")
    return np.ascontiguousarray(data, dtype=np.int32)


def trace(graph: Graph, data: Array) -> Iterator[tuple[int, tuple[Array, ...]]]:
    """Run the program and yield (node number, int32 outputs) of every node in order.

    Variables are yielded too. A tensor is forgotten after its last reader; arrays yielded must
    not be changed.
    """
    data = check_input(graph, data)
    input_index = graph.input_index
    dying = graph.dying
    living: dict[Entry, Array] = {}
    for index, node in enumerate(graph.nodes):
        outputs: tuple[Array, ...]
        if index == input_index:
            outputs = (data,)
        elif node.is_variable:
            outputs = (graph.parameters[node.name],)
        else:
            outputs = node.operator.meaning([living[e] for e in node.inputs], node.attributes)
        for number, array in enumerate(outputs):
            living[Entry(index, number)] = array
        yield index, outputs
        for entry in dying[index]:
            del living[entry]


def run(graph: Graph, data: Array) -> list[Array]:
    """The heads of one inference as contiguous int32 arrays. Raises as `check_input`."""
    wanted = {head.node for head in graph.heads}
    found = {index: outputs for index, outputs in trace(graph, data) if index in wanted}
    return [np.ascontiguousarray(found[head.node][head.output]) for head in graph.heads]
