"""The pictures that changed most, side by side with the ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from yolo_eval.figures.agreement import SHOWN, ImageAgreement
from yolo_eval.figures.compare import Comparison, Pair
from yolo_eval.pages.markup import pairs
from yolo_eval.pages.pictures import Drawn, Picture, load, panel
from yolo_eval.pages.rendering import render
from yolo_eval.runs.run import Run


def pictures(comparison: Comparison, folder: Path | None, any_picture: bool) -> Markup:
    parts = []
    number = 0
    for pair, label in pairs(comparison):
        shown = []
        for changed in pair.changed:
            number += 1
            image = next(i for i in pair.run.truth.images if i.id == changed.image_id)
            digest = pair.run.image_digests.get(image.id)
            place = folder if any_picture or digest is not None else None
            shown.append(_picture(comparison, pair, label, changed, number, place))
        parts.append((label, shown))
    return render("pictures.html", shown=SHOWN, parts=parts)


def _picture(
    comparison: Comparison,
    pair: Pair,
    label: str,
    changed: ImageAgreement,
    number: int,
    folder: Path | None,
) -> dict[str, Any]:
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
    return {"name": image.file_name, "about": about, "panels": panels}


def _model_panel(
    picture: Picture,
    label: str,
    run: Run,
    rows: Sequence[int],
    only: Sequence[int],
    names: dict[int, str],
) -> Markup:
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
