"""One source in, one or more files out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from yolo_core.errors import InputError
from yolo_core.files import PathLike, sha256_file
from yolo_core.mxnet.checkpoint import (
    Checkpoint,
    checkpoint_files,
    checkpoint_stem,
    write_checkpoint,
)
from yolo_core.outputs import check_outputs
from yolo_core.yolo.model_folder import model_sources
from yolo_port.matching import fused
from yolo_port.readers import load, source_file
from yolo_port.source import Answers
from yolo_port.state_dict import to_rgb
from yolo_port.writers.onnx_file import write_onnx
from yolo_port.writers.safetensors_file import write_safetensors
from yolo_port.writers.torch_file import write_torch

#: Format → writer of a checkpoint under a stem; it returns the files that it wrote.
WRITERS: Mapping[str, Callable[[Path, Checkpoint], Sequence[Path]]] = {
    "mxnet": write_checkpoint,
    "safetensors": write_safetensors,
    "onnx": write_onnx,
    "pt": write_torch,
}


def convert(
    source: PathLike,
    out: PathLike,
    form: str = "mxnet",
    fuse: bool | None = None,
    answers: Answers | None = None,
) -> tuple[Checkpoint, list[Path]]:
    """Read `source` and write it into the folder `out`, called like the source.

    form: one of `WRITERS`. fuse: fold batch normalisation into the convolutions; None keeps it in
    an MXNet checkpoint, which training needs and every stage folds by itself, and folds it in the
    other forms. answers: what the user says of the source where it is silent.

    The meta names the source and its sha256, and what had to be assumed (`matching.assumptions`
    reads it). Returns what was written and where.
    InputError for a source that is no YOLOv5 model, and for an output that is not ours or is the
    source.
    """
    stem = Path(out) / _name(Path(source))
    files = checkpoint_files(stem) if form == "mxnet" else [stem.with_name(f"{stem.name}.{form}")]
    check_outputs(model_sources(source), files)
    checkpoint = load(source, answers)
    if fuse or (fuse is None and form != "mxnet"):
        checkpoint = fused(checkpoint)
    elif fuse is False and checkpoint.fused:
        raise InputError(source, "is fused already", "a model with batch normalisation to keep")
    origin = source_file(source)
    checkpoint = replace(
        checkpoint,
        meta={**checkpoint.meta, "source": origin.name, "source_sha256": sha256_file(origin)},
    )
    if form != "mxnet":  # the others have no place for a colour order
        checkpoint = to_rgb(checkpoint)
    return checkpoint, list(WRITERS[form](stem, checkpoint))


def _name(source: Path) -> str:
    """What the source is called without the endings of its format."""
    stem = checkpoint_stem(source)
    if stem != source:
        return stem.name
    known = (".pt", ".pth", ".safetensors", ".npy", ".npz", ".onnx")
    return source.stem if source.suffix in known else source.name
