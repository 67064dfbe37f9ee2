"""The planner: its passes, what is checked after them, its limits, and how it is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from yolo_core.graph import Entry, Graph, GraphBuilder, Ref, interpret
from yolo_core.graph.files import params, symbol
from yolo_core.graph.proof.bounds import intervals
from yolo_cvm.cli import main
from yolo_cvm.engine import library, planner, select
from yolo_cvm.engine.format import Step, Tile
from yolo_cvm.engine.planner.form import Form, Pad
from yolo_cvm.engine.planner.memory import MOST_COMPARED
from yolo_cvm.engine.planner.needs import budget, needs
from yolo_cvm.engine.planner.padding import fits
from yolo_cvm.engine.planner.show import show
from yolo_cvm.engine.planner.verify import PlanningError, verify

from .random_graphs import random_program

SETS = library.instruction_sets()
compiled = pytest.mark.skipif(not SETS, reason="the package was installed without a compiler")


def ones(*shape: int) -> Any:
    return np.ones(shape, int)


def conv(b: GraphBuilder, x: Ref, outputs: int, **attributes: Any) -> Ref:
    """A 1x1 convolution with weights of one."""
    weight = b.parameter(f"w{outputs}{attributes}{x.entry}", ones(outputs, x.shape[1], 1, 1), 2)
    given = {"channels": outputs, "kernel_size": (1, 1), "use_bias": False, **attributes}
    return b.operator("conv2d", [x, weight], **given)


def same(graph: Graph, name: str | None = None) -> str:
    """The engine's name, after it gave the reference's result."""
    engine = select(graph, 2, name)
    bound = 2 ** (graph.input_precision - 1) - 1
    random = np.random.default_rng(0)
    data = random.integers(-bound, bound + 1, graph.input_shape, dtype=np.int32)
    for want, got in zip(interpret.run(graph, data), engine.run(data)):
        assert np.array_equal(want, got)
    return engine.name


def long_border(rows: int) -> Graph:
    b = GraphBuilder()
    x = b.input("data", (1, 1, 1, 1), 8)
    framed = b.operator("concatenate", [b.parameter("e", 3 * ones(1, 1, rows, 1), 8), x], axis=2)
    return b.build([conv(b, framed, 1, strides=(4096, 1))])


def wide_concatenation(channels: int) -> Graph:
    b = GraphBuilder()
    x = b.input("data", (1, 1, 1, 1), 8)
    small = b.operator("cvm_clip", [conv(b, x, 1)], precision=8)
    wide = b.operator("cvm_clip", [conv(b, x, channels)], precision=8)
    joined = b.operator("concatenate", [small, wide], axis=1)
    return b.build([joined, conv(b, small, 1, padding=(503, 503), strides=(4096, 4096))])


def expanding_constants(size: int) -> Graph:
    b = GraphBuilder()
    x = b.input("data", (1,), 8)
    at = b.operator("repeat", [b.parameter("c", ones(1), 8)], repeats=size)
    for _ in range(20):
        at = b.operator("relu", [at])
    cut = b.operator("strided_slice", [at], begin=(0,), end=(1,))
    return b.build([b.operator("broadcast_max", [x, cut])])


def chain_of_constants(length: int) -> Graph:
    b = GraphBuilder()
    x = b.input("data", (1,), 8)
    at = b.parameter("c", ones(1), 8)
    for _ in range(length):
        at = b.operator("relu", [at])
    return b.build([b.operator("broadcast_add", [x, at])])


def chain_of_moves(length: int) -> Graph:
    b = GraphBuilder()
    at = b.operator(
        "reshape", [conv(b, b.input("data", (1, 1, 4, 8), 8), 1)], shape=(1, 1, 2, 2, 8)
    )
    at = b.operator("transpose", [at], axes=(0, 1, 3, 2, 4))
    for _ in range(length):
        at = b.operator("transpose", [at], axes=(0, 1, 2, 4, 3))
    return b.build([at])


def alive_at_once(count: int) -> Graph:
    b = GraphBuilder()
    x = b.input("data", (3,), 8)
    parts = [b.operator("relu", [x]) for _ in range(count)]
    y = parts[0]
    for part in parts[1:]:
        y = b.operator("broadcast_max", [y, part])
    return b.build([y])


def one_head_again(count: int) -> Graph:
    b = GraphBuilder()
    y = b.operator("relu", [b.input("data", (1, 1 << 16), 8)])
    return b.build([y] * count)


def one_large_table(count: int) -> Graph:
    b = GraphBuilder()
    x = conv(b, b.input("data", (1, 1, 2, 2), 8), 1)
    table = b.parameter("t", np.arange(1 << 20) % 251, 9)
    y: list[Ref] = []
    for k in range(count):
        index = b.operator("broadcast_add", [x, b.parameter(f"k{k}", np.array([k]), 12)])
        y.append(b.operator("cvm_lut", [index, table], in_dim=1 << 20))
    return b.build(y)


def paddings_of_readers(count: int) -> Graph:
    b = GraphBuilder()
    x = b.operator("cvm_clip", [conv(b, b.input("data", (1, 1, 8, 8), 8), 1)], precision=8)
    paddings = [(k, 7 * k % count) for k in range(1, count)]
    return b.build([b.operator("max", [conv(b, x, 1, padding=pads)]) for pads in paddings])


HURT: dict[str, Callable[[], Graph]] = {
    "a border on one axis": lambda: long_border(1 << 16),
    "a halo in a wide concatenation": lambda: wide_concatenation(2000),
    "constants that expand": lambda: expanding_constants(1 << 20),
    "a chain of constants": lambda: chain_of_constants(2000),
    "a chain of moves": lambda: chain_of_moves(400),
    "many values alive": lambda: alive_at_once(2 * MOST_COMPARED),
    "one head many times": lambda: one_head_again(300),
    "copies of a table": lambda: one_large_table(40),
    "readers of many paddings": lambda: paddings_of_readers(60),
}


@compiled
@pytest.mark.parametrize("case", HURT)
def test_small_models_that_hurt(case: str) -> None:
    """The plan stays near what the reference needs, and the result is the reference's."""
    graph = HURT[case]()
    for names in (tuple(planner.PASSES), planner.PLAIN):
        form = planner.apply(graph, names)
        if needs(form) <= budget(form):
            break
    assert needs(form) <= budget(form)
    for name in SETS:
        assert same(graph, name) == f"compiled-{name}"


