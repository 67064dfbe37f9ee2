"""The pictures that changed most, side by side with the ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from yolo_eval.figures.agreement import SHOWN, ImageAgreement
from yolo_eval.figures.compare import Comparison, Pair
from yolo_eval.pages.markup import pairs
from yolo_eval.pages.pictures import Drawn, Picture, load, panel
from yolo_eval.runs.run import Run

#: What the frames of the boxes mean.
_LEGEND = "".join(
    f'<li><span class="swatch {tone}"></span>{meaning}</li>'
    for tone, meaning in (
        ("truth", "ground truth"),
        ("crowd", "crowd, counts neither way"),
        ("both", "both models show it"),
        ("only", "only this model shows it"),
    )
)


def pictures(comparison: Comparison, folder: Path | None) -> str:
    parts = [
        f'<ul class="legend">{_LEGEND}</ul>'
        "<p class=soft>Boxes with a confidence of at least "
        f"{SHOWN}. Images are ordered by how much changed: the scores of boxes that only one "
        "model shows, plus the score drift of every pair. Where a panel has many boxes, only the "
        "differing ones are labelled, and no label covers another: the rest is told when the "
        "pointer rests on a box.</p>"
    ]
    number = 0
    for pair, label in pairs(comparison):
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
