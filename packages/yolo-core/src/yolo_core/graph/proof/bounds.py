"""The no-overflow certificate: what every tensor of a program can hold, proven, not declared.

Starting from the declared precision of the input and the parameters themselves, every node gets
a sound interval (see `ranges`). A program where an interval leaves int32 or the declared
precision is refused; in all others no operator can overflow, whatever the input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from yolo_core.arrays import Array
from yolo_core.graph.errors import LogicError
from yolo_core.graph.integers import INT32_MAX, INT32_MIN, bit_length, limit
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
    most = _grain(graph)
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


def intervals(graph: Graph) -> Iterator[tuple[tuple[int, int], ...]]:
    """The lowest and highest value of every output of every node, in node order.

    For any bound program, certified or not: declared precisions are not trusted, some rules of
    the machine are unsound (spec 3.2), and arithmetic wraps. Where a result could leave int32 its
    interval is all of int32. Only the ranges that later nodes read are kept meanwhile.
    """
    most = _grain(graph)
    readers = [0] * len(graph.nodes)
    for node in graph.nodes:
        for entry in node.inputs:
            readers[entry.node] += 1
    proven: list[tuple[Range, ...]] = []
    for index, node in enumerate(graph.nodes):
        if node.is_variable and index != graph.input_index:
            values = graph.parameters.stored(node.name)
            yield ((int(values.min()), int(values.max())),)
            proven.append(())
            continue
        found = tuple(_wrapped(r.compact(most)) for r in _ranges(graph, node, proven))
        yield tuple((one.low, one.high) for one in found)
        proven.append(found if readers[index] else ())
        for entry in node.inputs:
            readers[entry.node] -= 1
            if not readers[entry.node]:
                proven[entry.node] = ()


def _grain(graph: Graph) -> int:
    """How many intervals each tensor may keep."""
    return min(MAX_INTERVALS, max(1, MAX_KEPT // len(graph.nodes)))


def _wrapped(found: Range) -> Range:
    """The range once results are reduced to int32."""
    if found.low < INT32_MIN or found.high > INT32_MAX:
        return scalar(INT32_MIN, INT32_MAX, found.lo.ndim)
    return found


def _ranges(graph: Graph, node: Node, proven: Sequence[tuple[Range, ...]]) -> list[Range]:
    if node.is_variable and node.name == INPUT_NAME:
        bound = limit(node.precisions[0])
        return [scalar(-bound, bound, len(node.shapes[0]))]
    if node.is_variable:
        return [exact(graph.parameters.stored(node.name))]
    assert node.op is not None
    return RULES[node.op](
        Site(
            operator=node.operator,
            x=_Operands(graph, node, proven),
            shapes=graph.input_shapes(node),
            y=node.shapes,
            a=node.attributes,
            values=[_value(graph, entry) for entry in node.inputs],
        )
    )


class _Operands(Sequence[Range]):
    """The ranges of a node's operands; that of a parameter is worked out when it is asked for.

    Weights are large, and the rules of sums of products look at their values instead.
    """

    def __init__(self, graph: Graph, node: Node, proven: Sequence[tuple[Range, ...]]) -> None:
        self._graph = graph
        self._inputs = node.inputs
        self._proven = proven

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[k] for k in range(*number.indices(len(self)))]
        entry = self._inputs[number]
        known = self._proven[entry.node]
        if known:
            return known[entry.output]
        return exact(self._graph.parameters.stored(self._graph.nodes[entry.node].name))

    def __len__(self) -> int:
        return len(self._inputs)


def _value(graph: Graph, entry: Entry) -> Array | None:
    name = graph.nodes[entry.node].name
    is_parameter = graph.nodes[entry.node].is_variable and name in graph.parameters
    return graph.parameters.stored(name) if is_parameter else None
