"""How good detections are: COCO's average precision, and precision and recall over the confidence.

pycocotools decides which detection is right at which IoU and gives the precision tables and the
twelve figures; the same matches then give the curves, so that no number of a training, of a
quantization report or of an evaluation rests on a second opinion. The extra `scores` of yolo-core
brings pycocotools.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_core.arrays import Array

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
    objects: int64 [categories, images], the objects that count.
    """

    category: Array
    image: Array
    rank: Array
    score: Array
    right: Array
    ignored: Array
    objects: Array


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
    from pycocotools.cocoeval import COCOeval

    every = [
        {**found, "id": number, "area": found["bbox"][2] * found["bbox"][3], "iscrowd": 0}
        for number, found in enumerate(detections, start=1)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(
            _index(images, categories, objects), _index(images, categories, every), "bbox"
        )
        evaluation.params.areaRng = evaluation.params.areaRng[: len(areas)]
        evaluation.params.areaRngLbl = list(areas)
        evaluation.evaluate()
        evaluation.accumulate()
        metrics: dict[str, Any] = {}
        if tuple(areas) == AREAS:
            evaluation.summarize()
            metrics = {
                name: None if value < 0 else float(value)
                for name, value in zip(COCO_METRICS, evaluation.stats)
            }
    matches = tuple(
        _matches(evaluation.evalImgs, len(images), len(categories), area, len(areas))
        for area in range(len(areas))
    )
    return Scoring(metrics, evaluation.eval["precision"][:, :, :, 0, -1], matches)


def score_boxes(
    truths: Sequence[Array], found: Sequence[Array], classes: int, areas: Sequence[str] = AREAS[:1]
) -> Scoring:
    """Score detections against labelled boxes, image by image; categories are class indices.

    truths: per image [n, 5] of class, x1, y1, x2, y2 in pixels. found: per image [m, 6] of x1,
    y1, x2, y2, score, class in the same pixels.
    """
    objects: list[dict[str, Any]] = []
    for image, rows in enumerate(truths):
        for label, *corners in rows.tolist():
            box = _sides(*corners)
            objects.append(
                {
                    "id": len(objects) + 1, "image_id": image, "category_id": int(label),
                    "bbox": box, "area": box[2] * box[3], "iscrowd": 0,
                }
            )  # fmt: skip
    detections = [
        {"image_id": image, "category_id": int(label), "bbox": _sides(*corners), "score": value}
        for image, rows in enumerate(found)
        for *corners, value, label in rows.tolist()
    ]
    return score(range(len(truths)), range(classes), objects, detections, areas)


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


def over_classes(values: Array) -> Array:
    """[n]: mean of [n, categories] over the categories with objects; zeros where none has any."""
    present = ~np.isnan(values[0])
    if not present.any():
        return np.zeros(len(values))
    mean: Array = values[:, present].mean(axis=1)
    return mean


def _sides(x1: float, y1: float, x2: float, y2: float) -> list[float]:
    return [x1, y1, x2 - x1, y2 - y1]


def _index(
    images: Sequence[int], categories: Sequence[int], annotations: Sequence[Mapping[str, Any]]
) -> Any:
    """A pycocotools index; its own loader fails on an empty list of results."""
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = {
        "images": [{"id": number} for number in images],
        "categories": [{"id": number} for number in categories],
        "annotations": [dict(annotation) for annotation in annotations],
    }
    coco.createIndex()
    return coco


def _mean(values: Array, axes: tuple[int, ...]) -> Array:
    """Mean over `axes`; −1, pycocotools' mark for "no objects", becomes NaN."""
    mean = values.mean(axis=axes)
    return np.where(mean < 0, np.nan, mean)


def _matches(
    evaluated: list[Any], count_images: int, count_categories: int, area: int, areas: int
) -> Matches:
    """Gather pycocotools' per-image results of one area range."""
    objects = np.zeros((count_categories, count_images), dtype=np.int64)
    parts: list[tuple[Array, ...]] = []
    for category in range(count_categories):
        start = (category * areas + area) * count_images
        images, ranks, scores, right, ignored = [], [], [], [], []
        for image, result in enumerate(evaluated[start : start + count_images]):
            if result is None:
                continue
            objects[category, image] = np.count_nonzero(result["gtIgnore"] == 0)
            images.append(np.full(len(result["dtScores"]), image, dtype=np.int64))
            ranks.append(np.arange(len(result["dtScores"]), dtype=np.int64))
            scores.append(np.asarray(result["dtScores"], dtype=np.float64))
            ignored.append(np.asarray(result["dtIgnore"], dtype=bool))
            right.append((np.asarray(result["dtMatches"]) > 0) & ~ignored[-1])
        if scores:
            merged = np.concatenate(scores)
            order = np.argsort(-merged, kind="stable")
            parts.append(
                (
                    np.full(len(merged), category, dtype=np.int64),
                    np.concatenate(images)[order],
                    np.concatenate(ranks)[order],
                    merged[order],
                    np.concatenate(right, axis=1)[:, order],
                    np.concatenate(ignored, axis=1)[:, order],
                )
            )
    if not parts:
        none, never = np.zeros(0, dtype=np.int64), np.zeros((10, 0), dtype=bool)
        return Matches(none, none, none, np.zeros(0), never, never, objects)
    flat = [np.concatenate([part[i] for part in parts]) for i in range(4)]
    right_all, ignored_all = (np.concatenate([p[i] for p in parts], axis=1) for i in (4, 5))
    return Matches(flat[0], flat[1], flat[2], flat[3], right_all, ignored_all, objects)
