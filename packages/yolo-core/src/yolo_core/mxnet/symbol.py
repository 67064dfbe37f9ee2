"""From an MXNet symbol and its parameters to the layers of a YOLOv5; the one reader of symbols.

Written by hand because symbols come from strangers: MXNet's own loader builds whatever operator a
file names. Symbols of our checkpoints and those of the original project pass: fused or with batch
normalisation, SiLU as sigmoid times x, upsampling as an operator or as two repeats, heads as
convolutions or reshaped and transposed behind them. Every operator it knows stands here; a layer
that needs any other is refused by operator and node.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import parse_json

INPUT = "data"

_MULTIPLY = ("elemwise_mul", "broadcast_mul", "_mul", "_Mul")
_ADD = ("elemwise_add", "broadcast_add", "_plus", "_Plus")
_IDENTITY = ("identity", "_copy", "Dropout", "BlockGrad", "Cast", "cast")
_REARRANGE = ("Reshape", "reshape", "transpose", "Flatten")
_EXPECTED = "the JSON of an MXNet symbol"
_DEFAULT_EPSILON = 1e-3
#: Python's own parser overflows the stack on long enough texts.
LONGEST_ATTRIBUTE = 64
MAX_NODES = 20_000


@dataclass(frozen=True)
class BatchNorm:
    """The normalisation behind a convolution: float32 [out] each, epsilon added to the variance.

    fix_gamma: whether the symbol asks for a gamma of one, whatever the parameter says.
    """

    gamma: Array
    beta: Array
    mean: Array
    variance: Array
    epsilon: float
    fix_gamma: bool


@dataclass(frozen=True)
class SymbolLayer:
    """One tensor and how it is made.

    name: of a convolution the stem of its weight, else the node's. node: its node, for errors.
    op: "input", "conv", "add", "concat" (axis 1), "maxpool" or "upsample" (nearest).
    weight [out, in / groups, kh, kw], bias [out] or None, norm: of a conv, float32. activation:
    "", "silu", "leaky" (with its slope) or "relu", applied to a conv's result. kernel, stride,
    padding: (vertical, horizontal), of convs and max-pools. scale: factor of an upsampling.
    """

    name: str
    node: str
    op: str
    inputs: tuple[str, ...] = ()
    weight: Array | None = None
    bias: Array | None = None
    norm: BatchNorm | None = None
    activation: str = ""
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    scale: int = 1
    slope: float = 0.0
    groups: int = 1


@dataclass(frozen=True)
class _Node:
    name: str
    op: str
    inputs: tuple[int, ...]
    attributes: Mapping[str, Any]


class SymbolReader:
    """A symbol (JSON text) with its parameters (with or without `arg:`, `aux:`).

    source, parameter_source: the files, for errors. InputError names what is not a symbol, and a
    convolution or normalisation that is not a plain one.
    """

    def __init__(
        self, text: str, parameters: Mapping[str, Array], source: str, parameter_source: str = ""
    ) -> None:
        self._source, self._parameter_source = source, parameter_source or source
        self._parameters = {name.partition(":")[2] or name: a for name, a in parameters.items()}
        # By name: the layers found; by node: the layer it ended up as, or why it is none.
        self._layers: dict[str, SymbolLayer] = {}
        self._tensors: dict[int, str] = {}
        self._problems: dict[int, InputError] = {}
        self._sigmoids: dict[int, str] = {}
        self._halves: dict[str, tuple[str, int, int]] = {}
        self._rearranged: dict[int, str] = {}
        data = _parsed(text, source)
        self._heads = data.get("heads")
        self._nodes = _nodes(data, source)
        self._users: dict[int, set[int]] = {}
        for index, node in enumerate(self._nodes):
            for entry in node.inputs:
                self._users.setdefault(entry, set()).add(index)
        for index, node in enumerate(self._nodes):
            self._visit(index, node)

    def layers(self) -> tuple[SymbolLayer, ...]:
        """Every layer, in the order of the nodes."""
        return tuple(self._layers.values())

    def network(self) -> tuple[tuple[SymbolLayer, ...], tuple[str, ...]]:
        """(the layers that the heads need, in order; the names of the heads)."""
        names = [self._head(index) for index in _heads(self._heads, len(self._nodes), self._source)]
        if not 1 <= len(set(names)) == len(names) <= 8:
            raise InputError(self._source, f"has {len(names)} outputs", "1 to 8, one per stride")
        needed = set(names)
        for layer in reversed(self.layers()):
            if layer.name in needed:
                needed.update(layer.inputs)
        layers = tuple(layer for layer in self.layers() if layer.name in needed)
        if not layers or layers[0].op != "input":
            raise InputError(self._source, "has no input", "one image")
        return layers, tuple(names)

    def _head(self, index: int) -> str:
        if index in self._problems:
            raise self._problems[index]
        name = self._rearranged.get(index, self._tensors.get(index))
        if name is None or self._layers[name].op != "conv" or self._layers[name].activation:
            raise self._fail(self._nodes[index].name, "is an output", "detection convolutions")
        return name

    def _visit(self, index: int, node: _Node) -> None:
        """What only something behind the network needs may be of any kind."""
        for entry in node.inputs:
            if entry in self._problems:
                self._problems[index] = self._problems[entry]
                return
        try:
            self._read(index, node)
        except InputError as error:
            if node.op in ("Convolution", "BatchNorm"):
                raise
            self._problems[index] = error

    def _read(self, index: int, node: _Node) -> None:
        """Enter the node's layer, or what it does to the layer before it."""
        op, kind = node.op, node.attributes.get("act_type")
        readers = {
            "null": self._variable,
            "Convolution": self._convolution,
            "BatchNorm": self._batch_norm,
            "Concat": self._concat,
            "concat": self._concat,
            "Pooling": self._max_pool,
            "UpSampling": self._upsampling,
            "repeat": self._repeat,
            **dict.fromkeys(_MULTIPLY, self._silu),
            **dict.fromkeys(_ADD, self._add),
            **dict.fromkeys(_IDENTITY, self._identity),
            **dict.fromkeys(_REARRANGE, self._rearrange),
        }
        if op == "sigmoid" or (op == "Activation" and kind == "sigmoid"):
            self._sigmoids[index] = self._tensor(node)
        elif op == "relu" or (op == "Activation" and kind == "relu"):
            self._activate(index, node, "relu")
        elif op == "LeakyReLU" and kind in (None, "leaky"):
            self._activate(index, node, "leaky", self._number(node, "slope", 0.25))
        elif op in readers:
            readers[op](index, node)
        else:
            raise self._unsupported(node)

    def _unsupported(self, node: _Node) -> InputError:
        kind = node.attributes.get("act_type") or node.attributes.get("pool_type") or ""
        told = f"{node.op} ({kind})" if kind else node.op
        return self._fail(
            node.name, f"is the unsupported operator {told:.60}", "an operator of YOLOv5"
        )

    def _fail(self, node: str, cause: str, expected: str | None = None) -> InputError:
        return InputError(self._source, f"node {node!r} {cause}", expected)

    def _attribute(self, node: _Node, key: str, default: Any) -> Any:
        text = node.attributes.get(key)
        if text is None:
            return default
        if not isinstance(text, str) or len(text) > LONGEST_ATTRIBUTE:
            raise self._fail(node.name, f"has a strange {key}", "a short text")
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return text

    def _number(self, node: _Node, key: str, default: float, least: float = 1e-12) -> float:
        value = self._attribute(node, key, default)
        if not isinstance(value, (int, float)) or not least <= value < 1:
            raise self._fail(node.name, f"has no valid {key} ({value!r:.40})", "between 0 and 1")
        return float(value)

    def _pair(self, node: _Node, key: str, default: int) -> tuple[int, int]:
        value = self._attribute(node, key, (default, default))
        pair = (value, value) if isinstance(value, int) else value or (default, default)
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not all(map(_is_small, pair)):
            raise self._fail(node.name, f"has {key} {value}", "two small numbers")
        return pair[0], pair[1]

    def _scale(self, node: _Node, key: str) -> int:
        value = self._attribute(node, key, 0)
        if not _is_small(value) or value < 1:
            raise self._fail(node.name, f"has {key} {value!r:.40}", "a small number")
        return int(value)

    def _array(self, node: _Node, operand: int, shape: Sequence[int] | None = None) -> Array:
        if operand >= len(node.inputs):
            raise self._fail(node.name, f"has {len(node.inputs)} inputs", "its parameters too")
        name = self._nodes[node.inputs[operand]].name
        if name not in self._parameters:
            raise InputError(self._parameter_source, f"lacks {name}", "what its symbol reads")
        array = np.asarray(self._parameters[name], np.float32)
        if shape is not None and array.shape != tuple(shape):
            raise self._fail(name, f"has shape {array.shape}", f"{tuple(shape)}")
        if not np.isfinite(array).all():
            raise self._fail(name, "has a value that is not finite", "finite numbers")
        return array

    def _tensor(self, node: _Node, operand: int = 0) -> str:
        if operand >= len(node.inputs):
            raise self._fail(node.name, f"has {len(node.inputs)} inputs", f"{operand + 1}")
        index = node.inputs[operand]
        if index not in self._tensors:
            inside = self._nodes[index]
            raise self._fail(inside.name, f"({inside.op}) cannot be an operand of {node.name!r}")
        return self._tensors[index]

    def _add_layer(self, index: int, layer: SymbolLayer) -> None:
        if layer.name in self._layers:
            # The original port gives each of its three pools one name; the second gets a number.
            if layer.op == "conv":
                raise self._fail(layer.name, "has a name that is used twice")
            layer = replace(layer, name=f"{layer.name}#{index}")
        self._layers[layer.name] = layer
        self._tensors[index] = layer.name

    def _sole_use(self, index: int, user: int) -> bool:
        return self._users[index] <= {user, *self._sigmoids}

    def _activate(self, index: int, node: _Node, kind: str, slope: float = 0.0) -> None:
        name = self._tensor(node)
        layer = self._layers[name]
        if layer.op != "conv" or layer.activation or not self._sole_use(node.inputs[0], index):
            raise self._fail(node.name, f"applies {kind} to {name}", "a convolution's result")
        self._layers[name] = replace(layer, activation=kind, slope=slope)
        self._tensors[index] = name

    def _variable(self, index: int, node: _Node) -> None:
        if node.name not in self._parameters and INPUT not in self._layers:
            self._add_layer(index, SymbolLayer(INPUT, node.name, "input"))

    def _convolution(self, index: int, node: _Node) -> None:
        weight = self._array(node, 1)
        kernel = self._pair(node, "kernel", 1)
        if (
            weight.ndim != 4
            or weight.shape[2:] != kernel
            or not self._is_group(node, weight)
            or self._pair(node, "dilate", 1) != (1, 1)
        ):
            raise self._fail(
                node.name, "is an unusual convolution: dilated or not 2-D", "a plain one"
            )
        bias = self._array(node, 2, weight.shape[:1]) if len(node.inputs) > 2 else None
        stem = self._nodes[node.inputs[1]].name
        stem = stem[: -len("weight")].rstrip("._") if stem.endswith("weight") else node.name
        self._add_layer(
            index,
            SymbolLayer(
                stem, node.name, "conv", (self._tensor(node),), weight, bias, kernel=kernel,
                stride=self._pair(node, "stride", 1), padding=self._pair(node, "pad", 0),
                groups=self._attribute(node, "num_group", 1),
            ),
        )  # fmt: skip

    def _is_group(self, node: _Node, weight: Array) -> bool:
        groups = self._attribute(node, "num_group", 1)
        return type(groups) is int and groups > 0 and len(weight) % groups == 0

    def _batch_norm(self, index: int, node: _Node) -> None:
        layer = self._layers[self._tensor(node)]
        plain = layer.norm is None and not layer.activation
        if layer.weight is None or not plain or not self._sole_use(node.inputs[0], index):
            raise self._fail(
                node.name, "is an unusual normalisation: of no convolution", "a conv before it"
            )
        shape = layer.weight.shape[:1]
        gamma, beta, mean, variance = (self._array(node, i, shape) for i in range(1, 5))
        if (variance < 0).any():
            raise self._fail(node.name, "has a negative variance", "positive variances")
        epsilon = self._number(node, "eps", _DEFAULT_EPSILON, 0.0)
        fix_gamma = bool(self._attribute(node, "fix_gamma", True))
        norm = BatchNorm(gamma, beta, mean, variance, epsilon, fix_gamma)
        self._layers[layer.name] = replace(layer, norm=norm)
        self._tensors[index] = layer.name

    def _silu(self, index: int, node: _Node) -> None:
        if len(node.inputs) != 2:
            raise self._fail(node.name, f"has {len(node.inputs)} inputs", "2")
        plain, gate = node.inputs if node.inputs[1] in self._sigmoids else node.inputs[::-1]
        if gate not in self._sigmoids or self._sigmoids[gate] != self._tensors.get(plain):
            raise self._fail(node.name, "multiplies two tensors", "x times sigmoid(x)")
        self._activate(index, replace(node, inputs=(plain,)), "silu")

    def _add(self, index: int, node: _Node) -> None:
        inputs = (self._tensor(node), self._tensor(node, 1))
        self._add_layer(index, SymbolLayer(node.name, node.name, "add", inputs))

    def _concat(self, index: int, node: _Node) -> None:
        axis = self._attribute(node, "dim", self._attribute(node, "axis", 1))
        if axis != 1:
            raise self._fail(node.name, f"joins axis {axis}", "axis 1")
        inputs = tuple(self._tensor(node, i) for i in range(len(node.inputs)))
        self._add_layer(index, SymbolLayer(node.name, node.name, "concat", inputs))

    def _max_pool(self, index: int, node: _Node) -> None:
        if node.attributes.get("pool_type", "max") != "max":
            raise self._unsupported(node)
        if self._attribute(node, "global_pool", False) or (
            node.attributes.get("pooling_convention", "valid") != "valid"
        ):
            raise self._fail(node.name, "pools globally or rounds up", "a plain max-pool")
        self._add_layer(
            index,
            SymbolLayer(
                node.name, node.name, "maxpool", (self._tensor(node),),
                kernel=self._pair(node, "kernel", 1), stride=self._pair(node, "stride", 1),
                padding=self._pair(node, "pad", 0),
            ),
        )  # fmt: skip

    def _upsample(self, index: int, node: _Node, source: str, scale: int) -> None:
        layer = SymbolLayer(node.name, node.name, "upsample", (source,), scale=scale)
        self._add_layer(index, layer)

    def _upsampling(self, index: int, node: _Node) -> None:
        if node.attributes.get("sample_type", "nearest") != "nearest":
            raise self._unsupported(node)
        self._upsample(index, node, self._tensor(node), self._scale(node, "scale"))

    def _repeat(self, index: int, node: _Node) -> None:
        axis, times = self._attribute(node, "axis", None), self._scale(node, "repeats")
        name = self._tensor(node)
        if name in self._halves:
            source, first_axis, first_times = self._halves[name]
            if {axis, first_axis} == {2, 3} and times == first_times:
                del self._layers[name]
                self._upsample(index, node, source, times)
                return
        elif axis in (2, 3):
            # Half of a nearest upsampling; it stays a layer only until its other half comes.
            self._halves[node.name] = (name, axis, times)
            self._upsample(index, node, name, times)
            return
        raise self._fail(node.name, f"repeats axis {axis}", "rows and columns, both as often")

    def _identity(self, index: int, node: _Node) -> None:
        self._tensors[index] = self._tensor(node)

    def _rearrange(self, index: int, node: _Node) -> None:
        before = node.inputs[0] if node.inputs else -1
        self._rearranged[index] = self._rearranged.get(before) or self._tensor(node)


def _parsed(text: str, source: str) -> dict[str, Any]:
    data = parse_json(text, source)
    if not isinstance(data, dict):
        raise InputError(source, "is no MXNet symbol", _EXPECTED)
    return data


def _nodes(data: dict[str, Any], source: str) -> tuple[_Node, ...]:
    """Every node, in an order that can be walked."""
    entries = data.get("nodes")
    if not isinstance(entries, list) or not 0 < len(entries) <= MAX_NODES:
        raise InputError(source, "is no MXNet symbol", f"{_EXPECTED} with 1 to {MAX_NODES} nodes")
    nodes: list[_Node] = []
    for index, entry in enumerate(entries):
        node = entry if isinstance(entry, dict) else {}
        name, op, inputs = node.get("name"), node.get("op"), node.get("inputs")
        # MXNet 1.0 and earlier say `attr`, and before that `param`.
        attributes = node.get("attrs") or node.get("attr") or node.get("param") or {}
        if (
            not isinstance(name, str)
            or not isinstance(op, str)
            or not isinstance(attributes, dict)
            or not isinstance(inputs, list)
            or not all(_is_entry(each, index) for each in inputs)
        ):
            raise InputError(source, f"has an invalid node {index}", "a sorted MXNet symbol")
        nodes.append(_Node(name, op, tuple(each[0] for each in inputs), attributes))
    return tuple(nodes)


def _heads(value: Any, nodes: int, source: str) -> list[int]:
    if not isinstance(value, list) or not all(_is_entry(each, nodes) for each in value):
        raise InputError(source, "has invalid heads", "a sorted MXNet symbol")
    return [each[0] for each in value]


def _is_entry(value: Any, below: int) -> bool:
    """Whether a value is [node, output, ...] of a node before this one."""
    return (
        isinstance(value, list) and bool(value) and type(value[0]) is int and 0 <= value[0] < below
    )


def _is_small(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value <= 64
