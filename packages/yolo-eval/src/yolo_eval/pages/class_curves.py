"""Curves of every class of one run, with its mean, as charts."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from yolo_core.arrays import Array
from yolo_core.yolo.scores import over_classes
from yolo_eval.figures.bootstrap import CONFIDENCES, RECALL_THRESHOLDS
from yolo_eval.figures.curves import ClassCurves
from yolo_eval.figures.metrics import percent
from yolo_eval.pages.charts import Series, line_chart
from yolo_eval.runs.run import Run

#: Classes with a colour and a name in the legend, those with most objects; the rest are grey.
NAMED = 8


def charts(
    run: Run, curves: ClassCurves, tone: str, which: tuple[str, ...]
) -> list[tuple[str, Markup]]:
    """Title and chart of each of `which`: "recall" (precision over recall), "f1", "precision",
    "recall_at". [] without objects. tone: CSS class of the mean.
    """
    if np.isnan(curves.ap50).all():
        return []
    found, metrics = curves.found, run.metrics or {}
    best = f"best {percent(metrics.get('f1'))} at confidence {found.confidence:.3f}"
    kinds = {
        "recall": ("Precision over recall", f"mAP@0.5 {percent(metrics.get('AP50'))}",
                   RECALL_THRESHOLDS, curves.at_recall, "recall", "precision"),
        "f1": ("F1 over confidence", best, CONFIDENCES, found.f1, "confidence", "F1"),
        "precision": ("Precision over confidence", "", CONFIDENCES, found.precision,
                      "confidence", "precision"),
        "recall_at": ("Recall over confidence", "", CONFIDENCES, found.recall,
                      "confidence", "recall"),
    }  # fmt: skip
    drawn = []
    for key in which:
        title, about, x, table, x_label, y_label = kinds[key]
        series = _series(run, curves, x, table, tone)
        heading = f"{title}, {about}" if about else title
        told = f"All classes at IoU 0.5: {heading}"
        drawn.append((heading, line_chart(heading, told, series, x_label, y_label)))
    return drawn


def _series(run: Run, curves: ClassCurves, x: Array, table: Array, tone: str) -> list[Series]:
    """Lines from the back to the front: classes in grey, named classes, the mean."""
    categories = run.truth.categories
    present = [int(n) for n in np.argsort(-curves.objects, kind="stable") if curves.objects[n]]
    named, rest = present[:NAMED], present[NAMED:]
    across = x.tolist()

    def line(label: str, kind: str, values: Array) -> Series:
        return Series(label, kind, across, values.tolist())

    lines = [line("", "rest", table[:, number]) for number in rest]
    if rest:
        lines[0] = line(f"{len(rest)} other classes", "rest", table[:, rest[0]])
    if len(present) > 1:
        lines += [
            line(f"{categories[n].name} {percent(curves.ap50[n], 1)}", f"k{place}", table[:, n])
            for place, n in enumerate(named)
        ]
        label = f"all classes {percent(float(np.nanmean(curves.ap50)), 1)}"
    else:
        label = f"{categories[named[0]].name} {percent(curves.ap50[named[0]], 1)}"
    return [*lines, line(label, f"{tone} mean", over_classes(table))]
