from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolo_core.mxnet.importing import mxnet
from yolo_core.mxnet.network import parameters_of, trainable
from yolo_core.yolo.architecture import Architecture
from yolo_train import operators
from yolo_train.batches import Batch, pad_targets
from yolo_train.gradients import GradientSum
from yolo_train.hyp import Hyp
from yolo_train.learner import Diverged, Learner
from yolo_train.optimizer import LossScale, MovingAverage, Optimizer
from yolo_train.options import OPTIMIZERS, FitOptions
from yolo_train.schedule import Rates, Schedule
from yolo_train.start import Start, random_parameters

mx = mxnet()

needs_library = pytest.mark.skipif(
    not operators.path().exists(), reason="was installed without a C++ compiler"
)

RATES = Rates(lr=0.01, bias_lr=0.02, momentum=0.9, accumulate=1)


def _learner(devices: Any, batch: Any, nominal_batch: Any, **options: Any) -> Any:
    architecture = Architecture.named("n", nc=3)
    options = {"optimizer": "sgd", **options}
    chosen = FitOptions(
        data="x", batch_size=batch, imgsz=64, nominal_batch=nominal_batch, **options
    )
    schedule = Schedule(Hyp(), 10, 10, batch, False, nominal_batch)
    return Learner(
        Start(architecture, random_parameters(architecture, 0)), chosen, Hyp(), schedule, devices,
        GradientSum(devices),
    )  # fmt: skip


def _batch(seed: int, size: Any) -> Any:
    rng = np.random.default_rng(seed)
    targets = np.zeros((2 * size, 6), np.float32)
    targets[:, 0] = np.arange(2 * size) // 2
    targets[:, 1] = rng.integers(3, size=2 * size)
    targets[:, 2:] = rng.uniform(0.3, 0.7, (2 * size, 4))
    return Batch(rng.integers(0, 256, (size, 3, 64, 64)).astype(np.uint8), pad_targets(targets))


def _twice(batch: Any) -> Any:
    """A batch whose second half is its first half again."""
    rows = batch.targets[batch.targets[:, 1] >= 0]
    again = rows.copy()
    again[:, 0] += len(batch.images)
    return Batch(np.concatenate((batch.images,) * 2), pad_targets(np.concatenate((rows, again))))


def _close(one: Any, other: Any) -> None:
    for name, value in one.items():
        np.testing.assert_allclose(value, other[name], rtol=1e-3, atol=2e-5, err_msg=name)


def test_two_devices_with_equal_halves_learn_what_one_device_does() -> None:
    # Equal halves have equal statistics, so batch normalisation cannot tell the difference.
    batch = _twice(_batch(1, 2))
    results = []
    for devices in ([mx.cpu(0)], [mx.cpu(0), mx.cpu(1)]):
        learner = _learner(devices, 4, 4)
        losses = [learner.learn(batch, RATES, 64) for _ in range(2)]
        results.append((losses, parameters_of(learner.net), parameters_of(learner.average)))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-4)
    _close(results[0][1], results[1][1])
    _close(results[0][2], results[1][2])


def test_gathered_batches_move_the_weights_once() -> None:
    learner = _learner([mx.cpu()], 2, 4)
    before = parameters_of(learner.net)
    rates = Rates(0.01, 0.01, 0.9, accumulate=2)
    learner.learn(_batch(1, 2), rates, 64)
    after = parameters_of(learner.net)
    assert all((after[name] == before[name]).all() for name in before if "running" not in name)
    learner.learn(_batch(2, 2), rates, 64)
    moved = parameters_of(learner.net)
    assert (moved["model.3.conv.weight"] != before["model.3.conv.weight"]).any()


def test_mixed_precision_learns_what_single_precision_does(monkeypatch: pytest.MonkeyPatch) -> None:
    # MXNet has no float16 on CPUs: another type passes the same casts and the same loss scale.
    monkeypatch.setattr("yolo_train.learner.HALF", "float64")
    results = []
    for options in ({}, {"amp": True, "device": "gpu:0"}):
        learner = _learner([mx.cpu()], 2, 4, **options)
        rates = Rates(0.01, 0.01, 0.9, accumulate=2)
        losses = [learner.learn(_batch(seed, 2), rates, 64) for seed in range(4)]
        results.append((losses, parameters_of(learner.net), parameters_of(learner.average)))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-4)
    _close(results[0][1], results[1][1])
    _close(results[0][2], results[1][2])


