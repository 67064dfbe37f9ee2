"""What every reader hands over: a file's tensors in Ultralytics' words, and what it says of them.

Readers know file formats and nothing of YOLOv5's layouts; `matching` knows the layouts and
nothing of files. This is what passes between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.yolo.anchors import Anchors
from yolo_core.yolo.architecture import BATCH_NORM_EPSILON, Architecture

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


def for_epsilon(gamma: Array, variance: Array, theirs: float, ours: float) -> Array:
    """The gamma that gives with epsilon `ours` what this one gives with `theirs`, [C] float32."""
    spread = np.asarray(variance, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):  # what comes of it is refused later
        ratio = np.sqrt((spread + ours) / (spread + theirs))
    changed: Array = (gamma * ratio).astype(np.float32)
    return changed


@dataclass(frozen=True)
class Structure:
    """How a PyTorch file says its modules are wired, beyond the shapes of their tensors.

    layers: kind and sources of each layer as in `yolo_core.yolo.layout.Layer`. convolutions:
    name → stride, padding and groups. shortcuts: stem of each bottleneck → whether it adds its
    input. activations: stem of each convolution block → its activation. pools: kernels of the
    pools of each layer.
    """

    layers: tuple[tuple[str, tuple[int, ...]], ...]
    convolutions: Mapping[str, tuple[int, tuple[int, int], int]]
    shortcuts: Mapping[str, bool]
    activations: Mapping[str, str]
    pools: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class SourceModel:
    """The content of one source file.

    path: of the file, for errors. form: what kind of file it is, in a few words.
    tensors: float arrays by their names in an Ultralytics state dict (`model.0.conv.weight`,
    `model.0.bn.running_mean`, …), without buffers that the network does not compute with.
    names: one per class, None where the file does not say. names_fault: why the file's names
    cannot be used, where the user has to say others. anchors: in pixels of the network's
    input, None where the file does not say. grid_anchors [levels, anchors, 2]: the same divided
    by the stride of each level, as the buffer of a state dict has them. activation,
    csp_activation: words of `yolo_core.yolo.activations`. color: channel order of the input.
    epsilon: what batch normalisation adds to the variance, None where the file does not say.
    description: the model yaml that the file holds. architecture: the finished architecture,
    where the reader knows it (a graph, or a file of our own). structure: of a PyTorch model saved
    whole.
    notes: remarks for the checkpoint's `meta`, plain values. assumed: what the reader itself had
    to take for granted, in words.
    """

    path: str
    form: str
    tensors: Mapping[str, Array]
    names: tuple[str, ...] | None = None
    names_fault: InputError | None = None
    anchors: Anchors | None = None
    grid_anchors: Array | None = None
    activation: str | None = None
    csp_activation: str | None = None
    color: str = "rgb"
    epsilon: float | None = None
    description: Mapping[str, Any] | None = None
    architecture: Architecture | None = None
    structure: Structure | None = None
    notes: Mapping[str, object] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()

    @property
    def usable_epsilon(self) -> float:
        """The epsilon to calculate with: YOLOv5's own where the file does not say."""
        return BATCH_NORM_EPSILON if self.epsilon is None else self.epsilon


@dataclass(frozen=True)
class Answers:
    """What the user says where a file is silent, or instead of what it says.

    names: one per class. activation: of every convolution. description: the model yaml.
    """

    names: tuple[str, ...] | None = None
    activation: str | None = None
    description: Mapping[str, Any] | None = None
