"""Graphs that decide: the same boxes as a host, and nothing claimed that is not done."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.graph import Graph, GraphBuilder, interpret
from yolo_core.graph.files import params, symbol
from yolo_core.graph.proof.bounds import certify
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.boxes import NmsSettings, detections
from yolo_core.yolo.decision import Decision
from yolo_core.yolo.decision_graph import Rows, decide, rows_of_decision
from yolo_core.yolo.elementary import exponential, log2
from yolo_core.yolo.model_folder import Extension, check_extension, read_model_folder

EVALUATION: dict[str, Any] = {"conf": 0.001, "iou": 60, "max_det": 300, "top_k": 4096}


def network(classes: int, anchors: float = 1.0, size: str = "n") -> Architecture:
    architecture = Architecture.named(size, nc=classes, names=tuple(map(str, range(classes))))
    scaled = tuple(
        tuple((width * anchors, height * anchors) for width, height in level)
        for level in architecture.anchors
    )
    return replace(architecture, anchors=scaled)


def tail(rows: Rows, decision: Decision, bits: int = 16) -> Graph:
    """A graph whose input is the rows themselves."""
    b = GraphBuilder()
    shape = (1, rows.count, rows.architecture.no)
    return decide(b.build([b.input("data", shape, bits)]), rows, decision)


def made_up(rows: Rows, seed: int, strong: int = 40) -> Array:
    """int32 [1, N, 5 + nc] logits with 10 fraction bits: some strong rows among noise."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1, (rows.count, rows.architecture.no))
    logits[:, 4] = rng.normal(-7, 1.5, rows.count)
    logits[:, 5:] = rng.normal(-4, 1.5, (rows.count, rows.architecture.nc))
    for row in rng.integers(0, rows.count, strong):
        logits[row, 4] = rng.normal(2, 1.5)
        logits[row, 5 + rng.integers(rows.architecture.nc)] = rng.normal(2, 1.5)
    codes: Array = np.clip(np.rint(logits * 1024), -32767, 32767).astype(np.int32)[None]
    return codes


@pytest.mark.parametrize(
    ("imgsz", "classes", "options"),
    [
        ((64, 64), 1, {}),
        ((64, 64), 2, {}),
        ((96, 64), 3, {"conf": 0.9}),
        ((64, 64), 5, {"labels": "multi"}),
        ((64, 128), 80, {"agnostic": True}),
        ((64, 64), 129, {}),
        ((64, 64), 2049, {}),
        ((32, 32), 8192, {}),
        ((32, 32), 3, {"conf": 0, "max_det": 300}),
        ((160, 96), 7, EVALUATION),
        ((160, 96), 7, {**EVALUATION, "labels": "multi"}),
    ],
)
def test_boxes_are_those_of_the_host(
    imgsz: tuple[int, int], classes: int, options: dict[str, Any]
) -> None:
    agree(Rows(network(classes), imgsz, 1024.0), options)


@pytest.mark.parametrize("options", [{}, {**EVALUATION, "labels": "multi"}])
def test_boxes_of_four_levels_are_those_of_the_host(options: dict[str, Any]) -> None:
    agree(Rows(network(3, size="n6"), (64, 128), 1024.0), options, pixels=0.15)


def agree(rows: Rows, options: dict[str, Any], pixels: float = 0.06) -> None:
    """Compare the graph's boxes with the host's, whose corners are at most `pixels` away."""
    imgsz = rows.imgsz
    decision = Decision.of(rows.count, rows.architecture.nc, **options)
    graph = tail(rows, decision)
    certify(graph)
    assert graph.head_shapes == ((1, decision.max_det, 6),)
    for seed in range(2):
        codes = made_up(rows, seed)
        boxes = interpret.run(graph, codes)[0][0]
        found = decision.read(boxes)
        host = detections(codes[0] / 1024, rows.architecture, imgsz, decision.nms())
        assert len(found) == len(host) > 0
        assert (boxes[len(found) :] == -1).all()
        assert (np.diff(boxes[: len(found), 1]) <= 0).all()
        assert np.abs(found[:, :4] - host[:, :4]).max() < pixels
        assert np.abs(found[:, 4] - host[:, 4]).max() < 0.0004
        assert (found[:, 5] == host[:, 5]).all()


