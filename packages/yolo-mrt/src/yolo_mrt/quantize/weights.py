"""Integer weights of one convolution: steps per output channel, bias, multipliers and shift.

Steps are chosen among those that the requantization can express exactly (multiplier / 2^shift of
the index step), so no multiplier is ever rounded. Which way each weight rounds is in `rounding`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yolo_core.arrays import Array
from yolo_mrt.calibrate.scheme import Codes
from yolo_mrt.calibrate.tables import CODE_LIMIT, FINE, FINE_SHIFT
from yolo_mrt.network.net import Layer, per_output
from yolo_mrt.quantize.moments import Moments
from yolo_mrt.quantize.rounding import round_compensating, round_nearest

#: Steps tried, as shares of the one that just holds the largest weight.
SHARES = np.linspace(0.4, 1.0, 31)
MULTIPLIER_BITS = 8
#: Accumulator and multiplier together have to fit 32 bits.
MAX_CLIP_BITS = 24
#: Result bits and shift together stay below 32: the original's CPU code fails to clip at 32.
SHIFT_ROOM = 31
#: Fractional bits of weight errors where means are taken: with errors below 2^5, 2^13 of them and
#: totals below 2^28, sums fit 63 bits.
_DRIFT_BITS = 16


@dataclass(frozen=True)
class IntegerConv:
    """A convolution in integers.

    weight int8 [out, P / groups, kh, kw] in ±127 over the P channels of the float tensor, which
    fine codes share (see `read_weights`); bias [out]; result = (accumulator * multiplier) >> shift,
    rounded half up. clip_bits: of the accumulator, lossless. step [out]: real value of one
    accumulator unit.
    """

    weight: Array
    bias: Array
    multiplier: Array
    shift: int
    clip_bits: int
    step: Array


def code_weights(layer: Layer, codes: Codes) -> Array:
    """Real weights per unit of coarse code, float64 [out, P / groups, kh, kw]."""
    weight = layer.weights.astype(np.float64)
    result: Array = weight * per_output(layer, codes.coarse().scale)[:, :, None, None]
    return result


def read_weights(weight: Array, codes: Codes) -> Array:
    """The integers that multiply the codes, one for each entry of `codes`: int8.

    weight: of an IntegerConv. A fine code's is that of its channel over FINE, rounded half up.
    """
    if not codes.fine.any():
        return weight
    shared = weight[:, codes.channel].astype(np.int64)
    shared[:, codes.fine] = (shared[:, codes.fine] + FINE // 2) >> FINE_SHIFT
    return shared.astype(np.int8)


def choose_steps(
    flat: Array,
    moments: Array | None,
    bias: Array,
    unit: Array,
    result_bits: int,
) -> tuple[Array, Array, int]:
    """(step, multiplier, shift): the accumulator's real unit per output channel.

    flat [out, K]: real weights per code. moments [K]: mean square of each input, None for equal.
    bias [out]: in reals. unit [out]: real value of one unit of the result. step = unit *
    multiplier / 2^shift exactly.
    """
    peak = np.abs(flat).max(axis=1)
    # A channel without weights still has a bias, which needs some step.
    peak = np.maximum(peak, np.maximum(np.abs(bias) * 2.0**-14, unit * 2.0**-20))
    weight = np.ones(flat.shape[1]) if moments is None else moments
    best: Array = np.full(len(flat), np.inf)
    step: Array = peak / CODE_LIMIT
    for share in SHARES:
        trial = peak * share / CODE_LIMIT
        rounded = np.clip(np.rint(flat / trial[:, None]), -CODE_LIMIT, CODE_LIMIT)
        error = ((rounded * trial[:, None] - flat) ** 2 * weight).sum(axis=1)
        better = error < best * (1 - 1e-9)
        best, step = np.where(better, error, best), np.where(better, trial, step)
    limit = (1 << (MULTIPLIER_BITS - 1)) - 1
    ratio = step / unit
    # frexp rather than a logarithm, whose last bit may differ from machine to machine.
    shift = int(np.frexp(limit / ratio.max())[1]) - 1
    shift = int(np.clip(shift, 1, SHIFT_ROOM - result_bits))
    multiplier = np.clip(np.rint(np.ldexp(ratio, shift)), 1, limit).astype(np.int64)
    return unit * np.ldexp(multiplier.astype(np.float64), -shift), multiplier, shift


def mean_drift(errors: Array, moments: Moments) -> Array:
    """The mean over the moments of errors times input, float64 [out], in units of the errors.

    errors [out, K]: of weights, in steps. Summed in integers, so no order of sums shows.
    """
    whole = np.rint(np.ldexp(errors, _DRIFT_BITS)).astype(np.int64)
    sums = (whole * moments.totals.astype(np.int64)).sum(axis=1)
    result: Array = np.ldexp(sums / moments.count, -_DRIFT_BITS)
    return result


def quantize_conv(
    layer: Layer,
    codes: Codes,
    unit: Array,
    offset: Array,
    result_bits: int,
    moments: Moments | None = None,
) -> IntegerConv:
    """The convolution in integers.

    unit, offset [out]: the result r of the requantization stands for r * unit + offset.
    moments: of coarse (code - zero) over the columns in the order of the weight's last three axes;
    what rounding adds to the mean of a channel is taken out of its bias, so only deviations from
    the mean guide the rounding. None rounds to nearest and leaves the bias as it is.
    """
    real = code_weights(layer, codes)
    flat = real.reshape(len(real), -1)
    bias = layer.biases.astype(np.float64) - offset
    if moments is None:
        step, multiplier, shift = choose_steps(flat, None, bias, unit, result_bits)
        rounded = round_nearest(flat, step)
        drift: Array = np.zeros(len(flat))
    else:
        spread = np.diag(moments.covariances)
        step, multiplier, shift = choose_steps(flat, spread, bias, unit, result_bits)
        rounded = round_compensating(flat, step, moments.covariances)
        drift = mean_drift(flat / step[:, None] - rounded, moments)
    weight = rounded.reshape(real.shape).astype(np.int8)
    # The codes carry their zero points: what they add is taken out here, once and exactly.
    zeros = per_output(layer, codes.coarse().zero.astype(np.int64))
    taps = (weight.sum(axis=(2, 3), dtype=np.int64) * zeros).sum(axis=1)
    integer_bias = np.rint(bias / step + drift).astype(np.int64) - taps
    read = np.abs(read_weights(weight, codes).astype(np.int64)).sum(axis=(2, 3))
    limits = per_output(layer, np.where(codes.fine, FINE, CODE_LIMIT))
    reach = (read * limits).sum(axis=1) + np.abs(integer_bias)
    clip_bits = int(reach.max()).bit_length() + 1
    return IntegerConv(weight, integer_bias, multiplier, shift,
                       min(max(clip_bits, 2), MAX_CLIP_BITS), step)  # fmt: skip
