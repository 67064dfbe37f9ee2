from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolo_core.mxnet.importing import mxnet
from yolo_core.mxnet.network import build
from yolo_core.yolo.anchors import COCO_ANCHORS
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.samples import Sample, check_samples
from yolo_train.anchors import best_possible_recall, box_sides, suited_anchors
from yolo_train.hyp import Hyp
from yolo_train.plots import confusion, confusion_matrix, curves, labels, results
from yolo_train.rectangles import rectangles
from yolo_train.run_folder import COLUMNS
from yolo_train.scores import Scores, score
from yolo_train.start import random_parameters
from yolo_train.trainer import image_weights
from yolo_train.validate import Validated, Validator

mx = mxnet()


def _random_boxes(seed: int, images: int = 30, nc: int = 3) -> Any:
    """Truths, and detections that are shifted truths, doubles and strays."""
    rng = np.random.default_rng(seed)
    truths, found = [], []
    for _ in range(images):
        count = int(rng.integers(0, 6))
        low = rng.uniform(0, 80, (count, 2))
        boxes = np.concatenate((low, low + rng.uniform(5, 40, (count, 2))), axis=1)
        labels = rng.integers(nc, size=(count, 1))
        truths.append(np.concatenate((labels, boxes), axis=1))
        every = np.repeat(boxes, 2, axis=0)
        moved = every + rng.normal(0, 3, every.shape)
        rows = np.concatenate(
            (moved, rng.random((2 * count, 1)), np.repeat(labels, 2, axis=0)), axis=1
        )
        stray = np.array([[1, 1, 20, 20, rng.random(), rng.integers(nc)]])
        found.append(np.concatenate((rows, stray)))
    return truths, found


