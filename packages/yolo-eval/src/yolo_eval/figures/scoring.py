"""The score of a run's predictions against its ground truth, by yolo-core's one scorer."""

from __future__ import annotations

from yolo_core.yolo.scores import COCO_METRICS, Scoring
from yolo_core.yolo.scores import score as score_coco
from yolo_eval.runs.ground_truth import GroundTruth
from yolo_eval.runs.run import Predictions

__all__ = ["COCO_METRICS", "score"]


def score(truth: GroundTruth, predictions: Predictions) -> Scoring:
    """pycocotools' figures over all areas, at most 100 detections per image and category."""
    return score_coco(
        [image.id for image in truth.images],
        [category.id for category in truth.categories],
        truth.to_dict()["annotations"],
        predictions.to_list(),
    )
