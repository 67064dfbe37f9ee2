"""Anchors: the widths and heights that the boxes of each detection level start from.

All sides are pixels of the network's input.
"""

from __future__ import annotations

from typing import Any

from yolo_core.yolo.plan import LayoutError

Pair = tuple[float, float]
#: Width and height of each anchor, per level from the finest.
Anchors = tuple[tuple[Pair, ...], ...]

MAX_LEVELS, MAX_ANCHORS = 8, 32

#: What YOLOv5 uses on COCO, for the levels of strides 8, 16 and 32.
COCO_ANCHORS: Anchors = (
    ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
    ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
    ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
)


def anchors_of(levels: Any) -> Anchors:
    """Anchors from a yaml's rows, flat or in pairs. LayoutError for another shape."""
    found = []
    for level in levels if isinstance(levels, (list, tuple)) else ():
        flat = [
            side
            for entry in (level if isinstance(level, (list, tuple)) else ())
            for side in (entry if isinstance(entry, (list, tuple)) else (entry,))
        ]
        sound = 2 <= len(flat) <= 2 * MAX_ANCHORS and len(flat) % 2 == 0
        if not sound or any(isinstance(s, bool) or not isinstance(s, (int, float)) for s in flat):
            raise LayoutError("has a row of anchors that are no widths and heights", "pairs")
        found.append(tuple((float(w), float(h)) for w, h in zip(flat[::2], flat[1::2])))
    if not 1 <= len(found) <= MAX_LEVELS:
        raise LayoutError(f"has {len(found)} rows of anchors", f"1 to {MAX_LEVELS}")
    return tuple(found)


def starting_anchors(stride: int, count: int) -> tuple[Pair, ...]:
    """Squares from 2 to 8 cells wide, for a yaml that only says how many anchors it wants."""
    sides = [round(stride * 2 ** (1 + 2 * (index + 0.5) / count), 1) for index in range(count)]
    return tuple((side, side) for side in sides)
