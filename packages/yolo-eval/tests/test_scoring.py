"""Figures: pycocotools' own to the last digit, defined results where there is little to score."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scenes import repeated, scene

from yolo_core.arrays import Array
from yolo_core.datasets.coco_json import Box
from yolo_eval.figures.bootstrap import (
    CONFIDENCES,
    FIGURES,
    WeightedRun,
    at_points,
    best_confidence,
    differences,
    draws,
    interval,
)
from yolo_eval.figures.confusion import confusion
from yolo_eval.figures.curves import curves
from yolo_eval.figures.metrics import measure
from yolo_eval.figures.scoring import COCO_METRICS, score
from yolo_eval.runs.ground_truth import GroundTruth, from_coco
from yolo_eval.runs.run import Predictions, read_run

NONE = Predictions.from_rows([])


def other_tool(annotations: Any, results: Any) -> Array:
    """The twelve figures as anyone gets them from the two files."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        evaluation = COCOeval(truth, truth.loadRes(str(results)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stats: Array = evaluation.stats
    return stats


@pytest.mark.parametrize("seed", range(6))
def test_written_files_score_the_same_elsewhere(seed: int, tmp_path: Path) -> None:
    truth, predictions = scene(seed)
    (tmp_path / "truth.json").write_text(json.dumps(truth.to_dict()))
    (tmp_path / "results.json").write_text(json.dumps(predictions.to_list()))
    expected = other_tool(tmp_path / "truth.json", tmp_path / "results.json")
    metrics = measure(truth, predictions)
    ours = [-1.0 if metrics[name] is None else metrics[name] for name in COCO_METRICS]
    assert ours == expected.tolist()  # to the last digit