def test_gradients_that_overflow_move_nothing_and_halve_the_scale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("yolo_train.learner.HALF", "float64")
    monkeypatch.setattr(LossScale, "FIRST", 2.0**127)
    learner = _learner([mx.cpu()], 2, 2, amp=True, device="gpu:0")
    before = parameters_of(learner.net)
    learner.learn(_batch(1, 2), RATES, 64)
    after = parameters_of(learner.net)
    assert all((after[name] == before[name]).all() for name in before if "running" not in name)
    state = learner.state()
    np.testing.assert_array_equal(state["loss_scale"], [2.0**126, 0])
    again = _learner([mx.cpu()], 2, 2, amp=True, device="gpu:0")
    again.restore(state)
    np.testing.assert_array_equal(again.state()["loss_scale"], state["loss_scale"])


def test_the_loss_scale_doubles_when_all_has_been_well_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(LossScale, "LONG", 3)
    scale, fine = LossScale(), [mx.nd.ones((2,))] * 90
    broken = [*fine, mx.nd.array([np.nan])]
    assert [scale.accept(fine) for _ in range(2)] == [True, True]
    assert not scale.accept(broken)
    assert scale.value == LossScale.FIRST / 2
    assert [scale.accept(fine) for _ in range(3)] == [True] * 3
    assert scale.value == LossScale.FIRST


def test_frozen_layers_stay() -> None:
    learner = _learner([mx.cpu()], 2, 2, freeze=3)
    before = parameters_of(learner.net)
    learner.learn(_batch(1, 2), RATES, 64)
    after = parameters_of(learner.net)
    assert (after["model.2.cv1.conv.weight"] == before["model.2.cv1.conv.weight"]).all()
    assert (after["model.3.conv.weight"] != before["model.3.conv.weight"]).any()


def test_the_running_statistics_follow_as_fast_as_the_schedule_says() -> None:
    learner = _learner([mx.cpu()], 4, 4)  # 100 batches: a tenth of each
    name = "model.0.bn.running_mean"
    before = learner.state()[f"net/{name}"]
    x = mx.nd.array(_batch(1, 4).images) / 255.0
    weight = mx.nd.array(learner.state()["net/model.0.conv.weight"])
    seen = mx.nd.Convolution(x, weight, no_bias=True, kernel=(6, 6), stride=(2, 2), pad=(2, 2),
                             num_filter=weight.shape[0]).mean(axis=(0, 2, 3)).asnumpy()  # fmt: skip
    learner.learn(_batch(1, 4), RATES, 64)
    after = learner.state()[f"net/{name}"]
    np.testing.assert_allclose(after, 0.9 * before + 0.1 * seen, rtol=1e-4, atol=1e-6)


def test_kept_statistics_stay_while_weights_move() -> None:
    learner = _learner([mx.cpu()], 2, 2, freeze_bn=True)
    before = parameters_of(learner.net)
    learner.learn(_batch(1, 2), RATES, 64)
    after = parameters_of(learner.net)
    for name, value in before.items():
        if name.endswith(("running_mean", "running_var")):
            np.testing.assert_array_equal(after[name], value)
    assert (after["model.3.conv.weight"] != before["model.3.conv.weight"]).any()


