"""Convolutions of any kind, one operator by itself as a receipt runs it, against the reference."""

from __future__ import annotations

import numpy as np
import pytest

from yolo_core.graph import GraphBuilder, interpret
from yolo_cvm.engine import library, planner
from yolo_cvm.engine.compiled import CompiledEngine, NativePlan

SETS = [pytest.param(name, id=name) for name in library.instruction_sets()]
#: input shape, channels, kernel, strides, padding, dilation, groups
CASES = {
    "one pixel, taps of several parts": ((1, 1100, 1, 1), 40, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    "one pixel of several images": ((3, 8, 1, 1), 5, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    "one pixel, taps in the border": ((1, 2, 2, 2), 3, (5, 5), (3, 3), (2, 2), (1, 1), 1),
    "tiles across rows": ((2, 3, 7, 5), 4, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    "columns of one": ((1, 2, 40, 1), 3, (3, 1), (1, 1), (1, 0), (1, 1), 1),
    "strides and dilation": ((1, 4, 19, 33), 6, (3, 2), (2, 3), (4, 1), (2, 3), 1),
    "borders wider than the picture": ((1, 1, 2, 3), 2, (3, 9), (1, 1), (2, 8), (1, 1), 1),
    "by groups": ((2, 6, 5, 9), 9, (3, 3), (1, 1), (1, 1), (1, 1), 3),
    "each channel by itself": ((1, 20, 6, 18), 20, (3, 3), (2, 1), (1, 1), (1, 1), 20),
    "many taps of one channel": ((1, 1, 40, 40), 2, (27, 27), (1, 1), (3, 3), (1, 1), 1),
}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", SETS)
def test_a_plain_convolution_equals_the_reference(name: str, case: str, bias: bool) -> None:
    shape, channels, kernel, strides, padding, dilation, groups = CASES[case]
    draw = np.random.default_rng(len(case))
    b = GraphBuilder()
    operands = [b.input("data", shape, 8)]
    size = (channels, shape[1] // groups, *kernel)
    # Extremes as well: they wrap where a sum is kept in too few bits.
    operands.append(b.parameter("w", draw.choice([-127, 127, 3, 0], size), 8))
    if bias:
        operands.append(b.parameter("b", draw.integers(-(2**20), 2**20, channels), 22))
    y = b.operator("conv2d", operands, channels=channels, kernel_size=kernel, strides=strides,
                   padding=padding, dilation=dilation, groups=groups, use_bias=bias)  # fmt: skip
    graph = b.build([y])
    data = draw.choice([-127, 127, 1], shape).astype(np.int32)
    for threads in (1, 2):
        ((_, (found,)),) = CompiledEngine(graph, threads, name).trace(data)
        assert np.array_equal(found, interpret.run(graph, data)[0])


@pytest.mark.skipif(not SETS, reason="the package was installed without a compiler")
@pytest.mark.parametrize("kind", ["conv_image", "conv"])
def test_a_large_convolution_is_left_in_between(kind: str) -> None:
    """So that Ctrl-C and the deadline are seen; billions of products take seconds somewhere."""
    b = GraphBuilder()
    size = 256 if kind == "conv_image" else 64
    x = b.input("data", (1, 64, size, size), 8)
    w = b.parameter("w", np.ones((64, 64, 5, 5), np.int64), 8)
    y = b.operator("conv2d", [x, w], channels=64, kernel_size=(5, 5), use_bias=False)
    graph = b.build([b.operator("max", [y])])
    plan = planner.plan(graph) if kind == "conv_image" else planner.trace_plan(graph, 0)[0]
    native = NativePlan(plan, "")
    execution = native.execution(1)
    (found,) = execution.begin(np.ones(graph.input_shape, np.int32), 127) or []
    at: list[int] = []
    while not at or at[-1] < len(plan.kinds):
        at.append(native.library.cvm_advance(execution._handle, len(plan.kinds), 0.0))
    number = plan.names.index(kind)
    assert at.count(number) >= 2  # after each part but the last
    assert found == 64 * 25
