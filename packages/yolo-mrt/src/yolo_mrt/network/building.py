"""From an architecture and its parameters, or from an exported symbol, to a `Net`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.mxnet.symbol import SymbolLayer, SymbolReader
from yolo_core.yolo.activations import split_activation
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.plan import IMAGE, Convolution, Step
from yolo_mrt.network.net import INPUT, Layer, Net

#: Side of the image, in pixels, by which the strides of a symbol's outputs are found.
_PROBE = 256
_STRIDES = (4, 8, 16, 32, 64, 128)


def net_of(architecture: Architecture, parameters: Mapping[str, Array]) -> Net:
    """The network of an architecture with its fused parameters (`parameter_shapes(fused=True)`).

    Sums, joins, pools and upsamplings are called and numbered as MXNet calls them when it runs
    the network, because the names of tensors stand in scheme files and in configurations.
    """
    return _Builder(architecture, parameters).net()


#: Operation of a plan → what MXNet calls such a tensor, and its op in a `Net`.
_NUMBERED = {
    "add": ("_plus", "add"),
    "concat": ("concat", "concat"),
    "maxpool": ("pooling", "maxpool"),
    "upsample": ("upsampling", "upsample"),
}


class _Builder:
    def __init__(self, architecture: Architecture, parameters: Mapping[str, Array]) -> None:
        self._architecture, self._parameters = architecture, parameters
        self._layers = [Layer(INPUT, "input")]
        self._names = {IMAGE: INPUT}
        self._counts: dict[str, int] = {}

    def net(self) -> Net:
        steps, heads = self._architecture.steps(), self._architecture.network.heads
        # A detection convolution runs as soon as the layer that it reads is there.
        waiting: dict[int, list[int]] = {}
        for head in heads:
            waiting.setdefault(steps[head].inputs[0], []).append(head)
        for index, step in enumerate(steps):
            if index not in heads:
                self._place(index, step)
            for head in waiting.get(index, ()):
                self._place(head, steps[head])
        return Net(
            tuple(self._layers), tuple(self._names[head] for head in heads),
            self._architecture.anchors_per_level,
        )  # fmt: skip

    def _place(self, index: int, step: Step) -> None:
        sources = tuple(self._names[source] for source in step.inputs)
        if step.convolution is not None:
            layer = self._conv(step.convolution, sources)
        else:
            word, op = _NUMBERED[step.operation]
            number = self._counts.get(word, 0)
            self._counts[word] = number + 1
            sides = ((step.kernel,) * 2, (step.stride,) * 2, (step.padding,) * 2)
            layer = Layer(f"{word}{number}", op, sources, kernel=sides[0], stride=sides[1],
                          padding=sides[2], scale=step.factor)  # fmt: skip
        self._layers.append(layer)
        self._names[index] = layer.name

    def _conv(self, conv: Convolution, sources: tuple[str, ...]) -> Layer:
        weight, bias = (
            np.asarray(self._parameters[f"{conv.name}.{part}"], np.float32)
            for part in ("weight", "bias")
        )
        activation, slope = split_activation(conv.activation) if conv.activation else ("", 0.0)
        return Layer(
            conv.name, "conv", sources, weight, bias, activation, conv.kernel,
            (conv.stride, conv.stride), conv.padding, slope=slope, groups=conv.groups,
        )  # fmt: skip


def read_net(text: str, parameters: Mapping[str, Array], source: str) -> Net:
    """The network of a symbol (JSON text) with its parameters (with or without `arg:`, `aux:`).

    source: the file, for the error. InputError names what cannot be quantized.
    """
    layers, heads = SymbolReader(text, parameters, source).network()
    net = Net(tuple(_folded(layer) for layer in layers), heads)
    extents = net.extents(_PROBE, _PROBE)
    net = Net(net.layers, tuple(sorted(net.heads, key=lambda name: -extents[name][0])))
    for name in net.heads:
        rows, columns = extents[name]
        if rows != columns or rows not in (_PROBE // stride for stride in _STRIDES):
            raise InputError(source, f"has an output of {rows} x {columns} for {_PROBE} pixels",
                             f"a stride of {', '.join(map(str, _STRIDES))}")  # fmt: skip
    return net


def _folded(layer: SymbolLayer) -> Layer:
    """The layer with its normalisation folded into weights and bias, in double precision."""
    weight, bias, norm = layer.weight, layer.bias, layer.norm
    if weight is not None:
        bias = np.zeros(weight.shape[0], np.float32) if bias is None else bias
    if weight is not None and bias is not None and norm is not None:
        gamma = np.float64(1) if norm.fix_gamma else norm.gamma.astype(np.float64)
        factor = gamma / np.sqrt(norm.variance.astype(np.float64) + norm.epsilon)
        shift = (bias.astype(np.float64) - norm.mean.astype(np.float64)) * factor
        weight = (weight.astype(np.float64) * factor[:, None, None, None]).astype(np.float32)
        bias = (norm.beta.astype(np.float64) + shift).astype(np.float32)
    return Layer(
        layer.name, layer.op, layer.inputs, weight, bias, layer.activation, layer.kernel,
        layer.stride, layer.padding, layer.scale, layer.slope, layer.groups,
    )  # fmt: skip
