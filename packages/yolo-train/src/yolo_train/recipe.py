"""Which recipe trains when nobody says: chosen by where the network starts and how far it may go.

YOLOv5's recipe for COCO makes tens of thousands of updates of 64 images each. A training of minutes
on little data makes a few dozen, of which most are warm-up, and a new detection head has learnt
nothing at their end. There AdamW with an update per batch gets further.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from yolo_core.mxnet.checkpoint import Checkpoint
from yolo_core.yolo.architecture import Architecture
from yolo_train.hyp import AUTO
from yolo_train.options import FitOptions
from yolo_train.transfer import transfer

#: Updates of 64 images below which YOLOv5's own recipe gets nowhere.
FEW_UPDATES = 1000
#: Images of an update in YOLOv5's recipe.
_NOMINAL = 64
#: Packaged recipes with an update per batch, and the optimizer of each.
_PER_BATCH = {"few": "adamw", "small": "adamw", "finetune": "sgd", "distil": "adamw"}
#: Recipes that only move a network which already knows its classes.
_FOR_KNOWN = ("finetune",)
#: mAP@0.5 below which nothing was learnt.
NOTHING = 0.01


def updates(options: FitOptions, images: int) -> int:
    """Optimizer steps of a whole training, each of the nominal batch (64 where that is open)."""
    batches = -(-images // options.batch_size) * options.epochs
    gathered = max(round((options.nominal_batch or _NOMINAL) / options.batch_size), 1)
    return max(batches // gathered, 1)


def knows_classes(
    planned: Architecture, names: Sequence[str], checkpoint: Checkpoint | None
) -> bool:
    """Whether a checkpoint has a detection head for all these classes."""
    if checkpoint is None or not set(names) <= set(checkpoint.architecture.names):
        return False
    shapes = planned.parameter_shapes(checkpoint.fused)
    found = transfer(
        {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}, planned, checkpoint
    )
    return not found.skipped and not found.new


def settled(options: FitOptions, known: bool, images: int) -> tuple[FitOptions, str]:
    """The options with recipe, optimizer and nominal batch decided, and what to say of it.

    known: of `knows_classes`. images: of the training split. What the user said stays.
    """
    chosen, said = options.hyp, ""
    steps = updates(options, images)
    if chosen in (None, AUTO) and options.teacher:
        chosen = "distil"
        said = "recipe distil: the teacher's outputs are learnt (--hyp says another)"
    elif chosen in (None, AUTO):
        chosen = "scratch-low"
        if steps < FEW_UPDATES and not options.qat:
            chosen = "finetune" if known else "few"
        why = "few" if steps < FEW_UPDATES else "enough"
        said = (
            f"recipe {chosen}: updates of {options.nominal_batch or _NOMINAL} images would number "
            f"{steps}, {why} for a network "
            f"{'that knows its classes' if known else 'whose classes are new'} (--hyp says another)"
        )
    elif chosen in _FOR_KNOWN and not known:
        said = (
            f"Warning: --hyp {chosen} is for a checkpoint that knows these classes; here the "
            "detection head starts anew and will learn next to nothing. Leave --hyp out, and fit "
            "chooses."
        )
    per_batch = str(chosen) in _PER_BATCH
    optimizer = options.optimizer
    if optimizer == AUTO:
        optimizer = _PER_BATCH.get(str(chosen), "sgd")
    nominal = options.nominal_batch or (options.batch_size if per_batch else _NOMINAL)
    return (
        dataclasses.replace(options, hyp=chosen, optimizer=optimizer, nominal_batch=nominal),
        said,
    )


def remedy(options: FitOptions, map50: float, images: int) -> str:
    """What to say at the end of a training that learnt nothing; empty where it learnt."""
    if map50 >= NOTHING:
        return ""
    steps = updates(options, images)
    if options.hyp in ("few", "small") or steps >= FEW_UPDATES:
        advice = (
            f"train longer (--epochs {4 * options.epochs}), and look at labels.jpg and "
            "train_batch0.jpg in the run folder: the boxes must lie on their objects"
        )
    else:
        advice = (
            f"leave out --hyp, --optimizer, --nominal-batch and -o, and fit chooses; and train "
            f"longer (--epochs {4 * options.epochs})"
        )
    return (
        f"Nothing was learnt: mAP@0.5 is {map50:.4f} after {steps} updates with --hyp "
        f"{options.hyp}. Remedy: {advice}."
    )
