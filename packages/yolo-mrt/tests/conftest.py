"""A network small enough to quantize in a second, with random weights, and pictures for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from yolo_core.mxnet.checkpoint import Checkpoint, write_checkpoint
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.letterbox import opencv


def tiny_architecture(activation: str = "silu", nc: int = 3) -> Architecture:
    names = tuple(f"class{i}" for i in range(nc))
    return Architecture("custom", 0.34, 0.125, names, activation=activation)


def random_parameters(architecture: Architecture, seed: int = 0) -> dict[str, np.ndarray]:
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


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stem of a tiny fused checkpoint of three classes."""
    return make_checkpoint(tmp_path_factory.mktemp("weights") / "tiny")


def make_checkpoint(
    stem: Path,
    change: Callable[[dict[str, np.ndarray]], None] = lambda parameters: None,
    activation: str = "silu",
    nc: int = 3,
) -> Path:
    architecture = tiny_architecture(activation, nc)
    parameters = random_parameters(architecture)
    change(parameters)
    write_checkpoint(stem, Checkpoint(architecture, parameters, fused=True))
    return stem


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four small pictures with smooth and sharp parts."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.RandomState(7)
    for index in range(4):
        image = np.kron(generator.randint(0, 256, (6, 8, 3)), np.ones((9, 9, 1))).astype(np.uint8)
        image[10:30, 20:50] = generator.randint(0, 256, (20, 30, 3))
        opencv().imwrite(str(folder / f"{index}.png"), image)
    return folder
