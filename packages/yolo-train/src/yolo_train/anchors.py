"""Autoanchor: do the anchors suit the boxes, and if not, which would.

How well anchors suit is measured as YOLOv5 does: a box is recalled when some anchor differs from
it by less than the factor `anchor_t` in width and in height.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from yolo_core.arrays import Array
from yolo_core.yolo.anchors import Anchors
from yolo_core.yolo.samples import Sample

#: Share of boxes that good anchors recall; below it new anchors are sought.
_GOOD_RECALL = 0.98
_KMEANS_ROUNDS, _KMEANS_STARTS = 50, 5
_GENERATIONS = 1000
_MUTATION_SHARE, _MUTATION_SIZE = 0.9, 0.1
_SMALLEST_BOX = 2.0


def best_possible_recall(sides: Array, anchors: Array, anchor_t: float) -> float:
    """Share of boxes [n, 2] that some anchor [k, 2] fits to within the factor `anchor_t`."""
    return float((_closeness(sides, anchors) > 1 / anchor_t).mean())


def suited_anchors(
    samples: Sequence[Sample], imgsz: int, anchors: Anchors, anchor_t: float, seed: int
) -> tuple[Anchors, float, float]:
    """Anchors for these samples at this size: the given ones, or better ones found by k-means and
    random improvement. Returns them with the recall of the given and of the returned ones.
    """
    sides = box_sides(samples, imgsz)
    given = np.array(anchors, np.float64).reshape(-1, 2)
    if not len(sides):
        return anchors, 1.0, 1.0
    before = best_possible_recall(sides, given, anchor_t)
    if before >= _GOOD_RECALL or len(sides) < len(given):
        return anchors, before, before
    rng = np.random.default_rng([seed, len(sides)])
    found = _evolve(sides, _kmeans(sides, len(given), rng), anchor_t, rng)
    after = best_possible_recall(sides, found, anchor_t)
    if after <= before:
        return anchors, before, before
    return _levels(found, len(anchors)), before, after


def box_sides(samples: Sequence[Sample], imgsz: int) -> Array:
    """Widths and heights [n, 2] of all boxes in pixels, images scaled to the longer side imgsz."""
    sides = [
        sample.labels[:, 3:5] * (np.array(sample.size[::-1]) * imgsz / max(sample.size))
        for sample in samples
    ]
    all_sides = np.concatenate(sides).astype(np.float64)
    result: Array = all_sides[(all_sides >= _SMALLEST_BOX).all(axis=1)]
    return result


def _closeness(sides: Array, anchors: Array) -> Array:
    """Per box the best over anchors of the worse of its two side ratios, 0 to 1."""
    ratio = sides[:, None] / anchors[None]
    result: Array = np.minimum(ratio, 1 / ratio).min(axis=2).max(axis=1)
    return result


def _kmeans(sides: Array, count: int, rng: np.random.Generator) -> Array:
    """Cluster centres [count, 2] of the logarithms of the sides: a ratio is a distance there."""
    points = np.log(sides)
    best, best_cost = points[:count], np.inf
    for _ in range(_KMEANS_STARTS):
        centers = points[rng.choice(len(points), count, replace=False)]
        for _ in range(_KMEANS_ROUNDS):
            distance = ((points[:, None] - centers[None]) ** 2).sum(axis=2)
            owner = distance.argmin(axis=1)
            moved = np.array(
                [
                    points[owner == k].mean(axis=0) if (owner == k).any() else centers[k]
                    for k in range(count)
                ]
            )
            if np.allclose(moved, centers):
                break
            centers = moved
        cost = float(distance.min(axis=1).sum())
        if cost < best_cost:
            best, best_cost = centers, cost
    result: Array = np.exp(best)
    return result


def _evolve(sides: Array, anchors: Array, anchor_t: float, rng: np.random.Generator) -> Array:
    """Random changes that raise the mean closeness of the boxes that are recalled."""

    def fitness(candidate: Array) -> float:
        closeness = _closeness(sides, candidate)
        return float((closeness * (closeness > 1 / anchor_t)).mean())

    best = fitness(anchors)
    for _ in range(_GENERATIONS):
        change = np.where(
            rng.random(anchors.shape) < _MUTATION_SHARE,
            rng.normal(1, _MUTATION_SIZE, anchors.shape),
            1,
        )
        candidate = np.maximum(anchors * np.clip(change, 0.3, 3.0), _SMALLEST_BOX)
        value = fitness(candidate)
        if value > best:
            anchors, best = candidate, value
    return anchors


def _levels(anchors: Array, levels: int) -> Anchors:
    """Anchors [n, 2] by area, the smallest for the finest level, rounded to hundredths."""
    ordered = anchors[np.argsort(anchors.prod(axis=1))]
    pairs = [(round(float(w), 2), round(float(h), 2)) for w, h in ordered]
    step = len(pairs) // levels
    return tuple(tuple(pairs[level * step : (level + 1) * step]) for level in range(levels))
