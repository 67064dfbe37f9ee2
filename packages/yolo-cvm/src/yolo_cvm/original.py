"""Detectors of the original toolchain: what their `ext` says, and what it leaves to convention.

Source: spec 4.3, 6.7. Such an `ext` has the scale and bits of the input and one scale per head;
that the planes are blue, green, red, that pictures are letterboxed and which anchors a level has
is the convention of the project that made them. Three heads, which the chain itself never runs.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.graph import Graph
from yolo_core.graph.integers import elements
from yolo_core.yolo.architecture import ANCHORS_PER_LEVEL, STRIDES, Architecture
from yolo_core.yolo.model_folder import Extension

COLOR, FIT = "bgr", "letterbox"

_EXPECTED = "an ext of our own, or three heads of yolov5 and the original's ext"


@dataclass(frozen=True)
class OriginalExtension:
    """What the integers of an original detector mean.

    input: scale, bits, size and planes of the input, as of our own models. head_scales: value =
    integer / scale, one per head (strides 8, 16, 32).
    """

    input: Extension
    head_scales: tuple[float, ...]

    @property
    def architecture(self) -> Architecture:
        """Classes and anchors; the widths and depths are not known."""
        return self.input.architecture

    @property
    def imgsz(self) -> tuple[int, int]:
        """(height, width) of the input."""
        return self.input.imgsz

    @property
    def letterbox(self) -> str:
        """How pictures are fitted."""
        return self.input.letterbox

    def quantize_input(self, batch: Array) -> Array:
        """See `Extension.quantize_input`: integer = round(value * scale), without zero point."""
        return self.input.quantize_input(batch)

    def logits(self, heads: list[Array]) -> Array:
        """int32 heads of one picture → float64 [1, N, 5 + nc]."""
        rows = [
            head.reshape(1, -1, self.architecture.no).astype(np.float64) / scale
            for head, scale in zip(heads, self.head_scales)
        ]
        return np.concatenate(rows, axis=1)

    def to_json(self) -> str:
        """One line, the same for the same content."""
        return json.dumps([self.input.to_json(), self.head_scales]) + "\n"


def is_original(content: Any) -> bool:
    """Whether the content of an `ext` is one of the original toolchain."""
    return isinstance(content, dict) and "detection" not in content and "oscales" in content


def read_original(content: Any, graph: Graph, source: str) -> OriginalExtension:
    """The meaning of an original detector. InputError where it is none.

    content: of `ext`. graph: the model's. source: the file's path, for the error.
    """
    try:
        given = content["inputs_ext"]["data"]
        scale, bits = float(given["scale"]), int(given["target_bit"])
        scales = tuple(float(value) for value in content["oscales"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(source, f"lacks scales of input or output ({error!r:.60})") from error
    if not all(math.isfinite(value) and value > 0 for value in (scale, *scales)):
        raise InputError(source, "has a scale that is not positive", "positive numbers")
    if bits != graph.input_precision:
        raise InputError(source, f"says target_bit {bits}", f"the graph's {graph.input_precision}")
    shape, heads = graph.input_shape, graph.head_shapes
    if len(shape) != 4 or shape[:2] != (1, 3) or len(heads) != len(STRIDES):
        raise InputError(source, f"describes input {shape} and {len(heads)} heads", _EXPECTED)
    height, width = shape[2:]
    numbers = heads[0][-1]
    for head, stride in zip(heads, STRIDES):
        cells = (height // stride) * (width // stride)
        if head[-1] != numbers or elements(head) != ANCHORS_PER_LEVEL * cells * numbers:
            raise InputError(source, f"describes a head of shape {head}", _EXPECTED)
    if len(scales) != len(heads) or numbers < 6:
        raise InputError(source, f"has {len(scales)} scales for {len(heads)} heads", _EXPECTED)
    known = Architecture.named("n", nc=numbers - 5)
    architecture = Architecture("custom", 1.0, 1.0, known.names)
    return OriginalExtension(
        Extension(
            architecture, (height, width), scale, 0, bits, (min(scales),) * numbers, COLOR, FIT
        ),
        scales,
    )
