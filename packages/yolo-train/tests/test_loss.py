from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference_loss import loss as reference

from yolo_core.mxnet.importing import mxnet
from yolo_core.yolo.architecture import Architecture
from yolo_train import operators
from yolo_train.batches import pad_targets
from yolo_train.hyp import Hyp
from yolo_train.loss import DetectionLoss, scaled_gains

mx = mxnet()

GAINS = (0.05, 1.0, 0.5)

needs_library = pytest.mark.skipif(
    not operators.path().exists(), reason="was installed without a C++ compiler"
)


@pytest.fixture(params=[False, pytest.param(True, marks=needs_library)], ids=["mxnet", "own"])
def own(request: pytest.FixtureRequest) -> bool:
    """Whether the loss is made of the compiled operators."""
    if request.param:
        assert operators.absence() == ""
    return bool(request.param)


def _case(seed: int, nc: int, batch: int, shape: Any, boxes: int, name: str = "n") -> Any:
    rng = np.random.default_rng(seed)
    architecture = Architecture.named(name, nc=nc)
    heads = [
        rng.normal(0, 1.5, (batch, 3 * architecture.no, shape[0] // s, shape[1] // s)).astype("f4")
        for s in architecture.strides
    ]
    targets = np.zeros((boxes, 6), np.float32)
    targets[:, 0] = rng.integers(batch, size=boxes)
    targets[:, 1] = rng.integers(nc, size=boxes)
    targets[:, 2:4] = rng.random((boxes, 2))
    targets[:, 4:] = rng.uniform(0.02, 0.9, (boxes, 2))
    return architecture, heads, targets


def _device_loss(
    architecture: Architecture,
    heads: Any,
    targets: Any,
    shape: Any,
    hyp: Any,
    own: bool,
    hybridize: bool = False,
) -> Any:
    block = DetectionLoss(architecture, shape, heads[0].shape[0], hyp, GAINS, own)
    block.initialize()
    if hybridize:
        block.hybridize(static_alloc=True)
    arrays = [mx.nd.array(head) for head in heads]
    for array in arrays:
        array.attach_grad()
    with mx.autograd.record():
        total, parts = block(*arrays, mx.nd.array(pad_targets(targets)))
    total.backward()
    return float(total.asscalar()), parts.asnumpy(), [array.grad.asnumpy() for array in arrays]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("nc", "batch", "shape", "boxes"),
    [(4, 3, (64, 96), 20), (1, 2, (64, 64), 5), (80, 2, (96, 64), 70), (2, 1, (32, 32), 0)],
)
def test_loss_equals_the_float64_reference(
    seed: int, nc: int, batch: int, shape: tuple[int, int], boxes: int, own: bool
) -> None:
    architecture, heads, targets = _case(seed, nc, batch, shape, boxes)
    hyp = Hyp(fl_gamma=(0.0, 1.5, 0.0, 0.5)[seed])
    total, parts, _ = _device_loss(architecture, heads, targets, shape, hyp, own, seed % 2 == 0)
    expected, expected_parts, _ = reference(heads, targets, architecture, hyp, GAINS)
    assert total == pytest.approx(expected, rel=1e-4)
    np.testing.assert_allclose(parts, expected_parts, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_gradient_equals_finite_differences_of_the_reference(seed: int, own: bool) -> None:
    architecture, heads, targets = _case(seed, 3, 2, (64, 64), 12)
    hyp = Hyp(cls_pw=1.5, obj_pw=0.7, label_smoothing=0.1, fl_gamma=(0.0, 1.5, 0.7)[seed])
    _, _, gradients = _device_loss(architecture, heads, targets, (64, 64), hyp, own)
    heads = [head.astype(np.float64) for head in heads]
    _, _, detached = reference(heads, targets, architecture, hyp, GAINS)
    rng = np.random.default_rng(seed)
    scale = max(float(np.abs(gradient).max()) for gradient in gradients)
    for head, gradient in zip(heads, gradients):
        # The places that matter most, and some others.
        places = [*np.argsort(-np.abs(gradient).ravel())[:15], *rng.integers(head.size, size=5)]
        for place in places:
            index = np.unravel_index(place, head.shape)
            value, step, ends = head[index], 1e-5, []
            for end in (value - step, value + step):
                head[index] = end
                ends.append(reference(heads, targets, architecture, hyp, GAINS, detached)[0])
            head[index] = value
            slope = (ends[1] - ends[0]) / (2 * step)
            assert gradient[index] == pytest.approx(slope, rel=2e-3, abs=1e-4 * scale)


def test_of_two_boxes_on_one_cell_the_one_written_last_is_the_target(own: bool) -> None:
    architecture, heads, targets = _case(0, 2, 1, (64, 64), 2)
    targets[:] = [[0, 0, 0.3, 0.3, 0.2, 0.2], [0, 1, 0.3, 0.3, 0.3, 0.25]]
    found = []
    for order in ([0, 1], [1, 0]):
        total, _, _ = _device_loss(architecture, heads, targets[order], (64, 64), Hyp(), own)
        expected, _, _ = reference(heads, targets[order], architecture, Hyp(), GAINS)
        assert total == pytest.approx(expected, rel=1e-5)
        found.append(total)
    assert found[0] != pytest.approx(found[1], rel=1e-4)


def test_a_box_centred_on_lines_of_the_grid_matches_its_cell_again(own: bool) -> None:
    architecture, heads, targets = _case(0, 2, 1, (64, 64), 2)
    targets[:, 2:] = [[0.5, 0.5, 0.3, 0.4], [0.26, 0.75, 0.3, 0.4]]
    total, parts, _ = _device_loss(architecture, heads, targets, (64, 64), Hyp(), own)
    expected, expected_parts, _ = reference(heads, targets, architecture, Hyp(), GAINS)
    assert total == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(parts, expected_parts, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.5])
def test_a_target_at_the_border_and_huge_numbers_stay_finite(gamma: float, own: bool) -> None:
    architecture, heads, targets = _case(0, 2, 1, (64, 64), 3)
    targets[:, 2:] = [[1.0, 1.0, 1e-4, 1e-4], [0.0, 0.0, 1.0, 1.0], [1.0, 0.5, 0.4, 0.4]]
    heads = [head * 60 for head in heads]
    hyp = Hyp(fl_gamma=gamma)
    total, _, gradients = _device_loss(architecture, heads, targets, (64, 64), hyp, own)
    assert np.isfinite(total)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


@needs_library
@pytest.mark.parametrize(
    ("name", "nc", "batch", "shape", "boxes"),
    [("n", 80, 3, (64, 96), 90), ("n", 1, 2, (64, 64), 5), ("n6", 3, 2, (128, 64), 20),
     ("n", 2, 1, (32, 32), 0)],
)  # fmt: skip
def test_own_operators_give_the_gradients_of_mxnets(
    name: str, nc: int, batch: int, shape: tuple[int, int], boxes: int
) -> None:
    assert operators.absence() == ""
    architecture, heads, targets = _case(7, nc, batch, shape, boxes, name)
    targets[: boxes // 2, 2:] = targets[:1, 2:]  # many boxes at one place
    words = (architecture, heads, targets, shape, Hyp())
    total, parts, gradients = _device_loss(*words, False)
    own_total, own_parts, own_gradients = _device_loss(*words, True)
    assert own_total == pytest.approx(total, rel=1e-6)
    np.testing.assert_allclose(own_parts, parts, rtol=1e-6)
    for one, other in zip(own_gradients, gradients):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-6 * np.abs(other).max())


@needs_library
def test_numbers_of_a_match_that_are_none_are_seen_by_the_loss() -> None:
    assert operators.absence() == ""
    architecture, heads, targets = _case(0, 2, 1, (64, 64), 2)
    for place in (0, 2, 5):
        broken = [head.copy() for head in heads]
        for head in broken:
            head[:, place :: architecture.no] = np.nan
        total, _, _ = _device_loss(architecture, broken, targets, (64, 64), Hyp(), True)
        assert np.isnan(total)


def test_gains_follow_classes_and_pixels() -> None:
    box, obj, cls = scaled_gains(Hyp(), nc=20, imgsz=320)
    assert (box, obj, cls) == pytest.approx((0.05, 0.25, 0.125))
