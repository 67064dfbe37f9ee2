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
from yolo_core.yolo.activations import split_activation
from yolo_core.yolo.architecture import BATCH_NORM_EPSILON
from yolo_core.yolo.plan import IMAGE, Convolution, Step
from yolo_port.description import KEY, describe
from yolo_port.onnx_library import onnx, onnxruntime
from yolo_port.oracle import Oracle
from yolo_port.state_dict import to_rgb

OPSET = 17
_IR_VERSION = 8
#: Largest accepted difference between onnxruntime and the oracle, in raw head values.
TOLERANCE = 1e-3
#: Size of the image that an export is checked on, in largest strides.
_CHECK_HEIGHT, _CHECK_WIDTH = 2, 3


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
    heads = checkpoint.architecture.level_names
    for head in heads:
        model.graph.output.append(onnx().helper.make_empty_tensor_value_info(head))
    probe = model.SerializeToString()
    del model.graph.output[-len(heads) :]
    session = runtime.InferenceSession(probe, providers=["CPUExecutionProvider"])
    side = checkpoint.architecture.max_stride
    shape = (3, _CHECK_HEIGHT * side, _CHECK_WIDTH * side)
    image = np.random.default_rng(0).random(shape, np.float32)
    found = session.run(list(heads), {"images": image[None]})
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

    def model(self) -> Any:
        """The complete, checked ModelProto."""
        helper, architecture = self._onnx.helper, self._checkpoint.architecture
        real = self._onnx.TensorProto.FLOAT
        self._constant("batch_rest", np.array([-1, architecture.no], np.int64))
        self._node("Shape", ["images"], "batch", start=0, end=1)
        self._node("Concat", ["batch", "batch_rest"], "rows_shape", axis=0)
        network = architecture.network
        names = {layer.step: f"model.{layer.index}" for layer in network.layers[:-1]}
        names.update(zip(network.heads, architecture.level_names))
        outputs = {IMAGE: "images"}
        for index, step in enumerate(network.steps):
            sources = [outputs[source] for source in step.inputs]
            outputs[index] = self._step(step, sources, names.get(index, f"step.{index}"))
        self._detect([outputs[head] for head in network.heads])
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
            {
                "stride": str(architecture.max_stride),
                "names": repr(names),
                KEY: describe(self._checkpoint),
            },
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

    def _step(self, step: Step, sources: list[str], name: str) -> str:
        if step.convolution is not None:
            return self._block(step.convolution, sources[0], name)
        if step.operation == "concat":
            return self._node("Concat", sources, name, axis=1)
        if step.operation == "upsample":
            scales = np.array([1, 1, step.factor, step.factor], np.float32)
            self._constant(f"{name}.scales", scales)
            return self._node(
                "Resize", [sources[0], "", f"{name}.scales"], name, mode="nearest",
                nearest_mode="floor", coordinate_transformation_mode="asymmetric",
            )  # fmt: skip
        if step.operation == "maxpool":
            return self._node(
                "MaxPool", sources, name, kernel_shape=[step.kernel] * 2,
                strides=[step.stride] * 2, pads=[step.padding] * 4,
            )  # fmt: skip
        return self._node("Add", sources, name)

    def _block(self, conv: Convolution, x: str, name: str) -> str:
        """Convolution, normalisation and activation; the last of them has the name."""
        kept = conv.batch_norm is not None and not self._checkpoint.fused
        plain = conv.activation in ("", "identity")
        y = self._convolve(conv, x, name if plain and not kept else conv.name)
        if kept:
            parts = ("gamma", "beta", "running_mean", "running_var")
            inputs = [self._parameter(f"{conv.batch_norm}.{part}") for part in parts]
            y = self._node(
                "BatchNormalization", [y, *inputs], name if plain else f"{conv.batch_norm}",
                epsilon=BATCH_NORM_EPSILON,
            )  # fmt: skip
        return y if plain else self._activate(conv.activation, y, name)

    def _activate(self, activation: str, y: str, name: str) -> str:
        kind, slope = split_activation(activation)
        if kind == "silu":
            return self._node("Mul", [y, self._node("Sigmoid", [y], f"{name}.sigmoid")], name)
        if kind == "hardswish":
            return self._node("HardSwish", [y], name)
        if kind == "mish":
            soft = self._node("Softplus", [y], f"{name}.softplus")
            return self._node("Mul", [y, self._node("Tanh", [soft], f"{name}.tanh")], name)
        if kind == "relu6":
            bounds = [
                self._constant(word, np.array(value, np.float32))
                for word, value in (("zero", 0.0), ("six", 6.0))
            ]
            return self._node("Clip", [y, *bounds], name)
        if kind == "leaky":
            return self._node("LeakyRelu", [y], name, alpha=slope)
        return self._node("Relu", [y], name)

    def _convolve(self, conv: Convolution, x: str, output: str) -> str:
        inputs = [x, self._parameter(f"{conv.name}.weight")]
        if self._checkpoint.fused or conv.batch_norm is None:
            inputs.append(self._parameter(f"{conv.name}.bias"))
        return self._node(
            "Conv", inputs, output, kernel_shape=list(conv.kernel), strides=[conv.stride] * 2,
            pads=[*conv.padding, *conv.padding], dilations=[1, 1], group=conv.groups,
        )  # fmt: skip

    def _parameter(self, name: str) -> str:
        return self._constant(name, self._checkpoint.parameters[name])

    def _detect(self, heads: list[str]) -> str:
        architecture = self._checkpoint.architecture
        for name, values in {
            "anchors_apart": [-1, architecture.no, 0, 0],
            "anchors_joined": [-1, 2 * architecture.anchors_per_level, 0, 0],
            "pairs_apart": [-1, 2, 0, 0],
            "parts": [1, 1, 2, architecture.no - 4],
            "row_axis": [1],
        }.items():
            self._constant(name, np.array(values, np.int64))
        for name, value in {"one": 1.0, "half": 0.5, "two": 2.0, "zero": 0.0}.items():
            self._constant(name, np.array(value, np.float32))
        rows = [self._decode(head, level) for level, head in enumerate(heads)]
        return self._node("Concat", rows, "output0", axis=1)

    def _decode(self, head: str, level: int) -> str:
        """Raw head [batch, anchors * no, h, w] → rows [batch, anchors * h * w, no].

        With s = sigmoid: centre (2s - 0.5 + cell) * stride, size (2s)^2 * anchor.
        """
        architecture, name = self._checkpoint.architecture, head
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
