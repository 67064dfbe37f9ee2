"""How good detections are: COCO's average precision, and precision and recall over the confidence.

pycocotools' rules decide which detection is right at which IoU (`yolo_core.yolo.matching`), its
overlaps and its summary are called; the same matches then give the curves, so that no number of a
training, of a quantization report or of an evaluation rests on a second opinion. Every figure is
pycocotools' own to the last digit, which a test holds it to. The extra `scores` of yolo-core brings
pycocotools.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.yolo.matching import (
    IGNORED,
    RIGHT,
    WRONG,
    Candidates,
    Detections,
    Objects,
    assign,
    candidates,
    ranked,
)

#: The twelve figures of the COCO summary, in its order.
COCO_METRICS = (
    "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
    "AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large",
)  # fmt: skip

#: pycocotools' IoU thresholds 0.50 … 0.95, as indices.
IOU_50, IOU_75 = 0, 5
#: pycocotools' area ranges; the first one holds every object.
AREAS = ("all", "small", "medium", "large")


@dataclass(frozen=True)
class Matches:
    """What pycocotools matched in one area range; at most 100 detections per image and class.

    Detections are ordered by category, then score (best first, ties in image order):
    category, image: int64 [n] indices into the scored categories and images.
    rank: int64 [n], position among the detections of its image and category, best is 0.
    score: float64 [n]. right, ignored: bool [10, n] per IoU threshold; what is neither is wrong.
    objects: int64 [categories, images], the objects that count. source: int64 [n], the place of
    each detection in what was scored. partner: int64 [n], the object matched at IoU 0.5, -1 none.
    """

    category: Array
    image: Array
    rank: Array
    score: Array
    right: Array
    ignored: Array
    objects: Array
    source: Array
    partner: Array


@dataclass(frozen=True)
class Scoring:
    """metrics: the twelve figures, 0–1, None where there is nothing to measure; {} unless every
    area range was scored.

    precision: float64 [10, 101, categories], precision at IoU 0.5 … 0.95 and recall 0, 0.01 … 1
    over all areas; −1 for categories without objects. matches: one entry per area range.
    """

    metrics: Mapping[str, Any]
    precision: Array
    matches: tuple[Matches, ...]

    @property
    def class_ap(self) -> Array:
        """float64 [categories, 2]: AP and AP50 per category, NaN without objects."""
        return np.stack([_mean(self.precision, (0, 1)), _mean(self.precision[IOU_50], (0,))], 1)


@dataclass(frozen=True)
class Curves:
    """Precision, recall and F1 at IoU 0.5: float64 [confidences, categories], NaN without objects.

    As in YOLOv5, a category of which nothing is left at a confidence has precision 1, one that is
    never detected precision 0. best: index of the confidence with the highest mean F1 (the lowest
    such confidence), at which precision and recall are quoted.
    """

    confidences: Array
    precision: Array
    recall: Array
    f1: Array
    best: int

    @property
    def confidence(self) -> float:
        return float(self.confidences[self.best])


def score(
    images: Sequence[int],
    categories: Sequence[int],
    objects: Sequence[Mapping[str, Any]],
    detections: Sequence[Mapping[str, Any]],
    areas: Sequence[str] = AREAS,
) -> Scoring:
    """Score detections by pycocotools' bounding box evaluation (at most 100 per image and class).

    images, categories: their ids, ascending. objects: annotations and detections: results, both
    as in COCO's files (`image_id`, `category_id`, `bbox` x, y, width, height; objects also `id`,
    `area` and `iscrowd`, detections also `score`). areas: the leading ones of `AREAS`.
    """
    image_of = {number: index for index, number in enumerate(images)}
    category_of = {number: index for index, number in enumerate(categories)}
    boxes = [found["bbox"] for found in detections]
    return score_arrays(
        Objects(
            _indices([item["image_id"] for item in objects], image_of),
            _indices([item["category_id"] for item in objects], category_of),
            _boxes([item["bbox"] for item in objects]),
            np.array([item["area"] for item in objects], dtype=np.float64),
            np.array([bool(item["iscrowd"]) for item in objects], dtype=bool),
        ),
        Detections(
            _indices([item["image_id"] for item in detections], image_of),
            _indices([item["category_id"] for item in detections], category_of),
            _boxes(boxes),
            np.array([item["score"] for item in detections], dtype=np.float64),
        ),
        len(images),
        len(categories),
        areas,
    )


def score_arrays(
    objects: Objects,
    detections: Detections,
    images: int,
    categories: int,
    areas: Sequence[str] = AREAS,
) -> Scoring:
    """As `score`, for columns with indices of `images` images and `categories` categories."""
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(iouType="bbox")
    settings = evaluation.params
    thresholds = np.asarray(settings.iouThrs)
    order, rank = ranked(detections, images)
    found = Detections(
        detections.image[order], detections.category[order], detections.box[order],
        detections.score[order],
    )  # fmt: skip
    pairs = candidates(objects, found, images, float(thresholds.min()))
    matches = tuple(
        _matches(objects, found, order, rank, pairs, (images, categories), thresholds, limits)
        for limits in settings.areaRng[: len(areas)]
    )
    recalls = np.asarray(settings.recThrs)
    precision = [precision_table(one, recalls) for one in matches]
    metrics: dict[str, Any] = {}
    if tuple(areas) == AREAS:
        evaluation.eval = _tables(matches, precision, settings.maxDets)
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation.summarize()
        metrics = {
            name: None if value < 0 else float(value)
            for name, value in zip(COCO_METRICS, evaluation.stats)
        }
    return Scoring(metrics, precision[0], matches)


def score_boxes(
    truths: Sequence[Array], found: Sequence[Array], classes: int, areas: Sequence[str] = AREAS[:1]
) -> Scoring:
    """Score detections against labelled boxes, image by image; categories are class indices.

    truths: per image [n, 5] of class, x1, y1, x2, y2 in pixels. found: per image [m, 6] of x1,
    y1, x2, y2, score, class in the same pixels.
    """
    labelled, image_of_label = _joined(truths, 5)
    rows, image_of_row = _joined(found, 6)
    box = _sides(labelled[:, 1:])
    objects = Objects(
        image_of_label, labelled[:, 0].astype(np.int64), box, box[:, 2] * box[:, 3],
        np.zeros(len(box), dtype=bool),
    )  # fmt: skip
    detections = Detections(
        image_of_row, rows[:, 5].astype(np.int64), _sides(rows[:, :4]), rows[:, 4]
    )
    return score_arrays(objects, detections, len(truths), classes, areas)


def curves(matches: Matches, confidences: Array) -> Curves:
    """Curves over these ascending confidences from the matches of area range "all"."""
    categories = len(matches.objects)
    objects = matches.objects.sum(axis=1).astype(np.float64)
    precision = np.full((len(confidences), categories), np.nan)
    recall = precision.copy()
    for category in np.flatnonzero(objects):
        rows = slice(*np.searchsorted(matches.category, [category, category + 1]))
        right = np.cumsum(matches.right[IOU_50, rows])
        counted = np.cumsum(~matches.ignored[IOU_50, rows])
        # Rows are ordered by falling score: how many reach each confidence?
        reach = np.searchsorted(-matches.score[rows], -confidences, side="right")
        true = np.concatenate([[0], right])[reach]
        all_ = np.concatenate([[0], counted])[reach]
        nothing = float(len(right) > 0)
        precision[:, category] = np.where(all_ > 0, true / np.maximum(all_, 1), nothing)
        recall[:, category] = true / objects[category]
    total = precision + recall
    f1 = np.where(total > 0, 2 * precision * recall / np.where(total > 0, total, 1), 0.0)
    f1[:, objects == 0] = np.nan
    best = int(np.argmax(over_classes(f1)))
    return Curves(confidences, precision, recall, f1, best)


def precision_table(matches: Matches, recalls: Array) -> Array:
    """Precision [thresholds, recalls, categories] where each recall is reached first, at its best
    from there on; -1 for categories without objects.
    """
    objects = matches.objects.sum(axis=1)
    ends = np.searchsorted(matches.category, np.arange(len(objects) + 1))
    table = np.full((len(matches.right), len(recalls), len(objects)), -1.0)
    for step, (right, ignored) in enumerate(zip(matches.right, matches.ignored)):
        counted = np.cumsum(~ignored)
        hits = np.flatnonzero(right)
        hit_ends = np.searchsorted(hits, ends)
        for category in np.flatnonzero(objects).tolist():
            found = hits[hit_ends[category] : hit_ends[category + 1]]
            start = ends[category]
            before = counted[start - 1] if start else 0
            true = np.arange(1, len(found) + 1, dtype=np.float64)
            precision = true / (counted[found] - before + np.spacing(1))
            best = np.maximum.accumulate(precision[::-1])[::-1]
            reached = np.searchsorted(true / objects[category], recalls, side="left")
            table[step, :, category] = np.r_[best, 0.0][reached]
    return table


def over_classes(values: Array) -> Array:
    """[n]: mean of [n, categories] over the categories with objects; zeros where none has any."""
    present = ~np.isnan(values[0])
    if not present.any():
        return np.zeros(len(values))
    mean: Array = values[:, present].mean(axis=1)
    return mean


def _joined(parts: Sequence[Array], columns: int) -> tuple[Array, Array]:
    """The rows of all images float64 [n, columns], and the image of each int64 [n]."""
    rows = [np.asarray(part, dtype=np.float64).reshape(-1, columns) for part in parts]
    counts = [len(part) for part in rows]
    joined = np.concatenate(rows) if rows else np.zeros((0, columns))
    return joined, np.repeat(np.arange(len(counts), dtype=np.int64), counts)


def _sides(corners: Array) -> Array:
    """x1, y1, x2, y2 [n, 4] as x, y, width, height."""
    return np.concatenate((corners[:, :2], corners[:, 2:] - corners[:, :2]), axis=1)


def _indices(ids: Sequence[int], index_of: Mapping[int, int]) -> Array:
    return np.array([index_of[number] for number in ids], dtype=np.int64)


def _boxes(boxes: Sequence[Sequence[float]]) -> Array:
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def _mean(values: Array, axes: tuple[int, ...]) -> Array:
    """Mean over `axes`; −1, pycocotools' mark for "no objects", becomes NaN."""
    mean = values.mean(axis=axes)
    return np.where(mean < 0, np.nan, mean)


