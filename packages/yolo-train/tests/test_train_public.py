"""The names that `import yolo_train` offers: documented, listed in the README, loaded late."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import yolo_train

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.parametrize("name", yolo_train.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    assert getattr(yolo_train, name).__doc__
    assert name in dir(yolo_train)


@pytest.mark.parametrize("name", ["fit", "resume", "write_shapes"])
def test_every_public_function_is_in_the_readme(name: str) -> None:
    assert f"yolo_train.{name}" in README.read_text(encoding="utf-8")


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        yolo_train.train  # noqa: B018


def test_import_brings_no_mxnet() -> None:
    words = "import sys, yolo_train; sys.exit('mxnet' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], check=False).returncode == 0