def _coco_ap(truths: Any, found: Any, nc: int) -> Any:
    """AP, AP50 as `COCOeval.summarize` prints them."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": n} for n in range(len(truths))],
        "categories": [{"id": n} for n in range(nc)],
        "annotations": [
            {
                "id": 1000 * n + k + 1, "image_id": n, "category_id": int(row[0]), "iscrowd": 0,
                "bbox": [row[1], row[2], row[3] - row[1], row[4] - row[2]],
                "area": (row[3] - row[1]) * (row[4] - row[2]),
            }
            for n, rows in enumerate(truths) for k, row in enumerate(rows)
        ],
    }  # fmt: skip
    results = [
        {"image_id": n, "category_id": int(row[5]), "score": row[4],
         "bbox": [row[0], row[1], row[2] - row[0], row[3] - row[1]]}
        for n, rows in enumerate(found) for row in rows
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[0], evaluation.stats[1]


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_is_pycocotools(seed: int) -> None:
    truths, found = _random_boxes(seed)
    scores = score(truths, found, 3)
    ap, ap50 = _coco_ap(truths, found, 3)
    assert (scores.map, scores.map50) == pytest.approx((ap, ap50), abs=1e-12)
    assert np.mean(scores.class_map) == pytest.approx(ap, abs=1e-12)


def test_precision_and_recall_are_counted_at_the_best_f1() -> None:
    boxes = np.array([[0.0, 10, 10, 30, 30], [0, 50, 50, 70, 70]])
    right = [[10, 10, 30, 30, 0.9, 0], [50, 50, 70, 70, 0.8, 0]]
    wrong = [[80, 80, 90, 90, 0.3, 0]]
    perfect = score([boxes], [np.array(right + wrong, np.float64)], 1)
    assert (perfect.precision, perfect.recall, perfect.map50) == pytest.approx((1, 1, 1))
    half = score([boxes], [np.array([*right[:1], [80, 80, 90, 90, 0.95, 0]], np.float64)], 1)
    assert (half.precision, half.recall) == pytest.approx((0.5, 0.5))


def test_nothing_found_and_nothing_to_find_score_zero() -> None:
    boxes = [np.array([[0.0, 10, 10, 30, 30]])]
    nothing = [np.zeros((0, 6))]
    assert score(boxes, nothing, 2).fitness == 0
    assert score([np.zeros((0, 5))], nothing, 2).fitness == 0
    assert np.isnan(score(boxes, nothing, 2).class_map[1])


def test_rectangles_hold_every_image_and_are_no_larger_than_needed() -> None:
    rng = np.random.default_rng(0)
    sizes = [(int(h), int(w)) for h, w in rng.integers(50, 900, (40, 2))]
    batches = rectangles(sizes, 320, 8)
    assert sorted(n for members, _ in batches for n in members) == list(range(40))
    for members, (height, width) in batches:
        assert height % 32 == width % 32 == 0
        assert max(height, width) <= 320
        for number in members:
            ratio = 320 / max(sizes[number])
            assert round(sizes[number][0] * ratio) <= height
            assert round(sizes[number][1] * ratio) <= width
    assert rectangles([(100, 100)], 64, 4) == [([0], (64, 64))]
    assert rectangles([(100, 200)], 64, 4) == [([0], (32, 64))]


def test_validation_finds_what_the_predictor_of_yolo_core_finds(
    shapes: Path, tmp_path: Path
) -> None:
    from yolo_core.mxnet.checkpoint import Checkpoint, write_checkpoint
    from yolo_core.yolo.boxes import NmsSettings
    from yolo_core.yolo.dataset import read_data_yaml
    from yolo_core.yolo.letterbox import read_image
    from yolo_core.yolo.predictor import detect, open_predictor

    data = read_data_yaml(shapes)
    samples, _ = check_samples(data.images("val"), 4, "val")
    architecture = Architecture.named("n", names=data.names)
    parameters = random_parameters(architecture, 1)
    parameters["model.24.m.0.bias"] += 3
    net = build(architecture, parameters, fused=False)
    validator = Validator(samples, architecture, 64, 4, mx.cpu(), Hyp(), (0.05, 1.0, 0.5))
    validated = validator.run(net, "test")
    write_checkpoint(tmp_path / "net", Checkpoint(architecture, parameters, fused=False))
    predictor = open_predictor(tmp_path / "net", (64, 64))
    for sample, found in zip(samples, validated.found):
        expected = detect(predictor, read_image(sample.image), NmsSettings())
        assert len(found) == len(expected)
        np.testing.assert_allclose(found[:20, :5], expected[:20, :5], atol=1e-2)
    assert all(loss > 0 for loss in validated.losses)


def test_a_confusion_matrix_counts_hits_mixups_misses_and_strays() -> None:
    truths = (np.array([[0.0, 0, 0, 20, 20], [1, 40, 40, 60, 60], [0, 80, 80, 90, 90]]),)
    found = (
        np.array(
            [
                [0, 0, 20, 20, 0.9, 0], [40, 40, 60, 60, 0.8, 0], [100, 100, 120, 120, 0.7, 1],
                [80, 80, 90, 90, 0.1, 0],
            ]
        ),
    )  # fmt: skip
    validated = Validated(Scores(0, 0, 0, 0, ()), (0, 0, 0), truths, found)
    np.testing.assert_array_equal(confusion_matrix(validated, 2), [[1, 1, 0], [0, 0, 1], [1, 0, 0]])


def test_plots_write_names_of_any_script(tmp_path: Path) -> None:
    truths = (np.array([[0.0, 0, 0, 20, 20]]),)
    found = (np.array([[0, 0, 20, 20, 0.9, 0]]),)
    validated = Validated(Scores(0, 0, 0, 0, ()), (0, 0, 0), truths, found)
    drawn = set()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of glyphs that its fonts lack
        for name in ("用户", "用产", "Bus café", "Bus cafe", "😀"):
            confusion(tmp_path / "c.png", validated, [name])
            labels(tmp_path / "l.png", [_sized([(9, 9)])], [name])
            drawn.add((tmp_path / "c.png").read_bytes())
    assert len(drawn) == 5


def test_curves_hold_a_line_for_each_class_with_objects(tmp_path: Path) -> None:
    truths = [np.array([[0.0, 0, 0, 20, 20], [1, 40, 40, 60, 60]])]
    right, wrong = [0, 0, 20, 20, 0.9, 0], [70, 70, 90, 90, 0.8, 1]
    names = ("用户", "a name that is far too long to stand in a legend", "absent")
    scores = score(truths, [np.array([right, wrong])], 3)
    curves(tmp_path, scores, names)
    drawn = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(drawn) == ["F1_curve.png", "PR_curve.png", "P_curve.png", "R_curve.png"]
    curves(tmp_path, score(truths, [np.array([right])], 3), ("used", *names[1:]))
    assert all((tmp_path / name).read_bytes() != data for name, data in drawn.items())
    curves(tmp_path, score(truths, [np.array([right])], 90), [str(n) for n in range(90)])


def test_the_best_epoch_is_marked_and_counts_stand_in_the_matrix(tmp_path: Path) -> None:
    rows = [dict.fromkeys(COLUMNS, float(epoch)) for epoch in range(3)]
    drawn = set()
    for best in (0, 2):
        results(tmp_path / "results.png", rows, best)
        drawn.add((tmp_path / "results.png").read_bytes())
    for count in (1, 2):
        truths = (np.array([[0.0, 0, 0, 20, 20]] * count),)
        found = (np.array([[0, 0, 20, 20, 0.9, 0]] * count),)
        validated = Validated(Scores(0, 0, 0, 0, ()), (0, 0, 0), truths, found)
        confusion(tmp_path / "matrix.png", validated, ["thing"])
        drawn.add((tmp_path / "matrix.png").read_bytes())
    assert len(drawn) == 4


def _sized(sides: Any, size: Any = (640, 640)) -> Any:
    """A sample with centred boxes of these widths and heights in pixels."""
    rows = [(0, 0.5, 0.5, w / size[1], h / size[0]) for w, h in sides]
    return Sample(Path(), size, np.array(rows, np.float32).reshape(-1, 5))


def test_autoanchor_leaves_good_anchors_and_mends_bad_ones() -> None:
    rng = np.random.default_rng(0)
    good = [_sized(np.exp(rng.uniform(np.log(12), np.log(300), (200, 2)).mean(1, keepdims=True))
                   * [1, 1])]  # fmt: skip
    anchors, before, _ = suited_anchors(good, 640, COCO_ANCHORS, 4.0, 0)
    assert anchors == COCO_ANCHORS
    assert before > 0.98
    thin = [_sized(np.stack((rng.uniform(4, 6, 300), rng.uniform(100, 500, 300)), axis=1))]
    anchors, before, after = suited_anchors(thin, 640, COCO_ANCHORS, 4.0, 0)
    assert before < 0.5 < 0.98 < after
    assert anchors == suited_anchors(thin, 640, COCO_ANCHORS, 4.0, 0)[0]
    areas = [w * h for level in anchors for w, h in level]
    assert areas == sorted(areas)
    assert best_possible_recall(box_sides(thin, 640), np.array(anchors).reshape(-1, 2), 4.0) == (
        pytest.approx(after)
    )


def test_autoanchor_measures_at_the_training_size() -> None:
    sample = _sized([(100, 50)], size=(200, 400))
    np.testing.assert_allclose(box_sides([sample], 640), [[160, 80]])


def test_image_weights_prefer_rare_and_badly_found_classes() -> None:
    def sample(*labels: object) -> Any:
        rows = [(label, 0.5, 0.5, 0.1, 0.1) for label in labels]
        return Sample(Path(), (64, 64), np.array(rows, np.float32).reshape(-1, 5))

    samples = [sample(0), sample(0), sample(0), sample(1), sample()]
    share = image_weights(samples, np.array([0.5, 0.5]))
    assert share.sum() == pytest.approx(1)
    assert share[3] > share[0] > share[4] > 0
    found_well = image_weights(samples, np.array([0.5, 0.99]))
    assert found_well[3] < share[3]
