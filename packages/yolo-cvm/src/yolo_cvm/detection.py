"""Detections of pictures for people: JSON data, and the picture with its boxes drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import PathLike, atomic_write
from yolo_core.outputs import check_holds_no_input, check_outputs
from yolo_core.words import shown
from yolo_core.yolo.boxes import NmsSettings
from yolo_core.yolo.drawing import draw, encode_picture, labelled
from yolo_core.yolo.letterbox import read_image
from yolo_core.yolo.predictor import detect
from yolo_cvm.predictor import IntegerPredictor

RESULTS = "detections.json"


def detect_pictures(
    predictor: IntegerPredictor,
    pictures: Sequence[PathLike],
    out: PathLike | None,
    settings: NmsSettings,
) -> Iterator[dict[str, Any]]:
    """Detect in each picture in turn; yields its record as plain JSON data.

    out: folder for the annotated pictures (`<name>.jpg`) and, once all are done, for all records
    (`detections.json`); None writes nothing. InputError where a picture cannot be read.
    """
    records = []
    names = predictor.architecture.names
    files = [Path(picture).stem + ".jpg" for picture in pictures]
    if out is not None and len(set(files)) != len(files):
        raise InputError("pictures", "two have the same name", "names that differ")
    if out is not None:
        check_holds_no_input(out, pictures)
        check_outputs(files=[Path(out) / file for file in [*files, RESULTS]])
    for picture, file in zip(pictures, files):
        image = read_image(picture)
        found = detect(predictor, image, settings)
        record = {
            "image": Path(picture).name,
            "height": image.shape[0],
            "width": image.shape[1],
            "model": predictor.digest,
            "detections": as_records(found, names),
        }
        records.append(record)
        if out is not None:
            atomic_write(Path(out) / file, encode_picture(draw(image, labelled(found, names))))
        yield record
    if out is not None:
        atomic_write(Path(out) / RESULTS, json.dumps(records, indent=1) + "\n")


def as_records(found: Array, names: Sequence[str]) -> list[dict[str, Any]]:
    """Detections [n, 6] (x1 y1 x2 y2, score, class) as plain JSON data."""
    return [
        {
            "box": [round(float(value), 2) for value in row[:4]],
            "score": round(float(row[4]), 5),
            "class": int(row[5]),
            "name": names[int(row[5])],
        }
        for row in found
    ]


def describe(record: dict[str, Any]) -> str:
    """A record as one line per picture and one per detection."""
    first = f"{shown(record['image'])}  {record['width']}x{record['height']}"
    return "\n".join([first, *describe_detections(record["detections"])])


def describe_detections(detections: Sequence[dict[str, Any]]) -> list[str]:
    """One line per detection of `as_records`: score, name, corners."""
    lines = []
    for item in detections:
        corners = " ".join(f"{value:.0f}" for value in item["box"])
        lines.append(f"  {item['score']:.3f}  {shown(item['name']):<16} {corners}")
    return lines
