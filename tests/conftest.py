"""What the tests across packages share: the real data."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from commands import invoke


@pytest.fixture(scope="session")
def shared() -> Path:
    """The real checkpoint and images; not part of the repository."""
    folder = os.environ.get("YOLO_SHARED")
    if not folder or not Path(folder).is_dir():
        pytest.skip("YOLO_SHARED names no folder with the real data")
    return Path(folder)


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, a checkpoint, an integer model, a picture and run files, all made by us."""
    from yolo_core.mxnet.checkpoint import Checkpoint, write_checkpoint
    from yolo_core.yolo.architecture import Architecture

    folder = tmp_path_factory.mktemp("work")
    assert invoke("yolo-train shapes --out shapes --images 10 --imgsz 64", folder).exit_code == 0
    architecture = Architecture.named("yolov5n", names=("circle", "square", "triangle"))
    rng = np.random.default_rng(0)
    parameters = {
        name: rng.normal(0, 0.05, shape).astype(np.float32)
        for name, shape in architecture.parameter_shapes(fused=True).items()
    }
    write_checkpoint(folder / "w" / "n", Checkpoint(architecture, parameters, fused=True))
    for words in (
        "yolo-mrt quantize w/n --data shapes/images/val --imgsz 64 --num-calib 2 --out m",
        "yolo-mrt boxes m --out b",
        "yolo-core dataset convert shapes/data.yaml --out c",
        "yolo-eval coco m --data shapes/data.yaml --json a.json --predictions list.json",
        "yolo-eval coco m --data shapes/data.yaml --json s1.json --shard 1/2",
        "yolo-eval coco m --data shapes/data.yaml --json s2.json --shard 2/2",
    ):
        result = invoke(words, folder)
        assert result.exit_code == 0, result.output
    (folder / "p").mkdir()
    shutil.copyfile(next((folder / "shapes/images/val").iterdir()), folder / "p" / "a.png")
    for words in (
        "yolo-cvm encode m p/a.png --out e",
        "yolo-cvm run m --input e/input.npy --output o.npy",
    ):
        assert invoke(words, folder).exit_code == 0
    return folder
