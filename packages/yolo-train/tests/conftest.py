from __future__ import annotations

from pathlib import Path

import pytest

from yolo_train.shapes import write_shapes


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data.yaml of a small dataset: 24 training and 6 validation images of 64 pixels."""
    return write_shapes(tmp_path_factory.mktemp("data") / "shapes", images=30, imgsz=64, seed=3)
