"""A checkpoint as an ONNX graph: any batch and size, decoded boxes out, opset 17.

Input `images` [batch, 3, height, width] float32 RGB 0…1; output `output0`
[batch, rows, 5 + nc]: x, y, w, h in pixels, objectness and classes as probabilities, rows by
level, anchor, y, x. That is what Ultralytics' own exports give and what their tools expect.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import atomic_write
from yolo_core.mxnet.checkpoint import Checkpoint
from yolo_core.yolo.architecture import (
    ANCHORS_PER_LEVEL,
    BATCH_NORM_EPSILON,
    LEAKY_SLOPE,
    Convolution,
    Layer,
)
from yolo_port.description import KEY, describe
from yolo_port.onnx_door import onnx, onnxruntime
from yolo_port.oracle import Oracle
from yolo_port.state_dict import to_rgb

OPSET = 17
_IR_VERSION = 8
#: Largest accepted difference between onnxruntime and the oracle, in raw head values.
TOLERANCE = 1e-3
_CHECK_HEIGHT, _CHECK_WIDTH = 64, 96
_HEADS = ("p3", "p4", "p5")


def write_onnx(stem: Path, checkpoint: Checkpoint) -> list[Path]:
    """Write `<stem>.onnx`; where onnxruntime is installed, run it first and hold it to the oracle.

    Same checkpoint and same onnx release, same bytes.
    """
    path = stem.with_name(f"{stem.name}.onnx")
    checkpoint = to_rgb(checkpoint)
    model = _Graph(checkpoint, onnx()).model()
    check(model, checkpoint, str(path))
    atomic_write(path, model.SerializeToString(deterministic=True))
    return [path]


def check(model: Any, checkpoint: Checkpoint, path: str) -> float | None:
    """Largest difference between the oracle's raw heads and onnxruntime's, None without the latter.

    InputError when it is above `TOLERANCE`.
    """
    runtime = onnxruntime()
    if runtime is None:
        return None
    for head in _HEADS:
        model.graph.output.append(onnx().helper.make_empty_tensor_value_info(head))
    probe = model.SerializeToString()
    del model.graph.output[-len(_HEADS) :]
    session = runtime.InferenceSession(probe, providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).random((3, _CHECK_HEIGHT, _CHECK_WIDTH), np.float32)
    found = session.run(list(_HEADS), {"images": image[None]})
    _, expected = Oracle(checkpoint).run(image)
    difference = max(float(np.abs(head[0] - ours).max()) for head, ours in zip(found, expected))
    if not difference <= TOLERANCE:
        raise InputError(path, f"differs by {difference:.2g} under onnxruntime",
                         f"at most {TOLERANCE} in the raw heads")  # fmt: skip
    return difference


class _Graph:
    """The nodes and constants of one checkpoint's graph, in the order they run."""

    def __init__(self, checkpoint: Checkpoint, library: ModuleType) -> None:
        self._checkpoint = checkpoint
        self._onnx = library
        self._nodes: list[Any] = []
        self._constants: dict[str, Array] = {}
        self._convolutions = {conv.name: conv for conv in checkpoint.architecture.convolutions()}

    def model(self) -> Any:
        """The complete, checked ModelProto."""
        helper, architecture = self._onnx.helper, self._checkpoint.architecture
        real = self._onnx.TensorProto.FLOAT
        self._constant("batch_rest", np.array([-1, architecture.no], np.int64))
        self._node("Shape", ["images"], "batch", start=0, end=1)
        self._node("Concat", ["batch", "batch_rest"], "rows_shape", axis=0)
        outputs = {-1: "images"}
        for layer in architecture.layers():
            sources = [outputs[source] for source in layer.sources]
            outputs[layer.index] = self._layer(layer, sources)
        graph = helper.make_graph(
            self._nodes,
            architecture.model_name,
            [helper.make_tensor_value_info("images", real, ["batch", 3, "height", "width"])],
            [helper.make_tensor_value_info("output0", real, ["batch", "rows", architecture.no])],
            [
                self._onnx.numpy_helper.from_array(array, name)
                for name, array in self._constants.items()
            ],
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=_IR_VERSION,
            producer_name="yolo-port",
        )
        names = dict(enumerate(architecture.names))
        helper.set_model_props(
            model,
            {"stride": "32", "names": repr(names), KEY: describe(self._checkpoint)},
        )
        self._onnx.checker.check_model(model)
        return model

    def _constant(self, name: str, array: Array) -> str:
        self._constants[name] = array
        return name

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._nodes.append(
            self._onnx.helper.make_node(kind, inputs, [output], name=output, **attributes)
        )
        return output

    def _layer(self, layer: Layer, sources: list[str]) -> str:
        stem, x = f"model.{layer.index}", sources[0]
        if layer.kind == "Conv":
            return self._block(stem, x)
        if layer.kind == "Concat":
            return self._node("Concat", sources, stem, axis=1)
        if layer.kind == "Upsample":
            scales = np.array([1, 1, layer.kernel, layer.kernel], np.float32)
            self._constant(f"{stem}.scales", scales)
            return self._node(
                "Resize", [x, "", f"{stem}.scales"], stem, mode="nearest", nearest_mode="floor",
                coordinate_transformation_mode="asymmetric",
            )  # fmt: skip
        if layer.kind == "SPPF":
            stages, side = [self._block(f"{stem}.cv1", x)], layer.kernel
            for stage in range(3):
                stages.append(
                    self._node(
                        "MaxPool",
                        [stages[-1]],
                        f"{stem}.m.{stage}",
                        kernel_shape=[side, side],
                        strides=[1, 1],
                        pads=[side // 2] * 4,
                    )
                )
            joined = self._node("Concat", stages, f"{stem}.joined", axis=1)
            return self._block(f"{stem}.cv2", joined)
        if layer.kind == "Detect":
            return self._detect(stem, sources)
        y = self._block(f"{stem}.cv1", x)
        for repeat in range(layer.repeats):
            name = f"{stem}.m.{repeat}"
            inner = self._block(f"{name}.cv2", self._block(f"{name}.cv1", y))
            y = self._node("Add", [y, inner], f"{name}.sum") if layer.shortcut else inner
        joined = self._node("Concat", [y, self._block(f"{stem}.cv2", x)], f"{stem}.joined", axis=1)
        return self._block(f"{stem}.cv3", joined)

    def _block(self, stem: str, x: str) -> str:
        y = self._convolve(f"{stem}.conv", x, f"{stem}.conv")
        if not self._checkpoint.fused:
            parts = ("gamma", "beta", "running_mean", "running_var")
            inputs = [self._parameter(f"{stem}.bn.{part}") for part in parts]
            y = self._node(
                "BatchNormalization", [y, *inputs], f"{stem}.bn", epsilon=BATCH_NORM_EPSILON
            )
        activation = self._checkpoint.architecture.activation
        if activation == "silu":
            return self._node("Mul", [y, self._node("Sigmoid", [y], f"{stem}.sigmoid")], stem)
        if activation == "leaky":
            return self._node("LeakyRelu", [y], stem, alpha=LEAKY_SLOPE)
        return self._node("Relu", [y], stem)

    def _convolve(self, name: str, x: str, output: str) -> str:
        conv: Convolution = self._convolutions[name]
        inputs = [x, self._parameter(f"{name}.weight")]
        if self._checkpoint.fused or conv.batch_norm is None:
            inputs.append(self._parameter(f"{name}.bias"))
        side = conv.kernel
        return self._node(
            "Conv", inputs, output, kernel_shape=[side, side], strides=[conv.stride] * 2,
            pads=[conv.padding] * 4, dilations=[1, 1], group=1,
        )  # fmt: skip

    def _parameter(self, name: str) -> str:
        return self._constant(name, self._checkpoint.parameters[name])

    def _detect(self, stem: str, sources: list[str]) -> str:
        architecture = self._checkpoint.architecture
        for name, values in {
            "anchors_apart": [-1, architecture.no, 0, 0],
            "anchors_joined": [-1, 2 * ANCHORS_PER_LEVEL, 0, 0],
            "pairs_apart": [-1, 2, 0, 0],
            "parts": [1, 1, 2, architecture.no - 4],
            "row_axis": [1],
        }.items():
            self._constant(name, np.array(values, np.int64))
        for name, value in {"one": 1.0, "half": 0.5, "two": 2.0, "zero": 0.0}.items():
            self._constant(name, np.array(value, np.float32))
        rows = [
            self._decode(head, self._convolve(f"{stem}.m.{level}", source, head), level)
            for level, (head, source) in enumerate(zip(_HEADS, sources))
        ]
        return self._node("Concat", rows, "output0", axis=1)

    def _decode(self, name: str, head: str, level: int) -> str:
        """Raw head [batch, 3 * no, h, w] → rows [batch, 3 * h * w, no].

        With s = sigmoid: centre (2s - 0.5 + cell) * stride, size (2s)^2 * anchor.
        """
        architecture = self._checkpoint.architecture
        stride = self._constant(f"{name}.stride", np.array(architecture.strides[level], np.float32))
        anchors = np.array(architecture.anchors[level], np.float32).reshape(1, -1, 1, 1)
        self._constant(f"{name}.anchors", anchors)
        # Anchors go into the batch axis; zeros in a shape keep the height and width there are.
        apart = self._node("Reshape", [head, "anchors_apart"], f"{name}.apart")
        sigmoid = self._node("Sigmoid", [apart], f"{name}.sigmoid")
        x, y, size, scores = (f"{name}.{part}" for part in ("x", "y", "size", "scores"))
        self._nodes.append(
            self._onnx.helper.make_node("Split", [sigmoid, "parts"], [x, y, size, scores],
                                        name=f"{name}.split", axis=1)
        )  # fmt: skip
        columns = self._cells(name, head, "columns", 3)
        rows = self._node("Unsqueeze", [self._cells(name, head, "rows", 2), "row_axis"],
                          f"{name}.rows_upright")  # fmt: skip
        centre = []
        for part, cells in ((x, columns), (y, rows)):
            twice = self._node("Mul", [part, "two"], f"{part}.twice")
            shifted = self._node("Sub", [twice, "half"], f"{part}.shifted")
            placed = self._node("Add", [shifted, cells], f"{part}.placed")
            centre.append(self._node("Mul", [placed, stride], f"{part}.pixels"))
        twice = self._node("Mul", [size, "two"], f"{size}.twice")
        square = self._node("Mul", [twice, twice], f"{size}.square")
        pairs = self._node("Reshape", [square, "anchors_joined"], f"{size}.joined")
        scaled = self._node("Mul", [pairs, f"{name}.anchors"], f"{size}.scaled")
        pixels = self._node("Reshape", [scaled, "pairs_apart"], f"{size}.pixels")
        whole = self._node("Concat", [*centre, pixels, scores], f"{name}.whole", axis=1)
        last = self._node("Transpose", [whole], f"{name}.last", perm=[0, 2, 3, 1])
        return self._node("Reshape", [last, "rows_shape"], f"{name}.decoded")

    def _cells(self, name: str, head: str, what: str, axis: int) -> str:
        """0, 1, 2 … along one axis of a head, float32."""
        size = self._node("Shape", [head], f"{name}.{what}.size", start=axis, end=axis + 1)
        scalar = self._node("Squeeze", [size], f"{name}.{what}.count")
        count = self._node("Cast", [scalar], f"{name}.{what}.real", to=self._onnx.TensorProto.FLOAT)
        return self._node("Range", ["zero", count, "one"], f"{name}.{what}")
