"""From an architecture and its parameters, or from an exported symbol, to a `Net`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.mxnet.symbol import SymbolLayer, SymbolReader
from yolo_core.yolo import architecture as yolo
from yolo_core.yolo.architecture import LEAKY_SLOPE, Architecture
from yolo_mrt.network.net import INPUT, Layer, Net


def net_of(architecture: Architecture, parameters: Mapping[str, Array]) -> Net:
    """The network of an architecture with its fused parameters (`parameter_shapes(fused=True)`).

    Sums, joins, pools and upsamplings are called and numbered as MXNet calls them when it runs
    the network, because the names of tensors stand in scheme files and in configurations.
    """
    return _Builder(architecture, parameters).net()


class _Builder:
    def __init__(self, architecture: Architecture, parameters: Mapping[str, Array]) -> None:
        self._architecture, self._parameters = architecture, parameters
        self._convolutions = {conv.name: conv for conv in architecture.convolutions()}
        self._layers = [Layer(INPUT, "input")]
        self._counts: dict[str, int] = {}

    def net(self) -> Net:
        # A detection convolution runs as soon as the layer that it reads is there.
        *body, detect = self._architecture.layers()
        levels = {source: level for level, source in enumerate(detect.sources)}
        heads: dict[int, str] = {}
        outputs = {-1: INPUT}
        for layer in body:
            sources = tuple(outputs[source] for source in layer.sources)
            outputs[layer.index] = self._layer(layer, sources)
            if layer.index in levels:
                level = levels[layer.index]
                heads[level] = self._conv(f"model.{detect.index}.m.{level}", outputs[layer.index])
        return Net(tuple(self._layers), tuple(heads[level] for level in sorted(heads)))

    def _layer(self, layer: yolo.Layer, sources: tuple[str, ...]) -> str:
        stem = f"model.{layer.index}"
        if layer.kind == "Conv":
            return self._conv(f"{stem}.conv", sources[0])
        if layer.kind == "Concat":
            return self._numbered("concat", "concat", sources)
        if layer.kind == "Upsample":
            return self._numbered("upsampling", "upsample", sources, scale=layer.kernel)
        if layer.kind == "SPPF":
            return self._sppf(stem, sources[0], layer.kernel)
        return self._c3(stem, sources[0], layer.repeats, layer.shortcut)

    def _c3(self, stem: str, x: str, repeats: int, shortcut: bool) -> str:
        y = self._conv(f"{stem}.cv1.conv", x)
        for repeat in range(repeats):
            inside = self._conv(f"{stem}.m.{repeat}.cv1.conv", y)
            inside = self._conv(f"{stem}.m.{repeat}.cv2.conv", inside)
            y = self._numbered("_plus", "add", (y, inside)) if shortcut else inside
        joined = (y, self._conv(f"{stem}.cv2.conv", x))
        return self._conv(f"{stem}.cv3.conv", self._numbered("concat", "concat", joined))

    def _sppf(self, stem: str, x: str, side: int) -> str:
        stages = [self._conv(f"{stem}.cv1.conv", x)]
        for _ in range(3):
            pooled = self._numbered(
                "pooling", "maxpool", stages[-1:], kernel=(side, side),
                padding=(side // 2, side // 2),
            )  # fmt: skip
            stages.append(pooled)
        return self._conv(f"{stem}.cv2.conv", self._numbered("concat", "concat", stages))

    def _conv(self, name: str, source: str) -> str:
        conv = self._convolutions[name]
        weight, bias = (
            np.asarray(self._parameters[f"{name}.{part}"], np.float32)
            for part in ("weight", "bias")
        )
        activation = self._architecture.activation if conv.batch_norm else ""
        self._layers.append(
            Layer(
                name, "conv", (source,), weight, bias, activation, (conv.kernel, conv.kernel),
                (conv.stride, conv.stride), (conv.padding, conv.padding),
                slope=LEAKY_SLOPE if activation == "leaky" else 0.0,
            )
        )  # fmt: skip
        return name

    def _numbered(
        self, word: str, op: str, sources: Sequence[str], *, kernel: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0), scale: int = 1,
    ) -> str:  # fmt: skip
        number = self._counts.get(word, 0)
        self._counts[word] = number + 1
        name = f"{word}{number}"
        self._layers.append(
            Layer(name, op, tuple(sources), kernel=kernel, padding=padding, scale=scale)
        )
        return name


def read_net(text: str, parameters: Mapping[str, Array], source: str) -> Net:
    """The network of a symbol (JSON text) with its parameters (with or without `arg:`, `aux:`).

    source: the file, for the error. InputError names what cannot be quantized.
    """
    layers, heads = SymbolReader(text, parameters, source).network()
    net = Net(tuple(_folded(layer) for layer in layers), heads)
    extents = net.extents(64, 64)
    expected = ((8, 8), (4, 4), (2, 2))
    found = tuple(extents[name] for name in net.heads)
    if found != expected:
        order = sorted(range(3), key=lambda i: -found[i][0])
        net = Net(net.layers, tuple(net.heads[i] for i in order))
        if tuple(extents[name] for name in net.heads) != expected:
            raise InputError(source, f"has outputs of {found} for 64 pixels", "strides 8, 16, 32")
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
        layer.stride, layer.padding, layer.scale, layer.slope,
    )  # fmt: skip
