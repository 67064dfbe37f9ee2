"""Every compiled engine gives the reference's bytes: random programs, all instruction sets."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
import pytest

from yolo_core.arrays import Array
from yolo_core.graph import GraphBuilder, interpret
from yolo_core.graph.integers import limit
from yolo_cvm.engine import library, select

from .random_graphs import random_program

#: Programs per run; the nightly session asks for more.
PROGRAMS = int(os.environ.get("YOLO_CVM_PROGRAMS", "300"))
THREADS = (1, 2, 3, 8)
SETS = library.instruction_sets()

pytestmark = pytest.mark.skipif(not SETS, reason="the package was installed without a compiler")


def assert_same(want: list[Array], got: list[Array], what: object) -> None:
    assert len(want) == len(got)
    for head, (a, b) in enumerate(zip(want, got)):
        assert a.dtype == b.dtype == np.int32
        assert a.shape == b.shape
        assert np.array_equal(a, b), f"{what}: head {head} differs"


@pytest.mark.parametrize("part", range(10))
def test_random_programs(part: int) -> None:
    for seed in range(part, PROGRAMS, 10):
        graph, data = random_program(seed)
        want = interpret.run(graph, data)
        for name in SETS:
            got = select(graph, THREADS[seed // 10 % 4], name).run(data)
            assert_same(want, got, f"seed {seed}, {name}")


def test_every_operator_occurs() -> None:
    from yolo_core.graph.operators import TABLE

    seen = {n.op for seed in range(200) for n in random_program(seed)[0].nodes}
    assert seen >= set(TABLE)


def test_trace_shows_every_operator() -> None:
    for seed in range(40):
        graph, data = random_program(seed)
        want = [(i, o) for i, o in interpret.trace(graph, data) if not graph.nodes[i].is_variable]
        got = list(select(graph, 2).trace(data))
        assert [i for i, _ in want] == [i for i, _ in got]
        for (index, a), (_, b) in zip(want, got):
            assert_same(list(a), list(b), f"seed {seed}, node {index}")


CONVOLUTIONS = [
    # batch, channels, height, width, outputs, kernel, stride, padding, dilation, groups
    (1, 1, 1, 1, 1, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    (1, 3, 64, 64, 16, (6, 6), (2, 2), (2, 2), (1, 1), 1),
    (2, 5, 9, 7, 33, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    (1, 64, 20, 20, 255, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    (1, 32, 13, 40, 48, (3, 3), (2, 2), (1, 1), (1, 1), 1),
    (3, 16, 8, 1, 17, (2, 1), (1, 1), (0, 0), (1, 1), 1),
    (1, 8, 5, 5, 8, (1, 1), (3, 7), (0, 0), (1, 1), 1),
    (1, 6, 11, 11, 6, (3, 3), (1, 1), (2, 2), (2, 2), 3),
    (1, 12, 6, 6, 12, (5, 5), (1, 1), (4, 4), (2, 2), 1),
    (1, 3, 4, 300, 2, (1, 3), (1, 2), (0, 1), (1, 1), 1),
    (1, 2047, 2, 2, 3, (4, 4), (1, 1), (2, 2), (1, 1), 1),
    (1, 32767, 1, 1, 2, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    # by groups: each channel by itself, alone in a block and in several, groups across blocks, wide
    # groups, holes
    (2, 8, 7, 5, 8, (3, 3), (1, 1), (1, 1), (1, 1), 8),
    (1, 40, 9, 11, 40, (3, 3), (2, 2), (1, 1), (1, 1), 40),
    (1, 30, 6, 7, 50, (3, 2), (1, 1), (1, 0), (1, 1), 10),
    (1, 128, 5, 4, 192, (1, 1), (1, 1), (0, 0), (1, 1), 2),
    (2, 96, 5, 5, 96, (3, 3), (1, 1), (2, 2), (2, 2), 3),
    # Winograd's way: whole tiles, parts of tiles, bands of tiles, batches, wide and no border
    (1, 32, 8, 8, 32, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    (1, 64, 8, 8, 64, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    (2, 65, 13, 9, 80, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    (1, 80, 30, 47, 64, (3, 3), (1, 1), (2, 2), (1, 1), 1),
    (3, 72, 7, 10, 130, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    (1, 66, 10, 5, 65, (3, 3), (1, 1), (0, 0), (1, 1), 1),
    # what all tasks read is too large for every thread to make its own: weights, pixels
    (1, 400, 37, 38, 96, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    (1, 400, 32, 33, 96, (3, 3), (1, 1), (1, 1), (1, 1), 1),
    # the same shape, but sums of 2^25 are possible with the extreme weights
    (1, 240, 4, 4, 64, (3, 3), (1, 1), (1, 1), (1, 1), 1),
]


@pytest.mark.parametrize("extreme", [False, True], ids=["random", "extreme"])
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_convolutions(case: tuple[Any, ...], extreme: bool) -> None:
    batch, channels, height, width, outputs, kernel, stride, padding, dilation, groups = case
    random = np.random.default_rng(5)
    b = GraphBuilder()
    x = b.input("data", (batch, channels, height, width), 8)
    shape = (outputs, channels // groups, *kernel)
    weight = np.full(shape, 127) if extreme else random.integers(-127, 128, shape)
    bias = np.full(outputs, limit(24)) if extreme else random.integers(-999, 999, outputs)
    y = b.operator(
        "conv2d",
        [x, b.parameter("w", weight, 8), b.parameter("b", bias, 24)],
        channels=outputs,
        kernel_size=kernel,
        strides=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    )
    graph = b.build([y])
    data = random.integers(-127, 128, graph.input_shape)
    if extreme:
        data = random.choice([-127, 127], (batch, 1, 1, 1)) * np.ones(graph.input_shape, int)
    want = interpret.run(graph, data)
    for name in SETS:
        for threads in THREADS:
            assert_same(want, select(graph, threads, name).run(data), f"{name}, {threads} threads")


def test_a_sum_that_nobody_reads() -> None:
    """Beside one that indexes a table: both are additions to the same value."""
    b = GraphBuilder()
    x = b.input("data", (1, 4, 3, 3), 8)
    y = b.operator("conv2d", [x, b.parameter("w", np.eye(4, dtype=int).reshape(4, 4, 1, 1), 8)],
                   channels=4, kernel_size=(1, 1), use_bias=False)  # fmt: skip
    y = b.operator("cvm_clip", [y], precision=8)
    b.operator("broadcast_add", [y, b.parameter("unread", np.array([128]), 9)])
    index = b.operator("broadcast_add", [y, b.parameter("move", np.array([127]), 8)])
    table = b.parameter("table", np.arange(255) // 2, 8)
    graph = b.build([b.operator("cvm_lut", [index, table], in_dim=255)])
    data = np.random.default_rng(6).integers(-127, 128, graph.input_shape)
    want = interpret.run(graph, data)
    for name in SETS:
        assert_same(want, select(graph, 1, name).run(data), name)


def test_one_engine_from_many_threads() -> None:
    graph, data = random_program(11)
    engine = select(graph, 2)
    want = interpret.run(graph, data)
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(20):
            if not all(np.array_equal(a, b) for a, b in zip(want, engine.run(data))):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong
