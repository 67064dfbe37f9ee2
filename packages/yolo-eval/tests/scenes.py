"""Random ground truth and detections, with everything that makes scoring hard."""

from __future__ import annotations

from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.datasets.coco_json import Box, Category, Image
from yolo_eval.runs.ground_truth import GroundTruth
from yolo_eval.runs.run import Predictions


def scene(
    seed: int, images: int = 12, categories: int = 4, ties: bool = True
) -> tuple[GroundTruth, Predictions]:
    """Crowds, small and large boxes, an image without objects, a category without instances,
    equal scores (unless ties is False), doubled and wrong detections, more than 100 detections in
    one image."""
    generator = np.random.default_rng(seed)
    boxes, rows = [], []
    for image in range(1, images + 1):
        for _ in range(0 if image == 2 else int(generator.integers(0, 9))):
            category = int(generator.integers(1, categories))  # the last one has no instances
            side = generator.choice([12.0, 50.0, 140.0])
            box = [*generator.uniform(0, 300, 2), *(side * generator.uniform(0.7, 1.3, 2))]
            box = [round(float(v), 2) for v in box]
            crowd = generator.random() < 0.1
            boxes.append(Box(image, category, tuple(box), box[2] * box[3], crowd))
            for _ in range(int(generator.integers(0, 4))):
                moved = [v + generator.normal(0, 0.06) * side for v in box]
                moved[2:] = [abs(v) for v in moved[2:]]
                wrong = generator.random() < 0.1
                label = int(generator.integers(1, categories + 1)) if wrong else category
                score = round(float(generator.random()), 1)
                rows.append((image, label, [round(v, 2) for v in moved], score))
        many = 120 if image == 3 else int(generator.integers(0, 6))
        for _ in range(many):
            box = [*generator.uniform(0, 300, 2), *generator.uniform(5, 90, 2)]
            label = 1 if image == 3 else int(generator.integers(1, categories + 1))
            rows.append((image, label, [round(float(v), 2) for v in box],
                         round(float(generator.random()), 2)))  # fmt: skip
    if not ties:
        rows = [(*row[:3], row[3] + 1e-6 * number) for number, row in enumerate(rows)]
    truth = GroundTruth(
        "scene",
        ".",
        tuple(Image(number, f"{number}.png", 400, 400) for number in range(1, images + 1)),
        tuple(Category(number, f"class {number}") for number in range(1, categories + 1)),
        tuple(boxes),
    )
    return truth, Predictions.from_rows(rows)


def repeated(
    truth: GroundTruth, predictions: Predictions, weights: Array
) -> tuple[GroundTruth, Predictions]:
    """The same with every image physically there as often as its weight says."""
    images: list[Image] = []
    boxes: list[Box] = []
    rows: list[Any] = []
    content = predictions.to_list()
    for image, weight in zip(truth.images, weights):
        for _ in range(weight):
            number = len(images) + 1
            images.append(Image(number, f"{number}.png", 400, 400))
            boxes += [
                Box(number, b.category_id, b.bbox, b.area, b.crowd)
                for b in truth.boxes
                if b.image_id == image.id
            ]
            rows += [
                (number, p["category_id"], p["bbox"], p["score"])
                for p in content
                if p["image_id"] == image.id
            ]
    new = GroundTruth("repeated", ".", tuple(images), truth.categories, tuple(boxes))
    return new, Predictions.from_rows(rows)
