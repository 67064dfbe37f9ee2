"""YOLOv5 as data: layout, multiples, anchors, strides, classes. No framework is needed.

An architecture is a layout (see `layout`, the language of YOLOv5's model yaml) with the multiples
that scale it, the classes and the anchors. The official sizes are the files `models/yolov5*.yaml`.
Everything else in the project (the Gluon network, the port of weights, the quantizer) asks this
module what the network looks like, and reads it as the steps of a `plan`.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

from yolo_core.errors import InputError
from yolo_core.files import PathLike
from yolo_core.words import text_fault
from yolo_core.yolo.activations import ACTIVATIONS, LEAKY_SLOPE, from_torch_text, is_activation
from yolo_core.yolo.anchors import (
    COCO_ANCHORS,
    MAX_ANCHORS,
    MAX_LEVELS,
    Anchors,
    Pair,
    anchors_of,
    starting_anchors,
)
from yolo_core.yolo.coco import COCO_NAMES
from yolo_core.yolo.layout import Layer, Network, Row, Terms, check_channels, rows_of, write_out
from yolo_core.yolo.plan import Convolution, LayoutError, Step

__all__ = [
    "ACTIVATIONS",
    "BATCH_NORM_EPSILON",
    "LEAKY_SLOPE",
    "SIZES",
    "Architecture",
    "Convolution",
    "Layer",
    "Step",
]  # fmt: skip

#: The sizes with three levels, up to stride 32, and those with four, up to stride 64.
SIZES = ("n", "s", "m", "l", "x")
P6_SIZES = ("n6", "s6", "m6", "l6", "x6")
CUSTOM = "custom"
#: Levels and anchors of the sizes with three levels.
STRIDES = (8, 16, 32)
ANCHORS_PER_LEVEL = 3
BATCH_NORM_EPSILON = 1e-3
MAX_CLASSES = 8192
_NUMBER_TEXT = re.compile(r"[0-9]{1,6}(\.[0-9]{1,12})?")


@functools.cache
def _model_yaml(size: str) -> Mapping[str, Any]:
    """The description of an official size, as its file has it."""
    from yolo_core.yaml_file import read_yaml  # a runtime that reads none is spared the library

    file = resources.files("yolo_core.yolo") / "models" / f"yolov5{size}.yaml"
    with resources.as_file(file) as path:
        found: Mapping[str, Any] = read_yaml(path)
    return found


@functools.cache
def _standard_rows(size: str) -> tuple[Row, ...]:
    description = _model_yaml(size)
    return rows_of([*description["backbone"], *description["head"]])


@functools.lru_cache(maxsize=64)
def _network(rows: tuple[Row, ...], terms: Terms) -> Network:
    return write_out(rows, terms)


@dataclass(frozen=True)
class Architecture:
    """Everything that decides the network's shape and what its outputs mean.

    size: "n" … "x", "n6" … "x6", or "custom". names: one per class. anchors: per level the width
    and height of each anchor in pixels of the input, as many for every level. activation: a word
    of `activations`. strides: of the levels; what the layout gives. own_layout: rows of the
    layout, None for that of the five sizes. csp_activation: of the joined part of a
    BottleneckCSP, None for the same as everywhere. channel_multiple: what numbers of channels are
    rounded up to.

    InputError when a field is out of range or the layout is no network.
    """

    size: str
    depth_multiple: float
    width_multiple: float
    names: tuple[str, ...]
    anchors: Anchors = COCO_ANCHORS
    activation: str = "silu"
    strides: tuple[int, ...] = STRIDES
    own_layout: tuple[Row, ...] | None = None
    csp_activation: str | None = None
    channel_multiple: int = 8

    def __post_init__(self) -> None:
        require = self._require
        known = (*SIZES, *P6_SIZES, CUSTOM)
        require(self.size in known, f"has size {self.size!r:.40}", f"one of {', '.join(known)}")
        for multiple in (self.depth_multiple, self.width_multiple):
            require(0 < multiple <= 16, f"has a multiple of {multiple}", "above 0, at most 16")
        require(1 <= self.channel_multiple <= 256, f"rounds channels to {self.channel_multiple}",
                "1 to 256")  # fmt: skip
        require(1 <= len(self.names) <= MAX_CLASSES, f"has {len(self.names)} classes",
                f"1 to {MAX_CLASSES}")  # fmt: skip
        require(all(isinstance(name, str) and name for name in self.names),
                "has a class without a name", "texts")  # fmt: skip
        for name in self.names:
            fault = text_fault(name)
            require(fault is None, f"has a class name that {fault}", "printable text")
        levels = {len(level) for level in self.anchors}
        require(
            1 <= len(self.anchors) <= MAX_LEVELS
            and len(levels) == 1
            and 1 <= min(levels) <= MAX_ANCHORS
            and all(len(pair) == 2 for level in self.anchors for pair in level),
            "has anchors of another shape",
            "levels of as many widths and heights each",
        )
        require(all(0 <= side <= 1e5 for level in self.anchors for pair in level for side in pair),
                "has an anchor out of range", "0 to 100000 pixels")  # fmt: skip
        for word in (self.activation, self.csp_activation or "silu"):
            require(is_activation(word), f"has activation {word!r:.40}",
                    f"one of {', '.join(ACTIVATIONS)}")  # fmt: skip
        found = self.network.strides
        require(self.strides == found, f"has strides {self.strides}", f"{found}")
        require(len(self.anchors) == len(found), f"has anchors of {len(self.anchors)} levels",
                f"{len(found)}, the levels of its Detect layer")  # fmt: skip

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
        """An official size: "n", "s", "m", "l", "x", "n6" …, or "yolov5n" and so on.

        Without `names` the classes are the 80 of COCO when `nc` is 80 or absent, else class0 ….
        """
        size = size[len("yolov5") :] if size.startswith("yolov5") else size
        if size not in (*SIZES, *P6_SIZES):
            raise InputError("model", f"is called {size!r:.40}",
                             "yolov5n, s, m, l or x, or one of these with a 6")  # fmt: skip
        description = {**_model_yaml(size), "nc": nc, "activation": activation}
        found = cls.from_description(description, "model", names)
        return found if anchors is None else replace(found, anchors=anchors)

    @classmethod
    def of(
        cls, model: str, nc: int | None = None, names: Sequence[str] | None = None
    ) -> Architecture:
        """What a command's user means: an official size, or the path of a model yaml."""
        if model.lower().endswith((".yaml", ".yml")):
            return cls.from_yaml(model, names, nc)
        return cls.named(model, nc, names)

    @classmethod
    def from_yaml(
        cls, path: PathLike, names: Sequence[str] | None = None, nc: int | None = None
    ) -> Architecture:
        """The architecture in a model yaml, with these class names. InputError says what is wrong.

        Names, or a number of classes, replace those of the file.
        """
        from yolo_core.yaml_file import read_yaml

        description = read_yaml(path)
        if isinstance(description, dict) and (names is not None or nc is not None):
            description = {**description, "nc": nc, "names": None}
        return cls.from_description(description, str(path), names)

    @classmethod
    def from_description(
        cls,
        description: Any,
        source: str,
        names: Sequence[str] | None = None,
        anchors: Anchors | None = None,
    ) -> Architecture:
        """The architecture of a model yaml's content (see `layout`).

        names: instead of the yaml's `nc` and `names`. anchors: instead of the yaml's. source:
        what to call the description in errors.
        """
        if not isinstance(description, Mapping):
            raise InputError(source, "is not a model description", "a YOLOv5 model yaml")
        for key in ("backbone", "head", "depth_multiple", "width_multiple"):
            if key not in description:
                raise InputError(source, f"lacks the key {key}", "a YOLOv5 model yaml")
        try:
            found = cls._described(description, names, anchors)
        except LayoutError as error:
            raise InputError(source, error.cause, error.expected) from error
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(source, f"has a key of the wrong kind ({error!s:.60})",
                             "a YOLOv5 model yaml") from error  # fmt: skip
        except InputError as error:
            if source == "model":
                raise
            raise InputError(source, error.cause, error.expected) from error
        return found.recognised()

    @classmethod
    def _described(
        cls, description: Mapping[str, Any], names: Sequence[str] | None, anchors: Anchors | None
    ) -> Architecture:
        for key in ("backbone", "head"):
            if not isinstance(description[key], (list, tuple)):
                raise LayoutError(f"has a {key} that is not a list", "rows")
        check_channels(description.get("ch", 3))
        rows = rows_of([*description["backbone"], *description["head"]])
        names = class_names(description.get("nc"), names or description.get("names"))
        activation = from_torch_text(str(description.get("activation") or "silu"))
        csp = description.get("csp_activation")
        depth, width = (
            _number(description["depth_multiple"]),
            _number(description["width_multiple"]),
        )
        channel_multiple = int(description.get("channel_multiple") or 8)
        found = anchors if anchors is not None else description.get("anchors")
        count = found if type(found) is int else None
        if count is None:
            anchors = anchors_of(found)
            count = len(anchors[0])
        cls._require(1 <= count <= MAX_ANCHORS, f"has {count} anchors", f"1 to {MAX_ANCHORS}")
        csp = None if csp is None else from_torch_text(str(csp))
        terms = Terms(depth, width, channel_multiple, len(names) + 5, count, activation,
                      csp or activation)  # fmt: skip
        cls._require(0 < depth <= 16 and 0 < width <= 16, f"has multiples of {depth} and {width}",
                     "above 0, at most 16")  # fmt: skip
        cls._require(1 <= channel_multiple <= 256, f"rounds channels to {channel_multiple}",
                     "1 to 256")  # fmt: skip
        strides = _network(rows, terms).strides
        if anchors is None:
            anchors = tuple(starting_anchors(stride, count) for stride in strides)
        return cls(CUSTOM, depth, width, names, anchors, activation, strides, rows, csp,
                   channel_multiple)  # fmt: skip

    def recognised(self) -> Architecture:
        """The same network by its official name, if it is one of the official sizes."""
        steps = self.network.steps
        for size in (*SIZES, *P6_SIZES):
            depth, width = (float(_model_yaml(size)[f"{word}_multiple"])
                            for word in ("depth", "width"))  # fmt: skip
            rows = _standard_rows(size)
            terms = replace(self._terms(), depth_multiple=depth, width_multiple=width,
                            channel_multiple=8)  # fmt: skip
            if self.levels == len(rows[-1].sources) and _network(rows, terms).steps == steps:
                return replace(
                    self, size=size, depth_multiple=depth, width_multiple=width,
                    own_layout=None if size in SIZES else rows, csp_activation=None,
                    channel_multiple=8,
                )  # fmt: skip
        if self.layout == _standard_rows("n"):
            return replace(self, own_layout=None)
        return self

    @property
    def layout(self) -> tuple[Row, ...]:
        """The rows of the layout, Detect last."""
        return _standard_rows("n") if self.own_layout is None else self.own_layout

    def _terms(self) -> Terms:
        return Terms(
            self.depth_multiple, self.width_multiple, self.channel_multiple, self.no,
            self.anchors_per_level, self.activation, self.csp_activation or self.activation,
        )  # fmt: skip

    @property
    def network(self) -> Network:
        """The layout written out: layers, steps, heads."""
        try:
            return _network(self.layout, self._terms())
        except LayoutError as error:
            raise InputError("architecture", error.cause, error.expected) from error

    @property
    def nc(self) -> int:
        """Number of classes."""
        return len(self.names)

    @property
    def no(self) -> int:
        """Numbers per row of the output: x, y, w, h, objectness and one per class."""
        return self.nc + 5

    @property
    def anchors_per_level(self) -> int:
        """Anchors of each level, the same for all."""
        return len(self.anchors[0])

    @property
    def levels(self) -> int:
        """Detection levels."""
        return len(self.strides)

    @property
    def level_names(self) -> tuple[str, ...]:
        """p3 for stride 8, p4 for 16, and so on, in the order of the levels."""
        return tuple(f"p{stride.bit_length() - 1}" for stride in self.strides)

    @property
    def max_stride(self) -> int:
        """What the sides of the input are multiples of: the largest stride, and at least 32."""
        return max(32, *(step.stride_from_input for step in self.steps()))

    @property
    def model_name(self) -> str:
        """The name users know: yolov5n and so on."""
        return "yolov5-custom" if self.size == CUSTOM else f"yolov5{self.size}"

    def layers(self) -> tuple[Layer, ...]:
        """The layers in the order they run, one per row of the layout."""
        return self.network.layers

    def steps(self) -> tuple[Step, ...]:
        """The operations in the order they run (see `plan`)."""
        return self.network.steps

    def convolutions(self) -> tuple[Convolution, ...]:
        """Every convolution in the order it runs."""
        return tuple(step.convolution for step in self.steps() if step.convolution is not None)

    def parameter_shapes(self, fused: bool) -> dict[str, tuple[int, ...]]:
        """Name → shape of every parameter, batch normalisation folded (`fused`) or not."""
        shapes: dict[str, tuple[int, ...]] = {}
        for conv in self.convolutions():
            shapes[f"{conv.name}.weight"] = conv.weight_shape
            if fused or conv.batch_norm is None:
                shapes[f"{conv.name}.bias"] = (conv.out_channels,)
            else:
                for part in ("gamma", "beta", "running_mean", "running_var"):
                    shapes[f"{conv.batch_norm}.{part}"] = (conv.out_channels,)
        return shapes

    def parameter_count(self) -> int:
        """Trainable numbers, batch normalisation kept: what YOLOv5's tables call parameters."""
        return sum(
            math.prod(shape)
            for name, shape in self.parameter_shapes(fused=False).items()
            if ".running_" not in name
        )

    def rows(self, height: int, width: int) -> int:
        """Rows N of the output [B, N, 5 + nc] for an input of that many pixels."""
        return sum(self.anchors_per_level * (height // s) * (width // s) for s in self.strides)

    def macs(self, height: int, width: int) -> int:
        """Multiply-accumulates of all convolutions for one image of that many pixels."""
        total = 0
        for conv in self.convolutions():
            scale = conv.input_stride * conv.stride
            total += math.prod(conv.weight_shape) * (height // scale) * (width // scale)
        return total

    def to_description(self) -> dict[str, Any]:
        """The content of a model yaml that YOLOv5 and `from_description` read."""
        rows = [row.to_list() for row in self.layout]
        rows[-1][3] = ["nc", "anchors"]
        words = {"Upsample": "nn.Upsample", "MaxPool2d": "nn.MaxPool2d"}
        for row in rows:
            row[2] = words.get(row[2], row[2])
        return {
            "nc": self.nc,
            "depth_multiple": self.depth_multiple,
            "width_multiple": self.width_multiple,
            "anchors": [[side for pair in level for side in pair] for level in self.anchors],
            "backbone": rows[:1],
            "head": rows[1:],
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain data for YAML and JSON; `from_dict` reads it back."""
        record: dict[str, Any] = {
            "size": self.size,
            "depth_multiple": self.depth_multiple,
            "width_multiple": self.width_multiple,
            "nc": self.nc,
            "names": list(self.names),
            "anchors": [[list(pair) for pair in level] for level in self.anchors],
            "strides": list(self.strides),
            "activation": self.activation,
        }
        if self.csp_activation is not None:
            record["csp_activation"] = self.csp_activation
        if self.channel_multiple != 8:
            record["channel_multiple"] = self.channel_multiple
        if self.own_layout is not None:
            record["layers"] = [row.to_list() for row in self.own_layout]
        return record

    @classmethod
    def from_dict(cls, data: Any, source: str) -> Architecture:
        """An architecture from plain data. source: the file it stands in, for the error."""
        if not isinstance(data, dict):
            raise InputError(source, "has no architecture", "a mapping")
        try:
            csp = data.get("csp_activation")
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
                own_layout=None if data.get("layers") is None else rows_of(data["layers"]),
                csp_activation=None if csp is None else str(csp),
                channel_multiple=int(data.get("channel_multiple", 8)),
            )
        except LayoutError as error:
            raise InputError(source, error.cause, error.expected) from error
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


def class_names(nc: Any, names: Any) -> tuple[str, ...]:
    """The class names for these names, or for a number of classes alone. See `named`."""
    if names is not None:
        values = list(names.values()) if isinstance(names, Mapping) else list(names)
        if nc is not None and nc != len(values):
            raise InputError("model", f"has {nc!s:.20} classes and {len(values)} names", "as many")
        return tuple(map(str, values))
    if nc is None or nc == len(COCO_NAMES):
        return tuple(COCO_NAMES)
    if type(nc) is not int or not 1 <= nc <= MAX_CLASSES:
        raise InputError("model", f"has {nc!s:.20} classes", f"1 to {MAX_CLASSES}")
    return tuple(f"class{index}" for index in range(nc))


def _number(value: Any) -> float:
    """A number of a yaml; tools that write yamls put some in quotes."""
    if isinstance(value, str) and _NUMBER_TEXT.fullmatch(value):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r:.40} is no number")
    return float(value)


def _pair(value: Any) -> Pair:
    width, height = _sequence(value)
    return float(width), float(height)


def _sequence(value: Any) -> Sequence[Any]:
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{value!r:.40} is not a list")
    if len(value) > MAX_CLASSES:
        raise ValueError(f"a list of {len(value)}")
    return value
