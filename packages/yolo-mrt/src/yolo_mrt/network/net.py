"""The float network as the quantizer sees it: a short list of layers, batch norm folded away.

Whatever it came from (our checkpoint, a symbol of the original project), it is this in the end;
`building` makes it. Nothing here runs a network; `float_pass` and `coded_pass` do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yolo_core.arrays import Array

INPUT = "data"


@dataclass(frozen=True)
class Layer:
    """One tensor and how it is made.

    op: "input", "conv", "add", "concat" (axis 1), "maxpool" or "upsample" (nearest).
    weight [out, in / groups, kh, kw] and bias [out], float32: of a conv. activation: a kind of
    `yolo_core.yolo.activations` for a conv's result, empty for a head. kernel, stride, padding:
    (vertical, horizontal), of convs and max-pools. scale: factor of an upsampling.
    """

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    weight: Array | None = None
    bias: Array | None = None
    activation: str = ""
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    scale: int = 1
    slope: float = 0.0
    groups: int = 1

    @property
    def weights(self) -> Array:
        """The weight of a convolution."""
        assert self.weight is not None, self.name
        return self.weight

    @property
    def biases(self) -> Array:
        """The bias of a convolution."""
        assert self.bias is not None, self.name
        return self.bias


@dataclass(frozen=True)
class Net:
    """Layers in the order they run; heads: the detection convs by level.

    anchors: of each level.
    """

    layers: tuple[Layer, ...]
    heads: tuple[str, ...]
    anchors: int = 3

    def by_name(self) -> dict[str, Layer]:
        """Name → layer."""
        return {layer.name: layer for layer in self.layers}

    def convolutions(self) -> tuple[Layer, ...]:
        """The convolutions in order."""
        return tuple(layer for layer in self.layers if layer.op == "conv")

    def consumers(self) -> dict[str, tuple[Layer, ...]]:
        """Name → the layers that read it."""
        readers: dict[str, tuple[Layer, ...]] = {layer.name: () for layer in self.layers}
        for layer in self.layers:
            for name in dict.fromkeys(layer.inputs):
                readers[name] += (layer,)
        return readers

    def last_use(self) -> dict[str, int]:
        """Name → index of the last layer that reads it; heads are never let go."""
        last = {name: len(self.layers) for name in self.heads}
        for index, layer in enumerate(self.layers):
            for name in layer.inputs:
                last[name] = max(last.get(name, 0), index)
        return last

    def channels(self) -> dict[str, int]:
        """Name → channels of the tensor."""
        found: dict[str, int] = {}
        for layer in self.layers:
            if layer.op == "input":
                found[layer.name] = 3
            elif layer.op == "conv":
                found[layer.name] = layer.weights.shape[0]
            elif layer.op == "concat":
                found[layer.name] = sum(found[name] for name in layer.inputs)
            else:
                found[layer.name] = found[layer.inputs[0]]
        return found

    def coded(self) -> frozenset[str]:
        """The tensors that a convolution reads, at once or through joins, pools, upsamplings.

        These need codes of 8 bits; what enters nothing but sums does not.
        """
        found = {name for layer in self.convolutions() for name in layer.inputs}
        for layer in reversed(self.layers):
            if layer.name in found and layer.op in ("concat", "maxpool", "upsample"):
                found.update(layer.inputs)
        return frozenset(found)

    def summed(self) -> frozenset[str]:
        """The tensors that a sum reads, at once or through joins and upsamplings.

        These need wide codes.
        """
        found = {name for layer in self.layers if layer.op == "add" for name in layer.inputs}
        for layer in reversed(self.layers):
            if layer.name in found and layer.op in ("concat", "upsample"):
                found.update(layer.inputs)
        return frozenset(found)

    def weight_count(self) -> int:
        """Number of convolution weights."""
        return sum(layer.weights.size for layer in self.convolutions())

    def extents(self, height: int, width: int) -> dict[str, tuple[int, int]]:
        """Name → (height, width) of the tensor for an image of that many pixels."""
        found: dict[str, tuple[int, int]] = {}
        for layer in self.layers:
            if layer.op == "input":
                found[layer.name] = (height, width)
                continue
            rows, columns = found[layer.inputs[0]]
            if layer.op in ("conv", "maxpool"):
                rows = (rows + 2 * layer.padding[0] - layer.kernel[0]) // layer.stride[0] + 1
                columns = (columns + 2 * layer.padding[1] - layer.kernel[1]) // layer.stride[1] + 1
            elif layer.op == "upsample":
                rows, columns = rows * layer.scale, columns * layer.scale
            found[layer.name] = (rows, columns)
        return found


def readable_sites(net: Net, name: str) -> tuple[tuple[str, int], ...]:
    """The activated convolutions whose codes reach `name` through joins and upsamplings alone,
    each with its first channel there."""
    layers, channels = net.by_name(), net.channels()
    layer = layers[name]
    if layer.op == "conv":
        return ((name, 0),)
    found: list[tuple[str, int]] = []
    start = 0
    if layer.op in ("concat", "upsample"):
        for part in layer.inputs:
            found += [(site, start + offset) for site, offset in readable_sites(net, part)]
            start += channels[part]
    return tuple(found)


def per_output(layer: Layer, values: Array) -> Array:
    """What belongs to each channel that a convolution reads, [P] → [out, P / groups].

    Row o holds the values of the channels that output channel o reads.
    """
    rows = values.reshape(layer.groups, -1)
    return np.repeat(rows, layer.weights.shape[0] // layer.groups, axis=0)