@pytest.mark.parametrize("seed", range(6))
def test_weights_of_one_give_the_figures_themselves(seed: int) -> None:
    truth, predictions = scene(seed)
    scoring = score(truth, predictions)
    run = WeightedRun(scoring)
    ones = np.ones(len(truth.images), dtype=np.int64)
    figures, classes = run.figures(ones)
    expected = [scoring.metrics[name] for name in COCO_METRICS]
    expected = [np.nan if value is None else value for value in expected]
    np.testing.assert_allclose(figures[: len(expected)], expected, atol=1e-12)
    np.testing.assert_allclose(classes, scoring.class_ap[:, 0], atol=1e-12)
    metrics = measure(truth, predictions)
    point = [metrics[name] for name in ("precision", "recall", "f1")]
    points = run.points(ones)
    np.testing.assert_allclose(points[:, best_confidence(points)], point, atol=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_weights_stand_for_repeated_images(seed: int) -> None:
    # Equal scores within one image are ordered differently among its copies: both orders are
    # right, so the comparison is made without them.
    truth, predictions = scene(seed, ties=False)
    scoring = score(truth, predictions)
    run = WeightedRun(scoring)
    weights = next(draws(len(truth.images), 1, seed))
    figures, _ = run.figures(weights)
    expected = score(*repeated(truth, predictions, weights)).metrics
    for name, value in zip(FIGURES, figures):
        if name in expected:
            wanted = np.nan if expected[name] is None else expected[name]
            np.testing.assert_allclose(value, wanted, atol=1e-12, err_msg=name)


def test_an_interval_holds_the_difference_and_knows_no_difference() -> None:
    truth, predictions = scene(1, images=40)
    scoring = score(truth, predictions)
    worse = Predictions.from_rows(
        [(p["image_id"], p["category_id"], p["bbox"], p["score"])
         for number, p in enumerate(predictions.to_list()) if number % 4]
    )  # fmt: skip
    other = score(truth, worse)
    a, b = WeightedRun(scoring), WeightedRun(other)
    drawn, _ = differences(a, b, draws(40, 200, 0))
    found = interval(other.metrics["AP"] - scoring.metrics["AP"], drawn[:, 0])
    assert found.low < found.delta < found.high
    same, _ = differences(a, a, draws(40, 200, 0))
    nothing = interval(0.0, same[:, 0])
    assert (nothing.delta, nothing.low, nothing.high) == (0, 0, 0)


def test_runs_are_compared_at_one_confidence() -> None:
    """Scores that are all lower move the best confidence, not precision at another one."""
    truth, predictions = scene(1, images=12)
    lowered = Predictions.from_rows(
        [(p["image_id"], p["category_id"], p["bbox"], p["score"] * 0.999)
         for p in predictions.to_list()]
    )  # fmt: skip
    a = WeightedRun(score(truth, predictions))
    b = WeightedRun(score(truth, lowered))
    weights = np.ones(12, dtype=np.int64)
    (found,), _ = differences(a, b, [weights])
    points = a.points(weights), b.points(weights)
    best = best_confidence(points[0])
    expected = at_points(points[1], best) - at_points(points[0], best)
    np.testing.assert_array_equal(found[-6:], expected)
    assert best_confidence(points[1]) <= best


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """A mean of normal numbers, drawn again and again: about 95 of 100 intervals hold the truth."""
    generator = np.random.default_rng(0)
    held = 0
    for seed in range(300):
        values = generator.normal(1.0, 1.0, 60)
        means = np.array([values @ weights / 60 for weights in draws(60, 300, seed)])
        found = interval(float(values.mean()), means)
        held += found.low <= 1.0 <= found.high
    assert 0.89 <= held / 300 <= 0.99


def test_no_predictions_are_zero_and_not_an_error() -> None:
    truth, _ = scene(0)
    metrics = measure(truth, NONE)
    for name in ("AP", "AR100", "precision", "recall", "f1"):
        assert metrics[name] == 0
    assert metrics["detections"] == 0
    assert metrics["classes"][3]["AP"] is None  # a category without instances is not scored


def test_no_objects_are_not_measured() -> None:
    truth, predictions = scene(0)
    empty = dataclasses.replace(truth, boxes=())
    metrics = measure(empty, predictions)
    assert all(metrics[name] is None for name in (*COCO_METRICS, "precision", "recall", "f1"))
    assert metrics["curves"] == {}


def test_detections_in_a_crowd_count_neither_way() -> None:
    truth, _ = scene(0)
    boxes = (
        Box(1, 1, (10.0, 10.0, 20.0, 20.0), 400.0, crowd=False),
        Box(1, 1, (100.0, 100.0, 200.0, 200.0), 40000.0, crowd=True),
    )
    crowded = dataclasses.replace(truth, boxes=boxes)
    hit = (1, 1, [10.0, 10.0, 20.0, 20.0], 0.6)
    inside = (1, 1, [120.0, 120.0, 30.0, 30.0], 0.9)
    beside = (1, 1, [320.0, 20.0, 30.0, 30.0], 0.9)
    alone = measure(crowded, Predictions.from_rows([hit]))
    in_crowd = measure(crowded, Predictions.from_rows([hit, inside]))
    wrong = measure(crowded, Predictions.from_rows([hit, beside]))
    assert alone["AP"] == in_crowd["AP"] == pytest.approx(1.0)
    assert wrong["AP"] == pytest.approx(0.5)
    assert alone["confusion"] == in_crowd["confusion"]
    assert wrong["confusion"][4][0] == 1


def test_curves_agree_with_counting() -> None:
    truth, predictions = scene(4)
    matches = score(truth, predictions).matches[0]
    found = curves(matches)
    for index in (0, 37, 100, 200):
        for category in np.flatnonzero(matches.objects.sum(axis=1)):
            chosen = (matches.category == category) & (matches.score >= CONFIDENCES[index])
            right = int((matches.right[0] & chosen).sum())
            counted = int((~matches.ignored[0] & chosen).sum())
            nothing = float((matches.category == category).any())
            assert found.precision[index, category] == (right / counted if counted else nothing)
            assert found.recall[index, category] == right / matches.objects[category].sum()
    assert np.nanmean(found.f1[found.best]) == np.nanmax(np.nanmean(found.f1[:, :3], axis=1))


def test_a_class_with_nothing_left_at_the_confidence_has_no_precision() -> None:
    truth, _ = scene(0)
    boxes = tuple(Box(1, c, (10.0, 10.0, 20.0, 20.0), 400.0, crowd=False) for c in (1, 2))
    found = [
        (1, 1, [10.0, 10.0, 20.0, 20.0], 0.9), (1, 1, [300.0, 10.0, 20.0, 20.0], 0.3),
        (1, 2, [300.0, 10.0, 20.0, 20.0], 0.1),
    ]  # fmt: skip
    metrics = measure(dataclasses.replace(truth, boxes=boxes), Predictions.from_rows(found))
    assert metrics["confidence"] > 0.1
    first, second = metrics["classes"][:2]
    assert (first["precision"], first["recall"]) == (1, 1)
    assert (second["precision"], second["recall"], second["f1"]) == (None, 0, 0)
    assert metrics["precision"] == 1  # the mean counts it as YOLOv5 does


def test_confusion_counts_every_object_once() -> None:
    truth, predictions = scene(2)
    table = confusion(truth, predictions)
    objects = [sum(not b.crowd and b.category_id == c.id for b in truth.boxes)
               for c in truth.categories]  # fmt: skip
    assert table[:-1].sum(axis=1).tolist() == objects
    assert table[-1, -1] == 0


def test_the_reference_detections_score_as_stated(real: Path) -> None:
    """README of the data: AP 29.46, AP50 48.43, AP75 30.97, by pycocotools."""
    annotations = real / "coco/val/instances.json"
    truth: GroundTruth = from_coco(annotations, real / "coco/val/images")
    assert (len(truth.images), truth.objects, truth.crowds) == (500, 4537, 69)
    packed = real / "reference_detections.json.gz"
    scoring = score(truth, read_run(packed, truth).predictions)
    stated = [round(100 * scoring.metrics[name], 2) for name in ("AP", "AP50", "AP75")]
    assert stated == [29.46, 48.43, 30.97]
    run = WeightedRun(scoring)
    figures, _ = run.figures(np.ones(500, dtype=np.int64))
    np.testing.assert_allclose(
        figures[:12], [scoring.metrics[name] for name in COCO_METRICS], atol=1e-12
    )


def test_real_detections_score_the_same_elsewhere(real: Path, tmp_path: Path) -> None:
    """From the files alone, by pycocotools' own loader; on 100 pictures, for time."""
    whole = from_coco(real / "coco/val/instances.json", real / "coco/val/images")
    truth = whole.shard(1, 5)
    kept = {image.id for image in truth.images}
    with gzip.open(real / "reference_detections.json.gz") as stream:
        results = [item for item in json.load(stream) if item["image_id"] in kept]
    (tmp_path / "truth.json").write_text(json.dumps(truth.to_dict()))
    (tmp_path / "results.json").write_text(json.dumps(results))
    expected = other_tool(tmp_path / "truth.json", tmp_path / "results.json")
    found = score(truth, read_run(tmp_path / "results.json", truth).predictions).metrics
    assert [found[name] for name in COCO_METRICS] == expected.tolist()
