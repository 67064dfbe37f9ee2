"""A float network that teaches its own integer form: its outputs take the place of labels.

Pictures need no labels. What the teacher says of every place of a picture is what the network on
the quantizer's grid learns to say, and the boxes that the teacher finds are what it is scored by.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.mxnet.checkpoint import Checkpoint
from yolo_core.mxnet.fusing import fuse
from yolo_core.mxnet.importing import mxnet
from yolo_core.mxnet.network import build, constant
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.dataset import is_yaml, list_images, read_data_yaml
from yolo_core.yolo.samples import Sample, each_once, picture_sizes
from yolo_train.hyp import Hyp
from yolo_train.validate import Validator

mx: Any = mxnet()
_HybridBlock: Any = mx.gluon.HybridBlock

#: Of pictures that are not split, every one of so many validates.
_EVERY = 8
#: Score from which a box of the teacher counts as an object.
CONFIDENCE = 0.25


class Teacher:
    """A checkpoint with its batch normalisation folded, on every device."""

    def __init__(self, checkpoint: Checkpoint, devices: Sequence[Any]) -> None:
        self.architecture = checkpoint.architecture
        parameters = dict(checkpoint.parameters)
        if not checkpoint.fused:
            parameters = fuse(parameters, self.architecture)
        self._device = devices[0]
        self.net = build(self.architecture, parameters, fused=True, ctx=list(devices))
        self.net.hybridize(static_alloc=True)

    def refuse_other_heads(self, architecture: Architecture, source: str) -> None:
        """InputError where the outputs of a network do not stand for the same as the teacher's."""
        own = self.architecture
        if (own.anchors, own.strides, own.no) != (
            architecture.anchors, architecture.strides, architecture.no
        ):  # fmt: skip
            raise InputError(source, "has other anchors or classes than --teacher", "the same")

    def labelled(
        self, samples: Sequence[Sample], imgsz: int, batch: int, source: str
    ) -> tuple[Sample, ...]:
        """The samples with the boxes that the teacher finds. InputError where it finds none."""
        validator = Validator(
            samples, self.architecture, imgsz, batch, self._device, Hyp(), (0.0, 0.0, 0.0)
        )
        found = validator.run(self.net, "teacher").found
        labelled = tuple(map(_with_boxes, samples, found))
        if not any(len(sample.labels) for sample in labelled):
            cause = f"finds no object on {len(samples)} pictures"
            raise InputError(source, cause, "pictures of what it was trained for")
        return labelled


def _with_boxes(sample: Sample, found: Array) -> Sample:
    boxes = found[found[:, 4] >= CONFIDENCE]
    sides = np.array(sample.size[::-1], np.float64)
    low, high = boxes[:, :2].clip(0, sides), boxes[:, 2:4].clip(0, sides)
    labels = np.empty((len(boxes), 5), np.float32)
    labels[:, 0] = boxes[:, 5]
    labels[:, 1:3], labels[:, 3:] = (low + high) / 2 / sides, (high - low) / sides
    return dataclasses.replace(sample, labels=labels[(labels[:, 3:] > 0).all(axis=1)])


def split_pictures(data: str) -> dict[str, list[Path]]:
    """Pictures that train and pictures that validate, by "train" and "val".

    data: a data.yaml, whose labels and names are not looked at; or a folder, a list or a picture,
    of which every eighth validates. InputError where there are fewer than two.
    """
    if is_yaml(data):
        config = read_data_yaml(data)
        if config.val:
            return {split: config.images(split) for split in ("train", "val")}
        images = config.images("train")
    else:
        images = list_images(data)
    if len(images) < 2:
        raise InputError(data, "has one picture", "at least two, of which one validates")
    chosen = set(images[::_EVERY])
    return {"train": [i for i in images if i not in chosen], "val": images[::_EVERY]}


