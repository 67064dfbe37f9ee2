"""The one scorer against counting by hand, and against pycocotools' own summary."""

from __future__ import annotations

import contextlib
import io
from typing import Any

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


@pytest.mark.parametrize("seed", range(12))
def test_every_table_is_that_of_pycocotools(seed: int) -> None:
    """Boxes on a coarse grid and few scores, so that overlaps and scores are equal again and
    again; crowds, sizes around the limits of the areas, more than 100 boxes in an image."""
    generator = np.random.default_rng(seed)
    objects: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image in range(1, 9):
        for _ in range(int(generator.integers(0, 7))):
            side = generator.choice([32, 40, 96, 100])
            x, y, w, h = (float(v) for v in (*generator.integers(0, 20, 2) * 10, side, side))
            label, crowd = int(generator.integers(1, 4)), int(generator.random() < 0.15)
            objects.append(
                {"id": len(objects) + 1, "image_id": image, "category_id": label,
                 "bbox": [x, y, w, h], "area": w * h, "iscrowd": crowd}
            )  # fmt: skip
            for _ in range(int(generator.integers(0, 4)) + 120 * (image == 3)):
                box = [x + 8.0 * generator.integers(-2, 3), y, w, h + 8.0 * generator.integers(3)]
                score_ = float(generator.integers(1, 8)) / 8
                found.append({"image_id": image, "category_id": int(generator.integers(1, 5)),
                              "bbox": box, "score": score_})  # fmt: skip
    scoring = score(range(1, 9), range(1, 5), objects, found)
    expected = pycocotools_own(objects, found)
    ours = [-1.0 if value is None else value for value in scoring.metrics.values()]
    assert ours == expected.stats.tolist()  # to the last digit
    assert np.array_equal(scoring.precision, expected.eval["precision"][:, :, :, 0, -1])
    for area, matches in enumerate(scoring.matches):
        for category in range(4):
            rows = matches.category == category
            parts = [e for e in expected.evalImgs[(category * 4 + area) * 8 :][:8] if e is not None]
            assert np.count_nonzero(rows) == sum(len(part["dtScores"]) for part in parts)
            hits = sum(((p["dtMatches"] > 0) & ~p["dtIgnore"]).sum() for p in parts)
            ignored = sum(p["dtIgnore"].sum() for p in parts)
            assert matches.right[:, rows].sum() == hits
            assert matches.ignored[:, rows].sum() == ignored


def pycocotools_own(objects: list[dict[str, Any]], found: list[dict[str, Any]]) -> Any:
    """The evaluation by pycocotools alone, of images 1 to 8 and categories 1 to 4."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": n} for n in range(1, 9)],
            "categories": [{"id": n} for n in range(1, 5)],
            "annotations": [dict(item) for item in objects],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes([dict(item) for item in found]), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation
