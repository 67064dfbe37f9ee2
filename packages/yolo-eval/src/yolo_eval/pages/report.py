"""The page people open: one self-contained HTML file, for screen, phone and paper.

Everything in it comes from a `Comparison`; nothing is loaded from anywhere when it is opened.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from yolo_eval.figures.agreement import PAIRED_IOU, SHOWN
from yolo_eval.figures.bootstrap import Interval
from yolo_eval.figures.compare import DRIFT_EDGES, Comparison, Pair
from yolo_eval.figures.metrics import percent
from yolo_eval.pages import gain, mistakes, report_facts, report_pictures, wording
from yolo_eval.pages.charts import Series, histogram, interval_chart, line_chart, signed
from yolo_eval.pages.class_curves import charts as class_charts
from yolo_eval.pages.markup import difference, difference_label, pairs, run_label, tone
from yolo_eval.pages.rendering import render, render_page
from yolo_eval.runs.run import Run

#: Classes in the chart of class differences: so many of the worst and of the best.
CHARTED_CLASSES = 8
#: Figures in the chart of differences; the table has all of them.
CHARTED_FIGURES = ("AP", "AP50", "AP75", "AR100", "precision", "recall", "f1")


def page(comparison: Comparison, folder: Path | None, any_picture: bool) -> str:
    """The report as HTML. folder: where the images lie; None shows boxes on empty frames.

    any_picture: also embed pictures whose digest is not in their run.
    """
    run_labels = [run_label(comparison, number) for number in range(len(comparison.runs))]
    sections = [
        ("figures", "Figures", _figures(comparison)),
        *([("gain", "What it gains", gain.section(comparison))] if comparison.costs else []),
        ("errors", "Mistakes by kind", mistakes.section(comparison.runs, run_labels)),
        ("curves", "Curves", _curves(comparison)),
        ("classes", "Classes", _classes(comparison)),
        ("agreement", "Agreement", _agreement(comparison)),
        (
            "pictures",
            "Pictures that changed most",
            report_pictures.pictures(comparison, folder, any_picture),
        ),
        ("confusion", "Confusion", report_facts.confusion(comparison.runs, run_labels)),
        ("provenance", "Where the numbers come from", report_facts.provenance(comparison)),
    ]
    return render_page(
        "report.html",
        title=wording.title(comparison),
        labels=comparison.labels,
        warning=wording.warning(comparison),
        accuracies=[
            (label, wording.accuracy(run)) for label, run in zip(run_labels, comparison.runs)
        ],
        verdicts=[wording.verdict(comparison, pair, label) for pair, label in pairs(comparison)],
        sections=sections,
    )


def _figures(comparison: Comparison) -> Markup:
    first = comparison.runs[0].metrics or {}
    rows = [
        {
            "key": key,
            "name": name,
            "first": percent(first.get(key)),
            "others": [
                (percent((pair.run.metrics or {}).get(key)), difference(pair.figures[key]))
                for pair in comparison.pairs
            ],
        }
        for key, name in wording.SHOWN_NAMES.items()
    ]
    counts = (
        f"{first.get('images')} images, {first.get('objects')} objects, "
        f"{first.get('crowds')} crowds. AP and AR (ARn: at most n boxes per image) by pycocotools; "
        "precision, recall and F1 are "
        "means over the classes at IoU 0.5, for all runs at the best confidence of the first "
        f"({_confidence(comparison)}) and at 0.25. Intervals: paired bootstrap over the images, "
        f"{comparison.resamples} draws, seed {comparison.seed}. Differences are in percent points "
        "and are coloured where the interval does not contain zero."
    )
    charts = [
        (
            difference_label(comparison, label),
            interval_chart(
                "Differences with 95 % intervals, percent points",
                wording.verdict(comparison, pair, label),
                _interval_rows((wording.SHOWN_NAMES[k], pair.figures[k]) for k in CHARTED_FIGURES),
            ),
        )
        for pair, label in pairs(comparison)
        if not np.isnan(pair.figures["AP"].delta)
    ]
    first_label, *others = (run_label(comparison, n) for n in range(len(comparison.runs)))
    return render(
        "figures.html", first=first_label, others=others, rows=rows, charts=charts, counts=counts
    )


def _curves(comparison: Comparison) -> Markup:
    tables = [(run.metrics or {}).get("curves") or {} for run in comparison.runs]
    if not all(tables):
        return render("curves.html", charts=[], by_class=[])
    recall = [round(step / 100, 2) for step in range(101)]
    drawn = [
        (
            "Precision over recall",
            "recall",
            "precision",
            [(recall, table["precision_at_recall"]) for table in tables],
        )
    ]
    for key, name in (("precision", "precision"), ("recall", "recall"), ("f1", "F1")):
        lines = [(table["confidence"], table[key]) for table in tables]
        title = f"{name[0].upper()}{name[1:]} over confidence"
        drawn.append((title, "confidence", name, lines))
    about = f"Mean over the classes at IoU 0.5, one line per run: {', '.join(comparison.labels)}"
    legend = [
        f"{label}, mAP@0.5 {percent((run.metrics or {}).get('AP50'))}"
        for label, run in zip(comparison.labels, comparison.runs)
    ]
    charts = []
    for title, x_label, y_label, lines in drawn:
        series = [Series(legend[number], tone(number), x, y) for number, (x, y) in enumerate(lines)]
        charts.append((title, line_chart(title, about, series, x_label, y_label)))
    by_class = [
        (f"{label}: {title}", chart)
        for number, (label, run) in enumerate(zip(comparison.labels, comparison.runs))
        for title, chart in class_charts(
            run, comparison.curves[number], tone(number), ("recall", "f1")
        )
    ]
    return render("curves.html", charts=charts, by_class=by_class)


def _classes(comparison: Comparison) -> Markup:
    objects = [item["objects"] for item in _class_figures(comparison.runs[0]).values()]
    known = sum(map(bool, objects))
    changes = [
        _class_changes(comparison, number, pair, label)
        for number, (pair, label) in enumerate(pairs(comparison), start=1)
    ]
    return render(
        "classes.html", known=known, left_out=len(objects) - known, changes=changes,
        first=run_label(comparison, 0),
    )  # fmt: skip


def _class_changes(comparison: Comparison, number: int, pair: Pair, label: str) -> dict[str, Any]:
    """The classes of run `number` against the first: a chart of the extremes and a table of all."""
    first, second = _class_figures(comparison.runs[0]), _class_figures(pair.run)
    known = [
        (category, value)
        for category, value in zip(pair.run.truth.categories, pair.classes)
        if not np.isnan(value.delta)
    ]
    known.sort(key=lambda item: item[1].delta)
    charted, extremes = known, 0
    if len(known) > 2 * CHARTED_CLASSES:
        charted, extremes = known[:CHARTED_CLASSES] + known[-CHARTED_CLASSES:], CHARTED_CLASSES
    rows = [
        {
            "name": category.name,
            "objects": first[category.id]["objects"],
            "first": percent(first[category.id]["AP"]),
            "second": percent(second[category.id]["AP"]),
            "change": difference(value),
        }
        for category, value in known
    ]
    chart = interval_chart(
        "AP differences of classes, percent points",
        difference_label(comparison, label),
        _interval_rows((category.name, value) for category, value in charted),
    )
    return {
        "label": difference_label(comparison, label), "run": run_label(comparison, number),
        "extremes": extremes, "chart": chart, "rows": rows,
    }  # fmt: skip


def _class_figures(run: Run) -> dict[int, dict[str, Any]]:
    """A run's figures per class, by category id."""
    return {item["id"]: item for item in (run.metrics or {})["classes"]}


