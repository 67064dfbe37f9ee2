"""Checkpoints of the original port: `<stem>-symbol.json` and `<stem>-NNNN.params`, no sidecar.

Its layers are called `conv<number>` and `batchnorm<number>` in the order they were created,
which is the order of an Ultralytics state dict. Its input is BGR, and its symbol says which
epsilon its batch normalisation uses (1e-5, not the 1e-3 of YOLOv5; what the file computes is
what is read). Classes and anchors are not in the files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import read_json
from yolo_core.mxnet.params import read_params
from yolo_core.yolo.architecture import SIZES, Architecture, Convolution
from yolo_port.readers.wiring import IMAGE, Terms, expected_inputs
from yolo_port.source import SourceModel, Structure

_PARAMS = re.compile(r"(.*)-\d{4}\.params")
_SYMBOL_ENDING = "-symbol.json"
_CONVOLUTION = re.compile(r"conv(\d+)_fwd")
_MAX_NODES = 20_000
_EXPECTED = "a checkpoint of the original MXNet port of YOLOv5"


def original_files(path: Path) -> tuple[Path, Path] | None:
    """Symbol and parameters of a checkpoint named by its stem or by either file; None if absent."""
    found = _PARAMS.fullmatch(path.name)
    if found:
        symbol, params = path.with_name(found.group(1) + _SYMBOL_ENDING), path
    elif path.name.endswith(_SYMBOL_ENDING):
        stem = path.name[: -len(_SYMBOL_ENDING)]
        symbol, params = path, path.with_name(f"{stem}-0000.params")
    else:
        symbol, params = Path(f"{path}{_SYMBOL_ENDING}"), Path(f"{path}-0000.params")
    return (symbol, params) if os.path.isfile(symbol) and os.path.isfile(params) else None


def read_original(symbol: Path, params: Path) -> SourceModel:
    """The model in the two files. InputError when they are not the original port's YOLOv5."""
    arrays = {name.split(":", 1)[-1]: array for name, array in read_params(params).items()}
    return _Reader(symbol, params, arrays).read()


