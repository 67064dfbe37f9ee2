"""From an MXNet symbol and its parameters to a `Net`; every operator it knows stands here.

Both our own symbols and those exported by the original project pass: fused or with BatchNorm,
SiLU as sigmoid times x, upsampling as an operator or as two repeats, heads as convolutions or
reshaped and transposed behind them. Anything else is refused by operator and node.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_mrt.network.net import INPUT, Layer, Net

_MULTIPLY = ("elemwise_mul", "broadcast_mul", "_mul", "_Mul")
_ADD = ("elemwise_add", "broadcast_add", "_plus", "_Plus")
_IDENTITY = ("identity", "_copy", "Dropout", "BlockGrad", "Cast", "cast")
_REARRANGE = ("Reshape", "reshape", "transpose", "Flatten")
_SIGMOID = "sigmoid"
_DEFAULT_EPSILON = 1e-3
#: Python's own parser overflows the stack on long enough texts.
LONGEST_ATTRIBUTE = 64
MAX_NODES = 20_000


class _Reader:
    """Walks the nodes in order; `_tensors` holds for each node the layer name it ended up as."""

    def __init__(self, text: str, parameters: Mapping[str, Array], source: str) -> None:
        self._source = source
        self._parameters = {name.partition(":")[2] or name: a for name, a in parameters.items()}
        self._layers: dict[str, Layer] = {}
        self._tensors: dict[int, str] = {}
        self._sigmoids: dict[int, str] = {}
        self._halves: dict[str, tuple[str, int, int]] = {}
        self._rearranged: dict[int, str] = {}
        self._nodes, self._heads = self._parse(text)
        for index, node in enumerate(self._nodes):
            self._node(index, node)

    def _fail(self, node: str, cause: str, expected: str = "") -> InputError:
        return InputError(self._source, f"node {node!r} {cause}", expected or None)

    def _parse(self, text: str) -> tuple[list[dict[str, Any]], list[int]]:
        try:
            data = json.loads(text)
            nodes = [
                {
                    "op": str(node["op"]),
                    "name": str(node["name"]),
                    "inputs": [int(entry[0]) for entry in node["inputs"]],
                    "attrs": dict(node.get("attrs") or node.get("param") or {}),
                }
                for node in data["nodes"]
            ]
            heads = [int(entry[0]) for entry in data["heads"]]
        except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
            raise InputError(
                self._source, f"is no MXNet symbol ({error!r:.60})", "the JSON of a symbol"
            ) from error
        bad = any(not 0 <= i < at for at, node in enumerate(nodes) for i in node["inputs"])
        if bad or len(nodes) > MAX_NODES or any(not 0 <= head < len(nodes) for head in heads):
            raise InputError(self._source, "has nodes out of order", "a sorted MXNet symbol")
        return nodes, heads

    def _attribute(self, node: dict[str, Any], key: str, default: Any) -> Any:
        text = node["attrs"].get(key)
        if text is None:
            return default
        if not isinstance(text, str) or len(text) > LONGEST_ATTRIBUTE:
            raise self._fail(node["name"], f"has a strange {key}", "a short text")
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return text
        return value

    def _pair(self, node: dict[str, Any], key: str, default: int) -> tuple[int, int]:
        value = self._attribute(node, key, (default, default))
        pair = (value, value) if isinstance(value, int) else value or (default, default)
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not all(map(_is_small, pair)):
            raise self._fail(node["name"], f"has {key} {value}", "two small numbers")
        return pair[0], pair[1]

    def _array(self, index: int, shape: Sequence[int] | None = None) -> Array:
        name = self._nodes[index]["name"]
        if name not in self._parameters:
            raise self._fail(name, "has no parameter", "one in the parameter file")
        array = np.asarray(self._parameters[name], np.float32)
        if shape is not None and array.shape != tuple(shape):
            raise self._fail(name, f"has shape {array.shape}", f"{tuple(shape)}")
        if not np.isfinite(array).all():
            raise self._fail(name, "has a value that is not finite", "finite numbers")
        return array

    def _tensor(self, node: dict[str, Any], operand: int = 0) -> str:
        index = node["inputs"][operand]
        if index not in self._tensors:
            inside = self._nodes[index]
            raise self._fail(
                inside["name"], f"({inside['op']}) cannot be an operand of {node['name']!r}"
            )
        return self._tensors[index]

    def _add_layer(self, index: int, layer: Layer) -> None:
        if layer.name in self._layers:
            raise self._fail(layer.name, "has a name that is used twice")
        self._layers[layer.name] = layer
        self._tensors[index] = layer.name

    def _activate(self, index: int, node: dict[str, Any], kind: str, slope: float = 0.0) -> None:
        name = self._tensor(node)
        layer = self._layers[name]
        if layer.op != "conv" or layer.activation or not self._sole_use(node["inputs"][0], index):
            raise self._fail(node["name"], f"applies {kind} to {name}", "a convolution's result")
        self._layers[name] = replace(layer, activation=kind, slope=slope)
        self._tensors[index] = name

    def _sole_use(self, index: int, user: int) -> bool:
        users = [at for at, other in enumerate(self._nodes) if index in other["inputs"]]
        return set(users) <= {user, *self._sigmoids}

    def _node(self, index: int, node: dict[str, Any]) -> None:
        op, name = node["op"], node["name"]
        if op == "null":
            if name not in self._parameters and INPUT not in self._layers:
                self._add_layer(index, Layer(name=INPUT, op="input"))
        elif op == "Convolution":
            self._convolution(index, node)
        elif op == "BatchNorm":
            self._batch_norm(index, node)
        elif op == _SIGMOID or (op == "Activation" and node["attrs"].get("act_type") == _SIGMOID):
            self._sigmoids[index] = self._tensor(node)
        elif op in _MULTIPLY:
            self._silu(index, node)
        elif op == "relu" or (op == "Activation" and node["attrs"].get("act_type") == "relu"):
            self._activate(index, node, "relu")
        elif op == "LeakyReLU" and node["attrs"].get("act_type", "leaky") == "leaky":
            self._activate(index, node, "leaky", float(self._attribute(node, "slope", 0.25)))
        elif op in _ADD:
            self._add_layer(index, Layer(name, "add", (self._tensor(node), self._tensor(node, 1))))
        elif op in ("Concat", "concat"):
            self._concat(index, node)
        elif op == "Pooling" and node["attrs"].get("pool_type", "max") == "max":
            self._max_pool(index, node)
        elif op == "UpSampling" and node["attrs"].get("sample_type") == "nearest":
            scale = self._attribute(node, "scale", 0)
            self._add_layer(index, Layer(name, "upsample", (self._tensor(node),), scale=scale))
        elif op == "repeat":
            self._repeat(index, node)
        elif op in _IDENTITY:
            self._tensors[index] = self._tensor(node)
        elif op in _REARRANGE:
            before = node["inputs"][0]
            self._rearranged[index] = (
                self._rearranged[before] if before in self._rearranged else self._tensor(node)
            )
        else:
            kind = node["attrs"].get("act_type") or node["attrs"].get("pool_type") or ""
            raise self._fail(
                name, f"is the unsupported operator {op}{f' ({kind})' if kind else ''}",
                "an operator of YOLOv5",
            )  # fmt: skip

    def _convolution(self, index: int, node: dict[str, Any]) -> None:
        weight = self._array(node["inputs"][1])
        kernel = self._pair(node, "kernel", 1)
        if (
            weight.ndim != 4
            or weight.shape[2:] != kernel
            or self._attribute(node, "num_group", 1) != 1
            or self._pair(node, "dilate", 1) != (1, 1)
        ):
            raise self._fail(node["name"], "is grouped, dilated or not 2-D", "a plain convolution")
        bias: Array = np.zeros(weight.shape[0], np.float32)
        if len(node["inputs"]) > 2:
            bias = self._array(node["inputs"][2], weight.shape[:1])
        stem = self._nodes[node["inputs"][1]]["name"]
        stem = stem[: -len("weight")].rstrip("._") if stem.endswith("weight") else node["name"]
        self._add_layer(
            index,
            Layer(
                stem, "conv", (self._tensor(node),), weight, bias, "", kernel,
                self._pair(node, "stride", 1), self._pair(node, "pad", 0),
            ),
        )  # fmt: skip

    def _batch_norm(self, index: int, node: dict[str, Any]) -> None:
        layer = self._layers[self._tensor(node)]
        if layer.op != "conv" or layer.activation or not self._sole_use(node["inputs"][0], index):
            raise self._fail(node["name"], "does not follow a convolution", "a conv before it")
        shape = layer.biases.shape
        gamma, beta, mean, variance = (
            self._array(i, shape).astype(np.float64) for i in node["inputs"][1:5]
        )
        if self._attribute(node, "fix_gamma", True):
            gamma = np.ones_like(gamma)
        if (variance < 0).any():
            raise self._fail(node["name"], "has a negative variance", "positive variances")
        factor = gamma / np.sqrt(variance + float(self._attribute(node, "eps", _DEFAULT_EPSILON)))
        weight = layer.weights.astype(np.float64) * factor[:, None, None, None]
        bias = beta + (layer.biases.astype(np.float64) - mean) * factor
        self._layers[layer.name] = replace(
            layer, weight=weight.astype(np.float32), bias=bias.astype(np.float32)
        )
        self._tensors[index] = layer.name

    def _silu(self, index: int, node: dict[str, Any]) -> None:
        first, second = node["inputs"]
        if second in self._sigmoids:
            gate, plain = second, first
        else:
            gate, plain = first, second
        if gate not in self._sigmoids or self._sigmoids[gate] != self._tensors.get(plain):
            raise self._fail(node["name"], "multiplies two tensors", "x times sigmoid(x)")
        self._activate(index, {**node, "inputs": [plain]}, "silu")

    def _concat(self, index: int, node: dict[str, Any]) -> None:
        axis = self._attribute(node, "dim", self._attribute(node, "axis", 1))
        if axis != 1:
            raise self._fail(node["name"], f"joins axis {axis}", "axis 1")
        inputs = tuple(self._tensor(node, i) for i in range(len(node["inputs"])))
        self._add_layer(index, Layer(node["name"], "concat", inputs))

    def _max_pool(self, index: int, node: dict[str, Any]) -> None:
        if self._attribute(node, "global_pool", False) or (
            node["attrs"].get("pooling_convention", "valid") != "valid"
        ):
            raise self._fail(node["name"], "pools globally or rounds up", "a plain max-pool")
        self._add_layer(
            index,
            Layer(
                node["name"], "maxpool", (self._tensor(node),),
                kernel=self._pair(node, "kernel", 1), stride=self._pair(node, "stride", 1),
                padding=self._pair(node, "pad", 0),
            ),
        )  # fmt: skip

    def _repeat(self, index: int, node: dict[str, Any]) -> None:
        axis, times = self._attribute(node, "axis", None), self._attribute(node, "repeats", 0)
        name = self._tensor(node)
        if name in self._halves:
            source, first_axis, first_times = self._halves[name]
            if {axis, first_axis} == {2, 3} and times == first_times:
                del self._layers[name]
                self._add_layer(index, Layer(node["name"], "upsample", (source,), scale=times))
                return
        elif axis in (2, 3):
            # Half of a nearest upsampling; it stays a layer only until its other half comes.
            self._halves[node["name"]] = (name, axis, times)
            self._add_layer(index, Layer(node["name"], "upsample", (name,), scale=times))
            return
        raise self._fail(node["name"], f"repeats axis {axis}", "rows and columns, both as often")

    def net(self) -> Net:
        """The layers that the heads need, in order."""
        heads = [self._rearranged.get(head, self._tensors.get(head)) for head in self._heads]
        for head, name in zip(self._heads, heads):
            if name is None or self._layers[name].op != "conv" or self._layers[name].activation:
                raise self._fail(
                    self._nodes[head]["name"], "is an output", "three detection convolutions"
                )
        names = tuple(str(name) for name in heads)
        if len(set(names)) != 3:
            raise InputError(self._source, f"has {len(names)} outputs", "3, one per stride")
        needed = set(names)
        for layer in reversed(list(self._layers.values())):
            if layer.name in needed:
                needed.update(layer.inputs)
        unused = set(self._rearranged.values()) - set(names)
        if unused:
            raise self._fail(sorted(unused)[0], "is reshaped inside the network", "only heads are")
        layers = tuple(layer for layer in self._layers.values() if layer.name in needed)
        if not layers or layers[0].op != "input":
            raise InputError(self._source, "has no input", "one image")
        return Net(layers, names)


def read_net(text: str, parameters: Mapping[str, Array], source: str) -> Net:
    """The network of a symbol (JSON text) with its parameters (with or without `arg:`, `aux:`).

    source: the file, for the error. InputError names what cannot be quantized.
    """
    net = _Reader(text, parameters, source).net()
    extents = net.extents(64, 64)
    expected = ((8, 8), (4, 4), (2, 2))
    found = tuple(extents[name] for name in net.heads)
    if found != expected:
        order = sorted(range(3), key=lambda i: -found[i][0])
        net = Net(net.layers, tuple(net.heads[i] for i in order))
        if tuple(extents[name] for name in net.heads) != expected:
            raise InputError(source, f"has outputs of {found} for 64 pixels", "strides 8, 16, 32")
    return net


def _is_small(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value <= 64
