"""Result lists with ids of other tools: the annotation file's own texts, or those of YOLOv5's
`--save-json`, file stems as image ids and classes counted from 0.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from yolo_core.datasets.coco_json import id_text
from yolo_eval.runs.ground_truth import GroundTruth


def as_numbered(items: list[Any], truth: GroundTruth) -> tuple[list[Any], str]:
    """The detections with the ids of `truth`, and in words what was taken for what ("" nothing).

    YOLOv5 writes for own data sets the stem of a file name as `image_id`, as a number where it is
    all digits, and as `category_id` the number of the class. It is read so only where the ids of
    the ground truth do not fit; entries that fit neither way stay for the check to refuse.
    """
    ids = {image.id for image in truth.images}
    categories = [category.id for category in truth.categories]
    rows = [item for item in items if isinstance(item, dict)]
    if len(rows) < len(items):
        return items, ""
    for key, own in (("image_id", truth.image_ids), ("category_id", truth.category_ids)):
        if own and all(id_text(row.get(key)) in own for row in rows):
            rows = [{**row, key: own[id_text(row[key])]} for row in rows]
    items = rows
    if _fits(rows, "image_id", ids) and _fits(rows, "category_id", set(categories)):
        return items, ""
    told = []
    by_stem: dict[Any, int] = {}
    for image in truth.images:
        stem = PurePosixPath(image.file_name).stem
        by_stem[int(stem) if stem.isdecimal() and len(stem) < 16 else stem] = image.id
    stems = not all(_key(row, "image_id") in ids for row in rows) and all(
        _key(row, "image_id") in by_stem for row in rows
    )
    if stems:
        told.append("image ids are taken for the stems of file names")
        rows = [{**row, "image_id": by_stem[row["image_id"]]} for row in rows]
    used = {_key(row, "category_id") for row in rows}
    numbers = set(range(len(categories)))
    # A list with stems comes from that tool, whose classes count from 0 even if no 0 occurs.
    if used <= numbers and (stems or not used <= set(categories)) and categories != list(numbers):
        told.append("category ids are taken for class numbers from 0")
        rows = [{**row, "category_id": categories[row["category_id"]]} for row in rows]
    return (rows if told else items), "; ".join(told)


def _fits(rows: list[dict[str, Any]], name: str, known: set[int]) -> bool:
    """Whether every entry has one of these whole numbers."""
    values = [row.get(name) for row in rows]
    return set(map(type, values)) == {int} and known.issuperset(values)


def _key(row: dict[str, Any], name: str) -> Any:
    value = row.get(name)
    return value if isinstance(value, (int, str)) and not isinstance(value, bool) else None
