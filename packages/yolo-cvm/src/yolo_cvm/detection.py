"""Detections of an integer model for people: JSON data, and pictures with the boxes drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yolo_core.detecting.options import DetectOptions
from yolo_core.detecting.run import Detection, Found, prepare
from yolo_core.detecting.sources import PICTURE
from yolo_core.errors import InputError
from yolo_core.files import PathLike, atomic_write
from yolo_core.outputs import check_outputs
from yolo_core.words import shown
from yolo_core.yolo.letterbox import read_image
from yolo_core.yolo.model_folder import model_sources
from yolo_cvm.predictor import IntegerPredictor, open_detector
from yolo_cvm.receipts import run_with_receipt


def detection(
    model: PathLike,
    sources: Sequence[PathLike],
    out: PathLike | None = None,
    wishes: DetectOptions | None = None,
    threads: int | None = None,
    engine: str | None = None,
) -> Detection:
    """Detection in pictures, folders, globs, lists, videos, a camera or a stream, ready to run.

    out: None writes nothing unless labels or crops are wished for. threads, engine: as for
    `yolo_cvm.load`. InputError for a source that is nothing of that kind, or a damaged model.
    """

    def opened() -> IntegerPredictor:
        return open_detector(model, threads=threads, engine=engine)

    return prepare(
        opened, model, sources, out, wishes or DetectOptions(), records, always=False
    )  # fmt: skip


def check_receipt(done: Detection, model: PathLike, receipt: PathLike) -> None:
    """InputError where no receipt can be written: not one picture, or over a file of another."""
    if len(done.sources) != 1 or done.sources[0].kind != PICTURE:
        raise InputError("--receipt", f"is given with {len(done.sources)} sources", "one picture")
    place = done.sources[0].place
    assert isinstance(place, Path)
    check_outputs([*model_sources(model), place], [receipt])


def write_receipt(done: Detection, receipt: PathLike) -> str:
    """Run the picture of a detection once more, with a receipt; returns what to tell."""
    predictor, place = done.predictor, done.sources[0].place
    assert isinstance(predictor, IntegerPredictor)
    assert isinstance(place, Path)
    values, _ = predictor.encode(read_image(place))
    _, proof = run_with_receipt(predictor.model, values)
    atomic_write(receipt, proof.to_json())
    return f"wrote {shown(receipt)}, {proof.told()}"


def records(done: Detection) -> list[dict[str, Any]]:
    """All that was found, as plain JSON data."""
    return [_record(item, done.predictor.digest) for item in done.found]


def _record(item: Found, digest: str) -> dict[str, Any]:
    return {
        "image": item.name,
        "source": item.place,
        **({} if item.frame is None else {"frame": item.frame}),
        "height": item.height,
        "width": item.width,
        "model": digest,
        "detections": item.records(),
    }


def describe(item: Found) -> str:
    """One line for a picture or frame and one per detection."""
    frame = "" if item.frame is None else f" frame {item.frame}"
    first = f"{shown(item.name)}{frame}  {item.width}x{item.height}"
    return "\n".join([first, *describe_detections(item.records())])


def describe_detections(detections: Sequence[dict[str, Any]]) -> list[str]:
    """One line per detection of `yolo_core.detecting.run.as_records`: score, name, corners."""
    lines = []
    for item in detections:
        corners = " ".join(f"{value:.0f}" for value in item["box"])
        lines.append(f"  {item['score']:.3f}  {shown(item['name']):<16} {corners}")
    return lines
