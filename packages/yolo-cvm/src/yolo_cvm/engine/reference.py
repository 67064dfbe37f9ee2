"""The reference engine: the operators' own meaning, node by node, in NumPy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph import Graph, interpret


class ReferenceEngine:
    """Runs a program by its definition; one thread, any platform."""

    name = "reference"

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def run(self, data: Array, into: Array | None = None) -> list[Array]:
        """See `Engine.run`."""
        heads = interpret.run(self._graph, data)
        if into is not None:
            np.copyto(into, heads[0])
            heads[0] = into
        return heads

    def trace(self, data: Array) -> Iterator[tuple[int, tuple[Array, ...]]]:
        """See `Engine.trace`."""
        for index, outputs in interpret.trace(self._graph, data):
            if not self._graph.nodes[index].is_variable:
                yield index, outputs
