"""The loss that is estimated without labels, and the effort that is spent to lower it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from mrt_samples import make_checkpoint
from test_pictures import picture, save

from yolo_core.arrays import Array
from yolo_core.files import read_json
from yolo_mrt.cli import main
from yolo_mrt.compile.comparison import Agreement
from yolo_mrt.compile.estimate import Estimate, LossEstimator

IMAGES = 12


def found(seed: int) -> Array:
    """Detections of one image, best first: boxes far apart, of three classes."""
    generator = np.random.RandomState(seed)
    place = np.stack(np.meshgrid(np.arange(4), np.arange(4)), -1).reshape(-1, 2) * 100.0 + 10
    side = generator.uniform(20, 80, (16, 2))
    score = np.sort(generator.uniform(0.05, 0.95, 16))[::-1]
    label = generator.randint(0, 3, 16)
    return np.concatenate((place, place + side, score[:, None], label[:, None]), axis=1)


def moved(boxes: Array, by: float, seed: int = 0) -> Array:
    """The same with corners moved by a share of the sides."""
    result = boxes.copy()
    sides = np.tile(boxes[:, 2:4] - boxes[:, :2], (1, 2))
    result[:, :4] += by * sides * np.random.RandomState(seed).standard_normal((len(boxes), 4))
    return result


def estimate(images: list[tuple[Array, Array, Array]]) -> Estimate:
    """images: see `LossEstimator.add`."""
    loss = LossEstimator()
    for exact, other, same in images:
        loss.add(exact, other, same[:, :5])
    result = loss.estimate()
    assert result is not None
    return result


def test_the_same_detections_lose_nothing() -> None:
    same = estimate([(found(seed),) * 3 for seed in range(IMAGES)])
    assert (same.lost, same.low, same.high) == (0.0, 0.0, 0.0)
    assert same.images == IMAGES


def test_the_loss_grows_with_the_error_of_the_boxes() -> None:
    lost = [
        estimate(
            [(found(seed), moved(found(seed), by, seed), found(seed)) for seed in range(IMAGES)]
        )
        for by in (0.01, 0.03, 0.1)
    ]
    assert 0 < lost[0].lost < lost[1].lost / 3 < lost[2].lost / 6
    for one in lost:
        assert one.low <= one.lost <= one.high
        assert one.low < one.high


def test_a_box_that_is_lost_and_scores_that_change_places_cost() -> None:
    without = estimate([(found(seed), *(found(seed)[1:],) * 2) for seed in range(IMAGES)])
    assert without.lost > 2
    turned = []
    for seed in range(IMAGES):
        other = found(seed)
        other[:, 4] = other[::-1, 4]
        turned.append((found(seed), other[::-1], found(seed)[::-1]))
    assert estimate(turned).lost > 2


def test_what_is_found_besides_costs_by_how_little_the_float_network_sees_there() -> None:
    def besides(score: float, seen: float) -> float:
        extra = np.array([[600.0, 600.0, 640.0, 640.0, score, 0.0]])
        images = []
        for seed in range(IMAGES):
            both = np.concatenate((found(seed), extra))
            same = np.concatenate((found(seed), extra))
            same[-1, 4] = seen
            order = np.argsort(-both[:, 4], kind="stable")
            images.append((found(seed), both[order], same[order]))
        return estimate(images).lost

    assert besides(0.01, 0.0) == pytest.approx(0)
    assert besides(0.9, 0.0) > besides(0.3, 0.0) > 0
    assert besides(0.9, 0.0) > besides(0.9, 0.1)


def test_another_choice_among_rivals_costs_nothing_and_a_duplicate_costs() -> None:
    """The integer network's winner is a row whose box the float network has at the same place."""
    rivals = [(found(seed), *(moved(found(seed), 0.08, seed),) * 2) for seed in range(IMAGES)]
    assert abs(estimate(rivals).lost) < 0.5
    displaced = [(exact, other, exact) for exact, other, _ in rivals]
    assert estimate(displaced).lost > 5 * abs(estimate(rivals).lost)
    doubled = []
    for seed in range(IMAGES):
        both = np.repeat(found(seed), 2, axis=0)
        both[1::2, 4] -= 1e-6
        doubled.append((found(seed), both, both))
    assert estimate(doubled).lost > 2


def test_nothing_is_estimated_from_nothing() -> None:
    loss = LossEstimator()
    assert loss.estimate() is None
    loss.add(found(0), found(0), found(0)[:, :5])
    assert loss.estimate() is None
    empty = LossEstimator()
    for _ in range(3):
        empty.add(np.zeros((0, 6)), np.zeros((0, 6)), np.zeros((0, 5)))
    assert empty.estimate() is None


def test_the_estimate_is_told() -> None:
    known = Estimate(0.124, 0.06, 0.2, 16)
    lines = Agreement(16, 50, 50, 0.98, 98.0, 40.0, known).told(own=False)
    assert "estimated loss: 0.12 points of AP (95 %: 0.06 to 0.20)" in lines[1]
    assert Estimate(-0.001, -0.004, 0.002, 4).spelled() == ("0.00", "0.00", "0.00")


def confident(parameters: dict[str, Array]) -> None:
    """Objectness that now and then is high."""
    for name in parameters:
        if "model.24" in name and name.endswith("bias"):
            parameters[name][4::8] = 0.5


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A network that sees objects, and pictures."""
    folder = tmp_path_factory.mktemp("target")
    stem = make_checkpoint(folder / "w" / "seeing", confident)
    return stem, save(folder / "pictures", [picture(seed) for seed in range(24)])


def spend(stem: Path, data: Path, out: Path, target: str, *more: str) -> Result:
    words = ["quantize", str(stem), "--data", str(data), "--out", str(out), "--imgsz", "64"]
    return CliRunner().invoke(main, [*words, "--target-loss", target, *more])


def test_a_target_within_reach_is_met_with_the_least_effort(
    seeing: tuple[Path, Path], tmp_path: Path
) -> None:
    result = spend(*seeing, tmp_path / "out", "90")
    assert result.exit_code == 0, result.output
    assert "target: 6 of 24 images are kept back to judge on" in result.output
    assert "target: met with effort normal: at most 90 points of AP, estimated " in result.output
    assert "effort high" not in result.output
    record = read_json(next((tmp_path / "out.stages").glob("*.evaluate.json")))
    assert record["estimate"]["images"] == record["metrics"]["images"] == 6
    assert record["metrics"]["AP_lost"] == pytest.approx(record["estimate"]["lost"] / 100)
    assert record["model"] == {"name": "seeing", "kind": "integer"}
    assert not record["calibrated_on"]


def test_a_target_out_of_reach_is_exit_code_1_and_leaves_the_best_model(
    seeing: tuple[Path, Path], tmp_path: Path
) -> None:
    result = spend(*seeing, tmp_path / "out", "0.000001")
    assert result.exit_code == 1, result.output
    assert "target: not met with effort normal" in result.output
    assert "target: not met with effort high" in result.output
    assert (tmp_path / "out" / "params").exists()


def test_a_target_needs_images_to_judge_on(seeing: tuple[Path, Path], tmp_path: Path) -> None:
    few = save(tmp_path / "few", [picture(seed) for seed in range(8)])
    result = spend(seeing[0], few, tmp_path / "out", "1")
    assert result.exit_code == 2
    assert "--target-loss: has 8 images to calibrate and to judge on" in result.output
    assert not (tmp_path / "out").exists()
    stage = spend(*seeing, tmp_path / "out", "1", "--stage", "prepare")
    assert stage.exit_code == 2
