"""From the network's numbers to boxes: decoding, IoU, non-maximum suppression.

All of it is float64 with nothing but IEEE +, -, *, / and comparisons, each rounded by itself, so
the detections of one integer output are the same bits on every machine.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.yolo.anchors import Anchors
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.elementary import sigmoid

#: Candidates that enter suppression; the best ones, as in YOLOv5.
MAX_CANDIDATES = 30000
#: Of logits, when `plausible` excludes: wide beside the rounding of a sigmoid at the confidences
#: that it looks at, which are this far from 0 and 1 at least.
_MARGIN, _ENDS = 1e-3, 1e-9


@dataclass(frozen=True)
class NmsSettings:
    """What becomes a detection.

    conf: smallest score (objectness times class probability), exclusive. iou: overlap above
    which the weaker box of a class goes. max_det: detections per image. multi_label: a box may
    count for several classes. agnostic: boxes of different classes suppress each other too.
    The defaults are those of COCO evaluation.
    """

    conf: float = 0.001
    iou: float = 0.6
    max_det: int = 300
    multi_label: bool = True
    agnostic: bool = False

    def __post_init__(self) -> None:
        for name in ("conf", "iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(name, f"is {getattr(self, name)}", "a number from 0 to 1")
        if not 1 <= self.max_det <= MAX_CANDIDATES:
            raise InputError("max-det", f"is {self.max_det}", f"1 to {MAX_CANDIDATES}")

    @classmethod
    def for_display(cls, conf: float = 0.25, iou: float = 0.45, max_det: int = 300) -> NmsSettings:
        """What a person wants to see drawn: confident boxes, one class each."""
        return cls(conf, iou, max_det, multi_label=False)


@functools.lru_cache(maxsize=8)
def _cells(anchors: Anchors, strides: tuple[int, ...], height: int, width: int) -> Array:
    """float64 [N, 5]: cell x, cell y, stride, anchor width, anchor height of every row."""
    parts = []
    for level, stride in zip(anchors, strides):
        rows, columns = height // stride, width // stride
        y, x = np.mgrid[0:rows, 0:columns]
        for anchor in level:
            part = np.empty((rows * columns, 5))
            part[:, 0], part[:, 1], part[:, 2] = x.ravel(), y.ravel(), stride
            part[:, 3:] = anchor
            parts.append(part)
    cells = np.concatenate(parts)
    cells.setflags(write=False)
    return cells


def rows_of(heads: tuple[Array, ...], numbers: int) -> Array:
    """Raw heads [B, anchors * numbers, h, w] → [B, N, numbers]: rows by level, anchor, y, x.

    numbers: of one row, `Architecture.no`.
    """
    parts = []
    for head in heads:
        batch, channels, height, width = head.shape
        split = head.reshape(batch, channels // numbers, numbers, height * width)
        parts.append(split.transpose(0, 1, 3, 2).reshape(batch, -1, numbers))
    return np.concatenate(parts, axis=1)


def decode(logits: Array, rows: Array, architecture: Architecture, imgsz: tuple[int, int]) -> Array:
    """Boxes float64 [n, 4] (x1 y1 x2 y2, input pixels) of the numbers [n, >=4] of these rows.

    Centre: (2 sigmoid - 0.5 + cell) * stride. Size: (2 sigmoid)^2 * anchor.
    """
    cells = _cells(architecture.anchors, architecture.strides, *imgsz)[rows]
    unit = sigmoid(logits[:, :4]) * 2.0
    centre = (unit[:, :2] - 0.5 + cells[:, :2]) * cells[:, 2:3]
    half = unit[:, 2:] * unit[:, 2:] * cells[:, 3:] * 0.5
    return np.concatenate((centre - half, centre + half), axis=1)


def corners(boxes: Array) -> Array:
    """Boxes [..., 4] of x, y, width, height, as COCO's files have them, as x1 y1 x2 y2."""
    return np.concatenate((boxes[..., :2], boxes[..., :2] + boxes[..., 2:]), axis=-1)


def area(boxes: Array) -> Array:
    """Areas [...] of boxes [..., 4] of x1 y1 x2 y2."""
    result: Array = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    return result


def intersection(box: Array, others: Array) -> Array:
    """The area that boxes [..., 4] that broadcast have in common."""
    low = np.maximum(box[..., :2], others[..., :2])
    high = np.minimum(box[..., 2:], others[..., 2:])
    sides = np.maximum(high - low, 0.0)
    result: Array = sides[..., 0] * sides[..., 1]
    return result


def iou(box: Array, others: Array) -> Array:
    """Intersection over union of boxes [..., 4] that broadcast; 0 where both are empty."""
    overlap = intersection(box, others)
    union = area(box) + area(others) - overlap
    return np.where(union > 0, overlap / np.where(union > 0, union, 1.0), 0.0)


