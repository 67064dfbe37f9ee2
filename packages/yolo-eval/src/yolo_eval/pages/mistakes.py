"""Mistakes by kind, of one run or of several beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from yolo_eval.figures.errors import FOUND_IOU, KINDS, SHOWN, lost
from yolo_eval.figures.metrics import percent
from yolo_eval.pages.charts import bar_chart
from yolo_eval.pages.markup import RunLabel
from yolo_eval.pages.rendering import render
from yolo_eval.runs.run import Run

#: What each kind means, for people.
MEANINGS = {
    "localisation": "right class, box too far off (IoU 0.1 to 0.5)",
    "class": "right place, another class",
    "duplicate": "one more box on an object that is found",
    "background": "a box on nothing (IoU below 0.1)",
    "both": "wrong class and box too far off",
    "missed": "an object without a box, and no mistake above explains it",
}


def section(runs: Sequence[Run], labels: Sequence[RunLabel]) -> Markup:
    """A table and a chart of the kinds. runs: with metrics."""
    tables = [(run.metrics or {})["errors"] for run in runs]
    rows = [
        {
            "kind": kind,
            "meaning": MEANINGS[kind],
            "runs": [(points(table, kind), table["kinds"][kind]["shown"]) for table in tables],
        }
        for kind in KINDS
    ]
    chart = None
    if all(lost(table, kind) is not None for table in tables for kind in KINDS):
        bars = [
            (
                kind,
                [
                    (label.tone, lost(table, kind) or 0.0, points(table, kind))
                    for label, table in zip(labels, tables)
                ],
            )
            for kind in KINDS
        ]
        told = "; ".join(f"{kind} {', '.join(t for _, _, t in lines)}" for kind, lines in bars)
        chart = bar_chart("What mending each kind would win", told, bars, "points of AP50")
    return render(
        "errors.html", labels=labels, rows=rows, chart=chart, shown=SHOWN, found=FOUND_IOU
    )


def rows(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Every kind, and for each run its cost with the number of boxes: "1.25 (17)"."""
    tables = [(run.metrics or {})["errors"] for run in runs]
    return [
        (kind, [f"{points(table, kind)} ({table['kinds'][kind]['shown']})" for table in tables])
        for kind in KINDS
    ]


def points(table: dict[str, Any], kind: str) -> str:
    """The cost of a kind in points of AP50."""
    return percent(lost(table, kind))
