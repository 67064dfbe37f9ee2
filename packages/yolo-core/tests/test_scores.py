"""The one scorer against counting by hand, and against pycocotools' own summary."""

from __future__ import annotations

import numpy as np
import pytest

from yolo_core.arrays import Array
from yolo_core.yolo.scores import AREAS, curves, over_classes, score, score_boxes

pytest.importorskip("pycocotools", reason="the extra `scores` is not installed")

TRUTH = np.array([[0.0, 10, 10, 30, 30], [0, 50, 50, 70, 70], [1, 10, 60, 20, 80]])
RIGHT = [[10, 10, 30, 30, 0.9, 0], [50, 50, 70, 70, 0.8, 0]]
WRONG = [[80, 80, 90, 90, 0.85, 0]]


def boxes(*rows: list[float]) -> Array:
    return np.array(rows, np.float64).reshape(-1, 6)


def test_every_object_found_is_one_and_a_class_never_found_is_zero() -> None:
    scoring = score_boxes([TRUTH], [boxes(*RIGHT)], 3)
    assert scoring.class_ap[:2].tolist() == [[1.0, 1.0], [0.0, 0.0]]
    assert np.isnan(scoring.class_ap[2]).all()
    assert scoring.metrics == {}


def test_a_wrong_box_between_two_right_ones_costs_precision_behind_it() -> None:
    (ap, ap50), _ = score_boxes([TRUTH], [boxes(*RIGHT, *WRONG)], 2).class_ap
    # Precision is 1 up to recall 0.5, two thirds behind it: 51 and 50 of 101 points.
    assert (ap, ap50) == pytest.approx([(51 + 50 * 2 / 3) / 101] * 2)


def test_curves_count_what_is_left_at_each_confidence() -> None:
    scoring = score_boxes([TRUTH], [boxes(*RIGHT, *WRONG)], 2)
    found = curves(scoring.matches[0], np.array([0.0, 0.82, 0.88, 0.95]))
    assert found.precision[:, 0].tolist() == [2 / 3, 0.5, 1.0, 1.0]
    assert found.recall[:, 0].tolist() == [1.0, 0.5, 0.5, 0.0]
    # A class that is never detected has precision 0.
    assert found.precision[:, 1].tolist() == [0, 0, 0, 0]
    assert (found.best, found.confidence) == (0, 0.0)
    assert over_classes(found.recall).tolist() == [0.5, 0.25, 0.25, 0.0]


def test_all_areas_give_the_twelve_figures() -> None:
    objects = [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 1, 9, 9], "area": 81,
                "iscrowd": 0}]  # fmt: skip
    found = [{"image_id": 7, "category_id": 3, "bbox": [1, 1, 9, 9], "score": 0.5}]
    scoring = score([7, 9], [3], objects, found, AREAS)
    assert (scoring.metrics["AP"], scoring.metrics["AP_small"]) == pytest.approx((1.0, 1.0))
    assert scoring.metrics["AP_large"] is None
    assert [len(matches.score) for matches in scoring.matches] == [1, 1, 1, 1]


def test_nothing_to_find_is_not_measured() -> None:
    scoring = score([1], [1], [], [], AREAS)
    assert set(scoring.metrics.values()) == {None}
    assert curves(scoring.matches[0], np.linspace(0, 1, 3)).best == 0
