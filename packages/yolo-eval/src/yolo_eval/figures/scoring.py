"""COCO scoring: pycocotools is the reference, its matches are kept for everything else.

pycocotools decides which detection is right at which IoU; its twelve figures are reported as
they are. The same matches then give the curves (`curves`) and the bootstrap (`bootstrap`), so
that no number in a report rests on a second opinion.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_eval.runs.ground_truth import GroundTruth
from yolo_eval.runs.run import Predictions

#: The twelve figures of the COCO summary, in its order.
COCO_METRICS = (
    "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
    "AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large",
)  # fmt: skip

#: pycocotools' IoU thresholds 0.50 … 0.95 and area ranges, as indices.
IOU_50, IOU_75 = 0, 5
AREAS = ("all", "small", "medium", "large")


@dataclass(frozen=True)
class Matches:
    """What pycocotools matched in one area range; at most 100 detections per image and class.

    Detections are ordered by category, then score (best first, ties in image order):
    category, image: int64 [n] indices into the ground truth's categories and images.
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
    """metrics: the twelve figures, 0–1, None where there is nothing to measure.

    class_ap: float64 [categories, 2], AP and AP50 per category, NaN without objects.
    precision: float64 [101, categories], precision at recall 0, 0.01 … 1 at IoU 0.5, or −1.
    matches: per area range of `AREAS`.
    """

    metrics: Mapping[str, Any]
    class_ap: Array
    precision: Array
    matches: tuple[Matches, ...]


def score(truth: GroundTruth, predictions: Predictions) -> Scoring:
    """Score detections by pycocotools' bounding box evaluation (max 100 per image)."""
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_coco(truth, truth.to_dict()["annotations"]),
                              _coco(truth, _results(predictions)), "bbox")  # fmt: skip
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"]
    metrics = {
        name: None if value < 0 else float(value)
        for name, value in zip(COCO_METRICS, evaluation.stats)
    }
    class_ap = np.stack(
        [_mean(precision[:, :, :, 0, -1], (0, 1)), _mean(precision[IOU_50, :, :, 0, -1], (0,))],
        axis=1,
    )
    matches = tuple(_matches(evaluation.evalImgs, truth, area) for area in range(len(AREAS)))
    return Scoring(metrics, class_ap, precision[IOU_50, :, :, 0, -1], matches)


def _coco(truth: GroundTruth, annotations: list[dict[str, Any]]) -> Any:
    """A pycocotools index; its own loader fails on an empty list of results."""
    from pycocotools.coco import COCO

    coco = COCO()
    content = truth.to_dict()
    coco.dataset = {
        "images": content["images"],
        "categories": content["categories"],
        "annotations": annotations,
    }
    coco.createIndex()
    return coco


def _results(predictions: Predictions) -> list[dict[str, Any]]:
    """Results with the three fields that pycocotools' loader would add."""
    items = predictions.to_list()
    for number, item in enumerate(items, start=1):
        item["id"] = number
        item["area"] = item["bbox"][2] * item["bbox"][3]
        item["iscrowd"] = 0
    return items


def _mean(values: Array, axes: tuple[int, ...]) -> Array:
    """Mean over `axes`; −1, pycocotools' mark for "no objects", becomes NaN."""
    mean = values.mean(axis=axes)
    return np.where(mean < 0, np.nan, mean)


def _matches(evaluated: list[Any], truth: GroundTruth, area: int) -> Matches:
    """Gather pycocotools' per-image results of one area range."""
    count_images, count_categories = len(truth.images), len(truth.categories)
    objects = np.zeros((count_categories, count_images), dtype=np.int64)
    parts: list[tuple[Array, ...]] = []
    for category in range(count_categories):
        start = (category * len(AREAS) + area) * count_images
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
