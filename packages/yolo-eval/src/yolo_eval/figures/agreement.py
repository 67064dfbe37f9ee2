"""Two models' detections against each other: what both see, what one sees, how scores move.

Only what a user would be shown counts here: detections from `SHOWN` confidence on, paired per
class by IoU (at least 0.5), best overlap first.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from yolo_core.arrays import Array
from yolo_core.yolo.boxes import corners, iou, pair
from yolo_eval.runs.ground_truth import GroundTruth
from yolo_eval.runs.run import Predictions

SHOWN = 0.25
PAIRED_IOU = 0.5


@dataclass(frozen=True)
class ImageAgreement:
    """One image. a, b: its shown detections as rows of the runs' predictions.

    pairs: (position in a, position in b, IoU). renamed: left-over boxes at the same place with
    another class. change: how much the picture changed, see `change`.
    """

    image_id: int
    a: tuple[int, ...]
    b: tuple[int, ...]
    pairs: tuple[tuple[int, int, float], ...]
    renamed: int
    change: float

    def only_a(self) -> list[int]:
        paired = {first for first, _, _ in self.pairs}
        return [row for position, row in enumerate(self.a) if position not in paired]

    def only_b(self) -> list[int]:
        paired = {second for _, second, _ in self.pairs}
        return [row for position, row in enumerate(self.b) if position not in paired]


@dataclass(frozen=True)
class Agreement:
    """All images. drift: score in B minus score in A of every pair, float64 [pairs].

    found: ground truth objects by who found them: "both", "a", "b", "neither".
    """

    images: tuple[ImageAgreement, ...]
    drift: Array
    overlap: Array
    found: dict[str, int]

    @property
    def matched(self) -> int:
        return len(self.drift)

    @property
    def only_a(self) -> int:
        return sum(len(image.a) - len(image.pairs) for image in self.images)

    @property
    def only_b(self) -> int:
        return sum(len(image.b) - len(image.pairs) for image in self.images)

    @property
    def renamed(self) -> int:
        return sum(image.renamed for image in self.images)

    @property
    def identical(self) -> int:
        """Images in which both show the same boxes (none unpaired)."""
        return sum(len(image.a) == len(image.b) == len(image.pairs) for image in self.images)

    @property
    def rate(self) -> float | None:
        """Share of shown detections that the other model shows too: 2·pairs / (A + B)."""
        shown = 2 * self.matched + self.only_a + self.only_b
        return 2 * self.matched / shown if shown else None


def agreement(truth: GroundTruth, a: Predictions, b: Predictions) -> Agreement:
    """Pair the shown detections of two runs over the same images."""
    images, drift, overlaps = [], [], []
    found = {"both": 0, "a": 0, "b": 0, "neither": 0}
    objects = defaultdict(list)
    for box in truth.boxes:
        if not box.crowd:
            objects[box.image_id].append(box)
    for image in truth.images:
        rows_a, rows_b = _shown(a, image.id), _shown(b, image.id)
        pairs = _pairs(a, rows_a, b, rows_b)
        images.append(_image(image.id, a, rows_a, b, rows_b, pairs))
        for first, second, overlap in pairs:
            drift.append(b.score[rows_b[second]] - a.score[rows_a[first]])
            overlaps.append(overlap)
        boxes = np.array([box.bbox for box in objects[image.id]]).reshape(-1, 4)
        classes = np.array([box.category_id for box in objects[image.id]], dtype=np.int64)
        by_a, by_b = _found(boxes, classes, a, rows_a), _found(boxes, classes, b, rows_b)
        for number in range(len(boxes)):
            key = {(True, True): "both", (True, False): "a", (False, True): "b"}.get(
                (number in by_a, number in by_b), "neither"
            )
            found[key] += 1
    return Agreement(tuple(images), np.array(drift), np.array(overlaps), found)


def _image(
    number: int,
    a: Predictions,
    rows_a: Array,
    b: Predictions,
    rows_b: Array,
    pairs: list[tuple[int, int, float]],
) -> ImageAgreement:
    paired_a, paired_b = {p[0] for p in pairs}, {p[1] for p in pairs}
    left_a = [row for position, row in enumerate(rows_a) if position not in paired_a]
    left_b = [row for position, row in enumerate(rows_b) if position not in paired_b]
    renamed = len(pair(_overlap(a.box[left_a], b.box[left_b]), PAIRED_IOU))
    change = float(a.score[left_a].sum() + b.score[left_b].sum())
    for first, second, _ in pairs:
        change += abs(float(b.score[rows_b[second]] - a.score[rows_a[first]]))
    rows = tuple(rows_a.tolist()), tuple(rows_b.tolist())
    return ImageAgreement(number, *rows, tuple(pairs), renamed, change)


def most_changed(found: Agreement, count: int) -> list[ImageAgreement]:
    """The images with the largest `change`, largest first, ties by id; unchanged ones left out.

    The change of an image is the sum of the scores of all detections that only one model shows
    and of the distances between the two scores of every pair.
    """
    changed = [image for image in found.images if image.change > 0]
    return sorted(changed, key=lambda image: (-image.change, image.image_id))[:count]


def _shown(predictions: Predictions, image: int) -> Array:
    """Rows of one image's shown detections."""
    first, last = np.searchsorted(predictions.image, [image, image + 1])
    rows = np.arange(first, last)
    return rows[predictions.score[first:last] >= SHOWN]


def _pairs(
    a: Predictions, rows_a: Array, b: Predictions, rows_b: Array
) -> list[tuple[int, int, float]]:
    overlap = _overlap(a.box[rows_a], b.box[rows_b])
    overlap = np.where(a.category[rows_a][:, None] == b.category[rows_b][None], overlap, 0.0)
    return [(row, column, float(overlap[row, column])) for row, column in pair(overlap, PAIRED_IOU)]


def _found(boxes: Array, classes: Array, predictions: Predictions, rows: Array) -> set[int]:
    """Numbers of the objects that a model's shown detections hit in place and class."""
    overlap = _overlap(boxes, predictions.box[rows])
    overlap = np.where(classes[:, None] == predictions.category[rows][None], overlap, 0.0)
    return {number for number, _ in pair(overlap, PAIRED_IOU)}


def _overlap(first: Array, second: Array) -> Array:
    """IoU [len(first), len(second)] of boxes of x, y, width, height."""
    return iou(corners(first)[:, None], corners(second)[None])