def _matches(
    objects: Objects,
    found: Detections,
    source: Array,
    rank: Array,
    pairs: Candidates,
    counts: tuple[int, int],
    thresholds: Array,
    limits: Sequence[float],
) -> Matches:
    """What is right and what is ignored in one area range; limits: its least and most area."""
    images, categories = counts
    group = found.category * images + found.image
    ignored_object = objects.crowd | (objects.area < limits[0]) | (objects.area > limits[1])
    detections, state, partner = assign(pairs, group, ignored_object, objects.crowd, thresholds)
    area = found.box[:, 2] * found.box[:, 3]
    right = np.zeros((len(thresholds), len(area)), dtype=bool)
    ignored = np.repeat(((area < limits[0]) | (area > limits[1]))[None], len(thresholds), axis=0)
    right[:, detections] = (state == RIGHT).T
    # What found nothing and is of another size counts neither way.
    ignored[:, detections] = np.where(state == WRONG, ignored[:, detections].T, state == IGNORED).T
    matched = np.full(len(area), -1, dtype=np.int64)
    matched[detections] = partner[:, IOU_50]
    table = np.zeros((categories, images), dtype=np.int64)
    np.add.at(table, (objects.category, objects.image), ~ignored_object)
    return Matches(
        found.category, found.image, rank, found.score, right, ignored, table, source, matched
    )


def _tables(
    matches: Sequence[Matches], precision: Sequence[Array], most: Sequence[int]
) -> dict[str, Array]:
    """The tables that pycocotools' summary reads, over areas and most detections per image."""
    categories = len(matches[0].objects)
    shape = (len(matches[0].right), categories, len(matches), len(most))
    recall = np.full(shape, -1.0)
    for area, one in enumerate(matches):
        objects = one.objects.sum(axis=1)
        present = objects > 0
        for column, limit in enumerate(most):
            hits = one.right & (one.rank < limit)
            for step, row in enumerate(hits):
                count = np.bincount(one.category[row], minlength=categories)
                recall[step, present, area, column] = count[present] / objects[present]
    by_area = np.stack(precision, axis=-1)
    return {"precision": np.repeat(by_area[..., None], len(most), axis=-1), "recall": recall}