@pytest.mark.parametrize(("scale", "bits"), [(4.0, 8), (2.0**14, 20)])
def test_other_scales_of_the_rows(scale: float, bits: int) -> None:
    rows = Rows(network(3), (64, 64), scale)
    decision = Decision.of(rows.count, 3)
    codes = np.rint(made_up(rows, 0) / 1024 * scale).astype(np.int32)
    bound = 2 ** (bits - 1) - 1
    codes = np.clip(codes, -bound, bound)
    found = decision.read(interpret.run(tail(rows, decision, bits), codes)[0][0])
    host = detections(codes[0] / scale, rows.architecture, (64, 64), decision.nms())
    assert len(found) == len(host) > 0
    assert np.abs(found - host).max() < 0.2


def test_extreme_rows_are_decided_on_too() -> None:
    """No row valid, and all rows valid, equal and of one class."""
    rows = Rows(network(2), (64, 64), 1024.0)
    decision = Decision.of(rows.count, 2)
    graph = tail(rows, decision)
    nothing = np.full((1, rows.count, 7), -32767, np.int32)
    assert (interpret.run(graph, nothing)[0] == -1).all()
    everything = np.full((1, rows.count, 7), 32767, np.int32)
    found = decision.read(interpret.run(graph, everything)[0][0])
    host = detections(everything[0] / 1024, rows.architecture, (64, 64), decision.nms())
    # Box logits beyond 8 count as 8, score logits beyond 9 as 9.
    assert np.abs(found - host).max() < 0.5


def test_the_least_confidence_is_said() -> None:
    assert Decision.of(252, 3, conf=0).conf == 2.0**-16


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"conf": 1.0}, "conf"),
        ({"conf": float("nan")}, "conf"),
        ({"conf": -0.1}, "conf"),
        ({"iou": 45.5}, "iou"),
        ({"iou": 0}, "iou"),
        ({"iou": 101}, "iou"),
        ({"max_det": 0}, "max-det"),
        ({"max_det": 1001, "top_k": 4096}, "max-det"),
        ({"top_k": 0}, "top-k"),
        ({"top_k": 4097}, "top-k"),
        ({"top_k": 99}, "top-k"),
        ({"labels": "all"}, "labels"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, Any], name: str) -> None:
    with pytest.raises(InputError, match=name):
        Decision.of(252, 3, **options)


def test_anchors_that_do_not_fit_are_refused() -> None:
    rows = Rows(network(2, anchors=100.0), (64, 64), 1024.0)
    with pytest.raises(InputError, match="anchors"):
        tail(rows, Decision.of(rows.count, 2))


def test_a_scale_that_is_no_power_of_two_is_refused() -> None:
    rows = Rows(network(2), (64, 64), 1000.0)
    with pytest.raises(InputError, match="power of two"):
        tail(rows, Decision.of(rows.count, 2))


def detector() -> tuple[Graph, Extension]:
    """A deciding model: rows made from the picture by a table, so that it stays small."""
    architecture = network(2)
    count = architecture.rows(32, 32)
    b = GraphBuilder()
    picture = b.operator("reshape", [b.input("data", (1, 3, 32, 32), 8)], shape=(1, 3072, 1))
    wide = b.operator("broadcast_mul", [picture, b.parameter("gain", np.array([64]), 8)])
    rows = b.operator("strided_slice", [wide], begin=(0, 0, 0), end=(1, count * 7, 1))
    head = b.operator("reshape", [rows], shape=(1, count, 7))
    extension = Extension(architecture, (32, 32), 255.0, -128, 8, (1024.0,) * 7)
    decision = Decision.of(count, 2, max_det=20)
    graph = decide(b.build([head]), extension.rows(), decision)
    return graph, replace(extension, boxes=decision)


def test_a_folder_says_what_its_graph_does(tmp_path: Path) -> None:
    graph, extension = detector()
    check_extension(extension, graph, "ext")
    contents = (
        ("symbol", symbol.encode(graph)),
        ("params", params.encode(graph)),
        ("ext", extension.to_json().encode()),
    )
    for name, data in contents:
        (tmp_path / name).write_bytes(data)
    assert read_model_folder(tmp_path).extension() == extension


