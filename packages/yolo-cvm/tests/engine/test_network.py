"""The whole network: YOLOv5 graphs in the form that quantization gives them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from yolo_core.arrays import Array
from yolo_core.graph import Graph, interpret
from yolo_cvm.engine import library, planner, select
from yolo_cvm.engine.format import Step

SETS = library.instruction_sets()
pytestmark = pytest.mark.skipif(not SETS, reason="the package was installed without a compiler")


def _synthetic() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "synthetic.py"
    spec = importlib.util.spec_from_file_location("synthetic", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def network() -> Graph:
    graph: Graph = _synthetic().yolov5("n", 96, 160)
    return graph


@pytest.fixture(scope="module")
def data(network: Graph) -> Array:
    return np.random.default_rng(3).integers(-127, 128, network.input_shape, dtype=np.int32)


@pytest.fixture(scope="module")
def expected(network: Graph, data: Array) -> list[Array]:
    return interpret.run(network, data)


@pytest.mark.parametrize("name", SETS)
def test_same_bytes(name: str, network: Graph, data: Array, expected: list[Array]) -> None:
    for threads in (1, 2, 3, 8):
        engine = select(network, threads, name)
        for _ in range(2):  # nothing may be left from the run before
            got = engine.run(data)
            assert [a.tobytes() for a in got] == [a.tobytes() for a in expected]


def test_extreme_inputs(network: Graph) -> None:
    engine = select(network, 2)
    for value in (-127, 0, 127):
        data = np.full(network.input_shape, value, np.int32)
        assert np.array_equal(engine.run(data)[0], interpret.run(network, data)[0])


def test_convolutions_swallow_everything_around_them(network: Graph) -> None:
    """60 convolutions and hardly a step besides: no int32 tensor is written between layers."""
    plan = planner.plan(network)
    steps = plan.kinds
    assert steps.count(Step.CONV_IMAGE) == 60
    assert set(steps) <= {
        Step.TO_IMAGE,
        Step.HALO,
        Step.CONV_IMAGE,
        Step.POOL_IMAGE,
        Step.COPY_IMAGE,
    }


def test_working_memory_is_reused(network: Graph) -> None:
    produced = sum(int(np.prod(s)) for n in network.nodes if not n.is_variable for s in n.shapes)
    assert planner.plan(network).arena_bytes < produced / 10


def test_trace_equals_the_reference(network: Graph, data: Array) -> None:
    small = _synthetic().yolov5("n", 32, 32)
    x = data[:, :, :32, :32]
    want = {i: o for i, o in interpret.trace(small, x) if not small.nodes[i].is_variable}
    for index, outputs in select(small, 2).trace(x):
        for a, b in zip(want.pop(index), outputs):
            assert np.array_equal(a, b)
    assert not want