def unlabelled(images: Sequence[Path], split: str, strict: bool) -> tuple[Sample, ...]:
    """Samples without boxes; what cannot be decoded is told and left out, or refused."""
    once, _ = each_once(images)
    looks = picture_sizes(once, f"check {split}")
    faults = [look for look in looks if isinstance(look, InputError)]
    click.echo(f"{split}: {len(once) - len(faults)} pictures, {len(faults)} left out", err=True)
    for fault in faults:
        click.echo(f"  left out: {fault}", err=True)
    none = np.zeros((0, 5), np.float32)
    samples = tuple(
        Sample(image, look, none)
        for image, look in zip(once, looks)
        if not isinstance(look, InputError)
    )
    if faults and (strict or not samples):
        raise faults[0]
    return samples


class DistillationLoss(_HybridBlock):  # type: ignore[misc]
    """How far raw heads are from a teacher's.

    Inputs: the raw head of each level [B, anchors * no, h, w], then the teacher's. Outputs: loss
    [1], and its parts [3] without gradient: boxes, objectness and classes, each times its gain.
    Every place counts by the objectness that the teacher gives it, and the sum is divided by the
    sum of those. A box is as wrong as it is moved and stretched in shares of its sides, squared;
    objectness and classes by the binary cross-entropy beyond that of the teacher with itself
    (Hinton et al. 2015, "Distilling the knowledge in a neural network").
    """

    def __init__(self, architecture: Architecture, gains: tuple[float, float, float]) -> None:
        super().__init__(prefix="")
        self._no, self._gains = architecture.no, gains
        self._levels, self._anchors = architecture.levels, architecture.anchors_per_level
        strides = np.array(architecture.strides, np.float64)
        sides = np.array(architecture.anchors, np.float64) / strides[:, None, None]
        with self.name_scope():
            for level in range(self._levels):
                shape = (1, self._anchors, 2, 1)
                value = constant(self.params, f"sides{level}", sides[level].reshape(shape))
                setattr(self, f"sides{level}", value)

    def hybrid_forward(self, F: Any, *heads: Any, **sides: Any) -> tuple[Any, Any]:
        sums = [
            self._level(F, heads[level], heads[self._levels + level], sides[f"sides{level}"])
            for level in range(self._levels)
        ]
        total = sum(each[0] for each in sums) + 1e-6
        parts = [
            gain * sum(each[number + 1] for each in sums) / total
            for number, gain in enumerate(self._gains)
        ]
        stacked = F.concat(*[F.reshape(part, (1,)) for part in parts], dim=0)
        return F.sum(stacked), F.BlockGrad(stacked)

    def _level(self, F: Any, own: Any, aim: Any, sides: Any) -> tuple[Any, Any, Any, Any]:
        """Sum of the weights, and the weighted sums of the three parts."""
        own, aim = (F.reshape(head, (0, self._anchors, self._no, -1)) for head in (own, aim))
        weight = F.sigmoid(F.slice_axis(aim, axis=2, begin=4, end=5))
        own_xy, aim_xy = (F.sigmoid(_part(F, head, 0, 2)) for head in (own, aim))
        own_wh, aim_wh = (F.sigmoid(_part(F, head, 2, 4)) for head in (own, aim))
        length = F.broadcast_mul(4 * F.square(aim_wh), sides)
        moved = 2 * (own_xy - aim_xy) / (length + 1e-3)
        stretched = 2 * (F.log(own_wh + 1e-6) - F.log(aim_wh + 1e-6))
        wrong = F.broadcast_mul(F.square(moved) + F.square(stretched), weight)
        obj = _beyond(F, _part(F, own, 4, 5), _part(F, aim, 4, 5))
        cls = _beyond(F, _part(F, own, 5, None), _part(F, aim, 5, None))
        return F.sum(weight), F.sum(wrong), F.sum(obj), F.sum(F.broadcast_mul(cls, weight))


def _part(F: Any, head: Any, begin: int, end: int | None) -> Any:
    return F.slice_axis(head, axis=2, begin=begin, end=end)


def _beyond(F: Any, own: Any, aim: Any) -> Any:
    """Cross-entropy of logits with the probabilities of others, less that of those themselves."""
    probability = F.sigmoid(aim)
    difference = F.Activation(own, act_type="softrelu") - F.Activation(aim, act_type="softrelu")
    return difference - probability * (own - aim)
