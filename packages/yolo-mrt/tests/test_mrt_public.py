"""The names that `import yolo_mrt` offers: documented, listed in the README, loaded late."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import yolo_mrt
from yolo_core.errors import InputError
from yolo_mrt.cli import main

README = Path(__file__).parents[1] / "README.md"


@pytest.mark.parametrize("name", yolo_mrt.__all__)
def test_every_public_name_is_documented_and_in_the_readme(name: str) -> None:
    assert getattr(yolo_mrt, name).__doc__
    assert name in dir(yolo_mrt)
    assert f"yolo_mrt.{name}" in README.read_text(encoding="utf-8")


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'quantise'"):
        yolo_mrt.quantise  # noqa: B018


def test_import_brings_neither_mxnet_nor_opencv() -> None:
    words = "import sys, yolo_mrt; sys.exit(bool({'mxnet', 'cv2', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", words], check=False).returncode == 0


def test_the_function_keeps_its_name_beside_the_package_of_the_stage() -> None:
    importlib.import_module("yolo_mrt.quantize.effort")
    assert callable(yolo_mrt.quantize)


def test_a_program_writes_the_bytes_of_the_command(
    checkpoint: Path, pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    out = yolo_mrt.quantize(
        checkpoint, pictures, tmp_path / "a", imgsz=64, num_calib=2, tell=told.append
    )
    assert capfd.readouterr().out == ""
    assert any(line.startswith("compile") for line in told)
    words = ["quantize", str(checkpoint), "--data", str(pictures), "--num-calib", "2"]
    result = CliRunner().invoke(main, [*words, "--imgsz", "64", "--out", str(tmp_path / "b")])
    assert result.exit_code == 0, result.output
    for name in ("symbol", "params", "ext"):
        assert (out / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"effort": "low"}, "effort: is 'low'"),
        ({"letterbox": "crop"}, "letterbox: is 'crop'"),
        ({"imgsz": (1, 2, 3)}, "--imgsz: is given 3 times"),
        ({"boxes": yolo_mrt.BoxesOptions(conf=2)}, "conf: is 2"),
    ],
)
def test_what_is_not_known_is_refused(given: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        yolo_mrt.quantize(tmp_path / "w", tmp_path, tmp_path / "out", **given)
    assert not list(tmp_path.iterdir())
