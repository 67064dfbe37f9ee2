"""A checkpoint small enough to quantize in a second, and pictures for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mrt_samples import make_checkpoint

from yolo_core.yolo.letterbox import opencv


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stem of a tiny fused checkpoint of three classes."""
    return make_checkpoint(tmp_path_factory.mktemp("weights") / "tiny")


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
