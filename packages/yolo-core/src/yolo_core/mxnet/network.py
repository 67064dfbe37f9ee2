"""The Gluon network: an architecture turned into something that MXNet can run and train.

It runs the steps of the architecture's plan. Its parameters carry the names of
`Architecture.parameter_shapes`, so a checkpoint needs no translation. This module and what it
returns need MXNet; nothing else in yolo-core but `float_predictor` does.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.mxnet.importing import mxnet
from yolo_core.yolo.activations import split_activation
from yolo_core.yolo.architecture import BATCH_NORM_EPSILON, Architecture
from yolo_core.yolo.plan import IMAGE, Convolution, Step
from yolo_core.yolo.qat import ConvolutionGrid, Grid

mx = mxnet()
_HybridBlock: Any = mx.gluon.HybridBlock
_Conv2D: Any = mx.gluon.nn.Conv2D

GRID_ARRAYS = ("weight_step", "input_step", "input_low", "input_high")
#: Channels that oneDNN keeps together, at most; parts of a concatenation that are not whole blocks
#: make its gradient end the process (MXNet 1.9.1).
_BLOCK = 16
#: Share of the old running statistics that a training step keeps (PyTorch's momentum of 0.03).
BATCH_NORM_MOMENTUM = 0.97


class ConvBlock(_HybridBlock):  # type: ignore[misc]
    """Convolution, batch normalisation (or its bias, when fused) and activation.

    norm_silu: as for `YoloV5`.
    """

    def __init__(
        self, conv: Convolution, fused: bool, grid: Grid | None, precision: str,
        norm_silu: Callable[..., Any] | None,
    ) -> None:  # fmt: skip
        super().__init__(prefix="")
        self._activation = conv.activation
        with self.name_scope():
            self.conv = _convolution(conv, fused, grid, precision)
            self.bn = None
            if not fused:
                make = mx.gluon.nn.BatchNorm
                if norm_silu is not None and conv.activation == "silu":
                    make, self._activation = norm_silu, "identity"
                self.bn = make(
                    in_channels=conv.out_channels,
                    momentum=BATCH_NORM_MOMENTUM,
                    epsilon=BATCH_NORM_EPSILON,
                    prefix=f"{conv.batch_norm}.",
                )

    def hybrid_forward(self, F: Any, x: Any) -> Any:
        x = self.conv(x)
        if self.bn is not None:
            x = self.bn(x)
        return activate(F, x, self._activation)


def activate(F: Any, x: Any, activation: str) -> Any:
    """The activation of that word (see `yolo_core.yolo.activations`), in MXNet's operators."""
    kind, slope = split_activation(activation)
    if kind == "silu":
        # As an activation oneDNN computes the sigmoid, a fifth of a training step faster.
        return x * F.Activation(x, act_type="sigmoid")
    if kind == "leaky":
        return F.LeakyReLU(x, act_type="leaky", slope=slope)
    if kind == "relu":
        return F.relu(x)
    if kind == "relu6":
        return F.clip(x, a_min=0, a_max=6)
    if kind == "hardswish":
        return x * F.clip(x + 3, a_min=0, a_max=6) / 6
    if kind == "mish":
        return x * F.tanh(F.Activation(x, act_type="softrelu"))
    return x


class YoloV5(_HybridBlock):  # type: ignore[misc]
    """[B, 3, H, W] float32 in 0…1 → a raw head [B, anchors * (5 + nc), h, w] for each level.

    Channel a * (5 + nc) + k of a head is number k (x, y, w, h, objectness, classes) of anchor a.
    fused: batch normalisation is folded into the convolutions, as for inference.
    grid: a quantizer's grid that weights and inputs of convolutions are moved onto.
    precision: the type that convolutions compute in; parameters and all else stay float32.
    learns: gradients will be asked for.
    norm_silu: makes the block that stands for batch normalisation and the SiLU after it, of the
    arguments of Gluon's `BatchNorm`; None for MXNet's own operators.
    """

    def __init__(
        self, architecture: Architecture, fused: bool = False, grid: Grid | None = None,
        precision: str = "float32", learns: bool = False,
        norm_silu: Callable[..., Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(prefix="")
        self._learns = learns
        self.architecture, self.fused = architecture, fused
        self._steps, self._heads = architecture.steps(), architecture.network.heads
        with self.name_scope():
            for index, step in enumerate(self._steps):
                conv = step.convolution
                if conv is not None:
                    block = (
                        _convolution(conv, True, grid, precision)
                        if conv.batch_norm is None
                        else ConvBlock(conv, fused, grid, precision, norm_silu)
                    )
                    setattr(self, f"step{index}", block)

    def hybrid_forward(self, F: Any, x: Any) -> tuple[Any, ...]:
        outputs = self.outputs(F, x)
        return tuple(outputs[head] for head in self._heads)

    def outputs(self, F: Any, x: Any) -> dict[int, Any]:
        """What every step of the plan puts out, by its index. F: `mx.nd` or `mx.sym`."""
        outputs: dict[int, Any] = {IMAGE: x}
        for index, step in enumerate(self._steps):
            outputs[index] = self._step(F, index, step, [outputs[each] for each in step.inputs])
        return outputs

    def _step(self, F: Any, index: int, step: Step, inputs: list[Any]) -> Any:
        if step.operation == "conv":
            return getattr(self, f"step{index}")(inputs[0])
        if step.operation == "add":
            return inputs[0] + inputs[1]
        if step.operation == "concat":
            joined = F.concat(*inputs, dim=1)
            if self._learns and self._has_split_blocks(step):
                # An operator that oneDNN does not know hands the gradient back as plain rows.
                return F.slice_axis(joined, axis=1, begin=0, end=None)
            return joined
        if step.operation == "upsample":
            return F.UpSampling(inputs[0], scale=step.factor, sample_type="nearest")
        return F.Pooling(
            inputs[0],
            kernel=(step.kernel, step.kernel),
            stride=(step.stride, step.stride),
            pad=(step.padding, step.padding),
            pool_type="max",
        )

    def _has_split_blocks(self, step: Step) -> bool:
        """Whether a part of a concatenation is no whole number of oneDNN's blocks of channels."""
        return any(self._steps[each].channels % _BLOCK for each in step.inputs if each != IMAGE)


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
        "groups": conv.groups,
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
    learns: bool = False,
    norm_silu: Callable[..., Any] | None = None,
) -> YoloV5:
    """The network with these parameters, ready to run on `ctx` (MXNet context, default CPU)."""
    net = YoloV5(architecture, fused, grid, precision, learns, norm_silu)
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
    """The network as an MXNet symbol: one input `data`, an output per level."""
    # Remembered, because MXNet never gives back a megabyte for each symbol that it composes.
    # A fresh name counter: the file must not depend on what this process built before.
    with mx.name.NameManager():
        heads = YoloV5(architecture, fused)(mx.sym.var("data"))
        return str(mx.sym.Group(list(heads)).tojson())
