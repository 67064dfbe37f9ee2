"""Precision, recall and F1 against confidence, and precision against recall, at IoU 0.5.

The operating point is the confidence with the highest mean F1 over the classes; precision and
recall are quoted there, as users of YOLOv5 expect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_eval.figures.scoring import IOU_50, Matches, Scoring

#: Confidences at which the curves are drawn.
CONFIDENCES = np.linspace(0.0, 1.0, 201)


@dataclass(frozen=True)
class Curves:
    """precision, recall, f1: float64 [201, categories] at `CONFIDENCES`; NaN without objects.

    best: index of the confidence with the highest mean F1 (the lowest such confidence).
    """

    precision: Array
    recall: Array
    f1: Array
    best: int

    @property
    def confidence(self) -> float:
        return float(CONFIDENCES[self.best])


def curves(matches: Matches) -> Curves:
    """Curves of one run from the matches of area range "all"."""
    categories = len(matches.objects)
    objects = matches.objects.sum(axis=1).astype(np.float64)
    precision = np.full((len(CONFIDENCES), categories), np.nan)
    recall = precision.copy()
    for category in np.flatnonzero(objects):
        rows = slice(*np.searchsorted(matches.category, [category, category + 1]))
        right = np.cumsum(matches.right[IOU_50, rows])
        counted = np.cumsum(~matches.ignored[IOU_50, rows])
        # Rows are ordered by falling score: how many reach each confidence?
        reach = np.searchsorted(-matches.score[rows], -CONFIDENCES, side="right")
        true = np.concatenate([[0], right])[reach]
        all_ = np.concatenate([[0], counted])[reach]
        # As in YOLOv5: nothing left at this confidence is precision 1, a class that is never
        # predicted has precision 0.
        nothing = float(len(right) > 0)
        precision[:, category] = np.where(all_ > 0, true / np.maximum(all_, 1), nothing)
        recall[:, category] = true / objects[category]
    total = precision + recall
    f1 = np.where(total > 0, 2 * precision * recall / np.where(total > 0, total, 1), 0.0)
    f1[:, objects == 0] = np.nan
    best = int(np.argmax(_mean(f1)))
    return Curves(precision, recall, f1, best)


def operating_point(found: Curves) -> dict[str, Any]:
    """Mean precision, recall and F1 over the classes at the best confidence."""
    if np.isnan(found.f1).all():
        return {"precision": None, "recall": None, "f1": None, "confidence": None}
    return {
        "precision": float(_mean(found.precision)[found.best]),
        "recall": float(_mean(found.recall)[found.best]),
        "f1": float(_mean(found.f1)[found.best]),
        "confidence": found.confidence,
    }


def curve_table(found: Curves, scoring: Scoring) -> dict[str, Any]:
    """The mean curves as plain lists, for the run file and the charts."""
    if np.isnan(found.f1).all():
        return {}
    measured = scoring.precision[:, scoring.precision[0] >= 0]
    return {
        "confidence": [round(float(c), 3) for c in CONFIDENCES],
        "precision": _rounded(_mean(found.precision)),
        "recall": _rounded(_mean(found.recall)),
        "f1": _rounded(_mean(found.f1)),
        "precision_at_recall": _rounded(measured.mean(axis=1)),
    }


def _mean(values: Array) -> Array:
    """Mean over the classes with objects."""
    present = ~np.isnan(values[0])
    if not present.any():
        return np.zeros(len(values))
    result: Array = values[:, present].mean(axis=1)
    return result


def _rounded(values: Array) -> list[Any]:
    return [round(float(value), 6) for value in values]
