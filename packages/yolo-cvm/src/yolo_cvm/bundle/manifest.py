"""`manifest.json`: everything a bundle states about its model, and how it is spelled.

A manifest is what the publisher chose (`Choices`) and what follows from the model's two files
(`describe`). Whoever has both can write it again to the byte, which is how a bundle is checked.
It closes with a digest over itself, so that a damaged manifest is not mistaken for a damaged
model.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.graph import Graph
from yolo_core.words import text_fault
from yolo_core.yolo.coco import COCO_NAMES
from yolo_core.yolo.model_folder import Extension, check_extension
from yolo_cvm.bundle import npy, selftest, torrent
from yolo_cvm.bundle.accuracy import check_row
from yolo_cvm.bundle.announce import BYTE, announcement, input_announcement, output_shape
from yolo_cvm.bundle.payload import NO_AUTHOR
from yolo_cvm.receipts.digests import tensor_digest

FORMAT = "yolo-cvm-bundle/1"
#: Largest manifest that is read, in bytes.
LIMIT = 1 << 20

#: What a publisher may state about the weights, and what the card calls it.
STATED = {
    "licence": "licence of the weights",
    "origin": "where the weights come from",
    "calibration": "pictures that they were quantized with",
}
#: Longest such statement, in characters.
STATED_LIMIT = 500
_OWN_DIGEST = "sha256"
_DIGITS = 24


@dataclass(frozen=True)
class Choices:
    """What a publisher decides about a bundle.

    comment: free text for the chain and the torrent. author: 40 hexadecimal digits, receives
    `royalty` gas per call. tiers: trackers. piece_length: bytes per torrent piece.
    creation_date: Unix seconds for the torrent, or None. accuracy: rows of the card's table.
    licence, origin, calibration: of the weights, where they come from, and which pictures they
    were quantized with, in words.
    """

    comment: str = ""
    author: str = NO_AUTHOR
    royalty: int = 0
    tiers: tuple[tuple[str, ...], ...] = torrent.TIERS
    piece_length: int = torrent.PIECE_LENGTH
    creation_date: int | None = None
    accuracy: tuple[Any, ...] = ()
    licence: str = ""
    origin: str = ""
    calibration: str = ""

    def record(self) -> dict[str, Any]:
        """As it stands in a manifest: what is not stated of the weights is left out."""
        record = dataclasses.asdict(self)
        return {name: value for name, value in record.items() if value or name not in STATED}

    def envelope(self) -> torrent.Envelope:
        """The part of the torrent file that is not hashed."""
        return torrent.Envelope(self.tiers, self.creation_date, self.comment or None)


@dataclass(frozen=True)
class Model:
    """A model's two files and the graph that they hold.

    extension: content of the `ext` beside them (what the integers mean), or None.
    """

    symbol: bytes
    params: bytes
    graph: Graph
    extension: Any = None

    def detection(self, source: str) -> Extension | None:
        """What the integers mean; None where `ext` says nothing about detection.

        source: the file it came from. InputError where it describes another graph.
        """
        if not isinstance(self.extension, dict) or "detection" not in self.extension:
            return None
        extension = Extension.from_dict(self.extension, source)
        check_extension(extension, self.graph, source)
        return extension


def describe(model: Model, choices: Choices) -> tuple[dict[str, Any], bytes]:
    """The manifest's content, and the torrent file; the model is not run.

    What the self-test returns (`self_test.output_digest`) is left to the caller to fill in.
    InputError where the chain would refuse the model, or take it and never run it.
    """
    for name in STATED:
        fault = text_fault(getattr(choices, name), STATED_LIMIT)
        if fault:
            raise InputError(name, fault, f"at most {STATED_LIMIT} printable characters")
    info = torrent.model_info(model.symbol, model.params, choices.piece_length)
    announced = announcement(model.graph, info, choices.comment, choices.royalty, choices.author)
    torrent_bytes = torrent.encode(info, choices.envelope())
    values = selftest.make_input(model.graph.input_shape, model.graph.input_precision)
    content = {
        "format": FORMAT,
        "info_hash": info.info_hash,
        "raw_size": info.raw_size,
        "files": {
            "torrent": _file(torrent_bytes),
            "data/params": _file(model.params),
            "data/symbol": _file(model.symbol),
        },
        "choices": choices.record(),
        "model": _model(model.graph),
        "extension": model.extension,
        **announced,
        "stored_input": _stored_input(model.graph, values),
        "self_test": {
            "rule": selftest.RULE,
            "input_digest": tensor_digest(values),
            "output_digest": None,
        },
    }
    # One trip through JSON gives what a reader of the file has: lists, and sorted keys.
    return json.loads(_spell(content)), torrent_bytes


def encode(content: dict[str, Any]) -> bytes:
    """The file's bytes: sorted keys, two spaces, and the digest over the rest at its key."""
    data = _spell({**content, _OWN_DIGEST: hashlib.sha256(_spell(content)).hexdigest()})
    if len(data) > LIMIT:
        raise InputError("the manifest", f"would have {len(data)} bytes", f"at most {LIMIT}")
    return data