class _Reader:
    """One symbol, walked from its input to its heads."""

    def __init__(self, symbol: Path, params: Path, arrays: Mapping[str, Array]) -> None:
        self._symbol, self._params, self._arrays = str(symbol), str(params), arrays
        self._nodes = _nodes(read_json(symbol), self._symbol)
        self._terms = Terms()
        self._tensors: dict[str, Array] = {}
        self._geometry: dict[str, tuple[int, int]] = {}
        self._epsilons: set[float] = set()

    def read(self) -> SourceModel:
        architecture, names = self._match()
        wanted = expected_inputs(self._terms, architecture)
        values: list[int | None] = []
        for node in self._nodes:
            inputs = [values[index] for index in node["inputs"]]
            kind, attributes = node["op"], node["attrs"]
            if kind == "null":
                term = IMAGE if node["name"] == "data" else None
            elif kind == "Convolution":
                conv = names[node["name"]]
                if inputs[0] != wanted[conv.name]:
                    raise InputError(
                        self._symbol, f"feeds {node['name']} in another way", _EXPECTED
                    )
                self._take_convolution(node, conv)
                term = self._terms.of("conv", conv.name)
            elif kind == "BatchNorm":
                term = self._take_batch_norm(node, inputs)
            else:
                term = self._term(kind, attributes, inputs)
            values.append(term)
        if len(self._epsilons) != 1:
            raise InputError(self._symbol, "has batch normalisations of different epsilon", "one")
        return SourceModel(
            self._params,
            "checkpoint of the original MXNet port",
            self._tensors,
            color="bgr",
            epsilon=self._epsilons.pop(),
            structure=Structure(None, self._geometry, {}),
        )

    def _match(self) -> tuple[Architecture, dict[str, Convolution]]:
        """The size that fits, and which of its convolutions each node is."""
        numbered = {}
        for node in self._nodes:
            if node["op"] == "Convolution":
                found = _CONVOLUTION.fullmatch(node["name"])
                if found is None:
                    raise InputError(self._symbol, f"has a convolution {node['name']}", _EXPECTED)
                numbered[int(found.group(1))] = node["name"]
        order = [numbered[number] for number in sorted(numbered)]
        widths = [len(self._array(name.replace("_fwd", "_weight"))) for name in order]
        for size in SIZES:
            architecture = Architecture.named(size)
            known = sorted(architecture.convolutions(), key=lambda conv: _natural(conv.name))
            body = [conv.out_channels for conv in known if conv.batch_norm]
            if len(known) == len(order) and widths[: len(body)] == body:
                return architecture, dict(zip(order, known))
        raise InputError(
            self._symbol, f"has {len(order)} convolutions that fit no size of YOLOv5", _EXPECTED
        )

    def _array(self, name: str) -> Array:
        array = self._arrays.get(name)
        if array is None or not array.ndim:
            raise InputError(self._params, f"lacks {name}", "the parameters of its symbol")
        return array

    def _inputs(self, node: Mapping[str, Any]) -> list[str]:
        return [self._nodes[index]["name"] for index in node["inputs"]]

    def _take_convolution(self, node: Mapping[str, Any], conv: Convolution) -> None:
        names, attributes = self._inputs(node), node["attrs"]
        stride, pad = _side(attributes.get("stride")), _side(attributes.get("pad"))
        plain = attributes.get("num_group", "1") == "1" and _side(attributes.get("dilate")) == 1
        if not plain or stride is None or pad is None or not 2 <= len(names) <= 3:
            raise InputError(self._symbol, f"has an unusual convolution {node['name']}", _EXPECTED)
        self._geometry[conv.name] = (stride, pad)
        self._tensors[f"{conv.name}.weight"] = self._array(names[1])
        if len(names) == 3:
            self._tensors[f"{conv.name}.bias"] = self._array(names[2])

    def _take_batch_norm(self, node: Mapping[str, Any], inputs: Sequence[int | None]) -> int:
        label = self._terms.label(inputs[0]) if inputs and inputs[0] is not None else ("",)
        names, attributes = self._inputs(node), node["attrs"]
        if label[0] != "conv" or len(names) != 5 or attributes.get("fix_gamma") != "False":
            raise InputError(
                self._symbol, f"has an unusual normalisation {node['name']}", _EXPECTED
            )
        stem = f"{str(label[1])[: -len('.conv')]}.bn"
        for part, name in zip(("weight", "bias", "running_mean", "running_var"), names[1:]):
            self._tensors[f"{stem}.{part}"] = self._array(name)
        try:
            epsilon = float(attributes.get("eps", "1e-3"))
        except ValueError:
            epsilon = 0.0
        if not 0 < epsilon < 1:
            raise InputError(self._symbol, f"has no valid eps in {node['name']}", "0 to 1")
        self._epsilons.add(epsilon)
        return self._terms.of(*label)

    def _term(
        self, kind: str, attributes: Mapping[str, str], inputs: Sequence[int | None]
    ) -> int | None:
        """The term of an operator of the body, in the words of `wiring`; None for any other."""
        known = [each for each in inputs if each is not None]
        if not known or len(known) != len(inputs):
            return None
        first = known[0]
        if kind in ("elemwise_mul", "elemwise_add", "_mul", "_plus") and len(known) == 2:
            word = "Mul" if kind.endswith("mul") else "Add"
            return self._terms.of(word, *sorted(known))
        if kind == "Activation" and attributes.get("act_type") == "sigmoid":
            return self._terms.of("Sigmoid", first)
        if kind == "Concat" and attributes.get("dim", "1") == "1":
            return self._terms.of("Concat", *known)
        if kind == "repeat" and attributes.get("repeats") == "2":
            # The original doubles rows and columns one after the other.
            axis = attributes.get("axis")
            if axis == "2":
                return self._terms.of("rows doubled", first)
            label = self._terms.label(first)
            if axis == "3" and label[0] == "rows doubled":
                return self._terms.of("double", label[1])
        if kind == "UpSampling" and attributes.get("scale") == "2":
            return self._terms.of("double", first)
        if kind == "Pooling" and attributes.get("pool_type", "max") == "max":
            sides = tuple(_side(attributes.get(key)) for key in ("kernel", "stride", "pad"))
            return self._terms.of("pool5", first) if sides == (5, 1, 2) else None
        return None


def _nodes(data: Any, source: str) -> list[dict[str, Any]]:
    """Name, op, attributes and input indices of every node, in an order that can be walked."""
    nodes = data.get("nodes") if isinstance(data, dict) else None
    if not isinstance(nodes, list) or not 0 < len(nodes) <= _MAX_NODES:
        raise InputError(source, "is no MXNet symbol", _EXPECTED)
    found: list[dict[str, Any]] = []
    for index, entry in enumerate(nodes):
        node: dict[str, Any] = entry if isinstance(entry, dict) else {}
        name, kind, entries = node.get("name"), node.get("op"), node.get("inputs")
        attributes = node.get("attrs", {})
        sound = (
            isinstance(name, str)
            and isinstance(kind, str)
            and isinstance(attributes, dict)
            and isinstance(entries, list)
            and all(
                isinstance(each, list) and each and type(each[0]) is int and 0 <= each[0] < index
                for each in entries
            )
        )
        if not sound:
            raise InputError(source, f"has an invalid node {index}", "an MXNet symbol")
        inputs = [each[0] for each in node["inputs"]]
        found.append({"name": name, "op": kind, "attrs": attributes, "inputs": inputs})
    return found


def _side(text: Any) -> int | None:
    """The one number of a tuple such as "(2, 2)"; None for uneven or missing ones."""
    numbers = re.findall(r"\d+", text) if isinstance(text, str) and len(text) < 40 else []
    return int(numbers[0]) if numbers and len(set(numbers)) == 1 else None


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key under which `m.2` comes before `m.10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]
