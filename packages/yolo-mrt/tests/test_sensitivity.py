"""One thing quantized alone: what follows from it is computed anew, and all else stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolo_core.arrays import Array
from yolo_mrt.calibrate.float_pass import FloatNet
from yolo_mrt.calibrate.scheme import Codes
from yolo_mrt.network.source import Source, read_source
from yolo_mrt.quantize.sensitivity import Judge, coded_read, coded_tensor, coded_weight


@pytest.fixture(scope="module")
def source(checkpoint: Path) -> Source:
    return read_source(checkpoint)


@pytest.fixture(scope="module")
def planes() -> list[Array]:
    generator = np.random.RandomState(5)
    return [generator.rand(1, 3, 64, 64).astype(np.float32) for _ in range(2)]


def codes_of(channels: int, scale: float) -> Codes:
    return Codes.plain(np.full(channels, scale), np.full(channels, -120))


def test_rerun_is_the_whole_run_with_one_tensor_replaced(
    source: Source, planes: list[Array]
) -> None:
    net = FloatNet(source.net)
    first: dict[str, Any] = {}
    second: dict[str, Any] = {}
    heads = net.run(planes[0], first.__setitem__)
    others = net.run(planes[1], second.__setitem__)
    for name in ("model.3.conv", "model.23.cv3.conv"):
        for ours, exact in zip(net.rerun(first, name, first[name]), heads):
            np.testing.assert_array_equal(ours, exact)
    for ours, exact in zip(net.rerun(first, "data", second["data"]), others):
        np.testing.assert_array_equal(ours, exact)


def test_coarser_steps_are_farther_from_the_float_answer(
    source: Source, planes: list[Array]
) -> None:
    layers, channels = source.net.by_name(), source.net.channels()
    site, conv = "model.1.conv", layers["model.2.cv1.conv"]
    trials = []
    for scale in (0.02, 0.08, 0.3):
        trials += [
            coded_tensor(site, codes_of(channels[site], scale)),
            coded_read(conv, 0, codes_of(channels[site], scale)),
            coded_weight(conv, np.rint(conv.weights / scale) * scale),
        ]
    distances = Judge(source, (64, 64)).distances(trials, planes).reshape(3, 3, 2)
    assert (distances[0] < distances[1]).all()
    assert (distances[1] < distances[2]).all()
    # The tensor has a second reader, which a coded read leaves alone.
    assert (distances[1, 1] != distances[1, 0]).all()
