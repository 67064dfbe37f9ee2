"""The pictures that a model does best and worst on, by what a user is shown of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yolo_core.yolo.scores import IOU_50, Matches
from yolo_eval.figures.bootstrap import CONFIDENCES, DISPLAY
from yolo_eval.runs.ground_truth import GroundTruth

#: Confidence from which boxes are shown.
SHOWN = float(CONFIDENCES[DISPLAY])


@dataclass(frozen=True)
class PictureScore:
    """One picture. f1: at confidence 0.25 and IoU 0.5. right, wrong: its shown detections as rows
    of the run's predictions. missed: objects that no shown detection finds, as places in `boxes`.
    """

    image_id: int
    f1: float
    right: tuple[int, ...]
    wrong: tuple[int, ...]
    missed: tuple[int, ...]


def best_and_worst(
    truth: GroundTruth, matches: Matches, count: int
) -> tuple[list[PictureScore], list[PictureScore]]:
    """The pictures with the highest F1, most objects first, and those with the lowest, most
    mistakes first. matches: over all areas. Pictures without objects or boxes are in neither list;
    no faultless one is among the worst, and none is in both.
    """
    shown = matches.score >= SHOWN
    right = matches.right[IOU_50] & shown
    wrong = ~matches.right[IOU_50] & ~matches.ignored[IOU_50] & shown
    images = len(truth.images)
    true, false = (
        np.bincount(matches.image[marked], minlength=images) for marked in (right, wrong)
    )
    objects = matches.objects.sum(axis=0)
    total = true + false + objects
    f1 = np.where(total > 0, 2 * true / np.maximum(total, 1), np.nan)
    known = np.flatnonzero(total > 0)
    mistakes = false + objects - true
    best = known[np.lexsort((known, -objects[known], -f1[known]))]
    best = best[true[best] > 0][:count]
    worst = known[np.lexsort((known, -mistakes[known], f1[known]))]
    worst = worst[(mistakes[worst] > 0) & ~np.isin(worst, best)][:count]
    found = set(matches.partner[right].tolist())
    missed: dict[int, list[int]] = {}
    for place, box in enumerate(truth.boxes):
        if not box.crowd and place not in found:
            missed.setdefault(box.image_id, []).append(place)

    def told(number: int) -> PictureScore:
        here = matches.image == number
        image = truth.images[number].id
        return PictureScore(
            image,
            float(f1[number]),
            tuple(matches.source[here & right].tolist()),
            tuple(matches.source[here & wrong].tolist()),
            tuple(missed.get(image, [])),
        )

    return [told(int(n)) for n in best], [told(int(n)) for n in worst]