def test_a_border_may_not_outgrow_what_it_surrounds() -> None:
    """65,536 elements, and four times the size of the value."""
    assert fits((1, 1, 2, 1), 127)
    assert not fits((1, 1, 2, 1), 128)
    assert fits((1, 1, 1, 2), 127)
    assert not fits((1, 1, 1, 2), 128)
    assert fits((2, 64, 100, 100), 50)
    assert not fits((2, 64, 100, 100), 51)


def test_memory_of_many_values_is_shared() -> None:
    """What the rest is placed by, one after the other, uses memory again."""
    b = GraphBuilder()
    y = b.input("data", (64,), 8)
    for _ in range(4 * MOST_COMPARED):
        y = b.operator("negative", [y])
    assert planner.plan(b.build([y])).arena_bytes <= 8 * 256


@compiled
def test_where_the_fast_plan_fails_another_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = wide_concatenation(4)

    def broken(form: Form) -> Form:
        raise RecursionError("too deep")

    monkeypatch.setattr(planner, "PASSES", {**planner.PASSES, "fusion": broken})
    assert same(graph).startswith("compiled-")
    assert Step.CONV in planner.plan(graph).kinds
    monkeypatch.setattr(planner, "PASSES", {**planner.PASSES, "layout": broken})
    with pytest.warns(RuntimeWarning, match="too deep"):
        assert same(graph) == "reference"


@compiled
def test_a_plan_beyond_its_memory_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "budget", lambda graph: 10)
    with pytest.warns(RuntimeWarning, match="a plan would take"):
        assert same(wide_concatenation(4)) == "reference"


