"""The names that tensors have in an Ultralytics state dict, and in a checkpoint of this house.

    model.0.conv.weight              the same
    model.0.bn.weight, .bn.bias      model.0.bn.gamma, model.0.bn.beta
    model.24.anchors                 not a parameter: the anchors, divided by their stride
    *.num_batches_tracked            not used

Readers of bare dictionaries pass through `tidy`, writers of state dicts through
`ultralytics_state_dict`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.mxnet.checkpoint import Checkpoint
from yolo_core.yolo.architecture import ANCHORS_PER_LEVEL, STRIDES, Anchors

FIRST_WEIGHT = "model.0.conv.weight"
ANCHORS_NAME = "model.24.anchors"
_TO_ULTRALYTICS = {"gamma": "weight", "beta": "bias"}
_FROM_ULTRALYTICS = {"weight": "gamma", "bias": "beta"}
_ANCHORS = re.compile(r"model\.\d+\.anchors")
# What wrappers put before the names: DataParallel, DetectMultiBackend and AutoShape.
_WRAPPERS = re.compile(r"^(?:module\.|model\.)+(?=model\.\d+\.)")
_UNUSED = ("num_batches_tracked", ".anchor_grid", ".stride", ".grid")


def tidy(tensors: Mapping[str, Array], source: str) -> tuple[dict[str, Array], Anchors | None]:
    """Parameters without wrapper prefixes, in Ultralytics' names, and the anchors in pixels.

    Batch normalisation may be named in PyTorch's or MXNet's words. InputError for names that
    meet, for anchors of another shape, and for a model with four detection levels.
    """
    found: dict[str, Array] = {}
    anchors: Anchors | None = None
    for name, array in tensors.items():
        short = _WRAPPERS.sub("", name)
        if _ANCHORS.fullmatch(short):
            anchors = _anchors_in_pixels(array, source)
            continue
        if short.endswith(_UNUSED):
            continue
        stem, _, part = short.rpartition(".")
        short = f"{stem}.{_TO_ULTRALYTICS.get(part, part)}"
        if short in found:
            raise InputError(source, f"has two tensors for {short}", "one of each")
        found[short] = array
    return found, anchors


def _anchors_in_pixels(array: Array, source: str) -> Anchors:
    """YOLOv5 stores each level's anchors divided by the level's stride."""
    if array.ndim == 3 and array.shape[0] == 4:
        raise InputError(source, "is a P6 model (four detection levels)", "three levels")
    shape = (len(STRIDES), ANCHORS_PER_LEVEL, 2)
    if array.shape != shape or not np.isfinite(array).all():
        raise InputError(source, f"has anchors of shape {array.shape}", f"finite, of shape {shape}")
    pixels = array.astype(np.float64) * np.array(STRIDES).reshape(3, 1, 1)
    return tuple(
        tuple((float(width), float(height)) for width, height in level) for level in pixels
    )


def ultralytics_state_dict(checkpoint: Checkpoint) -> dict[str, Array]:
    """Everything that `Model.state_dict()` of YOLOv5 has, for RGB input; fused as the checkpoint.

    float32 parameters, the int64 batch counters where batch normalisation is kept, and the
    `anchors` buffer [3, 3, 2], each level divided by its stride.
    """
    architecture = checkpoint.architecture
    found: dict[str, Array] = {}
    for name, array in to_rgb(checkpoint).parameters.items():
        found[_rename(name, _TO_ULTRALYTICS)] = array
        if name.endswith(".running_var"):
            counter = name[: -len("running_var")] + "num_batches_tracked"
            found[counter] = np.zeros((), np.int64)
    strides = np.array(architecture.strides).reshape(3, 1, 1)
    found[ANCHORS_NAME] = (np.array(architecture.anchors) / strides).astype(np.float32)
    return found


def to_rgb(checkpoint: Checkpoint) -> Checkpoint:
    """The same network for RGB input: the first convolution's input channels in RGB order.

    Formats without a place for the colour order are always RGB, as Ultralytics' models are.
    """
    if checkpoint.color == "rgb":
        return checkpoint
    turned = np.ascontiguousarray(checkpoint.parameters[FIRST_WEIGHT][:, ::-1])
    parameters = {**checkpoint.parameters, FIRST_WEIGHT: turned}
    return replace(checkpoint, parameters=parameters, color="rgb")


def to_parameters(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Ultralytics' names → the names of `Architecture.parameter_shapes`."""
    return {_rename(name, _FROM_ULTRALYTICS): array for name, array in tensors.items()}


def _rename(name: str, words: Mapping[str, str]) -> str:
    stem, _, part = name.rpartition(".")
    return f"{stem}.{words.get(part, part)}" if stem.endswith(".bn") else name
