"""One source in, one or more files out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from yolo_core.checkpoint import Checkpoint, checkpoint_stem, write_checkpoint
from yolo_core.files import PathLike, sha256_file
from yolo_port.matching import fused
from yolo_port.readers import load, source_file

_WRITERS = {
    "mxnet": lambda stem, checkpoint: write_checkpoint(stem, checkpoint),
}
FORMATS = tuple(_WRITERS)


def convert(
    source: PathLike, out: PathLike, formats: Sequence[str] = ("mxnet",), fuse: bool = True
) -> tuple[Checkpoint, list[Path]]:
    """Read `source` and write it into the folder `out` in each of `formats`.

    The files are called like the source. fuse: fold batch normalisation into the convolutions.
    The checkpoint's meta names the source and its sha256. InputError for a source that is no
    YOLOv5 model.
    """
    checkpoint = load(source)
    if fuse:
        checkpoint = fused(checkpoint)
    origin = source_file(source)
    checkpoint = replace(
        checkpoint,
        meta={**checkpoint.meta, "source": origin.name, "source_sha256": sha256_file(origin)},
    )
    name = checkpoint_stem(source).name
    stem = Path(out) / (name[: -len(origin.suffix)] if name == origin.name else name)
    written: list[Path] = []
    for form in formats:
        written += _WRITERS[form](stem, checkpoint)
    return checkpoint, written
