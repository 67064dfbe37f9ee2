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

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import atomic_write
from yolo_core.mxnet.checkpoint import Checkpoint, write_checkpoint
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.drawing import encode_picture

SEED = 0
#: Pictures that a generated integer model is calibrated on: its speed does not depend on them.
PICTURES = 1
#: Pictures, and their side, from which a generated network takes its normalisation.
PASSES = 8
PASS_SIDE = 128


def generate_checkpoint(size: str, folder: Path) -> Path:
    """Write `<folder>/yolov5<size>` with random parameters and return its stem (needs MXNet).

    Convolutions are drawn after He; batch normalisation gets the statistics that they have on
    generated pictures and is folded. Activations are then of a trained network's magnitude, which
    the quantizer relies on.
    """
    from yolo_core.mxnet import network
    from yolo_core.mxnet.fusing import fuse

    architecture = Architecture.named(size)
    generator = np.random.default_rng(SEED)
    parameters = {}
    for name, shape in architecture.parameter_shapes(fused=False).items():
        if name.endswith((".gamma", ".running_var")):
            parameters[name] = np.ones(shape, dtype=np.float32)
        elif name.endswith(".weight"):
            spread = np.float32(np.sqrt(2 / np.prod(shape[1:])))
            parameters[name] = generator.standard_normal(shape, dtype=np.float32) * spread
        else:
            parameters[name] = np.zeros(shape, dtype=np.float32)
    net = network.build(architecture, parameters, fused=False)
    for _ in range(PASSES):
        planar = _picture(generator, PASS_SIDE).transpose(2, 0, 1)[None] / np.float32(255)
        with network.mx.autograd.train_mode():
            for head in net(network.mx.nd.array(planar)):
                head.wait_to_read()
    parameters = network.parameters_of(net)
    # What is left of the statistics' initial values (mean 0, variance 1) is taken out again.
    rest = network.BATCH_NORM_MOMENTUM**PASSES
    for name, values in parameters.items():
        if name.endswith(".running_mean"):
            parameters[name] = values / np.float32(1 - rest)
        elif name.endswith(".running_var"):
            left = (values - np.float32(rest)) / np.float32(1 - rest)
            parameters[name] = np.maximum(left, np.float32(1e-3))
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / architecture.model_name
    meta = {"source": f"generated, seed {SEED}"}
    fused = fuse(parameters, architecture)
    write_checkpoint(stem, Checkpoint(architecture, fused, fused=True, meta=meta))
    return stem


def _picture(generator: np.random.Generator, side: int) -> Array:
    """uint8 [side, side, 3]: squares of random colours. side: a multiple of 32."""
    coarse = generator.integers(0, 256, (side // 32, side // 32, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((32, 32, 1), dtype=np.uint8))


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
        atomic_write(pictures / f"{number}.png", encode_picture(_picture(generator, 640), ".png"))
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
