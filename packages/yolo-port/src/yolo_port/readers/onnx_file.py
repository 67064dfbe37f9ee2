"""An ONNX export of YOLOv5, from Ultralytics or from here: weights and proof of the wiring.

Exporters rename tensors as they like, so names are not trusted. Convolutions are taken in the
order of the graph, and what feeds each one is then compared, operator by operator, with what the
architecture says. A graph that computes anything else up to the heads is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import read_bytes
from yolo_core.yolo.architecture import LEAKY_SLOPE, SIZES, Anchors, Architecture, Convolution
from yolo_port.description import KEY, understand, understand_ultralytics_names
from yolo_port.onnx_door import onnx, parse
from yolo_port.readers.wiring import IMAGE, Terms, expected_inputs
from yolo_port.source import SourceModel, Structure

FILE_LIMIT = 1 << 30
_MAX_NODES = 20_000
_EXPECTED = "an ONNX export of YOLOv5 v6.0 to v7.0"
#: ONNX's codes of attribute types, and the field that holds the value.
_FIELDS = {1: "f", 2: "i", 3: "s", 6: "floats", 7: "ints"}
_REPEATED = (6, 7)
_PASS = ("Identity", "Cast", "Dropout")

_Attribute = TypeVar("_Attribute", int, float, bytes, "tuple[int, ...]", "tuple[float, ...]")


def read_onnx(path: Path) -> SourceModel:
    """The weights in an ONNX graph. InputError when the graph is not exactly a YOLOv5.

    Anchors come from the metadata or the constants of the box decoding; class names from the
    metadata.
    """
    return _Reader(path).read()


class _Reader:
    """One graph: its constants, and the terms that its values are."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._onnx = onnx()
        self._model = parse(read_bytes(path, FILE_LIMIT), self.path)
        graph = self._model.graph
        if len(graph.node) > _MAX_NODES:
            raise InputError(path, f"has {len(graph.node)} nodes", f"at most {_MAX_NODES}")
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and len(node.output) == 1:
                for attribute in node.attribute:
                    if attribute.name == "value":
                        self._constants[node.output[0]] = attribute.t
        self._terms = Terms()
        self._tensors: dict[str, Array] = {}
        self._geometry: dict[str, tuple[int, int]] = {}
        self._epsilons: set[float] = set()

    def read(self) -> SourceModel:
        for node in self._model.graph.node:
            if not isinstance(node.op_type, str):  # protobuf's way with what is not UTF-8
                raise InputError(self.path, "has an operator without a name", _EXPECTED)
            if node.op_type.startswith(("Quantize", "QLinear", "Dequantize", "ConvInteger")):
                raise InputError(self.path, f"is quantized (it has {node.op_type})", _EXPECTED)
        architecture = self._architecture()
        self._check_wiring(architecture)
        if len(self._epsilons) > 1:
            raise InputError(self.path, "has batch normalisations of different epsilon", "one")
        epsilon = {"epsilon": self._epsilons.pop()} if self._epsilons else {}
        return SourceModel(
            self.path,
            "ONNX graph",
            self._tensors,
            **{"activation": architecture.activation, **self._described(), **epsilon},
            structure=Structure(None, self._geometry, {}),
        )

    def _architecture(self) -> Architecture:
        """The size whose convolutions are as many and as wide as the graph's; any classes."""
        nodes = [node for node in self._model.graph.node if node.op_type == "Conv"]
        widths = [self._dims(node.input[1])[0] for node in nodes if len(node.input) > 1]
        for size in SIZES:
            known = Architecture.named(size, activation=self._activation())
            body = [conv.out_channels for conv in known.convolutions() if conv.batch_norm]
            if len(widths) == len(known.convolutions()) and widths[: len(body)] == body:
                return known
        raise InputError(
            self.path, f"has {len(widths)} convolutions that fit no size of YOLOv5", _EXPECTED
        )

    def _dims(self, name: str) -> tuple[int, ...]:
        tensor = self._constants.get(name)
        if tensor is None or not tensor.dims:
            raise InputError(self.path, f"has a convolution whose weight {name} is not stored",
                             _EXPECTED)  # fmt: skip
        return tuple(tensor.dims)

    def _array(self, name: str, what: str) -> Array:
        tensor = self._constants.get(name)
        if tensor is None:
            raise InputError(self.path, f"has no stored {what}", _EXPECTED)
        if tensor.data_location == self._onnx.TensorProto.EXTERNAL:
            raise InputError(self.path, f"keeps {what} in another file", "one file")
        try:
            return np.array(self._onnx.numpy_helper.to_array(tensor))
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(self.path, f"has a damaged {what} ({error})", _EXPECTED) from error

    def _activation(self) -> str:
        kinds = {node.op_type for node in self._model.graph.node}
        if "LeakyRelu" in kinds:
            return "leaky"
        return "relu" if "Relu" in kinds else "silu"

    def _check_wiring(self, architecture: Architecture) -> None:
        wanted = expected_inputs(self._terms, architecture)
        initial = [value.name for value in self._model.graph.input]
        values: dict[str, int] = {name: IMAGE for name in initial if name not in self._constants}
        remaining = iter(architecture.convolutions())
        for node in self._model.graph.node:
            inputs = [values.get(name) for name in node.input]
            term = None
            if node.op_type == "Conv":
                conv = next(remaining)
                if inputs[0] != wanted[conv.name]:
                    raise InputError(
                        self.path, f"feeds its convolution {conv.name} in another way", _EXPECTED
                    )
                self._take_convolution(node, conv)
                term = self._terms.of("conv", conv.name)
            elif node.op_type == "BatchNormalization" and inputs[0] is not None:
                term = self._take_batch_norm(node, inputs[0])
            elif inputs and inputs[0] is not None:
                term = self._term(node, inputs)
            if term is not None and node.output:
                values[node.output[0]] = term

    def _term(self, node: Any, inputs: Sequence[int | None]) -> int | None:
        """The term that a node computes, None for operators that a YOLOv5 body has not."""
        kind, data = node.op_type, inputs[0]
        if kind in _PASS:
            return data
        known = [each for each in inputs if each is not None]
        if kind in ("Mul", "Add") and len(known) == 2:
            return self._terms.of(kind, *sorted(known))
        if kind in ("Sigmoid", "Relu"):
            return self._terms.of(kind, data)
        if kind == "LeakyRelu":
            slope = self._attribute(node, "alpha", 0.01)
            return self._terms.of(kind, data) if abs(slope - LEAKY_SLOPE) < 1e-6 else None
        if kind == "Concat" and len(known) == len(inputs):
            return self._terms.of(kind, *known) if self._attribute(node, "axis", 0) == 1 else None
        if kind == "MaxPool":
            return self._pool(node, data)
        if kind in ("Resize", "Upsample") and self._doubles(node):
            return self._terms.of("double", data)
        return None

    def _pool(self, node: Any, data: int | None) -> int | None:
        """A pool of 9 or 13 is two or three chained pools of 5."""
        kernel = self._attribute(node, "kernel_shape", (0,))
        side = kernel[0] if kernel else 0
        same = (
            kernel == (side, side)
            and self._attribute(node, "strides", (1, 1)) == (1, 1)
            and self._attribute(node, "pads", (0,)) == (side // 2,) * 4
            and self._attribute(node, "dilations", (1, 1)) == (1, 1)
        )
        if not same or side not in (5, 9, 13):
            return None
        for _ in range(side // 4):
            data = self._terms.of("pool5", data)
        return data

    def _doubles(self, node: Any) -> bool:
        """Whether a resize repeats each pixel twice in both directions."""
        if self._attribute(node, "mode", b"nearest") != b"nearest":
            return False
        factors = [self._attribute(node, "scales", (0.0,))]
        for name in node.input[1:]:
            if name in self._constants:
                factors.append(tuple(self._array(name, name).ravel().tolist()))
        return (1, 1, 2, 2) in factors

    def _attribute(self, node: Any, name: str, default: _Attribute) -> _Attribute:
        """A node's attribute, `default` where it is absent; of the default's type."""
        for attribute in node.attribute:
            if attribute.name == name:
                value = getattr(attribute, _FIELDS.get(attribute.type, ""), None)
                if isinstance(default, tuple) and attribute.type in _REPEATED:
                    value = tuple(value or ())
                if not isinstance(value, type(default)):
                    raise InputError(
                        self.path, f"has no valid {name} in a {node.op_type}", _EXPECTED
                    )
                return value
        return default

    def _take_convolution(self, node: Any, conv: Convolution) -> None:
        strides = set(self._attribute(node, "strides", (1, 1)))
        pads = set(self._attribute(node, "pads", (0,)))
        plain = (
            self._attribute(node, "group", 1) == 1
            and set(self._attribute(node, "dilations", (1, 1))) == {1}
            and self._attribute(node, "auto_pad", b"NOTSET") == b"NOTSET"
            and len(strides) == len(pads) == 1
        )
        if not plain:
            raise InputError(self.path, f"has an unusual convolution at {conv.name}", _EXPECTED)
        self._geometry[conv.name] = (strides.pop(), pads.pop())
        weight = f"{conv.name}.weight"
        self._tensors[weight] = self._array(node.input[1], weight)
        if len(node.input) > 2 and node.input[2]:
            self._tensors[f"{conv.name}.bias"] = self._array(node.input[2], f"{conv.name}.bias")

    def _take_batch_norm(self, node: Any, data: int) -> int:
        """Batch normalisation belongs to the convolution before it and leaves its term."""
        label = self._terms.label(data)
        if label[0] != "conv" or len(node.input) != 5:
            raise InputError(self.path, "normalises what is no convolution", _EXPECTED)
        stem = f"{str(label[1])[: -len('.conv')]}.bn"
        for part, name in zip(("weight", "bias", "running_mean", "running_var"), node.input[1:]):
            self._tensors[f"{stem}.{part}"] = self._array(name, f"{stem}.{part}")
        epsilon = self._attribute(node, "epsilon", 1e-5)
        if not 0 < epsilon < 1:
            raise InputError(self.path, f"has epsilon {epsilon} in {stem}", "0 to 1")
        self._epsilons.add(round(epsilon, 9))
        return data

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
        """Anchors in pixels from the constants [1, 3, h, w, 2] that the decoding multiplies by.

        None for a graph that ends in its raw heads. Grid constants have the same shape and are
        told apart by changing from cell to cell.
        """
        levels: dict[float, tuple[tuple[float, float], ...]] = {}
        for name, tensor in self._constants.items():
            dims = tuple(tensor.dims)
            if len(dims) not in (4, 5) or dims[-1] != 2 or dims[-4] != 3 or 0 in dims:
                continue
            array = self._array(name, name)
            cells = array.reshape(-1, 2).astype(np.float64).reshape(3, -1, 2)
            if array.size % 6 == 0 and (cells == cells[:, :1]).all() and (cells > 0).all():
                pairs = tuple((float(width), float(height)) for width, height in cells[:, 0])
                levels[sum(width * height for width, height in pairs)] = pairs
        if len(levels) == 3:
            return tuple(levels[area] for area in sorted(levels))
        if any(node.op_type in ("Pow", "Range", "NonMaxSuppression") for node in self._tail()):
            raise InputError(self.path, "decodes boxes by anchors that cannot be found",
                             "an export of fixed image size")  # fmt: skip
        return None

    def _tail(self) -> list[Any]:
        """The nodes behind the last convolution."""
        nodes = list(self._model.graph.node)
        last = max(index for index, node in enumerate(nodes) if node.op_type == "Conv")
        return nodes[last + 1 :]