class _Parameters:
    """One parameter per group, for formulas in NumPy to be compared with."""

    NAMES = ("a.weight", "a.gamma", "a.bias")

    def __init__(self) -> None:
        self.block = mx.gluon.ParameterDict()
        for name in self.NAMES:
            parameter = self.block.get(name, shape=(5,))
            parameter.initialize(mx.init.Normal(1.0))
        self.values = {
            name: self.block[name].data().asnumpy().astype(np.float64) for name in self.NAMES
        }

    def set_gradients(self, rng: np.random.Generator) -> Any:
        gradients = {name: rng.normal(size=5).astype(np.float32) for name in self.NAMES}
        for name, gradient in gradients.items():
            self.block[name].grad()[:] = gradient
        return gradients


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_three_groups_follow_the_published_formulas(kind: Any) -> None:
    rng = np.random.default_rng(0)
    ours = _Parameters()
    values = {name: value.copy() for name, value in ours.values.items()}
    optimizer = Optimizer(kind, dict(ours.block.items()), [mx.cpu()], weight_decay=0.1)
    first = {name: np.zeros(5) for name in values}
    second = {name: np.zeros(5) for name in values}
    for step in range(1, 5):
        gradients = ours.set_gradients(rng)
        optimizer.update(RATES)
        for name, gradient in gradients.items():
            lr = 0.02 if name == "a.bias" else 0.01
            decay = 0.1 if name == "a.weight" else 0.0
            if kind == "adamw":
                values[name] *= 1 - lr * decay
            else:
                gradient = gradient + decay * values[name]
            if kind == "sgd":
                first[name] = 0.9 * first[name] + gradient
                values[name] -= lr * (gradient + 0.9 * first[name])
                continue
            first[name] = 0.9 * first[name] + 0.1 * gradient
            second[name] = 0.999 * second[name] + 0.001 * gradient**2
            root = np.sqrt(second[name] / (1 - 0.999**step)) + 1e-8
            values[name] -= lr * first[name] / (1 - 0.9**step) / root
    for name in values:
        np.testing.assert_allclose(
            ours.block[name].data().asnumpy(), values[name], rtol=1e-5, atol=1e-6
        )


def test_momentum_goes_on_with_the_rate_of_the_step_it_is_in() -> None:
    # A warm-up begins at rate 0, and its first gradient counts in the steps after.
    rng = np.random.default_rng(0)
    ours = _Parameters()
    values = {name: value.copy() for name, value in ours.values.items()}
    optimizer = Optimizer("sgd", dict(ours.block.items()), [mx.cpu()], weight_decay=0.1)
    velocity = {name: np.zeros(5) for name in values}
    for lr, momentum in ((0.0, 0.8), (0.1, 0.85), (0.02, 0.9)):
        gradients = ours.set_gradients(rng)
        optimizer.update(Rates(lr, 2 * lr, momentum, 1), rescale=0.5)
        for name, value in values.items():
            gradient = 0.5 * gradients[name] + (0.1 if name == "a.weight" else 0.0) * value
            velocity[name] = momentum * velocity[name] + gradient
            rate = 2 * lr if name == "a.bias" else lr
            values[name] = value - rate * (gradient + momentum * velocity[name])
    for name in values:
        np.testing.assert_allclose(
            ours.block[name].data().asnumpy(), values[name], rtol=1e-5, atol=1e-6
        )


def test_a_restored_optimizer_continues_with_the_same_bits() -> None:
    for kind in OPTIMIZERS:
        one, other = _Parameters(), _Parameters()
        first = Optimizer(kind, dict(one.block.items()), [mx.cpu()], 0.1)
        one.set_gradients(np.random.default_rng(1))
        first.update(RATES)
        second = Optimizer(kind, dict(other.block.items()), [mx.cpu()], 0.1)
        second.restore(first.state())
        for name in one.NAMES:
            other.block[name].set_data(one.block[name].data())
        for parameters, optimizer in ((one, first), (other, second)):
            parameters.set_gradients(np.random.default_rng(2))
            optimizer.update(RATES)
        for name in one.NAMES:
            np.testing.assert_array_equal(
                one.block[name].data().asnumpy(), other.block[name].data().asnumpy()
            )


