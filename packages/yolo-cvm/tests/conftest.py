"""What the tests of yolo-cvm share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from yolo_core.graph import Graph, GraphBuilder
from yolo_core.graph.files import params, symbol

# A shared machine makes single examples slow now and then; that is no defect.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

PACKAGE = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def golden() -> Path:
    """Vectors of the original runtime; not part of the repository."""
    shared = Path(os.environ.get("YOLO_SHARED") or PACKAGE.parents[2] / "shared")
    if not (shared / "golden").is_dir():
        pytest.skip("YOLO_SHARED names no folder with the original's vectors")
    return shared / "golden"


def small_graph(postprocess: str = "", bits: int = 8) -> Graph:
    """relu(cvm_clip(conv2d(data))) with weights of 5 bits: one head of 12 bits."""
    b = GraphBuilder()
    x = b.input("data", (1, 2, 4, 5), bits)
    w = b.parameter("w", np.arange(-6, 6).reshape(3, 2, 1, 2), 5)
    y = b.operator("conv2d", [x, w], channels=3, kernel_size=(1, 2), use_bias=False)
    z = b.operator("relu", [b.operator("cvm_clip", [y], precision=12)])
    return b.build([z], postprocess)


def write_model(folder: Path, graph: Graph) -> Path:
    """A folder with the graph's two files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "symbol").write_bytes(symbol.encode(graph))
    (folder / "params").write_bytes(params.encode(graph))
    return folder


def some_input(graph: Graph, seed: int = 0) -> np.ndarray:
    """int8 or int32 input of the whole range."""
    bound = 2 ** (graph.input_precision - 1) - 1
    values = np.random.default_rng(seed).integers(-bound, bound + 1, graph.input_shape)
    return values.astype(np.int8 if bound < 128 else np.int32)


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A small sound model with input.npy beside it."""
    graph = small_graph()
    folder = write_model(tmp_path / "model", graph)
    np.save(folder / "input.npy", some_input(graph))
    return folder
