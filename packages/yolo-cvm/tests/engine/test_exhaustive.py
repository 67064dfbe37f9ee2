"""What cannot be proven of intrinsics is tried out: all bytes, and nearly all values of 16 bits."""

from __future__ import annotations

import numpy as np
import pytest

from yolo_core.arrays import Array
from yolo_core.graph import Graph, GraphBuilder, interpret
from yolo_cvm.engine import library, select

SETS = library.instruction_sets()
BYTES = np.arange(-127, 128, dtype=np.int32)
#: acc = a + 127 (b + c) takes every value of +-32385.
SUMS = np.arange(-32385, 32386, dtype=np.int32)

pytestmark = pytest.mark.skipif(not SETS, reason="the package was installed without a compiler")


def assert_same_everywhere(graph: Graph, data: Array) -> None:
    want = interpret.run(graph, data)
    for name in SETS:
        got = select(graph, 2, name).run(data)
        for a, b in zip(want, got):
            assert np.array_equal(a, b), name


def all_sums() -> Array:
    """Three channels of bytes whose sum a + 127 (b + c) takes all of SUMS once, 245 x 265 pixels.

    Values after the last one are zeros.
    """
    times = np.clip((SUMS + 63) // 127, -254, 254)
    first = SUMS - 127 * times
    half = times // 2
    pixels = np.zeros((3, 245 * 265), np.int32)
    pixels[:, : SUMS.size] = first, half, times - half
    assert np.array_equal(np.array([1, 127, 127]) @ pixels[:, : SUMS.size], SUMS)
    return pixels.reshape(1, 3, 245, 265)


def test_all_products_of_two_bytes() -> None:
    b = GraphBuilder()
    x = b.input("data", (1, 1, 15, 17), 8)
    w = b.parameter("w", BYTES.reshape(255, 1, 1, 1), 8)
    graph = b.build(
        [b.operator("conv2d", [x, w], channels=255, kernel_size=(1, 1), use_bias=False)]
    )
    data = BYTES.reshape(1, 1, 15, 17)
    want = interpret.run(graph, data)[0]
    assert np.array_equal(want.reshape(255, 255), np.multiply.outer(BYTES, BYTES))
    assert_same_everywhere(graph, data)


@pytest.mark.parametrize("kind", ["shift", "clip", "lookup", "scaled"])
@pytest.mark.parametrize("shift", [1, 2, 7, 8, 9, 15, 16, 17])
def test_all_sums_of_sixteen_bits(kind: str, shift: int) -> None:
    """Requantization, clamp and table lookup behind a convolution."""
    b = GraphBuilder()
    draw = np.random.default_rng(shift)
    x = b.input("data", (1, 3, 245, 265), 8)
    weights = np.array([[1, 127, 127]] * 8, np.int32).reshape(8, 3, 1, 1)
    w = b.parameter("w", weights, 8)
    y = b.operator("conv2d", [x, w], channels=8, kernel_size=(1, 1), use_bias=False)
    if kind == "scaled":
        factors = draw.integers(1, 2**14, (1, 8, 1, 1)).astype(np.int32)
        y = b.operator("cvm_clip", [y], precision=16)
        y = b.operator("broadcast_mul", [y, b.parameter("m", factors, 15)])
    if kind == "clip":
        y = b.operator("clip", [y], a_min=-(1 << (shift % 15)), a_max=(1 << (shift % 15)) - 1)
        y = b.operator("cvm_clip", [y], precision=8)
    else:
        y = b.operator("cvm_right_shift", [y], precision=8, shift_bit=shift)
    if kind == "lookup":
        y = b.operator("broadcast_add", [y, b.parameter("o", np.array([128]), 9)])
        table = b.parameter("t", draw.integers(-127, 128, (256,)).astype(np.int32), 8)
        y = b.operator("cvm_lut", [y, table], in_dim=256)
    assert_same_everywhere(b.build([y]), all_sums())


@pytest.mark.parametrize("shift", [1, 30, 31])
def test_shifts_of_the_widest_integers(shift: int) -> None:
    """2^30 is half of 2^31, and rounds to one when all bits but the sign are shifted out."""
    ends = [0, 1, 2**30 - 1, 2**30, 2**30 + 1, 2**31 - 2, 2**31 - 1]
    values = np.array(sorted({sign * end for end in ends for sign in (-1, 1)}), np.int32)[None]
    b = GraphBuilder()
    x = b.input("data", values.shape, 32)
    graph = b.build([b.operator("cvm_right_shift", [x], precision=32, shift_bit=shift)])
    if shift == 31:
        rounded = (values >= 2**30).astype(np.int32) - (values < -(2**30))
        assert np.array_equal(interpret.run(graph, values)[0], rounded)
    assert_same_everywhere(graph, values)
