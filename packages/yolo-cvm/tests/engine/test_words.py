"""Tables of 16 bits and sums of what they give: every instruction set gives what the reference
gives, whether a table is made of pieces of steps or not."""

from __future__ import annotations

import numpy as np
import pytest

from yolo_core.arrays import Array
from yolo_core.graph import Graph, Ref
from yolo_cvm.engine import library, planner
from yolo_cvm.engine.format import Tile

from .test_pieces import Indices, assert_same_everywhere, silu, teeth

SETS = library.instruction_sets()
pytestmark = pytest.mark.skipif(not SETS, reason="the package was installed without a compiler")


def wide(half: int, scale: float, span: float = 6) -> Array:
    """SiLU over +-span in 2 * half + 1 steps, `scale` codes a unit."""
    z = np.arange(-half, half + 1) * (span / half)
    codes: Array = np.round(z / (1 + np.exp(-z)) * scale)
    return codes.astype(np.int64)


def stairs(half: int, seed: int) -> Array:
    """Sixteen steps of one of two neighbouring numbers, then of two others."""
    random = np.random.default_rng(seed)
    tilts = random.integers(-9, 9, 2 * half // 16 + 1).repeat(16)[: 2 * half]
    rises = np.cumsum(tilts + random.integers(0, 2, 2 * half))
    return np.concatenate([[0], rises])


class Sums(Indices):
    """Bottlenecks that add words of sixteen bits."""

    def index_of(self, x: Ref) -> Ref:
        """A convolution of bytes, shifted to an index of this network's tables."""
        weight = self.random.integers(-127, 128, (self.channels, x.shape[1], 1, 1))
        y = self.b.operator(
            "conv2d",
            [x, self.parameter(weight, 8)],
            channels=self.channels,
            kernel_size=(1, 1),
            use_bias=False,
        )
        y = self.b.operator("cvm_clip", [y], precision=20)
        least = self.half // 64 + 1
        scale = self.random.integers(least, 2 * least + 1, (1, self.channels, 1, 1))
        y = self.b.operator("broadcast_mul", [y, self.parameter(scale, 9)])
        return self.b.operator("cvm_right_shift", [y], precision=self.bits, shift_bit=11)

    def lut(self, index: Ref, table: Array, precision: int) -> Ref:
        moved = self.b.operator("broadcast_add", [index, self.parameter(np.array([self.half]), 16)])
        values = self.parameter(table, precision)
        return self.b.operator("cvm_lut", [moved, values], in_dim=len(table))

    def narrowed(self, total: Ref, by_channel: bool, clip: bool) -> Ref:
        size = self.channels if by_channel else 1
        shape = (1, size, 1, 1) if by_channel else (1,)
        factor = self.random.integers(40, 101, size) * self.random.choice([-1, 1], size)
        factor = factor.reshape(shape)
        y = self.b.operator("broadcast_mul", [total, self.parameter(factor, 8)])
        if not clip:
            zero = self.random.integers(-9, 10, size).reshape(shape) << 12
            y = self.b.operator("broadcast_add", [y, self.parameter(zero, 17)])
            return self.b.operator("cvm_right_shift", [y], precision=8, shift_bit=12)
        y = self.b.operator("cvm_right_shift", [y], precision=10, shift_bit=12)
        y = self.b.operator("broadcast_add", [y, self.parameter(np.array([-60]), 8)])
        return self.b.operator("cvm_clip", [y], precision=8)

    def network(self, tables: list[Array], by_channel: bool = False, clip: bool = False) -> Graph:
        """A chain of additions, one for every table but the first; all sums are read as bytes."""
        total = self.lut(self.index, tables[0], 16)
        y = self.lut(self.index, np.clip(tables[0] // 64, -127, 127), 8)
        for table in tables[1:]:
            more = self.lut(self.index_of(y), table, 16)
            total = self.b.operator("elemwise_add", [total, more])
            y = self.narrowed(total, by_channel, clip)
        return self.b.build([self.read(y)])


@pytest.mark.parametrize("channels", [5, 16, 33, 70])
@pytest.mark.parametrize("by_channel", [False, True])
@pytest.mark.parametrize("clip", [False, True])
def test_chains(channels: int, by_channel: bool, clip: bool) -> None:
    g = Sums(channels, 2047, channels)
    tables = [wide(2047, 300), wide(2047, 2500), wide(2047, 300, 4)]
    assert_same_everywhere(g.network(tables, by_channel, clip))


@pytest.mark.parametrize("pixels", [(1, 1), (3, 5), (2, 7), (5, 23), (9, 80)])
@pytest.mark.parametrize("channels", [3, 16, 17, 32])
def test_tiles_of_every_size(pixels: tuple[int, int], channels: int) -> None:
    g = Sums(channels, 1023, channels, pixels)
    assert_same_everywhere(g.network([wide(1023, 900), wide(1023, 700)]))


@pytest.mark.parametrize("half", [63, 127, 128, 500, 1023, 2047, 2048, 4000])
def test_short_and_long_tables(half: int) -> None:
    g = Sums(20, half, half)
    assert_same_everywhere(g.network([wide(half, 400), stairs(half, half) % 30000]))


@pytest.mark.parametrize("seed", range(6))
def test_steps_by_chance(seed: int) -> None:
    g = Sums(40, 2047, seed)
    assert_same_everywhere(g.network([stairs(2047, seed), stairs(2047, seed + 9)], seed % 2 == 0))


def test_tables_that_jump() -> None:
    """Every index of a short one is a piece; a long one has none."""
    for half in (120, 2047):
        g = Sums(24, half, half)
        ends = np.where(np.arange(2 * half + 1) % 2, 32767, -32767)
        assert_same_everywhere(g.network([ends, teeth(half) * 300, ends[::-1].copy()]))


def test_a_clamp_behind_an_addition_rides_on_the_shift() -> None:
    g = Sums(16, 2047, 1)
    graph = g.network([wide(2047, 2500), wide(2047, 2500)], clip=True)
    code = next(
        ops
        for ops in planner.apply(graph).epilogues.code.values()
        if Tile.ADD in {op.kind for op in ops}
    )
    behind = [op for op in code if op.kind == Tile.REQUANT][1:]
    assert [(op.fields["low"], op.fields["high"]) for op in behind] == [(-127, 127)]


def test_bytes_and_words_of_one_index() -> None:
    """The words are an image of their own, and the bytes have a part of the table for a channel."""
    g = Sums(33, 2047, 4)
    first = g.looked_up([silu(2047, 6), silu(2047, 8)], g.random.integers(0, 2, 33))
    total = g.lut(g.index, wide(2047, 500), 16)
    more = g.lut(g.index_of(first), wide(2047, 800), 16)
    y = g.narrowed(g.b.operator("elemwise_add", [more, total]), True, False)
    assert_same_everywhere(g.b.build([g.read(y), g.read(first)]))
