"""One operator of a run as those see it who dispute about it: its operands and its results."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.graph import Entry, Graph
from yolo_cvm.dispute.element import Operation
from yolo_cvm.model import Model


@dataclass(frozen=True)
class NodeRun:
    """An operator of a model, with the int32 arrays that it read and wrote in one run."""

    graph: Graph
    node: int
    operands: tuple[Array, ...]
    results: tuple[Array, ...]

    @property
    def operation(self) -> Operation:
        """The operator with its attributes and shapes."""
        node = self.graph.nodes[self.node]
        return Operation(node.operator, node.attributes, self.graph.input_shapes(node))


def observe_node(model: Model, x: Array, node: int) -> NodeRun:
    """The operator number `node` in an inference. x as for `Model.run`. InputError for another."""
    graph = model.graph
    operators = [k for k, one in enumerate(graph.nodes) if not one.is_variable]
    if node not in operators:
        raise InputError(
            "--node", f"{node} is not an operator of the model", "as `inspect --nodes` lists them"
        )
    wanted = set(graph.nodes[node].inputs)
    data = model.prepare(x)
    held = {Entry(graph.input_index): data}
    for entry in wanted:
        source = graph.nodes[entry.node]
        if source.is_variable and entry.node != graph.input_index:
            held[entry] = graph.parameters[source.name]
    results: tuple[Array, ...] = ()
    for number, outputs in model.trace(data):
        if number == node:
            results = tuple(np.array(array, np.int32) for array in outputs)
            break
        for k, array in enumerate(outputs):
            if Entry(number, k) in wanted:
                held[Entry(number, k)] = np.array(array, np.int32)
    return NodeRun(graph, node, tuple(held[e] for e in graph.nodes[node].inputs), results)
