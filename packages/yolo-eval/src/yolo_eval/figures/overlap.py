"""Boxes that meet: IoU of x, y, width, height boxes, and greedy one-to-one matching."""

from __future__ import annotations

import numpy as np

from yolo_core.arrays import Array


def overlaps(first: Array, second: Array) -> tuple[Array, Array]:
    """IoU, and intersection over the first box's own area; both float64 [len(first), len(second)].

    first, second: float64 [n, 4] x, y, width, height. Boxes without area overlap nothing.
    """
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(
        first[:, None, :2] + first[:, None, 2:], second[None, :, :2] + second[None, :, 2:]
    )
    common = np.prod(np.clip(high - low, 0, None), axis=2)
    area, other = np.prod(first[:, 2:], axis=1)[:, None], np.prod(second[:, 2:], axis=1)[None]
    union = area + other - common
    return (
        np.divide(common, union, out=np.zeros_like(common), where=union > 0),
        np.divide(common, np.broadcast_to(area, common.shape), out=np.zeros_like(common),
                  where=np.broadcast_to(area > 0, common.shape)),
    )  # fmt: skip


def pair(iou: Array, threshold: float) -> list[tuple[int, int]]:
    """One-to-one pairs with an IoU of at least `threshold`, best IoU first.

    Ties go to the lower row, then the lower column, so the result depends on nothing else.
    """
    rows, columns = np.nonzero(iou >= threshold)
    order = np.argsort(-iou[rows, columns], kind="stable")
    used_rows, used_columns, pairs = set(), set(), []
    for row, column in zip(rows[order].tolist(), columns[order].tolist()):
        if row not in used_rows and column not in used_columns:
            used_rows.add(row)
            used_columns.add(column)
            pairs.append((row, column))
    return pairs