@compiled
def test_a_trace_beyond_its_memory_is_made_by_the_reference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = wide_concatenation(4)
    data = np.full(graph.input_shape, 3, np.int32)
    engine = select(graph, 1, "compiled")
    own = planner.plan(graph).bytes
    trace_plan, _, _ = planner.trace_plan(graph, 0)
    both = own + trace_plan.bytes
    monkeypatch.setattr(planner, "budget", lambda form: both)
    assert planner.trace_plan(graph, own)[0].bytes == trace_plan.bytes
    monkeypatch.setattr(planner, "budget", lambda form: both - 1)
    with pytest.raises(planner.PlanningError, match=f"would take {both} bytes"):
        planner.trace_plan(graph, own)
    expected = select(graph, name="reference").trace(data)
    for (number, outputs), (wanted, right) in zip(engine.trace(data), expected):
        assert number == wanted
        assert all(map(np.array_equal, outputs, right))


@compiled
def test_regions_beyond_the_registers_are_cut() -> None:
    """Eight values that wait for the last of them do not leave one register free."""
    b = GraphBuilder()
    x = conv(b, b.input("data", (1, 3, 4, 5), 8), 3)
    parts = [
        b.operator("broadcast_mul", [x, b.parameter(f"f{k}", np.array([k + 2]), 5)])
        for k in range(8)
    ]
    pairs = zip(parts[::2], parts[1::2])
    graph = b.build([b.operator("broadcast_max", [left, right]) for left, right in pairs])
    fused = planner.apply(graph, ["constants", "padding", "fusion"])
    cut = planner.apply(graph, ["constants", "padding", "fusion", "epilogues"])
    assert len(cut.fusion.regions) > len(fused.fusion.regions)
    for name in SETS:
        assert same(graph, name) == f"compiled-{name}"


def test_no_value_leaves_its_interval() -> None:
    """Nor does one of a program that no certificate covers, since sums in it wrap."""
    for seed in range(150):
        graph, data = random_program(seed)
        known = list(intervals(graph))
        for index, outputs in interpret.trace(graph, data):
            for (low, high), values in zip(known[index], outputs):
                assert low <= int(values.min()), (seed, index)
                assert int(values.max()) <= high, (seed, index)


def test_passes_leave_what_they_are_given_as_it_was() -> None:
    graph, _ = random_program(3)
    form = planner.apply(graph, ["constants", "padding"])
    before = form.fusion
    after = planner.PASSES["fusion"](form)
    assert form.fusion is before
    assert after.done == ("constants", "padding", "fusion")


def until(name: str) -> list[str]:
    """The passes up to this one."""
    names = list(planner.PASSES)
    return names[: names.index(name) + 1]


def broken_forms() -> dict[str, Form]:
    """Forms of a bordered convolution, each with one thing wrong."""
    b = GraphBuilder()
    x = b.input("data", (1, 2, 4, 4), 8)
    edge = b.operator("tile", [b.parameter("z", ones(1, 2, 1, 1), 8)], reps=(1, 1, 1, 4))
    x = b.operator("concatenate", [edge, x, edge], axis=2)
    y = b.operator("relu", [conv(b, x, 4)])
    graph = b.build([b.operator("concatenate", [y, y], axis=1)])
    at = {
        n: planner.apply(graph, list(planner.PASSES)[: k + 1]) for k, n in enumerate(planner.PASSES)
    }
    node = next(i for i, n in enumerate(graph.nodes) if n.op == "conv2d")
    constants, fusion, memory = at["constants"], at["fusion"], at["memory"]
    steps = at["emission"].steps
    pad = Pad(Entry(graph.input_index), 1, 2, 0, 0, b"\1\1")
    wide = {**constants.constants.intervals, Entry(node): (0, 1 << 31)}
    region = fusion.fusion.regions[node]
    return {
        "interval beyond int32": replace(
            constants, constants=replace(constants.constants, intervals=wide)
        ),
        "depends on the input": replace(
            constants, constants=replace(constants.constants, nodes=frozenset([node]))
        ),
        "border of another size": replace(
            at["padding"], pads=dict.fromkeys(at["padding"].pads, pad)
        ),
        "a convolution inside": replace(
            fusion,
            fusion=replace(fusion.fusion, regions={node: replace(region, convolution=False)}),
        ),
        "in no region": replace(
            fusion,
            fusion=replace(fusion.fusion, regions={node: replace(region, nodes=(node,))}),
        ),
        "not stored": replace(
            at["epilogues"],
            epilogues=replace(at["epilogues"].epilogues, code={node: ()}),
        ),
        "beyond its home": replace(
            at["layout"],
            layout=replace(
                at["layout"].layout,
                plain_homes=dict.fromkeys(at["layout"].layout.plain_homes, (0, 4)),
            ),
        ),
        "read before it is made": replace(
            at["emission"], steps=replace(steps, steps=steps.steps[-1:])
        ),
        "no step writes": replace(at["emission"], steps=replace(steps, steps=steps.steps[:1])),
        "two buffers overlap": replace(
            memory, memory=replace(memory.memory, offsets=(0,) * len(memory.memory.offsets))
        ),
        "beyond the arena": replace(memory, memory=replace(memory.memory, arena=64)),
    }


