"""Decoding and suppression against plain definitions."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.boxes import (
    NmsSettings,
    area,
    corners,
    decode,
    detections,
    detections_of_rows,
    intersection,
    iou,
    nms,
    pair,
    plausible,
    rows_of,
)
from yolo_core.yolo.elementary import sigmoid


def test_sigmoid_is_exact_to_the_last_digits() -> None:
    x = np.linspace(-39, 39, 20001)
    np.testing.assert_allclose(sigmoid(x), 1 / (1 + np.exp(-x)), rtol=5e-16)
    assert sigmoid(np.array([-1e300, 1e300])).tolist() == sigmoid(np.array([-40.0, 40.0])).tolist()


def test_sigmoid_bits_are_pinned() -> None:
    """The same digest is expected on every processor, NumPy and Python."""
    x = np.arange(-40000, 40001) / 1000.0
    digest = hashlib.sha256(sigmoid(x).astype("<f8").tobytes()).hexdigest()
    assert digest == ("456fee96dd2415afbdbac4e7b0be969ffd13bcae48b3254deb49753b89dc4e06")


def brute_force(boxes: Array, scores: Array, classes: Array, threshold: float) -> list[int]:
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    kept: list[int] = []
    for i in order:
        if all(classes[i] != classes[j] or iou(boxes[i], boxes[j]) <= threshold for j in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize("seed", range(20))
def test_nms_equals_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(0, 120))
    corner = rng.uniform(0, 50, (n, 2))
    boxes = np.concatenate((corner, corner + rng.uniform(-1, 30, (n, 2))), axis=1)
    scores = rng.integers(0, 20, n) / 20  # many ties
    classes = rng.integers(0, 3, n)
    expected = brute_force(boxes, scores, classes, 0.4)
    assert nms(boxes, scores, classes, 0.4, 10**4).tolist() == expected
    assert nms(boxes, scores, classes, 0.4, 5).tolist() == expected[:5]


def test_iou() -> None:
    box = np.array([0.0, 0.0, 2.0, 2.0])
    others = np.array([[1, 1, 3, 3], [0, 0, 2, 2], [5, 5, 6, 6], [1, 1, 1, 1]], float)
    np.testing.assert_allclose(iou(box, others), [1 / 7, 1, 0, 0])
    assert iou(np.zeros(4), np.zeros(4)) == 0


def test_rows_follow_level_anchor_y_x() -> None:
    architecture = Architecture.named("n", nc=1)
    heads = []
    for level, side in enumerate((8, 4, 2)):
        level_numbers = np.zeros((1, 3, 6, side, side))
        a, y, x = np.mgrid[0:3, 0:side, 0:side]
        level_numbers[0, :, 0] = level * 1000 + a * 100 + y * 10 + x
        heads.append(level_numbers.reshape(1, 18, side, side))
    rows = rows_of(tuple(heads), 6)
    assert rows.shape == (1, architecture.rows(64, 64), 6)
    assert rows[0, 8 * 8 + 8 + 2, 0] == 112
    assert rows[0, 3 * 64 + 4 + 3, 0] == 1013


def test_decode_by_hand() -> None:
    architecture = Architecture.named("n", nc=1)
    # Second anchor (16x30) of stride 8, cell y 3, x 5, all numbers 0: sigmoid one half.
    row = np.array([64 + 3 * 8 + 5])
    box = decode(np.zeros((1, 4)), row, architecture, (64, 64))[0]
    np.testing.assert_allclose(box, [44 - 8, 28 - 15, 44 + 8, 28 + 15])


def plant(architecture: Architecture, row: Any, objectness: Any, classes: Any) -> Any:
    logits = np.full((architecture.rows(64, 64), architecture.no), -30.0)
    logits[row, :4] = 0
    logits[row, 4] = objectness
    logits[row, 5:] = classes
    return logits


def test_multi_label_and_best_label() -> None:
    architecture = Architecture.named("n", nc=3)
    logits = plant(architecture, 70, 3.0, [2.0, -30.0, 1.0])
    many = detections(logits, architecture, (64, 64), NmsSettings())
    assert many[:, 5].tolist() == [0, 2]
    np.testing.assert_allclose(many[0, 4], sigmoid(np.array([3.0, 2.0])).prod())
    one = detections(logits, architecture, (64, 64), NmsSettings.for_display())
    assert one[:, 5].tolist() == [0]
    agnostic = detections(logits, architecture, (64, 64), NmsSettings(agnostic=True))
    assert agnostic[:, 5].tolist() == [0]


@pytest.mark.parametrize("conf", [0.0, 1e-18, 1e-9, 0.001, 0.25, 0.5, 0.999, 1 - 1e-12, 1.0])
def test_plausible_rows_are_all_that_can_be_confident(conf: float) -> None:
    near = np.log(conf / (1 - conf)) if 0 < conf < 1 else 0.0
    steps = np.concatenate((np.linspace(-1e-6, 1e-6, 2001), np.linspace(-60, 60, 2001)))
    logits = np.concatenate((near + steps, steps))
    left_out = np.delete(logits, plausible(logits, conf))
    assert not (sigmoid(left_out) > conf).any()
    if 1e-9 < conf < 1 - 1e-9:
        assert len(left_out) > 1000


def test_detections_of_the_plausible_rows_are_those_of_all() -> None:
    architecture = Architecture.named("n", nc=3)
    logits = np.random.default_rng(5).normal(-2, 2, (architecture.rows(64, 64), 8))
    settings = NmsSettings(conf=0.3)
    places = plausible(logits[:, 4], settings.conf)
    assert 0 < len(places) < len(logits)
    whole = detections(logits, architecture, (64, 64), settings)
    part = detections(logits[places], architecture, (64, 64), settings, places=places)
    assert len(whole)
    assert np.array_equal(whole, part)


def test_detections_come_with_the_rows_that_they_are_of() -> None:
    architecture = Architecture.named("n", nc=3)
    logits = np.random.default_rng(6).normal(-2, 2, (architecture.rows(64, 64), 8))
    settings = NmsSettings(conf=0.3)
    found, rows = detections_of_rows(logits, architecture, (64, 64), settings)
    assert np.array_equal(found, detections(logits, architecture, (64, 64), settings))
    assert np.array_equal(found[:, :4], decode(logits[rows], rows, architecture, (64, 64)))
    scores = sigmoid(logits[rows, 4]) * sigmoid(logits[rows, 5 + found[:, 5].astype(int)])
    assert np.array_equal(found[:, 4], scores)


def test_nothing_found_is_an_empty_table() -> None:
    architecture = Architecture.named("n", nc=3)
    logits = np.full((architecture.rows(64, 64), 8), -30.0)
    for settings in (NmsSettings(), NmsSettings.for_display()):
        assert detections(logits, architecture, (64, 64), settings).shape == (0, 6)


def test_refuses_another_shape_and_settings() -> None:
    architecture = Architecture.named("n", nc=3)
    with pytest.raises(InputError, match="shape"):
        detections(np.zeros((5, 8)), architecture, (64, 64), NmsSettings())
    for bad in ({"conf": 2}, {"iou": float("nan")}, {"max_det": 0}):
        with pytest.raises(InputError):
            NmsSettings(**bad)


def test_pairs_take_the_best_overlap_first_and_every_box_once() -> None:
    overlap = np.array([[0.9, 0.8, 0.0], [0.95, 0.5, 0.5], [0.4, 0.5, 0.5]])
    assert pair(overlap, 0.5) == [(1, 0), (0, 1), (2, 2)]
    assert pair(np.array([[0.7, 0.7], [0.7, 0.7]]), 0.6) == [(0, 0), (1, 1)]
    assert pair(np.zeros((0, 3)), 0.5) == []


def test_corners_and_common_area_of_boxes_of_width_and_height() -> None:
    box, other = corners(np.array([[10.0, 20, 30, 40], [20, 30, 100, 100]]))
    assert box.tolist() == [10, 20, 40, 60]
    assert float(intersection(box, other)) == 20 * 30
    assert float(area(box)) == 1200
    assert float(iou(box, other)) == 600 / (1200 + 10000 - 600)
