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
from yolo_train import operators

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


def _digest() -> str:
    found = hashlib.sha256()
    for shape in SHAPES:
        for value in _run(True, shape).values():
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
