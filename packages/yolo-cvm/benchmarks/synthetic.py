"""YOLOv5 graphs with generated weights, in the form that quantization gives them.

For speed and sameness, not for detection: zero points with borders of them, whole-SiLU tables
of a 12-bit index, one table per consumer group, 16-bit residual sums, 12-bit heads
(specification 6.8 and 11). Values are scaled so that activations fill their range.
"""

from __future__ import annotations

import numpy as np

from yolo_core.graph import Graph, GraphBuilder, Ref
from yolo_core.yolo.architecture import Architecture, Convolution

INDEX_BITS = 12
HALF = 2 ** (INDEX_BITS - 1) - 1
ZERO = -100
WIDE = 300.0  # codes per unit of a residual sum
NARROW = 30.0


class _Layers:
    def __init__(self, architecture: Architecture, height: int, width: int, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.builder = GraphBuilder()
        self.architecture = architecture
        self.convolutions = {c.name: c for c in architecture.convolutions()}
        self.data = self.builder.input("data", (1, 3, height, width), 8)
        self.count = 0
        self.span = 6.0

    def parameter(self, values: np.ndarray, precision: int) -> Ref:
        self.count += 1
        return self.builder.parameter(f"p{self.count}", values, precision)

    def accumulate(self, x: Ref, c: Convolution, zero: int, bits: int) -> Ref:
        """border, conv, clip, multiply, shift: an index of `bits`, symmetric."""
        op = self.builder.operator
        k, s, p = c.kernel[0], c.stride, c.padding[0]
        weight = np.clip(
            np.round(self.random.normal(0, 40, (c.out_channels, c.in_channels, k, k))), -127, 127
        ).astype(int)
        total = weight.sum(axis=(1, 2, 3))
        bias = self.random.integers(-2000, 2000, c.out_channels) - zero * total
        if p:
            x = self.bordered(x, p, zero)
        y = op(
            "conv2d",
            [x, self.parameter(weight, 8), self.parameter(bias, 28)],
            channels=c.out_channels,
            kernel_size=(k, k),
            strides=(s, s),
        )
        deviation = 40 * 35 * np.sqrt(c.in_channels * k * k)
        y = op("cvm_clip", [y], precision=22)
        factor = (HALF if bits == INDEX_BITS else 2 ** (bits - 1)) / (4 * deviation)
        shift = int(np.floor(np.log2(511 / factor)))
        scale = self.random.uniform(0.7, 1, (1, c.out_channels, 1, 1))
        y = op(
            "broadcast_mul",
            [y, self.parameter(np.round(factor * 2.0**shift * scale).astype(int), 10)],
        )
        return op("cvm_right_shift", [y], precision=bits, shift_bit=shift)

    def bordered(self, x: Ref, width: int, zero: int) -> Ref:
        """x with `width` pixels of the zero point around it."""
        op = self.builder.operator
        code = self.parameter(np.full((1, x.shape[1], 1, 1), zero), 8)
        for axis in (2, 3):
            reps = (1, 1, width, x.shape[3]) if axis == 2 else (1, 1, x.shape[2], width)
            edge = op("tile", [code], reps=reps)
            x = op("concatenate", [edge, x, edge], axis=axis)
        return x

    def indexed(self, x: Ref, name: str, zero: int = ZERO) -> Ref:
        """Up to the index of the activation table."""
        y = self.accumulate(x, self.convolutions[name], zero, INDEX_BITS)
        return self.builder.operator("broadcast_add", [y, self.parameter(np.array([HALF]), 12)])

    def table(self, index: Ref, scale: float, zero: int, precision: int) -> Ref:
        """SiLU of the index, in codes."""
        z = np.arange(-HALF, HALF + 1) * (self.span / HALF)
        bound = 2 ** (precision - 1) - 1
        codes = np.clip(np.round(z / (1 + np.exp(-z)) * scale) + zero, -bound, bound)
        t = self.parameter(codes.astype(int), precision)
        return self.builder.operator("cvm_lut", [index, t], in_dim=2 * HALF + 1)

    def conv(self, x: Ref, name: str, zero: int = ZERO) -> Ref:
        """A convolution with its activation, as bytes."""
        return self.table(self.indexed(x, name, zero), NARROW, ZERO, 8)

    def narrowed(self, wide: Ref) -> Ref:
        """A residual sum as bytes."""
        op = self.builder.operator
        y = op("broadcast_mul", [wide, self.parameter(np.array([round(NARROW / WIDE * 4096)]), 10)])
        y = op("cvm_right_shift", [y], precision=9, shift_bit=12)
        y = op("broadcast_add", [y, self.parameter(np.array([ZERO]), 8)])
        return op("cvm_clip", [y], precision=8)

    def c3(self, x: Ref, name: str, repeats: int, shortcut: bool) -> Ref:
        index = self.indexed(x, f"{name}.cv1.conv")
        y = self.table(index, NARROW, ZERO, 8)
        wide = self.table(index, WIDE, 0, 16) if shortcut else None
        for r in range(repeats):
            z = self.conv(y, f"{name}.m.{r}.cv1.conv")
            z = self.indexed(z, f"{name}.m.{r}.cv2.conv")
            if wide is None:
                y = self.table(z, NARROW, ZERO, 8)
                continue
            wide = self.builder.operator("elemwise_add", [wide, self.table(z, WIDE, 0, 16)])
            wide = self.builder.operator("cvm_clip", [wide], precision=16)
            y = self.narrowed(wide)
        side = self.conv(x, f"{name}.cv2.conv")
        return self.conv(
            self.builder.operator("concatenate", [y, side], axis=1), f"{name}.cv3.conv"
        )

    def sppf(self, x: Ref, name: str, kernel: int) -> Ref:
        parts = [self.conv(x, f"{name}.cv1.conv")]
        for _ in range(3):
            parts.append(
                self.builder.operator(
                    "max_pool2d",
                    [parts[-1]],
                    pool_size=(kernel, kernel),
                    padding=(kernel // 2, kernel // 2),
                )
            )
        return self.conv(self.builder.operator("concatenate", parts, axis=1), f"{name}.cv2.conv")

    def detect(self, x: Ref, name: str) -> Ref:
        y = self.accumulate(x, self.convolutions[name], ZERO, 12)
        _, _, h, w = y.shape
        op, no = self.builder.operator, self.architecture.nc + 5
        y = op("reshape", [y], shape=(1, 3, no, h * w))
        y = op("transpose", [y], axes=(0, 1, 3, 2))
        return op("reshape", [y], shape=(1, 3 * h * w, no))


def yolov5(size: str, height: int = 640, width: int = 640, seed: int = 0) -> Graph:
    """The graph of a size ("n", "s", "m", "l", "x") with generated weights."""
    architecture = Architecture.named(size)
    b = _Layers(architecture, height, width, seed)
    outputs: list[Ref] = []
    x = b.data
    for layer, row in zip(architecture.layers(), architecture.layout):
        sources = [outputs[f] if f >= 0 else x for f in layer.sources]
        name = f"model.{layer.index}"
        if layer.kind == "Conv":
            x = b.conv(sources[0], f"{name}.conv", -127 if layer.index == 0 else ZERO)
        elif layer.kind == "C3":
            x = b.c3(sources[0], name, layer.repeats, row.arguments[1:] != (False,))
        elif layer.kind == "SPPF":
            x = b.sppf(sources[0], name, row.arguments[1])
        elif layer.kind == "Upsample":
            x = b.builder.operator("upsampling", [sources[0]], scale=2)
        elif layer.kind == "Concat":
            x = b.builder.operator("concatenate", sources, axis=1)
        else:
            rows = [b.detect(s, f"{name}.m.{i}") for i, s in enumerate(sources)]
            x = b.builder.operator("concatenate", rows, axis=1)
        outputs.append(x)
    return b.builder.build([x])
