"""The page people open: one self-contained HTML file, for screen, phone and paper.

Everything in it comes from a `Comparison`; nothing is loaded from anywhere when it is opened.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from pathlib import Path

import numpy as np

from yolo_eval import wording
from yolo_eval.agreement import SHOWN, ImageAgreement
from yolo_eval.bootstrap import Interval
from yolo_eval.charts import Series, heat_map, histogram, interval_chart, line_chart, signed
from yolo_eval.compare import DRIFT_EDGES, Comparison, Pair
from yolo_eval.confusion import CONFIDENCE, IOU
from yolo_eval.metrics import percent
from yolo_eval.pictures import Drawn, Picture, load, panel
from yolo_eval.run import Run

TONES = "abcd"
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
        ("pictures", "Pictures that changed most", _pictures(comparison, folder)),
        ("confusion", "Confusion", _confusion(comparison)),
        ("provenance", "Where the numbers come from", _provenance(comparison)),
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
        for pair, label in _pairs(comparison)
    )


def _figures(comparison: Comparison) -> str:
    first = comparison.runs[0].metrics or {}
    head = "<th scope=col>%</th>" + f"<th scope=col>{_name(comparison, 0)}</th>"
    for number in range(1, len(comparison.runs)):
        head += f"<th scope=col>{_name(comparison, number)}</th>"
        head += "<th scope=col>difference</th><th scope=col>95 % interval</th>"
    rows = []
    for key, name in wording.SHOWN_NAMES.items():
        cells = f"<td>{percent(first.get(key))}</td>"
        for pair, _ in _pairs(comparison):
            cells += f"<td>{percent((pair.run.metrics or {}).get(key))}</td>"
            cells += _difference(pair.figures[key])
        rows.append(f'<tr data-figure="{key}"><th scope=row>{escape(name)}</th>{cells}</tr>')
    counts = (
        f"{first.get('images')} images, {first.get('objects')} objects, "
        f"{first.get('crowds')} crowds. AP and AR (ARn: at most n boxes per image) by pycocotools; "
        "precision, recall and F1 are "
        "means over the classes at IoU 0.5 and each run's best confidence "
        f"({_confidences(comparison)}). Intervals: paired bootstrap over the images, "
        f"{comparison.resamples} draws, seed {comparison.seed}. Differences are in percent points "
        "and are coloured where the interval leaves zero out."
    )
    charts = "".join(
        f'<div class="card single"><h3>{escape(label)} minus {escape(comparison.labels[0])}</h3>'
        + interval_chart(
            "Differences with 95 % intervals, percent points",
            wording.verdict(comparison, pair, label),
            _interval_rows((wording.SHOWN_NAMES[k], pair.figures[k]) for k in CHARTED_FIGURES),
        )
        + "</div>"
        for pair, label in _pairs(comparison)
    )
    return (
        f"""<div class="beside">{_scrolled(head, rows, "All figures in percent")}"""
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
    for key, name in (("precision", "Precision"), ("recall", "Recall"), ("f1", "F1")):
        lines = [(table["confidence"], table[key]) for table in tables]
        charts.append((f"{name} over confidence", "confidence", name, lines))
    cards = []
    for title, x_label, y_label, lines in charts:
        series = [
            Series(comparison.labels[number], _tone(number), x, y)
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
    parts = []
    first = {item["id"]: item for item in (comparison.runs[0].metrics or {})["classes"]}
    for number, (pair, label) in enumerate(_pairs(comparison), start=1):
        second = {item["id"]: item for item in (pair.run.metrics or {})["classes"]}
        known = [
            (category, value)
            for category, value in zip(pair.run.truth.categories, pair.classes)
            if not np.isnan(value.delta)
        ]
        known.sort(key=lambda item: item[1].delta)
        charted = known
        if len(known) > 2 * CHARTED_CLASSES:
            charted = known[:CHARTED_CLASSES] + known[-CHARTED_CLASSES:]
        rows = [
            f"<tr><th scope=row>{escape(category.name)}</th>"
            f"<td>{first[category.id]['objects']}</td><td>{percent(first[category.id]['AP'])}</td>"
            f"<td>{percent(second[category.id]['AP'])}</td>{_difference(value)}</tr>"
            for category, value in known
        ]
        head = (
            "<th scope=col>class</th><th scope=col>objects</th>"
            f"<th scope=col>{_name(comparison, 0)}</th>"
            f"<th scope=col>{_name(comparison, number)}</th>"
            "<th scope=col>difference</th><th scope=col>95 % interval</th>"
        )
        without = len(pair.classes) - len(known)
        note = f" {without} classes have no objects here and are left out." if without else ""
        chart = interval_chart(
            "AP differences of classes, percent points",
            f"{label} minus {comparison.labels[0]}",
            _interval_rows((category.name, value) for category, value in charted),
        )
        which = "" if charted is known else ": the eight that lost and the eight that gained most"
        parts.append(
            f'<div class="card single"><h3>AP per class{which}</h3>{chart}</div>'
            f"<details><summary>All {len(known)} classes</summary>"
            f"{_scrolled(head, rows, 'AP per class in percent, largest loss first')}</details>"
            f'<p class="soft">Classes with few objects move a lot by chance; the interval says how '
            f"much.{note}</p>"
        )
    return "".join(parts)


def _agreement(comparison: Comparison) -> str:
    parts = []
    for pair, label in _pairs(comparison):
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
        outside = int((np.abs(found.drift) > DRIFT_EDGES[-1]).sum())
        chart = histogram(
            "Score drift of paired boxes",
            f"Score in {label} minus score in {base}; {outside} beyond the edges are counted in "
            "the outermost bins",
            pair.drift,
            DRIFT_EDGES.tolist(),
            "score drift",
        )
        hit = found.found
        parts.append(
            f"<p>Boxes with a confidence of at least {SHOWN}, as a user would see them; paired "
            "per class by an IoU of at least 0.5. The agreement rate is the share of boxes that "
            f'have a partner.</p><div class="tiles">{cards}</div>'
            f"<p>Of {sum(hit.values())} objects, both find {hit['both']}, only {escape(base)} "
            f"finds {hit['a']}, only {escape(label)} finds {hit['b']}, and neither finds "
            f"{hit['neither']}.</p>"
            f'<div class="card single"><h3>Score drift: {escape(label)} minus {escape(base)}</h3>'
            f"{chart}</div>"
        )
    return "".join(parts)


def _pictures(comparison: Comparison, folder: Path | None) -> str:
    parts = [
        '<p><span class="swatch truth"></span>ground truth &nbsp; '
        '<span class="swatch both"></span>both models show it &nbsp; '
        '<span class="swatch only"></span>only this model shows it</p>'
        "<p class=soft>Boxes with a confidence of at least "
        f"{SHOWN}. Images are ordered by how much changed: the scores of boxes that only one "
        "model shows, plus the score drift of every pair. Where a panel has many boxes, only the "
        "differing ones are labelled.</p>"
    ]
    number = 0
    for pair, label in _pairs(comparison):
        if len(comparison.pairs) > 1:
            parts.append(f"<h3>{escape(label)}</h3>")
        if not pair.changed:
            parts.append("<p>No image changed: both runs show the same boxes.</p>")
        for changed in pair.changed:
            number += 1
            parts.append(_picture(comparison, pair, label, changed, number, folder))
    return "".join(parts)


def _picture(
    comparison: Comparison,
    pair: Pair,
    label: str,
    changed: ImageAgreement,
    number: int,
    folder: Path | None,
) -> str:
    truth = pair.run.truth
    image = next(item for item in truth.images if item.id == changed.image_id)
    names = {category.id: category.name for category in truth.categories}
    picture = load(
        (folder or Path()) / image.file_name,
        number,
        image.width,
        image.height,
        pair.run.image_digests.get(image.id),
        embed=folder is not None,
    )
    objects = [
        Drawn(box.bbox, names[box.category_id], "crowd" if box.crowd else "truth")
        for box in truth.boxes
        if box.image_id == image.id
    ]
    only_a, only_b = changed.only_a(), changed.only_b()
    panels = [
        panel(picture, "ground truth", objects, first=True),
        _model_panel(picture, comparison.labels[0], comparison.runs[0], changed.a, only_a, names),
        _model_panel(picture, label, pair.run, changed.b, only_b, names),
    ]
    about = (
        f"change {changed.change:.2f}: {len(changed.pairs)} boxes in both, {len(only_a)} only in "
        f"{comparison.labels[0]}, {len(only_b)} only in {label}"
    )
    return (
        f'<div class="picture"><p><span class="key">{escape(image.file_name)}</span> '
        f'<span class="soft">{escape(about)}</span></p><div class="panels">{"".join(panels)}</div>'
        "</div>"
    )


def _model_panel(
    picture: Picture,
    label: str,
    run: Run,
    rows: Sequence[int],
    only: Sequence[int],
    names: dict[int, str],
) -> str:
    alone = set(only)
    boxes = [
        Drawn(
            run.predictions.box[row].tolist(),
            f"{names[int(run.predictions.category[row])]} {run.predictions.score[row]:.2f}",
            "only" if row in alone else "both",
        )
        for row in rows
    ]
    return panel(picture, label, boxes, first=False)


def _confusion(comparison: Comparison) -> str:
    names = [category.name for category in comparison.runs[0].truth.categories]
    cards = []
    for number, run in enumerate(comparison.runs):
        table = np.array((run.metrics or {})["confusion"])
        about = f"Rows are true classes, columns predicted ones; {_largest(table, names)}"
        chart = heat_map("Confusion matrix", about, table, [*names, "background"], _tone(number))
        cards.append(
            f'<div class="card"><h3>{_name(comparison, number)}</h3>{chart}'
            f'<p class="soft">{escape(_largest(table, names))}.</p></div>'
        )
    return (
        f"<p>Boxes with a confidence of at least {CONFIDENCE}, paired with objects by an IoU of at "
        f"least {IOU} whatever their class. Rows are true classes, columns predicted ones; the "
        "last row and column are the background: boxes on nothing, and objects not found. A row is "
        f'shaded by its shares.</p><div class="charts">{"".join(cards)}</div>'
    )


def _largest(table: np.ndarray, names: Sequence[str]) -> str:
    """The most frequent mistakes between classes, in words."""
    wrong = table[:-1, :-1].copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:5]
    found = [divmod(int(place), len(names)) for place in order]
    listed = [f"{names[r]} as {names[c]} ({wrong[r, c]})" for r, c in found if wrong[r, c]]
    return (
        "most often mistaken: " + ", ".join(listed) if listed else "no class is taken for another"
    )


def _provenance(comparison: Comparison) -> str:
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
        f"<th scope=col>{_name(comparison, number)}</th>" for number in range(len(comparison.runs))
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
        f"{_scrolled(head, rows, 'The runs')}<p>Ground truth <code>{escape(truth.source)}</code>, "
        f"SHA-256 <code>{truth.digest()}</code>. The SHA-256 of every picture is in the run files."
        f"</p><p>This page: <code>{escape(str(own['command']))}</code> with "
        f"{escape(_versions(own['versions']))}.</p>"
    )


def _pairs(comparison: Comparison) -> Iterable[tuple[Pair, str]]:
    return zip(comparison.pairs, comparison.labels[1:])


def _tone(number: int) -> str:
    return TONES[number % len(TONES)]


def _name(comparison: Comparison, number: int) -> str:
    return f'<span class="{_tone(number)}">{escape(comparison.labels[number])}</span>'


def _difference(value: Interval) -> str:
    return (
        f'<td class="{wording.tone(value)}">{wording.points(value)}</td>'
        f"<td>{wording.span(value)}</td>"
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


def _scrolled(head: str, rows: Sequence[str], caption: str) -> str:
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _confidences(comparison: Comparison) -> str:
    found = [(run.metrics or {}).get("confidence") for run in comparison.runs]
    return ", ".join("n/a" if value is None else f"{value:.3f}" for value in found)


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
