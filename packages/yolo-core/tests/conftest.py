"""What the tests of yolo-core share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A shared machine makes single examples slow now and then; that is no defect.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture
def shared() -> Path:
    """The real checkpoint, images and reference outputs; not part of the repository."""
    folder = os.environ.get("YOLO_SHARED")
    if not folder or not Path(folder).is_dir():
        pytest.skip("YOLO_SHARED names no folder with the real data")
    return Path(folder)
