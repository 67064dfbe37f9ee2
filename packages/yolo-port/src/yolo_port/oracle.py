"""YOLOv5 in plain NumPy, double precision: what every other implementation is held against.

Slow and short on purpose. It takes batch normalisation as it stands and shares no code with the
Gluon network or the ONNX graph, so that a mistake in either shows.
"""

from __future__ import annotations

import numpy as np

from yolo_core.arrays import Array
from yolo_core.mxnet.checkpoint import Checkpoint
from yolo_core.yolo.activations import split_activation
from yolo_core.yolo.architecture import BATCH_NORM_EPSILON
from yolo_core.yolo.plan import IMAGE, Convolution, Step


class Oracle:
    """A checkpoint that can be run on one image."""

    def __init__(self, checkpoint: Checkpoint, single: bool = False) -> None:
        """single: compute in single precision, to see what that alone costs."""
        self._checkpoint = checkpoint
        self._dtype = np.float32 if single else np.float64

    def run(self, image: Array) -> tuple[dict[int, Array], tuple[Array, ...]]:
        """[3, H, W] RGB in 0…1, H and W multiples of the largest stride → layers and heads.

        Layers: index → [C, h, w] for all but Detect. Heads: [anchors * (5 + nc), h, w] for each
        level. Both in double precision, or single where that was asked for.
        """
        if self._checkpoint.color == "bgr":
            image = image[::-1]
        network = self._checkpoint.architecture.network
        outputs = {IMAGE: image.astype(self._dtype)}
        for index, step in enumerate(network.steps):
            outputs[index] = self._step(step, [outputs[each] for each in step.inputs])
        layers = {layer.index: outputs[layer.step] for layer in network.layers[:-1]}
        return layers, tuple(outputs[head] for head in network.heads)

    def _step(self, step: Step, inputs: list[Array]) -> Array:
        x = inputs[0]
        if step.convolution is not None:
            return self._block(step.convolution, x)
        if step.operation == "concat":
            return np.concatenate(inputs)
        if step.operation == "upsample":
            return x.repeat(step.factor, axis=1).repeat(step.factor, axis=2)
        if step.operation == "maxpool":
            sides = (step.kernel, step.kernel), step.stride, (step.padding, step.padding)
            pooled: Array = _windows(x, *sides, -np.inf).max(axis=(3, 4))
            return pooled
        return x + inputs[1]

    def _block(self, conv: Convolution, x: Array) -> Array:
        """Convolution, normalisation or bias, activation."""
        x = self._convolve(conv, x)
        if conv.batch_norm is not None and not self._checkpoint.fused:
            gamma, beta, mean, variance = (
                self._parameter(f"{conv.batch_norm}.{part}")[:, None, None]
                for part in ("gamma", "beta", "running_mean", "running_var")
            )
            x = (x - mean) / np.sqrt(variance + self._dtype(BATCH_NORM_EPSILON)) * gamma + beta
        return activated(x, conv.activation) if conv.activation else x

    def _convolve(self, conv: Convolution, x: Array) -> Array:
        windows = _windows(x, conv.kernel, conv.stride, conv.padding, 0)
        weight = self._parameter(f"{conv.name}.weight")
        parts = [
            np.tensordot(filters, source, axes=([1, 2, 3], [0, 3, 4]))
            for filters, source in zip(
                np.split(weight, conv.groups), np.split(windows, conv.groups)
            )
        ]
        y = np.concatenate(parts)
        if self._checkpoint.fused or conv.batch_norm is None:
            y += self._parameter(f"{conv.name}.bias")[:, None, None]
        return y

    def _parameter(self, name: str) -> Array:
        return self._checkpoint.parameters[name].astype(self._dtype)


def activated(x: Array, activation: str) -> Array:
    """The activation of that word (see `yolo_core.yolo.activations`)."""
    kind, slope = split_activation(activation)
    result: Array = x
    with np.errstate(over="ignore"):  # exp(-x) of a very negative x: the result is 0
        if kind == "silu":
            result = x / (1 + np.exp(-x))
        elif kind == "mish":
            result = x * np.tanh(np.logaddexp(0, x))
    if kind == "hardswish":
        result = x * np.clip(x + 3, 0, 6) / 6
    elif kind == "relu6":
        result = np.clip(x, 0, 6)
    elif kind in ("relu", "leaky"):
        result = np.where(x > 0, x, x * slope)
    return result


def _windows(
    x: Array, kernel: tuple[int, int], stride: int, padding: tuple[int, int], fill: float
) -> Array:
    """[C, H, W] → [C, h, w, *kernel], a view of the padded input."""
    sides = [(pad, pad) for pad in padding]
    padded = np.pad(x, ((0, 0), *sides), constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(padded, (1, *kernel))
    return view[:, ::stride, ::stride, 0]
