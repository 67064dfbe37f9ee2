"""The check of a machine's GPUs, as far as a machine without any goes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from yolo_core.mxnet.importing import mxnet

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "device.py"


@pytest.fixture(scope="module")
def device() -> ModuleType:
    spec = importlib.util.spec_from_file_location("device", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("capability", "expected"),
    [("3.7", False), ("5.2", True), ("6.1", True), ("7.5", True), ("8.6", True), ("8.9", True),
     ("9.0", False), ("10.0", False)],
)  # fmt: skip
def test_the_code_in_the_wheels_runs_higher_cards_of_the_same_kind(
    device: ModuleType, capability: str, expected: bool
) -> None:
    assert device.has_code(capability) is expected


def test_without_a_gpu_there_is_nothing_to_try() -> None:
    if mxnet().context.num_gpus():
        pytest.skip("this machine has a GPU that MXNet sees")
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "verdict: nothing to try" in done.stdout


def test_the_verdict_follows_the_losses(device: ModuleType, tmp_path: Path) -> None:
    # Two devices of the CPU take the way of two cards.
    data = device.yolo_train.write_shapes(tmp_path / "shapes", images=20, imgsz=32, seed=0)
    expected, _ = device.train(data, tmp_path, "cpu:0,cpu:1", False)
    assert device.compare(data, tmp_path, expected, "cpu:0,cpu:1", False)
    assert not device.compare(data, tmp_path, 1.1 * expected, "cpu:0,cpu:1", False)
    assert not device.compare(data, tmp_path, expected, "gpu:200", False)
