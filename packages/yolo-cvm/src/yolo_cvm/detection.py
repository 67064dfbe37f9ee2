"""Detections of pictures for people: JSON data, and the picture with its boxes drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import PathLike, atomic_write
from yolo_core.yolo.boxes import NmsSettings
from yolo_core.yolo.letterbox import opencv, read_image
from yolo_core.yolo.predictor import detect
from yolo_cvm.predictor import IntegerPredictor

RESULTS = "detections.json"

_QUALITY = 92
_PALETTE = (
    (230, 57, 70), (29, 122, 204), (42, 157, 80), (244, 140, 6), (131, 56, 236), (0, 150, 160),
    (214, 40, 140), (120, 130, 20), (90, 90, 90), (176, 84, 30),
)  # fmt: skip


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
    names = [Path(picture).stem + ".jpg" for picture in pictures]
    if out is not None and len(set(names)) != len(names):
        raise InputError("pictures", "two have the same name", "names that differ")
    for picture, name in zip(pictures, names):
        image = read_image(picture)
        found = detect(predictor, image, settings, predictor.extension.letterbox)
        record = {
            "image": Path(picture).name,
            "height": image.shape[0],
            "width": image.shape[1],
            "model": predictor.digest,
            "detections": [
                {
                    "box": [round(float(value), 2) for value in row[:4]],
                    "score": round(float(row[4]), 5),
                    "class": int(row[5]),
                    "name": predictor.architecture.names[int(row[5])],
                }
                for row in found
            ],
        }
        records.append(record)
        if out is not None:
            atomic_write(Path(out) / name, encode_jpeg(draw(image, record)))
        yield record
    if out is not None:
        atomic_write(Path(out) / RESULTS, json.dumps(records, indent=1) + "\n")


def describe(record: dict[str, Any]) -> str:
    """A record as one line per picture and one per detection."""
    lines = [f"{record['image']}  {record['width']}x{record['height']}"]
    for item in record["detections"]:
        corners = " ".join(f"{value:.0f}" for value in item["box"])
        lines.append(f"  {item['score']:.3f}  {item['name']:<16} {corners}")
    return "\n".join(lines)


def draw(image: Array, record: dict[str, Any]) -> Array:
    """A copy of the uint8 [H, W, 3] RGB picture with boxes, names and scores."""
    cv2 = opencv()
    canvas = np.ascontiguousarray(image).copy()
    thick = max(1, round(sum(image.shape[:2]) / 700))
    size = thick * 0.35
    for item in reversed(record["detections"]):
        color = _PALETTE[item["class"] % len(_PALETTE)]
        left, top, right, bottom = (round(value) for value in item["box"])
        cv2.rectangle(canvas, (left, top), (right, bottom), color, thick, cv2.LINE_AA)
        text = f"{item['name']} {item['score']:.2f}"
        (width, height), below = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thick)
        base = max(top, height + below)
        corner = (left + width, base - height - below)
        cv2.rectangle(canvas, (left, base), corner, color, cv2.FILLED)
        cv2.putText(
            canvas, text, (left, base - below), cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255),
            thick, cv2.LINE_AA,
        )  # fmt: skip
    return canvas


def encode_jpeg(image: Array) -> bytes:
    """A JPEG file of a uint8 [H, W, 3] RGB picture."""
    cv2 = opencv()
    done, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done
    return bytes(data)
