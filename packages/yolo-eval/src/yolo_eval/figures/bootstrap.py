"""How sure a difference is: paired bootstrap over images.

Both models are scored again and again on images drawn with replacement, the same draw for both;
the spread of the difference is its uncertainty. One draw is a weight per image, and average
precision is worked out from the weights and pycocotools' matches without matching anything again.
With every weight 1 the figures are pycocotools' own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from yolo_core.arrays import Array
from yolo_core.yolo.scores import (
    AREAS,
    COCO_METRICS,
    IOU_50,
    IOU_75,
    Matches,
    Scoring,
)

_NORMAL = NormalDist()
IOU_COUNT = 10
RECALL_THRESHOLDS = np.linspace(0.0, 1.0, 101)
#: Confidences of the operating points, and the one at which boxes are shown to people.
CONFIDENCES = np.linspace(0.0, 1.0, 201)
DISPLAY = 50
#: Figures at one confidence for both runs: the best of the first, then `DISPLAY`.
POINT_FIGURES = ("precision", "recall", "f1", "precision_25", "recall_25", "f1_25")
#: Figures that get an interval, in the order in which they are reported.
FIGURES = (*COCO_METRICS, *POINT_FIGURES)


@dataclass(frozen=True)
class Interval:
    """A difference B − A and its 95 % interval; NaN where nothing can be measured."""

    delta: float
    low: float
    high: float


class WeightedPrecision:
    """Average precision and recall of one run in one area range, for any image weights."""

    def __init__(self, matches: Matches) -> None:
        self._objects = matches.objects
        categories = len(matches.objects)
        # Detections behind a category's last right one change neither precision at a right
        # detection nor recall, and they are most of all detections.
        keep = _up_to_last_right(matches)
        self._image = matches.image[keep]
        right, ignored = matches.right[:, keep], matches.ignored[:, keep]
        category = matches.category[keep]
        self._segments = categories * IOU_COUNT
        self._segment, event = _events(right, category)
        other_segment, other = _events(ignored, category)
        count = len(self._image) + 1
        position = np.searchsorted(other_segment * count + other, self._segment * count + event)
        self._event, self._ignored_before = event, position
        self._ignored_image = self._image[other]
        self._event_image = self._image[event]
        self._rank = matches.rank[keep][event]
        starts = np.arange(self._segments)
        self._event_start = np.searchsorted(self._segment, starts)[self._segment]
        self._ignored_start = np.searchsorted(other_segment, starts)[self._segment]
        self._category = self._segment // IOU_COUNT
        self._category_start = np.searchsorted(category, np.arange(categories))[self._category]
        self._first = np.r_[True, self._segment[1:] != self._segment[:-1]][: len(event)]
        # Raises each segment above the next, so that one running maximum serves all of them.
        self._level = 2.0 * (self._segments - self._segment)

    def figures(self, weights: Array) -> Array:
        """Average precision float64 [categories, 10]; NaN for categories without objects.

        weights: int64 [images], how often each image was drawn.
        """
        objects = self._objects @ weights
        seen = _sums(weights[self._image])
        passed = _sums(weights[self._ignored_image])
        hits = _sums(weights[self._event_image])
        right = hits[1:] - hits[self._event_start]
        counted = (
            seen[self._event + 1]
            - seen[self._category_start]
            - (passed[self._ignored_before] - passed[self._ignored_start])
        )
        precision = right / np.maximum(counted, 1)
        raised = (precision + self._level)[::-1]
        envelope = np.maximum.accumulate(raised)[::-1] - self._level
        recall = right / np.maximum(objects, 1)[self._category]
        reached = np.searchsorted(RECALL_THRESHOLDS, recall, side="right")
        before = np.where(self._first, 0, np.r_[0, reached[:-1]][: len(reached)])
        area = np.bincount(self._segment, envelope * (reached - before), self._segments)
        table = (area / len(RECALL_THRESHOLDS)).reshape(-1, IOU_COUNT)
        return np.where(objects[:, None] > 0, table, np.nan)

    def recall(self, weights: Array, most: int) -> Array:
        """Recall float64 [categories, 10] with at most `most` detections per image."""
        objects = (self._objects @ weights)[:, None]
        hits = np.where(self._rank < most, weights[self._event_image], 0)
        table = np.bincount(self._segment, hits, self._segments).reshape(-1, IOU_COUNT)
        return np.where(objects > 0, table / np.maximum(objects, 1), np.nan)


class WeightedPoints:
    """Precision, recall and F1 at IoU 0.5 over the confidence, for any image weights."""

    def __init__(self, matches: Matches) -> None:
        keep = ~matches.ignored[IOU_50]
        step = np.searchsorted(CONFIDENCES, matches.score[keep], side="right") - 1
        self._cell = matches.category[keep] * len(CONFIDENCES) + step
        self._image = matches.image[keep]
        self._right = matches.right[IOU_50, keep]
        self._objects = matches.objects
        self._predicted = np.zeros(matches.objects.shape, dtype=np.int64)
        self._predicted[matches.category, matches.image] = 1

    def figures(self, weights: Array) -> Array:
        """float64 [3, confidences]: precision, recall, F1, means over categories with objects.

        The rules are those of `yolo_core.yolo.scores.Curves`.
        """
        objects = self._objects @ weights
        present = objects > 0
        if not present.any():
            return np.full((3, len(CONFIDENCES)), np.nan)
        drawn = weights[self._image].astype(np.float64)
        counted = self._reaching(drawn)[present]
        right = self._reaching(drawn * self._right)[present]
        nothing = (self._predicted @ weights > 0)[present, None]
        precision = np.where(counted > 0, right / np.maximum(counted, 1), nothing)
        recall = right / objects[present, None]
        total = precision + recall
        f1 = np.where(total > 0, 2 * precision * recall / np.where(total > 0, total, 1), 0.0)
        return np.stack([precision.mean(axis=0), recall.mean(axis=0), f1.mean(axis=0)])

    def _reaching(self, values: Array) -> Array:
        """Sums float64 [categories, confidences] over the detections of at least a confidence."""
        cells = np.bincount(self._cell, values, len(self._objects) * len(CONFIDENCES))
        table = cells.reshape(-1, len(CONFIDENCES))
        reached: Array = np.cumsum(table[:, ::-1], axis=1)[:, ::-1]
        return reached


class WeightedRun:
    """All figures of one run for any image weights."""

    def __init__(self, scoring: Scoring) -> None:
        self._areas = [WeightedPrecision(matches) for matches in scoring.matches]
        self._points = WeightedPoints(scoring.matches[0])

    def figures(self, weights: Array) -> tuple[Array, Array]:
        """COCO's figures float64 [12], and AP per category float64 [categories]."""
        precision = [area.figures(weights) for area in self._areas]
        recall = [area.recall(weights, 100) for area in self._areas]
        ap = precision[0]
        figures = [_mean(ap), _mean(ap[:, IOU_50]), _mean(ap[:, IOU_75])]
        figures += [_mean(precision[area]) for area in range(1, len(AREAS))]
        figures += [_mean(self._areas[0].recall(weights, most)) for most in (1, 10)]
        figures += [_mean(recall[area]) for area in range(len(AREAS))]
        return np.array(figures), ap.mean(axis=1)

    def points(self, weights: Array) -> Array:
        """See `WeightedPoints.figures`."""
        return self._points.figures(weights)


