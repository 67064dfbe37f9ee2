"""Validation: the network over a labelled split, with the decoding and suppression of yolo-core.

Images are letterboxed as everywhere else, into the smallest rectangle that holds all
images of a batch (rectangular validation), batches sorted by shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.mxnet.importing import mxnet
from yolo_core.progress import progress
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.boxes import NmsSettings, detections, rows_of
from yolo_core.yolo.letterbox import Letterbox, Placement, read_image
from yolo_core.yolo.samples import Sample
from yolo_train.batches import pad_targets
from yolo_train.hyp import Hyp
from yolo_train.loss import DetectionLoss
from yolo_train.rectangles import rectangles
from yolo_train.scores import Scores, score

mx = mxnet()


@dataclass(frozen=True)
class Validated:
    """scores, the mean losses (box, objectness, class), and per sample its boxes in pixels of
    the image: truths [n, 5] class x1 y1 x2 y2, found [m, 6] x1 y1 x2 y2 score class.
    """

    scores: Scores
    losses: tuple[float, float, float]
    truths: tuple[Array, ...]
    found: tuple[Array, ...]


class Validator:
    """Scores a network on always the same samples."""

    def __init__(
        self, samples: Sequence[Sample], architecture: Architecture, imgsz: int, batch: int,
        device: Any, hyp: Hyp, gains: tuple[float, float, float],
    ) -> None:  # fmt: skip
        self._samples, self._architecture, self._device = samples, architecture, device
        self._hyp, self._gains = hyp, gains
        self._truths = tuple(_boxes_in_pixels(sample) for sample in samples)
        sizes = [sample.size for sample in samples]
        self._batches = rectangles(sizes, imgsz, batch, architecture.max_stride)
        self._losses: dict[tuple[int, ...], DetectionLoss] = {}

    def run(self, net: Any, label: str) -> Validated:
        """net: the Gluon network on the validator's device, with what it has learned so far."""
        found: list[Array] = [np.zeros((0, 6))] * len(self._samples)
        totals = np.zeros(3)
        for members, shape, images, placements in progress(
            self._loaded(), label, total=len(self._batches), unit="batches"
        ):
            planar = images.transpose(0, 3, 1, 2).astype(np.float32) / 255.0
            heads = net(mx.nd.array(planar, ctx=self._device))
            totals += self._loss(heads, members, shape, placements)
            logits = rows_of(tuple(head.asnumpy() for head in heads), self._architecture.no)
            for number, row, placement in zip(members, logits, placements):
                boxes = detections(row, self._architecture, shape, NmsSettings())
                boxes[:, :4] = placement.to_image(boxes[:, :4])
                found[number] = boxes
        scores = score(self._truths, found, self._architecture.nc)
        box, obj, cls = totals / len(self._samples)
        return Validated(scores, (float(box), float(obj), float(cls)), self._truths, tuple(found))

    def _loaded(
        self,
    ) -> Iterator[tuple[Sequence[int], tuple[int, int], Array, Sequence[Placement]]]:
        """Batches with their images, the next one read while the network works."""

        def load(batch: tuple[Sequence[int], tuple[int, int]]) -> tuple[Any, ...]:
            members, shape = batch
            letterbox = Letterbox(*shape)
            pairs = [letterbox.apply(read_image(self._samples[n].image)) for n in members]
            return members, shape, np.stack([p[0] for p in pairs]), [p[1] for p in pairs]

        with ThreadPoolExecutor(1) as pool:
            waiting = None
            for batch in self._batches:
                coming = pool.submit(load, batch)
                if waiting is not None:
                    yield waiting.result()
                waiting = coming
            if waiting is not None:
                yield waiting.result()

    def _loss(
        self, heads: Any, members: Sequence[int], shape: tuple[int, int],
        placements: Sequence[Placement],
    ) -> Array:  # fmt: skip
        """Losses of the batch, each times its number of images."""
        rows = []
        for place, (number, placement) in enumerate(zip(members, placements)):
            truth = self._truths[number]
            boxes = placement.from_image(truth[:, 1:])
            sides = np.array([shape[1], shape[0]])
            row = np.empty((len(truth), 6), np.float32)
            row[:, 0], row[:, 1] = place, truth[:, 0]
            row[:, 2:4] = (boxes[:, :2] + boxes[:, 2:]) / 2 / sides
            row[:, 4:] = (boxes[:, 2:] - boxes[:, :2]) / sides
            rows.append(row)
        key = (len(members), *shape)
        if key not in self._losses:
            self._losses[key] = DetectionLoss(
                self._architecture, shape, len(members), self._hyp, self._gains
            )
            self._losses[key].initialize(ctx=self._device)
        targets = mx.nd.array(pad_targets(np.concatenate(rows)), ctx=self._device)
        _, parts = self._losses[key](*heads, targets)
        result: Array = parts.asnumpy().astype(np.float64) * len(members)
        return result


def _boxes_in_pixels(sample: Sample) -> Array:
    height, width = sample.size
    labels = sample.labels.astype(np.float64)
    boxes = labels.copy()
    sides = np.array([width, height], np.float64)
    boxes[:, 1:3] = (labels[:, 1:3] - labels[:, 3:] / 2) * sides
    boxes[:, 3:] = (labels[:, 1:3] + labels[:, 3:] / 2) * sides
    return boxes
