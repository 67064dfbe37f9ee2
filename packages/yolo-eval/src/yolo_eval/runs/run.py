"""One model's run over one ground truth: what was predicted, on what, by whom.

The run file (`--json`) is one JSON object that needs nothing beside it: model, settings, ground
truth, predictions in COCO form, metrics and provenance. `compare` and `merge` read it back; any
other tool scores the list under `predictions` against the same annotations alike.
"""

from __future__ import annotations

import gc
import hashlib
import json
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.datasets.coco_json import JSON_LIMIT, JSON_VALUES, MOST, bbox, finite
from yolo_core.errors import InputError
from yolo_core.files import parse_json, read_bytes
from yolo_core.words import text_fault
from yolo_eval.runs.ground_truth import GroundTruth, identifier, parse_coco
from yolo_eval.runs.numbering import as_numbered
from yolo_eval.runs.provenance import digest

FORMAT = "yolo-eval-run/1"

#: Digits kept of a predicted box (pixels) and score. Scores are computed from the rounded
#: numbers, so that the written file gives the same figures to whoever scores it.
BOX_DIGITS = 3
SCORE_DIGITS = 6

#: One detection: image id, category id, [x, y, width, height], score.
Row = tuple[int, int, list[float], float]


@dataclass(frozen=True)
class Predictions:
    """Detections of a whole run, n rows in order of image id, best score first within an image.

    image, category: int64 [n] ids. box: float64 [n, 4] x, y, width, height in original pixels.
    score: float64 [n] in 0–1.
    """

    image: Array
    category: Array
    box: Array
    score: Array

    def __len__(self) -> int:
        return len(self.score)

    @staticmethod
    def from_rows(rows: list[Row]) -> Predictions:
        """From rows in any order; they are put into the one stated above."""
        return Predictions.from_columns(
            np.array([row[0] for row in rows], dtype=np.int64),
            np.array([row[1] for row in rows], dtype=np.int64),
            np.array([row[2] for row in rows], dtype=np.float64).reshape(-1, 4),
            np.array([row[3] for row in rows], dtype=np.float64),
        )

    @staticmethod
    def from_columns(image: Array, category: Array, box: Array, score: Array) -> Predictions:
        """From columns in any order, as above."""
        order = np.lexsort((-score, image))
        return Predictions(image[order], category[order], box[order], score[order])

    def rows(self) -> Iterator[Row]:
        """All detections in order."""
        columns = (self.image, self.category, self.box, self.score)
        return zip(*(column.tolist() for column in columns))

    def to_list(self) -> list[dict[str, Any]]:
        """The COCO results list."""
        return [
            {"image_id": image, "category_id": category, "bbox": box, "score": score}
            for image, category, box, score in self.rows()
        ]

    def above(self, confidence: float) -> Predictions:
        """The detections with at least this score."""
        return self.only(self.score >= confidence)

    def only(self, keep: Array) -> Predictions:
        """The detections that `keep`, bool [n], marks."""
        return Predictions(self.image[keep], self.category[keep], self.box[keep], self.score[keep])


@dataclass(frozen=True, repr=False)
class Run:
    """A finished run, or one shard of it.

    model: name, kind ("float", "integer" or "predictions"), digest, imgsz, path.
    settings: confidence, NMS and resize mode. shard: (index, count), or None for all images.
    image_digests: SHA-256 of every image file by image id. metrics: None for a shard.
    """

    model: Mapping[str, Any]
    settings: Mapping[str, Any]
    truth: GroundTruth
    predictions: Predictions
    image_digests: Mapping[int, str] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    shard: tuple[int, int] | None = None
    metrics: Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        ap = (self.metrics or {}).get("AP")
        told = "not measured" if ap is None else f"AP {100 * ap:.2f}"
        name = f"{self.model['name']} {self.model['kind']}"
        return f"<Run of {name} on {len(self.truth.images)} pictures: {told}>"

    def configuration_digest(self) -> str:
        """SHA-256 over what decides the predictions: model, settings, images."""
        return digest(
            {
                "model": self.model.get("digest"),
                "imgsz": list(self.model.get("imgsz") or ()),
                "settings": dict(self.settings),
                "images": {str(key): value for key, value in sorted(self.image_digests.items())},
            }
        )

    def with_metrics(self, metrics: Mapping[str, Any]) -> Run:
        return replace(self, metrics=metrics)

    def to_dict(self) -> dict[str, Any]:
        content: dict[str, Any] = {
            "format": FORMAT,
            "model": dict(self.model),
            "settings": dict(self.settings),
            "shard": list(self.shard) if self.shard else None,
            "source": self.truth.source,
            "folder": self.truth.folder,
            "metrics": self.metrics,
            "provenance": dict(self.provenance),
            **self.truth.to_dict(),
        }
        if self.truth.left_out:
            content["left_out"] = dict(self.truth.left_out)
        for image in content["images"]:
            if image["id"] in self.image_digests:
                image["sha256"] = self.image_digests[image["id"]]
        content["predictions"] = self.predictions.to_list()
        return content