def best_confidence(points: Array) -> int:
    """Index in `CONFIDENCES` of the highest F1; the lowest such confidence."""
    return 0 if np.isnan(points).any() else int(points[2].argmax())


def at_points(points: Array, best: int) -> Array:
    """float64 [6]: precision, recall and F1 at the confidence `best`, then at `DISPLAY`."""
    chosen: Array = np.r_[points[:, best], points[:, DISPLAY]]
    return chosen


def draws(images: int, count: int, seed: int) -> Iterator[Array]:
    """`count` weight vectors int64 [images]: how often each image is drawn among `images`."""
    generator = np.random.default_rng(seed)
    for _ in range(count):
        yield np.bincount(generator.integers(0, images, images), minlength=images)


def differences(
    first: WeightedRun, second: WeightedRun, weights: Sequence[Array] | Iterator[Array]
) -> tuple[Array, Array]:
    """second − first for every draw: `FIGURES` [draws, 18] and class AP [draws, categories].

    Precision, recall and F1 are taken at one confidence for both runs, which is chosen anew in
    every draw, so that the choice is part of the uncertainty.
    """
    figures, classes = [], []
    for drawn in weights:
        (a, class_a), (b, class_b) = first.figures(drawn), second.figures(drawn)
        points_a, points_b = first.points(drawn), second.points(drawn)
        best = best_confidence(points_a)
        point = at_points(points_b, best) - at_points(points_a, best)
        figures.append(np.r_[b - a, point])
        classes.append(class_b - class_a)
    return np.array(figures), np.array(classes)


def interval(delta: float, drawn: Array) -> Interval:
    """The bias-corrected 95 % percentile interval around a measured difference (Efron 1982).

    Rare classes drop out of some draws, which moves AP in all of them; the correction takes
    that movement out. drawn: float64 [draws]; draws where the figure does not exist (NaN) are
    left out.
    """
    known = drawn[~np.isnan(drawn)]
    if np.isnan(delta) or not len(known):
        return Interval(float("nan"), float("nan"), float("nan"))
    below = float((np.mean(known < delta) + np.mean(known <= delta)) / 2)
    least = 0.5 / len(known)
    shift = 2 * _NORMAL.inv_cdf(min(max(below, least), 1 - least))
    shares = [_NORMAL.cdf(shift + _NORMAL.inv_cdf(tail)) for tail in (0.025, 0.975)]
    low, high = np.quantile(known, shares)
    return Interval(float(delta), float(low), float(high))


def _up_to_last_right(matches: Matches) -> Array:
    """bool [n]: detections that are not behind their category's last right one."""
    categories = len(matches.objects)
    last = np.full(categories, -1, dtype=np.int64)
    hit = np.flatnonzero(matches.right.any(axis=0))
    np.maximum.at(last, matches.category[hit], hit)
    return np.arange(len(matches.category)) <= last[matches.category]


def _events(marked: Array, category: Array) -> tuple[Array, Array]:
    """Segment (category × 10 + threshold) and detection of every mark, in that order.

    marked: bool [10, n]. category: int64 [n], ascending.
    """
    threshold, detection = np.nonzero(marked)
    segment = category[detection] * IOU_COUNT + threshold
    order = np.lexsort((detection, segment))
    return segment[order], detection[order]


def _sums(values: Array) -> Array:
    """Running sums with a 0 in front."""
    result: Array = np.r_[0, np.cumsum(values)]
    return result


def _mean(values: Array) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