def _agreement(comparison: Comparison) -> Markup:
    parts = [_agreement_part(comparison, pair, label) for pair, label in pairs(comparison)]
    return render(
        "agreement.html", shown=SHOWN, paired=PAIRED_IOU, base=comparison.labels[0], parts=parts
    )


def _agreement_part(comparison: Comparison, pair: Pair, label: str) -> dict[str, Any]:
    found, base = pair.agreement, comparison.labels[0]
    tiles = [
        (percent(found.rate, 1) + (" %" if found.rate is not None else ""), "agreement rate"),
        (str(found.matched), "boxes that both show"),
        (str(found.only_a), f"only {base} shows"),
        (str(found.only_b), f"only {label} shows"),
        (str(found.renamed), "of these, same place but another class"),
        (f"{found.identical} of {len(found.images)}", "images with the same boxes"),
    ]
    part: dict[str, Any] = {
        "label": label, "tiles": tiles, "found": found.found, "objects": sum(found.found.values()),
        "difference": difference_label(comparison, label), "chart": None, "beyond": "",
    }  # fmt: skip
    if found.matched:
        drift = found.drift
        tiles += [
            (signed(float(drift.mean()), 4), "mean score drift"),
            (f"{np.abs(drift).mean():.4f}", "mean distance of scores"),
            (f"{found.overlap.mean():.4f}", "mean IoU of paired boxes"),
        ]
        outside = int((np.abs(drift) > DRIFT_EDGES[-1]).sum())
        part["beyond"] = f"Beyond the edges, counted in the outermost bins: {outside}."
        part["chart"] = histogram(
            "Score drift of paired boxes",
            f"Score in {label} minus score in {base}. {part['beyond']}",
            pair.drift,
            DRIFT_EDGES.tolist(),
            "score drift",
            "pairs",
        )
    return part


def _interval_rows(
    named: Iterable[tuple[str, Interval]],
) -> list[tuple[str, float, float, float]]:
    """Chart rows in percent points; what cannot be measured is left out."""
    return [
        (name, 100 * value.delta, 100 * value.low, 100 * value.high)
        for name, value in named
        if not np.isnan(value.delta)
    ]


def _confidence(comparison: Comparison) -> str:
    value = (comparison.runs[0].metrics or {}).get("confidence")
    return "n/a" if value is None else f"{value:.3f}"