@pytest.mark.parametrize("what", broken_forms())
def test_a_broken_form_is_found(what: str) -> None:
    with pytest.raises(PlanningError, match=what):
        verify(broken_forms()[what])


@pytest.mark.parametrize("name", planner.PASSES)
def test_every_pass_can_be_shown(name: str) -> None:
    names = list(planner.PASSES)
    for seed in range(5):
        graph, _ = random_program(seed)
        assert all(
            isinstance(line, str)
            for line in show(planner.apply(graph, names[: names.index(name) + 1]))
        )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    graph = wide_concatenation(4)
    (tmp_path / "symbol").write_bytes(symbol.encode(graph))
    (tmp_path / "params").write_bytes(params.encode(graph))
    return tmp_path


def test_inspect_prints_the_plan(folder: Path) -> None:
    plain = CliRunner().invoke(main, ["inspect", str(folder), "--plan"])
    assert plain.exit_code == 0, plain.output
    assert "CONV_IMAGE" in plain.output
    after = CliRunner().invoke(main, ["inspect", str(folder), "--plan", "--after", "fusion"])
    assert "region 2: 2 conv2d, 3 cvm_clip" in after.output
    wrong = CliRunner().invoke(main, ["inspect", str(folder), "--plan", "--after", "luck"])
    assert wrong.exit_code == 2
    assert "epilogues" in wrong.output


@pytest.mark.parametrize("seed", range(24))
def test_chains_of_moves_are_one_scattered_store(seed: int) -> None:
    """Where the place stays linear; wherever it does not, the moves remain. The bytes are right."""
    random = np.random.default_rng(seed)
    b = GraphBuilder()
    height, width = (int(n) for n in random.integers(1, 7, 2))
    x = b.input("data", (1, 3, height, width), 8)
    channels = int(random.choice([1, 6, 12, 36]))
    weight = b.parameter("w", random.integers(-9, 10, (channels, 3, 1, 1)), 5)
    y = b.operator("conv2d", [x, weight], channels=channels, kernel_size=(1, 1), use_bias=False)
    for _ in range(int(random.integers(1, 4))):
        size = int(np.prod(y.shape))
        dims: list[int] = []
        while size > 1 and len(dims) < 4:
            dims.append(int(random.choice([d for d in range(2, size + 1) if size % d == 0])))
            size //= dims[-1]
        y = b.operator("reshape", [y], shape=(*dims, size))
        axes = [int(a) for a in random.permutation(len(y.shape))]
        y = b.operator("transpose", [y], axes=tuple(axes))
    graph = b.build([y])
    data = random.integers(-127, 128, graph.input_shape, dtype=np.int32)
    (want,) = interpret.run(graph, data)
    for name in library.instruction_sets():
        (got,) = select(graph, 2, name).run(data)
        assert np.array_equal(got, want), name


