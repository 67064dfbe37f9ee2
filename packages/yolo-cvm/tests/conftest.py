"""What the tests of yolo-cvm share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from cvm_samples import small_graph, some_input, write_model
from hypothesis import settings

from yolo_cvm.engine import library
from yolo_cvm.node.install import built

# A shared machine makes single examples slow now and then; that is no defect.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

PACKAGE = Path(__file__).parents[1]


def pytest_configure() -> None:
    """Where YOLO_CVM_NATIVE is "required", as in CI, what cannot be loaded fails, not skips."""
    if os.environ.get("YOLO_CVM_NATIVE") != "required":
        return
    if not library.instruction_sets():
        raise pytest.UsageError(f"yolo-cvm {library.absence()}, and YOLO_CVM_NATIVE requires it")
    if sys.platform == "linux" and not built().is_file():
        raise pytest.UsageError(f"there is no {built()}, and YOLO_CVM_NATIVE requires it")


@pytest.fixture(scope="session")
def golden() -> Path:
    """Vectors of the original runtime; not part of the repository."""
    shared = Path(os.environ.get("YOLO_SHARED") or PACKAGE.parents[2] / "shared")
    if not (shared / "golden").is_dir():
        pytest.skip("YOLO_SHARED names no folder with the original's vectors")
    return shared / "golden"


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A small sound model with input.npy beside it."""
    graph = small_graph()
    folder = write_model(tmp_path / "model", graph)
    np.save(folder / "input.npy", some_input(graph))
    return folder
