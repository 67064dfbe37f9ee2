"""From statistics to a scheme: thresholds per channel, gathered into a small menu of tables.

A channel's wish lies half-way (geometrically) between two answers: what it needs alone, and what
clips the whole tensor best. Alone, a rarely active channel would be clipped by images that
calibration has not seen; together, a quiet channel would waste its codes. The fewer pictures there
are, the less a channel's own answer says and the farther its values reach beyond what was seen.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from yolo_core.arrays import Array
from yolo_mrt.calibrate.float_pass import THRESHOLDS, TensorStatistics
from yolo_mrt.calibrate.scheme import Scheme, SumCodes, wide_sites
from yolo_mrt.calibrate.tables import (
    CODE_LIMIT,
    LEVELS,
    SILU_LOW,
    TABLE_SIZE,
    activation_low,
    lowest,
)
from yolo_mrt.calibrate.views import ENOUGH
from yolo_mrt.network.net import Layer, Net, readable_sites

#: Of the 10 % that parameters may weigh beyond a byte per weight, what the tables may take.
TABLE_SHARE = 0.0332
MENU_LIMITS = (6, 24)
#: With three tables for all who enter sums, yolov5n's earliest sums were clipped: on 32 held-out
#: calibration pictures a fourth moves scores by 14 % less, boxes by 10 % (one tensor at a time).
WIDE_MENU, FINE_MENU = 4, 4
#: Misfit, in eighths of an octave squared, with which a table of the fine menu serves anybody.
NEAR = 1.5
#: How much worse a threshold below the wish is than one above: clipping hurts most.
CLIPPED = 4.0
WIDE_BITS = 15
#: Thresholds are this much above the best ones of the calibration images: others reach higher.
#: Chosen on yolov5n, calibrated on 96 pictures and judged on 32 others.
HEADROOM = 1.12
#: The same for fewer than `views.ENOUGH` different pictures: for 1, from 2, 4, 8, 16 and 32 on, how
#: many times the wish of a channel is moved half-way to the tensor's, and how far above it
#: thresholds are. Chosen on yolov5n at 320 pixels, judged on calibration pictures that were held
#: out.
CAUTION = ((3, 2.0), (3, 1.8), (2, 1.5), (2, 1.25), (1, 1.2), (1, 1.16))


def caution(pictures: int) -> tuple[int, float]:
    """The entry of CAUTION for so many different pictures."""
    if pictures >= ENOUGH:
        return 1, HEADROOM
    return CAUTION[max(pictures, 1).bit_length() - 1]


def wishes(
    statistics: TensorStatistics, low: Array, importance: Array, pictures: int = ENOUGH
) -> Array:
    """The threshold that each channel would have, float64 [C].

    importance [C]: weight of each channel's error where the tensor is judged as a whole.
    pictures: how many different ones the statistics are of.
    """
    cost = statistics.clip_cost(LEVELS, low)
    together = THRESHOLDS[(cost * importance).sum(axis=1).argmin()]
    result: Array = THRESHOLDS[cost.argmin(axis=0)]
    times, headroom = caution(pictures)
    for _ in range(times):
        result = np.sqrt(result * together)
    return result * headroom


def importances(net: Net) -> dict[str, Array]:
    """Per tensor and channel, the energy of the weights that read it."""
    channels = net.channels()
    found = {name: np.zeros(count) for name, count in channels.items()}
    for layer in reversed(net.layers):
        if layer.op == "conv":
            energy = (layer.weights.astype(np.float64) ** 2).sum(axis=(2, 3))
            energy = energy.reshape(layer.groups, -1, energy.shape[1]).sum(axis=1)
            found[layer.inputs[0]] += energy.ravel()
        elif layer.op == "concat":
            start = 0
            for name in layer.inputs:
                found[name] += found[layer.name][start : start + channels[name]]
                start += channels[name]
        elif layer.op != "input":
            for name in layer.inputs:
                found[name] += found[layer.name]
    return {name: np.maximum(values, 1e-12) for name, values in found.items()}


def _misfit(thresholds: Array, wished: Array) -> Array:
    """What it costs to serve a wish by a threshold, both in eighths of an octave."""
    off = thresholds - wished
    result: Array = np.where(off < 0, CLIPPED, 1.0) * off**2
    return result


def cluster(wished: Array, count: int) -> Array:
    """At most `count` of THRESHOLDS for these wishes, ascending, with the smallest misfit.

    Exact, by dynamic programming over the sorted wishes.
    """
    slots = np.clip(
        np.rint((np.log2(np.maximum(wished, THRESHOLDS[0])) + 3) * 8), 0, len(THRESHOLDS) - 1
    )
    values, weights = np.unique(slots.astype(np.int64), return_counts=True)
    size = len(values)
    count = min(count, size)
    # cost[i, j]: of serving values i…j by one threshold, centre[i, j].
    cost = np.full((size, size), np.inf)
    centre = np.zeros((size, size), np.int64)
    for i in range(size):
        for j in range(i, size):
            trials = np.arange(values[i], values[j] + 1)
            misfits = _misfit(trials[:, None], values[None, i : j + 1]) @ weights[i : j + 1]
            centre[i, j] = trials[misfits.argmin()]
            cost[i, j] = misfits.min()
    best = np.full((count + 1, size + 1), np.inf)
    best[0, 0] = 0.0
    cut = np.zeros((count + 1, size + 1), np.int64)
    for used in range(1, count + 1):
        for end in range(1, size + 1):
            options = best[used - 1, :end] + cost[:end, end - 1]
            cut[used, end] = int(options.argmin())
            best[used, end] = options.min()
    found: list[int] = []
    end = size
    for used in range(count, 0, -1):
        start = int(cut[used, end])
        found.append(int(centre[start, end - 1]))
        end = start
    result: Array = THRESHOLDS[np.array(sorted(set(found)))]
    return result


def serve(menu: Array, wished: Array) -> Array:
    """Index of the threshold of the menu with the smallest misfit to each wish."""
    octaves = np.log2(np.maximum(wished, THRESHOLDS[0]))
    result: Array = _misfit(8 * np.log2(menu)[None], 8 * octaves[:, None]).argmin(axis=1)
    return result


def make_scheme(
    net: Net,
    statistics: Mapping[str, TensorStatistics],
    fine: Mapping[str, tuple[str, ...]],
    overrides: Mapping[str, float],
    pictures: int = ENOUGH,
) -> Scheme:
    """The scheme for these statistics.

    fine: see Scheme. overrides: tensor → threshold that replaces the calibrated ones. pictures:
    how many different ones the statistics are of.
    """
    weight_of = importances(net)
    wide = set(wide_sites(net))
    fine_sites = {site for sites in fine.values() for site in sites}
    wished: dict[str, Array] = {}
    for layer in net.layers:
        if layer.op != "conv" or not layer.activation:
            continue
        stats = statistics[layer.name]
        low = activation_low(layer.activation, np.maximum(stats.high, THRESHOLDS[0]), layer.slope)
        wish = wishes(stats, low, weight_of[layer.name], pictures)
        if layer.name in fine_sites and only_read_finely(net, layer.name, fine):
            # Its steps are fine anyway, so one threshold that clips little serves all channels.
            wish = np.full_like(wish, wish.max())
        if layer.name in overrides:
            wish = np.full_like(wish, overrides[layer.name])
        wished[layer.name] = wish
    peak = max((float(statistics[name].high.max()) for name in wide), default=1.0)
    span = float(THRESHOLDS[min(int(np.searchsorted(THRESHOLDS, peak)), len(THRESHOLDS) - 1)])
    menu, table, fine_tables = _menu(net, wished, fine_sites, wide, span)
    # An activation reaches down to its minimum however small the largest value is.
    deepest = max(-SILU_LOW, *(-lowest(layer.activation) for layer in net.convolutions()))
    exponent = WIDE_BITS - 1 - int(np.ceil(np.log2(max(span, deepest))))
    sums = {
        layer.name: _sum_codes(layer, statistics[layer.name], weight_of[layer.name], exponent,
                               overrides, pictures)
        for layer in net.layers if layer.op == "add"
    }  # fmt: skip
    return Scheme(tuple(menu), fine_tables, table, sums, exponent, span, dict(fine))


def spread_thresholds(
    statistics: Mapping[str, TensorStatistics], deviations: float
) -> dict[str, float]:
    """Per tensor |mean| + deviations * standard deviation of its values where that is below 0.95
    of the largest magnitude, else that magnitude; outward to one of THRESHOLDS.

    The rule of the original's LAMBD. One threshold serves all channels of a tensor.
    """
    found: dict[str, float] = {}
    for name, stats in statistics.items():
        values = max(stats.count * len(stats.total), 1)
        mean = float(stats.total.sum()) / values
        variance = max(float(stats.energy.sum()) / values - mean**2, 0.0)
        wanted = abs(mean) + deviations * variance**0.5
        peak = max(float(stats.high.max()), -float(stats.low.min()))
        threshold = wanted if wanted < 0.95 * peak else peak
        found[name] = float(THRESHOLDS[np.searchsorted(THRESHOLDS[:-1], threshold)])
    return found


def only_read_finely(net: Net, site: str, fine: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether every convolution that reads this one reads it finely."""
    if any(reader.op == "maxpool" for reader in net.consumers()[site]):
        return False
    return all(
        site in fine.get(conv.name, ())
        for conv in net.convolutions()
        if site in (name for name, _ in readable_sites(net, conv.inputs[0]))
    )


