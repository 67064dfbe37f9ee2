"""From a YOLO dataset to COCO annotation files, and back; what a source is called decides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from yolo_core.datasets.to_coco import write_coco
from yolo_core.datasets.to_yolo import write_yolo
from yolo_core.errors import InputError
from yolo_core.files import PathLike


def convert(
    sources: Sequence[PathLike],
    out: PathLike,
    images: Sequence[PathLike] = (),
    splits: Sequence[str] = (),
    segments: bool = False,
    strict: bool = False,
) -> list[str]:
    """Convert one data.yaml, or one or several COCO files; returns lines to tell.

    images, splits, segments: of COCO files, as for `to_yolo.write_yolo`. InputError for other
    sources, and for what cannot be read.
    """
    endings = {Path(source).suffix.lower() for source in sources}
    if endings <= {".yaml", ".yml"} and len(sources) == 1:
        if images or splits or segments:
            raise InputError(sources[0], "needs no --images, --split or --segments", "COCO files")
        return write_coco(sources[0], out, strict)
    if endings == {".json"}:
        return write_yolo(sources, images, out, splits, segments, strict)
    cause = "cannot be converted together" if len(sources) > 1 else "cannot be converted"
    raise InputError(sources[0], cause, "one data.yaml, or COCO files (.json)")
