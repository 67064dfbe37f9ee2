"""Checkpoints of the original port: `<stem>-symbol.json` and `<stem>-NNNN.params`, no sidecar.

Its input is BGR, and its symbol says which epsilon its batch normalisation uses (1e-5, not the
1e-3 of YOLOv5; what the file computes is what is read). Classes and anchors are not in the files.
A checkpoint of ours whose yaml is lost is read in the same way, for RGB input.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from yolo_core.errors import InputError
from yolo_core.files import read_text
from yolo_core.mxnet.checkpoint import checkpoint_stem, parameter_file
from yolo_core.mxnet.params import read_params
from yolo_core.mxnet.symbol import SymbolLayer, SymbolReader
from yolo_core.yolo.activations import leaky
from yolo_core.yolo.architecture import BATCH_NORM_EPSILON
from yolo_port.graph import GraphLayer, describe_graph
from yolo_port.source import SourceModel, for_epsilon

SYMBOL_ENDING = "-symbol.json"
_SYMBOL_LIMIT = 64 << 20
_EXPECTED = "a checkpoint of the original MXNet port of YOLOv5"


def original_files(path: Path) -> tuple[Path, Path] | None:
    """Symbol and parameters of a checkpoint named by its stem or by either file; None if absent.

    A stem, or the symbol, means the parameters of the latest epoch.
    """
    symbol, params = Path(f"{checkpoint_stem(path)}{SYMBOL_ENDING}"), parameter_file(path)
    return (symbol, params) if os.path.isfile(symbol) and os.path.isfile(params) else None


def read_original(symbol: Path, params: Path) -> SourceModel:
    """The model in the two files. InputError when they are not the original port's YOLOv5."""
    reader = SymbolReader(
        read_text(symbol, _SYMBOL_LIMIT), read_params(params), str(symbol), str(params)
    )
    layers, heads = reader.network()
    ours = any(layer.node.startswith("model.0.") for layer in layers)
    return _model(layers, heads, str(params), ours)


def _model(
    layers: Sequence[SymbolLayer], heads: Sequence[str], params: str, ours: bool
) -> SourceModel:
    """ours: the symbol is of a checkpoint of this project whose yaml is lost, so it reads RGB."""
    places = {"": -1}
    found: list[GraphLayer] = []
    epsilon: float | None = None
    for layer in layers:
        if layer.op == "input":
            places[layer.name] = -1
            continue
        places[layer.name] = len(found)
        if layer.norm is not None and epsilon is None:
            epsilon = layer.norm.epsilon
        found.append(_layer(layer, tuple(places[name] for name in layer.inputs), params, epsilon))
    described = describe_graph(found, [places[name] for name in heads], params, None, None)
    colour = () if ours else ("input in BGR order, as the original port has it",)
    return SourceModel(
        params,
        "MXNet symbol with its parameters" if ours else "checkpoint of the original MXNet port",
        described.tensors,
        activation=described.architecture.activation,
        architecture=described.architecture,
        color="rgb" if ours else "bgr",
        epsilon=BATCH_NORM_EPSILON if epsilon is None else epsilon,
        assumed=(*colour, "anchors of COCO", *_epoch(Path(params))),
    )


def _layer(
    layer: SymbolLayer, inputs: tuple[int, ...], params: str, epsilon: float | None
) -> GraphLayer:
    """epsilon: of the file's first normalisation, to which those of another one are brought."""
    if layer.stride[0] != layer.stride[1]:
        raise InputError(params, f"has an unusual stride in {layer.node}", _EXPECTED)
    norm = layer.norm
    arrays = None
    if norm is not None:
        gamma = np.ones_like(norm.gamma) if norm.fix_gamma else norm.gamma
        if epsilon is not None and norm.epsilon != epsilon:
            gamma = for_epsilon(gamma, norm.variance, norm.epsilon, epsilon)
        arrays = (gamma, norm.beta, norm.mean, norm.variance)
    activation = leaky(layer.slope) if layer.activation == "leaky" else layer.activation
    return GraphLayer(
        layer.op, inputs, layer.node, layer.weight, layer.bias, arrays, activation, layer.kernel,
        layer.stride[0], layer.padding, layer.groups, layer.scale,
    )  # fmt: skip


def _epoch(params: Path) -> tuple[str, ...]:
    """Which epoch was read, where there are several."""
    stem = checkpoint_stem(params)
    found = sorted(stem.parent.glob(f"{glob.escape(stem.name)}-[0-9][0-9][0-9][0-9].params"))
    return () if len(found) < 2 else (f"{params.name} of the {len(found)} epochs there are",)
