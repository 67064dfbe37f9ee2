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
) -> tuple[int, ...]:
    """For each class index its category id in a COCO annotation file.

    names: the model's classes. categories: the file's `categories` list. Classes are matched by
    name; where no name matches but the counts agree, by order of the ids (a model whose names
    were never set). source: the annotation file, for the error.
    """
    by_name = {category["name"]: int(category["id"]) for category in categories}
    missing = [name for name in names if name not in by_name]
    if not missing:
        return tuple(by_name[name] for name in names)
    if len(missing) == len(names) == len(categories):
        return tuple(sorted(by_name.values()))
    raise InputError(
        source,
        f"has no category named {missing[0]!r}",
        f"the model's {len(names)} classes among its {len(categories)} categories",
    )
