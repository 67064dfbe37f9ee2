"""How sure a difference is: paired bootstrap over images.

Both models are scored again and again on images drawn with replacement, the same draw for both;
the spread of the difference is its uncertainty. One draw is a weight per image, and average
precision is worked out from the weights and pycocotools' matches without matching anything again.
With every weight 1 the figures are pycocotools' own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

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
#: Draws of the interval that every run's AP has; a comparison draws as many as it is asked for.
AP_DRAWS = 200
RECALL_THRESHOLDS = np.linspace(0.0, 1.0, 101)
#: The threshold above each; none above the last.
_ABOVE = np.r_[RECALL_THRESHOLDS[1:], np.inf]
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
    """Average precision of one run in one area range, for any image weights.

    Only right detections move precision and recall upwards, so that the figures are worked out at
    these: sums over the detections that count say how many came before each. Which detections count
    differs little between the IoU thresholds; the sums are over those that count at the highest
    one, and the rest are corrections.
    """

    def __init__(self, matches: Matches) -> None:
        self._objects = matches.objects
        categories = len(matches.objects)
        # Detections behind a category's last right one change neither precision at a right
        # detection nor recall, and they are most of all detections.
        keep = _up_to_last_right(matches)
        right, ignored = matches.right[:, keep], matches.ignored[:, keep]
        category, image = matches.category[keep], matches.image[keep]
        self._segment, event = _events(right, category)
        segments = np.arange(categories * IOU_COUNT)
        # Of every segment, a category at a threshold: how many events, and where they begin.
        self._count = np.bincount(self._segment, minlength=len(segments))
        self._begin = np.cumsum(self._count) - self._count
        self._event_image = image[event]
        self._first = np.r_[True, self._segment[1:] != self._segment[:-1]][: len(event)]

        base = ~ignored[-1]
        self._base_image = image[base]
        place = np.r_[0, np.cumsum(base)]
        end = place[event + 1]
        begin = place[np.searchsorted(category, segments // IOU_COUNT)]
        bounds = np.unique(np.r_[0, begin, end])
        self._pieces, self._used = bounds[:-1], int(bounds[-1])
        self._base_end, self._base_begin = (np.searchsorted(bounds, at) for at in (end, begin))

        signs = base.astype(np.int8) - (~ignored).astype(np.int8)
        other_segment, other = _events(signs != 0, category)
        self._sign = signs[other_segment % IOU_COUNT, other].astype(np.int64)
        self._other_image = image[other]
        size = len(image) + 1
        self._other_end = np.searchsorted(
            other_segment * size + other, self._segment * size + event, side="right"
        )
        self._other_begin = np.searchsorted(other_segment, segments)
        # Raises each segment above the next, so that one running maximum serves all of them.
        self._level = 2.0 * (len(segments) - self._segment)

    def figures(self, weights: Array) -> Array:
        """Average precision float64 [categories, 10]; NaN for categories without objects.

        weights: int64 [images], how often each image was drawn.
        """
        objects = self._objects @ weights
        hits = _sums(weights[self._event_image])
        right = hits[1:] - self._spread(hits[self._begin])
        seen = _sums(np.add.reduceat(weights[self._base_image[: self._used]], self._pieces))
        counted = seen[self._base_end] - self._spread(seen[self._base_begin])
        if len(self._other_image):
            passed = _sums(weights[self._other_image] * self._sign)
            counted -= passed[self._other_end] - self._spread(passed[self._other_begin])
        precision = right / np.maximum(counted, 1)
        precision += self._level
        envelope = np.maximum.accumulate(precision[::-1])[::-1] - self._level
        reached = _reached(right / self._spread(np.repeat(np.maximum(objects, 1), IOU_COUNT)))
        before = np.where(self._first, 0, np.r_[0, reached[:-1]][: len(reached)])
        area = np.bincount(self._segment, envelope * (reached - before), len(self._count))
        table = (area / len(RECALL_THRESHOLDS)).reshape(-1, IOU_COUNT)
        return np.where(objects[:, None] > 0, table, np.nan)

    def _spread(self, values: Array) -> Array:
        """A value per segment as one per event."""
        return np.repeat(values, self._count)


class WeightedRecall:
    """Recall of one run in one area range, the mean over IoU and categories, for any weights."""

    def __init__(self, matches: Matches, most: int) -> None:
        """most: detections per image and category that are looked at."""
        self._objects = matches.objects
        categories, images = matches.objects.shape
        hits = (matches.right & (matches.rank < most)).sum(axis=0)
        group = matches.category * images + matches.image
        counts = np.bincount(group, hits, categories * images)
        found = np.flatnonzero(counts)
        self._category, self._image = found // images, found % images
        self._hits = counts[found]

    def figure(self, weights: Array) -> float:
        objects = self._objects @ weights
        drawn = self._hits * weights[self._image]
        found = np.bincount(self._category, drawn, len(objects))
        present = objects > 0
        return _mean(found[present] / (IOU_COUNT * objects[present]))


class WeightedPoints:
    """Precision, recall and F1 at IoU 0.5 over the confidence, for any image weights."""

    def __init__(self, matches: Matches) -> None:
        keep = ~matches.ignored[IOU_50]
        step = np.searchsorted(CONFIDENCES, matches.score[keep], side="right") - 1
        cell = matches.category[keep] * len(CONFIDENCES) + step
        self._counted = _Cells(cell, matches.image[keep], matches.objects.shape[1])
        right = matches.right[IOU_50, keep]
        self._right = _Cells(cell[right], matches.image[keep][right], matches.objects.shape[1])
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
        counted = self._reaching(self._counted, weights)[present]
        right = self._reaching(self._right, weights)[present]
        nothing = (self._predicted @ weights > 0)[present, None]
        precision = np.where(counted > 0, right / np.maximum(counted, 1), nothing)
        recall = right / objects[present, None]
        total = precision + recall
        f1 = np.where(total > 0, 2 * precision * recall / np.where(total > 0, total, 1), 0.0)
        return np.stack([precision.mean(axis=0), recall.mean(axis=0), f1.mean(axis=0)])

    def _reaching(self, cells: _Cells, weights: Array) -> Array:
        """Sums float64 [categories, confidences] over the detections of at least a confidence."""
        table = cells.sums(weights, len(self._objects) * len(CONFIDENCES))
        reached: Array = np.cumsum(table.reshape(-1, len(CONFIDENCES))[:, ::-1], axis=1)[:, ::-1]
        return reached


class _Cells:
    """How many entries every image has in every cell, as the list of those that are not 0."""

    def __init__(self, cell: Array, image: Array, images: int) -> None:
        both, count = np.unique(cell * images + image, return_counts=True)
        self._cell, self._image = both // images, both % images
        self._count = count.astype(np.float64)

    def sums(self, weights: Array, cells: int) -> Array:
        """float64 [cells], each image counted as often as its weight says."""
        return np.bincount(self._cell, self._count * weights[self._image], cells)


class WeightedRun:
    """All figures of one run for any image weights."""

    def __init__(self, scoring: Scoring) -> None:
        every = scoring.matches[0]
        self._areas = [WeightedPrecision(matches) for matches in scoring.matches]
        self._recalls = [WeightedRecall(every, most) for most in (1, 10, 100)]
        self._recalls += [WeightedRecall(matches, 100) for matches in scoring.matches[1:]]
        self._points = WeightedPoints(every)

    def figures(self, weights: Array) -> tuple[Array, Array]:
        """COCO's figures float64 [12], and AP per category float64 [categories]."""
        precision = [area.figures(weights) for area in self._areas]
        ap = precision[0]
        figures = [_mean(ap), _mean(ap[:, IOU_50]), _mean(ap[:, IOU_75])]
        figures += [_mean(precision[area]) for area in range(1, len(AREAS))]
        figures += [recall.figure(weights) for recall in self._recalls]
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
    first: WeightedRun,
    second: WeightedRun,
    weights: Iterable[Array],
    threads: int = 1,
) -> tuple[Array, Array]:
    """second − first for every draw: `FIGURES` [draws, 18] and class AP [draws, categories].

    Precision, recall and F1 are taken at one confidence for both runs, which is chosen anew in
    every draw, so that the choice is part of the uncertainty. threads: change the time alone.
    """

    def one(drawn: Array) -> tuple[Array, Array]:
        (a, class_a), (b, class_b) = first.figures(drawn), second.figures(drawn)
        points_a, points_b = first.points(drawn), second.points(drawn)
        best = best_confidence(points_a)
        point = at_points(points_b, best) - at_points(points_a, best)
        return np.r_[b - a, point], class_b - class_a

    with ThreadPoolExecutor(threads) as pool:
        figures, classes = zip(*_in_order(pool, one, weights, 2 * threads))
    return np.array(figures), np.array(classes)


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[Array], Any], items: Iterable[Array], ahead: int
) -> Iterator[Any]:
    """`work` of every item in order, at most `ahead` of them under way."""
    waiting: deque[Future[Any]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


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


def ap_interval(ap: float | None, matches: Matches, threads: int = 1) -> Interval:
    """The 95 % interval of a run's AP over pictures like these. matches: over all areas."""
    weighted = WeightedPrecision(matches)
    images = matches.objects.shape[1]

    def one(drawn: Array) -> float:
        return _mean(weighted.figures(drawn))

    with ThreadPoolExecutor(threads) as pool:
        drawn = list(_in_order(pool, one, draws(images, AP_DRAWS, 0), 2 * threads))
    return interval(float("nan") if ap is None else ap, np.array(drawn))


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
    result = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(values, out=result[1:])
    return result


def _reached(recall: Array) -> Array:
    """How many of `RECALL_THRESHOLDS` each recall reaches, int64 [n]."""
    step = (recall * (len(RECALL_THRESHOLDS) - 1)).astype(np.int64)
    # The product may have been rounded across a threshold, by one step at most.
    step -= np.take(RECALL_THRESHOLDS, step) > recall
    step += np.take(_ABOVE, step) <= recall
    step += 1
    return step


def _mean(values: Array) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
