"""An engine that computes rightly but for one element of one operator's result."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph import Entry, Graph
from yolo_cvm.engine.reference import ReferenceEngine
from yolo_cvm.model import Model


class Liar:
    """Adds 1 to the element at a row-major position, and goes on honestly with the result."""

    name = "liar"

    def __init__(self, graph: Graph, node: int, output: int, position: int) -> None:
        self.graph = graph
        self.place = (node, output)
        self.position = position

    def trace(self, data: Array) -> Iterator[tuple[int, tuple[Array, ...]]]:
        values: dict[Entry, Array] = {Entry(self.graph.input_index): data}
        for number, node in enumerate(self.graph.nodes):
            if node.is_variable:
                if number != self.graph.input_index:
                    values[Entry(number)] = self.graph.parameters[node.name]
                continue
            outputs = list(node.operator.meaning([values[e] for e in node.inputs], node.attributes))
            if number == self.place[0]:
                changed = np.array(outputs[self.place[1]], np.int32, order="C")
                changed.reshape(-1)[self.position] += 1
                outputs[self.place[1]] = changed
            for k, array in enumerate(outputs):
                values[Entry(number, k)] = array
            yield number, tuple(outputs)

    def run(self, data: Array, into: Array | None = None) -> list[Array]:
        raise NotImplementedError("only traced")


def honest_and_lying(graph: Graph, node: int, output: int, position: int) -> tuple[Model, Model]:
    """The same model run by the reference and by a liar."""
    digests = ("0" * 64, "1" * 64)
    liar = Model(graph, Liar(graph, node, output, position), *digests)
    return Model(graph, ReferenceEngine(graph), *digests), liar