def pair(overlap: Array, threshold: float) -> list[tuple[int, int]]:
    """One-to-one pairs (row, column) with an IoU of at least `threshold`, best IoU first.

    overlap: IoU [rows, columns]. Ties go to the lower row, then the lower column, so the result
    depends on nothing else.
    """
    rows, columns = np.nonzero(overlap >= threshold)
    order = np.argsort(-overlap[rows, columns], kind="stable")
    used_rows: set[int] = set()
    used_columns: set[int] = set()
    pairs: list[tuple[int, int]] = []
    for row, column in zip(rows[order].tolist(), columns[order].tolist()):
        if row not in used_rows and column not in used_columns:
            used_rows.add(row)
            used_columns.add(column)
            pairs.append((row, column))
    return pairs


def nms(boxes: Array, scores: Array, classes: Array, iou_threshold: float, max_det: int) -> Array:
    """Indices of the boxes kept, best first. Greedy, per class; ties go to the lower index.

    boxes [n, 4], scores [n], classes [n] (equal everywhere for class-agnostic suppression).
    """
    order = np.argsort(-scores, kind="stable")
    boxes, classes = boxes[order], classes[order]
    members = {label: np.flatnonzero(classes == label) for label in np.unique(classes)}
    alive = np.ones(len(order), bool)
    kept: list[int] = []
    at = 0
    while len(kept) < max_det and at < len(order):
        at += int(np.argmax(alive[at:]))
        if not alive[at]:
            break
        kept.append(at)
        rivals = members[classes[at]]
        rivals = rivals[(rivals > at) & alive[rivals]]
        alive[rivals[iou(boxes[at], boxes[rivals]) > iou_threshold]] = False
        members[classes[at]] = rivals
        at += 1
    return order[np.array(kept, np.int64)]


def plausible(objectness: Array, conf: float) -> Array:
    """Indices of the logits [N] whose sigmoid may be above `conf`; that of the others is not."""
    if not _ENDS < conf < 1 - _ENDS:
        return np.arange(len(objectness))
    return np.flatnonzero(objectness > math.log(conf / (1 - conf)) - _MARGIN)


def detections(
    logits: Array,
    architecture: Architecture,
    imgsz: tuple[int, int],
    settings: NmsSettings,
    classes: Sequence[int] | None = None,
    places: Array | None = None,
) -> Array:
    """One image's numbers [N, 5 + nc] → detections float64 [n, 6], best first.

    Columns x1 y1 x2 y2 (pixels of the network's input), score (0 to 1), class index.
    classes: take boxes of these alone, before any box suppresses another. places: which rows of
    the network these are, in ascending order, where those are left out that `plausible` excludes.
    """
    return detections_of_rows(logits, architecture, imgsz, settings, classes, places)[0]


def detections_of_rows(
    logits: Array,
    architecture: Architecture,
    imgsz: tuple[int, int],
    settings: NmsSettings,
    classes: Sequence[int] | None = None,
    places: Array | None = None,
) -> tuple[Array, Array]:
    """`detections` and, int64 [n], the row of the numbers that each of them comes from."""
    count = architecture.rows(*imgsz) if places is None else len(places)
    if logits.shape != (count, architecture.no):
        raise InputError("model output", f"has shape {logits.shape}", f"{(count, architecture.no)}")
    rows = plausible(logits[:, 4], settings.conf)
    objectness = sigmoid(logits[rows, 4])
    confident = objectness > settings.conf
    rows, objectness = rows[confident], objectness[confident]
    scores = sigmoid(logits[rows, 5:]) * objectness[:, None]
    if settings.multi_label:
        which, labels = np.nonzero(scores > settings.conf)
    else:
        which = np.flatnonzero(scores.max(axis=1, initial=0.0) > settings.conf)
        labels = scores[which].argmax(axis=1) if len(which) else which
    if classes is not None:
        wanted = np.isin(labels, list(classes))
        which, labels = which[wanted], labels[wanted]
    best = scores[which, labels]
    if len(best) > MAX_CANDIDATES:
        top = np.sort(np.argsort(-best, kind="stable")[:MAX_CANDIDATES])
        which, labels, best = which[top], labels[top], best[top]
    chosen = rows[which]
    at = chosen if places is None else places[chosen]
    boxes = decode(logits[chosen], at, architecture, imgsz)
    groups = np.zeros_like(labels) if settings.agnostic else labels
    keep = nms(boxes, best, groups, settings.iou, settings.max_det)
    found = np.concatenate((boxes[keep], best[keep, None], labels[keep, None]), axis=1)
    return found, chosen[keep]
