"""Which detection finds which object, at every IoU threshold of COCO at once.

The rules are those of pycocotools' bounding box evaluation (`COCOeval.evaluateImg`), and so are the
overlaps (`mask.iou`). It asks pair by pair of image and class, threshold by threshold, in Python;
here all pairs take their first detection together, then their second, and so on, since a choice
depends only on the choices before it in the same image and class. A test holds the result to
pycocotools' own, equal scores and overlaps included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from yolo_core.arrays import Array

#: At most so many detections of an image and class are looked at, as pycocotools does.
MOST_DETECTIONS = 100
WRONG, RIGHT, IGNORED = 0, 1, 2


@dataclass(frozen=True)
class Objects:
    """Labelled boxes. image, category: int64 [n] indices. box: float64 [n, 4] x, y, width, height.

    area: float64 [n] square pixels, for the area ranges. crowd: bool [n], boxes around a group.
    """

    image: Array
    category: Array
    box: Array
    area: Array
    crowd: Array


@dataclass(frozen=True)
class Detections:
    """Found boxes. image, category: int64 [n] indices. box: float64 [n, 4] x, y, width, height.

    score: float64 [n].
    """

    image: Array
    category: Array
    box: Array
    score: Array


@dataclass(frozen=True)
class Candidates:
    """Pairs of a detection and an object of its image and class that overlap enough to match.

    detection, obj: int64 [pairs] indices into the ranked detections and the objects, by detection.
    overlap: float64 [pairs], the IoU (of a crowd: the share of the detection).
    """

    detection: Array
    obj: Array
    overlap: Array


def ranked(found: Detections, images: int) -> tuple[Array, Array]:
    """Indices of the detections that are looked at, by category, then best score first, equal
    scores in order of images; and the rank of each within its image and category, from 0.
    """
    order = np.argsort(found.image, kind="stable")
    order = order[np.argsort(-found.score[order], kind="stable")]
    order = order[np.argsort(found.category[order], kind="stable")]
    group = found.category[order] * images + found.image[order]
    by_group = np.argsort(group, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[by_group] = _places(group[by_group])
    kept = rank < MOST_DETECTIONS
    return order[kept], rank[kept]


def candidates(objects: Objects, found: Detections, images: int, least: float) -> Candidates:
    """All pairs that overlap by at least `least`. found: ranked."""
    from pycocotools import mask

    parts = []
    crowd = objects.crowd.astype(np.uint8)
    for rows, columns in _shared_groups(objects, found, images):
        overlap = mask.iou(found.box[rows], objects.box[columns], crowd[columns])
        row, column = np.nonzero(overlap >= least)
        if len(row):
            parts.append((rows[row], columns[column], overlap[row, column]))
    if not parts:
        none = np.zeros(0, dtype=np.int64)
        return Candidates(none, none, np.zeros(0))
    detection, obj, overlaps = (np.concatenate(column) for column in zip(*parts))
    return Candidates(detection, obj, overlaps)


def assign(
    pairs: Candidates, group: Array, ignored: Array, crowd: Array, thresholds: Array
) -> tuple[Array, Array, Array]:
    """Give every detection its object, best detection of an image and class first.

    pairs: of `candidates`. group: int64 [detections], the image and category of the ranked
    detections as one number. ignored: bool [objects] that count neither way; crowd: bool [objects].
    thresholds: float64 [t]. A detection takes the object that it overlaps most and that is free at
    this threshold, an ignored one only where no other is left; crowds are never used up. Returns
    the detections that have candidates int64 [k], and for each threshold WRONG, RIGHT or IGNORED
    int8 [k, t] with the object int64 [k, t], -1 for none.
    """
    # Preference of a detection: ignored last, largest overlap first, of equal ones the later.
    order = np.lexsort((-pairs.obj, -pairs.overlap, ignored[pairs.obj], pairs.detection))
    obj, overlap = pairs.obj[order], pairs.overlap[order]
    detections, first, count = np.unique(
        pairs.detection[order], return_index=True, return_counts=True
    )
    state = np.zeros((len(detections), len(thresholds)), dtype=np.int8)
    partner = np.full(state.shape, -1, dtype=np.int64)
    free = np.ones((len(crowd), len(thresholds)), dtype=bool)
    for turn in _turns(group[detections]):
        for slot in range(int(count[turn].max(initial=0))):
            rows = turn[count[turn] > slot]
            place = first[rows] + slot
            chosen = obj[place]
            takes = (overlap[place][:, None] >= thresholds) & (state[rows] == WRONG)
            takes &= free[chosen] | crowd[chosen][:, None]
            kind = np.where(ignored[chosen], IGNORED, RIGHT).astype(np.int8)
            state[rows] = np.where(takes, kind[:, None], state[rows])
            partner[rows] = np.where(takes, chosen[:, None], partner[rows])
            free[chosen] &= ~takes
    return detections, state, partner


def _turns(group: Array) -> Iterator[Array]:
    """Positions of the first entry of every group, then of the second of each, and so on."""
    by_group = np.argsort(group, kind="stable")
    place = np.empty(len(group), dtype=np.int64)
    place[by_group] = _places(group[by_group])
    order = np.argsort(place, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(place[order])) + 1)


def _places(groups: Array) -> Array:
    """The place of every entry in its group, from 0. groups: int64 [n], equal ones together."""
    begins = np.r_[True, groups[1:] != groups[:-1]][: len(groups)]
    starts = np.flatnonzero(begins)
    return np.arange(len(groups)) - np.repeat(starts, np.diff(np.r_[starts, len(groups)]))


def _shared_groups(
    objects: Objects, found: Detections, images: int
) -> Iterator[tuple[Array, Array]]:
    """Indices of detections and of objects of every image and category that has both."""
    of_found = found.category * images + found.image
    of_objects = objects.category * images + objects.image
    by_found, by_object = (np.argsort(keys, kind="stable") for keys in (of_found, of_objects))
    keys = np.intersect1d(of_found, of_objects)
    found_ends = [np.searchsorted(of_found[by_found], keys, side) for side in ("left", "right")]
    object_ends = [np.searchsorted(of_objects[by_object], keys, side) for side in ("left", "right")]
    for a, b, c, d in zip(*(ends.tolist() for ends in (*found_ends, *object_ends))):
        yield by_found[a:b], by_object[c:d]
