"""Mistakes by kind, each made on purpose, and what mending it would win."""

from __future__ import annotations

import numpy as np
import pytest
from scenes import scene

from yolo_core.datasets.coco_json import Box, Category, Image
from yolo_eval.figures.errors import KINDS, errors
from yolo_eval.figures.scoring import score
from yolo_eval.runs.ground_truth import GroundTruth
from yolo_eval.runs.run import Predictions, Row

#: Two objects of class 1 and one of class 2, each 100 by 100 pixels, far apart.
PLACES = {(1, 0.0): 1, (1, 300.0): 1, (2, 0.0): 2}


def truth() -> GroundTruth:
    boxes = tuple(
        Box(image, label, (x, 0.0, 100.0, 100.0), 1e4, crowd=False)
        for (image, x), label in PLACES.items()
    )
    images = tuple(Image(number, f"{number}.png", 640, 640) for number in (1, 2))
    return GroundTruth("kinds", ".", images, (Category(1, "a"), Category(2, "b")), boxes)


RIGHT: list[Row] = [
    (image, label, [x, 0.0, 100.0, 100.0], 0.8) for (image, x), label in PLACES.items()
]


def found(*rows: Row) -> dict[str, tuple[float, int]]:
    """Cost in points of AP50 and number of every kind that occurs."""
    where = truth()
    predictions = Predictions.from_rows(list(rows))
    kinds = errors(where, predictions, score(where, predictions).matches[0])["kinds"]
    assert tuple(kinds) == KINDS
    return {
        kind: (round(100 * value["lost"], 2), value["shown"])
        for kind, value in kinds.items()
        if value["lost"] or value["shown"]
    }


def test_nothing_wrong_is_nothing_lost() -> None:
    assert found(*RIGHT) == {}


def test_a_box_beside_its_object() -> None:
    moved: Row = (1, 1, [60.0, 0.0, 100.0, 100.0], 0.9)  # IoU 0.25
    kinds = found(moved, *RIGHT[1:])
    # The object counts as found badly, not as missed; mended, class a is perfect.
    assert set(kinds) == {"localisation"}
    assert kinds["localisation"][1] == 1
    assert kinds["localisation"][0] == pytest.approx(100 - 50 * (1 + 51 / 101 / 2), abs=0.01)


def test_an_object_of_another_class() -> None:
    kinds = found((1, 2, [0.0, 0.0, 100.0, 100.0], 0.9), *RIGHT[1:])
    # Class a: one of two found, precision 1 up to recall 0.5; class b: precision 1/2.
    assert kinds == {"class": (round(100 - 50 * (51 / 101 + 0.5), 2), 1)}


def test_a_class_mistake_on_a_found_object_is_removed() -> None:
    kinds = found(*RIGHT, (1, 2, [0.0, 0.0, 100.0, 100.0], 0.9))
    assert kinds == {"class": (25.0, 1)}


def test_a_second_box_on_one_object() -> None:
    kinds = found((1, 1, [0.0, 0.0, 100.0, 100.0], 0.95), (1, 1, [2.0, 0.0, 100.0, 100.0], 0.9),
                  *RIGHT[1:])  # fmt: skip
    assert kinds == {"duplicate": (round(50 * (50 / 101) * (1 - 2 / 3), 2), 1)}


def test_a_box_on_nothing() -> None:
    assert found(*RIGHT, (2, 2, [500.0, 500.0, 50.0, 50.0], 0.9)) == {"background": (25.0, 1)}
    # In a picture without any object of its own too.
    assert found(*RIGHT[:2], (2, 2, [500.0, 500.0, 50.0, 50.0], 0.9))["background"][1] == 1


def test_wrong_in_class_and_place() -> None:
    kinds = found(*RIGHT, (2, 1, [60.0, 0.0, 100.0, 100.0], 0.9))
    assert set(kinds) == {"both"}
    assert kinds["both"][1] == 1


def test_an_object_that_nothing_explains() -> None:
    kinds = found(*RIGHT[1:])
    assert kinds == {"missed": (round(50 * 50 / 101, 2), 1)}


def test_boxes_that_nobody_is_shown_cost_and_are_not_counted() -> None:
    kinds = found(*RIGHT, (2, 2, [500.0, 500.0, 50.0, 50.0], 0.9), (2, 2, [400.0, 0, 9, 9], 0.1))
    assert kinds["background"] == (25.0, 1)
    weak = [(*row[:3], 0.2) for row in RIGHT]
    assert found(*weak) == {"missed": (0.0, 3)}


@pytest.mark.parametrize("seed", range(5))
def test_every_wrong_box_has_one_kind(seed: int) -> None:
    where, predictions = scene(seed)
    matches = score(where, predictions).matches[0]
    kinds = errors(where, predictions, matches)["kinds"]
    wrong = ~matches.right[0] & ~matches.ignored[0] & (matches.score >= 0.25)
    assert sum(kinds[kind]["shown"] for kind in KINDS[:-1]) == np.count_nonzero(wrong)
    assert all(value["lost"] >= -1e-12 for value in kinds.values())


def test_without_objects_nothing_is_measured() -> None:
    where, predictions = scene(0)
    empty = GroundTruth("none", ".", where.images, where.categories, ())
    kinds = errors(empty, predictions, score(empty, predictions).matches[0])["kinds"]
    assert {value["lost"] for value in kinds.values()} == {None}
    nothing = Predictions.from_rows([])
    kinds = errors(where, nothing, score(where, nothing).matches[0])["kinds"]
    assert kinds["missed"]["shown"] == where.objects
