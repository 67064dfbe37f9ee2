"""A checkpoint: three files with one stem, which any MXNet program and every stage can read.

    weights/yolov5n-symbol.json   the network as an MXNet symbol, three heads
    weights/yolov5n-0000.params   its parameters, float32
    weights/yolov5n.yaml          architecture, whether fused, colour order, where it came from

Reading needs no MXNet: the YAML says which network it is, and each parameter must have the name
and shape that the architecture gives it. The symbol is written for other programs.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import PathLike, atomic_files, read_bytes
from yolo_core.mxnet.params import FILE_LIMIT, decode_params, encode_params
from yolo_core.yaml_file import read_yaml, yaml_text
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.letterbox import MAX_STRIDE, check_imgsz

FORMAT = "yolo-checkpoint-1"
COLORS = ("rgb", "bgr")
_SYMBOL, _PARAMS, _SIDECAR = "-symbol.json", "-0000.params", ".yaml"
#: The ending of a parameter file: the number of an epoch.
_EPOCH = re.compile(r"-\d{4}\.params$")
_AUXILIARY = (".running_mean", ".running_var")


@dataclass(frozen=True)
class Checkpoint:
    """A network's architecture and parameters.

    parameters: float32 arrays with the names and shapes of `architecture.parameter_shapes`.
    color: order of the three input channels, which hold values from 0 to 1.
    meta: free notes of whoever wrote it (source file and its sha256, epoch, metrics …).
    """

    architecture: Architecture
    parameters: Mapping[str, Array]
    fused: bool
    color: str = "rgb"
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        kind = "fused" if self.fused else "with batch normalisation"
        found = self.architecture
        return f"Checkpoint({found.model_name}, {found.nc} classes, {kind}, {self.color})"


def checkpoint_stem(path: PathLike) -> Path:
    """The stem of a checkpoint named by its stem, by any of its three files, or by the folder of
    the training run whose best checkpoint it is."""
    text = str(path)
    best = os.path.join(text, "weights", "best")
    if os.path.isfile(best + _SIDECAR):
        return Path(best)
    for ending in (_SYMBOL, _SIDECAR):
        if text.endswith(ending):
            return Path(text[: -len(ending)])
    return Path(_EPOCH.sub("", text))


def checkpoint_files(path: PathLike) -> tuple[Path, Path, Path]:
    """Symbol, parameters and sidecar of a checkpoint."""
    stem = checkpoint_stem(path)
    symbol, params, sidecar = (Path(f"{stem}{ending}") for ending in (_SYMBOL, _PARAMS, _SIDECAR))
    return symbol, Path(path) if _EPOCH.search(str(path)) else params, sidecar


def parameter_file(path: PathLike) -> Path:
    """The parameters of the symbol at a stem: the file itself where `path` names one, else those
    of the latest epoch, `<stem>-NNNN.params`; `<stem>-0000.params` where there are none."""
    if _EPOCH.search(str(path)):
        return Path(path)
    stem = checkpoint_stem(path)
    pattern = f"{glob.escape(stem.name)}-[0-9][0-9][0-9][0-9].params"
    found = sorted(stem.parent.glob(pattern))
    return found[-1] if found else Path(f"{stem}{_PARAMS}")


def is_checkpoint(path: PathLike) -> bool:
    """Whether a sidecar and parameters lie at this stem."""
    _, params, sidecar = checkpoint_files(path)
    # These two answer no where Path.is_file raises: names that are too long, for one.
    return os.path.isfile(params) and os.path.isfile(sidecar)


def trained_imgsz(path: PathLike) -> tuple[int, int] | None:
    """(height, width) that the checkpoint at this stem was trained at; None where it is not told.

    InputError when the sidecar is damaged or tells an impossible size.
    """
    told = _note(path, "imgsz")
    return None if told is None else check_imgsz(told, str(checkpoint_files(path)[2]))


def trained_score(path: PathLike) -> float | None:
    """mAP@0.5, 0 to 1, that the checkpoint at this stem reached in its training; None where it is
    not told. InputError when the sidecar is damaged."""
    told = _note(path, "map50")
    is_score = isinstance(told, (int, float)) and not isinstance(told, bool) and 0 <= told <= 1
    return float(told) if is_score else None


def _note(path: PathLike, name: str) -> Any:
    """A note under `meta` of the checkpoint at this stem; None where there is none."""
    if not is_checkpoint(path):
        return None
    data = read_yaml(checkpoint_files(path)[2])
    meta = data.get("meta") if isinstance(data, dict) else None
    return meta.get(name) if isinstance(meta, dict) else None


def checkpoint_stride(path: PathLike) -> int:
    """What the sides of the input of the checkpoint at this stem are multiples of.

    `MAX_STRIDE` where no sidecar tells the architecture. InputError when it is damaged.
    """
    if not is_checkpoint(path):
        return MAX_STRIDE
    sidecar = checkpoint_files(path)[2]
    data = read_yaml(sidecar)
    return Architecture.from_dict(data if isinstance(data, dict) else {}, str(sidecar)).max_stride


def check_parameters(
    parameters: Mapping[str, Array], architecture: Architecture, fused: bool, source: str
) -> None:
    """InputError unless names, shapes and finiteness are those of the architecture."""
    shapes = architecture.parameter_shapes(fused)
    for name, shape in shapes.items():
        if name not in parameters:
            raise InputError(
                source, f"lacks {name}", f"every parameter of {architecture.model_name}"
            )
        if parameters[name].shape != shape:
            raise InputError(
                source, f"has {name} of shape {parameters[name].shape}", f"shape {shape}"
            )
        if not np.isfinite(parameters[name]).all():
            raise InputError(source, f"has a value in {name} that is not finite", "finite numbers")
    for name in parameters:
        if name not in shapes:
            raise InputError(
                source,
                f"has {name}, which {architecture.model_name} does not have",
                "its parameters alone",
            )


def read_checkpoint(path: PathLike) -> Checkpoint:
    """The checkpoint with this stem. InputError when a file is missing, damaged or disagrees."""
    _, params, sidecar = checkpoint_files(path)
    data = read_yaml(sidecar)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise InputError(sidecar, "is not a checkpoint sidecar", f"format: {FORMAT}")
    architecture = Architecture.from_dict(data, str(sidecar))
    fused, color, meta = data.get("fused"), data.get("color"), data.get("meta", {})
    if not isinstance(fused, bool) or color not in COLORS or not isinstance(meta, dict):
        raise InputError(sidecar, "has no valid fused, color or meta", "true or false, rgb or bgr")
    parameters: dict[str, Array] = {}
    content = read_bytes(params, FILE_LIMIT)
    for full_name, array in decode_params(content, str(params)).items():
        kind, _, name = full_name.partition(":")
        if kind not in ("arg", "aux") or name in parameters:
            raise InputError(params, f"has {full_name}", "each name once, after arg: or aux:")
        with np.errstate(over="ignore"):  # what overflows is refused below, as not finite
            parameters[name] = np.asarray(array, np.float32)
    check_parameters(parameters, architecture, fused, str(params))
    _check_digest(content, params, sidecar, data.get("params_sha256"))
    return Checkpoint(architecture, parameters, fused, color, meta)


def _check_digest(content: bytes, params: Path, sidecar: Path, stated: Any) -> None:
    """InputError where the sidecar is that of other parameters.

    stated: SHA-256 of `<stem>-0000.params` by the sidecar; None in those of earlier versions.
    """
    if stated is None or not params.name.endswith(_PARAMS):
        return
    found = hashlib.sha256(content).hexdigest()
    if found != stated:
        cause = f"has the SHA-256 {found}, but {sidecar.name} is that of {stated!r:.70}"
        raise InputError(params, cause, "the files of one checkpoint")


def write_checkpoint(path: PathLike, checkpoint: Checkpoint) -> tuple[Path, Path, Path]:
    """Write the three files (needs MXNet for the symbol); the sidecar comes last.

    Same checkpoint, same bytes.
    """
    from yolo_core.mxnet.network import symbol_json

    symbol, params, sidecar = checkpoint_files(path)
    architecture = checkpoint.architecture
    check_parameters(checkpoint.parameters, architecture, checkpoint.fused, str(path))
    arrays: dict[str, Array] = {}
    for name in architecture.parameter_shapes(checkpoint.fused):
        kind = "aux" if name.endswith(_AUXILIARY) else "arg"
        arrays[f"{kind}:{name}"] = np.asarray(checkpoint.parameters[name], np.float32)
    record: dict[str, Any] = {
        "format": FORMAT,
        **architecture.to_dict(),
        "fused": checkpoint.fused,
        "color": checkpoint.color,
        "meta": dict(checkpoint.meta),
    }
    symbol_text, values = symbol_json(architecture, checkpoint.fused), encode_params(arrays)
    # A kill between the files leaves new parameters under an old sidecar, which this tells.
    record["params_sha256"] = hashlib.sha256(values).hexdigest()
    sidecar_text = yaml_text(record, default_flow_style=None, width=100)
    atomic_files({symbol: symbol_text, params: values, sidecar: sidecar_text})
    return symbol, params, sidecar