def test_a_head_with_its_moves_costs_no_step() -> None:
    """A head of anchors is reshaped and transposed into rows: one store of the convolution."""
    b = GraphBuilder()
    x = b.input("data", (1, 3, 5, 7), 8)
    weight = b.parameter("w", np.ones((18, 3, 1, 1), np.int64), 5)
    y = b.operator("conv2d", [x, weight], channels=18, kernel_size=(1, 1), use_bias=False)
    y = b.operator("reshape", [y], shape=(1, 3, 6, 35))
    y = b.operator("transpose", [y], axes=(0, 1, 3, 2))
    graph = b.build([b.operator("reshape", [y], shape=(1, 105, 6))])
    (code,) = planner.apply(graph).epilogues.code.values()
    (scatter,) = (op for op in code if op.kind == Tile.SCATTER)
    assert (scatter.fields["row_stride"], scatter.fields["pixel_stride"]) == (42, 6)
    expected = [anchor * 210 + k for anchor in range(3) for k in range(6)]
    assert scatter.fields["offsets"].tolist() == expected


@pytest.mark.parametrize(
    ("anchors", "row", "kernel", "shape"),
    [
        (3, 85, 1, (1, 3, 33, 32)),
        (2, 33, 3, (2, 3, 31, 67)),  # pixels in rows of images, since the window has a border
        (1, 16, 1, (1, 8, 129, 127)),  # a cache line each
        (3, 15, 1, (1, 3, 80, 75)),  # too short for lines
        (1, 700, 1, (1, 4, 20, 19)),  # too many values for a tile
        (2, 72, 1, (1, 96, 43, 45)),  # sums, nothing behind them
    ],
)
def test_large_heads_are_written_in_whole_lines_of_the_cache(
    anchors: int, row: int, kernel: int, shape: tuple[int, ...]
) -> None:
    """The rows of an anchor follow each other from pixel to pixel; they begin at any address."""
    random = np.random.default_rng(row)
    b = GraphBuilder()
    x = b.input("data", shape, 8)
    channels, pixels = anchors * row, shape[2] * shape[3]
    taps = random.integers(-127, 128, (channels, shape[1], kernel, kernel))
    y = b.operator(
        "conv2d",
        [x, b.parameter("w", taps, 8)],
        channels=channels,
        kernel_size=(kernel, kernel),
        padding=(kernel // 2, kernel // 2),
        use_bias=False,
    )
    if row != 72:
        y = b.operator("cvm_right_shift", [y], precision=13, shift_bit=4)
    y = b.operator("reshape", [y], shape=(shape[0], anchors, row, pixels))
    y = b.operator("transpose", [y], axes=(0, 1, 3, 2))
    graph = b.build([b.operator("reshape", [y], shape=(shape[0], anchors * pixels, row))])
    data = random.integers(-127, 128, shape, dtype=np.int32)
    (want,) = interpret.run(graph, data)
    for name in library.instruction_sets():
        for threads in (1, 3):
            engine = select(graph, threads, name)
            for begin in (0, 1, 13):
                room = np.full(want.size + 32, 7, np.int32)
                into = room[begin : begin + want.size].reshape(want.shape)
                assert np.array_equal(engine.run(data, into)[0], want), name
                assert np.all(room[:begin] == 7)
                assert np.all(room[begin + want.size :] == 7)


def test_what_nobody_reads_of_a_constant_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """The constant is worked out in every run, and so it is no constant to its other readers."""
    b = GraphBuilder()
    x = b.input("data", (1, 4), 8)
    y = b.operator("negative", [b.parameter("w", np.arange(100), 8)])
    b.operator("negative", [b.operator("abs", [y])])
    graph = b.build([b.operator("take", [y, x])])
    monkeypatch.setattr(planner.constants, "MOST_STEPS", 50)
    planner.plan(graph)
    data = np.array([[5, -1, 99, 127]], np.int32)
    assert np.array_equal(select(graph, 1).run(data)[0], interpret.run(graph, data)[0])
