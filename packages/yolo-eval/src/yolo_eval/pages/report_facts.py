"""The report's last sections: confusion matrices, and where every number comes from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from yolo_core.arrays import Array
from yolo_eval.figures.compare import Comparison
from yolo_eval.figures.confusion import CONFIDENCE, IOU
from yolo_eval.pages.charts import heat_map
from yolo_eval.pages.markup import run_label, tone
from yolo_eval.pages.rendering import render
from yolo_eval.runs.run import Run


def confusion(comparison: Comparison) -> Markup:
    names = [category.name for category in comparison.runs[0].truth.categories]
    cards = []
    for number, run in enumerate(comparison.runs):
        table = np.array((run.metrics or {})["confusion"])
        largest = _largest(table, names)
        about = f"Rows are true classes, columns predicted ones; {largest}"
        chart = heat_map("Confusion matrix", about, table, [*names, "background"], tone(number))
        cards.append({"run": run_label(comparison, number), "chart": chart, "largest": largest})
    return render("confusion.html", confidence=CONFIDENCE, iou=IOU, cards=cards)


def _largest(table: Array, names: Sequence[str]) -> str:
    """The most frequent mistakes between classes, in words."""
    wrong = table[:-1, :-1].copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:5]
    found = [divmod(int(place), len(names)) for place in order]
    listed = [f"{names[r]} as {names[c]} ({wrong[r, c]})" for r, c in found if wrong[r, c]]
    return (
        "most often mistaken: " + ", ".join(listed) if listed else "no class is taken for another"
    )


def provenance(comparison: Comparison) -> Markup:
    facts: list[tuple[str, list[str]]] = [
        ("model", [f"{run.model['name']} ({run.model['kind']})" for run in comparison.runs]),
        ("model SHA-256", [run.model["digest"] for run in comparison.runs]),
        ("model path", [str(run.model.get("path", "")) for run in comparison.runs]),
        ("input", [_size(run) for run in comparison.runs]),
    ]
    for key in sorted({key for run in comparison.runs for key in run.settings}):
        facts.append((key, [str(run.settings.get(key, "")) for run in comparison.runs]))
    facts += [
        ("configuration SHA-256", [run.configuration_digest() for run in comparison.runs]),
        ("command", [str(run.provenance.get("command", "")) for run in comparison.runs]),
        ("versions", [_versions(run.provenance.get("versions")) for run in comparison.runs]),
        ("started", [str(run.provenance.get("started", "")) for run in comparison.runs]),
        ("images per second", [_rate(run) for run in comparison.runs]),
    ]
    own = comparison.provenance
    return render(
        "provenance.html",
        labels=[run_label(comparison, number) for number in range(len(comparison.runs))],
        facts=facts,
        truth=comparison.runs[0].truth,
        command=str(own["command"]),
        versions=_versions(own["versions"]),
    )


def _size(run: Run) -> str:
    imgsz = run.model.get("imgsz")
    return f"{imgsz[1]} × {imgsz[0]}" if imgsz else "not known"


def _versions(value: object) -> str:
    if not isinstance(value, dict):
        return "not known"
    return ", ".join(f"{name} {version}" for name, version in value.items())


def _rate(run: Run) -> str:
    rate = run.provenance.get("images_per_second")
    return "not known" if rate is None else f"{rate}"
