"""What quantization costs in AP, estimated without labels from the float network's detections.

Where there are no labels, the float network says what they could be. A detection of score s is an
object with probability s, and the box that a person would draw lies around the detected one, as far
off as labels of COCO lie from the boxes of YOLOv5. Both networks are then scored against all such
labels at once: a detection is right not wholly or not at all but with a probability, and sums of
probabilities take the place of counts in COCO's average precision. Neither labels nor their luck
enter, so a loss far smaller than labels could show is seen on few pictures.

Which of several rivals survives the suppression of overlapping boxes is often a matter of chance,
and a rival is as near to the object as the winner. So a box of the integer network is held against
the one that the float network has at the same row, whether that one survived or not: only what
quantization moves costs, not another choice among equals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.yolo.boxes import iou

#: Standard deviations of labels from detected boxes, in sides, in equal shares: with them AP falls
#: from IoU 0.5 to 0.95 as that of yolov5n on COCO does.
SPREADS = (0.04, 0.08, 0.16)
#: Labels that are tried per spread and choice of signs; all choices of signs of a deviation are.
_TRIES = 2
#: COCO's IoU thresholds.
THRESHOLDS = np.arange(10) * 0.05 + 0.5
#: What the float network sees with less than this score is taken for no object.
LIKELY = 0.02
#: Boxes of both networks that overlap so far are of one object.
_SAME = 0.5
#: A box that the float network has this near to one of its detections is a duplicate of it in both
#: networks: the limit of COCO's scoring for suppression and what quantization may shift it by.
_DUPLICATE = 0.7
#: Draws of the images for the interval.
DRAWS = 400


@dataclass(frozen=True)
class Estimate:
    """lost, low, high: points of AP, and its 95 % interval over the images. images: how many."""

    lost: float
    low: float
    high: float
    images: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any, source: str) -> Estimate | None:
        """What the evaluate stage wrote to `source`; InputError where it is damaged."""
        try:
            found = data.get("estimate")  # files of before the estimate lack it
            if found is None:
                return None
            lost, low, high = (float(found[name]) for name in ("lost", "low", "high"))
            return cls(lost, low, high, int(found["images"]))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(
                source, f"is damaged ({error!r:.60})", "what quantize wrote"
            ) from error

    def metrics(self) -> dict[str, float]:
        """The figures by their names in yolo-eval's files, as shares."""
        figures = {"AP_lost": self.lost, "AP_lost_low": self.low, "AP_lost_high": self.high}
        shares = {name: points / 100 for name, points in figures.items()}
        return {**shares, "images": self.images}

    def spelled(self) -> tuple[str, str, str]:
        """lost, low and high with two digits, and no sign before a zero."""
        lost, low, high = (
            f"{round(points, 2) + 0.0:.2f}" for points in (self.lost, self.low, self.high)
        )
        return lost, low, high

    def told(self) -> str:
        """The estimate in words."""
        return (
            "{} points of AP (95 %: {} to {})".format(*self.spelled())
            + ", told by the float network's detections in place of labels"
        )


@dataclass
class _Answers:
    """Detections of one network: class, score, probability to be right at each threshold, image."""

    label: list[Array]
    score: list[Array]
    right: list[Array]
    image: list[Array]

    def add(self, boxes: Array, right: Array, image: int) -> None:
        self.label.append(boxes[:, 5].astype(np.int64))
        self.score.append(boxes[:, 4])
        self.right.append(right)
        self.image.append(np.full(len(boxes), image))


class LossEstimator:
    """Takes the detections of both networks image by image."""

    def __init__(self) -> None:
        self._exact, self._other = (_Answers([], [], [], []) for _ in range(2))
        self._images = 0

    def add(self, exact: Array, other: Array, same: Array) -> None:
        """One image: detections [n, 6] of the float network and [m, 6] of the integer one, best
        first, as `yolo_core.yolo.boxes.detections` gives them for COCO's scoring. Those of the
        float network should reach to a score of LIKELY, those of the integer network lower, so
        that none is missed for its score alone.
        same [m, 5]: for each of these, box and score that the float network has at that row and
        class.
        """
        generator = np.random.RandomState(self._images)
        offsets = _offsets(len(exact), generator)
        own = exact[:, 4, None] * _hits(exact[:, :4], _labels(exact[:, :4], offsets))
        found = np.array(list(_pairs(exact, other)), np.int64).reshape(-1, 2)
        rows, partners = found[:, 0], found[:, 1]
        right = np.zeros((len(other), len(THRESHOLDS)))
        labels = _labels(same[rows, :4], offsets[partners])
        right[rows] = exact[partners, 4, None] * _hits(other[rows, :4], labels)
        besides = _besides(exact, other, same, rows)
        labels = _labels(same[besides, :4], _offsets(len(besides), generator))
        right[besides] = same[besides, 4, None] * _hits(other[besides, :4], labels)
        self._exact.add(exact, own, self._images)
        self._other.add(other, right, self._images)
        self._images += 1

    def estimate(self) -> Estimate | None:
        """None where the float network sees nothing, or only one image was seen."""
        objects = np.zeros(self._images)
        for image, scores in enumerate(self._exact.score):
            objects[image] = scores.sum()
        if self._images < 2 or not objects.any():
            return None
        exact, other = _Curve(self._exact), _Curve(self._other)

        def lost(weights: Array) -> float:
            total = float(objects @ weights)
            return 100 * (exact.area(weights) - other.area(weights)) / total if total else 0.0

        generator = np.random.RandomState(0)
        drawn = [
            lost(np.bincount(generator.randint(0, self._images, self._images),
                             minlength=self._images))
            for _ in range(DRAWS)
        ]  # fmt: skip
        low, high = np.quantile(drawn, (0.025, 0.975))
        return Estimate(lost(np.ones(self._images)), float(low), float(high), self._images)


