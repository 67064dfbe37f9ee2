"""Outlined objects: their boxes after a warp, and pasting them once more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from yolo_core.yolo.samples import Sample
from yolo_train.augment import copy_paste, random_perspective
from yolo_train.batches import SampleMaker, Source
from yolo_train.hyp import Hyp, read_hyp

TRIANGLE = np.array([[10.0, 10.0], [30.0, 10.0], [10.0, 30.0]])
BOXES = np.array([[2.0, 10.0, 10.0, 30.0, 30.0]])


def picture() -> Any:
    image = np.zeros((100, 100, 3), np.uint8)
    cv2.fillPoly(image, [TRIANGLE.astype(np.int32)], (9, 8, 7))
    return image


def test_an_object_is_pasted_mirrored_by_its_outline() -> None:
    image, boxes, outlines = copy_paste(picture(), BOXES, [TRIANGLE], 1.0, np.random.default_rng(0))
    np.testing.assert_array_equal(boxes, [*BOXES, [2, 70, 10, 90, 30]])
    assert outlines[1] is not None
    np.testing.assert_array_equal(outlines[1], [[90, 10], [70, 10], [90, 30]])
    np.testing.assert_array_equal(image[12, 85], (9, 8, 7))
    np.testing.assert_array_equal(image[28, 72], (0, 0, 0))  # outside of the triangle
    np.testing.assert_array_equal(image[:, :50], picture()[:, :50])


def test_nothing_is_pasted_over_another_object_or_without_outlines() -> None:
    covered = np.concatenate((BOXES, [[0.0, 72.0, 12.0, 88.0, 28.0]]))
    for boxes, outlines, share in (
        (covered, [TRIANGLE, None], 1.0), (BOXES, [None], 1.0), (BOXES, [TRIANGLE], 0.0),
    ):  # fmt: skip
        image, found, _ = copy_paste(picture(), boxes, outlines, share, np.random.default_rng(0))
        np.testing.assert_array_equal(found, boxes)
        np.testing.assert_array_equal(image, picture())


def test_a_warped_box_is_that_around_the_warped_outline() -> None:
    turn = Hyp(degrees=45, translate=0.0, scale=0.0)
    square = np.array([[40.0, 40.0], [60.0, 40.0], [60.0, 60.0], [40.0, 60.0]])
    diamond = np.array([[50.0, 40.0], [60.0, 50.0], [50.0, 60.0], [40.0, 50.0]])
    boxes = np.array([[0.0, 40.0, 40.0, 60.0, 60.0]])
    image = np.zeros((100, 100, 3), np.uint8)
    sides = []
    for outline in (square, diamond):
        _, found = random_perspective(
            image, boxes, turn, (100, 100), np.random.default_rng(3), [outline]
        )
        sides.append(found[0, 3:] - found[0, 1:3])
    _, plain = random_perspective(image, boxes, turn, (100, 100), np.random.default_rng(3))
    np.testing.assert_allclose(sides[0], plain[0, 3:] - plain[0, 1:3], atol=1e-9)
    assert (sides[1] < sides[0] - 2).all()


def test_samples_of_outlined_objects_hold_more_of_them_with_copy_paste(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    labels = np.array([[2, 0.2, 0.2, 0.2, 0.2]], np.float32)
    sample = Sample(tmp_path / "a.png", (100, 100), labels, ((TRIANGLE / 100).astype(np.float32),))
    counts = []
    for share in (0.0, 1.0):
        maker = SampleMaker(Source.of([sample], 64, Hyp(copy_paste=share, scale=0.0), seed=1))
        images = np.zeros((8, 3, 64, 64), np.uint8)
        targets = maker.fill(images, 0, range(8), [0] * 8)
        counts.append(int((targets[:, 1] == 2).sum()))
    assert counts[1] > counts[0]


#: The keys of YOLOv5's own files, with values of our own.
STOCK = """
lr0: 0.003
lrf: 0.15
momentum: 0.75
weight_decay: 0.00025
warmup_epochs: 3.4
warmup_momentum: 0.6
warmup_bias_lr: 0.19
box: 0.02
cls: 0.2
cls_pw: 0.5
obj: 0.5
obj_pw: 0.7
iou_t: 0.2
anchor_t: 3.4
anchors: 3.4
fl_gamma: 0.0
hsv_h: 0.01
hsv_s: 0.5
hsv_v: 0.3
degrees: 0.0
translate: 0.05
scale: 0.8
shear: 0.0
perspective: 0.0
flipud: 0.0
fliplr: 0.5
mosaic: 0.9
mixup: 0.04
copy_paste: 0.1
"""


def test_files_with_every_key_of_yolov5_are_read(tmp_path: Path) -> None:
    path = tmp_path / "hyp.yaml"
    path.write_text(STOCK)
    found = read_hyp(path)
    assert (found.copy_paste, found.anchors, found.mixup) == (0.1, 3.4, 0.04)


def test_anchors_of_a_recipe_are_counted_per_level(shapes: Path, tmp_path: Path) -> None:
    from yolo_train.options import FitOptions
    from yolo_train.start import planned_architecture

    options = FitOptions(data=str(shapes))
    names = ["a", "b"]
    assert planned_architecture(options, Hyp(anchors=3.4), names, None).anchors_per_level == 3
    found = planned_architecture(options, Hyp(anchors=5), names, None)
    assert [len(level) for level in found.anchors] == [5, 5, 5]
