"""The float network on the calibration images, and what is kept of it: per channel a maximum, a
minimum, and the tail sums that say what clipping at each threshold would cost.

MXNet runs the layers one by one. Only these statistics leave this module, and thresholds are
chosen from them among a few thresholds, so the last bits of a float convolution decide nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.mxnet.importing import mxnet
from yolo_mrt.calibrate.beside import beside
from yolo_mrt.network.net import Layer, Net

#: Thresholds are looked for at 2^(j/8 - 3), j from 0: from 0.125 to 1024. The eight of an octave
#: are spelt out, because a power's last bit may differ from machine to machine.
_OCTAVE = (1.0, 1.09051, 1.18921, 1.29684, 1.41421, 1.54221, 1.68179, 1.83401)
THRESHOLDS = np.ldexp(np.tile(_OCTAVE, 14)[:105], np.arange(105) // 8 - 3)
#: How much worse than a rounding error a clipped value is: peaks are where the objects are.
CLIP_WEIGHT = 16.0
#: Values per channel and image that enter the tail sums; maxima see every value.
SAMPLES = 1600


#: Positive float32 numbers by their upper 16 bits: how many of THRESHOLDS lie below all of them,
#: and the one threshold that may lie among them.
_UPPER = np.arange(0x7F81, dtype=np.uint32) << 16
_BELOW = np.searchsorted(THRESHOLDS, _UPPER.view(np.float32).astype(np.float64))
_AMONG = np.append(THRESHOLDS, np.inf)[_BELOW]


def _slots(values: Array) -> Array:
    """How many of THRESHOLDS lie below each of the positive values, float32 [n].

    What np.searchsorted says, in half the time: two thresholds never share their upper 16 bits.
    """
    upper = values.view(np.uint32) >> 16
    result: Array = _BELOW[upper] + (values > _AMONG[upper])
    return result


@dataclass
class TensorStatistics:
    """Of one tensor, per channel, float64.

    low, high [C]: extremes. count: values sampled. tails [3, len(THRESHOLDS) + 1, C]: number, sum
    and sum of squares of the sampled values whose magnitude lies between THRESHOLDS[j - 1] and
    THRESHOLDS[j]. energy, total [C]: sum of squares and sum of all samples.
    """

    low: Array
    high: Array
    tails: Array
    energy: Array
    total: Array
    count: int = 0

    @classmethod
    def empty(cls, channels: int) -> TensorStatistics:
        """Nothing seen yet."""
        return cls(
            np.full(channels, np.inf),
            np.full(channels, -np.inf),
            np.zeros((3, len(THRESHOLDS) + 1, channels)),
            np.zeros(channels),
            np.zeros(channels),
        )

    def add(self, values: Array, step: int) -> None:
        """One image's tensor [C, h, w] float32; the tail sums take every step-th row and column."""
        channels = values.shape[0]
        self.low = np.minimum(self.low, values.min(axis=(1, 2)))
        self.high = np.maximum(self.high, values.max(axis=(1, 2)))
        sample = values[:, step // 2 :: step, step // 2 :: step].reshape(channels, -1)
        self.count += sample.shape[1]
        above = np.flatnonzero(sample > np.float32(THRESHOLDS[0]))
        where = above // max(sample.shape[1], 1)
        slot = _slots(sample.ravel()[above]) * channels + where
        sample = sample.astype(np.float64)
        self.energy += (sample * sample).sum(axis=1)
        self.total += sample.sum(axis=1)
        large = sample.ravel()[above]
        size = self.tails[0].size
        for power, weights in enumerate((None, large, large * large)):
            sums = np.bincount(slot, weights, minlength=size)
            self.tails[power] += sums.reshape(self.tails[power].shape)

    def clip_cost(self, levels: int, low: Array) -> Array:
        """Mean squared error [len(THRESHOLDS), C] of codes from low [C] to each of THRESHOLDS.

        Rounding costs step^2 / 12 everywhere; clipping, CLIP_WEIGHT times the squared excess.
        """
        above = self.tails[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
        threshold = THRESHOLDS[:, None]
        step = (threshold - low[None]) / levels
        excess = above[2] - 2 * threshold * above[1] + threshold**2 * above[0]
        result: Array = step**2 / 12 + CLIP_WEIGHT * np.maximum(excess, 0) / max(self.count, 1)
        return result


class FloatNet:
    """The float network, ready to run layer by layer."""

    def __init__(self, net: Net) -> None:
        self._mx = mxnet()
        self._net = net
        self._last = net.last_use()
        array = self._mx.nd.array
        self._weights = {
            layer.name: (array(layer.weights), array(layer.biases)) for layer in net.convolutions()
        }

    def run(
        self, image: Array, visit: Callable[[str, Any], None] | None = None
    ) -> tuple[Array, ...]:
        """Planes float32 [1, 3, h, w] in 0…1 → raw heads.

        visit(name, NDArray) sees every tensor.
        """
        values: dict[str, Any] = {}
        for index, layer in enumerate(self._net.layers):
            if layer.op == "input":
                values[layer.name] = self._mx.nd.array(image)
            else:
                values[layer.name] = self.layer(layer, [values[name] for name in layer.inputs])
            if visit is not None:
                visit(layer.name, values[layer.name])
            for name in layer.inputs:
                if self._last[name] == index:
                    values.pop(name, None)
        return tuple(values[name].asnumpy() for name in self._net.heads)

    def rerun(self, values: Mapping[str, Any], name: str, value: Any) -> tuple[Array, ...]:
        """Raw heads where this tensor is `value` and all behind it follows; values: of a run."""
        moved = {name: value}
        for layer in self._net.layers:
            if any(i in moved for i in layer.inputs):
                moved[layer.name] = self.layer(
                    layer, [moved.get(i, values[i]) for i in layer.inputs]
                )
        return tuple(moved.get(head, values[head]).asnumpy() for head in self._net.heads)

    def layer(self, layer: Layer, inputs: list[Any], weight: Any | None = None) -> Any:
        """What a layer makes of its inputs; a convolution may be given another weight."""
        nd = self._mx.nd
        if layer.op == "conv":
            own, bias = self._weights[layer.name]
            y = nd.Convolution(
                inputs[0], own if weight is None else weight, bias, kernel=layer.kernel,
                stride=layer.stride, pad=layer.padding, num_filter=own.shape[0],
                num_group=layer.groups,
            )  # fmt: skip
            return activate(nd, layer, y)
        return pointwise(nd, layer, inputs)


def activate(nd: Any, layer: Layer, y: Any) -> Any:
    """The activation of a convolution."""
    kind = layer.activation
    if kind == "silu":
        return y * nd.sigmoid(y)
    if kind == "leaky":
        return nd.LeakyReLU(y, act_type="leaky", slope=layer.slope)
    if kind == "relu6":
        return nd.clip(y, 0, 6)
    if kind == "hardswish":
        return y * nd.clip(y + 3, 0, 6) / 6
    if kind == "mish":
        return y * nd.tanh(nd.Activation(y, act_type="softrelu"))
    return nd.relu(y) if kind == "relu" else y


def pointwise(nd: Any, layer: Layer, inputs: list[Any]) -> Any:
    """Every layer that is no convolution."""
    if layer.op == "add":
        return inputs[0] + inputs[1]
    if layer.op == "concat":
        return nd.concat(*inputs, dim=1)
    if layer.op == "maxpool":
        return nd.Pooling(inputs[0], kernel=layer.kernel, stride=layer.stride, pad=layer.padding,
                          pool_type="max")  # fmt: skip
    return nd.UpSampling(inputs[0], scale=layer.scale, sample_type="nearest")


def measured(net: Net) -> tuple[str, ...]:
    """The tensors that get codes of their own: activated convolutions and sums."""
    return tuple(
        layer.name for layer in net.layers
        if layer.op == "add" or (layer.op == "conv" and layer.activation)
    )  # fmt: skip


def measure(
    net: Net,
    images: Iterable[Array],
    extents: Mapping[str, tuple[int, int]],
    look: Callable[[tuple[Array, ...]], None] | None = None,
) -> dict[str, TensorStatistics]:
    """Statistics of every measured tensor over planes [1, 3, h, w] float32 in 0…1.

    Of a convolution without activation, whose codes span as much below zero as above, magnitudes.
    look(raw heads) sees what the network makes of each image.
    """
    plain = {layer.name for layer in net.convolutions() if layer.activation == "identity"}
    channels = net.channels()
    found = {name: TensorStatistics.empty(channels[name]) for name in measured(net)}
    steps = {
        name: max(1, round((extents[name][0] * extents[name][1] / SAMPLES) ** 0.5))
        for name in found
    }
    float_net = FloatNet(net)
    with beside() as later:

        def visit(name: str, value: Any) -> None:
            if name in found:
                values = value.asnumpy()[0]
                later(found[name].add, np.abs(values) if name in plain else values, steps[name])

        for image in images:
            heads = float_net.run(image, visit)
            if look is not None:
                look(heads)
    return found
