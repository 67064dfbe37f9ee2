"""One element from few operands: the same integer as the operator gives on whole tensors."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
from engine.random_graphs import random_program

from yolo_core.arrays import Array
from yolo_core.graph import Entry, Graph, GraphBuilder, LogicError, check
from yolo_core.graph.interpret import trace
from yolo_core.graph.operators import TABLE
from yolo_cvm.dispute import Operation, element
from yolo_cvm.dispute.element import MOST_READ

#: Programs that hold every operator between them.
SEEDS = (11, 14, 119, 17, 77, *range(8))


def elements_at(operands: Sequence[Array], operand: int, positions: Array) -> Array:
    return operands[operand][positions]


def compare_elements(graph: Graph, data: Array, draw: random.Random) -> set[str]:
    """Hold some elements of every result to the reference; the operators that were met."""
    values = {}
    for number, outputs in trace(graph, data):
        values.update({Entry(number, k): array for k, array in enumerate(outputs)})
    met = set()
    for number, node in enumerate(graph.nodes):
        if node.is_variable:
            continue
        operation = Operation(node.operator, node.attributes, graph.input_shapes(node))
        operands = [values[entry].reshape(-1) for entry in node.inputs]
        read = partial(elements_at, operands)
        for output in range(len(node.shapes)):
            result = values[Entry(number, output)].reshape(-1)
            for position in {0, len(result) - 1, *draw.choices(range(len(result)), k=6)}:
                got = element(operation, output, position, read)
                assert got == result[position], (number, node.op, output, position)
        met.add(operation.operator.name)
    return met


def test_every_operator_gives_its_elements_one_by_one() -> None:
    met = set()
    for seed in SEEDS:
        graph, data = random_program(seed)
        met |= compare_elements(graph, data, random.Random(seed))
    assert met == set(TABLE)


def test_a_convolution_reads_one_window_and_one_filter() -> None:
    b = GraphBuilder()
    x = b.input("data", (2, 8, 9, 9), 8)
    w = b.parameter("w", np.ones((6, 4, 3, 3), np.int32), 8)
    y = b.operator("conv2d", [x, w], channels=6, kernel_size=(3, 3), groups=2, use_bias=False)
    graph = b.build([y])
    node = graph.nodes[-1]
    read: dict[int, set[int]] = {0: set(), 1: set()}

    def zeros(operand: int, positions: Array) -> Array:
        read[operand].update(positions.reshape(-1).tolist())
        return np.zeros(positions.shape, np.int32)

    operation = Operation(node.operator, node.attributes, graph.input_shapes(node))
    last = int(np.prod(node.shapes[0])) - 1
    element(operation, 0, last, zeros)
    assert read[1] == set(range(5 * 36, 6 * 36))
    rows = np.arange(2 * 8 * 81).reshape(2, 8, 9, 9)[1, 4:, 6:, 6:]
    assert read[0] == set(rows.reshape(-1).tolist())


def test_an_element_that_depends_on_too_much_is_refused_before_memory_is_taken() -> None:
    shapes = [(2, MOST_READ)]
    attributes = check.attributes(TABLE["sum"], 1, {}, raw=True)
    with pytest.raises(LogicError, match="depends on too much"):
        element(Operation(TABLE["sum"], attributes, shapes), 0, 0, lambda k, p: p)
