"""The figures of one run: COCO's twelve, the operating point, per class, curves, confusion."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from yolo_core.yolo.scores import Curves, Scoring
from yolo_eval.figures.bootstrap import ap_interval
from yolo_eval.figures.confusion import confusion
from yolo_eval.figures.curves import curve_table, curves, operating_point
from yolo_eval.figures.errors import errors
from yolo_eval.figures.scoring import score
from yolo_eval.runs.ground_truth import GroundTruth
from yolo_eval.runs.run import Predictions, Run


def measure(truth: GroundTruth, predictions: Predictions) -> dict[str, Any]:
    """All metrics of a run as plain data; fractions 0–1, None where nothing can be measured."""
    scoring = score(truth, predictions)
    return from_scoring(truth, predictions, scoring, curves(scoring.matches[0]))


def from_scoring(
    truth: GroundTruth, predictions: Predictions, scoring: Scoring, found: Curves
) -> dict[str, Any]:
    """As `measure`, for whoever has scored already."""
    return {
        "images": len(truth.images),
        "objects": truth.objects,
        "crowds": truth.crowds,
        "detections": len(predictions),
        **scoring.metrics,
        **_interval(scoring),
        **operating_point(found),
        "classes": _classes(truth, scoring, found),
        "curves": curve_table(found, scoring),
        "confusion": confusion(truth, predictions).tolist(),
        "errors": errors(truth, predictions, scoring.matches[0]),
    }


def _interval(scoring: Scoring) -> dict[str, float | None]:
    """The 95 % interval of AP, paired with nothing: how far it may lie on other pictures."""
    found = ap_interval(scoring.metrics["AP"], scoring.matches[0], os.cpu_count() or 1)
    return {"AP_low": _plain(found.low), "AP_high": _plain(found.high)}


def seed_line(run: Run) -> str:
    """The one line that the original project writes per model, spelled as there ("#imges").

    mp and mr are precision and recall at the operating point, all in percent.
    """
    metrics: Mapping[str, Any] = run.metrics or {}
    figures = ", ".join(
        f"{name}={percent(metrics.get(key))}%"
        for name, key in (("mp", "precision"), ("mr", "recall"), ("map50", "AP50"), ("map", "AP"))
    )
    counts = f"#imges={metrics.get('images')}, #objects={metrics.get('objects')}"
    return f"{run.truth.source}: {counts}, {figures}\n"


def seed_name(run: Run) -> str:
    """File name of the seed line: `yolov5n_eval_float.txt` or `…_quant.txt`."""
    form = "quant" if run.model["kind"] == "integer" else "float"
    return f"{run.model['name']}_eval_{form}.txt"


def percent(value: float | None, digits: int = 2) -> str:
    """A fraction in percent, without the sign; "n/a" for None."""
    return "n/a" if value is None else f"{100 * value:.{digits}f}"


def _classes(truth: GroundTruth, scoring: Scoring, found: Curves) -> list[dict[str, Any]]:
    objects, class_ap = scoring.matches[0].objects, scoring.class_ap
    table = []
    for number, category in enumerate(truth.categories):
        present = bool(objects[number].any())
        at_best = (found.precision, found.recall, found.f1)
        precision, recall, f1 = (_plain(values[found.best, number]) for values in at_best)
        # Nothing of the class is left at this confidence. YOLOv5's mean counts that as 1, but by
        # itself there is no precision.
        nothing_left = precision == 1 and recall == 0
        table.append(
            {
                "id": category.id,
                "name": category.name,
                "images": int(np.count_nonzero(objects[number])),
                "objects": int(objects[number].sum()),
                "AP": _plain(class_ap[number, 0]) if present else None,
                "AP50": _plain(class_ap[number, 1]) if present else None,
                "precision": None if nothing_left else precision,
                "recall": recall,
                "f1": f1,
            }
        )
    return table


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
