"""How good a network is: COCO's average precision, and YOLOv5's precision, recall and fitness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from yolo_core.arrays import Array
from yolo_core.yolo.scores import IOU_50, curves, over_classes, score_boxes

#: Points of the confidence axis on which precision and recall are compared.
CONFIDENCES = np.linspace(0, 1, 1001)


def fitness_of(map50: float, mean: float) -> float:
    """What the best checkpoint has most of, from COCO AP at IoU 0.5 and over 0.5 to 0.95."""
    return 0.1 * map50 + 0.9 * mean


@dataclass(frozen=True)
class Scores:
    """All values lie between 0 and 1.

    precision, recall: mean over classes at IoU 0.5 and the confidence of the best mean F1.
    map50, map: COCO AP at IoU 0.5 and averaged over 0.5 to 0.95. class_map: AP of each class,
    NaN for classes without objects. curve_precision: the 101 points of the mean precision-recall
    curve at IoU 0.5. p, r, f1: mean curves over `CONFIDENCES`. class_curves: "pr", "p", "r" and
    "f1", the same [points, classes] of each class, NaN or -1 for classes without objects.
    """

    precision: float
    recall: float
    map50: float
    map: float
    class_map: tuple[float, ...]
    curve_precision: tuple[float, ...] = ()
    p: tuple[float, ...] = ()
    r: tuple[float, ...] = ()
    f1: tuple[float, ...] = ()
    class_curves: Mapping[str, Array] = field(default_factory=dict, repr=False, compare=False)

    @property
    def fitness(self) -> float:
        """As `fitness_of` has it."""
        return fitness_of(self.map50, self.map)


def score(truths: Sequence[Array], found: Sequence[Array], nc: int) -> Scores:
    """Scores of detections against labelled boxes, image by image.

    truths: per image [n, 5] of class, x1, y1, x2, y2 in pixels. found: per image [m, 6] of x1,
    y1, x2, y2, score, class in the same pixels.
    """
    if not any(len(boxes) for boxes in truths) or not any(len(boxes) for boxes in found):
        return Scores(0.0, 0.0, 0.0, 0.0, tuple(_absent(truths, nc)))
    scoring = score_boxes(truths, found, nc)
    valid = (scoring.precision > -1).all(axis=(0, 1))
    drawn = curves(scoring.matches[0], CONFIDENCES)
    p, r, f1 = (over_classes(values) for values in (drawn.precision, drawn.recall, drawn.f1))
    return Scores(
        precision=float(p[drawn.best]),
        recall=float(r[drawn.best]),
        map50=float(scoring.precision[IOU_50][:, valid].mean()),
        map=float(scoring.precision[:, :, valid].mean()),
        class_map=tuple(scoring.class_ap[:, 0].tolist()),
        curve_precision=tuple(scoring.precision[IOU_50][:, valid].mean(axis=1).tolist()),
        p=tuple(p.tolist()),
        r=tuple(r.tolist()),
        f1=tuple(f1.tolist()),
        class_curves={
            "pr": scoring.precision[IOU_50],
            "p": drawn.precision,
            "r": drawn.recall,
            "f1": drawn.f1,
        },
    )


def _absent(truths: Sequence[Array], nc: int) -> list[float]:
    present = {int(label) for boxes in truths for label in boxes[:, 0]}
    return [0.0 if label in present else float("nan") for label in range(nc)]
