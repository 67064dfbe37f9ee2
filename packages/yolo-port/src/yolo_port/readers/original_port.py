"""Checkpoints of the original port: `<stem>-symbol.json` and `<stem>-NNNN.params`, no sidecar.

Its layers are called `conv<number>` and `batchnorm<number>` in the order they were created,
which is the order of an Ultralytics state dict. Its input is BGR, and its symbol says which
epsilon its batch normalisation uses (1e-5, not the 1e-3 of YOLOv5; what the file computes is
what is read). Classes and anchors are not in the files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import read_text
from yolo_core.mxnet.params import read_params
from yolo_core.mxnet.symbol import SymbolLayer, SymbolReader
from yolo_core.yolo.architecture import SIZES, Architecture, Convolution
from yolo_port.readers.wiring import IMAGE, Terms, expected_inputs
from yolo_port.source import SourceModel, Structure

_PARAMS = re.compile(r"(.*)-\d{4}\.params")
_SYMBOL_ENDING = "-symbol.json"
_CONVOLUTION = re.compile(r"conv(\d+)_fwd")
_SYMBOL_LIMIT = 64 << 20
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
    reader = SymbolReader(
        read_text(symbol, _SYMBOL_LIMIT), read_params(params), str(symbol), str(params)
    )
    return _Matcher(reader.layers(), str(symbol), str(params)).model()


class _Matcher:
    """The layers of one symbol, and which convolution of the architecture each is."""

    def __init__(self, layers: Sequence[SymbolLayer], symbol: str, params: str) -> None:
        self._layers, self._symbol, self._params = layers, symbol, params
        self._terms = Terms()
        self._tensors: dict[str, Array] = {}
        self._geometry: dict[str, tuple[int, int]] = {}
        self._epsilons: set[float] = set()

    def model(self) -> SourceModel:
        architecture, known = self._match()
        wanted = expected_inputs(self._terms, architecture)
        values: dict[str, int | None] = {}
        for layer in self._layers:
            inputs = [values[name] for name in layer.inputs]
            if layer.op == "conv":
                conv = known[layer.name]
                if inputs[0] != wanted[conv.name]:
                    raise InputError(self._symbol, f"feeds {layer.node} in another way", _EXPECTED)
                self._take(layer, conv)
                values[layer.name] = self._activated(layer, conv)
            else:
                values[layer.name] = self._term(layer, inputs)
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
        """The size that fits, and which of its convolutions each layer is."""
        numbered: dict[int, SymbolLayer] = {}
        for layer in self._layers:
            if layer.op == "conv":
                found = _CONVOLUTION.fullmatch(layer.node)
                if found is None:
                    raise InputError(self._symbol, f"has a convolution {layer.node}", _EXPECTED)
                numbered[int(found.group(1))] = layer
        order = [numbered[number] for number in sorted(numbered)]
        widths = [len(np.asarray(layer.weight)) for layer in order]
        for size in SIZES:
            architecture = Architecture.named(size)
            known = sorted(architecture.convolutions(), key=lambda conv: _natural(conv.name))
            body = [conv.out_channels for conv in known if conv.batch_norm]
            if len(known) == len(order) and widths[: len(body)] == body:
                return architecture, {layer.name: conv for layer, conv in zip(order, known)}
        raise InputError(
            self._symbol, f"has {len(order)} convolutions that fit no size of YOLOv5", _EXPECTED
        )

    def _take(self, layer: SymbolLayer, conv: Convolution) -> None:
        """A convolution's tensors and geometry, and those of its normalisation."""
        if layer.stride[0] != layer.stride[1] or layer.padding[0] != layer.padding[1]:
            raise InputError(self._symbol, f"has an unusual convolution {layer.node}", _EXPECTED)
        self._geometry[conv.name] = (layer.stride[0], layer.padding[0])
        self._tensors[f"{conv.name}.weight"] = np.asarray(layer.weight)
        if layer.bias is not None:
            self._tensors[f"{conv.name}.bias"] = layer.bias
        norm = layer.norm
        if norm is None:
            return
        if norm.fix_gamma:
            raise InputError(
                self._symbol, f"has an unusual normalisation of {layer.node}", _EXPECTED
            )
        stem = f"{conv.name[: -len('.conv')]}.bn"
        parts = {
            "weight": norm.gamma, "bias": norm.beta,
            "running_mean": norm.mean, "running_var": norm.variance,
        }  # fmt: skip
        self._tensors.update({f"{stem}.{part}": array for part, array in parts.items()})
        self._epsilons.add(norm.epsilon)

    def _activated(self, layer: SymbolLayer, conv: Convolution) -> int | None:
        """The term of a convolution's result, in the words of `wiring`."""
        y = self._terms.of("conv", conv.name)
        if layer.activation == "silu":
            return self._terms.of("Mul", *sorted((y, self._terms.of("Sigmoid", y))))
        return None if layer.activation else y

    def _term(self, layer: SymbolLayer, inputs: Sequence[int | None]) -> int | None:
        """The term of a layer without weights; None for one that YOLOv5 has not."""
        if layer.op == "input":
            return IMAGE
        known = [each for each in inputs if each is not None]
        if len(known) != len(inputs):
            return None
        if layer.op == "add":
            return self._terms.of("Add", *sorted(known))
        if layer.op == "concat":
            return self._terms.of("Concat", *known)
        if layer.op == "upsample" and layer.scale == 2:
            return self._terms.of("double", known[0])
        sides = (layer.kernel, layer.stride, layer.padding)
        if layer.op == "maxpool" and sides == ((5, 5), (1, 1), (2, 2)):
            return self._terms.of("pool5", known[0])
        return None


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key under which `m.2` comes before `m.10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]
