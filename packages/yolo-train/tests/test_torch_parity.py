"""Twenty steps of training beside the same steps in PyTorch: losses, gradients, parameters.

PyTorch is no dependency: `nox -s parity` installs it; elsewhere YOLO_TORCH_PYTHON names a Python
that has it.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolo_core.arrays import Array
from yolo_core.mxnet.importing import mxnet
from yolo_core.mxnet.network import trainable
from yolo_core.yolo.architecture import Architecture
from yolo_train.batches import Batch, pad_targets
from yolo_train.gradients import GradientSum
from yolo_train.hyp import Hyp
from yolo_train.learner import Learner
from yolo_train.optimizer import MAX_NORM
from yolo_train.options import FitOptions
from yolo_train.schedule import Schedule
from yolo_train.start import Start, random_parameters

mx = mxnet()

STEPS, BATCH, SIDE = 20, 4, 128
#: The layer of the only maximum pools, behind its first convolution.
POOLS = 9
TORCH_PYTHON = os.environ.get("YOLO_TORCH_PYTHON") or (
    sys.executable if importlib.util.find_spec("torch") else None
)

pytestmark = pytest.mark.skipif(
    TORCH_PYTHON is None, reason="PyTorch is not installed: run nox -s parity"
)


def _batches(nc: int) -> list[Batch]:
    rng = np.random.default_rng(nc)
    batches = []
    for _ in range(STEPS):
        targets = np.zeros((24, 6), np.float32)
        targets[:, 0] = rng.integers(BATCH, size=24)
        targets[:, 1] = rng.integers(nc, size=24)
        targets[:, 2:4] = rng.random((24, 2))
        targets[:, 4:] = rng.uniform(0.03, 0.9, (24, 2))
        targets[:6, 2:4] = rng.integers(1, 16, (6, 2)) / 16  # on lines of the grids
        targets[6:10, 2:4] = targets[:4, 2:4]  # several boxes on one cell
        images = rng.integers(0, 256, (BATCH, 3, SIDE // 8, SIDE // 8))
        images = np.kron(images, np.ones((1, 1, 8, 8))).astype(np.uint8)
        batches.append(Batch(images, pad_targets(targets)))
    return batches


def _plan(architecture: Architecture, hyp: Hyp, decay: float) -> str:
    return json.dumps(
        {
            "steps": [dataclasses.asdict(step) for step in architecture.steps()],
            "heads": architecture.network.heads,
            "anchors": architecture.anchors,
            "strides": architecture.strides,
            "nc": architecture.nc,
            "imgsz": SIDE,
            "hyp": hyp.to_dict(),
            "weight_decay": decay,
        }
    )


def _gradients(learner: Learner) -> dict[str, Array]:
    return {
        name: parameter.grad(mx.cpu()).asnumpy()
        for name, parameter in trainable(learner.net).items()
        if parameter.grad_req != "null"
    }


def _difference(ours: Mapping[str, Array], theirs: Any, prefix: str) -> float:
    """Length of the difference of all arrays together as a share of the length of theirs."""
    names = [name for name in ours if "running" not in name]
    pairs = [(ours[name].astype(np.float64), theirs[prefix + name]) for name in names]
    wrong = sum(float(np.square(one - other).sum()) for one, other in pairs)
    return math.sqrt(wrong / sum(float(np.square(other).sum()) for _, other in pairs))


@pytest.mark.parametrize(
    ("nc", "smoothing", "gamma"), [(80, 0.0, 0.0), (1, 0.0, 0.0), (80, 0.1, 0.0), (80, 0.0, 1.5)]
)
def test_twenty_steps_equal_pytorch(
    nc: int, smoothing: float, gamma: float, tmp_path: Path
) -> None:
    architecture = Architecture.named("n", nc=nc)
    hyp = Hyp(label_smoothing=smoothing, fl_gamma=gamma)
    start = random_parameters(architecture, 0)
    options = FitOptions(
        data="x", batch_size=BATCH, imgsz=SIDE, nominal_batch=BATCH, optimizer="sgd"
    )
    schedule = Schedule(hyp, 40, STEPS, BATCH, False, BATCH)
    learner = Learner(
        Start(architecture, start), options, hyp, schedule, [mx.cpu()], GradientSum([mx.cpu()])
    )
    batches = _batches(nc)
    rates = [schedule.at(0, step) for step in range(STEPS)]
    source, result = tmp_path / "in.npz", tmp_path / "out.npz"
    plan = {
        "plan": np.array(_plan(architecture, hyp, schedule.weight_decay)),
        "images": np.stack([batch.images for batch in batches]),
        "targets": np.stack([batch.targets for batch in batches]),
        "rates": np.array([[rate.lr, rate.bias_lr, rate.momentum] for rate in rates]),
    }
    arrays: Any = {**plan, **{f"net/{name}": value for name, value in start.items()}}
    np.savez(source, **arrays)
    twin = Path(__file__).with_name("torch_recipe.py")
    subprocess.run([str(TORCH_PYTHON), str(twin), str(source), str(result)], check=True)
    theirs: Any = np.load(result)
    found, gradients, behind, moved = [], [], [], []
    for step, (batch, rate) in enumerate(zip(batches, rates)):
        found.append(learner.learn(batch, rate, SIDE))
        gradient = _gradients(learner)
        gradients.append(_difference(gradient, theirs, f"{step}/gradient/"))
        late = {name: value for name, value in gradient.items() if int(name.split(".")[1]) > POOLS}
        behind.append(_difference(late, theirs, f"{step}/gradient/"))
        updated = trainable(learner.net)
        ours = {name: updated[name].data().asnumpy() for name in updated}
        moved.append(_difference(ours, theirs, f"{step}/net/"))
        # Rounding grows with each step of a network that learns: the next step begins where
        # PyTorch is. The momentum stays our own.
        for name in ours:
            if "running" not in name:
                updated[name].set_data(mx.nd.array(theirs[f"{step}/net/{name}"]))
    clipped = sum(float(theirs[f"{step}/norm"]) > MAX_NORM for step in range(STEPS))
    losses = np.abs(np.array(found) - theirs["parts"]) / np.maximum(theirs["parts"], 1e-12)
    print(
        f"nc {nc}, label smoothing {smoothing}, fl_gamma {gamma}, {STEPS} steps: "
        "largest relative difference of "
        f"losses {losses.max():.1e}, gradients {max(gradients):.1e} (behind the pools "
        f"{max(behind):.1e}, median {np.median(gradients):.1e}), parameters {max(moved):.1e}; "
        f"{clipped} steps were clipped"
    )
    # The first case has a step that is clipped; those with smaller losses have none.
    assert clipped or (nc, smoothing, gamma) != (80, 0.0, 0.0)
    assert losses.max() < 2e-5
    assert max(behind) < 1e-3
    # Where two values of a pool's window are equal to rounding, the gradient may go to the other.
    assert sorted(gradients)[-3] < 1e-3
    assert max(gradients) < 5e-2
    assert max(moved) < 1e-5
