"""The compiled operators: the same as MXNet's own to rounding, and the same bits everywhere."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolo_core.errors import InputError
from yolo_core.mxnet.importing import mxnet
from yolo_core.yolo.architecture import Architecture
from yolo_train import operators
from yolo_train.batches import pad_targets
from yolo_train.hyp import Hyp
from yolo_train.loss import DetectionLoss

mx = mxnet()

#: Channels of less than a register, rows that end inside one, rows longer than a chunk of sums.
SHAPES = [(2, 3, 5, 7), (3, 16, 20, 20), (1, 2, 65, 65), (2, 5, 3, 1)]

needs_library = pytest.mark.skipif(
    not operators.path().exists(), reason="was installed without a C++ compiler"
)


@pytest.fixture(autouse=True)
def _default(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(operators.VARIABLE, raising=False)
    yield
    if operators.path().exists():
        monkeypatch.delenv(operators.VARIABLE, raising=False)
        operators.absence()


def _numbers(shape: Any, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return rng.normal(0.7, 2, shape).astype(np.float32)


def _run(own: bool, shape: Any, passes: int = 1, grad_req: str = "write") -> dict[str, Any]:
    """Everything that comes out of forward and backward passes, by name."""
    make = operators.BatchNormSilu if own else mx.gluon.nn.BatchNorm
    block = make(in_channels=shape[1], momentum=0.97, epsilon=1e-3)
    block.initialize()
    block.gamma.set_data(mx.nd.array(1 + 0.2 * _numbers(shape[1], 1)))
    block.beta.set_data(mx.nd.array(0.2 * _numbers(shape[1], 2)))
    for parameter in (block.gamma, block.beta):
        parameter.grad_req = grad_req
    block.hybridize(static_alloc=True, static_shape=True)
    x = mx.nd.array(_numbers(shape, 3))
    x.attach_grad()
    for seed in range(passes):
        with mx.autograd.record():
            y = block(x)
            if not own:
                y = y * mx.nd.Activation(y, act_type="sigmoid")
        y.backward(mx.nd.array(_numbers(shape, 4 + seed)))
    return {
        "y": y.asnumpy(), "dx": x.grad.asnumpy(), "dgamma": block.gamma.grad().asnumpy(),
        "dbeta": block.beta.grad().asnumpy(), "mean": block.running_mean.data().asnumpy(),
        "variance": block.running_var.data().asnumpy(),
    }  # fmt: skip


def _loss_gradients() -> list[Any]:
    """Gradients of the heads by the whole loss, many boxes at one place."""
    architecture = Architecture.named("n", nc=7)
    heads = [mx.nd.array(_numbers((3, 36, 64 // s, 64 // s), s)) for s in architecture.strides]
    targets = np.tile(np.array([0, 1, 0.4, 0.6, 0.3, 0.2], np.float32), (40, 1))
    targets[:, 0], targets[:, 1] = np.arange(40) % 3, np.arange(40) % 7
    targets[20:, 2:4] = np.abs(_numbers((20, 2), 5)) % 1
    block = DetectionLoss(architecture, (64, 64), 3, Hyp(), (0.05, 1, 0.5), own=True)
    block.initialize()
    for head in heads:
        head.attach_grad()
    with mx.autograd.record():
        total, _ = block(*heads, mx.nd.array(pad_targets(targets)))
    total.backward()
    return [total.asnumpy(), *(head.grad.asnumpy() for head in heads)]


def _digest() -> str:
    found = hashlib.sha256()
    for shape in SHAPES:
        for value in _run(True, shape).values():
            found.update(value.tobytes())
    for value in _loss_gradients():
        found.update(value.tobytes())
    return found.hexdigest()


@needs_library
@pytest.mark.parametrize("shape", SHAPES)
def test_it_does_what_mxnets_own_operators_do(shape: Any) -> None:
    assert operators.absence() == ""
    expected = _run(False, shape)
    for name, value in _run(True, shape).items():
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(value, expected[name], atol=2e-5 * scale, err_msg=name)


@needs_library
def test_gradients_that_gather_over_batches_are_added() -> None:
    assert operators.absence() == ""
    expected = _run(False, (2, 4, 6, 5), passes=3, grad_req="add")
    for name, value in _run(True, (2, 4, 6, 5), passes=3, grad_req="add").items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-4, err_msg=name)


@needs_library
def test_gradients_are_the_finite_differences() -> None:
    assert operators.absence() == ""
    shape = (2, 3, 3, 2)
    x, weight = _numbers(shape, 3).astype(np.float64), _numbers(shape, 4).astype(np.float64)
    gamma = 1 + 0.2 * _numbers(3, 1).astype(np.float64)
    beta = 0.2 * _numbers(3, 2).astype(np.float64)

    def total(x: Any, gamma: Any, beta: Any) -> Any:
        away = x - x.mean((0, 2, 3), keepdims=True)
        z = away / np.sqrt((away**2).mean((0, 2, 3), keepdims=True) + 1e-3)
        z = z * gamma[:, None, None] + beta[:, None, None]
        return (weight * z / (1 + np.exp(-z))).sum()

    words = {"dx": x, "dgamma": gamma, "dbeta": beta}
    found = _run(True, shape)
    for name, array in words.items():
        for place in np.ndindex(array.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = {key: value.copy() for key, value in words.items()}
                moved[name][place] += step
                ends.append(total(*moved.values()))
            slope = (ends[0] - ends[1]) / 2e-5
            assert found[name][place] == pytest.approx(slope, rel=1e-3, abs=1e-4), (name, place)


@needs_library
def test_large_values_neither_overflow_nor_lose_the_variance() -> None:
    assert operators.absence() == ""
    x = np.full((2, 1, 4, 5), 1e4, np.float32)
    x[0, 0, 0, 0] += 1
    gamma, beta, mean, variance = (mx.nd.array([v]) for v in (1, 0, 0, 0))
    y, _, _ = mx.nd.yolo_batch_norm_silu(
        mx.nd.array(x), gamma, beta, mean, variance, eps=0, momentum=0
    )
    assert variance.asscalar() == pytest.approx(x.astype(np.float64).var(), rel=1e-3)
    # One value of forty away from the rest: 39 / sqrt(39) standard deviations.
    assert y.asnumpy()[0, 0, 0, 0] == pytest.approx(39**0.5 / (1 + np.exp(-(39**0.5))), rel=1e-3)
    wide = mx.nd.array(np.array([-1e30, 1e30, 0, 1], np.float32).reshape(1, 1, 2, 2))
    scale = mx.nd.array([3e3])
    y, _, _ = mx.nd.yolo_batch_norm_silu(wide, scale, beta, mean, variance, eps=0, momentum=0)
    assert np.isfinite(y.asnumpy()).all()
    assert y.asnumpy()[0, 0, 0, 0] == pytest.approx(0, abs=1e-30)


@needs_library
def test_values_that_are_no_numbers_stay_so() -> None:
    assert operators.absence() == ""
    arrays = [mx.nd.array([v]) for v in (1, 0, 0, 0)]
    x = mx.nd.array(np.array([1, np.nan, 2, 3], np.float32).reshape(1, 1, 4))
    y, _, _ = mx.nd.yolo_batch_norm_silu(x, *arrays, eps=1e-3, momentum=0.5)
    assert np.isnan(y.asnumpy()).all()
    assert np.isnan(arrays[3].asnumpy()).all()


def _heads(seed: int) -> list[Any]:
    """Two levels of 6 and 2 cells, 2 pictures, 2 anchors of 5 + 3 numbers."""
    return [mx.nd.array(_numbers((2, 16, *cells), seed)) for cells in ((2, 3), (1, 2))]


PICK = {"anchors": 2, "numbers": 8, "cells": (6, 2)}


@needs_library
def test_picked_rows_and_their_gradients_are_those_of_numpy() -> None:
    assert operators.absence() == ""
    heads = _heads(0)
    for head in heads:
        head.attach_grad()
    # Twice the same place, none, another level, and numbers that are no slot or place.
    slot = np.array([3, 3, -1, 0, 2, 4, np.nan, 1], np.float32)
    place = np.array([4, 4, 4, 7, 6, 0, 0, np.nan], np.float32)
    with mx.autograd.record():
        found = mx.nd.yolo_pick(*heads, mx.nd.array(slot), mx.nd.array(place), **PICK)
    slopes = [_numbers(each.shape, 3) for each in found]
    mx.autograd.backward(found, [mx.nd.array(each) for each in slopes])
    rows = np.concatenate([head.asnumpy().reshape(4, 8, -1) for head in heads], axis=2)
    gradient = np.zeros_like(rows)
    gradient[:, 4] = slopes[2].reshape(4, -1)
    boxes, classes, objectness = (each.asnumpy() for each in found)
    np.testing.assert_array_equal(objectness, rows[:, 4].reshape(2, 2, 8))
    for k, (own, at) in enumerate(zip((3, 3, -1, 0, 2, -1, -1, 1), (4, 4, 4, 7, 6, 0, 0, 0))):
        row = rows[own, :, at] if own >= 0 else np.zeros(8)
        np.testing.assert_array_equal(boxes[k], row[:4])
        np.testing.assert_array_equal(classes[k], row[5:])
        if own >= 0:
            gradient[own, :4, at] += slopes[0][k]
            gradient[own, 5:, at] += slopes[1][k]
    split = np.split(gradient, [6], axis=2)
    for head, expected in zip(heads, split):
        np.testing.assert_array_equal(head.grad.asnumpy().reshape(4, 8, -1), expected)


@needs_library
@pytest.mark.parametrize(
    ("changed", "expected"),
    [({"cells": (6, 3)}, "another shape"), ({"cells": (6,)}, "expects 3 inputs"),
     ({"cells": ()}, "needs anchors"), ({"numbers": 5}, "needs anchors"),
     ({"anchors": 3}, "another shape"), ({"anchors": 0}, "needs anchors")],
)  # fmt: skip
def test_attributes_that_do_not_fit_the_heads_are_refused(changed: Any, expected: str) -> None:
    assert operators.absence() == ""
    index = mx.nd.zeros(3)
    with pytest.raises(mx.MXNetError, match=expected):
        mx.nd.yolo_pick(*_heads(0), index, index, **{**PICK, **changed})


def _ciou(raw: Any, target: Any, weight: Any = None) -> tuple[Any, Any]:
    """IoU [K] and aspect weight [K] of raw boxes [K, 4] in float64, by the formula."""
    x, y, w, h, anchor_w, anchor_h = target
    center = 2 / (1 + np.exp(-raw[:, :2])) - 0.5
    size = (2 / (1 + np.exp(-raw[:, 2:]))) ** 2 * np.stack([anchor_w, anchor_h], axis=1)
    other, other_size = np.stack([x, y], axis=1), np.stack([w, h], axis=1)
    low, high = center - size / 2, center + size / 2
    other_low, other_high = other - other_size / 2, other + other_size / 2
    shared = np.minimum(high, other_high) - np.maximum(low, other_low)
    overlap = np.maximum(shared, 0).prod(1)
    iou = overlap / (size.prod(1) + other_size.prod(1) - overlap + 1e-7)
    hull = np.maximum(high, other_high) - np.minimum(low, other_low)
    distance = ((other - center) ** 2).sum(1) / ((hull**2).sum(1) + 1e-7)
    angles = np.arctan(w / (h + 1e-7)) - np.arctan(size[:, 0] / (size[:, 1] + 1e-7))
    aspect = 4 / np.pi**2 * angles**2
    if weight is None:
        weight = aspect / (aspect - iou + 1 + 1e-7)
    return iou - distance - weight * aspect, weight


@needs_library
def test_ciou_and_its_gradient_are_those_of_the_formula() -> None:
    assert operators.absence() == ""
    rng = np.random.default_rng(0)
    count = 64
    raw = rng.normal(0, 2, (count, 4)).astype(np.float32)
    target = rng.uniform(0.05, 4, (6, count)).astype(np.float32)
    target[:2] = rng.uniform(-0.5, 1.5, (2, count))
    slope = _numbers(count, 2)
    boxes = mx.nd.array(raw)
    boxes.attach_grad()
    with mx.autograd.record():
        found = mx.nd.yolo_ciou(boxes, *(mx.nd.array(each.reshape(2, -1)) for each in target))
    found.backward(mx.nd.array(slope.reshape(2, -1)))
    assert found.shape == (2, count // 2)
    exact, words = raw.astype(np.float64), target.astype(np.float64)
    expected, weight = _ciou(exact, words)
    np.testing.assert_allclose(found.asnumpy().ravel(), expected, atol=1e-6)
    for column in range(4):
        ends = []
        for step in (1e-6, -1e-6):
            moved = exact.copy()
            moved[:, column] += step
            ends.append(_ciou(moved, words, weight)[0])
        slopes = (ends[0] - ends[1]) / 2e-6 * slope
        np.testing.assert_allclose(boxes.grad.asnumpy()[:, column], slopes, rtol=1e-5, atol=1e-6)


@needs_library
def test_ciou_of_extreme_numbers_is_a_number_and_of_none_is_none() -> None:
    assert operators.absence() == ""
    raw = np.array([[1e30, -1e30, 200, -200], [-90, 90, -1e4, -1e4], [0, 0, 0, np.nan]], "f4")
    boxes = mx.nd.array(raw)
    boxes.attach_grad()
    with mx.autograd.record():
        found = mx.nd.yolo_ciou(boxes, *[mx.nd.ones(3)] * 6)
    found.backward()
    assert np.isfinite(found.asnumpy()[:2]).all()
    assert np.isfinite(boxes.grad.asnumpy()[:2]).all()
    assert np.isnan(found.asnumpy()[2])
    with pytest.raises(mx.MXNetError, match=r"\[K, 4\]"):
        mx.nd.yolo_ciou(mx.nd.ones((3, 5)), *[mx.nd.ones(3)] * 6)
    with pytest.raises(mx.MXNetError, match="every box"):
        mx.nd.yolo_ciou(boxes, *[mx.nd.ones(4)] * 6)


@needs_library
def test_instruction_sets_and_threads_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = set()
    for name in operators.INSTRUCTION_SETS:
        monkeypatch.setenv(operators.VARIABLE, name)
        try:
            assert operators.absence() == ""
        except InputError:  # this machine lacks the set
            continue
        digests.add(_digest())
    code = "from test_operators import _digest, operators; operators.absence(); print(_digest())"
    for threads in ("1", "3"):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=Path(__file__).parent, check=True,
            capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": threads},
        )  # fmt: skip
        digests.add(done.stdout.strip())
    assert len(digests) == 1


def test_the_variable_chooses_and_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(operators.VARIABLE, "mxnet")
    assert operators.batch_norm_silu([mx.cpu()]) is None
    assert operators.VARIABLE in operators.notice([mx.cpu()])
    monkeypatch.setenv(operators.VARIABLE, "sse")
    with pytest.raises(InputError, match="avx512"):
        operators.absence()


def test_other_devices_than_cpus_use_mxnets_own() -> None:
    assert operators.batch_norm_silu([mx.cpu(), mx.gpu()]) is None
    assert operators.notice([mx.gpu()]) == ""


@pytest.mark.parametrize("content", [None, b"", b"no library"])
def test_a_library_that_is_missing_or_damaged_is_told_in_one_line(
    content: bytes | None, tmp_path: Path
) -> None:
    library = tmp_path / "_operators.so"
    if content is not None:
        library.write_bytes(content)
    code = (
        "import sys, pathlib; from yolo_train import operators as o\n"
        "o.path = lambda: pathlib.Path(sys.argv[1])\n"
        "assert o.batch_norm_silu([o.mx.cpu()]) is None\n"
        "print(o.notice([o.mx.cpu()]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(library)], check=True, capture_output=True, text=True
    )
    expected = "without a C++ compiler" if content is None else "do not load"
    assert len(done.stdout.splitlines()) == 1
    assert expected in done.stdout