class _Curve:
    """Expected precision over expected recall, all classes and thresholds at once."""

    def __init__(self, answers: _Answers) -> None:
        label, score = np.concatenate(answers.label), np.concatenate(answers.score)
        order = np.lexsort((-score, label))
        label = label[order]
        self._image = np.concatenate(answers.image)[order]
        self._right = np.concatenate(answers.right)[order]
        begins = np.flatnonzero(np.r_[True, label[1:] != label[:-1]][: len(label)])
        counts = np.diff(np.r_[begins, len(label)])
        self._begin = np.repeat(begins, counts)
        # Raises each class above the next, so that one running maximum serves all of them.
        self._level = 2.0 * np.repeat(np.arange(len(begins))[::-1], counts)[:, None]

    def area(self, weights: Array) -> float:
        """Mean over the thresholds of the area below precision, times the objects of a class,
        summed over the classes. weights [images]: how often each image counts."""
        drawn = weights[self._image].astype(np.float64)
        seen = np.r_[0.0, np.cumsum(drawn)]
        seen = (seen[1:] - seen[self._begin])[:, None]
        found = self._right * drawn[:, None]
        true = np.concatenate((np.zeros((1, len(THRESHOLDS))), np.cumsum(found, axis=0)))
        precision = (true[1:] - true[self._begin]) / np.maximum(seen, 1.0) + self._level
        envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1] - self._level
        return float((envelope * found).sum(axis=0).mean())


def _offsets(count: int, generator: np.random.RandomState) -> Array:
    """How far labels could lie from `count` boxes, in sides: [count, k, 4]."""
    signs = np.array(list(product((-1.0, 1.0), repeat=4)))
    sizes = np.abs(generator.standard_normal((count, len(SPREADS), _TRIES, 1, 4)))
    moved = sizes * signs * np.array(SPREADS)[:, None, None, None]
    result: Array = moved.reshape(count, len(SPREADS) * _TRIES * len(signs), 4)
    return result


def _labels(boxes: Array, offsets: Array) -> Array:
    """Boxes that people could have drawn around [n, 4], that far away: [n, k, 4]."""
    sides = (boxes[:, 2:] - boxes[:, :2])[:, None]
    centre = (boxes[:, 2:] + boxes[:, :2])[:, None] / 2 + offsets[..., :2] * sides
    half = sides * np.exp(offsets[..., 2:]) / 2
    return np.concatenate((centre - half, centre + half), axis=-1)


def _hits(boxes: Array, labels: Array) -> Array:
    """Share of the labels [n, k, 4] that the boxes [n, 4] overlap so far: [n, thresholds]."""
    overlap = iou(boxes[:, None], labels)
    result: Array = (overlap[..., None] >= THRESHOLDS).mean(axis=1)
    return result


def _pairs(exact: Array, other: Array) -> Iterator[tuple[int, int]]:
    """(row of `other`, row of `exact`): the best of `other` first, each takes the nearest box of
    its class that is free."""
    free = np.ones(len(exact), bool)
    for row, box in enumerate(other):
        rivals = np.flatnonzero(free & (exact[:, 5] == box[5]))
        if not len(rivals):
            continue
        overlap = iou(box[:4], exact[rivals, :4])
        best = int(overlap.argmax())
        if overlap[best] >= _SAME:
            free[rivals[best]] = False
            yield row, int(rivals[best])


def _besides(exact: Array, other: Array, same: Array, paired: Array) -> Array:
    """Rows of `other` without a partner that the float network sees an object at, too, and no
    duplicate of what it finds."""
    rows = np.setdiff1d(np.flatnonzero(same[:, 4] >= LIKELY), paired)
    if not len(exact):
        return rows
    overlap = iou(same[rows, None, :4], exact[None, :, :4])
    overlap[other[rows, 5, None] != exact[None, :, 5]] = 0.0
    result: Array = rows[overlap.max(axis=1) < _DUPLICATE]
    return result
