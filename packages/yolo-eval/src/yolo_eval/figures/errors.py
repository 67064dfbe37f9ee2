"""What kind of mistakes a detector makes, and what each kind costs.

The kinds and the costs are those of TIDE (Bolya et al., "TIDE: A General Toolbox for Identifying
Object Detection Errors", ECCV 2020, section 2). A detection that is wrong at IoU 0.5 is, by the
objects of its image that it overlaps and in this order,

- localisation: of the right class, with an IoU from 0.1 to 0.5;
- class: on an object of another class, with an IoU of at least 0.5;
- duplicate: on an object of its class that a better detection has found;
- background: with an IoU below 0.1 to every object;
- both: what is left, a wrong class and an IoU from 0.1 to 0.5;

and an object is missed that no detection finds and no localisation or class mistake explains. The
cost of a kind is the AP50 that would be won if an oracle mended it alone: a wrong class or place is
corrected (or the box removed where the object is found already), a duplicate, background or doubly
wrong box removed, a missed object not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.yolo.boxes import corners, iou
from yolo_core.yolo.scores import IOU_50, Matches, precision_table
from yolo_eval.figures.bootstrap import CONFIDENCES, DISPLAY, RECALL_THRESHOLDS
from yolo_eval.runs.ground_truth import GroundTruth
from yolo_eval.runs.run import Predictions

KINDS = ("localisation", "class", "duplicate", "background", "both", "missed")
_LOCALISATION, _CLASS, _DUPLICATE, _BACKGROUND, _BOTH, _NONE = range(6)
FOUND_IOU, BACKGROUND_IOU = 0.5, 0.1
#: Confidence from which boxes are shown to people and counted here.
SHOWN = float(CONFIDENCES[DISPLAY])


@dataclass(frozen=True)
class _Judged:
    """kind: int64 [detections] index in `KINDS`, `_NONE` where there is no mistake. target: the
    object that a localisation or class mistake is about, -1 for the other kinds."""

    kind: Array
    target: Array


def errors(truth: GroundTruth, predictions: Predictions, matches: Matches) -> dict[str, Any]:
    """Mistakes by kind, as plain data. matches: of `predictions`, over all areas.

    kinds: for each of `KINDS` its cost in AP50 (`lost`, a fraction, None without objects), and how
    many boxes (of `missed`, objects) it is at a confidence of at least 0.25 (`shown`).
    """
    judged = _judge(truth, predictions, matches)
    category = _categories(truth)
    shown = matches.score >= SHOWN
    counts = np.bincount(judged.kind[shown], minlength=len(KINDS))
    counts[-1] = np.count_nonzero(_missed(truth, matches, judged, shown))
    missed = np.flatnonzero(_missed(truth, matches, judged, np.ones_like(shown)))
    base = _ap50(matches)
    mended = [_mended(matches, judged, kind, category) for kind in range(len(KINDS) - 1)]
    fewer = matches.objects.sum(axis=1) - np.bincount(
        category[missed], minlength=len(matches.objects)
    )
    mended.append(replace(matches, objects=fewer[:, None]))
    return {
        "confidence": SHOWN,
        "kinds": {
            kind: {"lost": _difference(base, _ap50(after)), "shown": int(count)}
            for kind, after, count in zip(KINDS, mended, counts)
        },
    }


def lost(found: Mapping[str, Any], kind: str) -> float | None:
    """The cost of a kind in what `errors` returns."""
    value = found["kinds"][kind]["lost"]
    return None if value is None else float(value)


def _judge(truth: GroundTruth, predictions: Predictions, matches: Matches) -> _Judged:
    kind = np.full(len(matches.score), _NONE, dtype=np.int64)
    target = np.full(len(matches.score), -1, dtype=np.int64)
    wrong = np.flatnonzero(~matches.right[IOU_50] & ~matches.ignored[IOU_50])
    box = corners(predictions.box[matches.source])
    objects = corners(np.array([b.bbox for b in truth.boxes], dtype=np.float64).reshape(-1, 4))
    category = _categories(truth)
    places = {image.id: number for number, image in enumerate(truth.images)}
    image_of = np.array([places[b.image_id] for b in truth.boxes], dtype=np.int64)
    counted = np.flatnonzero([not b.crowd for b in truth.boxes])
    wrong = wrong[np.argsort(matches.image[wrong], kind="stable")]
    numbers = np.arange(len(truth.images) + 1)
    ends = np.searchsorted(matches.image[wrong], numbers)
    object_ends = np.searchsorted(image_of[counted], numbers)
    for number in range(len(truth.images)):
        rows = wrong[ends[number] : ends[number + 1]]
        columns = counted[object_ends[number] : object_ends[number + 1]]
        if not len(columns):
            kind[rows] = _BACKGROUND
        elif len(rows):
            overlap = iou(box[rows][:, None], objects[columns][None])
            same = matches.category[rows][:, None] == category[columns]
            kind[rows], chosen = _kinds(overlap, same)
            target[rows] = np.where(chosen >= 0, columns[chosen], -1)
    return _Judged(kind, target)


def _kinds(overlap: Array, same: Array) -> tuple[Array, Array]:
    """Kind and object (a column, -1 for none) of wrong detections [n] by their overlaps [n, m]."""
    own, other = np.where(same, overlap, 0.0), np.where(same, 0.0, overlap)
    rows = np.arange(len(overlap))
    own_place, other_place = own.argmax(axis=1), other.argmax(axis=1)
    own_best, other_best = own[rows, own_place], other[rows, other_place]
    localisation = (own_best >= BACKGROUND_IOU) & (own_best < FOUND_IOU)
    cases = [
        localisation,
        other_best >= FOUND_IOU,
        own_best >= FOUND_IOU,
        np.maximum(own_best, other_best) < BACKGROUND_IOU,
    ]
    kind = np.select(cases, [_LOCALISATION, _CLASS, _DUPLICATE, _BACKGROUND], _BOTH)
    place = np.select([kind == _LOCALISATION, kind == _CLASS], [own_place, other_place], -1)
    return kind, place


def _missed(truth: GroundTruth, matches: Matches, judged: _Judged, which: Array) -> Array:
    """bool [objects]: what the detections `which` neither find nor explain."""
    missed = np.array([not box.crowd for box in truth.boxes], dtype=bool)
    found = matches.partner[matches.right[IOU_50] & which]
    explained = judged.target[(judged.target >= 0) & which]
    missed[found] = False
    missed[explained] = False
    return missed


def _mended(matches: Matches, judged: _Judged, kind: int, category: Array) -> Matches:
    """The detections after an oracle has mended one kind of mistake. category: of every object."""
    right = matches.right[IOU_50].copy()
    kept = judged.kind != kind
    label = matches.category.copy()
    if kind in (_LOCALISATION, _CLASS):
        free = np.ones(len(category), dtype=bool)
        free[matches.partner[right]] = False
        wrong = np.flatnonzero(~kept)
        # The best of several for one object is mended, the others go.
        wrong = wrong[np.argsort(-matches.score[wrong], kind="stable")]
        target, first = np.unique(judged.target[wrong], return_index=True)
        chosen = wrong[first[free[target]]]
        right[chosen] = kept[chosen] = True
        label[chosen] = category[judged.target[chosen]]
    order = np.lexsort((-matches.score, label))
    order = order[kept[order]]
    return replace(
        matches, category=label[order], score=matches.score[order],
        right=right[None, order], ignored=matches.ignored[:1, order],
    )  # fmt: skip


def _ap50(matches: Matches) -> float:
    """Mean AP50 over the classes with objects, NaN without any."""
    first = replace(matches, right=matches.right[:1], ignored=matches.ignored[:1])
    (table,) = precision_table(first, RECALL_THRESHOLDS)
    present = table[0] >= 0
    return float(table[:, present].mean()) if present.any() else float("nan")


def _difference(base: float, after: float) -> float | None:
    # A class whose objects are all missed drops out with them; nothing can be said of it.
    return None if np.isnan(base) else (0.0 if np.isnan(after) else after - base)


def _categories(truth: GroundTruth) -> Array:
    """The index of every object's category, int64 [objects]."""
    index = {category.id: number for number, category in enumerate(truth.categories)}
    return np.array([index[box.category_id] for box in truth.boxes], dtype=np.int64)
