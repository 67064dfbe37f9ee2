"""Which class is taken for which: detections of a normal display against the ground truth."""

from __future__ import annotations

import numpy as np

from yolo_core.arrays import Array
from yolo_core.datasets.coco_json import Box
from yolo_core.yolo.boxes import area, corners, intersection, iou, pair
from yolo_eval.runs.ground_truth import GroundTruth
from yolo_eval.runs.run import Predictions

CONFIDENCE = 0.25
IOU = 0.45


def confusion(truth: GroundTruth, predictions: Predictions) -> Array:
    """Counts int64 [categories + 1, categories + 1]: row is the true class, column the predicted.

    The last row and column are the background: objects not found, detections of nothing. Boxes
    are paired by IoU (at least 0.45) whatever their class; a detection half inside a crowd box
    counts nowhere.
    """
    count = len(truth.categories)
    index = {category.id: number for number, category in enumerate(truth.categories)}
    table = np.zeros((count + 1, count + 1), dtype=np.int64)
    shown = predictions.above(CONFIDENCE)
    boxes: dict[int, list[Box]] = {}
    for box in truth.boxes:
        boxes.setdefault(box.image_id, []).append(box)
    for image in truth.images:
        rows = slice(*np.searchsorted(shown.image, [image.id, image.id + 1]))
        found, classes = corners(shown.box[rows]), [index[c] for c in shown.category[rows].tolist()]
        objects = [box for box in boxes.get(image.id, []) if not box.crowd]
        crowds = [box for box in boxes.get(image.id, []) if box.crowd]
        covered = intersection(found[:, None], _corners(crowds)[None]).max(axis=1, initial=0.0)
        overlap = iou(_corners(objects)[:, None], found[None])
        ignored = (covered >= 0.5 * area(found)) & (area(found) > 0)
        left_objects, left_found = set(range(len(objects))), set(range(len(found)))
        for row, column in pair(overlap, IOU):
            table[index[objects[row].category_id], classes[column]] += 1
            left_objects.discard(row)
            left_found.discard(column)
        for row in left_objects:
            table[index[objects[row].category_id], count] += 1
        for column in left_found:
            if not ignored[column]:
                table[count, classes[column]] += 1
    return table


def _corners(boxes: list[Box]) -> Array:
    return corners(np.array([box.bbox for box in boxes], dtype=np.float64).reshape(-1, 4))
