"""The names that `import yolo_port` offers: documented, listed in the README, loaded late."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from port_samples import random_checkpoint, state_dict, write_pt

import yolo_port

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.parametrize("name", yolo_port.__all__)
def test_every_public_function_is_documented_and_in_the_readme(name: str) -> None:
    assert getattr(yolo_port, name).__doc__
    assert name in dir(yolo_port)
    assert f"yolo_port.{name}" in README.read_text(encoding="utf-8")


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'konvert'"):
        yolo_port.konvert  # noqa: B018


def test_import_brings_neither_mxnet_nor_opencv() -> None:
    words = "import sys, yolo_port; sys.exit(bool({'mxnet', 'cv2', 'onnx'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", words], check=False).returncode == 0


def test_the_public_functions_do_a_whole_port(tmp_path: Path) -> None:
    source = write_pt(tmp_path / "m.pt", state_dict(random_checkpoint()))
    checkpoint, files = yolo_port.convert(source, tmp_path / "w")
    assert checkpoint.architecture.nc == yolo_port.load(files[-1]).architecture.nc
    assert yolo_port.verify(source, tmp_path / "w" / "m", imgsz=64).passed
    assert yolo_port.inspect(source)["form"] == "PyTorch state dict"
