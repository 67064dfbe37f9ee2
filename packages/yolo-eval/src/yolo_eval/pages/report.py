"""The page people open: one self-contained HTML file, for screen, phone and paper.

Everything in it comes from a `Comparison`; nothing is loaded from anywhere when it is opened.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from yolo_eval.figures.agreement import PAIRED_IOU, SHOWN
from yolo_eval.figures.bootstrap import Interval
from yolo_eval.figures.compare import DRIFT_EDGES, Comparison, Pair
from yolo_eval.figures.metrics import percent
from yolo_eval.pages import report_facts, report_pictures, wording
from yolo_eval.pages.charts import Series, histogram, interval_chart, line_chart, signed
from yolo_eval.pages.markup import difference_label, pairs, run_label, scrolled, tone
from yolo_eval.runs.run import Run

#: Classes in the chart of class differences: so many of the worst and of the best.
CHARTED_CLASSES = 8
#: Figures in the chart of differences; the table has all of them.
CHARTED_FIGURES = ("AP", "AP50", "AP75", "AR100", "precision", "recall", "f1")


def page(comparison: Comparison, folder: Path | None) -> str:
    """The report as HTML. folder: where the images lie; None shows boxes on empty frames."""
    style = resources.files("yolo_eval").joinpath("report.css").read_text(encoding="utf-8")
    title = wording.title(comparison)
    sections = [
        ("figures", "Figures", _figures(comparison)),
        ("curves", "Curves", _curves(comparison)),
        ("classes", "Classes", _classes(comparison)),
        ("agreement", "Agreement", _agreement(comparison)),
        ("pictures", "Pictures that changed most", report_pictures.pictures(comparison, folder)),
        ("confusion", "Confusion", report_facts.confusion(comparison)),
        ("provenance", "Where the numbers come from", report_facts.provenance(comparison)),
    ]
    links = "".join(f'<li><a href="#{key}">{escape(name)}</a></li>' for key, name, _ in sections)
    body = "".join(
        f'<section id="{key}" aria-labelledby="h-{key}"><h2 id="h-{key}">{escape(name)}</h2>'
        f"{content}</section>"
        for key, name, content in sections
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "img-src data:; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}: {escape(' · '.join(comparison.labels))}</title>"
        f"<style>{style}</style></head><body><header><h1>{escape(title)}</h1>"
        f'{_verdicts(comparison)}<nav aria-label="Sections"><ul>{links}</ul></nav></header>'
        f"<main>{body}</main></body></html>\n"
    )


def _verdicts(comparison: Comparison) -> str:
    return "".join(
        f'<p class="verdict">{escape(wording.verdict(comparison, pair, label))}</p>'
        for pair, label in pairs(comparison)
    )


def _figures(comparison: Comparison) -> str:
    first = comparison.runs[0].metrics or {}
    head = "<th scope=col>%</th>" + f"<th scope=col>{run_label(comparison, 0)}</th>"
    for number in range(1, len(comparison.runs)):
        head += f"<th scope=col>{run_label(comparison, number)}</th>"
        head += "<th scope=col>difference</th><th scope=col>95 % interval</th>"
    rows = []
    for key, name in wording.SHOWN_NAMES.items():
        cells = f"<td>{percent(first.get(key))}</td>"
        for pair, _ in pairs(comparison):
            cells += f"<td>{percent((pair.run.metrics or {}).get(key))}</td>"
            cells += _difference(pair.figures[key])
        rows.append(f'<tr data-figure="{key}"><th scope=row>{escape(name)}</th>{cells}</tr>')
    counts = (
        f"{first.get('images')} images, {first.get('objects')} objects, "
        f"{first.get('crowds')} crowds. AP and AR (ARn: at most n boxes per image) by pycocotools; "
        "precision, recall and F1 are "
        "means over the classes at IoU 0.5, for all runs at the best confidence of the first "
        f"({_confidence(comparison)}) and at 0.25. Intervals: paired bootstrap over the images, "
        f"{comparison.resamples} draws, seed {comparison.seed}. Differences are in percent points "
        "and are coloured where the interval does not contain zero."
    )
    charts = "".join(
        f'<div class="card single"><h3>{difference_label(comparison, label)}</h3>'
        + interval_chart(
            "Differences with 95 % intervals, percent points",
            wording.verdict(comparison, pair, label),
            _interval_rows((wording.SHOWN_NAMES[k], pair.figures[k]) for k in CHARTED_FIGURES),
        )
        + "</div>"
        for pair, label in pairs(comparison)
        if not np.isnan(pair.figures["AP"].delta)
    )
    return (
        f"""<div class="beside">{scrolled(head, rows, "All figures in percent")}"""
        f'<div>{charts}</div></div><p class="soft">{escape(counts)}</p>'
    )


def _curves(comparison: Comparison) -> str:
    tables = [(run.metrics or {}).get("curves") or {} for run in comparison.runs]
    if not all(tables):
        return "<p>The images hold no objects, so there are no curves.</p>"
    recall = [round(step / 100, 2) for step in range(101)]
    charts = [
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
        charts.append((title, "confidence", name, lines))
    cards = []
    for title, x_label, y_label, lines in charts:
        series = [
            Series(comparison.labels[number], tone(number), x, y)
            for number, (x, y) in enumerate(lines)
        ]
        about = (
            f"Mean over the classes at IoU 0.5, one line per run: {', '.join(comparison.labels)}"
        )
        drawn = line_chart(title, about, series, x_label, y_label)
        cards.append(f'<div class="card"><h3>{escape(title)}</h3>{drawn}</div>')
    return (
        "<p>Means over the classes that have objects, at IoU 0.5.</p>"
        f'<div class="charts">{"".join(cards)}</div>'
    )


def _classes(comparison: Comparison) -> str:
    objects = [item["objects"] for item in _class_figures(comparison.runs[0]).values()]
    known = sum(map(bool, objects))
    if not known:
        return "<p>No class has objects here.</p>"
    parts = ["Classes with few objects move a lot by chance; the interval says how much."]
    if known < len(objects):
        parts.append(f"Classes without objects here, left out: {len(objects) - known}.")
    changes = (
        _class_changes(comparison, number, pair, label)
        for number, (pair, label) in enumerate(pairs(comparison), start=1)
    )
    return f'<p class="soft">{" ".join(parts)}</p>{"".join(changes)}'


def _class_changes(comparison: Comparison, number: int, pair: Pair, label: str) -> str:
    """The classes of run `number` against the first: a chart of the extremes and a table of all."""
    first, second = _class_figures(comparison.runs[0]), _class_figures(pair.run)
    known = [
        (category, value)
        for category, value in zip(pair.run.truth.categories, pair.classes)
        if not np.isnan(value.delta)
    ]
    known.sort(key=lambda item: item[1].delta)
    charted, which = known, ""
    if len(known) > 2 * CHARTED_CLASSES:
        charted = known[:CHARTED_CLASSES] + known[-CHARTED_CLASSES:]
        which = f": the {CHARTED_CLASSES} that lost and the {CHARTED_CLASSES} that gained most"
    rows = [
        f"<tr><th scope=row>{escape(category.name)}</th>"
        f"<td>{first[category.id]['objects']}</td><td>{percent(first[category.id]['AP'])}</td>"
        f"<td>{percent(second[category.id]['AP'])}</td>{_difference(value)}</tr>"
        for category, value in known
    ]
    head = (
        "<th scope=col>class</th><th scope=col>objects</th>"
        f"<th scope=col>{run_label(comparison, 0)}</th>"
        f"<th scope=col>{run_label(comparison, number)}</th>"
        "<th scope=col>difference</th><th scope=col>95 % interval</th>"
    )
    chart = interval_chart(
        "AP differences of classes, percent points",
        f"{label} minus {comparison.labels[0]}",
        _interval_rows((category.name, value) for category, value in charted),
    )
    return (
        f'<div class="card single"><h3>{difference_label(comparison, label)}</h3>'
        f'<p class="soft">AP per class{which}.</p>{chart}</div>'
        f"<details><summary>All {len(known)} classes</summary>"
        f"{scrolled(head, rows, 'AP per class in percent, largest loss first')}</details>"
    )


def _class_figures(run: Run) -> dict[int, dict[str, Any]]:
    """A run's figures per class, by category id."""
    return {item["id"]: item for item in (run.metrics or {})["classes"]}


