"""From a picture to what a chain is given, and from what a chain answers to boxes.

`encode` and `decode` are the two functions; `write_encoded` and `read_output` are their files:

    DIR/input.npy               the model's input, which `yolo-cvm run` reads
    DIR/words.bin, words.txt    the same as the words of 32 bytes that INFERARRAY reads
    DIR/<info hash>/data        the same as a node stores it for INFER, with its torrent beside
    DIR/placement.json          where the picture went, and what announces the stored input
"""

from __future__ import annotations

import binascii
import json
import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.detecting.run import as_records
from yolo_core.errors import InputError
from yolo_core.files import PathLike, atomic_folder, atomic_write, read_bytes, read_json
from yolo_core.yolo.boxes import NmsSettings
from yolo_core.yolo.drawing import draw, encode_picture, labelled
from yolo_core.yolo.letterbox import Placement, read_image
from yolo_core.yolo.predictor import settle
from yolo_cvm import chain_io
from yolo_cvm.arrays import read_array, write_array
from yolo_cvm.bundle import npy, torrent
from yolo_cvm.bundle.payload import InputMeta
from yolo_cvm.predictor import IntegerPredictor, open_detector
from yolo_cvm.receipts import tensor_digest

FORMAT = "yolo-cvm placement 1"
INPUT, WORDS, WORDS_TEXT, PLACEMENT = "input.npy", "words.bin", "words.txt", "placement.json"
WORD_BYTES = 32
OUTPUT_LIMIT = 1 << 30

_ANSWER = re.compile(rb'\s*\{"data":"0x([0-9a-f]*)","info":"ok"\}\s*')
_MAX_SIDE = 1 << 27


@dataclass(frozen=True)
class Encoded:
    """A picture as the input of a model.

    values: int8 or int32 in the input's shape. placement: where the picture went. stored: the
    file that a node stores. info: its torrent. payload: data of the transaction that announces it.
    """

    values: Array
    placement: Placement
    stored: bytes
    info: torrent.Info
    payload: bytes

    def words(self) -> bytes:
        """The words of INFERARRAY one after the other, the last one filled up with zeros."""
        data = content(self.values)
        return data + bytes(-len(data) % WORD_BYTES)


def encode(
    model: PathLike | IntegerPredictor,
    picture: PathLike,
    comment: str = "",
    piece_length: int = torrent.PIECE_LENGTH,
) -> Encoded:
    """The picture as the input of the model. InputError where it cannot be read.

    model: an opened detector, or where it lies. comment: text for the chain. piece_length: of
    the torrent; another one gives another info hash.
    """
    values, placement = _opened(model).encode(read_image(picture))
    stored = stored_file(values)
    info = torrent.input_info(stored, piece_length)
    shape = tuple(int(size) for size in values.shape)
    meta = InputMeta(comment, info.info_hash, info.raw_size, shape)
    return Encoded(values, placement, stored, info, meta.encode())


def decode(
    model: PathLike | IntegerPredictor,
    output: Array,
    placement: Placement | None = None,
    settings: NmsSettings | None = None,
) -> Array:
    """Detections float64 [n, 6] of an output: x1 y1 x2 y2, score, class.

    model: an opened detector, or where it lies. output: the values of the output, of any integer
    type and shape, in the order of its bytes.
    placement: where the picture went; the boxes are then in its pixels, else in those of the
    network's input. settings: what becomes a detection; if None what the model decides by, or else
    confident boxes. InputError where the output has another length.
    """
    predictor = _opened(model)
    settings = settings or settle(predictor, NmsSettings.for_display())
    found = predictor.decode(split_heads(predictor, output), settings)
    if placement is not None:
        found[:, :4] = placement.to_image(found[:, :4])
    return found


def _opened(model: PathLike | IntegerPredictor) -> IntegerPredictor:
    return model if isinstance(model, IntegerPredictor) else open_detector(model)


