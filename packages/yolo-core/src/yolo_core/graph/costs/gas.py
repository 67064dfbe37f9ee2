"""Gas: what the chain charges for one inference, to the unit and with its quirks.

Source: spec 5.1. Gas undercharges suppression and gathers; the honest figures are in `cost`.
"""

from __future__ import annotations

from yolo_core.graph.errors import LogicError
from yolo_core.graph.integers import elements
from yolo_core.graph.program import Graph, Node

MEMORY_WEIGHT = 5
MAX_BASE = 2**30
MAX_OPERATIONS = 2**40
MAX_MEMORY = 2**40


def memory_gas(node: Node) -> int:
    """5 per element of everything that the node puts out."""
    return MEMORY_WEIGHT * sum(elements(shape) for shape in node.shapes)


def operation_gas(graph: Graph, node: Node) -> int:
    """base(op) * elements of the first output; 0 for a variable. LogicError above 2^30."""
    if node.is_variable:
        return 0
    base = node.operator.gas(graph.input_shapes(node), node.shapes, node.attributes)
    if base > MAX_BASE:
        raise LogicError(f"node {node.name!r} ({node.op})", f"gas base {base}", "at most 2^30")
    return base * elements(node.shapes[0])


def gas(graph: Graph) -> int:
    """Gas of one inference. LogicError where one of its two sums exceeds 2^40."""
    operations = sum(operation_gas(graph, node) for node in graph.nodes)
    memory = sum(memory_gas(node) for node in graph.nodes)
    if operations > MAX_OPERATIONS:
        raise LogicError("gas", f"{operations} operations", "at most 2^40")
    if memory > MAX_MEMORY:
        raise LogicError("gas", f"{memory} for memory", "at most 2^40")
    return operations + memory
