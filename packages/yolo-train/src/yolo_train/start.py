"""The parameters a training starts from: random ones, or those of a checkpoint that fit."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

import numpy as np

from yolo_core.architecture import ANCHORS_PER_LEVEL, Architecture
from yolo_core.checkpoint import Checkpoint
from yolo_core.errors import InputError

#: Objects per picture of 640 pixels, and share of a class, that the first biases assume.
_OBJECTS, _CLASS_SHARE = 8, 0.6
_NOMINAL_IMGSZ = 640


def random_parameters(architecture: Architecture, seed: int) -> dict[str, np.ndarray]:
    """Unfused float32 parameters; each depends on the seed and its name alone.

    Weights are uniform within ±1/sqrt(fan in). The detection biases say at first that objects
    are rare and classes equally likely.
    """
    parameters: dict[str, np.ndarray] = {}
    for name, shape in architecture.parameter_shapes(fused=False).items():
        if name.endswith(".weight"):
            word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
            bound = 1 / math.sqrt(int(np.prod(shape[1:])))
            value = np.random.default_rng([seed, word]).uniform(-bound, bound, shape)
        elif name.endswith((".gamma", ".running_var")):
            value = np.ones(shape)
        else:
            value = np.zeros(shape)
        parameters[name] = value.astype(np.float32)
    detect = [conv for conv in architecture.convolutions() if conv.batch_norm is None]
    for conv, stride in zip(detect, architecture.strides):
        bias = parameters[f"{conv.name}.bias"].reshape(ANCHORS_PER_LEVEL, architecture.no)
        bias[:, 4] = math.log(_OBJECTS / (_NOMINAL_IMGSZ / stride) ** 2)
        bias[:, 5:] = math.log(_CLASS_SHARE / (architecture.nc - 0.99999))
    return parameters


def transfer(
    start: Mapping[str, np.ndarray], checkpoint: Checkpoint, source: str
) -> tuple[dict[str, np.ndarray], list[str]]:
    """`start` with every parameter of the checkpoint whose name and shape match.

    Returns the parameters and the names that kept their start. The first convolution's input
    channels are turned round for a checkpoint in BGR order. source: the checkpoint's name, for
    the InputError when its batch normalisation is folded away.
    """
    if checkpoint.fused:
        raise InputError(source, "has its batch normalisation folded", "a checkpoint not fused")
    parameters = dict(start)
    skipped = []
    for name, value in start.items():
        found = checkpoint.parameters.get(name)
        if found is None or found.shape != value.shape:
            skipped.append(name)
            continue
        if checkpoint.color == "bgr" and name == "model.0.conv.weight":
            found = found[:, ::-1]
        parameters[name] = np.ascontiguousarray(found, np.float32)
    return parameters, skipped
