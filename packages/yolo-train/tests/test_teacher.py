"""A float network teaches its integer form on pictures without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from yolo_core.mxnet.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from yolo_core.mxnet.importing import mxnet
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.qat import ConvolutionGrid
from yolo_train.cli import main
from yolo_train.start import random_parameters
from yolo_train.teacher import DistillationLoss, split_pictures
from yolo_train.trainer import Training

mx = mxnet()
WORDS = ("--imgsz", "64", "--batch-size", "8", "--workers", "0", "--no-plots", "--qat")


@pytest.fixture(scope="module")
def pictures(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 17 pictures, of which three validate, without labels."""
    folder = tmp_path_factory.mktemp("pictures")
    for image in sorted((shapes.parent / "images" / "train").iterdir())[:17]:
        (folder / image.name).write_bytes(image.read_bytes())
    return folder


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that finds something everywhere."""
    architecture = Architecture.named("n", names=["circle", "square"])
    parameters = random_parameters(architecture, 0)
    for level in range(3):
        parameters[f"model.24.m.{level}.bias"].reshape(3, 7)[:, 4:] = -2.0
    parameters["model.24.m.2.bias"].reshape(3, 7)[:, 4:] = 3.0
    stem = tmp_path_factory.mktemp("teacher") / "float"
    write_checkpoint(stem, Checkpoint(architecture, parameters, fused=False))
    return stem


def grid(architecture: Architecture, _parameters: Any, _images: Any) -> Any:
    one = ConvolutionGrid(np.full((1, 1, 1, 1), 1 / 64), 127, *(
        np.full((1, 1, 1, 1), value) for value in (1 / 16, -8.0, 8.0)
    ))  # fmt: skip
    return dict.fromkeys((conv.name for conv in architecture.convolutions()), one)


@pytest.fixture(autouse=True)
def _quantizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolo_train.start.grid_maker", lambda: grid)


def fit(data: Path, project: Path, *words: str) -> Any:
    command = ["fit", "--data", str(data), "--project", str(project), *WORDS, *words]
    return CliRunner().invoke(main, command)


@pytest.fixture(scope="module")
def words(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A student that finds other things than its teacher, and a rate that is worth two epochs."""
    own = read_checkpoint(teacher)
    parameters = {name: value.copy() for name, value in own.parameters.items()}
    for level in range(3):
        parameters[f"model.24.m.{level}.bias"] += 1.0
    stem = tmp_path_factory.mktemp("student") / "student"
    write_checkpoint(stem, Checkpoint(own.architecture, parameters, fused=False))
    rates = ("-o", "lr0=0.02", "-o", "warmup_bias_lr=0.02")
    return ("--teacher", str(teacher), "--weights", str(stem), "--epochs", "2", *rates)


