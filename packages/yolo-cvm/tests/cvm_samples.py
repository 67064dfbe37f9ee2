"""A small graph, its files and its input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph import Graph, GraphBuilder
from yolo_core.graph.files import params, symbol
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.decision import Decision
from yolo_core.yolo.model_folder import Extension, deciding


def small_graph(postprocess: str = "", bits: int = 8) -> Graph:
    """relu(cvm_clip(conv2d(data))) with weights of 5 bits: one head of 12 bits."""
    b = GraphBuilder()
    x = b.input("data", (1, 2, 4, 5), bits)
    w = b.parameter("w", np.arange(-6, 6).reshape(3, 2, 1, 2), 5)
    y = b.operator("conv2d", [x, w], channels=3, kernel_size=(1, 2), use_bias=False)
    z = b.operator("relu", [b.operator("cvm_clip", [y], precision=12)])
    return b.build([z], postprocess)


def heads_of(*shapes: tuple[int, ...], bits: int = 8, postprocess: str = "") -> Graph:
    """A graph whose heads have these shapes and this precision: parameters, counted up from 0."""
    b = GraphBuilder()
    b.input("data", (2, 3), 12)
    heads = []
    for k, shape in enumerate(shapes):
        values = np.arange(np.prod(shape, dtype=np.int64)).reshape(shape) % 2 ** (bits - 1)
        heads.append(b.parameter(f"h{k}", values, bits))
    return b.build(heads, postprocess)


def deciding_detector(
    side: int = 32, max_det: int = 20, conf: float = 0.25
) -> tuple[Graph, Extension]:
    """A detector whose graph decides on rows that are pixels of the picture, times a constant."""
    architecture = Architecture.named("n", nc=2, names=("cat", "dog"))
    count, columns = architecture.rows(side, side), architecture.no
    b = GraphBuilder()
    pixels = b.operator("reshape", [b.input("data", (1, 3, side, side), 8)], shape=(1, -1, 1))
    wide = b.operator("broadcast_mul", [pixels, b.parameter("gain", np.array([64]), 8)])
    rows = b.operator("strided_slice", [wide], begin=(0, 0, 0), end=(1, count * columns, 1))
    head = b.operator("reshape", [rows], shape=(1, count, columns))
    extension = Extension(architecture, (side, side), 255.0, -128, 8, (1024.0,) * columns)
    decision = Decision.of(count, 2, conf=conf, max_det=max_det)
    return deciding(b.build([head]), extension, decision)


def write_detector(folder: Path, graph: Graph, extension: Extension) -> Path:
    """A model folder with what its integers mean."""
    write_model(folder, graph)
    (folder / "ext").write_text(extension.to_json())
    return folder


def write_model(folder: Path, graph: Graph) -> Path:
    """A folder with the graph's two files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "symbol").write_bytes(symbol.encode(graph))
    (folder / "params").write_bytes(params.encode(graph))
    return folder


def some_input(graph: Graph, seed: int = 0) -> Array:
    """int8 or int32 input of the whole range."""
    bound = 2 ** (graph.input_precision - 1) - 1
    values = np.random.default_rng(seed).integers(-bound, bound + 1, graph.input_shape)
    return values.astype(np.int8 if bound < 128 else np.int32)


def original_detector(folder: Path, **changes: object) -> Path:
    """Three heads that put one box of class 1 into the coarsest level, and the original's ext."""
    b, side = GraphBuilder(), 32
    x = b.input("data", (1, 3, side, side), 8)
    flat = b.operator("flatten", [x])
    heads = []
    for stride in (8, 16, 32):
        cells = side // stride
        bias = np.full((3, cells, cells, 7), -80, np.int64)
        if stride == 32:
            bias[2, 0, 0] = [0, 0, -20, -20, 80, -80, 40]
        weight = b.parameter(f"w{stride}", np.zeros((bias.size, 3 * side * side), np.int64), 2)
        y = b.operator(
            "dense", [flat, weight, b.parameter(f"b{stride}", bias.ravel(), 8)], units=bias.size
        )
        clipped = b.operator("cvm_clip", [y], precision=8)
        heads.append(b.operator("reshape", [clipped], shape=(1, *bias.shape)))
    write_model(folder, b.build(heads))
    ext = {
        "inputs_ext": {"data": {"scale": 127.0, "target_bit": 8}},
        "oscales": [10.0, 10.0, 10.0],
        "input_shapes": [-1, 3, side, side],
        **changes,
    }
    (folder / "ext").write_text(json.dumps(ext))
    return folder
