"""A small detector to bundle: real operators, a real `ext`, a few kilobytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from yolo_core.graph import Graph, GraphBuilder
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.model_folder import Extension, write_model_folder
from yolo_cvm.bundle import Choices, write_bundle

# A shared machine makes single examples slow now and then; that is no defect.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

SIDE = 32


def small_graph(
    precision: int = 8, heads: int = 1, postprocess: str = "", channels: int = 3
) -> Graph:
    """[1,3,32,32] → conv → requantize → [1,63,6], the shape of a one-class detector."""
    builder = GraphBuilder()
    numbers = np.random.default_rng(7)
    data = builder.input("data", (1, 3, SIDE, SIDE), precision)
    small = data
    if precision > 8:
        small = builder.operator("cvm_right_shift", [data], precision=8, shift_bit=precision - 8)
    weight = builder.parameter("weight", numbers.integers(-127, 128, (channels, 3, 3, 3)), 8)
    bias = builder.parameter("bias", numbers.integers(-999, 1000, channels), 16)
    wide = builder.operator(
        "conv2d", [small, weight, bias], channels=channels, kernel_size=(3, 3), padding=(1, 1)
    )
    narrow = builder.operator("cvm_right_shift", [wide], precision=8, shift_bit=9)
    row = builder.operator("reshape", [narrow], shape=(1, channels * SIDE * SIDE))
    part = builder.operator("strided_slice", [row], begin=(0, 0), end=(1, 63 * 6))
    output = builder.operator("reshape", [part], shape=(1, 63, 6))
    return builder.build([output] * heads, postprocess)


def extension() -> Extension:
    """What the small graph's integers mean."""
    return Extension(
        architecture=Architecture.named("n", nc=1, names=["pipe | *star*"]),
        imgsz=(SIDE, SIDE),
        input_scale=255.0,
        input_zero_point=-128,
        input_precision=8,
        output_scales=(16.0,) * 6,
    )


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder; not to be written to."""
    folder = tmp_path_factory.mktemp("model") / "small"
    write_model_folder(folder, small_graph(), extension())
    return folder


@pytest.fixture
def bundle(model: Path, tmp_path: Path) -> Path:
    """A fresh bundle of the small model."""
    write_bundle(model, tmp_path / "bundle", Choices(comment="small"))
    return tmp_path / "bundle"


@pytest.fixture
def home(bundle: Path) -> Path:
    """The folder `<info hash>` inside the bundle."""
    (found,) = (entry for entry in bundle.iterdir() if entry.is_dir())
    return found
