"""The Gluon network: an architecture turned into something that MXNet can run and train.

One parametric network for all sizes. Its parameters carry the names of
`Architecture.parameter_shapes`, so a checkpoint needs no translation. This module and what it
returns need MXNet; nothing else in yolo-core but `float_predictor` does.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.mxnet.door import mxnet
from yolo_core.yolo.architecture import (
    BATCH_NORM_EPSILON,
    LEAKY_SLOPE,
    Architecture,
    Convolution,
    Layer,
)
from yolo_core.yolo.qat import ConvolutionGrid, Grid

mx = mxnet()
_HybridBlock: Any = mx.gluon.HybridBlock
_Conv2D: Any = mx.gluon.nn.Conv2D

GRID_ARRAYS = ("weight_step", "input_step", "input_low", "input_high")
#: Share of the old running statistics that a training step keeps (PyTorch's momentum of 0.03).
BATCH_NORM_MOMENTUM = 0.97


class ConvBlock(_HybridBlock):  # type: ignore[misc]
    """Convolution, batch normalisation (or its bias, when fused) and activation."""

    def __init__(
        self, conv: Convolution, activation: str, fused: bool, grid: Grid | None, precision: str
    ) -> None:
        super().__init__(prefix="")
        self._activation = activation
        with self.name_scope():
            self.conv = _convolution(conv, fused, grid, precision)
            self.bn = None
            if not fused:
                self.bn = mx.gluon.nn.BatchNorm(
                    in_channels=conv.out_channels,
                    momentum=BATCH_NORM_MOMENTUM,
                    epsilon=BATCH_NORM_EPSILON,
                    prefix=f"{conv.batch_norm}.",
                )

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        x = self.conv(x)
        if self.bn is not None:
            x = self.bn(x)
        if self._activation == "silu":
            # As an activation oneDNN computes the sigmoid, a fifth of a training step faster.
            return x * F.Activation(x, act_type="sigmoid")
        if self._activation == "leaky":
            return F.LeakyReLU(x, act_type="leaky", slope=LEAKY_SLOPE)
        return F.relu(x)


class Bottleneck(_HybridBlock):  # type: ignore[misc]
    """1x1 and 3x3 convolution, added to the input where the layer has a shortcut."""

    def __init__(self, first: ConvBlock, second: ConvBlock, shortcut: bool) -> None:
        super().__init__(prefix="")
        self.cv1, self.cv2 = first, second
        self._shortcut = shortcut

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        y = self.cv2(self.cv1(x))
        return x + y if self._shortcut else y


class C3(_HybridBlock):  # type: ignore[misc]
    """Two 1x1 branches, one through a chain of bottlenecks, joined by a third 1x1."""

    def __init__(
        self, cv1: ConvBlock, chain: list[Bottleneck], cv2: ConvBlock, cv3: ConvBlock
    ) -> None:
        super().__init__(prefix="")
        self.cv1, self.cv2, self.cv3 = cv1, cv2, cv3
        self.m = mx.gluon.nn.HybridSequential(prefix="")
        self.m.add(*chain)

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        return self.cv3(F.concat(self.m(self.cv1(x)), self.cv2(x), dim=1))


class SPPF(_HybridBlock):  # type: ignore[misc]
    """Three chained max-pools of one kernel, all stages joined (spatial pyramid pooling)."""

    def __init__(self, cv1: ConvBlock, cv2: ConvBlock, kernel: int) -> None:
        super().__init__(prefix="")
        self.cv1, self.cv2 = cv1, cv2
        self._kernel = kernel

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        stages = [self.cv1(x)]
        for _ in range(3):
            stages.append(
                F.Pooling(
                    stages[-1],
                    kernel=(self._kernel, self._kernel),
                    stride=(1, 1),
                    pad=(self._kernel // 2, self._kernel // 2),
                    pool_type="max",
                )
            )
        return self.cv2(F.concat(*stages, dim=1))


class YoloV5(_HybridBlock):  # type: ignore[misc]
    """[B, 3, H, W] float32 in 0…1 → three raw heads [B, 3 * (5 + nc), h, w], strides 8, 16, 32.

    Channel a * (5 + nc) + k of a head is number k (x, y, w, h, objectness, classes) of anchor a.
    fused: batch normalisation is folded into the convolutions, as for inference.
    grid: a quantizer's grid that weights and inputs of convolutions are moved onto.
    precision: the type that convolutions compute in; parameters and all else stay float32.
    """

    def __init__(
        self, architecture: Architecture, fused: bool = False, grid: Grid | None = None,
        precision: str = "float32",
    ) -> None:  # fmt: skip
        super().__init__(prefix="")
        self.architecture, self.fused = architecture, fused
        self._grid, self._precision = grid, precision
        self._convs = {conv.name: conv for conv in architecture.convolutions()}
        self._layers = architecture.layers()
        with self.name_scope():
            for layer in self._layers:
                if layer.kind not in ("Upsample", "Concat", "Detect"):
                    setattr(self, f"layer{layer.index}", self._block(layer))
            self.detect = mx.gluon.nn.HybridSequential(prefix="")
            for conv in self._convs.values():
                if conv.batch_norm is None:
                    self.detect.add(_convolution(conv, True, grid, precision))

    def _conv_block(self, stem: str) -> ConvBlock:
        conv, activation = self._convs[f"{stem}.conv"], self.architecture.activation
        return ConvBlock(conv, activation, self.fused, self._grid, self._precision)

    def _block(self, layer: Layer) -> Any:
        stem = f"model.{layer.index}"
        if layer.kind == "Conv":
            return self._conv_block(stem)
        if layer.kind == "SPPF":
            return SPPF(
                self._conv_block(f"{stem}.cv1"), self._conv_block(f"{stem}.cv2"), layer.kernel
            )
        chain = [
            Bottleneck(
                self._conv_block(f"{stem}.m.{repeat}.cv1"),
                self._conv_block(f"{stem}.m.{repeat}.cv2"),
                layer.shortcut,
            )
            for repeat in range(layer.repeats)
        ]
        cv1, cv2, cv3 = (self._conv_block(f"{stem}.cv{number}") for number in (1, 2, 3))
        return C3(cv1, chain, cv2, cv3)

    def hybrid_forward(self, F: Any, x: Any) -> tuple[Any, ...]:
        outputs: dict[int, Any] = {-1: x}
        heads: tuple[Any, ...] = ()
        for layer in self._layers:
            sources = [outputs[source] for source in layer.sources]
            if layer.kind == "Upsample":
                outputs[layer.index] = F.UpSampling(
                    sources[0], scale=layer.kernel, sample_type="nearest"
                )
            elif layer.kind == "Concat":
                outputs[layer.index] = F.concat(*sources, dim=1)
            elif layer.kind == "Detect":
                heads = tuple(conv(source) for conv, source in zip(self.detect, sources))
            else:
                outputs[layer.index] = getattr(self, f"layer{layer.index}")(sources[0])
        return heads


class MixedConvolution(_Conv2D):  # type: ignore[misc]
    """A convolution that computes in another precision than float32, which it takes and gives."""

    def __init__(self, precision: str, *words: Any, **settings: Any) -> None:
        super().__init__(*words, **settings)
        self._precision = precision

    def hybrid_forward(self, F: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        cast = [None if each is None else F.cast(each, self._precision) for each in (weight, bias)]
        y = super().hybrid_forward(F, F.cast(x, self._precision), *cast)
        return F.cast(y, "float32")


class GridConvolution(_Conv2D):  # type: ignore[misc]
    """A convolution whose weight and input lie on a quantizer's grid.

    Gradients pass straight through the rounding, and stop where a value is clipped.
    """

    def __init__(self, grid: ConvolutionGrid, *words: Any, **settings: Any) -> None:
        super().__init__(*words, **settings)
        self._weight_limit = grid.weight_limit
        with self.name_scope():
            for name in GRID_ARRAYS:
                setattr(self, name, constant(self.params, name, getattr(grid, name)))

    def hybrid_forward(
        self, F: Any, x: Any, weight: Any, bias: Any, weight_step: Any, input_step: Any,
        input_low: Any, input_high: Any,
    ) -> Any:  # fmt: skip
        x = F.broadcast_minimum(F.broadcast_maximum(x, input_low), input_high)
        x = _rounded(F, x, input_step)
        limit = weight_step * self._weight_limit
        weight = F.broadcast_minimum(F.broadcast_maximum(weight, -limit), limit)
        return super().hybrid_forward(F, x, _rounded(F, weight, weight_step), bias)


def constant(parameters: Any, name: str, value: Array) -> Any:
    """A Gluon parameter among `parameters` that keeps a value, as float32."""
    with warnings.catch_warnings():
        # MXNet registers an initializer by the object's address, and warns when that comes again.
        warnings.simplefilter("ignore", UserWarning)
        return parameters.get_constant(name, np.asarray(value, np.float32))


def _rounded(F: Any, x: Any, step: Any) -> Any:
    """x as a whole number of steps, halves rounded up, with the gradient of x."""
    rounded = F.broadcast_mul(F.floor(F.broadcast_div(x, step) + 0.5), step)
    return x + F.BlockGrad(rounded - x)


def _convolution(conv: Convolution, use_bias: bool, grid: Grid | None, precision: str) -> Any:
    settings = {
        "kernel_size": conv.kernel,
        "strides": conv.stride,
        "padding": conv.padding,
        "in_channels": conv.in_channels,
        "use_bias": use_bias,
        "prefix": f"{conv.name}.",
    }
    if grid is not None:
        return GridConvolution(grid[conv.name], conv.out_channels, **settings)
    if precision != "float32":
        return MixedConvolution(precision, conv.out_channels, **settings)
    return _Conv2D(conv.out_channels, **settings)


def build(
    architecture: Architecture,
    parameters: Mapping[str, Array],
    fused: bool,
    ctx: Any | None = None,
    grid: Grid | None = None,
    precision: str = "float32",
) -> YoloV5:
    """The network with these parameters, ready to run on `ctx` (MXNet context, default CPU)."""
    net = YoloV5(architecture, fused, grid, precision)
    ctx = ctx or mx.cpu()
    net.collect_params().initialize(ctx=ctx)
    for name, parameter in trainable(net).items():
        parameter.set_data(mx.nd.array(parameters[name], dtype="float32"))
    return net


def trainable(net: YoloV5) -> dict[str, Any]:
    """The network's Gluon parameters by the names of the architecture, without a grid's arrays."""
    own = net.collect_params()
    return {name: own[name] for name in net.architecture.parameter_shapes(net.fused)}


def parameters_of(net: YoloV5) -> dict[str, Array]:
    """The network's parameters as float32 arrays, by the names of the architecture."""
    return {
        name: parameter.data(parameter.list_ctx()[0]).asnumpy()
        for name, parameter in trainable(net).items()
    }


@functools.lru_cache(maxsize=8)
def symbol_json(architecture: Architecture, fused: bool) -> str:
    """The network as an MXNet symbol: one input `data`, three outputs."""
    # Remembered, because MXNet never gives back a megabyte for each symbol that it composes.
    # A fresh name counter: the file must not depend on what this process built before.
    with mx.name.NameManager():
        heads = YoloV5(architecture, fused)(mx.sym.var("data"))
        return str(mx.sym.Group(list(heads)).tojson())
