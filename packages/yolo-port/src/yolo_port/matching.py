"""From a source's tensors to a checkpoint: find which YOLOv5 it is, and hold it to every shape.

The size follows from two numbers, the channels of the first convolution and the bottlenecks of
the first C3; everything else must then be exactly what the architecture says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.mxnet.checkpoint import Checkpoint
from yolo_core.mxnet.fusing import fuse
from yolo_core.yolo.architecture import (
    ANCHORS_PER_LEVEL,
    BATCH_NORM_EPSILON,
    SIZES,
    Architecture,
)
from yolo_port.source import SourceModel, Structure
from yolo_port.state_dict import FIRST_WEIGHT, to_parameters

_HEAD = re.compile(r"model\.24\.m\.(\d+)\.weight")
_EXPECTED = "a YOLOv5 v6.0 to v7.0 detection model (n, s, m, l or x)"
#: Beginning of a tensor's name → what has such a tensor, for models that are known and unsupported.
_UNSUPPORTED = tuple(
    (re.compile(pattern), what)
    for pattern, what in (
        (r"model\.\d+\.proto\.", "a YOLOv5 segmentation model"),
        (r"model\.\d+\.linear\.", "a YOLOv5 classification model"),
        (r"model\.33\.m\.\d+\.", "a P6 model (four detection levels)"),
        (r"model\.0\.conv\.conv\.", "a YOLOv5 of before v6.0"),
        (r"model\.28\.m\.\d+\.", "a YOLOv3"),
        (r"(backbone|neck|detect)\.(stem|ERBlock_\d|Rep_|cls_convs)", "a YOLOv6"),
        (r"model\.\d+\.(i[am]\.\d|rbr_\w+|\w+\.rbr_\w+)\.", "a YOLOv7"),
        (r"model\.\d+\.dfl\.", "a YOLOv8 or later"),
        (r"backbone\.backbone\.", "a YOLOX"),
    )
)


def match(model: SourceModel) -> Checkpoint:
    """The checkpoint that a source model is; float32, fused only if the source already is.

    InputError, naming the tensor, for sizes that fit no YOLOv5, missing or surplus tensors,
    other shapes, values that are not finite, and layers wired in another way.
    """
    if not all(name.isprintable() for name in model.names or ()):
        raise InputError(model.path, "has class names with control characters", "printable text")
    if not json.dumps(model.notes, ensure_ascii=False, default=str).isprintable():
        raise InputError(model.path, "has notes that are not Unicode text", "printable text")
    architecture = _architecture(model)
    parameters = to_parameters(model.tensors)
    fused = not any(".bn." in name for name in parameters)
    shapes = architecture.parameter_shapes(fused)
    for name in parameters:
        if name not in shapes:
            raise InputError(model.path, f"has {name}, which {architecture.model_name} has not",
                             _EXPECTED)  # fmt: skip
    found: dict[str, Array] = {}
    for name, shape in shapes.items():
        if name not in parameters:
            raise InputError(model.path, f"lacks {name} of {architecture.model_name}", _EXPECTED)
        found[name] = _checked(parameters[name], name, shape, model.path)
    if model.structure is not None:
        _check_structure(model.structure, architecture, model.path)
    if not fused and model.epsilon != BATCH_NORM_EPSILON:
        found = _with_our_epsilon(found, model.epsilon)
    return Checkpoint(architecture, found, fused, model.color, dict(model.notes))


def fused(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint with batch normalisation folded into its convolutions."""
    if checkpoint.fused:
        return checkpoint
    return replace(
        checkpoint, parameters=fuse(checkpoint.parameters, checkpoint.architecture), fused=True
    )


