"""Building a program node by node; every node is checked as it is added.

Whoever lowers a network to the machine works here: yolo-mrt, tests, generators of vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph import check
from yolo_core.graph.costs import storage
from yolo_core.graph.errors import GraphError, LogicError
from yolo_core.graph.integers import Shape, check_shape
from yolo_core.graph.operators import Attributes
from yolo_core.graph.program import INPUT_NAME, Entry, Graph, Node


@dataclass(frozen=True)
class Ref:
    """A tensor of the program being built: what later operators and the heads refer to."""

    entry: Entry
    shape: Shape
    precision: int


class GraphBuilder:
    """Collects nodes in order and ends in a checked `Graph`.

    >>> b = GraphBuilder()
    >>> x = b.input("data", (1, 3), precision=8)
    >>> w = b.parameter("w", np.array([1, 2, 3]), precision=8)
    >>> graph = b.build([b.operator("broadcast_mul", [x, w])])
    """

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._names: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        self._parameters: dict[str, Array] = {}

    @classmethod
    def after(cls, graph: Graph, nodes: int | None = None) -> GraphBuilder:
        """A builder that goes on behind the first `nodes` nodes (all where None) of a program.

        The program must be bound.
        """
        builder = cls()
        builder._nodes = list(graph.nodes[:nodes])
        builder._names = {n.name: i for i, n in enumerate(builder._nodes) if n.is_variable}
        builder._parameters = {
            name: graph.parameters.stored(name) for name in graph.parameters
            if name in builder._names
        }  # fmt: skip
        return builder

    def ref(self, entry: Entry) -> Ref:
        """What operators take for a tensor that is in the program already."""
        node = self._nodes[entry.node]
        return Ref(entry, node.shapes[entry.output], node.precisions[entry.output])

    def input(self, name: str, shape: Sequence[int], precision: int) -> Ref:
        """The one input; its name must be `data`. precision: 1..32. LogicError otherwise."""
        if name != INPUT_NAME:
            raise LogicError(f"input {name!r}", "unknown name", f"{INPUT_NAME!r}")
        return self._variable(name, tuple(int(d) for d in shape), precision)

    def parameter(self, name: str, values: Array, precision: int) -> Ref:
        """A constant integer array whose magnitudes fit the precision; LogicError otherwise."""
        values = np.asarray(values)
        if values.dtype.kind not in "iu":
            raise LogicError(f"parameter {name!r}", f"dtype {values.dtype}", "integers")
        self._check_variable(name, values.shape, precision)
        check.parameter(name, values, values.shape, precision)
        ref = self._variable(name, values.shape, precision)
        self._parameters[name] = values.astype(np.int8 if precision <= 8 else np.int32)
        return ref

    def operator(
        self, op: str, inputs: Sequence[Ref], name: str | None = None, **attributes: object
    ) -> Ref:
        """An operator of the table with Python attribute values; its first output.

        Raises LogicError or RuntimeFault naming the node where a rule of the operator is broken.
        """
        count = self._counts.get(op, 0)
        self._counts[op] = count + 1
        name = name if name is not None else f"{op}_{count}"
        try:
            parsed, shapes, precisions = check.infer(
                op, [r.shape for r in inputs], [r.precision for r in inputs], attributes
            )
        except GraphError as error:
            raise error.at(f"node {len(self._nodes)} {name!r} ({op})") from None
        entry = Entry(len(self._nodes))
        self._nodes.append(
            Node(name, op, tuple(r.entry for r in inputs), parsed, shapes, precisions)
        )
        return Ref(entry, shapes[0], precisions[0])

    def output(self, ref: Ref, number: int) -> Ref:
        """Another output of the operator that `ref` belongs to (get_valid_counts has two)."""
        node = self._nodes[ref.entry.node]
        if not 0 <= number < len(node.shapes):
            raise LogicError(
                f"node {node.name!r}", f"output {number}", f"0..{len(node.shapes) - 1}"
            )
        return Ref(Entry(ref.entry.node, number), node.shapes[number], node.precisions[number])

    def build(self, heads: Sequence[Ref], postprocess: str = "") -> Graph:
        """The checked program with its parameters and a storage plan of its own."""
        nodes, outputs = tuple(self._nodes), tuple(ref.entry for ref in heads)
        check.structure(nodes, outputs)
        graph = Graph(nodes, outputs, storage.plan(nodes, outputs), postprocess=postprocess)
        check.whole(graph)
        return graph.bind(self._parameters)

    def _variable(self, name: str, shape: Shape, precision: int) -> Ref:
        self._check_variable(name, shape, precision)
        self._names[name] = len(self._nodes)
        self._nodes.append(Node(name, None, (), Attributes({}), (shape,), (precision,)))
        return Ref(Entry(self._names[name]), shape, precision)

    def _check_variable(self, name: str, shape: Shape, precision: int) -> None:
        place = f"variable {name!r}"
        if name in self._names:
            raise LogicError(place, "declared twice")
        try:
            check_shape(shape)
            check.precision(precision)
        except GraphError as error:
            raise error.at(place) from None
