"""Detections for people: annotated pictures and videos, YOLO label files, one JSON of all boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yolo_core.detecting.options import DetectOptions
from yolo_core.detecting.run import Detection, Found, prepare
from yolo_core.files import PathLike
from yolo_core.yolo.predictor import Predictor, open_predictor


def detection(
    model: str,
    sources: Sequence[PathLike],
    out: Path | None = None,
    imgsz: tuple[int, int] | None = None,
    mode: str | None = None,
    threads: int | None = None,
    device: str = "cpu",
    wishes: DetectOptions | None = None,
) -> Detection:
    """Detection in pictures, folders, globs, lists, videos, a camera or a stream, ready to run.

    out: None makes `runs/detect/exp`, `exp2` and so on. mode: None fits pictures as the model says.
    InputError for a source that is nothing of that kind, or a model that cannot run as asked.
    """

    def opened() -> Predictor:
        return open_predictor(model, imgsz, threads, device)

    return prepare(
        opened, model, sources, out, wishes or DetectOptions(),
        lambda done: _document(done, model), mode,
    )  # fmt: skip


def _document(done: Detection, model: str) -> dict[str, Any]:
    predictor = done.predictor
    return {
        "model": {"path": str(model), "kind": predictor.kind, "digest": predictor.digest},
        "images": [_image(item) for item in done.found],
        "left_out": [str(error) for error in done.left_out],
    }


def _image(item: Found) -> dict[str, Any]:
    return {
        "file_name": item.name,
        "source": item.place,
        **({} if item.frame is None else {"frame": item.frame}),
        "width": item.width,
        "height": item.height,
        "detections": item.records(),
    }
