"""Training networks of other layouts than the five sizes, from a model yaml."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from yolo_core.mxnet.checkpoint import read_checkpoint
from yolo_train.cli import main

#: Two levels of strides 4 and 8. Joined parts of 4 and 8 channels: MXNet's oneDNN ends the process
#: when it has to split their gradient.
P2 = """
nc: 4
depth_multiple: 0.33
width_multiple: 0.125
activation: nn.ReLU()
anchors: 2
backbone:
  - [-1, 1, Conv, [64, 6, 2, 2]]
  - [-1, 1, Conv, [128, 3, 2]]
  - [-1, 1, C3, [64]]
  - [-1, 1, GhostConv, [128, 3, 2]]
  - [-1, 1, C3, [128]]
head:
  - [-1, 1, nn.Upsample, [None, 2, nearest]]
  - [[-1, 2], 1, Concat, [1]]
  - [-1, 1, BottleneckCSP, [64, False]]
  - [[7, 4], 1, Detect, [nc, anchors]]
"""
#: One level of stride 64.
P6 = """
nc: 4
depth_multiple: 1.0
width_multiple: 0.125
anchors:
  - [10, 12, 30, 40, 50, 60]
backbone:
  - [-1, 1, Focus, [64, 3]]
  - [-1, 1, Conv, [64, 3, 2]]
  - [-1, 1, Conv, [128, 3, 2]]
  - [-1, 1, DWConv, [128, 3, 2]]
  - [-1, 1, Conv, [128, 3, 2]]
  - [-1, 1, Conv, [128, 3, 2]]
head:
  - [-1, 1, SPP, [128, [3, 5]]]
  - [[6], 1, Detect, [nc, anchors]]
"""


@pytest.mark.parametrize(
    ("text", "asked", "imgsz", "levels"), [(P2, "64", 64, ("p2", "p3")), (P6, "96", 128, ("p6",))],
    ids=["p2", "p6"],
)  # fmt: skip
def test_a_network_of_its_own_layout_is_trained(
    shapes: Path, tmp_path: Path, text: str, asked: str, imgsz: int, levels: tuple[str, ...]
) -> None:
    (tmp_path / "my.yaml").write_text(text)
    words = ["fit", "--data", str(shapes), "--cfg", str(tmp_path / "my.yaml"), "--imgsz", asked]
    words += ["--project", str(tmp_path), "--epochs", "1", "--batch-size", "8", "--workers", "0"]
    result = CliRunner().invoke(main, [*words, "--no-plots"])
    assert result.exit_code == 0, result.output
    checkpoint = read_checkpoint(tmp_path / "exp")
    assert checkpoint.architecture.level_names == levels
    assert checkpoint.architecture.nc == 4
    assert checkpoint.meta["imgsz"] == imgsz
    said = f"--imgsz {asked}x{asked} is taken as {imgsz}x{imgsz}"
    assert (said in result.output) == (int(asked) != imgsz)