@pytest.mark.parametrize(("kind", "norm"), [("sgd", 5.0), ("sgd", 40.0), ("adamw", 40.0)])
@pytest.mark.parametrize("own", [pytest.param(True, marks=needs_library), False])
def test_gradients_are_clipped_by_their_length_before_the_step(
    monkeypatch: pytest.MonkeyPatch, own: bool, kind: str, norm: float
) -> None:
    monkeypatch.setenv(operators.VARIABLE, "" if own else operators.NONE)
    plain, clipped = (_learner([mx.cpu()], 2, 2, optimizer=kind) for _ in range(2))
    start = plain.state()
    rng = np.random.default_rng(3)
    gradients = {name: rng.normal(size=p.shape) for name, p in trainable(plain.net).items()
                 if "running" not in name}  # fmt: skip
    length = np.sqrt(sum(np.square(value).sum() for value in gradients.values()))
    # The second learner is given what PyTorch's clip_grad_norm_(…, 10) would leave.
    for learner, factor in ((plain, 1.0), (clipped, min(1.0, 10 / (norm + 1e-6)))):
        parameters = trainable(learner.net)
        for name, value in gradients.items():
            parameters[name].grad()[:] = value * (norm / length * factor)
        learner._waiting = 1
        learner.update(RATES)
    one, other = plain.state(), clipped.state()
    assert one.keys() == other.keys()
    # Adam divides by the gradient's size: rounding shows where that is next to nothing.
    near = 1e-7 if kind == "sgd" else 2e-5
    for name, value in one.items():
        np.testing.assert_allclose(value, other[name], rtol=2e-5, atol=near, err_msg=name)
    assert (one["net/model.3.conv.weight"] != start["net/model.3.conv.weight"]).any()


@pytest.mark.parametrize("own", [pytest.param(True, marks=needs_library), False])
def test_a_gradient_that_is_no_number_ends_the_training(
    monkeypatch: pytest.MonkeyPatch, own: bool
) -> None:
    monkeypatch.setenv(operators.VARIABLE, "" if own else operators.NONE)
    learner = _learner([mx.cpu()], 2, 2)
    before = parameters_of(learner.net)
    trainable(learner.net)["model.3.conv.weight"].grad()[0, 0] = np.nan
    learner._waiting = 1
    with pytest.raises(Diverged, match="gradients"):
        learner.update(RATES)
    after = parameters_of(learner.net)
    assert all((after[name] == before[name]).all() for name in before)


@needs_library
@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_the_compiled_pass_does_what_optimizer_and_average_do(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    found = []
    for choice in ("", operators.NONE):
        monkeypatch.setenv(operators.VARIABLE, choice)
        learner = _learner([mx.cpu(0), mx.cpu(1)], 2, 2, optimizer=kind, freeze=2)
        rng = np.random.default_rng(4)
        for step in range(3):
            for parameter in trainable(learner.net).values():
                if parameter.grad_req == "null":
                    continue
                value = mx.nd.array(rng.normal(0, 0.01, parameter.shape))
                for gradient in parameter.list_grad():
                    gradient[:] = value
            learner._move(Rates(0.01, 0.02, 0.8 + 0.05 * step, 1), 0.5)
        state = learner.state()
        for name, parameter in trainable(learner.net).items():
            state[f"second/{name}"] = parameter.data(mx.cpu(1)).asnumpy()
        found.append(state)
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        np.testing.assert_allclose(value, found[1][name], rtol=1e-5, atol=1e-7, err_msg=name)


_DIGEST = """
import hashlib, numpy as np, test_learner as t
learner = t._learner([t.mx.cpu()], 2, 2, optimizer="adamw")
rng = np.random.default_rng(5)
for _ in range(2):
    for name, parameter in t.trainable(learner.net).items():
        if parameter.grad_req != "null":
            parameter.grad()[:] = t.mx.nd.array(rng.normal(size=parameter.shape))
    learner._move(t.RATES, 1.0)
state = learner.state()
print(hashlib.sha256(b"".join(state[name].tobytes() for name in sorted(state))).hexdigest())
"""


@needs_library
def test_any_number_of_threads_takes_the_same_step() -> None:
    said = {
        subprocess.run(
            [sys.executable, "-c", _DIGEST], cwd=Path(__file__).parent, check=True,
            capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": threads},
        ).stdout
        for threads in ("1", "3")
    }  # fmt: skip
    assert len(said) == 1


def test_the_average_follows_its_formula() -> None:
    source, average = _Parameters(), _Parameters()
    moving = MovingAverage(dict(average.block.items()), dict(source.block.items()), mx.cpu())
    expected = {name: value.copy() for name, value in average.values.items()}
    for update in range(1, 4):
        moving.update()
        decay = 0.9999 * (1 - np.exp(-update / 2000))
        for name in expected:
            expected[name] = decay * expected[name] + (1 - decay) * source.values[name]
    for name, value in expected.items():
        np.testing.assert_allclose(average.block[name].data().asnumpy(), value, rtol=1e-5)
