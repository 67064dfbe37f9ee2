"""Pass 1: proven intervals of all values, and the values of those that depend on parameters alone.

Constants are worked out in node order, and forgotten once no later node needs them, so that
neither a long chain nor an expanding one costs more than the reference would take. What is too
large or too slow to be worked out while planning is computed in every run instead.
"""

from __future__ import annotations

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph import Entry, Graph, Node
from yolo_core.graph.costs.cost import steps
from yolo_core.graph.proof.bounds import intervals
from yolo_cvm.engine.planner.form import Constants, Form, Interval, frozen, product

NAME = "constants"
#: Elements of a constant, and elementary steps to work it out, while planning.
MOST_ELEMENTS = 1 << 22
MOST_STEPS = 1 << 24


def run(form: Form) -> Form:
    """See the module's first lines."""
    graph = form.graph
    known: dict[Entry, Interval] = {}
    for index, found in enumerate(intervals(graph)):
        for output, interval in enumerate(found):
            known[Entry(index, output)] = interval
    nodes, values = _fold(form, form.peak)
    return form.after(NAME, constants=Constants(frozen(known), nodes, frozen(values)))


def _fold(form: Form, budget: int) -> tuple[frozenset[int], dict[Entry, Array]]:
    """The constant nodes, and the values of those that others read; at most `budget` bytes."""
    graph = form.graph
    alone = _alone(graph)
    wanted = _wanted(graph, alone)
    last = graph.last_uses()
    constant: set[int] = set()
    values: dict[Entry, Array] = {}
    kept: set[Entry] = set(graph.heads)
    held = 0
    for index, node in enumerate(graph.nodes):
        if node.is_variable:
            if index != graph.input_index:
                constant.add(index)
            continue
        known = index in alone and all(e.node in constant for e in node.inputs)
        if known and index not in wanted:
            constant.add(index)  # and never looked at
            continue
        size = 4 * sum(map(product, node.shapes))
        if (
            known
            and size <= 4 * MOST_ELEMENTS
            and steps(graph, node) <= MOST_STEPS
            and held + size <= budget
        ):
            constant.add(index)
            held += size
            _evaluate(graph, index, node, values)
        else:
            kept.update(e for e in node.inputs if e.node in constant)
        for entry in {*node.inputs, *(Entry(index, k) for k in range(len(node.shapes)))}:
            if last[entry] == index and entry in values and entry not in kept:
                held -= values.pop(entry).nbytes
    return frozenset(constant), values


def _alone(graph: Graph) -> set[int]:
    """Nodes that depend on parameters alone."""
    alone: set[int] = set()
    for index, node in enumerate(graph.nodes):
        on_parameters = all(e.node in alone for e in node.inputs)
        if index != graph.input_index if node.is_variable else on_parameters:
            alone.add(index)
    return alone


def _wanted(graph: Graph, alone: set[int]) -> set[int]:
    """Those of them that some other node, or whoever takes the heads, needs at last."""
    wanted = {head.node for head in graph.heads if head.node in alone}
    for index in range(len(graph.nodes) - 1, -1, -1):
        if index not in alone or index in wanted:
            wanted.update(e.node for e in graph.nodes[index].inputs if e.node in alone)
    return wanted


def _evaluate(graph: Graph, index: int, node: Node, values: dict[Entry, Array]) -> None:
    def value(entry: Entry) -> Array:
        if entry in values:
            return values[entry]
        return graph.parameters[graph.nodes[entry.node].name]

    outputs = node.operator.meaning([value(e) for e in node.inputs], node.attributes)
    for number, found in enumerate(outputs):
        # A copy, so that a small part does not keep a large whole.
        held = np.array(found, np.int32, order="C")
        held.flags.writeable = False
        values[Entry(index, number)] = held
