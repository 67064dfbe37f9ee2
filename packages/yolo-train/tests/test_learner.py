from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from yolo_core.mxnet.importing import mxnet
from yolo_core.mxnet.network import parameters_of
from yolo_core.yolo.architecture import Architecture
from yolo_train.batches import Batch, pad_targets
from yolo_train.gradients import GradientSum
from yolo_train.hyp import Hyp
from yolo_train.learner import Learner
from yolo_train.optimizer import LossScale, MovingAverage, Optimizer
from yolo_train.options import OPTIMIZERS, FitOptions
from yolo_train.schedule import Rates, Schedule
from yolo_train.start import Start, random_parameters

mx = mxnet()

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