def _agreement(comparison: Comparison) -> str:
    parts = [
        f"<p>Boxes with a confidence of at least {SHOWN}, as a user would see them; paired per "
        f"class by an IoU of at least {PAIRED_IOU}. The agreement rate is the share of boxes that "
        "have a partner.</p>"
    ]
    for pair, label in pairs(comparison):
        if len(comparison.pairs) > 1:
            parts.append(f"<h3>{escape(label)}</h3>")
        found = pair.agreement
        base = comparison.labels[0]
        tiles = [
            (percent(found.rate, 1) + (" %" if found.rate is not None else ""), "agreement rate"),
            (str(found.matched), "boxes that both show"),
            (str(found.only_a), f"only {base} shows"),
            (str(found.only_b), f"only {label} shows"),
            (str(found.renamed), "of these, same place but another class"),
            (f"{found.identical} of {len(found.images)}", "images with the same boxes"),
        ]
        if found.matched:
            drift = found.drift
            tiles += [
                (signed(float(drift.mean()), 4), "mean score drift"),
                (f"{np.abs(drift).mean():.4f}", "mean distance of scores"),
                (f"{found.overlap.mean():.4f}", "mean IoU of paired boxes"),
            ]
        cards = "".join(f'<div class="tile"><b>{escape(v)}</b>{escape(n)}</div>' for v, n in tiles)
        hit = found.found
        parts.append(
            f'<div class="tiles">{cards}</div>'
            f"<p>Of {sum(hit.values())} objects, both find {hit['both']}, only {escape(base)} "
            f"finds {hit['a']}, only {escape(label)} finds {hit['b']}, and neither finds "
            f"{hit['neither']}.</p>{_drift(comparison, pair, label)}"
        )
    return "".join(parts)


def _drift(comparison: Comparison, pair: Pair, label: str) -> str:
    """The histogram of score drifts, where there are any."""
    if not pair.agreement.matched:
        return "<p>No box has a partner, so there is no score drift.</p>"
    outside = int((np.abs(pair.agreement.drift) > DRIFT_EDGES[-1]).sum())
    beyond = f"Beyond the edges, counted in the outermost bins: {outside}."
    chart = histogram(
        "Score drift of paired boxes",
        f"Score in {label} minus score in {comparison.labels[0]}. {beyond}",
        pair.drift,
        DRIFT_EDGES.tolist(),
        "score drift",
        "pairs",
    )
    return (
        f'<div class="card single"><h3>Score drift: {difference_label(comparison, label)}</h3>'
        f'{chart}<p class="soft">{beyond}</p></div>'
    )


def _difference(value: Interval) -> str:
    return (
        f'<td class="{wording.tone(value)}">{wording.points(value)}</td>'
        f'<td class="span">{wording.span(value).replace(" to", "&nbsp;to")}</td>'
    )


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