def decode(data: bytes, source: str) -> dict[str, Any]:
    """The content of a manifest whose bytes and digest are in order."""
    try:
        content = json.loads(data, parse_int=_integer)
        canonical = isinstance(content, dict) and _spell(content) == data
    except (ValueError, RecursionError) as error:
        raise InputError(source, "is damaged: no JSON any more", "a manifest") from error
    if (
        not canonical
        or content.pop(_OWN_DIGEST, None) != hashlib.sha256(_spell(content)).hexdigest()
    ):
        raise InputError(source, "is damaged: its content does not match its own digest")
    if content.get("format") != FORMAT:
        raise InputError(source, f"has the format {content.get('format')!r}", FORMAT)
    result: dict[str, Any] = content
    return result


def choices_of(content: dict[str, Any], source: str) -> Choices:
    """What the publisher decided, out of a manifest."""
    record = content.get("choices")
    names = {field.name for field in dataclasses.fields(Choices)}
    if not isinstance(record, dict) or not names - set(STATED) <= set(record) <= names:
        raise InputError(source, "does not tell the publisher's choices", ", ".join(sorted(names)))
    kinds = {"comment": str, "author": str, "royalty": int, "piece_length": int, "accuracy": list}
    kinds.update({name: str for name in STATED if name in record})
    for name, kind in kinds.items():
        if type(record[name]) is not kind:
            raise InputError(source, f"choices.{name} is of the wrong kind", kind.__name__)
    tiers = record["tiers"]
    if not isinstance(tiers, list) or not all(
        isinstance(tier, list) and all(isinstance(tracker, str) for tracker in tier)
        for tier in tiers
    ):
        raise InputError(source, "choices.tiers is of the wrong kind", "lists of addresses")
    for row in record["accuracy"]:
        check_row(row, source)
    date = record["creation_date"]
    if date is not None and type(date) is not int:
        raise InputError(source, "choices.creation_date is of the wrong kind", "seconds or null")
    return Choices(
        **{
            **record,
            "tiers": tuple(map(tuple, tiers)),
            "accuracy": tuple(record["accuracy"]),
        }
    )


def unstated(content: Mapping[str, Any]) -> str | None:
    """A sentence about what a bundle does not say of its weights, or None.

    content: of a manifest. The weights that come with YOLOv5 are under a licence that binds
    whoever passes them on, in integers too; they are known by COCO's classes.
    """
    absent = [f"--{name}" for name in ("licence", "origin") if name not in content["choices"]]
    if not absent:
        return None
    told = f"the card does not tell {' and '.join(absent).replace('--', '')} of the weights"
    extension = content["extension"]
    detection = extension.get("detection") if isinstance(extension, dict) else None
    names = detection["architecture"]["names"] if detection else ()
    if tuple(names) == COCO_NAMES and "--licence" in absent:
        told += "; the stock weights of YOLOv5 are under AGPL-3.0"
    return f"{told} ({' and '.join(absent)})"


def first_difference(stated: Any, found: Any, place: str = "") -> str | None:
    """Where two JSON values part, as a dotted path with both values; None when they agree."""
    if isinstance(stated, dict) and isinstance(found, dict):
        for key in sorted({*stated, *found}):
            inner = f"{place}.{key}" if place else str(key)
            if key not in stated or key not in found:
                return f"{inner} is {'missing' if key in found else 'unknown'}"
            difference = first_difference(stated[key], found[key], inner)
            if difference:
                return difference
        return None
    if type(stated) is type(found) and stated == found:
        return None
    return f"{place} is {_short(stated)}, the files give {_short(found)}"


def _integer(digits: str) -> int:
    """A number of a manifest; thousands of digits would take Python minutes."""
    if len(digits) > _DIGITS:
        raise ValueError("a number is too long")
    return int(digits)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _spell(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def _file(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _model(graph: Graph) -> dict[str, Any]:
    several = {"heads": graph.head_shapes} if len(graph.heads) > 1 else {}
    return {
        "input_shape": graph.input_shape,
        "input_precision": graph.input_precision,
        "output_shape": output_shape(graph),
        **several,
        "nodes": len(graph.nodes),
        "parameters": sum(int(values.size) for values in graph.parameters.values()),
    }


def _stored_input(graph: Graph, values: Array) -> dict[str, Any] | None:
    """The self-test's input as the chain stores it; None where it cannot."""
    if graph.input_precision > BYTE:
        return None
    return input_announcement(graph, npy.encode(values), "self-test", "self-test")