@pytest.fixture(scope="module")
def run(pictures: Path, words: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two epochs: what was printed, and the folder."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("yolo_train.start.grid_maker", lambda: grid)
        result = fit(pictures, folder, *words)
    assert result.exit_code == 0, result.output
    return result.output, folder / "exp"


def test_a_folder_of_pictures_without_labels_is_enough(run: Any) -> None:
    output, folder = run
    assert "train: 14 pictures, 0 left out" in output
    assert "val: 3 pictures" in output
    assert "recipe distil" in output
    assert "before training: mAP@0.5 " in output
    assert "yolo-mrt quantize" in output
    assert "yolo-eval coco" not in output
    trained = read_checkpoint(folder / "weights" / "best")
    assert trained.fused
    assert trained.architecture.names == ("circle", "square")
    losses = np.loadtxt(folder / "results.csv", delimiter=",", skiprows=1)[:, 1:4]
    assert losses[1].sum() < 0.9 * losses[0].sum()


def test_a_run_that_gains_nothing_says_so(
    pictures: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yolo_train.scores.Scores.fitness", 0.5)
    result = fit(pictures, tmp_path, "--teacher", str(teacher), "--epochs", "1")
    assert result.exit_code == 0, result.output
    assert "No epoch is nearer to the teacher than the start was" in result.output
    assert " before training; " in result.output
    weights = tmp_path / "exp" / "weights"
    best, last = (read_checkpoint(weights / name) for name in ("best", "last"))
    assert (best.meta["epoch"], last.meta["epoch"]) == (-1, 0)
    changed = [n for n, value in best.parameters.items() if (value != last.parameters[n]).any()]
    assert changed
    # In another run the start is the same.
    own = read_checkpoint(teacher).parameters["model.24.m.0.bias"]
    np.testing.assert_array_equal(best.parameters["model.24.m.0.bias"], own)


def test_a_run_stopped_after_an_epoch_continues_to_the_same_bits(
    run: Any, pictures: Path, words: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "_exhausted", lambda self: self._done == 1)
        assert fit(pictures, tmp_path, *words).exit_code == 0
    stopped = tmp_path / "exp"
    assert len((stopped / "results.csv").read_text().splitlines()) == 2
    result = CliRunner().invoke(main, ["fit", "--resume", str(stopped)])
    assert result.exit_code == 0, result.output
    _, folder = run
    name = "weights/last-0000.params"
    assert (stopped / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.parametrize("option", ["--teacher", "--weights"])
def test_a_run_is_not_resumed_with_another_file(
    option: str, pictures: Path, teacher: Path, tmp_path: Path
) -> None:
    own = read_checkpoint(teacher)
    stems = {name: tmp_path / name[2:] for name in ("--teacher", "--weights")}
    for stem in stems.values():
        write_checkpoint(stem, own)
    words = [str(word) for pair in stems.items() for word in pair]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "_exhausted", lambda self: self._done == 1)
        assert fit(pictures, tmp_path, *words, "--epochs", "2").exit_code == 0
    parameters = {**own.parameters, "model.24.m.0.bias": own.parameters["model.24.m.0.bias"] + 1}
    write_checkpoint(stems[option], Checkpoint(own.architecture, parameters, fused=False))
    before = {path: path.read_bytes() for path in (tmp_path / "exp").rglob("*") if path.is_file()}
    result = CliRunner().invoke(main, ["fit", "--resume", str(tmp_path / "exp")])
    assert result.exit_code == 2, result.output
    assert f"expected the same {option}" in result.output
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_data_yaml_says_which_pictures_train_and_which_validate(shapes: Path) -> None:
    split = split_pictures(str(shapes))
    assert [len(split["train"]), len(split["val"])] == [24, 6]
    assert {image.parent.name for image in split["val"]} == {"val"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--teacher", "absent"], "absent: is not a checkpoint"),
        (["--teacher", "absent", "--single-cls"], "does not go with --teacher"),
        (["--teacher", "TEACHER", "--weights", "OTHER"], "has other anchors or classes"),
    ],
)
def test_what_cannot_teach_is_refused(
    words: Any, said: str, pictures: Path, teacher: Path, tmp_path: Path
) -> None:
    architecture = Architecture.named("n", names=["a", "b"])
    anchors = [[2 * side for pair in level for side in pair] for level in architecture.anchors]
    other = Architecture.from_description(
        {**architecture.to_description(), "anchors": anchors}, "model", ["a", "b"]
    )
    stem = tmp_path / "other"
    write_checkpoint(stem, Checkpoint(other, random_parameters(other, 0), fused=False))
    places = {"TEACHER": str(teacher), "OTHER": str(stem)}
    result = fit(pictures, tmp_path, *(places.get(word, word) for word in words))
    assert result.exit_code == 2, result.output
    assert said in result.output
    without = CliRunner().invoke(main, ["fit", "--data", str(pictures), "--teacher", str(teacher)])
    assert "--teacher: is given without --qat" in without.output


def test_one_picture_cannot_be_split(pictures: Path, teacher: Path, tmp_path: Path) -> None:
    one = next(pictures.iterdir())
    result = fit(one, tmp_path, "--teacher", str(teacher))
    assert result.exit_code == 2
    assert "has one picture" in result.output
    split = split_pictures(str(pictures))
    assert not set(split["train"]) & set(split["val"])


def test_the_loss_of_equal_heads_is_nothing_and_its_gradient_too() -> None:
    architecture = Architecture.named("n", nc=2)
    loss = DistillationLoss(architecture, (10.0, 1.0, 1.0))
    loss.initialize()
    rng = np.random.default_rng(0)
    sides = ((4, 4), (2, 2), (1, 1))
    aims = [mx.nd.array(rng.normal(size=(2, 21, *side))) for side in sides]
    heads = [aim.copy() for aim in aims]
    for head in heads:
        head.attach_grad()
    with mx.autograd.record():
        value, parts = loss(*heads, *aims)
    value.backward()
    np.testing.assert_allclose(parts.asnumpy(), 0, atol=1e-5)
    assert max(abs(head.grad.asnumpy()).max() for head in heads) < 1e-6


def test_the_loss_follows_its_formula_and_its_gradient_finite_differences() -> None:
    architecture = Architecture.named("n", nc=2)
    gains = (10.0, 1.0, 1.0)
    loss = DistillationLoss(architecture, gains)
    loss.initialize()
    rng = np.random.default_rng(1)
    shapes = [(1, 21, 2, 2), (1, 21, 1, 1), (1, 21, 1, 1)]
    heads, aims = ([rng.normal(size=shape) for shape in shapes] for _ in range(2))
    own = [mx.nd.array(head) for head in heads]
    for head in own:
        head.attach_grad()
    with mx.autograd.record():
        value, parts = loss(*own, *map(mx.nd.array, aims))
    value.backward()
    expected = _expected(heads, aims, architecture, gains)
    np.testing.assert_allclose(parts.asnumpy(), expected, rtol=1e-4)
    for place in ((0, 0, 0, 0), (0, 4, 1, 1), (0, 9, 0, 1), (0, 20, 1, 0)):
        step = 1e-4
        moved = []
        for sign in (1, -1):
            other = [head.copy() for head in heads]
            other[0][place] += sign * step
            moved.append(sum(_expected(other, aims, architecture, gains)))
        slope = (moved[0] - moved[1]) / (2 * step)
        assert own[0].grad.asnumpy()[place] == pytest.approx(slope, rel=1e-3, abs=1e-5)


def _expected(heads: Any, aims: Any, architecture: Architecture, gains: Any) -> list[float]:
    """The parts of the loss, row by row in float64."""

    def sigmoid(x: Any) -> Any:
        return 1 / (1 + np.exp(-x))

    def cross(logit: Any, probability: Any) -> Any:
        found = sigmoid(logit)
        return -(probability * np.log(found) + (1 - probability) * np.log(1 - found))

    sums, total = np.zeros(3), 0.0
    for level, (head, aim) in enumerate(zip(heads, aims)):
        for anchor in range(3):
            sides = np.array(architecture.anchors[level][anchor]) / architecture.strides[level]
            rows, wanted = (
                each[0, 7 * anchor : 7 * anchor + 7].reshape(7, -1).T for each in (head, aim)
            )
            for row, want in zip(rows, wanted):
                s, t = sigmoid(row), sigmoid(want)
                total += t[4]
                length = 4 * t[2:4] ** 2 * sides
                moved = 2 * (s[:2] - t[:2]) / (length + 1e-3)
                stretched = 2 * np.log((s[2:4] + 1e-6) / (t[2:4] + 1e-6))
                sums[0] += t[4] * (moved**2 + stretched**2).sum()
                sums[1] += cross(row[4], t[4]) - cross(want[4], t[4])
                sums[2] += t[4] * (cross(row[5:], t[5:]) - cross(want[5:], t[5:])).sum()
    return list(np.array(gains) * sums / total)
