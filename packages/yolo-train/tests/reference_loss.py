"""The YOLOv5 loss in float64 NumPy, one box at a time: slow, plain, and independent of MXNet."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.yolo.architecture import Architecture
from yolo_train.hyp import Hyp

BALANCE = (4.0, 1.0, 0.4)
EPSILON = 1e-7


def sigmoid(x: Array) -> Array:
    result: Array = 1 / (1 + np.exp(-x))
    return result


def cross_entropy(logit: Array, truth: Array, weight: float, gamma: float) -> Array:
    """Focal loss of Lin et al. 2017 where gamma is above 0, with soft truths and alpha 0.25."""
    p = sigmoid(logit)
    result: Array = -(weight * truth * np.log(p) + (1 - truth) * np.log(1 - p))
    if gamma:
        likely = truth * p + (1 - truth) * (1 - p)
        result = result * (0.25 * truth + 0.75 * (1 - truth)) * (1 - likely) ** gamma
    return result


def matches(
    target: Array, anchors: Array, width: int, height: int, anchor_t: float
) -> list[tuple[int, int, int, int]]:
    """(offset, anchor, row, column) of every cell of one level that answers for a target.

    Offsets by number: own cell, left, upper, right, lower. A centre on a line of the grid is as
    near to its own cell from the other side, which is then matched again.
    """
    _, label, x, y, w, h = target
    if label < 0:
        return []
    x, y, w, h = x * width, y * height, w * width, h * height
    cells = [(0, int(x), int(y))]
    if x % 1 < 0.5 and x > 1:
        cells.append((1, int(x) - 1, int(y)))
    if y % 1 < 0.5 and y > 1:
        cells.append((2, int(x), int(y) - 1))
    if (width - x) % 1 < 0.5 and width - x > 1:
        cells.append((3, int(x + 0.5), int(y)))
    if (height - y) % 1 < 0.5 and height - y > 1:
        cells.append((4, int(x), int(y + 0.5)))
    found = []
    for number, (aw, ah) in enumerate(anchors):
        if max(w / aw, aw / w, h / ah, ah / h) < anchor_t:
            for offset, column, row in cells:
                inside = min(row, height - 1), min(column, width - 1)
                found.append((offset, number, *inside))
    return found


def ciou(box: Array, truth: Array, alpha: float | None) -> tuple[float, float, float]:
    """Complete IoU of centre-size boxes, the plain weight alpha, and alpha's own value."""
    (x, y, w, h), (tx, ty, tw, th) = box, truth
    overlap = max(min(x + w / 2, tx + tw / 2) - max(x - w / 2, tx - tw / 2), 0) * max(
        min(y + h / 2, ty + th / 2) - max(y - h / 2, ty - th / 2), 0
    )
    iou = overlap / (w * h + tw * th - overlap + EPSILON)
    hull_w = max(x + w / 2, tx + tw / 2) - min(x - w / 2, tx - tw / 2)
    hull_h = max(y + h / 2, ty + th / 2) - min(y - h / 2, ty - th / 2)
    distance = ((x - tx) ** 2 + (y - ty) ** 2) / (hull_w**2 + hull_h**2 + EPSILON)
    v = 4 / math.pi**2 * (math.atan(tw / (th + EPSILON)) - math.atan(w / (h + EPSILON))) ** 2
    own = v / (v - iou + 1 + EPSILON)
    used = own if alpha is None else alpha
    return iou - (distance + used * v), own, iou


def loss(
    heads: list[Array],
    targets: Array,
    architecture: Architecture,
    hyp: Hyp,
    gains: tuple[float, float, float],
    detached: dict[Any, Any] | None = None,
) -> tuple[float, Array, dict[str, Any]]:
    """Loss, its three weighted parts, and what takes no part in the gradient.

    detached: the third result of an earlier call, held fixed for finite differences.
    """
    nc, no, batch = architecture.nc, architecture.no, heads[0].shape[0]
    record: dict[Any, Any] = {}
    parts = np.zeros(3)
    for level, (head, stride) in enumerate(zip(heads, architecture.strides)):
        height, width = head.shape[2:]
        rows = head.reshape(batch, 3, no, height, width).astype(np.float64)
        anchors = np.array(architecture.anchors[level]) / stride
        objectness = np.zeros((batch, 3, height, width))
        boxes, classes, writings = [], [], []
        for number, target in enumerate(targets):
            image, label = int(target[0]), int(target[1])
            scaled = target[2:] * [width, height, width, height]
            for offset, a, row, column in matches(target, anchors, width, height, hyp.anchor_t):
                cell = rows[image, a, :, row, column]
                xy = sigmoid(cell[:2]) * 2 - 0.5
                wh = (sigmoid(cell[2:4]) * 2) ** 2 * anchors[a]
                truth = np.append(scaled[:2] - [column, row], scaled[2:])
                key = (level, number, a, row, column)
                alpha = None if detached is None else detached[key]
                value, record[key], _ = ciou(np.append(xy, wh), truth, alpha)
                boxes.append(1 - value)
                writings.append((offset, number, (image, a, row, column), max(value, 0)))
                one_hot = np.full(nc, 0.5 * hyp.label_smoothing)
                one_hot[label] = 1 - 0.5 * hyp.label_smoothing
                classes.append(cross_entropy(cell[5:], one_hot, hyp.cls_pw, hyp.fl_gamma).mean())
        for *_, place, value in sorted(writings):
            objectness[place] = value
        record[level] = objectness
        if detached is not None:
            objectness = detached[level]
        if boxes:
            parts[0] += np.mean(boxes)
            parts[2] += np.mean(classes) if nc > 1 else 0
        wrong = cross_entropy(rows[:, :, 4], objectness, hyp.obj_pw, hyp.fl_gamma)
        parts[1] += BALANCE[level] * wrong.mean()
    parts *= gains
    return float(parts.sum() * batch), parts, record
