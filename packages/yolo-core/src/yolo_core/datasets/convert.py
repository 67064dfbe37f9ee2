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
) -> tuple[list[str], list[Sequence[object]]]:
    """Convert one data.yaml, or one or several COCO files.

    Returns lines to tell, and the commands that come next, each as its words.

    images, splits, segments: of COCO files, as for `to_yolo.write_yolo`. InputError for other
    sources, and for what cannot be read.
    """
    endings = {Path(source).suffix.lower() for source in sources}
    if endings <= {".yaml", ".yml"} and len(sources) == 1:
        if images or splits or segments:
            raise InputError(sources[0], "needs no --images, --split or --segments", "COCO files")
        lines, folders = write_coco(sources[0], out, strict)
        file, folder = list(folders.items())[-1]
        score = ("yolo-eval", "coco", "MODEL", "--images", folder, "--annotations", file)
        return lines, [score]
    if endings == {".json"}:
        lines = write_yolo(sources, images, out, splits, segments, strict)
        data = Path(out) / "data.yaml"
        return lines, [
            ("yolo-core", "dataset", "check", data, "--page", "dataset.html"),
            ("yolo-train", "fit", "--data", data),
        ]
    cause = "cannot be converted together" if len(sources) > 1 else "cannot be converted"
    raise InputError(sources[0], cause, "one data.yaml, or COCO files (.json)")
