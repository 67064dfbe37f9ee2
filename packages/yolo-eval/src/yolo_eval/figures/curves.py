"""Precision, recall and F1 against confidence, and precision against recall, at IoU 0.5.

The operating point is the confidence with the highest mean F1 over the classes; precision and
recall are quoted there, as users of YOLOv5 expect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.yolo import scores
from yolo_core.yolo.scores import IOU_50, Curves, Matches, Scoring, over_classes
from yolo_eval.figures.bootstrap import CONFIDENCES


def curves(matches: Matches) -> Curves:
    """The curves at `CONFIDENCES`, from the matches of area range "all"."""
    return scores.curves(matches, CONFIDENCES)


@dataclass(frozen=True)
class ClassCurves:
    """The curves of every class of a run, NaN for classes without objects.

    found: over the confidence. at_recall: precision at recall 0, 0.01 … 1, float64 [101,
    categories]. ap50: float64 [categories]. objects: int64 [categories].
    """

    found: Curves
    at_recall: Array
    ap50: Array
    objects: Array


def class_curves(scoring: Scoring) -> ClassCurves:
    """See `ClassCurves`."""
    at_half = scoring.precision[IOU_50]
    at_recall = np.where(at_half < 0, np.nan, at_half)
    objects = scoring.matches[0].objects.sum(axis=1)
    return ClassCurves(curves(scoring.matches[0]), at_recall, scoring.class_ap[:, 1], objects)


def operating_point(found: Curves) -> dict[str, Any]:
    """Mean precision, recall and F1 over the classes at the best confidence."""
    if np.isnan(found.f1).all():
        return {"precision": None, "recall": None, "f1": None, "confidence": None}
    return {
        "precision": float(over_classes(found.precision)[found.best]),
        "recall": float(over_classes(found.recall)[found.best]),
        "f1": float(over_classes(found.f1)[found.best]),
        "confidence": found.confidence,
    }


def curve_table(found: Curves, scoring: Scoring) -> dict[str, Any]:
    """The mean curves as plain lists, for the run file and the charts."""
    if np.isnan(found.f1).all():
        return {}
    at_half = scoring.precision[IOU_50]
    measured = at_half[:, at_half[0] >= 0]
    return {
        "confidence": [round(float(c), 3) for c in CONFIDENCES],
        "precision": _rounded(over_classes(found.precision)),
        "recall": _rounded(over_classes(found.recall)),
        "f1": _rounded(over_classes(found.f1)),
        "precision_at_recall": _rounded(measured.mean(axis=1)),
    }


def _rounded(values: Array) -> list[Any]:
    return [round(float(value), 6) for value in values]
