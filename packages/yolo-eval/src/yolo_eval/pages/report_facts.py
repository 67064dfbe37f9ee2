"""The report's last sections: confusion matrices, and where every number comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from yolo_core.arrays import Array
from yolo_eval.figures.compare import Comparison
from yolo_eval.figures.confusion import CONFIDENCE, IOU
from yolo_eval.figures.settings import NAMES
from yolo_eval.pages.charts import LABELLED, heat_map
from yolo_eval.pages.markup import RunLabel, run_label
from yolo_eval.pages.rendering import render
from yolo_eval.runs.run import Run

#: Most mistakes between classes that are listed.
_MISTAKES = 100


def confusion(runs: Sequence[Run], labels: Sequence[RunLabel]) -> Markup:
    """The confusion matrices of runs over the same categories. runs: with metrics."""
    names = [category.name for category in runs[0].truth.categories]
    cards = []
    for run, label in zip(runs, labels):
        table = np.array((run.metrics or {})["confusion"])
        largest = _largest(table, names)
        about = f"Rows are true classes, columns predicted ones; {largest}"
        chart = heat_map("Confusion matrix", about, table, [*names, "background"], label.tone)
        drawn = len(names) < LABELLED
        cards.append(
            {
                "run": label,
                "chart": chart,
                "largest": largest,
                "rows": [] if drawn else _by_class(table, names),
                "mistakes": [] if drawn else _mistakes(table, names),
            }
        )
    return render("confusion.html", confidence=CONFIDENCE, iou=IOU, cards=cards)


def _by_class(table: Array, names: Sequence[str]) -> list[dict[str, Any]]:
    """What the objects of every class were taken for; classes that do not occur are left out."""
    return [
        {
            "name": name,
            "right": table[n, n],
            "other": table[n, :-1].sum() - table[n, n],
            "missed": table[n, -1],
            "background": table[-1, n],
        }
        for n, name in enumerate(names)
        if table[n].any() or table[:, n].any()
    ]


def _mistakes(table: Array, names: Sequence[str]) -> list[tuple[str, str, int]]:
    """The most frequent mistakes between classes: true class, predicted class, objects."""
    wrong = table[:-1, :-1].copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MISTAKES]
    places = [divmod(int(place), len(names)) for place in order]
    return [(names[r], names[c], int(wrong[r, c])) for r, c in places if wrong[r, c]]


def _largest(table: Array, names: Sequence[str]) -> str:
    """The most frequent mistakes between classes, in words."""
    listed = [f"{name} as {other} ({n})" for name, other, n in _mistakes(table, names)[:5]]
    return (
        "most often mistaken: " + ", ".join(listed) if listed else "no class is taken for another"
    )


def facts(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Where and how runs were made: a name, and its value in every run."""
    told: list[tuple[str, list[str]]] = [
        ("model", [f"{run.model['name']} ({run.model['kind']})" for run in runs]),
        ("model SHA-256", [run.model["digest"] for run in runs]),
        ("model path", [str(run.model.get("path", "")) for run in runs]),
        ("input", [_size(run) for run in runs]),
    ]
    for key in sorted({key for run in runs for key in run.settings}):
        told.append((NAMES.get(key, key), [str(run.settings.get(key, "")) for run in runs]))
    return [
        *told,
        ("configuration SHA-256", [run.configuration_digest() for run in runs]),
        ("command", [str(run.provenance.get("command", "")) for run in runs]),
        ("versions", [versions_text(run.provenance.get("versions")) for run in runs]),
        ("machine", [_machine(run.provenance.get("machine")) for run in runs]),
        ("started", [str(run.provenance.get("started", "")) for run in runs]),
        ("images per second", [_rate(run) for run in runs]),
        ("processes, threads of each", [_work(run) for run in runs]),
    ]


def provenance(comparison: Comparison) -> Markup:
    own = comparison.provenance
    return render(
        "provenance.html",
        labels=[run_label(comparison, number) for number in range(len(comparison.runs))],
        facts=facts(comparison.runs),
        truth=comparison.runs[0].truth,
        command=str(own["command"]),
        versions=versions_text(own["versions"]),
    )


def _machine(value: object) -> str:
    if not isinstance(value, dict):
        return "not known"
    return ", ".join(f"{name} {told}" for name, told in value.items())


def _work(run: Run) -> str:
    if "jobs" not in run.provenance:
        return "not known"
    return f"{run.provenance['jobs']}, {run.provenance.get('threads') or 'as the library likes'}"


def _size(run: Run) -> str:
    imgsz = run.model.get("imgsz")
    return f"{imgsz[1]} × {imgsz[0]}" if imgsz else "not known"


def versions_text(value: object) -> str:
    if not isinstance(value, dict):
        return "not known"
    return ", ".join(f"{name} {version}" for name, version in value.items())


def _rate(run: Run) -> str:
    rate = run.provenance.get("images_per_second")
    return "not known" if rate is None else f"{rate}"
