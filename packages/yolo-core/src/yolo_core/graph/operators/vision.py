"""The operators of detection: get_valid_counts and non_max_suppression.

Source: spec 3.2, 3.3, the formal definition. A box row is [id, score, x1, y1, x2, y2].
"""

from __future__ import annotations

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph.integers import Shape, elements, precision_of
from yolo_core.graph.operators.attributes import Attributes, Boolean, Integer
from yolo_core.graph.operators.operator import Arrays, Operator, Precisions, Shapes, require


class GetValidCounts(Operator):
    """Rows of x[B,N,K] with row[1] > score_threshold packed to the front; the rest is -1. Spec 3.3.

    Outputs: how many rows were kept [B], of precision NP(N*K), and the packed rows [B,N,K] in
    their order, of the precision of x. The fill -1 needs 2 bits even where x declares 1; the
    original counts so. Rows with a negative id are kept like others (its CUDA back end drops
    them). Gas counts only the B counts (spec 5.1).
    """

    name = "get_valid_counts"
    outputs = 2
    attributes = (Integer("score_threshold", 0),)

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        require(len(x[0]) == 3, "data", f"shape {x[0]}", "3 dimensions")
        require(2 <= x[0][2] < 32, "data", f"rows of {x[0][2]}", "2..31 columns")
        return (x[0][:1], x[0])

    def precision(self, p: Precisions, x: Shapes, y: Shapes, a: Attributes) -> tuple[int, ...]:
        return (precision_of(elements(x[0][1:])), p[0])

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        counts = np.zeros(len(x[0]), np.int32)
        packed = np.full(x[0].shape, -1, np.int32)
        for batch, rows in enumerate(x[0]):
            kept = rows[rows[:, 1] > a.score_threshold]
            counts[batch] = len(kept)
            packed[batch, : len(kept)] = kept
        return (counts, packed)


class NonMaxSuppression(Operator):
    """Greedy suppression of overlapping boxes, best score first. Spec 3.3.

    Of each batch the first clamp(valid_count, 0, N) rows take part, ordered by score, equal
    scores as they came; top_k bounds how many are looked at, max_output_size how many are kept
    (both unlimited where negative). A row with a negative id is skipped; a row is dropped where
    a kept row of the same id (any id with force_suppress) overlaps it by iou_threshold percent
    or more. The other rows of the result are -1. An empty batch leaves the later ones as they
    should be, and no input row is changed (the original's CPU back end differs in both).

    The precision is that of the data, and any is accepted: the original has a rule of at most 30
    bits and never applies it, so that coordinate differences can overflow there (spec 8.1 defect
    11). Here they are int64. Gas counts 20 * B per element, though the work grows with N^2.
    """

    name = "non_max_suppression"
    attributes = (
        Integer("max_output_size", -1),
        Integer("iou_threshold", 50),
        Boolean("force_suppress", False),
        Integer("top_k", -1),
        Integer("coord_start", 2),
        Integer("score_index", 1),
        Integer("id_index", 0),
        Boolean("return_indices", False),
        Boolean("invalid_to_bottom", True),
    )

    def arity(self, a: Attributes) -> int:
        return 2

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        require(len(x[0]) == 3 and x[0][2] == 6, "data", f"shape {x[0]}", "[B, N, 6]")
        require(x[1] == x[0][:1], "valid_count", f"shape {x[1]}", f"{x[0][:1]}")
        require(a.iou_threshold > 0, "attribute iou_threshold", f"{a.iou_threshold}", "at least 1")
        for name, fixed in (
            ("coord_start", 2),
            ("score_index", 1),
            ("id_index", 0),
            ("return_indices", False),
            ("invalid_to_bottom", True),
        ):
            require(a[name] == fixed, f"attribute {name}", f"{a[name]}", f"{fixed}")
        return (x[0],)

    def gas(self, x: Shapes, y: Shapes, a: Attributes) -> int:
        return 20 * x[0][0]

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        y = np.full(x[0].shape, -1, np.int32)
        for batch, (rows, valid) in enumerate(zip(x[0], x[1])):
            total = min(max(int(valid), 0), len(rows))
            order = np.argsort(-rows[:total, 1].astype(np.int64), kind="stable")
            look = min(total, a.top_k) if a.top_k >= 0 else total
            keep = min(total, a.max_output_size) if a.max_output_size >= 0 else total
            kept = 0
            for index in order[:look]:
                if kept == keep:
                    break
                row = rows[index]
                if row[0] < 0:
                    continue
                rivals = y[batch, :kept]
                if not a.force_suppress:
                    rivals = rivals[rivals[:, 0] == row[0]]
                if not np.any(overlap(row[2:], rivals[:, 2:]) >= a.iou_threshold):
                    y[batch, kept] = row
                    kept += 1
        return (y,)


def overlap(box: Array, others: Array) -> Array:
    """Intersection over union in percent, truncated, of one box [4] with others [n,4]: int64 [n].

    a, b: signed areas, so that an inverted box counts as negative; o: width * height of what both
    cover, 0 where they do not meet; u = a + b - o. 0 where a + b <= 0 or u <= 0, else
    100 * o / u truncated; where 100 * o exceeds int64, o / (u / 100), and 0 where that divides by
    zero. All arithmetic is int64 and wraps.
    """
    one, many = box.reshape(4, 1).astype(np.int64), others.T.astype(np.int64)
    area = (one[2] - one[0]) * (one[3] - one[1])
    areas = (many[2] - many[0]) * (many[3] - many[1])
    zero = np.int64(0)
    width = np.maximum(zero, np.minimum(one[2], many[2]) - np.maximum(one[0], many[0]))
    height = np.maximum(zero, np.minimum(one[3], many[3]) - np.maximum(one[1], many[1]))
    shared = width * height
    total = area + areas
    union = total - shared
    # Where 100 * shared would not fit, the union is divided instead.
    large = shared > (2**63 - 1) // 100
    top = np.where(large, shared, shared * np.int64(100))
    bottom = np.where(large, union // np.int64(100), union)
    valid = (total > 0) & (bottom > 0)
    return np.where(valid, top // np.where(valid, bottom, np.int64(1)), zero)


OPERATORS = (GetValidCounts(), NonMaxSuppression())
