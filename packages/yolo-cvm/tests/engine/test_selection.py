"""Detection in the compiled engine: suppression, selection, rows that are worked out when taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from yolo_core.arrays import Array
from yolo_core.graph import Graph, GraphBuilder, interpret
from yolo_cvm.engine import library, planner, select
from yolo_cvm.engine.compiled import NativePlan
from yolo_cvm.engine.format import Step
from yolo_cvm.engine.planner.encoding import encode
from yolo_cvm.engine.planner.form import Form

from .detectors import Detector, indices, suppression

SETS = library.instruction_sets()
pytestmark = pytest.mark.skipif(not SETS, reason="the package was installed without a compiler")

BIG = 2**31 - 1


def assert_same(graph: Graph, data: Array, what: object = "") -> None:
    """Every instruction set, on one thread and on three, gives the reference's bytes."""
    want = interpret.run(graph, data)
    for name in SETS:
        for threads in (1, 3):
            for a, b in zip(want, select(graph, threads, name).run(data)):
                assert np.array_equal(a, b), f"{what} {name} {threads}"


def kinds(form: Form) -> list[Step]:
    return [step.kind for step in form.steps.steps]


# --- suppression -------------------------------------------------------------------------------


def boxes(random: np.random.Generator, kind: str, shape: tuple[int, ...]) -> Array:
    """Rows of class, score, corners."""
    corner = random.integers(0, 400, (*shape, 2))
    size = random.integers(-3, 60, (*shape, 2))
    ids = random.integers(-1, 3, (*shape, 1))
    score = random.integers(-50, 300, (*shape, 1))
    rows = np.concatenate([ids, score, corner, corner + size], axis=-1)
    if kind == "empty":
        rows[..., 2:] = 0
    elif kind == "equal":
        rows[:] = rows[..., :1, :]
    elif kind == "one class":
        rows[..., 0] = 1
    elif kind == "extreme":
        rows[..., 2:] = random.choice(np.array([-BIG, -BIG + 1, -1, 0, 1, BIG - 1, BIG]),
                                      (*shape, 4))  # fmt: skip
        rows[..., 1] = random.choice(np.array([-BIG, -1, 0, 1, BIG]), shape)
    elif kind == "apart":
        rows[..., 0] = 1
        rows[..., 2:] = np.arange(shape[-1])[:, None] * 4 + np.array([0, 0, 2, 2])
    return np.asarray(rows, np.int32)


