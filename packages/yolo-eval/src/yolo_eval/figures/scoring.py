"""The score of a run's predictions against its ground truth, by yolo-core's one scorer."""

from __future__ import annotations

import numpy as np

from yolo_core.yolo.matching import Detections, Objects
from yolo_core.yolo.scores import COCO_METRICS, Scoring, score_arrays
from yolo_eval.runs.ground_truth import GroundTruth
from yolo_eval.runs.run import Predictions

__all__ = ["COCO_METRICS", "score"]


def score(truth: GroundTruth, predictions: Predictions) -> Scoring:
    """pycocotools' figures over all areas, at most 100 detections per image and category."""
    images = np.array([image.id for image in truth.images], dtype=np.int64)
    categories = np.array([category.id for category in truth.categories], dtype=np.int64)
    boxes = truth.boxes
    objects = Objects(
        np.searchsorted(images, [box.image_id for box in boxes]).astype(np.int64),
        np.searchsorted(categories, [box.category_id for box in boxes]).astype(np.int64),
        np.array([box.bbox for box in boxes], dtype=np.float64).reshape(-1, 4),
        np.array([box.area for box in boxes], dtype=np.float64),
        np.array([box.crowd for box in boxes], dtype=bool),
    )
    detections = Detections(
        np.searchsorted(images, predictions.image),
        np.searchsorted(categories, predictions.category),
        predictions.box,
        predictions.score,
    )
    return score_arrays(objects, detections, len(images), len(categories))
