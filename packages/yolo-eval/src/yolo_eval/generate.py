"""Models without training, for measuring speed where no weights are at hand.

A generated checkpoint has seeded random parameters; its integer twin is made by the quantizer's
command, when that is installed, from generated pictures. Nothing of either is worth scoring.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from yolo_core.architecture import Architecture
from yolo_core.checkpoint import Checkpoint, write_checkpoint
from yolo_core.errors import InputError
from yolo_core.files import atomic_write
from yolo_eval.drawing import encode

SEED = 0
#: Pictures that a generated integer model is calibrated on: its speed does not depend on them.
PICTURES = 1


def generate_checkpoint(size: str, folder: Path) -> Path:
    """Write `<folder>/yolov5<size>` with random parameters (He) and return its stem."""
    architecture = Architecture.named(size)
    generator = np.random.default_rng(SEED)
    parameters = {}
    for name, shape in architecture.parameter_shapes(fused=True).items():
        values = generator.standard_normal(shape, dtype=np.float32)
        if name.endswith(".weight"):
            values *= np.float32(np.sqrt(2 / np.prod(shape[1:])))
        else:
            values *= np.float32(0.01)
        parameters[name] = values
    stem = folder / architecture.model_name
    folder.mkdir(parents=True, exist_ok=True)
    write_checkpoint(stem, Checkpoint(architecture, parameters, fused=True,
                                      meta={"source": f"generated, seed {SEED}"}))  # fmt: skip
    return stem


def quantize_generated(stem: Path, imgsz: tuple[int, int], folder: Path) -> Path:
    """Quantize a checkpoint on generated pictures by the command `yolo-mrt`.

    Raises InputError where the command is not installed or fails.
    """
    beside = Path(sys.executable).with_name("yolo-mrt")
    command = str(beside) if beside.is_file() else shutil.which("yolo-mrt")
    if command is None:
        raise InputError("yolo-mrt", "is not installed", "the quantizer, for an integer model")
    pictures = folder / "pictures"
    generator = np.random.default_rng(SEED)
    for number in range(PICTURES):
        coarse = generator.integers(0, 256, (20, 20, 3), dtype=np.uint8)
        atomic_write(pictures / f"{number}.png", encode(np.kron(coarse, np.ones((32, 32, 1),
                     dtype=np.uint8)), ".png"))  # fmt: skip
    out = folder / f"{stem.name}_cvm"
    sides = [option for side in dict.fromkeys(imgsz) for option in ("--imgsz", str(side))]
    done = subprocess.run(
        [command, "quantize", str(stem), "--data", str(pictures), *sides,
         "--num-calib", str(PICTURES), "--out", str(out)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise InputError("yolo-mrt", f"could not quantize {stem.name} ({last[0]})")
    return out