def test_the_rows_are_inside() -> None:
    graph, _ = detector()
    picture = np.random.default_rng(0).integers(-127, 128, graph.input_shape).astype(np.int32)
    (rows,) = interpret.run(rows_of_decision(graph), picture)
    assert rows.shape == (1, 63, 7)
    assert (rows.ravel() == 64 * picture.ravel()[: 63 * 7]).all()


CLAIMS: list[tuple[str, Any]] = [
    ("conf", 0.5), ("iou", 46), ("max_det", 19), ("top_k", 999), ("agnostic", True),
    ("labels", "multi"), ("select", 62), ("score_bits", 24), ("pixel_bits", 4),
    ("form", "boxes-2"), ("conf", "0.25"), ("max_det", True), ("extra", 1),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), CLAIMS)
def test_no_key_can_claim_another_thing(key: str, value: object) -> None:
    graph, extension = detector()
    record = json.loads(extension.to_json())
    record["detection"]["boxes"][key] = value
    with pytest.raises(InputError, match="ext"):
        check_extension(Extension.from_dict(record, "ext"), graph, "ext")


def test_anchors_and_scales_of_the_graph_are_checked_too() -> None:
    graph, extension = detector()
    for claim in (
        replace(extension, architecture=network(2, anchors=1.5)),
        replace(extension, output_scales=(512.0,) * 7),
    ):
        with pytest.raises(InputError, match="ext"):
            check_extension(claim, graph, "ext")


def test_a_graph_of_rows_decides_nothing() -> None:
    graph, extension = detector()
    with pytest.raises(InputError, match="ext"):
        check_extension(extension, rows_of_decision(graph), "ext")


def test_a_changed_constant_is_found() -> None:
    graph, extension = detector()
    changed = {name: graph.parameters.stored(name) for name in graph.parameters}
    table = changed["boxes.scores"].copy()
    table[5] += 1
    changed["boxes.scores"] = table
    with pytest.raises(InputError, match=r"boxes\.scores"):
        check_extension(extension, graph.bind(changed), "ext")


def test_settings_in_the_words_of_a_host() -> None:
    assert Decision.of(252, 3).nms() == NmsSettings(0.25, 0.45, 100, multi_label=False)
    assert Decision.of(252, 3).overlaps() == 94_950


def test_elementary_functions_are_exact_to_a_few_units() -> None:
    x = np.concatenate((np.random.default_rng(0).uniform(0, 1, 1000), 2.0 ** np.arange(-300, 300)))
    assert np.allclose(log2(x), np.log2(x), rtol=1e-15, atol=1e-15)
    assert np.allclose(exponential(x[:1000] * 100), np.exp(x[:1000] * 100), rtol=2e-15)


@pytest.mark.parametrize(
    ("scale", "zero", "precision"),
    [
        (255.0, -128, 8),
        (255.0, 0, 9),
        (127.0, 0, 8),
        (255.0, 3, 8),
        (510.0, -7, 12),
        (255.0, 1 << 31, 8),
    ],
)
@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_integers_of_the_input_follow_the_rule(
    scale: float, zero: int, precision: int, color: str
) -> None:
    """Where neighbouring pixels have neighbouring integers, and where not."""
    architecture = Architecture.named("n", nc=2)
    extension = Extension(
        architecture, (32, 32), scale, zero, precision, (1024.0,) * 7, color=color
    )
    pixels = np.random.default_rng(1).integers(0, 256, (1, 32, 32, 3), np.uint8)
    pixels[0, 0, :2] = [[0, 255, 128], [255, 0, 127]]
    bound = 2 ** (precision - 1) - 1
    wanted = np.clip(np.floor(pixels / 255.0 * scale + 0.5) + zero, -bound, bound)
    planes = np.moveaxis(wanted if color == "rgb" else wanted[..., ::-1], 3, 1)
    codes = extension.quantize_input(pixels)
    assert codes.dtype == np.int32
    assert codes.flags.c_contiguous
    assert np.array_equal(codes, planes)