#: A run file may unpack to this many times its size and a little; ours take a tenth.
_MAX_RATIO, _SMALL = 50, 1 << 20
#: Longest text in a run file, in characters: a command line with many files.
_TEXT_LIMIT = 1 << 16


def run_text(run: Run) -> str:
    """The content of a run file."""
    return json.dumps(run.to_dict(), separators=(",", ":")) + "\n"


def predictions_text(run: Run) -> str:
    """The plain COCO results list, for other tools: its ids are those of the annotation file."""
    rows = run.predictions.to_list()
    for key, ids in (("image_id", run.truth.image_ids), ("category_id", run.truth.category_ids)):
        texts = {own: text for text, own in ids.items()}
        for row in rows:
            text = texts.get(row[key])
            if text is not None:  # a number of so many digits was one that JSON does not keep
                row[key] = int(text) if text.isdecimal() and len(text) > 15 else text
    return json.dumps(rows, separators=(",", ":")) + "\n"


def read_run(path: Path, truth: GroundTruth | None = None) -> Run:
    """Read a run file, or a plain COCO results list where `truth` says what it is about.

    A name that ends in .gz is unpacked. Raises InputError for anything malformed.
    """
    source = str(path)
    data = _bytes(Path(path))
    content = _json(data, source)
    if isinstance(content, list):
        if truth is None:
            raise InputError(
                source, "is a bare list of detections", "--annotations with the ground truth"
            )
        model = {"name": Path(path).name.split(".")[0], "kind": "predictions", "path": source}
        model["digest"] = hashlib.sha256(data).hexdigest()
        content, mapped = as_numbered(content, truth)
        if mapped:
            print(f"{source}: {mapped}", file=sys.stderr)
        return Run(model, {}, truth, checked_predictions(content, truth, source))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(source, "is not a run file of yolo-eval", f"format {FORMAT!r}")
    for key in ("model", "settings", "provenance"):
        if not isinstance(content.get(key), dict):
            raise InputError(source, f"has no object {key!r}", "a run file of yolo-eval coco")
    for key in ("source", "folder"):
        if not isinstance(content.get(key), str):
            raise InputError(source, f"has no text {key!r}", "a run file of yolo-eval coco")
    _check_model(content["model"], source)
    _check_texts([content[key] for key in ("model", "settings", "provenance", "source")], source)
    own_truth = parse_coco(content, source, content["folder"])
    own_truth = replace(own_truth, source=content["source"])
    metrics = content.get("metrics")
    if metrics is not None and not isinstance(metrics, dict):
        raise InputError(source, "has metrics that are no object", "a run file of yolo-eval coco")
    digests = {
        image["id"]: image["sha256"]
        for image in content["images"]
        if isinstance(image.get("sha256"), str)
    }
    return Run(
        content["model"],
        content["settings"],
        own_truth,
        checked_predictions(content.get("predictions"), own_truth, source),
        digests,
        content["provenance"],
        _shard(content.get("shard"), source),
        metrics,
    )


def _bytes(path: Path) -> bytes:
    """The content of a file, unpacked where its name ends in .gz."""
    data = read_bytes(path, JSON_LIMIT)
    if path.suffix == ".gz":
        unpacker = zlib.decompressobj(wbits=31)
        most = min(JSON_LIMIT, _MAX_RATIO * len(data) + _SMALL)
        try:
            data = unpacker.decompress(data, most)
        except zlib.error as error:
            raise InputError(path, f"is not a gzip file ({error})", "a .json.gz file") from error
        if not unpacker.eof:
            raise InputError(path, "is cut short or too large", f"at most {most} bytes unpacked")
    return data


