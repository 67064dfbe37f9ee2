"""The 80 COCO classes, and how class indices meet category ids of an annotation file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from yolo_core.errors import InputError

COCO_NAMES: tuple[str, ...] = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant",
    "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip


def category_ids(
    names: Sequence[str], categories: Sequence[Mapping[str, Any]], source: str
) -> tuple[int | None, ...]:
    """For each class index its category id in a COCO annotation file, None where it has none.

    names: the model's classes. categories: the file's `categories` list. Classes are matched by
    name; a file may lack classes that never occur in it. Where no name matches but the counts
    agree, by order of the ids (a model whose names were never set); so too where two classes have
    one name. source: the annotation file, for the error.
    """
    by_name = {category["name"]: int(category["id"]) for category in categories}
    ordered = sorted(int(category["id"]) for category in categories)
    found = [by_name.get(name) for name in names]
    if len(set(names)) < len(names):
        if len(names) == len(categories):
            return tuple(ordered)
        twice = next(name for name in names if list(names).count(name) > 1)
        raise InputError("the model", f"calls two classes {twice!r:.60}", "a name for each class")
    if any(number is not None for number in found):
        return tuple(found)
    if len(names) == len(categories):
        return tuple(ordered)
    raise InputError(
        source,
        f"has no category named {names[0]!r:.60} or any other of the model's {len(names)} classes",
        "categories with their names, or a file that says which class is which category",
    )