def _menu(
    net: Net, wished: Mapping[str, Array], fine_sites: set[str], wide: set[str], span: float
) -> tuple[list[tuple[float, float]], dict[str, Array], int]:
    """(menu, table of every convolution, number of fine tables): see Scheme.

    First the tables that also exist fine, for those who are read finely; everybody else but the
    wide ones may use them too, and gets more of them where they are far from what it wishes.
    """
    fine: Array = np.zeros(0)
    if fine_sites:
        fine = cluster(np.concatenate([wished[name] for name in sorted(fine_sites)]), FINE_MENU)
    own: Array = np.zeros(0)
    if wide:
        own = cluster(np.concatenate([wished[name] for name in sorted(wide)]), WIDE_MENU)
        own = np.minimum(own, span)
    others = [name for name in wished if name not in fine_sites and name not in wide]
    common = fine
    if others:
        wish = np.concatenate([wished[name] for name in others])
        far = wish
        if len(fine):
            far = wish[_misfit(8 * np.log2(fine[serve(fine, wish)]), 8 * np.log2(wish)) > NEAR]
        tables = int(net.weight_count() * TABLE_SHARE / TABLE_SIZE)
        room = int(np.clip(tables - WIDE_MENU, *MENU_LIMITS))
        more: Array = cluster(far, max(room - len(fine), 3)) if len(far) else np.zeros(0)
        common = np.concatenate((fine, more))
    table: dict[str, Array] = {}
    for name, wish in wished.items():
        if name in wide:
            table[name] = len(common) + serve(own, wish)
        else:
            table[name] = serve(fine if name in fine_sites else common, wish)
    menu = [(float(t), float(t)) for t in common] + [(float(t), span) for t in own]
    return menu, table, len(fine)


def _sum_codes(
    layer: Layer,
    stats: TensorStatistics,
    importance: Array,
    exponent: int,
    overrides: Mapping[str, float],
    pictures: int,
) -> SumCodes:
    # Outward to a threshold, or the last bits of a float sum would reach multiplier and zero point.
    low = np.where(stats.low < 0, -THRESHOLDS[np.searchsorted(THRESHOLDS[:-1], -stats.low)], 0.0)
    high = wishes(stats, low, importance, pictures)
    if layer.name in overrides:
        high = np.full_like(high, overrides[layer.name])
    step = (high - low) / LEVELS
    # step = 2^(shift - exponent) / multiplier, the largest multiplier just below 128.
    shift = int(np.floor(np.log2(step.min() * CODE_LIMIT) + exponent))
    shift = int(np.clip(shift, 1, 23))
    multiplier = np.clip(np.rint(np.ldexp(1.0 / step, shift - exponent)), 1, CODE_LIMIT)
    scale = np.ldexp(1.0 / multiplier, shift - exponent)
    zero = np.clip(-CODE_LIMIT - np.rint(low / scale), -CODE_LIMIT, CODE_LIMIT)
    return SumCodes(multiplier.astype(np.int64), shift, zero.astype(np.int64))
