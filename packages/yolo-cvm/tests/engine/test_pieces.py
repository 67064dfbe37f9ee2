"""Tables that straight pieces reproduce, of one part or a part for every channel, and others that
they do not: every instruction set gives what the reference gives."""

from __future__ import annotations

import numpy as np
import pytest

from yolo_core.arrays import Array
from yolo_core.graph import Graph, GraphBuilder, Ref, interpret
from yolo_cvm.engine import library, planner, select
from yolo_cvm.engine.format import Tile

SETS = library.instruction_sets()
pytestmark = pytest.mark.skipif(not SETS, reason="the package was installed without a compiler")


def silu(half: int, span: float, zero: int = -100) -> Array:
    """SiLU over +-span in 2 * half + 1 steps, 30 codes a unit."""
    z = np.arange(-half, half + 1) * (span / half)
    codes: Array = np.clip(np.round(z / (1 + np.exp(-z)) * 30) + zero, -127, 127)
    return codes.astype(np.int64)


def teeth(half: int) -> Array:
    """Up and down again every few indices: no straight pieces."""
    return np.arange(2 * half + 1) % 13 * 9 - 60


def steps(half: int, seed: int) -> Array:
    """A few steps of one, up or down, where chance wants them."""
    random = np.random.default_rng(seed)
    jumps = random.choice([-1, 0, 1], 2 * half + 1, p=[0.01, 0.96, 0.03])
    return np.clip(np.cumsum(jumps) - 20, -127, 127)


class Indices:
    """A convolution whose shifted sums reach all of +-half, and tables of them."""

    def __init__(self, channels: int, half: int, seed: int, pixels: tuple[int, int] = (7, 61)):
        self.random = np.random.default_rng(seed)
        self.b = GraphBuilder()
        self.channels, self.half = channels, half
        self.bits = half.bit_length() + 1
        x = self.b.input("data", (1, 3, *pixels), 8)
        weight = self.random.integers(-127, 128, (channels, 3, 1, 1))
        y = self.b.operator(
            "conv2d",
            [x, self.parameter(weight, 8)],
            channels=channels,
            kernel_size=(1, 1),
            use_bias=False,
        )
        scale = self.random.integers(half // 8 + 1, half // 4 + 2, (1, channels, 1, 1))
        y = self.b.operator("broadcast_mul", [y, self.parameter(scale, 14)])
        self.index = self.b.operator("cvm_right_shift", [y], precision=self.bits, shift_bit=11)

    def parameter(self, values: Array, bits: int) -> Ref:
        return self.b.parameter(f"p{self.random.integers(1 << 62)}", values, bits)

    def looked_up(self, tables: list[Array], which: Array) -> Ref:
        """Channel c through tables[which[c]]."""
        size = 2 * self.half + 1
        first = which * size + self.half
        shape = (1, self.channels, 1, 1) if len(tables) > 1 else (1,)
        starts = np.broadcast_to(first, (self.channels,))[: int(np.prod(shape))].reshape(shape)
        index = self.b.operator("broadcast_add", [self.index, self.parameter(starts, 20)])
        table = self.parameter(np.concatenate(tables), 8)
        return self.b.operator("cvm_lut", [index, table], in_dim=len(tables) * size)

    def read(self, x: Ref) -> Ref:
        """A convolution that wants bytes."""
        weight = self.random.integers(-3, 4, (4, self.channels, 1, 1))
        return self.b.operator(
            "conv2d",
            [x, self.parameter(weight, 3)],
            channels=4,
            kernel_size=(1, 1),
            use_bias=False,
        )


def assert_same_everywhere(graph: Graph) -> None:
    code = [op for ops in planner.apply(graph).epilogues.code.values() for op in ops]
    assert Tile.LOOKUP_STORE in {op.kind for op in code}
    random = np.random.default_rng(3)
    data = random.integers(-127, 128, graph.input_shape, dtype=np.int32)
    data[..., :2, :] = random.choice([-127, 127], data[..., :2, :].shape)
    want = interpret.run(graph, data)
    for name in SETS:
        for threads in (1, 3):
            for a, b in zip(want, select(graph, threads, name).run(data)):
                assert np.array_equal(a, b), name


@pytest.mark.parametrize("channels", [5, 16, 33, 70])
@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_parts_by_channel(channels: int, count: int) -> None:
    g = Indices(channels, 2047, count)
    tables = [silu(2047, 4 + 1.5 * k) for k in range(count)]
    which = g.random.integers(0, count, channels)
    assert_same_everywhere(g.b.build([g.read(g.looked_up(tables, which))]))


@pytest.mark.parametrize("half", [63, 127, 1023, 2047, 4095, 8191, 16000])
def test_long_and_short_tables(half: int) -> None:
    g = Indices(20, half, half)
    graph = g.b.build([g.read(g.looked_up([silu(half, 6)], np.zeros(1, int)))])
    assert_same_everywhere(graph)


@pytest.mark.parametrize("seed", range(4))
def test_steps_by_chance(seed: int) -> None:
    g = Indices(40, 2047, seed)
    tables = [steps(2047, seed * 10 + k) for k in range(3)]
    which = g.random.integers(0, 3, 40)
    assert_same_everywhere(g.b.build([g.read(g.looked_up(tables, which))]))


def test_tables_without_pieces() -> None:
    """Alone, beside others in one table, and beside others of the same index."""
    g = Indices(40, 2047, 1)
    which = g.random.integers(0, 2, 40)
    graph = g.b.build([g.read(g.looked_up([silu(2047, 6), teeth(2047)], which))])
    assert_same_everywhere(graph)
    g = Indices(40, 2047, 2)
    parts = [silu(2047, 6), silu(2047, 8)], [teeth(2047), teeth(2047)[::-1]], [silu(2047, 6, 9)] * 2
    assert_same_everywhere(g.b.build([g.read(g.looked_up(p, which)) for p in parts]))


def test_values_that_are_wanted_as_well() -> None:
    """The index itself is a head: its tile is kept beside the bytes."""
    g = Indices(24, 2047, 5)
    g.index = g.b.operator("broadcast_add", [g.index, g.parameter(np.array([2047]), 13)])
    table = g.parameter(silu(2047, 6), 8)
    looked = g.b.operator("cvm_lut", [g.index, table], in_dim=4095)
    assert_same_everywhere(g.b.build([g.read(looked), g.index]))


def test_the_least_and_the_largest_byte() -> None:
    """Pieces that end at 127 may rise further; those at -127 may not fall."""
    g = Indices(18, 2047, 7)
    ramp = np.clip(np.arange(-2047, 2048) // 7, -127, 127)
    tables = [ramp, -ramp, np.full(4095, 127), np.full(4095, -127)]
    assert_same_everywhere(g.b.build([g.read(g.looked_up(tables, np.arange(18) % 4))]))