def _json(data: bytes, source: str) -> Any:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(source, f"is not UTF-8 text (byte {error.start})", "UTF-8") from error
    # A million small objects that all stay: looking for garbage among them takes half the time.
    collects = gc.isenabled()
    gc.disable()
    try:
        return parse_json(text, source, JSON_VALUES)
    finally:
        if collects:
            gc.enable()


def checked_predictions(items: Any, truth: GroundTruth, source: str) -> Predictions:
    """The detections of a COCO results list that was read from outside, as `checked_rows`."""
    columns = _columns(items, truth)
    if columns is None:
        return Predictions.from_rows(checked_rows(items, truth, source))
    return Predictions.from_columns(*columns)


def _columns(items: Any, truth: GroundTruth) -> tuple[Array, Array, Array, Array] | None:
    """The columns of a list in which everything is as it should be; None where it needs a look."""
    if not isinstance(items, list) or not items:
        return None
    try:
        images = [item["image_id"] for item in items]
        categories = [item["category_id"] for item in items]
        boxes = [item["bbox"] for item in items]
        scores = [item["score"] for item in items]
    except (KeyError, TypeError):
        return None
    if set(map(type, images)) | set(map(type, categories)) != {int}:
        return None
    if set(map(type, boxes)) != {list} or set(map(len, boxes)) != {4}:
        return None
    sides = list(chain.from_iterable(boxes))
    if not set(map(type, sides)) | set(map(type, scores)) <= {int, float}:
        return None
    known = {image.id for image in truth.images}, {category.id for category in truth.categories}
    if not (known[0].issuperset(images) and known[1].issuperset(categories)):
        return None
    try:
        box = np.array(sides, dtype=np.float64).reshape(-1, 4)
        score = np.array(scores, dtype=np.float64)
    except OverflowError:
        return None
    # NaN fails the comparisons too.
    if not ((np.abs(box) < MOST).all() and (np.abs(score) < MOST).all() and box[:, 2:].min() >= 0):
        return None
    return np.array(images, dtype=np.int64), np.array(categories, dtype=np.int64), box, score


def checked_rows(items: Any, truth: GroundTruth, source: str) -> list[Row]:
    """The rows of a COCO results list that was read from outside; `source` names it in errors."""
    if not isinstance(items, list):
        raise InputError(source, "has no list of predictions", "detections in COCO form")
    images = {image.id for image in truth.images}
    categories = {category.id for category in truth.categories}
    rows: list[Row] = []
    for item in items:
        image = identifier(item, "image_id", source)
        category = identifier(item, "category_id", source)
        score = finite(item.get("score"))
        if image not in images:
            raise InputError(
                source, f"has detections on image {image}", "an image of the ground truth"
            )
        if category not in categories:
            raise InputError(
                source, f"has detections of category {category}", "a category of the ground truth"
            )
        if score is None:
            raise InputError(source, f"has a detection without score on image {image}", "a number")
        rows.append((image, category, list(bbox(item, source)), score))
    return rows


def _check_model(model: Mapping[str, Any], source: str) -> None:
    for key in ("name", "kind", "digest"):
        if not isinstance(model.get(key), str):
            raise InputError(source, f"names no model {key}", "a run file of yolo-eval coco")
    if not set(model["name"]) <= _NAME or model["name"].startswith("."):
        raise InputError(source, "has a model name that is not a file name", "letters and digits")
    imgsz = model.get("imgsz")
    sides = isinstance(imgsz, list) and len(imgsz) == 2 and all(type(v) is int for v in imgsz)
    if imgsz is not None and not sides:
        raise InputError(source, "has a malformed imgsz", "[height, width]")


def _check_texts(content: Any, source: str) -> None:
    """Every text in plain data is Unicode without controls, since pages and terminals show it."""
    left = [content]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            left += [*value, *value.values()]
        elif isinstance(value, list):
            left += value
        elif isinstance(value, str):
            fault = text_fault(value, _TEXT_LIMIT)
            if fault:
                raise InputError(source, f"has a text that {fault}", "printable text")


_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


def _shard(value: Any, source: str) -> tuple[int, int] | None:
    if value is None:
        return None
    whole = isinstance(value, list) and len(value) == 2 and all(type(v) is int for v in value)
    if whole and 1 <= value[0] <= value[1]:
        return value[0], value[1]
    raise InputError(source, "has a malformed shard", "[index, count]")
