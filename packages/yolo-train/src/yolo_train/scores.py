"""How good detections are: COCO's average precision, and YOLOv5's precision, recall and fitness.

Matching and average precision are pycocotools' own; this module feeds it and reads its tables.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_core.arrays import Array

#: Points of the confidence axis on which precision and recall are compared.
CONFIDENCES = np.linspace(0, 1, 1001)


@dataclass(frozen=True)
class Scores:
    """All values lie between 0 and 1.

    precision, recall: mean over classes at IoU 0.5 and the confidence of the best mean F1.
    map50, map: COCO AP at IoU 0.5 and averaged over 0.5 to 0.95. class_map: AP of each class,
    NaN for classes without objects. curve_recall, curve_precision: the 101 points of the mean
    precision-recall curve at IoU 0.5. f1, p, r: mean curves over `CONFIDENCES`.
    """

    precision: float
    recall: float
    map50: float
    map: float
    class_map: tuple[float, ...]
    curve_precision: tuple[float, ...] = ()
    p: tuple[float, ...] = ()
    r: tuple[float, ...] = ()

    @property
    def fitness(self) -> float:
        """What the best checkpoint has most of."""
        return 0.1 * self.map50 + 0.9 * self.map


def score(truths: Sequence[Array], found: Sequence[Array], nc: int) -> Scores:
    """Scores of detections against labelled boxes, image by image.

    truths: per image [n, 5] of class, x1, y1, x2, y2 in pixels. found: per image [m, 6] of x1,
    y1, x2, y2, score, class in the same pixels.
    """
    if not any(len(boxes) for boxes in truths) or not any(len(boxes) for boxes in found):
        return Scores(0.0, 0.0, 0.0, 0.0, tuple(_absent(truths, nc)))
    evaluation = _evaluate(truths, found, nc)
    table = evaluation.eval["precision"][:, :, :, 0, 0]  # IoU, recall, class
    valid = (table > -1).all(axis=(0, 1))
    per_class = np.where(valid, table.mean(axis=(0, 1)), np.nan)
    p, r = _curves(evaluation, nc)
    f1 = 2 * p * r / np.maximum(p + r, 1e-16)
    best = int(f1.argmax())
    return Scores(
        precision=float(p[best]),
        recall=float(r[best]),
        map50=float(table[0][:, valid].mean()),
        map=float(table[:, :, valid].mean()),
        class_map=tuple(float(value) for value in per_class),
        curve_precision=tuple(float(value) for value in table[0][:, valid].mean(axis=1)),
        p=tuple(float(value) for value in p),
        r=tuple(float(value) for value in r),
    )


def _absent(truths: Sequence[Array], nc: int) -> list[float]:
    present = {int(label) for boxes in truths for label in boxes[:, 0]}
    return [0.0 if label in present else float("nan") for label in range(nc)]


def _evaluate(truths: Sequence[Array], found: Sequence[Array], nc: int) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations: list[dict[str, Any]] = []
    for image, boxes in enumerate(truths):
        for label, x1, y1, x2, y2 in boxes.tolist():
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": int(label),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
            )
    results = [
        {
            "image_id": image,
            "category_id": int(label),
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": confidence,
        }
        for image, boxes in enumerate(found)
        for x1, y1, x2, y2, confidence, label in boxes.tolist()
    ]
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": image} for image in range(len(truths))],
        "categories": [{"id": label} for label in range(nc)],
        "annotations": annotations,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.params.areaRng = [[0, 1e10]]
        evaluation.params.areaRngLbl = ["all"]
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _curves(evaluation: Any, nc: int) -> tuple[Array, Array]:
    """Precision and recall at IoU 0.5 over `CONFIDENCES`, means over classes with objects."""
    scores: list[list[Array]] = [[] for _ in range(nc)]
    hits: list[list[Array]] = [[] for _ in range(nc)]
    objects = np.zeros(nc)
    for image in evaluation.evalImgs:
        if image is None:
            continue
        label = image["category_id"]
        objects[label] += len(image["gtIds"])
        scores[label].append(np.array(image["dtScores"]))
        hits[label].append(image["dtMatches"][0] > 0)
    precisions, recalls = [], []
    for label in np.flatnonzero(objects):
        confidence, hit = np.concatenate(scores[label]), np.concatenate(hits[label])
        order = np.argsort(confidence)
        confidence, hit = confidence[order], hit[order]
        # What remains at or above each confidence.
        start = np.searchsorted(confidence, CONFIDENCES)
        left = np.append(np.cumsum(hit[::-1])[::-1], 0)[start]
        kept = len(confidence) - start
        precisions.append(np.where(kept, left / np.maximum(kept, 1), 1.0))
        recalls.append(left / objects[label])
    return np.mean(precisions, axis=0), np.mean(recalls, axis=0)
