"""A page about a dataset: pictures with their boxes, boxes by class and by size, and the faults.

The page loads nothing and runs nothing; whatever comes from the dataset is escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.datasets.check import Checked, Part
from yolo_core.errors import InputError
from yolo_core.words import shown
from yolo_core.yolo.drawing import LabelledBox, draw, encode_picture
from yolo_core.yolo.letterbox import opencv, read_image
from yolo_core.yolo.samples import Sample

_PICTURES, _CLASSES, _LISTED = 24, 40, 200
_SIDE, _BAR, _BINS = 320, 190, 20
#: COCO's limits of small and medium objects, in pixels of area.
_SMALL, _MEDIUM = 32**2, 96**2


def page_of(checked: Checked) -> str:
    """The page as HTML. InputError where Jinja2 is not installed."""
    environment = _environment()
    style = environment.get_template("style.css").render()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    names = checked.data.names
    faults = checked.faults()
    text: str = environment.get_template("dataset.html").render(
        policy=policy,
        style=_markup(style),
        title=f"Dataset {checked.data.source.parent.resolve().name}",
        source=shown(checked.data.source),
        summary=f"{faults} faults" if faults else "Nothing is left out, and nothing is wrong.",
        absent=checked.absent,
        verdicts=checked.verdicts,
        listed=_LISTED,
        parts=[_part(part, names) for part in checked.parts],
    )
    return text


def _environment() -> Any:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        cause, remedy = f"cannot be imported ({error})", 'pip install "yolo-core[pages]"'
        raise InputError("jinja2", cause, f"{remedy}, to write pages") from error
    return Environment(
        loader=PackageLoader("yolo_core", "datasets/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _markup(style: str) -> Any:
    from markupsafe import Markup

    return Markup(style)


def _part(part: Part, names: Sequence[str]) -> dict[str, Any]:
    order = np.argsort(-part.counts, kind="stable")[:_CLASSES]
    most = max(1, int(part.counts.max(initial=0)))
    return {
        "split": part.split,
        "images": len(part.samples),
        "backgrounds": part.report.backgrounds,
        "boxes": int(part.counts.sum()),
        "classes": [
            {
                "name": shown(names[k], 24),
                "count": int(part.counts[k]),
                "length": round(_BAR * int(part.counts[k]) / most),
            }
            for k in order
        ],
        "more_classes": max(0, len(names) - _CLASSES),
        "sizes": _sizes(part),
        "size_words": _size_words(part),
        "pictures": [_picture(sample, names) for sample in _chosen(part.samples)],
    }


def _sizes(part: Part) -> list[dict[str, Any]]:
    """The cells of a square of widths and heights that hold boxes; darker for more of them."""
    sides = np.concatenate([sample.labels[:, 3:5] for sample in part.samples])
    bins = np.clip((sides * _BINS).astype(int), 0, _BINS - 1)
    grid = np.zeros((_BINS, _BINS), int)
    np.add.at(grid, (bins[:, 1], bins[:, 0]), 1)
    most = max(1, int(grid.max()))
    return [
        {
            "x": 30 + 15 * int(column),
            "y": 295 - 15 * int(row),
            "shade": round(0.15 + 0.85 * float(grid[row, column]) / most, 3),
            "text": f"{grid[row, column]} boxes, width {column / _BINS:.2f} and more, "
            f"height {row / _BINS:.2f} and more",
        }
        for row, column in zip(*np.nonzero(grid))
    ]


def _size_words(part: Part) -> str:
    areas = np.concatenate([_areas(sample) for sample in part.samples])
    small, medium = int((areas < _SMALL).sum()), int((areas < _MEDIUM).sum())
    return (
        f"{small} small (below 32×32 pixels), {medium - small} medium (below 96×96), "
        f"{len(areas) - medium} large, in the sizes that the pictures have."
    )


def _areas(sample: Sample) -> Array:
    sides = sample.labels[:, 3:5] * np.array(sample.size[::-1], np.float32)
    area: Array = sides.prod(axis=1)
    return area


def _chosen(samples: Sequence[Sample]) -> list[Sample]:
    """Some pictures from the whole length of a split."""
    step = max(1, len(samples) // _PICTURES)
    return list(samples[::step][:_PICTURES])


def _picture(sample: Sample, names: Sequence[str]) -> dict[str, Any]:
    image = read_image(sample.image)
    height, width = image.shape[:2]
    share = min(1.0, _SIDE / max(height, width))
    size = max(1, round(width * share)), max(1, round(height * share))
    small = opencv().resize(image, size, interpolation=opencv().INTER_AREA)
    drawn = draw(small, [_box(row, size, names) for row in sample.labels.tolist()])
    data = base64.b64encode(encode_picture(drawn)).decode()
    return {
        "data": f"data:image/jpeg;base64,{data}",
        "width": size[0],
        "height": size[1],
        "name": shown(sample.image.name),
        "boxes": len(sample.labels),
    }


def _box(row: Sequence[float], size: tuple[int, int], names: Sequence[str]) -> LabelledBox:
    label, x, y, w, h = row
    corners = ((x - w / 2) * size[0], (y - h / 2) * size[1],
               (x + w / 2) * size[0], (y + h / 2) * size[1])  # fmt: skip
    return LabelledBox(corners, names[int(label)], int(label))
