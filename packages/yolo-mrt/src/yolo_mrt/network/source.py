"""Where the float network comes from: a checkpoint of ours, or an export of the original."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yolo_core.errors import InputError
from yolo_core.files import PathLike, read_text, sha256_file
from yolo_core.mxnet.checkpoint import (
    checkpoint_files,
    checkpoint_stem,
    is_checkpoint,
    parameter_file,
    read_checkpoint,
)
from yolo_core.mxnet.fusing import fuse
from yolo_core.mxnet.params import read_params
from yolo_core.yolo.architecture import SIZES, Architecture
from yolo_core.yolo.predictor import foreign_weights
from yolo_mrt.network.building import net_of, read_net
from yolo_mrt.network.net import Net


@dataclass(frozen=True)
class Source:
    """A float network and what its numbers mean. digest: sha256 over the files it came from."""

    net: Net
    architecture: Architecture
    color: str
    digest: str


def read_source(path: PathLike) -> Source:
    """The network at a checkpoint's stem, or at the stem of a symbol and its parameters.

    The latter is what the original project exports: `<stem>.json` with `<stem>.params`, or
    `<stem>-symbol.json` with `<stem>-0000.params`; such networks read BGR and carry no names, so
    classes and anchors are taken to be those of COCO.
    """
    if is_checkpoint(path):
        return _checkpoint(path)
    symbol, params = _export_files(path)
    net = read_net(read_text(symbol, 64 << 20), read_params(params), str(symbol))
    architecture = _architecture(net, str(symbol))
    return Source(net, architecture, "bgr", _digest(symbol, params))


def _checkpoint(path: PathLike) -> Source:
    checkpoint = read_checkpoint(path)
    architecture = checkpoint.architecture
    parameters = checkpoint.parameters
    if not checkpoint.fused:
        parameters = fuse(parameters, architecture)
    # The symbol beside it is for other programs and decides nothing here.
    net = net_of(architecture, parameters)
    _, params, sidecar = checkpoint_files(path)
    return Source(net, architecture, checkpoint.color, _digest(params, sidecar))


def _export_files(path: PathLike) -> tuple[Path, Path]:
    stem = checkpoint_stem(path)
    for plain in (".json", ".params"):
        if stem.suffix == plain:
            stem = stem.with_suffix("")
    pairs = (
        (Path(f"{stem}.json"), Path(f"{stem}.params")),
        (Path(f"{stem}-symbol.json"), parameter_file(path)),
    )
    for symbol, params in pairs:
        if symbol.is_file() and params.is_file():
            return symbol, params
    raise InputError(
        path,
        "is not a checkpoint",
        foreign_weights(path) or "the stem of <stem>-0000.params and <stem>.yaml",
    )


def _digest(*paths: Path) -> str:
    return hashlib.sha256("".join(sha256_file(path) for path in paths).encode()).hexdigest()


def _architecture(net: Net, source: str) -> Architecture:
    layers = net.by_name()
    channels = {layers[name].weights.shape[0] for name in net.heads}
    (count,) = channels if len(channels) == 1 else (0,)
    if count % 3 or count < 18:
        raise InputError(source, f"has heads of {sorted(channels)} channels", "3 * (5 + classes)")
    activations = {layer.activation for layer in net.convolutions()} - {""}
    if len(activations) != 1:
        raise InputError(source, f"mixes the activations {sorted(activations)}", "one kind")
    shapes = sorted(layer.weights.shape for layer in net.convolutions())
    nc, (activation,) = count // 3 - 5, activations
    for size in SIZES:
        architecture = Architecture.named(size, nc, activation=activation)
        wanted = architecture.parameter_shapes(fused=True)
        if shapes == sorted(shape for shape in wanted.values() if len(shape) == 4):
            return architecture
    names = Architecture.named("n", nc).names
    return Architecture("custom", 1.0, 1.0, names, activation=activation)


def check_weights(net: Net, source: str) -> None:
    """InputError for weights that no integers can stand for."""
    channels: dict[str, int] = net.channels()
    for layer in net.convolutions():
        for array, kind in ((layer.weights, "weight"), (layer.biases, "bias")):
            if not np.isfinite(array).all():
                raise InputError(source, f"has a {kind} in {layer.name} that is not finite")
        if layer.weights.shape[1] * layer.groups != channels[layer.inputs[0]]:
            raise InputError(source, f"{layer.name} reads {layer.weights.shape[1]} channels",
                             f"{channels[layer.inputs[0]]}")  # fmt: skip
