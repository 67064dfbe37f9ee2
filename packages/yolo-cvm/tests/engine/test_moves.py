"""What moves values, chooses between them or joins neighbours, at sizes about those of loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from yolo_core.graph import Graph, GraphBuilder, interpret
from yolo_cvm.engine import library
from yolo_cvm.engine.compiled import CompiledEngine

SETS = [pytest.param(name, id=name) for name in library.instruction_sets()]

MOVES: dict[str, tuple[tuple[int, ...], str, dict[str, Any]]] = {
    "columns of a matrix": ((37, 50), "transpose", {"axes": (1, 0)}),
    "columns that are far apart": ((150, 300), "transpose", {"axes": (1, 0)}),
    "few columns that are far apart": ((3, 261), "transpose", {"axes": (1, 0)}),
    "columns narrower than a square": ((3, 100), "transpose", {"axes": (1, 0)}),
    "channels last": ((2, 17, 5, 33), "transpose", {"axes": (0, 2, 3, 1)}),
    "channels first": ((2, 5, 33, 17), "transpose", {"axes": (0, 3, 1, 2)}),
    "all axes turned": ((3, 4, 5, 6), "transpose", {"axes": (3, 2, 1, 0)}),
    "every value twice": ((2, 3, 9, 7), "upsampling", {"scale": 2}),
    "every value five times": ((1, 2, 4, 3), "upsampling", {"scale": 5}),
    "short rows repeated": ((40, 3), "repeat", {"repeats": 3, "axis": 0}),
    "rows of sixteen": ((9, 16), "repeat", {"repeats": 2, "axis": 0}),
    "one value repeated": ((1,), "repeat", {"repeats": 700, "axis": 0}),
    "tiles": ((2, 3), "tile", {"reps": (2, 3, 4)}),
    "part of short rows": ((70, 6), "strided_slice", {"begin": (0, 1), "end": (70, 4)}),
    "every other backwards": (
        (9, 40),
        "strided_slice",
        {"begin": (8, 39), "end": (0, 3), "stride": (-1, -3)},
    ),
    "one of many": ((300, 7), "strided_slice", {"begin": (0, 3), "end": (300, 4)}),
}

#: input shape, window, strides, padding
WINDOWS: dict[str, tuple[tuple[int, ...], tuple[int, int], tuple[int, int], tuple[int, int]]] = {
    "two by two": ((2, 8, 12, 14), (2, 2), (2, 2), (0, 0)),
    "three by three, every other": ((1, 13, 15, 13), (3, 3), (2, 2), (1, 1)),
    "five by five, side by side": ((1, 20, 7, 9), (5, 5), (1, 1), (2, 2)),
    "every third": ((1, 70, 10, 11), (2, 4), (1, 3), (1, 3)),
    "wider than the picture": ((1, 3, 3, 2), (3, 4), (2, 1), (1, 2)),
}


def _same(graph: Graph, name: str) -> None:
    bound = 2 ** (graph.input_precision - 1) - 1
    draw = np.random.default_rng(5)
    values = [
        draw.integers(-bound, bound + 1, graph.input_shape),
        draw.choice([-bound, bound], graph.input_shape),
        np.full(graph.input_shape, -bound),
    ]
    for threads in (1, 3):
        engine = CompiledEngine(graph, threads, name)
        for x in values:
            x = x.astype(np.int32)
            assert np.array_equal(engine.run(x)[0], interpret.run(graph, x)[0])


@pytest.mark.parametrize("case", MOVES)
@pytest.mark.parametrize("name", SETS)
def test_moves(name: str, case: str) -> None:
    shape, op, attributes = MOVES[case]
    b = GraphBuilder()
    _same(b.build([b.operator(op, [b.input("data", shape, 20)], **attributes)]), name)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("name", SETS)
def test_joining_along_each_axis(name: str, axis: int) -> None:
    b = GraphBuilder()
    x = b.input("data", (5, 6, 3), 20)
    y = b.operator("negative", [x])
    _same(b.build([b.operator("concatenate", [x, y, x], axis=axis)]), name)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("shape", [(1, 700, 3), (90, 5), (1, 40000)])
@pytest.mark.parametrize("name", SETS)
def test_choices(name: str, shape: tuple[int, ...], whole: bool) -> None:
    """By value, and by rows, of which the original copies a quarter and a few bytes."""
    b = GraphBuilder()
    x = b.input("data", shape, 20)
    zero = b.parameter("zero", np.zeros(1, np.int64), 2)
    condition = x if whole else b.operator("max", [x], axis=tuple(range(1, len(shape))))
    condition = b.operator("broadcast_greater", [condition, zero])
    graph = b.build([b.operator("where", [condition, x, b.operator("negative", [x])])])
    _same(graph, name)


@pytest.mark.parametrize("bits", [8, 14, 20])
@pytest.mark.parametrize("made", ["input", "pixels", "joined pixels"])
@pytest.mark.parametrize("case", WINDOWS)
@pytest.mark.parametrize("name", SETS)
def test_windows(name: str, case: str, made: str, bits: int) -> None:
    """On plain values, on pixels side by side, and on pixels that lie within wider ones."""
    shape, pool, strides, padding = WINDOWS[case]
    b = GraphBuilder()
    x = b.input("data", shape, 8)
    y = b.operator("cvm_left_shift", [x], precision=bits, shift_bit=bits - 8) if bits > 8 else x
    if made != "input":
        weight = b.parameter("w", np.eye(shape[1], dtype=np.int64)[:, :, None, None] * 127, 8)
        y = b.operator("conv2d", [x, weight], channels=shape[1], kernel_size=(1, 1), use_bias=False)
        y = b.operator("cvm_right_shift", [y], precision=bits, shift_bit=1)
    window: dict[str, Any] = {"pool_size": pool, "strides": strides, "padding": padding}
    if made == "joined pixels":
        z = b.operator("max_pool2d", [y], pool_size=(1, 1))
        wide = b.operator("concatenate", [y, z], axis=1)
        z = b.operator("max_pool2d", [y], **window)
        graph = b.build([z, wide])
    else:
        graph = b.build([b.operator("max_pool2d", [y], **window)])
    _same(graph, name)
