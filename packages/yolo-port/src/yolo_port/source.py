"""What every reader hands over: a file's tensors in Ultralytics' words, and what it says of them.

Readers know file formats and nothing of YOLOv5's sizes; `matching` knows the sizes and nothing
of files. This is what passes between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from yolo_core.arrays import Array
from yolo_core.yolo.architecture import BATCH_NORM_EPSILON, Anchors

#: Most axes of a tensor, and the longest of them.
_MAX_NDIM, _MAX_SIDE = 8, 1 << 40


def is_shape(value: Any) -> bool:
    """Whether a value that a file gives is the shape of a tensor with at least one element.

    No weight is empty, and an axis of 0 beside huge ones would be a size that NumPy cannot hold.
    """
    return (
        isinstance(value, tuple)
        and len(value) <= _MAX_NDIM
        and all(type(side) is int and 0 < side < _MAX_SIDE for side in value)
    )


@dataclass(frozen=True)
class Structure:
    """How a file says its layers are wired, beyond the shapes of their tensors.

    layers: kind and sources of each layer as in `yolo_core.yolo.architecture.Layer`, None where the
    file has no notion of them. convolutions: name → stride and padding. shortcuts: stem of each
    bottleneck → whether it adds its input.
    """

    layers: tuple[tuple[str, tuple[int, ...]], ...] | None
    convolutions: Mapping[str, tuple[int, int]]
    shortcuts: Mapping[str, bool]


@dataclass(frozen=True)
class SourceModel:
    """The content of one source file.

    path: of the file, for errors. form: what kind of file it is, in a few words.
    tensors: float arrays by their names in an Ultralytics state dict (`model.0.conv.weight`,
    `model.0.bn.running_mean`, …), without buffers that the network does not compute with.
    names: one per class, None where the file does not say. anchors: in pixels of the network's
    input, None where the file does not say. activation: a word of `yolo_core.yolo.architecture`.
    color: channel order of the input. epsilon: what batch normalisation adds to the variance.
    structure: None where the file holds tensors alone.
    notes: remarks for the checkpoint's `meta`, plain values.
    """

    path: str
    form: str
    tensors: Mapping[str, Array]
    names: tuple[str, ...] | None = None
    anchors: Anchors | None = None
    activation: str | None = None
    color: str = "rgb"
    epsilon: float = BATCH_NORM_EPSILON
    structure: Structure | None = None
    notes: Mapping[str, object] = field(default_factory=dict)
