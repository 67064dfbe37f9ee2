"""A network small enough to quantize in a second, with random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from yolo_core.arrays import Array
from yolo_core.mxnet.checkpoint import Checkpoint, write_checkpoint
from yolo_core.yolo.architecture import Architecture


def tiny_architecture(activation: str = "silu", nc: int = 3) -> Architecture:
    names = tuple(f"class{i}" for i in range(nc))
    return Architecture("custom", 0.34, 0.125, names, activation=activation)


def random_parameters(architecture: Architecture, seed: int = 0) -> dict[str, Array]:
    """Fused parameters whose activations neither vanish nor explode."""
    generator = np.random.RandomState(seed)
    parameters = {}
    for name, shape in architecture.parameter_shapes(fused=True).items():
        if len(shape) == 4:
            spread = (0.7 if "model.24" in name else 1.35) / np.sqrt(np.prod(shape[1:]))
            parameters[name] = generator.normal(0, spread, shape).astype(np.float32)
        else:
            parameters[name] = generator.normal(0, 0.2, shape).astype(np.float32)
    return parameters


def make_checkpoint(
    stem: Path,
    change: Callable[[dict[str, Array]], None] = lambda parameters: None,
    activation: str = "silu",
    nc: int = 3,
) -> Path:
    architecture = tiny_architecture(activation, nc)
    parameters = random_parameters(architecture)
    change(parameters)
    write_checkpoint(stem, Checkpoint(architecture, parameters, fused=True))
    return stem


def decibels_of(out: Path) -> float:
    """How far the quantization error lies below the outputs, by the stage files of a model."""
    (record,) = out.with_name(f"{out.name}.stages").glob("*.evaluate.json")
    return float(json.loads(record.read_text("utf-8"))["snr_db"])
