"""Feature coverage: ordinary tests hit every step, tile operation and means of the planner.

A cover is chosen of the random programs and of the programs below, and every program of it runs on
every instruction set, on one thread and on three. Below 100 % this fails and names what is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from yolo_core.graph import Graph, GraphBuilder, LogicError, Ref, interpret
from yolo_cvm.engine import library, select

from .detectors import Detector, indices, suppression
from .features import ALL, features
from .random_graphs import random_program

SETS = library.instruction_sets()
pytestmark = pytest.mark.skipif(not SETS, reason="the package was installed without a compiler")
#: Random programs that the cover may take.
PROGRAMS = 300


class Builder:
    """Graphs of convolutions with random weights of a few bits."""

    def __init__(self, *shape: int) -> None:
        self.random = np.random.default_rng(9)
        self.b = GraphBuilder()
        self.x = self.b.input("data", shape, 8)

    def parameter(self, values: Any, bits: int) -> Ref:
        name = f"p{self.random.integers(1 << 62)}"
        return self.b.parameter(name, np.asarray(values), bits)

    def conv(
        self, x: Ref, outputs: int, kernel: int = 1, padding: int = 0, fold: bool = False
    ) -> Ref:
        """A convolution and a shift to 8 bits. fold: of weights that are worked out first."""
        y = self.sums(x, outputs, kernel, padding, fold)
        return self.b.operator("cvm_right_shift", [y], precision=8, shift_bit=5)

    def sums(
        self, x: Ref, outputs: int, kernel: int = 1, padding: int = 0, fold: bool = False
    ) -> Ref:
        weight = self.random.integers(-3, 4, (outputs, x.shape[1], kernel, kernel))
        w = self.parameter(weight, 3)
        w = self.b.operator("negative", [w]) if fold else w
        return self.b.operator(
            "conv2d",
            [x, w],
            channels=outputs,
            kernel_size=(kernel, kernel),
            padding=(padding, padding),
            use_bias=False,
        )


def winograd() -> Graph:
    g = Builder(1, 64, 9, 6)
    return g.b.build([g.conv(g.x, 64, 3, 1)])


def large_constant() -> Graph:
    g = Builder(1)
    wide = g.b.operator("repeat", [g.parameter([3], 8)], repeats=(1 << 22) + 1)
    first = g.b.operator("strided_slice", [wide], begin=(0,), end=(1,))
    return g.b.build([g.b.operator("broadcast_add", [g.x, first])])


def concatenations() -> Graph:
    g = Builder(1, 3, 5, 4)
    a, b = g.conv(g.x, 4, fold=True), g.conv(g.x, 5)
    inner = g.b.operator("concatenate", [a, b], axis=1)
    outer = g.b.operator("concatenate", [inner, g.conv(g.x, 2), b], axis=1)
    return g.b.build([g.conv(outer, 6, 3, 1)])


def cut_region() -> Graph:
    g = Builder(1, 3, 4, 5)
    x = g.conv(g.x, 3)
    parts = [g.b.operator("broadcast_mul", [x, g.parameter([k + 2], 5)]) for k in range(8)]
    pairs = zip(parts[::2], parts[1::2])
    return g.b.build([g.b.operator("broadcast_max", [left, right]) for left, right in pairs])


def late_copy() -> Graph:
    """A value is changed in its register before the copy of it is."""
    g = Builder(1, 3, 4, 5)
    x = g.conv(g.x, 3)
    clipped = g.b.operator("cvm_clip", [x], precision=4)
    tripled = g.b.operator("broadcast_mul", [x, g.parameter([3], 5)])
    return g.b.build([g.b.operator("elemwise_sub", [tripled, clipped])])


def several_tables() -> Graph:
    g = Builder(1, 3, 4, 5)
    x = g.conv(g.x, 3)
    y = []
    for first in (127, 500):
        index = g.b.operator("broadcast_add", [x, g.parameter([first], 11)])
        table = g.parameter(g.random.integers(-100, 101, 1000), 8)
        y.append(g.b.operator("cvm_lut", [index, table], in_dim=1000))
    return g.b.build([g.conv(part, 4) for part in y])


def long_table() -> Graph:
    """Indices of the sums that need more than 15 bits."""
    g = Builder(1, 3, 4, 5)
    y = g.b.operator("broadcast_mul", [g.sums(g.x, 20), g.parameter([500], 10)])
    y = g.b.operator("cvm_right_shift", [y], precision=17, shift_bit=3)
    index = g.b.operator("broadcast_add", [y, g.parameter([65535], 17)])
    table = g.parameter(g.random.integers(-100, 101, 131071), 8)
    y = g.b.operator("cvm_lut", [index, table], in_dim=131071)
    return g.b.build([g.conv(y, 4)])


def dense_of_worked_out_weights() -> Graph:
    g = Builder(3, 5)
    weight = g.b.operator("negative", [g.parameter(g.random.integers(-100, 101, (4, 5)), 8)])
    return g.b.build([g.b.operator("dense", [g.x, weight], units=4, use_bias=False)])


def detector() -> Graph:
    d = Detector()
    rows = d.rows()
    return d.b.build([d.b.operator("take", [rows, indices(d, rows, 30)], axis=1)])


def selection() -> Graph:
    return suppression((1, 40), 0, True, 5, max_output_size=9, iou_threshold=45, top_k=20)


CASES: dict[str, Callable[[], Graph]] = {
    "winograd": winograd,
    "large constant": large_constant,
    "concatenations": concatenations,
    "cut region": cut_region,
    "late copy": late_copy,
    "several tables": several_tables,
    "long table": long_table,
    "dense layer of weights that are worked out": dense_of_worked_out_weights,
    "detector": detector,
    "selection": selection,
}


def cover() -> tuple[list[Graph], set[str]]:
    """The cases and those random programs that each add something, and what they make use of."""
    chosen = [case() for case in CASES.values()]
    found: set[str] = set().union(*map(features, chosen))
    for seed in range(PROGRAMS):
        if found >= ALL:
            break
        graph, _ = random_program(seed)
        more = features(graph)
        if not more <= found:
            chosen.append(graph)
            found |= more
    return chosen, found


def test_every_feature_is_hit_on_every_instruction_set() -> None:
    graphs, found = cover()
    assert found == ALL, f"not hit: {sorted(ALL - found)}; unknown: {sorted(found - ALL)}"
    random = np.random.default_rng(4)
    for graph in graphs:
        bound = 2 ** (graph.input_precision - 1) - 1
        data = random.integers(-bound, bound + 1, graph.input_shape, dtype=np.int32)
        want = interpret.run(graph, data)
        for name in SETS:
            for threads in (1, 3):
                engine = select(graph, threads, name)
                assert engine.name == f"compiled-{name}"
                for a, b in zip(want, engine.run(data)):
                    assert np.array_equal(a, b), name


def test_one_value_beyond_the_precision_is_seen_wherever_it_stands() -> None:
    """The engine looks at its input with vectors, in parts for the threads, with a rest behind."""
    builder = GraphBuilder()
    x = builder.input("data", (40003,), 8)
    graph = builder.build([builder.operator("negative", [x])])
    for name in SETS:
        for threads in (1, 3):
            engine = select(graph, threads, name)
            for place in (0, 1, 20001, 40001, 40002):
                for value in (128, -128):
                    data = np.zeros(40003, np.int32)
                    data[place] = value
                    with pytest.raises(LogicError):
                        engine.run(data)


def test_one_value_beyond_the_precision_of_a_picture_ends_the_run() -> None:
    """A picture is looked at while its bytes are brought into order, and the engine goes on."""
    for channels in (1, 3):
        b = Builder(2, channels, 5, 41)
        graph = b.b.build([b.conv(b.x, 3)])
        right = np.random.default_rng(channels).integers(-127, 128, graph.input_shape, np.int32)
        (want,) = interpret.run(graph, right)
        for name in SETS:
            for threads in (1, 3):
                engine = select(graph, threads, name)
                for place in (0, 17, 40, right.size // 2, right.size - 1):
                    for value in (128, -128, 2**31 - 1, -(2**31)):
                        data = right.copy()
                        data.reshape(-1)[place] = value
                        with pytest.raises(LogicError):
                            engine.run(data)
                assert np.array_equal(engine.run(right)[0], want), name
