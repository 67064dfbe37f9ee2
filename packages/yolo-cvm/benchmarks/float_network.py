"""YOLOv5 as an ONNX graph, for the runtimes we compare with: the float network up to its raw rows.

Same work as ours: image in, [1, N, 5 + nc] out, no sigmoid and no box decoding. Only the standard
operators Conv, Sigmoid, Mul, Add, Concat, MaxPool, Resize, Reshape, Transpose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from yolo_core.yolo.architecture import Architecture, Convolution

OPSET = 13


def generated_weights(architecture: Architecture, seed: int = 0) -> dict[str, np.ndarray]:
    """Random fused parameters that keep activations in range from layer to layer."""
    random = np.random.default_rng(seed)
    weights = {}
    for name, shape in architecture.parameter_shapes(fused=True).items():
        if name.endswith(".weight"):
            deviation = 1.7 / np.sqrt(np.prod(shape[1:]))
            weights[name] = random.normal(0, deviation, shape).astype(np.float32)
        else:
            weights[name] = random.normal(0, 0.1, shape).astype(np.float32)
    return weights


class _Builder:
    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, op: str, inputs: Sequence[str], **attributes: object) -> str:
        name = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, values: np.ndarray) -> str:
        if name not in [c.name for c in self.constants]:
            self.constants.append(numpy_helper.from_array(values, name))
        return name

    def linear(self, x: str, c: Convolution) -> str:
        weight = self.constant(f"{c.name}.weight", self.weights[f"{c.name}.weight"])
        bias = self.constant(f"{c.name}.bias", self.weights[f"{c.name}.bias"])
        return self.add(
            "Conv",
            [x, weight, bias],
            kernel_shape=list(c.kernel),
            strides=[c.stride] * 2,
            pads=[*c.padding, *c.padding],
        )


def build(
    architecture: Architecture, weights: Mapping[str, np.ndarray], height: int, width: int
) -> onnx.ModelProto:
    """The model; input `images` float32 [1, 3, height, width], output `rows`."""
    b = _Builder(weights)
    outputs = {-1: "images"}
    for index, step in enumerate(architecture.steps()):
        sources = [outputs[f] for f in step.inputs]
        x = sources[0]
        if step.convolution is not None:
            y = b.linear(x, step.convolution)
            if step.convolution.activation:
                y = b.add("Mul", [y, b.add("Sigmoid", [y])])
        elif step.operation == "maxpool":
            y = b.add("MaxPool", [x], kernel_shape=[step.kernel] * 2, pads=[step.padding] * 4,
                      strides=[step.stride] * 2)  # fmt: skip
        elif step.operation == "upsample":
            scales = b.constant("scales", np.array([1, 1, 2, 2], np.float32))
            y = b.add(
                "Resize",
                [x, "", scales],
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
        elif step.operation == "concat":
            y = b.add("Concat", sources, axis=1)
        else:
            y = b.add("Add", sources)
        outputs[index] = y
    _join(b, architecture, [outputs[head] for head in architecture.network.heads], height, width)
    b.nodes[-1].output[0] = "rows"
    rows = architecture.rows(height, width)
    graph = helper.make_graph(
        b.nodes,
        architecture.model_name,
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, height, width])],
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [1, rows, architecture.no])],
        b.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def _join(
    b: _Builder, architecture: Architecture, heads: Sequence[str], height: int, width: int
) -> str:
    levels = []
    anchors, no = architecture.anchors_per_level, architecture.no
    for i, (head, stride) in enumerate(zip(heads, architecture.strides)):
        cells = (height // stride) * (width // stride)
        split = b.constant(f"split{i}", np.array([1, anchors, no, cells], np.int64))
        joined = b.constant(f"joined{i}", np.array([1, anchors * cells, no], np.int64))
        y = b.add("Transpose", [b.add("Reshape", [head, split])], perm=[0, 1, 3, 2])
        levels.append(b.add("Reshape", [y, joined]))
    return b.add("Concat", levels, axis=1)


def save(
    architecture: Architecture,
    weights: Mapping[str, np.ndarray],
    height: int,
    width: int,
    path: Path,
) -> None:
    """Write the model to `path`."""
    onnx.save(build(architecture, weights, height, width), str(path))
