"""The arithmetic underneath, against definitions written out a second time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from yolo_core.arrays import Array
from yolo_mrt.calibrate.calibration import cluster, serve
from yolo_mrt.calibrate.float_pass import CLIP_WEIGHT, THRESHOLDS, TensorStatistics
from yolo_mrt.calibrate.scheme import Codes
from yolo_mrt.calibrate.tables import CODE_LIMIT, FINE, INDEX_LIMIT, TABLE_SIZE, Table
from yolo_mrt.network.net import Layer
from yolo_mrt.quantize.moments import MomentSums, columns, sample_positions
from yolo_mrt.quantize.rounding import DAMPING, _exact_product, round_compensating, round_nearest
from yolo_mrt.quantize.weights import quantize_conv, read_weights


@pytest.mark.parametrize("activation", ["silu", "leaky", "relu"])
@pytest.mark.parametrize("threshold", [0.3, 2.0, 60.0])
def test_table_gives_the_activation_to_half_a_step(activation: str, threshold: float) -> None:
    table = Table(activation, threshold, threshold, 0.1 if activation == "leaky" else 0.0)
    x = table.index_centre + np.arange(-INDEX_LIMIT, INDEX_LIMIT + 1) * table.index_step
    exact = {
        "silu": x / (1 + np.exp(-x)), "leaky": np.where(x > 0, x, 0.1 * x), "relu": np.maximum(x, 0)
    }[activation]  # fmt: skip
    codes = table.codes()
    assert codes.shape == (TABLE_SIZE,)
    assert np.abs(codes).max() <= CODE_LIMIT
    assert codes.max() == CODE_LIMIT
    coarse = (codes - table.zero) * table.scale
    assert exact.max() >= threshold * 0.999999
    assert np.abs(coarse - np.minimum(exact, threshold)).max() <= 1.01 * table.scale
    inside = np.abs(codes) < CODE_LIMIT
    assert np.abs(coarse - exact)[inside].max() <= 0.501 * table.scale
    fine = coarse + table.fine_codes() * table.scale / FINE
    assert np.abs(fine - exact)[inside].max() <= 0.501 * table.scale / FINE
    wide = table.wide_codes(8)
    assert np.abs(wide / 256 - exact).max() <= 0.501 / 256


def test_clip_cost_is_what_clipping_and_rounding_cost() -> None:
    generator = np.random.RandomState(0)
    values = generator.exponential(2.0, (2, 40, 40)).astype(np.float32)
    stats = TensorStatistics.empty(2)
    stats.add(values, 1)
    cost = stats.clip_cost(254, np.zeros(2))
    for j in (30, 40, 50):
        threshold = THRESHOLDS[j]
        excess = np.maximum(values.reshape(2, -1).astype(np.float64) - threshold, 0)
        expected = (threshold / 254) ** 2 / 12 + CLIP_WEIGHT * (excess**2).mean(axis=1)
        np.testing.assert_allclose(cost[j], expected, rtol=1e-9)


def test_cluster_is_optimal_and_clips_dearly() -> None:
    from itertools import combinations

    generator = np.random.RandomState(5)
    slots = generator.randint(10, 40, 9)

    def misfit(menu: tuple[int, ...]) -> float:
        best = [min((4 if c < s else 1) * (c - s) ** 2 for c in menu) for s in slots]
        return float(sum(best))

    found = cluster(THRESHOLDS[slots], 3)
    chosen = tuple(round(8 * (np.log2(t) + 3)) for t in found)
    wanted = min(misfit(c) for c in combinations(range(slots.min(), slots.max() + 1), 3))
    assert misfit(chosen) == wanted
    assert (serve(found, found) == np.arange(len(found))).all()
    menu = THRESHOLDS[[20, 30]]
    assert list(serve(menu, THRESHOLDS[[19, 22, 24, 27, 60]])) == [0, 0, 1, 1, 1]


def test_compensating_rounding_beats_nearest_where_it_counts() -> None:
    generator = np.random.RandomState(2)
    inputs = generator.normal(0, 30, (400, 24)) @ generator.normal(0, 1, (24, 24))
    moments = inputs.T @ inputs
    flat = generator.normal(0, 1, (10, 24))
    step = np.abs(flat).max(axis=1) / 20
    errors = []
    for rounded in (round_nearest(flat, step), round_compensating(flat, step, moments)):
        rest = rounded * step[:, None] - flat
        errors.append(np.einsum("oi,ij,oj->", rest, moments, rest))
    assert errors[1] < 0.6 * errors[0]


def test_compensating_rounding_is_the_nearest_plane() -> None:
    """Held to the definition, solved anew for every column, over several blocks of columns."""
    generator = np.random.RandomState(3)
    size = 150
    inputs = np.rint(generator.normal(0, 30, (400, size)) * generator.uniform(0.5, 2, size))
    moments = inputs.T @ inputs
    flat = generator.normal(0, 1, (4, size))
    step = np.abs(flat).max(axis=1) / 40
    damped = moments + np.eye(size) * DAMPING * np.diag(moments).mean()
    wished = flat / step[:, None]
    rounded = np.zeros_like(wished)
    left = list(np.argsort(np.diag(moments), kind="stable"))
    done: list[int] = []
    while left:
        column = left.pop()
        others = [column, *left]
        # What the errors made so far ask of all that is left; the column takes its own share.
        pull = (rounded - wished)[:, done] @ damped[np.ix_(done, others)]
        asked = wished[:, column] - np.linalg.solve(damped[np.ix_(others, others)], pull.T)[0]
        rounded[:, column] = np.clip(np.rint(asked), -CODE_LIMIT, CODE_LIMIT)
        done.append(column)
    assert (round_compensating(flat, step, moments) == rounded).all()


def test_rounding_depends_on_no_order_of_sums() -> None:
    generator = np.random.RandomState(8)
    errors = generator.normal(0, 1, (3, 5000)) * generator.uniform(0, 1e4, 5000)
    factor = generator.uniform(-1, 1, (5000, 7))
    shuffled = generator.permutation(5000)
    there = _exact_product(errors, factor)
    assert (there == _exact_product(errors[:, shuffled], factor[shuffled])).all()
    assert np.abs(there - errors @ factor).max() < 1e-3 * np.abs(errors @ factor).max()


def test_integer_convolution_is_the_real_one_on_codes() -> None:
    """acc * step + offset equals the float convolution of the decoded input, rounding aside."""
    generator = np.random.RandomState(4)
    weight = generator.normal(0, 0.2, (5, 3, 3, 3)).astype(np.float32)
    bias = generator.normal(0, 1, 5).astype(np.float32)
    layer = Layer("c", "conv", ("x",), weight, bias, "silu", (3, 3), (1, 1), (1, 1))
    codes = Codes.plain(np.array([0.01, 0.02, 0.04]), np.array([-90, -50, 3]))
    unit, offset = np.full(5, 0.004), np.full(5, 2.0)
    conv = quantize_conv(layer, codes, unit, offset, 12)
    assert (conv.step == unit * conv.multiplier * 2.0**-conv.shift).all()
    x = generator.randint(-127, 128, (3, 6, 6))
    taps = np.abs(conv.weight).sum(axis=(1, 2, 3), dtype=np.int64) * CODE_LIMIT + np.abs(conv.bias)
    assert taps.max() < 2 ** (conv.clip_bits - 1)
    patch = x[:, 1:4, 2:5]
    accumulator = (conv.weight * patch).sum(axis=(1, 2, 3)) + conv.bias
    real = (patch - codes.zero[:, None, None]) * codes.scale[:, None, None]
    exact = (weight * real).sum(axis=(1, 2, 3)) + bias
    tolerance = conv.step * 0.5 * (np.abs(patch - codes.zero[:, None, None]).sum() + 1)
    assert (np.abs(accumulator * conv.step + offset - exact) <= tolerance).all()


def test_fine_codes_share_the_weights_of_their_channel() -> None:
    """A joined tensor whose second part is read finely: an eighth of its weights, rounded."""
    generator = np.random.RandomState(5)
    first = Codes.plain(np.array([0.01, 0.02]), np.array([-90, -50]))
    second = Codes(
        np.array([0.08, 0.16, 0.01, 0.02]), np.array([-3, 4, 0, 0]), np.array([0, 1, 0, 1]),
        np.array([False, False, True, True]),
    )  # fmt: skip
    codes = Codes.join(((first, 2), (second, 2)))
    weight = generator.normal(0, 0.2, (5, 4, 1, 1)).astype(np.float32)
    layer = Layer("c", "conv", ("x",), weight, np.zeros(5, np.float32), "silu")
    conv = quantize_conv(layer, codes, np.full(5, 0.004), np.zeros(5), 12)
    assert conv.weight.shape == weight.shape
    read = read_weights(conv.weight, codes).astype(np.int64)
    np.testing.assert_array_equal(read[:, :4], conv.weight)
    np.testing.assert_array_equal(read[:, 4:], np.floor(conv.weight[:, 2:] / 8 + 0.5))
    taps = np.abs(read[:, :4]).sum(axis=(1, 2, 3)) * CODE_LIMIT + 8 * np.abs(read[:, 4:]).sum(
        axis=(1, 2, 3)
    )
    assert (taps + np.abs(conv.bias) < 2 ** (conv.clip_bits - 1)).all()


def test_rounding_changes_no_mean() -> None:
    generator = np.random.RandomState(7)
    layer = Layer(
        "c", "conv", ("data",), generator.randn(6, 5, 1, 1).astype(np.float32),
        generator.randn(6).astype(np.float32), "silu",
    )  # fmt: skip
    codes = Codes.plain(generator.rand(5) * 0.1 + 0.01, generator.randint(-127, 20, 5))
    read = generator.randint(0, 200, (400, 5)) * np.array([1, 0.5, 0.2, 0, 1])
    read = np.rint(read).astype(np.float32)
    read[:, 1] += read[:, 0] // 2
    sums = MomentSums(5)
    sums.add(read[:150])
    sums.add(read[150:])
    moments = sums.moments()
    expected = 399 * np.cov(read.astype(np.float64).T)
    np.testing.assert_allclose(moments.covariances, expected, atol=1e-6)
    conv = quantize_conv(layer, codes, np.full(6, 2.0**-8), np.zeros(6), 12, moments)
    exact = (read * codes.scale) @ layer.weights[:, :, 0, 0].T.astype(np.float64) + layer.biases
    got = (read + codes.zero) @ conv.weight[:, :, 0, 0].astype(np.float64).T + conv.bias
    drift = (got * conv.step - exact).mean(axis=0)
    assert (np.abs(drift) <= 0.501 * conv.step).all()


def test_tail_sums_are_those_of_a_search_through_the_thresholds() -> None:
    """At a threshold, a float beside it, anywhere; small and negative values count nowhere."""
    exact = THRESHOLDS.astype(np.float32)
    values = np.concatenate((
        exact, np.nextafter(exact, np.float32(0)), np.nextafter(exact, np.float32(2000)),
        np.exp(np.random.RandomState(2).uniform(-4, 8, 685)).astype(np.float32),
    )) * np.array([[1], [-1]], np.float32)  # fmt: skip
    stats = TensorStatistics.empty(2)
    stats.add(values.reshape(2, 40, 25), 1)
    large = values[0][values[0] > THRESHOLDS[0]].astype(np.float64)
    slots = np.searchsorted(THRESHOLDS, large)
    for power in range(3):
        sums = np.bincount(slots, large**power, minlength=len(THRESHOLDS) + 1)
        np.testing.assert_array_equal(stats.tails[power], np.stack((sums, 0 * sums), axis=1))


def test_moments_are_exact_at_any_number_of_positions() -> None:
    generator = np.random.RandomState(11)
    read = generator.randint(249, 255, (1001, 3)).astype(np.float32)
    read[0] = 0
    sums = MomentSums(3)
    sums.add(read)
    moments = sums.moments()
    whole = read.astype(np.int64)
    exact = 1001 * (whole.T @ whole) - np.outer(whole.sum(axis=0), whole.sum(axis=0))
    np.testing.assert_array_equal(np.rint(moments.covariances * 1001), exact)


def test_rounding_is_near_the_weights_where_few_positions_say_little() -> None:
    generator = np.random.RandomState(3)
    flat = generator.randn(4, 300)
    sums = MomentSums(300)
    sums.add(generator.randint(0, 2, (2, 300)).astype(np.float32))
    step = np.full(4, 0.05)
    rounded = round_compensating(flat, step, sums.moments().covariances)
    assert np.abs(rounded - flat / step[:, None]).max() < 8


def test_positions_lie_everywhere_and_follow_the_number_of_the_image() -> None:
    weight = np.zeros((1, 1, 3, 3), np.float32)
    layer = Layer("c", "conv", ("x",), weight, np.zeros(1, np.float32), "", (3, 3), (2, 2), (1, 1))
    x = np.zeros((1, 80, 160), np.float32)
    positions = sample_positions(layer, x, 1)
    assert 0 <= positions.min() < 80
    assert 39 * 80 <= positions.max() < 40 * 80
    np.testing.assert_array_equal(positions, sample_positions(layer, x, 1))
    assert (positions != sample_positions(layer, x, 2)).any()


def test_columns_are_the_convolution_unrolled() -> None:
    generator = np.random.RandomState(6)
    x = generator.randint(-9, 9, (2, 7, 9)).astype(np.float32)
    weight = generator.randint(-5, 5, (4, 2, 3, 3)).astype(np.float32)
    layer = Layer("c", "conv", ("x",), weight, np.zeros(4, np.float32), "", (3, 3), (2, 2), (1, 1))
    matrix = columns(layer, x, np.arange(4 * 5))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    for row in range(4):
        for column in range(5):
            window = padded[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            expected = (weight * window).sum(axis=(1, 2, 3))
            got = matrix[row * 5 + column] @ weight.reshape(4, -1).T
            np.testing.assert_array_equal(got, expected)


def test_large_networks_are_rounded_in_groups_with_the_same_result(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yolo_mrt.calibrate.calibration import make_scheme
    from yolo_mrt.calibrate.float_pass import measure
    from yolo_mrt.network.source import read_source
    from yolo_mrt.quantize import quantizer

    net = read_source(checkpoint).net
    generator = np.random.RandomState(0)
    codes = [generator.randint(-127, 128, (1, 3, 64, 64)) for _ in range(2)]
    planes = [((c + 128) / 255).astype(np.float32) for c in codes]
    scheme = make_scheme(net, measure(net, planes, net.extents(64, 64)), {}, {})
    passes = []

    def images(label: str) -> list[Array]:
        passes.append(label)
        return codes

    whole = quantizer.learn_rounding(net, scheme, images)
    monkeypatch.setattr(quantizer, "MOMENT_BYTES", 200_000)
    parts = quantizer.learn_rounding(net, scheme, images)
    assert len(passes) > 3
    assert whole.keys() == parts.keys()
    for name, conv in whole.items():
        np.testing.assert_array_equal(conv.weight, parts[name].weight)
        np.testing.assert_array_equal(conv.bias, parts[name].bias)
