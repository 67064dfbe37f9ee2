"""The page of one run: system and settings, figures, classes, curves, mistakes, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markupsafe import Markup

from yolo_eval.figures.curves import ClassCurves, class_curves
from yolo_eval.figures.metrics import percent
from yolo_eval.figures.pictures import SHOWN, PictureScore, best_and_worst
from yolo_eval.figures.scoring import score
from yolo_eval.pages import mistakes, report_facts, wording
from yolo_eval.pages.class_curves import charts
from yolo_eval.pages.markup import RunLabel
from yolo_eval.pages.pictures import Drawn, load, panel
from yolo_eval.pages.rendering import render, render_page
from yolo_eval.runs.run import Run

#: Pictures shown of the best, and as many of the worst.
PICTURES = 6


def page(run: Run, folder: Path | None) -> str:
    """The page as HTML. run: with metrics. folder: where the images lie, None for empty frames."""
    label = RunLabel(f"{run.model['name']} {run.model['kind']}", "a")
    scoring = score(run.truth, run.predictions)
    best, worst = best_and_worst(run.truth, scoring.matches[0], PICTURES)
    sections = [
        ("system", "System and settings", _system(run, label)),
        ("figures", "Figures", _figures(run)),
        ("classes", "Classes", render("run_classes.html", rows=wording.class_rows(run))),
        ("curves", "Curves", _curves(run, class_curves(scoring))),
        ("errors", "Mistakes by kind", mistakes.section([run], [label])),
        ("confusion", "Confusion", report_facts.confusion([run], [label])),
        ("worst", "Worst pictures", _pictures(run, worst, folder, 1)),
        ("best", "Best pictures", _pictures(run, best, folder, 1 + len(worst))),
    ]
    return render_page(
        "report.html", title=f"{label.text}: how good it is", labels=[run.truth.source],
        warning="", accuracies=[(label, wording.accuracy(run))], verdicts=[], sections=sections,
    )  # fmt: skip


def _system(run: Run, label: RunLabel) -> Markup:
    facts = report_facts.facts([run])
    if run.truth.left_out:
        told = ", ".join(f"{count} {kind}" for kind, count in run.truth.left_out.items())
        facts.append(("data", [told]))
    command, versions = str(run.provenance.get("command", "")), run.provenance.get("versions")
    return render(
        "provenance.html", labels=[label], facts=facts, truth=run.truth, command=command,
        versions=report_facts.versions_text(versions),
    )  # fmt: skip


def _figures(run: Run) -> Markup:
    metrics = run.metrics or {}
    groups = [
        ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"),
        ("AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large"),
        ("precision", "recall", "f1"),
    ]
    tiles = [
        [(percent(metrics.get(key)), wording.SHOWN_NAMES[key]) for key in keys] for keys in groups
    ]
    confidence = metrics.get("confidence")
    return render(
        "run_figures.html", tiles=tiles, metrics=metrics, ap=wording.with_interval(metrics),
        confidence="n/a" if confidence is None else f"{confidence:.3f}",
    )  # fmt: skip


def _curves(run: Run, curves: ClassCurves) -> Markup:
    drawn = charts(run, curves, "a", ("recall", "f1", "precision", "recall_at"))
    return render("curves.html", charts=[], by_class=drawn)


def _pictures(run: Run, scores: list[PictureScore], folder: Path | None, first: int) -> Markup:
    shown = [_picture(run, one, folder, number) for number, one in enumerate(scores, first)]
    return render("run_pictures.html", pictures=shown, shown=SHOWN)


def _picture(run: Run, one: PictureScore, folder: Path | None, number: int) -> dict[str, Any]:
    truth, predictions = run.truth, run.predictions
    image = next(item for item in truth.images if item.id == one.image_id)
    names = {category.id: category.name for category in truth.categories}
    digest = run.image_digests.get(image.id)
    picture = load(
        (folder or Path()) / image.file_name, number, image.width, image.height,
        digest, embed=folder is not None and digest is not None,
    )  # fmt: skip
    missed = set(one.missed)
    objects = [
        Drawn(
            box.bbox,
            names[box.category_id],
            "crowd" if box.crowd else ("only" if place in missed else "truth"),
        )
        for place, box in enumerate(truth.boxes)
        if box.image_id == image.id
    ]
    found = [
        Drawn(
            predictions.box[row].tolist(),
            f"{names[int(predictions.category[row])]} {predictions.score[row]:.2f}",
            tone,
        )
        for rows, tone in ((one.right, "both"), (one.wrong, "only"))
        for row in rows
    ]
    about = (
        f"F1 {100 * one.f1:.0f}: {len(one.right)} right, {len(one.wrong)} wrong, "
        f"{len(one.missed)} missed"
    )
    panels = [
        panel(picture, "ground truth", objects, first=True),
        panel(picture, run.model["name"], found, first=False),
    ]
    return {"name": image.file_name, "about": about, "panels": panels}