KINDS = ("random", "empty", "equal", "one class", "extreme", "apart")
SETTINGS: Sequence[tuple[int, int, int, bool, int | None]] = [
    # rows kept, per cent, rows looked at, by force, rows taken
    (-1, 50, -1, False, None),
    (20, 45, 100, False, 20),
    (20, 45, 100, True, 7),
    (1000, 100, 1000, True, 1000),
    (0, 1, 0, False, 1),
    (-5, 99, 2000, True, None),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_selection(kind: str, setting: tuple[int, int, int, bool, int | None]) -> None:
    most, iou, top, force, k = setting
    random = np.random.default_rng(len(kind))
    for batch, count, joined in ((1, 2500, True), (1, 1001, False), (3, 1025, False)):
        graph = suppression(
            (batch, count),
            -20,
            joined,
            k,
            max_output_size=most,
            iou_threshold=iou,
            top_k=top,
            force_suppress=force,
        )
        assert (Step.SELECT in kinds(planner.apply(graph))) == (batch == 1)
        assert_same(graph, boxes(random, kind, (batch, count)), count)


def test_a_value_that_others_read_is_not_left_out() -> None:
    b = GraphBuilder()
    x = b.input("data", (1, 30, 6), 20)
    counts = b.operator("get_valid_counts", [x], score_threshold=0)
    y = b.operator("non_max_suppression", [b.output(counts, 1), counts], max_output_size=5)
    first = b.operator("strided_slice", [y], begin=(0, 0, 0), end=(1, 4, 6))
    last = b.operator("strided_slice", [y], begin=(0, 4, 0), end=(1, 30, 6))
    data = boxes(np.random.default_rng(2), "random", (1, 30))
    both = b.build([first, last])
    assert kinds(planner.apply(both)).count(Step.SELECT) == 1
    assert_same(both, data)
    seen = b.build([first, counts])
    assert Step.SELECT not in kinds(planner.apply(seen))
    assert_same(seen, data)


@pytest.mark.parametrize(
    ("begin", "end", "stride", "absorbed"),
    [
        ((0, 0, 0), (1, 4, 6), (1, 1, 1), True),
        ((0, 0, 0), (1, 4, 5), (1, 1, 1), False),
        ((0, 0, 1), (1, 4, 6), (1, 1, 1), False),
        ((0, 1, 0), (1, 5, 6), (1, 1, 1), False),
        ((0, 0, 0), (1, 8, 6), (1, 2, 1), False),
    ],
    ids=str,
)
def test_only_whole_first_rows_are_part_of_a_selection(
    begin: tuple[int, ...], end: tuple[int, ...], stride: tuple[int, ...], absorbed: bool
) -> None:
    b = GraphBuilder()
    x = b.input("data", (1, 30, 6), 20)
    counts = b.operator("get_valid_counts", [x], score_threshold=0)
    y = b.operator("non_max_suppression", [b.output(counts, 1), counts], max_output_size=5)
    y = b.operator("strided_slice", [y], begin=begin, end=end, stride=stride)
    graph = b.build([y])
    (select,) = planner.apply(graph).selections.selects.values()
    assert select.rows == (4 if absorbed else 30)
    assert_same(graph, boxes(np.random.default_rng(4), "random", (1, 30)))


@pytest.mark.parametrize(
    ("kind", "field", "other"),
    [
        (Step.SUPPRESS, "counts", "x"),
        (Step.SUPPRESS, "x", "counts"),
        (Step.SUPPRESS, "order", "counts"),
        (Step.VALID_COUNTS, "counts", "rows"),
        (Step.VALID_COUNTS, "rows", "counts"),
    ],
    ids=str,
)
def test_the_library_refuses_operands_of_other_sizes(kind: Step, field: str, other: str) -> None:
    """The library trusts no plan: a tensor that is too small or too large is told."""
    form = planner.apply(suppression((3, 40), -20, False, top_k=30))
    steps = tuple(
        replace(step, fields={**step.fields, field: step.fields[other]})
        if step.kind == kind else step
        for step in form.steps.steps
    )  # fmt: skip
    assert steps != form.steps.steps
    NativePlan(encode(form), SETS[0])
    with pytest.raises(RuntimeError, match="sizes differ"):
        NativePlan(encode(replace(form, steps=replace(form.steps, steps=steps))), SETS[0])


def test_a_long_suppression_is_done_in_parts() -> None:
    """The library returns within the operator, so that Ctrl-C and deadlines are seen."""
    data = boxes(np.random.default_rng(3), "apart", (1, 2000))
    for joined in (False, True):
        for force in (False, True):
            graph = suppression((1, 2000), -100, joined, force_suppress=force)
            (want,) = interpret.run(graph, data)
            native = NativePlan(planner.plan(graph), SETS[0])
            execution = native.execution(1)
            found = execution.begin(data, BIG)
            assert found is not None
            stop = len(native.plan.sources)
            calls = 1
            while native.library.cvm_advance(execution._handle, stop, 0.0) < stop:
                calls += 1
            assert calls > stop + 3
            assert np.array_equal(found[0], want)


# --- rows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [(4, 5), (0, 1), (5, 7)], ids=str)
def test_rows_are_worked_out_when_taken(columns: tuple[int, int]) -> None:
    d = Detector()
    rows = d.rows()
    taken = d.b.operator("take", [rows, indices(d, rows, 30)], axis=1)
    graph = d.b.build([taken, d.column(rows, *columns)])
    form = planner.apply(graph)
    assert kinds(form).count(Step.CONV_ROWS) == 4
    written = [t.count for t in form.steps.tensors if t.pixel_stride == 0 and t.number]
    assert rows.shape[1] * d.WIDTH not in written
    for data in inputs(graph):
        assert_same(graph, data)


def inputs(graph: Graph) -> list[Array]:
    random = np.random.default_rng(7)
    shape = graph.input_shape
    return [
        random.integers(-127, 128, shape).astype(np.int32),
        np.full(shape, 127, np.int32),
        random.choice(np.array([-127, 127], np.int32), shape),
    ]


@pytest.mark.parametrize("why", ["many", "all", "head", "kernel"])
def test_rows_are_written_where_that_is_cheaper_or_they_are_seen(why: str) -> None:
    d = Detector()
    rows = d.rows(3 if why == "kernel" else 1)
    index = indices(d, rows, 200 if why == "many" else 20)
    heads = [d.b.operator("take", [rows, index], axis=1)]
    if why == "all":
        heads.append(d.b.operator("negative", [rows]))
    if why == "head":
        heads.append(rows)
    graph = d.b.build(heads)
    assert Step.CONV_ROWS not in kinds(planner.apply(graph))
    for data in inputs(graph):
        assert_same(graph, data)
