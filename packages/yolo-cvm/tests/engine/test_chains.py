"""Chains: operators on plain values that run as one step, against the reference."""

from __future__ import annotations

from typing import Any, Callable

import numpy as np
import pytest

from yolo_core.arrays import Array
from yolo_core.graph import Graph, GraphBuilder, Ref, interpret
from yolo_cvm.engine import library, planner
from yolo_cvm.engine.compiled import CompiledEngine, NativePlan
from yolo_cvm.engine.format import MOST_INNER, Step

SETS = [pytest.param(name, id=name) for name in library.instruction_sets()]


class Builder:
    """A graph of one input, and operators by name."""

    def __init__(self, shape: tuple[int, ...], precision: int) -> None:
        self.b = GraphBuilder()
        self.x = self.b.input("data", shape, precision)
        self.random = np.random.default_rng(len(shape))
        self._parameters = 0

    def parameter(self, values: Any, precision: int) -> Ref:
        self._parameters += 1
        return self.b.parameter(f"p{self._parameters}", np.asarray(values), precision)

    def __call__(self, op: str, *operands: Ref, **attributes: Any) -> Ref:
        return self.b.operator(op, list(operands), **attributes)

    def narrow(self, x: Ref, bits: int = 8) -> Ref:
        return self("cvm_right_shift", x, precision=bits, shift_bit=max(1, x.precision - bits))


def softmax(shape: tuple[int, ...]) -> Graph:
    """Softmax by a table of exponentials, over the last axis, as a quantizer writes it."""
    g = Builder(shape, 8)
    axis = (len(shape) - 1,)
    x = g("cvm_left_shift", g.x, precision=12, shift_bit=2)
    most = g("broadcast_sub", g("max", x, axis=axis, keepdims=True), g.parameter([200], 9))
    index = g("cvm_clip", g("relu", g("broadcast_sub", x, most)), precision=9)
    table = g.parameter(g.random.integers(1, 127, (256, 1)), 8)
    power = g("cvm_lut", index, table, in_dim=256)
    total = g("sum", power, axis=axis, keepdims=True)
    wide = g("broadcast_mul", power, g.parameter([127], 8))
    half = g("cvm_right_shift", total, precision=20, shift_bit=1)
    found = g("broadcast_div", g("broadcast_add", wide, half), total)
    return g.b.build([g("cvm_clip", found, precision=8)])


def squeeze_and_excite() -> Graph:
    """A number for every channel, made from all of its pixels, times the pixels."""
    g = Builder((2, 5, 7, 9), 8)
    mean = g.narrow(g("sum", g.x, axis=(2, 3), keepdims=True))
    gate = g("cvm_lut", g("relu", mean), g.parameter(g.random.integers(-127, 128, 128), 8),
             in_dim=128)  # fmt: skip
    return g.b.build([g.narrow(g("broadcast_mul", g.x, gate))])


def products() -> Graph:
    """A product of matrices as a quantizer writes it: all products, then their sums."""
    g = Builder((2, 16, 5), 8)
    left = g("expand_dims", g.x, axis=2)
    right = g("expand_dims", g("negative", g.x), axis=1)
    wide = g.narrow(g("cvm_clip", g("broadcast_mul", left, right), precision=14), 10)
    return g.b.build([g("sum", wide, axis=(3,))])


def columns() -> Graph:
    """Columns with and without their joined axes, from inside and outside, and heads inside."""
    g = Builder((3, 4, 6), 16)
    outside = g("strided_slice", g.x, begin=(0, 0, 2), end=(3, 4, 3))
    most = g("max", g.x, axis=(2,), keepdims=True)
    both = g("broadcast_add", most, outside)
    row = g("strided_slice", g.x, begin=(1, 0, 0), end=(2, 4, 1))
    some = g("broadcast_max", g("abs", both), row)
    whole = g("broadcast_sub", g.x, some)
    scaled = g("broadcast_sub", g.parameter([5], 4), g("cvm_precision", whole))
    dropped = g("negative", g("sum", scaled, axis=(2,)))
    return g.b.build([scaled, dropped, g("broadcast_greater", whole, outside), most])


def all_of_it() -> Graph:
    """A maximum from zero on and one of negative values, over everything."""
    g = Builder((300,), 12)
    below = g("broadcast_sub", g("negative", g("abs", g.x)), g.parameter([7], 8))
    return g.b.build([g("max", below), g("max", below, axis=(0,)), g("sum", below, axis=(0,))])


