"""The honest cost of one inference, beside the gas that the chain charges.

Counted from shapes alone, before anything is allocated; independent of engine and machine.
"""

from __future__ import annotations

from dataclasses import dataclass

from yolo_core.graph.integers import bit_length, elements
from yolo_core.graph.program import Entry, Graph, Node

ELEMENT_BYTES = 4
#: Additions, comparisons and products of one overlap of two boxes.
OVERLAP_STEPS = 20


@dataclass(frozen=True)
class Cost:
    """macs: multiply-accumulates of conv2d and dense. steps: elementary steps of all operators,
    suppression counted at the worst that its limits allow. bytes_moved: operands read and results
    written at int32. peak_bytes: most bytes alive at once, parameters included, each tensor freed
    after its last reader.
    """

    macs: int
    steps: int
    bytes_moved: int
    peak_bytes: int


def macs(graph: Graph, node: Node) -> int:
    """Multiply-accumulates of one node; 0 for all but conv2d and dense."""
    if node.op not in ("conv2d", "dense"):
        return 0
    weight = graph.shape(node.inputs[1])
    return elements(node.shapes[0]) * elements(weight[1:])


def steps(graph: Graph, node: Node) -> int:
    """Elementary steps of one node: its largest tensor, or what its loops really do."""
    if node.is_variable:
        return 0
    if node.op in ("conv2d", "dense"):
        return macs(graph, node)
    if node.op == "max_pool2d":
        return elements(node.shapes[0]) * elements(node.attributes.pool_size)
    if node.op == "non_max_suppression":
        return _suppression_steps(node)
    tensors = [*graph.input_shapes(node), *node.shapes]
    return max(elements(shape) for shape in tensors)


def overlaps(graph: Graph) -> int:
    """The most overlaps of two boxes that one inference computes, which gas does not charge."""
    return sum(_overlaps(node) for node in graph.nodes if node.op == "non_max_suppression")


def _overlaps(node: Node) -> int:
    """Overlaps of one suppression at its worst.

    With N rows, of which L = min(N, top_k) are looked at and K = min(L, max_output_size) are kept,
    the p-th row meets at most min(p, K) kept ones: K * L - K * (K + 1) / 2.
    """
    a = node.attributes
    batch, rows, _ = node.shapes[0]
    look = min(rows, a.top_k) if a.top_k >= 0 else rows
    keep = min(look, a.max_output_size) if a.max_output_size >= 0 else look
    return int(batch * (keep * look - keep * (keep + 1) // 2))


def _suppression_steps(node: Node) -> int:
    """Steps of suppression at its worst: one sort, and each overlap that it may compute."""
    batch, rows, _ = node.shapes[0]
    sort = batch * rows * bit_length(rows)
    return OVERLAP_STEPS * _overlaps(node) + sort + elements(node.shapes[0])


def bytes_moved(graph: Graph, node: Node) -> int:
    """Bytes of the operands and the results of one node."""
    if node.is_variable:
        return 0
    tensors = [*graph.input_shapes(node), *node.shapes]
    return ELEMENT_BYTES * sum(elements(shape) for shape in tensors)


def peak_bytes(graph: Graph) -> int:
    """Most bytes of tensors alive while one node runs; all parameters live all the time."""
    last = graph.last_uses()
    sizes: dict[Entry, int] = {
        Entry(i, k): ELEMENT_BYTES * elements(shape)
        for i, node in enumerate(graph.nodes)
        for k, shape in enumerate(node.shapes)
    }
    alive = sum(size for entry, size in sizes.items() if graph.nodes[entry.node].is_variable)
    peak = alive
    for index, node in enumerate(graph.nodes):
        if node.is_variable:
            continue
        own = [Entry(index, k) for k in range(len(node.shapes))]
        alive += sum(sizes[entry] for entry in own)
        peak = max(peak, alive)
        for entry in {*node.inputs, *own}:
            if last[entry] == index and not graph.nodes[entry.node].is_variable:
                alive -= sizes[entry]
    return peak


def cost(graph: Graph) -> Cost:
    """The cost of the whole program."""
    return Cost(
        macs=sum(macs(graph, node) for node in graph.nodes),
        steps=sum(steps(graph, node) for node in graph.nodes),
        bytes_moved=sum(bytes_moved(graph, node) for node in graph.nodes),
        peak_bytes=peak_bytes(graph),
    )
