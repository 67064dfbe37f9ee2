"""An ONNX export of YOLOv5, from Ultralytics or from here: weights and proof of the wiring.

Exporters rename tensors as they like, so names are not trusted: the nodes are read operator by
operator into the layers that `graph` describes as an architecture. A graph that computes anything
else up to the heads is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import read_bytes
from yolo_core.yolo.activations import TORCH_ACTIVATIONS, leaky
from yolo_core.yolo.anchors import MAX_ANCHORS, Anchors
from yolo_core.yolo.architecture import BATCH_NORM_EPSILON
from yolo_port.description import KEY, understand, understand_ultralytics_names
from yolo_port.graph import GraphLayer, describe_graph
from yolo_port.onnx_library import parse
from yolo_port.readers.onnx_constants import FIELDS, Constants
from yolo_port.source import SourceModel, for_epsilon

FILE_LIMIT = 1 << 30
_MAX_NODES = 20_000
_EXPECTED = "an ONNX export of YOLOv5"
_REPEATED = (6, 7)
_FROM_NHWC = (0, 3, 1, 2)
#: Most operators that an error names.
_SHOWN = 6
_PASS = ("Identity", "Cast", "Dropout")

_Attribute = TypeVar("_Attribute", int, float, bytes, "tuple[int, ...]", "tuple[float, ...]")


def read_onnx(path: Path) -> SourceModel:
    """The weights in an ONNX graph. InputError when the graph is not exactly a YOLOv5.

    Anchors come from the metadata or the constants of the box decoding; class names from the
    metadata.
    """
    return _Reader(path).read()


#: What the value of a node is beside a layer: a step on the way to an activation, or a part of
#: the image. The first entry says which, the rest is what it was made of.
_Value = tuple[Any, ...]


class _Reader:
    """One graph: its constants, and the layers that its nodes amount to."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._model = parse(read_bytes(path, FILE_LIMIT), self.path)
        graph = self._model.graph
        if len(graph.node) > _MAX_NODES:
            raise InputError(path, f"has {len(graph.node)} nodes", f"at most {_MAX_NODES}")
        self._constants = Constants(path, graph.initializer)
        self._layers: list[GraphLayer] = []
        self._values: dict[str, _Value] = {}
        #: What is not read → the operators that made it.
        self._unread: dict[str, tuple[str, ...]] = {}
        self._epsilon: float | None = None

    def read(self) -> SourceModel:
        graph = self._model.graph
        for value in graph.input:
            if value.name not in self._constants:
                self._values[value.name] = ("image",)
        for node in graph.node:
            if not isinstance(node.op_type, str):  # protobuf's way with what is not UTF-8
                raise InputError(self.path, "has an operator without a name", _EXPECTED)
            if node.op_type.startswith(("Quantize", "QLinear", "Dequantize", "ConvInteger")):
                raise InputError(self.path, f"is quantized (it has {node.op_type})", _EXPECTED)
            self._visit(node)
        epsilon = BATCH_NORM_EPSILON if self._epsilon is None else self._epsilon
        described = self._described()
        names, anchors = described.pop("names", None), described.pop("anchors", None)
        described.pop("architecture", None)
        described.pop("activation", None)
        found = describe_graph(self._layers, self._heads(), self.path, anchors, names)
        silent = () if anchors is not None else ("anchors of COCO",)
        tail = self._tail()
        left_out = {"left out": tail} if tail else {}
        return SourceModel(
            self.path, "ONNX graph", found.tensors, names=names, architecture=found.architecture,
            activation=found.architecture.activation, assumed=silent,
            notes={**described.pop("notes", {}), **left_out}, epsilon=epsilon,
        )  # fmt: skip

    def _tail(self) -> str:
        """What the graph computes behind the boxes, in a word; it is not read."""
        kinds = {node.op_type for node in self._model.graph.node}
        for kind in sorted(kinds):
            if "NMS" in kind or kind == "NonMaxSuppression":
                return f"suppression of overlapping boxes ({kind})"
        return ""

    def _heads(self) -> list[int]:
        """The convolutions that no other layer reads, in the order of their levels."""
        read = {each for layer in self._layers for each in layer.inputs}
        return [
            index
            for index, layer in enumerate(self._layers)
            if layer.operation == "conv" and index not in read and not layer.activation
        ]

    def _visit(self, node: Any) -> None:
        """Enter the layer that a node is, or what it does to one."""
        if node.op_type == "Constant" and len(node.output) == 1:
            self._constants.enter(node)
            return
        if node.op_type in ("Conv", "FusedConv"):
            value: _Value | None = ("layer", self._convolution(node))
            if node.op_type == "FusedConv":
                value = self._fused(node, ("layer", len(self._layers) - 1))
            if value is not None:
                self._put(node, value)
            return
        inputs = [self._values.get(name) for name in node.input]
        before = next((self._unread[name] for name in node.input if name in self._unread), None)
        if not any(inputs) and before is None:
            self._constants.fold(node)
            return
        value = self._value(node, inputs) if any(inputs) else None
        if value is not None:
            self._put(node, value)
        elif node.output:
            self._unread[node.output[0]] = (*(before or ()), node.op_type[:40])[-_SHOWN:]

    def _put(self, node: Any, value: _Value) -> None:
        if node.output:
            self._values[node.output[0]] = value

    def _convolution(self, node: Any) -> int:
        name = (node.name or (node.output[0] if node.output else "?"))[:80]
        source = self._values.get(node.input[0]) if len(node.input) > 1 else None
        weight_name = node.input[1] if len(node.input) > 1 else ""
        if weight_name not in self._constants:
            raise InputError(self.path, f"has a convolution {name} whose weight is not stored",
                             _EXPECTED)  # fmt: skip
        weight = np.asarray(self._constants.array(weight_name, weight_name))
        bias = None
        if len(node.input) > 2 and node.input[2]:
            bias = np.asarray(self._constants.array(node.input[2], node.input[2]))
        strides = self._attribute(node, "strides", (1, 1))
        pads = self._attribute(node, "pads", (0, 0, 0, 0))
        plain = (
            weight.ndim == 4
            and set(self._attribute(node, "dilations", (1, 1))) == {1}
            and self._attribute(node, "auto_pad", b"NOTSET") == b"NOTSET"
            and len(strides) == 2
            and strides[0] == strides[1]
            and len(pads) == 4
            and pads[:2] == pads[2:]
        )
        if not plain:
            raise InputError(self.path, f"has an unusual convolution at {name}", _EXPECTED)
        layer = GraphLayer(
            "conv", (self._tensor(source, name, node.input[0]),), name, weight, bias,
            kernel=(weight.shape[2], weight.shape[3]), stride=strides[0],
            padding=(pads[0], pads[1]), groups=self._attribute(node, "group", 1),
        )  # fmt: skip
        if source is not None and source[0] == "focus":
            _unfold(layer, source[1], self.path)
        return self._add(layer)

    def _fused(self, node: Any, value: _Value) -> _Value | None:
        """The activation that ONNX Runtime's optimizer has put into a convolution."""
        word = self._attribute(node, "activation", b"")
        numbers = self._attribute(node, "activation_params", (0.0,))
        if len(node.input) > 3:
            raise InputError(self.path, f"has a FusedConv {node.name[:80]} that adds",
                             "the graph of before ONNX Runtime optimised it")  # fmt: skip
        if word == b"Sigmoid":
            return ("sigmoid", value[1])
        known = {b"Relu": "relu", b"LeakyRelu": leaky(round(numbers[0] or 0.01, 6))}
        return self._activate(int(value[1]), known[word]) if word in known else None

    def _add(self, layer: GraphLayer) -> int:
        self._layers.append(layer)
        return len(self._layers) - 1

    def _tensor(self, value: _Value | None, what: str, name: str) -> int:
        """The layer that a value is; -1 for the image. what: reads it. name: of it in the file."""
        if value is not None and value[0] == "layer":
            return int(value[1])
        if value is not None and value[0] in ("image", "focus"):
            return -1
        made = ", ".join(self._unread.get(name, ()) if value is None else (value[0].title(),))
        made = made or "an operator"
        activations = ", ".join(each for each in TORCH_ACTIVATIONS if each != "Identity")
        raise InputError(self.path, f"feeds {what[:80]} by {made}, which no YOLOv5 has there",
                         f"{_EXPECTED}, of the activations {activations}")  # fmt: skip

    def _value(self, node: Any, inputs: list[_Value | None]) -> _Value | None:
        """What a node makes of values; None for what no YOLOv5 has before its heads."""
        kind, first = node.op_type, inputs[0]
        if kind in _PASS and first is not None:
            return first
        if kind in ("Div", "Mul", "Cast") and ("image",) in inputs:
            return None if len([each for each in inputs if each]) > 1 else ("image",)
        if kind == "Transpose" and first == ("image",):
            return first if self._attribute(node, "perm", (0,)) == _FROM_NHWC else None
        if kind == "BatchNormalization" and first is not None and first[0] == "layer":
            return self._batch_norm(node, int(first[1]))
        if kind == "Slice" and first is not None and first[0] in ("image", "slice"):
            return self._slice(node, first)
        if kind == "Concat":
            return self._concat(node, inputs)
        if kind in ("Mul", "Add", "Div"):
            return self._arithmetic(node, inputs)
        if first is None or first[0] not in ("layer", "plus3", "softplus"):
            return None
        return self._unary(node, first)

    def _unary(self, node: Any, value: _Value) -> _Value | None:
        kind = node.op_type
        if value[0] == "plus3":
            return ("clip6", value[1]) if kind == "Clip" and self._clips(node, 6.0) else None
        if value[0] == "softplus":
            return ("tanhsoft", value[1]) if kind == "Tanh" else None
        index = int(value[1])
        if kind == "Sigmoid":
            return ("sigmoid", index)
        if kind == "Softplus":
            return ("softplus", index)
        if kind == "HardSigmoid":
            alpha, beta = (self._attribute(node, word, 0.2 if word == "alpha" else 0.5)
                           for word in ("alpha", "beta"))  # fmt: skip
            sixth = abs(alpha - 1 / 6) < 1e-4 and abs(beta - 0.5) < 1e-6
            return ("hardsigmoid", index) if sixth else None
        word = {"Relu": "relu", "HardSwish": "hardswish", "Mish": "mish"}.get(kind)
        if kind == "LeakyRelu":
            word = leaky(round(self._attribute(node, "alpha", 0.01), 6))
        if kind == "Clip" and self._clips(node, 6.0):
            word = "relu6"
        if kind == "QuickGelu" and self._attribute(node, "alpha", 1.702) == 1.0:
            word = "silu"
        if word is not None:
            return self._activate(index, word)
        if kind == "MaxPool":
            return self._pool(node, index)
        if kind in ("Resize", "Upsample"):
            return self._resize(node, index)
        return None

    def _clips(self, node: Any, high: float) -> bool:
        """Whether a Clip limits to 0…high."""
        bounds = [self._attribute(node, "min", -1.0), self._attribute(node, "max", -1.0)]
        for at, name in enumerate(node.input[1:3]):
            array = self._constants.known(name)
            if array is not None and array.size == 1:
                bounds[at] = float(array.ravel()[0])
        return bounds == [0.0, high]

    def _arithmetic(self, node: Any, inputs: list[_Value | None]) -> _Value | None:
        known = [each for each in inputs if each is not None]
        kind = node.op_type
        if len(inputs) != 2:
            return None
        if len(known) == 1:
            constant = self._constants.known(node.input[inputs.index(None)])
            if constant is None or constant.size != 1:
                return None
            number = float(constant.ravel()[0])
            value = known[0]
            if kind == "Add" and value[0] == "layer" and number == 3.0:
                return ("plus3", value[1])
            sixth = (kind == "Div" and number == 6.0 and inputs[0] is not None) or (
                kind == "Mul" and abs(number - 1 / 6) < 1e-6
            )
            if sixth and value[0] == "hard":
                return self._activate(int(value[1]), "hardswish")
            return ("hardsigmoid", value[1]) if sixth and value[0] == "clip6" else None
        words = {value[0]: value for value in known}
        if kind == "Mul" and "layer" in words:
            for word, activation in (("sigmoid", "silu"), ("hardsigmoid", "hardswish"),
                                     ("tanhsoft", "mish")):  # fmt: skip
                if word in words and words[word][1] == words["layer"][1]:
                    return self._activate(int(words["layer"][1]), activation)
            if "clip6" in words and words["clip6"][1] == words["layer"][1]:
                return ("hard", words["layer"][1])
        if kind == "Add" and all(value[0] == "layer" for value in known):
            pair = (int(known[0][1]), int(known[1][1]))
            return ("layer", self._add(GraphLayer("add", pair, node.name[:80])))
        return None

    def _activate(self, index: int, word: str) -> _Value | None:
        """Give a convolution, or each of those that are joined, its activation."""
        layer = self._layers[index]
        if layer.operation == "concat":
            parts = [self._activate(each, word) for each in layer.inputs]
            return ("layer", index) if all(parts) else None
        if layer.operation != "conv" or layer.activation:
            return None
        layer.activation = word
        return ("layer", index)

    def _batch_norm(self, node: Any, index: int) -> _Value | None:
        """Batch normalisation belongs to the convolution before it, or to each that is joined."""
        if len(node.input) != 5:
            raise InputError(self.path, "has a normalisation without its parameters", _EXPECTED)
        arrays = [np.asarray(self._constants.array(name, name)) for name in node.input[1:]]
        epsilon = self._attribute(node, "epsilon", 1e-5)
        if not 0 < epsilon < 1:
            raise InputError(self.path, f"has epsilon {epsilon}", "0 to 1")
        epsilon = round(epsilon, 9)
        if self._epsilon is None:
            self._epsilon = epsilon
        elif epsilon != self._epsilon and arrays[0].shape == arrays[3].shape:
            arrays[0] = for_epsilon(arrays[0], arrays[3], epsilon, self._epsilon)
        if not self._normalise(index, arrays):
            raise InputError(self.path, "normalises what is no convolution", _EXPECTED)
        return ("layer", index)

    def _normalise(self, index: int, arrays: Sequence[Array]) -> bool:
        layer = self._layers[index]
        if layer.operation == "conv":
            fits = all(array.shape == (len(np.asarray(layer.weight)),) for array in arrays)
            free = layer.norm is None and not layer.activation
            layer.norm = tuple(arrays)
            return fits and free
        if layer.operation != "concat":
            return False
        start = 0
        for each in layer.inputs:
            count = len(np.asarray(self._layers[each].weight)) if each >= 0 else 0
            if not self._normalise(each, [array[start : start + count] for array in arrays]):
                return False
            start += count
        return start == len(arrays[0])

    def _concat(self, node: Any, inputs: list[_Value | None]) -> _Value | None:
        if self._attribute(node, "axis", 0) != 1 or not all(inputs):
            return None
        values = [each for each in inputs if each is not None]
        if all(value[0] == "slice" for value in values) and len(values) == 4:
            return ("focus", tuple((value[1], value[2]) for value in values))
        if not all(value[0] == "layer" for value in values):
            return None
        sources = tuple(int(value[1]) for value in values)
        return ("layer", self._add(GraphLayer("concat", sources, node.name[:80])))

    def _slice(self, node: Any, value: _Value) -> _Value | None:
        """Every second row or column of the image, as a Focus takes them."""
        words = [self._attribute(node, word, (0,)) for word in ("starts", "ends", "axes")]
        found = [words[0], words[2], (1,)]
        for at, name in ((0, 1), (1, 3), (2, 4)):
            array = self._constants.known(node.input[name]) if len(node.input) > name else None
            if array is not None:
                found[at] = tuple(int(each) for each in array.ravel())
        starts, axes, steps = found
        place = [None, None] if value[0] == "image" else list(value[1:])
        for start, axis, step in zip(starts, axes, steps):
            if axis not in (2, 3) or step != 2 or start not in (0, 1):
                return None
            place[axis - 2] = start
        return ("slice", *place)

    def _pool(self, node: Any, index: int) -> _Value | None:
        kernel = self._attribute(node, "kernel_shape", (0,))
        strides = self._attribute(node, "strides", (1, 1))
        pads = self._attribute(node, "pads", (0, 0, 0, 0))
        even = (
            len(set(kernel)) == len(set(strides)) == len(set(pads)) == 1
            and len(kernel) == 2
            and set(self._attribute(node, "dilations", (1, 1))) == {1}
            and self._attribute(node, "ceil_mode", 0) == 0
        )
        if not even:
            return None
        layer = GraphLayer(
            "maxpool", (index,), node.name[:80], kernel=(kernel[0], kernel[0]),
            stride=strides[0], padding=(pads[0], pads[0]),
        )  # fmt: skip
        return ("layer", self._add(layer))

    def _resize(self, node: Any, index: int) -> _Value | None:
        """A resize that repeats each pixel a whole number of times in both directions."""
        if self._attribute(node, "mode", b"nearest") != b"nearest":
            return None
        factors = [self._attribute(node, "scales", (0.0,))]
        for name in node.input[1:]:
            array = self._constants.known(name) if name else None
            if array is not None and array.size == 4:
                factors.append(tuple(float(each) for each in array.ravel()))
        for factor in factors:
            even = len(factor) == 4 and factor[:2] == (1, 1) and factor[2] == factor[3]
            if even and factor[2] in (2, 4, 8):
                layer = GraphLayer("upsample", (index,), node.name[:80], factor=int(factor[2]))
                return ("layer", self._add(layer))
        return None

    def _attribute(self, node: Any, name: str, default: _Attribute) -> _Attribute:
        """A node's attribute, `default` where it is absent; of the default's type."""
        for attribute in node.attribute:
            if attribute.name == name:
                value = getattr(attribute, FIELDS.get(attribute.type, ""), None)
                if isinstance(default, tuple) and attribute.type in _REPEATED:
                    value = tuple(value or ())
                if not isinstance(value, type(default)):
                    raise InputError(
                        self.path, f"has no valid {name} in a {node.op_type}", _EXPECTED
                    )
                return value
        return default

    def _described(self) -> dict[str, Any]:
        """Names and anchors, from our own description or from what Ultralytics leaves."""
        metadata = {
            entry.key: entry.value
            for entry in self._model.metadata_props
            if isinstance(entry.value, str)
        }
        if KEY in metadata:
            return understand(metadata[KEY], self.path)
        found: dict[str, Any] = {"anchors": self._decoding_anchors()}
        if "names" in metadata:
            found["names"] = understand_ultralytics_names(metadata["names"], self.path)
        return found

    def _decoding_anchors(self) -> Anchors | None:
        """Anchors in pixels from the constants [1, anchors, h, w, 2] of the decoding.

        None for a graph that ends in its raw heads. Grid constants have the same shape and are
        told apart by changing from cell to cell.
        """
        found: dict[int, dict[float, tuple[tuple[float, float], ...]]] = {}
        grids: dict[tuple[tuple[float, float], ...], set[int]] = {}
        for name, tensor in self._constants.tensors():
            dims = tuple(tensor.dims)
            if len(dims) not in (4, 5) or dims[-1] != 2 or 0 in dims:
                continue
            count = dims[-4]
            if count > MAX_ANCHORS or (len(dims) == 5 and dims[0] != 1):
                continue
            array = self._constants.array(name, name)
            cells = array.astype(np.float64).reshape(count, -1, 2)
            if (cells == cells[:, :1]).all() and (cells >= 0).all() and cells.any():
                pairs = tuple((float(width), float(height)) for width, height in cells[:, 0])
                area = sum(width * height for width, height in pairs)
                found.setdefault(count, {})[area] = pairs
                grids.setdefault(pairs, set()).add(cells.shape[1])
        # Constants of other counts are no anchors of this network, which has as many everywhere.
        levels = max(found.values(), key=len, default={})
        if len(levels) == 1:  # a model that was never trained may have the same at every level
            (pairs,) = levels.values()
            return (pairs,) * len(grids[pairs])
        if 1 <= len(levels) <= 8:
            return tuple(levels[area] for area in sorted(levels))
        if any(node.op_type in ("Pow", "Range") for node in self._model.graph.node):
            raise InputError(self.path, "decodes boxes by anchors that cannot be found",
                             "an export of fixed image size")  # fmt: skip
        return None


def _unfold(layer: GraphLayer, order: Sequence[tuple[int, int]], path: str) -> None:
    """A convolution on the quarters of the image as the one on the image itself."""
    weight = np.asarray(layer.weight)
    quarters = {(0, 0), (0, 1), (1, 0), (1, 1)}
    if set(order) != quarters or weight.shape[1] % 4 or layer.groups != 1:
        raise InputError(path, "takes the image apart in another way than Focus", _EXPECTED)
    out, inside, rows, columns = weight.shape
    whole = np.zeros((out, inside // 4, rows, 2, columns, 2), weight.dtype)
    for number, (row, column) in enumerate(order):
        first = number * (inside // 4)
        whole[:, :, :, row, :, column] = weight[:, first : first + inside // 4]
    layer.weight = whole.reshape(out, inside // 4, 2 * rows, 2 * columns)
    layer.kernel = (2 * rows, 2 * columns)
    layer.stride, layer.padding = 2 * layer.stride, (2 * layer.padding[0], 2 * layer.padding[1])
