"""The stock yolov5n checkpoint, held against the reference outputs of PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolo_core.mxnet.checkpoint import read_checkpoint
from yolo_port.conversion import WRITERS, convert
from yolo_port.inspection import inspect
from yolo_port.oracle import Oracle
from yolo_port.readers import load
from yolo_port.verification import verify


@pytest.fixture(scope="module")
def references(shared: Path) -> Any:
    return [np.load(shared / f"reference_{name}_320.npz") for name in ("bus", "zidane")]


@pytest.mark.parametrize("fuse", [False, True])
def test_raw_heads_of_the_network_are_the_references(
    shared: Path, references: Any, tmp_path: Path, fuse: bool
) -> None:
    from yolo_core.mxnet import network

    convert(shared / "yolov5n.pt", tmp_path, fuse=fuse)
    checkpoint = read_checkpoint(tmp_path / "yolov5n")
    net = network.build(checkpoint.architecture, checkpoint.parameters, checkpoint.fused)
    for reference in references:
        image = reference["letterboxed_rgb"].transpose(2, 0, 1)[None].astype(np.float32) / 255
        heads = net(network.mx.nd.array(image))
        for head, name in zip(heads, ("p3", "p4", "p5")):
            assert np.abs(head.asnumpy() - reference[name]).max() <= 1e-3


def test_raw_heads_of_the_oracle_are_the_references(shared: Path, references: Any) -> None:
    oracle = Oracle(load(shared / "yolov5n.pt"))
    for reference in references:
        image = reference["letterboxed_rgb"].transpose(2, 0, 1).astype(np.float32) / 255
        _, heads = oracle.run(image)
        for head, name in zip(heads, ("p3", "p4", "p5")):
            assert np.abs(head - reference[name][0]).max() <= 1e-3


def test_onnx_export_gives_the_references(shared: Path, references: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="the onnx extra is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    _, (path,) = convert(shared / "yolov5n.pt", tmp_path, "onnx")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    reference = references[0]
    image = reference["letterboxed_rgb"].transpose(2, 0, 1)[None].astype(np.float32) / 255
    (rows,) = session.run(None, {"images": image})
    wanted = [
        reference[name].reshape(3, 85, -1).transpose(0, 2, 1).reshape(-1, 85)[:, 4:]
        for name in ("p3", "p4", "p5")
    ]
    assert np.abs(rows[0, :, 4:] - 1 / (1 + np.exp(-np.concatenate(wanted)))).max() <= 1e-4


def test_inspect_gives_the_published_facts(shared: Path) -> None:
    facts = inspect(shared / "yolov5n.pt")
    assert facts["model"] == "yolov5n, 60 convolutions, 1,872,157 parameters"
    assert facts["stored"] == "float16, batch normalisation kept (epsilon 0.001)"
    assert facts["sha256"].startswith("4f180cf23ba0717a")
    assert facts["classes"].startswith("80: person, bicycle, car")


@pytest.mark.parametrize("form", list(WRITERS))
def test_every_format_verifies(shared: Path, tmp_path: Path, form: Any) -> None:
    if form == "onnx":
        pytest.importorskip("onnx", reason="the onnx extra is not installed")
    convert(shared / "yolov5n.pt", tmp_path, form)
    target = tmp_path / ("yolov5n" if form == "mxnet" else f"yolov5n.{form}")
    assert verify(shared / "yolov5n.pt", target, [shared / "images" / "bus.jpg"]).passed