def wanted_in_between() -> Graph:
    """A value that a transpose reads before the operators behind it are done."""
    g = Builder((5, 6), 12)
    a = g("abs", g.x)
    turned = g("transpose", a, axes=(1, 0))
    b = g("negative", a)
    c = g("broadcast_add", b, g("reshape", turned, shape=(5, 6)))
    return g.b.build([g("relu", c), b])


def many_operands() -> Graph:
    """More values from outside than a chain has registers."""
    g = Builder((30, 8), 8)
    parts = [g("take", g.x, g.parameter(np.roll(np.arange(30), k), 8), axis=0) for k in range(24)]
    total = parts[0]
    for part in parts[1:]:
        total = g("elemwise_add", total, part)
    return g.b.build([total])


GRAPHS: dict[str, tuple[Callable[[], Graph], int]] = {
    "softmax of short rows": (lambda: softmax((1, 700, 4)), 1),
    "softmax of rows": (lambda: softmax((2, 3, 77)), 1),
    "softmax of one long row": (lambda: softmax((1, 5000)), 1),
    "softmax of rows that are too long": (lambda: softmax((2, MOST_INNER + 1)), 2),
    "squeeze and excite": (squeeze_and_excite, 1),
    "products": (products, 1),
    "columns": (columns, 1),
    "all of it": (all_of_it, 1),
    "wanted in between": (wanted_in_between, 1),
    "many operands": (many_operands, 0),
}


def inputs(graph: Graph) -> list[Array]:
    """Random values and the extremes of the precision."""
    bound = 2 ** (graph.input_precision - 1) - 1
    draw = np.random.default_rng(11)
    found = [draw.integers(-bound, bound + 1, graph.input_shape)]
    found += [draw.choice([-bound, bound], graph.input_shape)]
    found += [np.full(graph.input_shape, v) for v in (-bound, 0, bound)]
    return [x.astype(np.int32) for x in found]


@pytest.mark.parametrize("case", GRAPHS)
@pytest.mark.parametrize("name", SETS)
def test_a_chain_equals_the_reference(name: str, case: str) -> None:
    graph = GRAPHS[case][0]()
    for threads in (1, 3):
        engine = CompiledEngine(graph, threads, name)
        for x in inputs(graph):
            for want, found in zip(interpret.run(graph, x), engine.run(x)):
                assert np.array_equal(want, found)


@pytest.mark.parametrize("case", GRAPHS)
def test_how_many_chains_there_are(case: str) -> None:
    graph, chains = GRAPHS[case][0](), GRAPHS[case][1]
    assert planner.plan(graph).kinds.count(Step.CHAIN) == chains


def test_a_softmax_is_one_step() -> None:
    assert planner.plan(softmax((1, 336, 4))).kinds == (Step.CHAIN,)


@pytest.mark.skipif(not SETS, reason="the package was installed without a compiler")
def test_a_chain_that_contradicts_itself_is_refused() -> None:
    """Every word of a chain changed by a little: the plan is refused, or runs within its memory."""
    for graph in (softmax((2, 9, 5)), columns(), products()):
        plan = next(planner.plans(graph))
        x = inputs(graph)[0]
        refused = 0
        # behind the sizes of what the caller brings along
        first = 7 + len(plan.outputs) + len(plan.constants)
        for place in range(first, plan.words.size):
            words = plan.words.copy()
            for change in (-1, 1, 1 << 20):
                words[place] = plan.words[place] + change
                changed = planner.Plan(**{**vars(plan), "words": words})
                try:
                    native = NativePlan(changed, "")
                except (RuntimeError, MemoryError):
                    refused += 1
                    continue
                execution = native.execution(1)
                if execution.begin(x, 2**31 - 1) is not None:
                    execution.advance()
        assert refused > plan.words.size


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", SETS)
def test_dense_layers_of_bytes(name: str, bias: bool) -> None:
    """Rows and units about the sizes of the blocks that are added up together."""
    for rows, inner, units in ((1, 1, 1), (4, 3, 32), (5, 70, 33), (9, 256, 64), (3, 17, 100)):
        g = Builder((rows, inner), 8)
        weight = g.random.choice([-127, 127, 1, 0], (units, inner))
        operands = [g.x, g.parameter(weight, 8)]
        if bias:
            operands.append(g.parameter(g.random.integers(-(2**20), 2**20, units), 22))
        graph = g.b.build([g("dense", *operands, units=units, use_bias=bias)])
        assert planner.plan(graph).kinds == (Step.DENSE_BYTES,)
        for threads in (1, 2):
            engine = CompiledEngine(graph, threads, name)
            for x in inputs(graph):
                assert np.array_equal(engine.run(x)[0], interpret.run(graph, x)[0])
