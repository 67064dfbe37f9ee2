"""The report's last sections: confusion matrices, and where every number comes from."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from yolo_core.arrays import Array
from yolo_eval.figures.compare import Comparison
from yolo_eval.figures.confusion import CONFIDENCE, IOU
from yolo_eval.pages.charts import heat_map
from yolo_eval.pages.markup import run_label, scrolled, tone
from yolo_eval.runs.run import Run


def confusion(comparison: Comparison) -> str:
    names = [category.name for category in comparison.runs[0].truth.categories]
    cards = []
    for number, run in enumerate(comparison.runs):
        table = np.array((run.metrics or {})["confusion"])
        about = f"Rows are true classes, columns predicted ones; {_largest(table, names)}"
        chart = heat_map("Confusion matrix", about, table, [*names, "background"], tone(number))
        cards.append(
            f'<div class="card"><h3>{run_label(comparison, number)}</h3>{chart}'
            f'<p class="soft">{escape(_largest(table, names))}.</p></div>'
        )
    return (
        f"<p>Boxes with a confidence of at least {CONFIDENCE}, paired with objects by an IoU of at "
        f"least {IOU} whatever their class. Rows are true classes, columns predicted ones; the "
        "last row and column are the background: boxes on nothing, and objects not found. A row is "
        f'shaded by its shares.</p><div class="charts">{"".join(cards)}</div>'
    )


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


def provenance(comparison: Comparison) -> str:
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
    head = "<th scope=col></th>" + "".join(
        f"<th scope=col>{run_label(comparison, number)}</th>"
        for number in range(len(comparison.runs))
    )
    rows = [
        f"<tr><th scope=row>{escape(name)}</th>"
        + "".join(f'<td class="wrap"><code>{escape(value)}</code></td>' for value in values)
        + "</tr>"
        for name, values in facts
    ]
    truth = comparison.runs[0].truth
    own = comparison.provenance
    return (
        scrolled(head, rows, "The runs", "facts")
        + f"<p>Ground truth <code>{escape(truth.source)}</code>, "
        f"SHA-256 <code>{truth.digest()}</code>. The SHA-256 of every picture is in the run files."
        f"</p><p>This page: <code>{escape(str(own['command']))}</code> with "
        f"{escape(_versions(own['versions']))}.</p>"
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