def _architecture(model: SourceModel) -> Architecture:
    for name in model.tensors:
        for pattern, what in _UNSUPPORTED:
            if pattern.match(name):
                raise InputError(model.path, f"is {what} (it has {name[:80]})", _EXPECTED)
    first = model.tensors.get(FIRST_WEIGHT)
    if first is None or first.ndim != 4:
        raise InputError(model.path, f"lacks {FIRST_WEIGHT}", _EXPECTED)
    depth = sum(
        re.fullmatch(r"model\.2\.m\.\d+\.cv1\.conv\.weight", name) is not None
        for name in model.tensors
    )
    size = next((size for size in SIZES if _signature(size) == (first.shape[0], depth)), None)
    if size is None:
        raise InputError(
            model.path,
            f"begins with {first.shape[0]} channels and {depth} bottlenecks, which fit no size",
            _EXPECTED,
        )
    heads = {
        int(found.group(1)): array.shape[:1]
        for name, array in model.tensors.items()
        if (found := _HEAD.fullmatch(name))
    }
    if len(heads) == 4:
        raise InputError(model.path, "is a P6 model (four detection levels)", "three levels")
    numbers, rest = divmod(heads[0][0], ANCHORS_PER_LEVEL) if heads.get(0) else (0, 0)
    if rest or numbers < 6 or (model.names is not None and len(model.names) != numbers - 5):
        raise InputError(
            model.path,
            f"has {heads[0][0] if heads.get(0) else 'no'} detection channels"
            + ("" if model.names is None else f" for {len(model.names)} class names"),
            "3 x (5 + classes) of them",
        )
    try:
        return Architecture.named(
            size, numbers - 5, model.names, model.anchors, model.activation or "silu"
        )
    except InputError as error:
        raise InputError(model.path, error.cause, error.expected) from error


def _signature(size: str) -> tuple[int, int]:
    """Channels of the first convolution and bottlenecks of the first C3."""
    layers = Architecture.named(size).layers()
    return layers[0].out_channels, layers[2].repeats


def _checked(array: Array, name: str, shape: tuple[int, ...], path: str) -> Array:
    if array.shape != shape:
        raise InputError(path, f"has {name} of shape {array.shape}", f"{shape}")
    if array.dtype.kind != "f":
        raise InputError(path, f"has {name} as {array.dtype}", "floating point")
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(array).all():
        raise InputError(path, f"has a value in {name} that is not finite", "finite numbers")
    if name.endswith(".running_var") and (array < 0).any():
        raise InputError(path, f"has a negative variance in {name}", "0 or more")
    return array


def _with_our_epsilon(parameters: Mapping[str, Array], epsilon: float) -> dict[str, Array]:
    """The same network for BN epsilon 1e-3: gamma takes up the change of the denominator."""
    changed = dict(parameters)
    for name, gamma in parameters.items():
        if name.endswith(".gamma"):
            variance = parameters[name[: -len("gamma")] + "running_var"].astype(np.float64)
            ratio = np.sqrt((variance + BATCH_NORM_EPSILON) / (variance + epsilon))
            changed[name] = (gamma * ratio).astype(np.float32)
    return changed


def _check_structure(structure: Structure, architecture: Architecture, path: str) -> None:
    if structure.layers is not None:
        ours = [(layer.kind, layer.sources) for layer in architecture.layers()]
        for index, (ours_here, found) in enumerate(zip(ours, structure.layers)):
            if ours_here != found:
                raise InputError(path, f"has layer {index} as {found[0]} of layers {found[1]}",
                                 f"{ours_here[0]} of layers {ours_here[1]}")  # fmt: skip
        if len(ours) != len(structure.layers):
            raise InputError(path, f"has {len(structure.layers)} layers", f"{len(ours)}")
    for conv in architecture.convolutions():
        own = (conv.stride, conv.padding)
        theirs = structure.convolutions.get(conv.name, own)
        if theirs != own:
            raise InputError(path, f"has stride and padding {theirs} in {conv.name}", f"{own}")
    for layer in architecture.layers():
        for repeat in range(layer.repeats if layer.kind == "C3" else 0):
            stem = f"model.{layer.index}.m.{repeat}"
            if structure.shortcuts.get(stem, layer.shortcut) != layer.shortcut:
                raise InputError(path, f"has another shortcut in {stem}", str(layer.shortcut))