def split_heads(predictor: IntegerPredictor, output: Array) -> list[Array]:
    """The heads of an output whose rows are interleaved as `chain_io.join_heads` has them."""
    shapes = predictor.model.graph.head_shapes
    sizes = [int(np.prod(shape)) for shape in shapes]
    if output.size != sum(sizes):
        raise InputError("output", f"has {output.size} values", f"{sum(sizes)}, as the model's")
    flat = output.reshape(-1).astype(np.int32)
    if len(shapes) == 1:
        return [flat.reshape(shapes[0])]
    if len({size // shape[-1] for size, shape in zip(sizes, shapes)}) == 1:
        widths = np.cumsum([shape[-1] for shape in shapes])[:-1]
        rows = flat.reshape(-1, sum(shape[-1] for shape in shapes))
        return [part.reshape(s) for part, s in zip(np.split(rows, widths, axis=1), shapes)]
    ends = np.cumsum(sizes)[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(flat, ends), shapes)]


def content(values: Array) -> bytes:
    """The bytes that INFERARRAY is given: integers of more than one byte with the highest first."""
    kind = values.dtype.newbyteorder(">") if values.itemsize > 1 else values.dtype
    return values.astype(kind).tobytes()


def stored_file(values: Array) -> bytes:
    """The `.npy` file that reaches the model through a node as `values` (spec A21).

    Values of one byte as they are. The node reverses the bytes of wider ones, whichever order
    the file names, so these are stored as single bytes, the highest first.
    """
    if values.itemsize == 1:
        return npy.encode(values.astype(np.int8))
    single = np.frombuffer(content(values), np.int8)
    return npy.encode(single.reshape(*values.shape, values.itemsize))


def write_encoded(encoded: Encoded, out: PathLike, comment: str = "") -> list[str]:
    """Write the files named above into the folder `out`; returns what to tell."""
    words = encoded.words()
    sidecar = {
        "format": FORMAT,
        "placement": asdict(encoded.placement),
        "input_digest": tensor_digest(encoded.values.astype(np.int32)),
        "stored_input": {
            "info_hash": encoded.info.info_hash,
            "raw_size": encoded.info.raw_size,
            "piece_length": encoded.info.piece_length,
            "payload": "0x" + encoded.payload.hex(),
        },
    }
    text = "".join(
        f"0x{words[at : at + WORD_BYTES].hex()}\n" for at in range(0, len(words), WORD_BYTES)
    )
    with atomic_folder(out) as folder:
        write_array(folder / INPUT, encoded.values)
        atomic_write(folder / WORDS, words)
        atomic_write(folder / WORDS_TEXT, text)
        home = folder / encoded.info.info_hash
        envelope = torrent.Envelope(comment=comment or None)
        atomic_write(home / torrent.NAME, encoded.stored)
        atomic_write(home / "torrent", torrent.encode(encoded.info, envelope))
        atomic_write(folder / PLACEMENT, json.dumps(sidecar, indent=1, sort_keys=True) + "\n")
    return [
        f"info hash     {encoded.info.info_hash}",
        f"size          {encoded.info.raw_size:,} bytes, {len(words) // WORD_BYTES:,} words",
        f"input payload 0x{encoded.payload.hex()}",
    ]


def read_placement(path: PathLike) -> Placement:
    """The placement in a sidecar of `write_encoded`. InputError where there is none."""
    record = read_json(path)
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise InputError(path, "is not a placement", f"format {FORMAT!r}")
    try:
        given = record["placement"]
        numbers = (*given["image"], *given["resized"], given["left"], given["top"])
        placement = Placement(
            (given["image"][0], given["image"][1]),
            (given["resized"][0], given["resized"][1]),
            given["left"],
            given["top"],
        )
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(path, "its placement is broken", "image, resized, left, top") from error
    if len(numbers) != 6 or not all(type(n) is int and 0 <= n <= _MAX_SIDE for n in numbers):
        raise InputError(path, "its placement is not numbers of pixels")
    if not all(numbers[:4]):
        raise InputError(path, "its placement has a side of no pixels")
    return placement


def read_output(predictor: IntegerPredictor, path: PathLike, dialect: str) -> Array:
    """The values of an output: a `.npy` file, an answer of `/infer` as it came, or raw bytes.

    dialect: of raw bytes, as in `chain_io`. InputError where the length is not the model's.
    """
    data = read_bytes(path, OUTPUT_LIMIT)
    if data.startswith(b"\x93NUMPY"):
        return read_array(path)
    answer = _ANSWER.fullmatch(data) if data.lstrip()[:1] == b"{" else None
    if answer is not None:
        data, dialect = binascii.unhexlify(answer[1]), chain_io.CHAIN
    size = chain_io.output_type_size(predictor.model.graph)
    wanted = chain_io.output_length(predictor.model.graph)
    if len(data) != wanted:
        raise InputError(path, f"has {len(data)} bytes", f"{wanted}, the model's output")
    order = {chain_io.CHAIN: ">i4", chain_io.C_INTERFACE: "<i4"}[dialect]
    return np.frombuffer(data, np.int8 if size == 1 else order)


def draw_decoded(
    predictor: IntegerPredictor, found: Array, picture: PathLike, out: PathLike
) -> None:
    """Write the picture with its detections drawn. InputError where it cannot be read."""
    boxes = labelled(found, predictor.architecture.names)
    atomic_write(out, encode_picture(draw(read_image(picture), boxes)))


def decoded_record(predictor: IntegerPredictor, found: Array) -> dict[str, Any]:
    """Detections of `decode` as plain JSON data."""
    return {
        "model": predictor.digest,
        "detections": as_records(found, predictor.architecture.names),
    }
