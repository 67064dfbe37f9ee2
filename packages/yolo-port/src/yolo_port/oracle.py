"""YOLOv5 in plain NumPy, double precision: what every other implementation is held against.

Slow and short on purpose. It takes batch normalisation as it stands and shares no code with the
Gluon network or the ONNX graph, so that a mistake in either shows.
"""

from __future__ import annotations

import numpy as np

from yolo_core.arrays import Array
from yolo_core.mxnet.checkpoint import Checkpoint
from yolo_core.yolo.architecture import BATCH_NORM_EPSILON, LEAKY_SLOPE, Convolution, Layer


class Oracle:
    """A checkpoint that can be run on one image."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._convolutions = {conv.name: conv for conv in checkpoint.architecture.convolutions()}

    def run(self, image: Array) -> tuple[dict[int, Array], tuple[Array, ...]]:
        """[3, H, W] RGB in 0…1, H and W multiples of 32 → layers and heads.

        Layers: index → [C, h, w] float64 for all but Detect. Heads: three [3 * (5 + nc), h, w].
        """
        if self._checkpoint.color == "bgr":
            image = image[::-1]
        outputs = {-1: image.astype(np.float64)}
        heads: tuple[Array, ...] = ()
        for layer in self._checkpoint.architecture.layers():
            sources = [outputs[source] for source in layer.sources]
            if layer.kind == "Detect":
                heads = tuple(
                    self._convolve(f"model.{layer.index}.m.{level}", source)
                    for level, source in enumerate(sources)
                )
            else:
                outputs[layer.index] = self._layer(layer, sources)
        del outputs[-1]
        return outputs, heads

    def _layer(self, layer: Layer, sources: list[Array]) -> Array:
        stem, x = f"model.{layer.index}", sources[0]
        if layer.kind == "Conv":
            return self._block(stem, x)
        if layer.kind == "Concat":
            return np.concatenate(sources)
        if layer.kind == "Upsample":
            return x.repeat(layer.kernel, axis=1).repeat(layer.kernel, axis=2)
        if layer.kind == "SPPF":
            stages = [self._block(f"{stem}.cv1", x)]
            for _ in range(3):
                stages.append(_max_pool(stages[-1], layer.kernel))
            return self._block(f"{stem}.cv2", np.concatenate(stages))
        y = self._block(f"{stem}.cv1", x)
        for repeat in range(layer.repeats):
            inner = self._block(f"{stem}.m.{repeat}.cv1", y)
            inner = self._block(f"{stem}.m.{repeat}.cv2", inner)
            y = y + inner if layer.shortcut else inner
        return self._block(f"{stem}.cv3", np.concatenate([y, self._block(f"{stem}.cv2", x)]))

    def _block(self, stem: str, x: Array) -> Array:
        """Convolution, normalisation or bias, activation."""
        x = self._convolve(f"{stem}.conv", x)
        if not self._checkpoint.fused:
            gamma, beta, mean, variance = (
                self._parameter(f"{stem}.bn.{part}")[:, None, None]
                for part in ("gamma", "beta", "running_mean", "running_var")
            )
            x = (x - mean) / np.sqrt(variance + BATCH_NORM_EPSILON) * gamma + beta
        activation = self._checkpoint.architecture.activation
        if activation == "silu":
            with np.errstate(over="ignore"):  # exp(-x) of a very negative x: the result is 0
                result: Array = x / (1 + np.exp(-x))
                return result
        return np.where(x > 0, x, x * (LEAKY_SLOPE if activation == "leaky" else 0))

    def _convolve(self, name: str, x: Array) -> Array:
        conv: Convolution = self._convolutions[name]
        windows = _windows(x, conv.kernel, conv.stride, conv.padding, 0)
        y = np.tensordot(self._parameter(f"{name}.weight"), windows, axes=([1, 2, 3], [0, 3, 4]))
        if self._checkpoint.fused or conv.batch_norm is None:
            y += self._parameter(f"{name}.bias")[:, None, None]
        return y

    def _parameter(self, name: str) -> Array:
        return self._checkpoint.parameters[name].astype(np.float64)


def _windows(x: Array, kernel: int, stride: int, padding: int, fill: float) -> Array:
    """[C, H, W] → [C, h, w, kernel, kernel], a view of the padded input."""
    sides = (padding, padding)
    padded = np.pad(x, ((0, 0), sides, sides), constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(padded, (1, kernel, kernel))
    return view[:, ::stride, ::stride, 0]


def _max_pool(x: Array, kernel: int) -> Array:
    """Maximum over kernel x kernel windows, stride 1, same size."""
    result: Array = _windows(x, kernel, 1, kernel // 2, -np.inf).max(axis=(3, 4))
    return result
