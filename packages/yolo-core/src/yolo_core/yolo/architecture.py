"""YOLOv5 as data: layers, widths, depths, anchors, strides, classes. No framework lives here.

The layout is that of YOLOv5 releases 6.0 to 7.0 with three detection levels; the five sizes
differ in two multiples alone. Everything else in the house (the Gluon network, the weight port,
the quantizer) asks this file what the network looks like.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yolo_core.errors import InputError
from yolo_core.words import text_fault
from yolo_core.yolo.coco import COCO_NAMES

#: size → (depth multiple, width multiple)
SIZES: Mapping[str, tuple[float, float]] = {
    "n": (0.33, 0.25),
    "s": (0.33, 0.50),
    "m": (0.67, 0.75),
    "l": (1.00, 1.00),
    "x": (1.33, 1.25),
}
ACTIVATIONS = ("silu", "leaky", "relu")
STRIDES = (8, 16, 32)
ANCHORS_PER_LEVEL = 3
LEAKY_SLOPE = 0.1
BATCH_NORM_EPSILON = 1e-3
MAX_CLASSES = 4096

Pair = tuple[float, float]
Anchors = tuple[tuple[Pair, ...], ...]

#: Width and height of the three anchors of each level, in pixels of the network's input.
COCO_ANCHORS: Anchors = (
    ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
    ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
    ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
)

# One row per layer: kind, indices of the layers it reads (-1 is the one before), width before the
# width multiple, repeats before the depth multiple, kernel, stride, shortcut.
_PLAN: tuple[tuple[str, tuple[int, ...], int, int, int, int, bool], ...] = (
    ("Conv", (-1,), 64, 1, 6, 2, False),
    ("Conv", (-1,), 128, 1, 3, 2, False),
    ("C3", (-1,), 128, 3, 3, 1, True),
    ("Conv", (-1,), 256, 1, 3, 2, False),
    ("C3", (-1,), 256, 6, 3, 1, True),
    ("Conv", (-1,), 512, 1, 3, 2, False),
    ("C3", (-1,), 512, 9, 3, 1, True),
    ("Conv", (-1,), 1024, 1, 3, 2, False),
    ("C3", (-1,), 1024, 3, 3, 1, True),
    ("SPPF", (-1,), 1024, 1, 5, 1, False),
    ("Conv", (-1,), 512, 1, 1, 1, False),
    ("Upsample", (-1,), 0, 1, 2, 1, False),
    ("Concat", (-1, 6), 0, 1, 1, 1, False),
    ("C3", (-1,), 512, 3, 3, 1, False),
    ("Conv", (-1,), 256, 1, 1, 1, False),
    ("Upsample", (-1,), 0, 1, 2, 1, False),
    ("Concat", (-1, 4), 0, 1, 1, 1, False),
    ("C3", (-1,), 256, 3, 3, 1, False),
    ("Conv", (-1,), 256, 1, 3, 2, False),
    ("Concat", (-1, 14), 0, 1, 1, 1, False),
    ("C3", (-1,), 512, 3, 3, 1, False),
    ("Conv", (-1,), 512, 1, 3, 2, False),
    ("Concat", (-1, 10), 0, 1, 1, 1, False),
    ("C3", (-1,), 1024, 3, 3, 1, False),
    ("Detect", (17, 20, 23), 0, 1, 1, 1, False),
)


@dataclass(frozen=True)
class Layer:
    """One of the 25 layers.

    sources: indices of the layers it reads, all smaller than its own; -1 is the input image.
    in_channels: of each source. out_channels: 0 for Detect, whose levels are its convolutions.
    repeats: bottlenecks of a C3. stride_from_input: of its output (of its input for Detect: 0).
    """

    index: int
    kind: str
    sources: tuple[int, ...]
    in_channels: tuple[int, ...]
    out_channels: int
    repeats: int
    kernel: int
    stride: int
    shortcut: bool
    stride_from_input: int


@dataclass(frozen=True)
class Convolution:
    """One convolution, square kernel, same padding.

    name: stem of its parameters, `<name>.weight` [out, in, kernel, kernel] and `<name>.bias`.
    batch_norm: stem of the normalisation behind it, None for the detection convolutions (which
    always have a bias and no activation).
    input_stride: how often smaller its input is than the image.
    """

    name: str
    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    padding: int
    batch_norm: str | None
    input_stride: int


def _normalised(
    stem: str, inside: int, outside: int, kernel: int, input_stride: int, stride: int = 1
) -> Convolution:
    """A convolution without bias and the batch normalisation behind it."""
    # (kernel - 1) // 2 keeps the size; the 6x6 stem, the old Focus layer in disguise, pads 2 too.
    padding = (kernel - 1) // 2
    return Convolution(
        f"{stem}.conv", inside, outside, kernel, stride, padding, f"{stem}.bn", input_stride
    )


@dataclass(frozen=True)
class Architecture:
    """Everything that decides the network's shape and what its outputs mean.

    names: one per class. anchors: per level (stride 8, 16, 32) the width and height of its three
    anchors in pixels of the input. activation: "silu", "leaky" (slope 0.1) or "relu".
    InputError when a field is out of range.
    """

    size: str
    depth_multiple: float
    width_multiple: float
    names: tuple[str, ...]
    anchors: Anchors = COCO_ANCHORS
    activation: str = "silu"
    strides: tuple[int, ...] = STRIDES

    def __post_init__(self) -> None:
        self._require(
            self.size in (*SIZES, "custom"), f"has size {self.size!r}", f"one of {', '.join(SIZES)}"
        )
        for multiple in (self.depth_multiple, self.width_multiple):
            self._require(0 < multiple <= 4, f"has a multiple of {multiple}", "above 0, at most 4")
        self._require(
            1 <= len(self.names) <= MAX_CLASSES,
            f"has {len(self.names)} classes",
            f"1 to {MAX_CLASSES}",
        )
        self._require(
            all(isinstance(name, str) and name for name in self.names),
            "has a class without a name",
            "texts",
        )
        for name in self.names:
            fault = text_fault(name)
            self._require(fault is None, f"has a class name that {fault}", "printable text")
        self._require(self.strides == STRIDES, f"has strides {self.strides}", f"{STRIDES}")
        self._require(
            len(self.anchors) == len(STRIDES)
            and all(len(level) == ANCHORS_PER_LEVEL for level in self.anchors)
            and all(len(pair) == 2 for level in self.anchors for pair in level),
            "has anchors of another shape",
            "3 levels of 3 widths and heights",
        )
        self._require(
            all(0 < side <= 1e5 for level in self.anchors for pair in level for side in pair),
            "has an anchor out of range",
            "pixels above 0",
        )
        self._require(
            self.activation in ACTIVATIONS,
            f"has activation {self.activation!r}",
            f"one of {', '.join(ACTIVATIONS)}",
        )

    @staticmethod
    def _require(condition: bool, cause: str, expected: str) -> None:
        if not condition:
            raise InputError("architecture", cause, expected)

    @classmethod
    def named(
        cls,
        size: str,
        nc: int | None = None,
        names: Sequence[str] | None = None,
        anchors: Anchors | None = None,
        activation: str = "silu",
    ) -> Architecture:
        """One of the five sizes: "n", "s", "m", "l", "x", or "yolov5n" and so on.

        Without `names` the classes are the 80 of COCO when `nc` is 80 or absent, else class0 ….
        """
        size = size[len("yolov5") :] if size.startswith("yolov5") else size
        if size not in SIZES:
            raise InputError("model", f"is called {size!r}", "yolov5n, s, m, l or x")
        if names is None:
            if nc in (None, len(COCO_NAMES)):
                names = COCO_NAMES
            else:
                count = int(nc or 0)
                cls._require(
                    1 <= count <= MAX_CLASSES, f"has {count} classes", f"1 to {MAX_CLASSES}"
                )
                names = [f"class{index}" for index in range(count)]
        elif nc is not None and nc != len(names):
            raise InputError("model", f"has {nc} classes and {len(names)} names", "as many")
        depth, width = SIZES[size]
        return cls(size, depth, width, tuple(names), anchors or COCO_ANCHORS, activation)

    @property
    def nc(self) -> int:
        """Number of classes."""
        return len(self.names)

    @property
    def no(self) -> int:
        """Numbers per row of the output: x, y, w, h, objectness and one per class."""
        return self.nc + 5

    @property
    def model_name(self) -> str:
        """The name users know: yolov5n and so on."""
        return f"yolov5{self.size}" if self.size in SIZES else "yolov5-custom"

    def _width(self, channels: int) -> int:
        return math.ceil(channels * self.width_multiple / 8) * 8

    def _depth(self, repeats: int) -> int:
        return max(round(repeats * self.depth_multiple), 1) if repeats > 1 else repeats

    def layers(self) -> tuple[Layer, ...]:
        """The 25 layers in the order they run."""
        layers: tuple[Layer, ...] = ()
        for index, (kind, relative, width, repeats, kernel, stride, shortcut) in enumerate(_PLAN):
            sources = tuple(index - 1 if source == -1 else source for source in relative)
            before = [layers[source] for source in sources if source >= 0]
            channels = tuple(layer.out_channels for layer in before) or (3,)
            scale = before[0].stride_from_input if before else 1
            if kind == "Upsample":
                out, scale = channels[0], scale // kernel
            elif kind == "Concat":
                out = sum(channels)
            elif kind == "Detect":
                out, scale = 0, 0
            else:
                out, scale = self._width(width), scale * stride
            layers += (
                Layer(
                    index, kind, sources, channels, out, self._depth(repeats), kernel, stride,
                    shortcut, scale,
                ),
            )  # fmt: skip
        return layers

    def convolutions(self) -> tuple[Convolution, ...]:
        """Every convolution in the order it runs."""
        layers = self.layers()
        return tuple(conv for layer in layers for conv in self._convolutions_of(layer, layers))

    def _convolutions_of(self, layer: Layer, layers: tuple[Layer, ...]) -> Iterator[Convolution]:
        stem = f"model.{layer.index}"
        inside, outside = layer.in_channels[0], layer.out_channels
        scale = layer.stride_from_input
        if layer.kind == "Conv":
            yield _normalised(
                stem, inside, outside, layer.kernel, scale // layer.stride, layer.stride
            )
        elif layer.kind == "C3":
            half = outside // 2
            yield _normalised(f"{stem}.cv1", inside, half, 1, scale)
            for repeat in range(layer.repeats):
                yield _normalised(f"{stem}.m.{repeat}.cv1", half, half, 1, scale)
                yield _normalised(f"{stem}.m.{repeat}.cv2", half, half, layer.kernel, scale)
            yield _normalised(f"{stem}.cv2", inside, half, 1, scale)
            yield _normalised(f"{stem}.cv3", 2 * half, outside, 1, scale)
        elif layer.kind == "SPPF":
            half = inside // 2
            yield _normalised(f"{stem}.cv1", inside, half, 1, scale)
            yield _normalised(f"{stem}.cv2", 4 * half, outside, 1, scale)
        elif layer.kind == "Detect":
            for level, (source, channels) in enumerate(zip(layer.sources, layer.in_channels)):
                yield Convolution(
                    name=f"{stem}.m.{level}",
                    in_channels=channels,
                    out_channels=ANCHORS_PER_LEVEL * self.no,
                    kernel=1,
                    stride=1,
                    padding=0,
                    batch_norm=None,
                    input_stride=layers[source].stride_from_input,
                )

    def parameter_shapes(self, fused: bool) -> dict[str, tuple[int, ...]]:
        """Name → shape of every parameter, batch normalisation folded (`fused`) or not."""
        shapes: dict[str, tuple[int, ...]] = {}
        for conv in self.convolutions():
            shapes[f"{conv.name}.weight"] = (
                conv.out_channels, conv.in_channels, conv.kernel, conv.kernel,
            )  # fmt: skip
            if fused or conv.batch_norm is None:
                shapes[f"{conv.name}.bias"] = (conv.out_channels,)
            else:
                for part in ("gamma", "beta", "running_mean", "running_var"):
                    shapes[f"{conv.batch_norm}.{part}"] = (conv.out_channels,)
        return shapes

    def rows(self, height: int, width: int) -> int:
        """Rows N of the output [B, N, 5 + nc] for an input of that many pixels."""
        return sum(ANCHORS_PER_LEVEL * (height // s) * (width // s) for s in self.strides)

    def macs(self, height: int, width: int) -> int:
        """Multiply-accumulates of all convolutions for one image of that many pixels."""
        total = 0
        for conv in self.convolutions():
            scale = conv.input_stride * conv.stride
            taps = conv.in_channels * conv.kernel * conv.kernel
            total += conv.out_channels * taps * (height // scale) * (width // scale)
        return total

    def to_dict(self) -> dict[str, Any]:
        """Plain data for YAML and JSON; `from_dict` reads it back."""
        return {
            "size": self.size,
            "depth_multiple": self.depth_multiple,
            "width_multiple": self.width_multiple,
            "nc": self.nc,
            "names": list(self.names),
            "anchors": [[list(pair) for pair in level] for level in self.anchors],
            "strides": list(self.strides),
            "activation": self.activation,
        }

    @classmethod
    def from_dict(cls, data: Any, source: str) -> Architecture:
        """An architecture from plain data. source: the file it stands in, for the error."""
        if not isinstance(data, dict):
            raise InputError(source, "has no architecture", "a mapping")
        try:
            architecture = cls(
                size=str(data["size"]),
                depth_multiple=float(data["depth_multiple"]),
                width_multiple=float(data["width_multiple"]),
                names=tuple(str(name) for name in _sequence(data["names"])),
                anchors=tuple(
                    tuple(_pair(pair) for pair in _sequence(level))
                    for level in _sequence(data["anchors"])
                ),
                activation=str(data.get("activation", "silu")),
                strides=tuple(int(stride) for stride in _sequence(data["strides"])),
            )
        except KeyError as error:
            raise InputError(source, f"lacks the key {error}", "a complete architecture") from error
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(source, f"has a field of the wrong kind ({error})") from error
        except InputError as error:
            raise InputError(source, f"{error.source} {error.cause}", error.expected) from error
        if data.get("nc", architecture.nc) != architecture.nc:
            raise InputError(
                source, f"says nc {data['nc']} and has {architecture.nc} names", "as many names"
            )
        return architecture


def _pair(value: Any) -> Pair:
    width, height = _sequence(value)
    return float(width), float(height)


def _sequence(value: Any) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{value!r:.40} is no list")
    if len(value) > MAX_CLASSES:
        raise ValueError(f"a list of {len(value)}")
    return value
