"""The no-overflow certificate: what every tensor of a program can hold, proven, not declared.

Starting from the declared precision of the input and the parameters themselves, every node gets
a sound interval (see `ranges`). A program where an interval leaves int32 or the declared
precision is refused; in all others no operator can overflow, whatever the input.
"""

from __future__ import annotations

from dataclasses import dataclass

from yolo_core.arrays import Array
from yolo_core.graph.errors import LogicError
from yolo_core.graph.integers import bit_length, limit
from yolo_core.graph.program import INPUT_NAME, Entry, Graph, Node
from yolo_core.graph.proof.intervals import MAX_INTERVALS, Range, Site, exact, scalar
from yolo_core.graph.proof.ranges import RULES

# Intervals that one proof keeps, 16 bytes each; a program of very many nodes gets coarser ones.
MAX_KEPT = 2**23


@dataclass(frozen=True)
class Certificate:
    """Proven ranges of all tensors, by node number and output number."""

    ranges: tuple[tuple[Range, ...], ...]

    def range(self, entry: Entry) -> Range:
        """The proven range of one tensor."""
        return self.ranges[entry.node][entry.output]

    def bits(self, entry: Entry) -> int:
        """The smallest precision that holds the proven range."""
        found = self.range(entry)
        return bit_length(max(-found.low, found.high)) + 1


def certify(graph: Graph) -> Certificate:
    """Prove the ranges of a bound program.

    Raises LogicError naming the first node whose proven range exceeds its declared precision
    (which int32 always holds), with the range.
    """
    most = min(MAX_INTERVALS, max(1, MAX_KEPT // len(graph.nodes)))
    proven: list[tuple[Range, ...]] = []
    for index, node in enumerate(graph.nodes):
        found = tuple(r.compact(most) for r in _ranges(graph, node, proven))
        for output, (one, bits) in enumerate(zip(found, node.precisions)):
            bound = limit(bits)
            if one.low < -bound or one.high > bound:
                raise LogicError(
                    f"node {index} {node.name!r} ({node.op or 'variable'})",
                    f"output {output} can reach {one.low}..{one.high}",
                    f"-{bound}..{bound} of its {bits} bits",
                )
        proven.append(found)
    return Certificate(tuple(proven))


def _ranges(graph: Graph, node: Node, proven: list[tuple[Range, ...]]) -> list[Range]:
    if node.is_variable and node.name == INPUT_NAME:
        bound = limit(node.precisions[0])
        return [scalar(-bound, bound, len(node.shapes[0]))]
    if node.is_variable:
        return [exact(graph.parameters[node.name])]
    assert node.op is not None
    return RULES[node.op](
        Site(
            operator=node.operator,
            x=[proven[e.node][e.output] for e in node.inputs],
            shapes=graph.input_shapes(node),
            y=node.shapes,
            a=node.attributes,
            values=[_value(graph, entry) for entry in node.inputs],
        )
    )


def _value(graph: Graph, entry: Entry) -> Array | None:
    return (
        graph.parameters.get(graph.nodes[entry.node].name)
        if (graph.nodes[entry.node].is_variable)
        else None
    )
