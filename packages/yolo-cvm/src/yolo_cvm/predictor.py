"""An integer model as a predictor: how yolo-core finds it, and what its integers mean.

The entry point `cvm` of `yolo_core.predictors` names `ModelOpener`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.budget import granted
from yolo_core.errors import InputError
from yolo_core.files import PathLike, read_bytes, read_json
from yolo_core.graph import Graph, LogicError
from yolo_core.graph.costs.cost import peak_bytes
from yolo_core.yolo.boxes import NmsSettings, detections
from yolo_core.yolo.decision import Decision
from yolo_core.yolo.decision_graph import rows_of_decision
from yolo_core.yolo.letterbox import Letterbox, Placement
from yolo_core.yolo.model_folder import EXT, Extension, check_extension
from yolo_core.yolo.predictor import Predictor, check_settings
from yolo_cvm import chain_io
from yolo_cvm.bundle import manifest as bundle_manifest
from yolo_cvm.engine import Engine, select
from yolo_cvm.engine.resizing import resize
from yolo_cvm.model import Model, detector_digest, is_model, load, model_files
from yolo_cvm.original import OriginalExtension, is_original, read_original

MANIFEST = "manifest.json"

#: Bytes that decoding takes at its peak for each number of a row: float64 and its copies.
_DECODING_BYTES = 10 * 8


class IntegerPredictor:
    """A detector that computes in integers alone: to its final boxes, or to its rows of logits.

    decided: how the graph decides, None where the host does from the rows. mode: how images are
    fitted, "letterbox" or "squash".
    """

    kind = "integer"
    #: see `yolo_core.yolo.predictor.resize_of`
    resize = staticmethod(resize)

    def __init__(
        self,
        model: Model,
        extension: Extension | OriginalExtension,
        engine_of: Callable[[Graph], Engine] = select,
    ) -> None:
        """engine_of: makes the engine of the rows inside a model that decides."""
        if model.graph.input_shape[0] != 1:
            raise InputError("model", f"takes {model.graph.input_shape[0]} images at once", "1")
        self.model = model
        self.extension = extension
        self.architecture = extension.architecture
        self.imgsz = extension.imgsz
        self.mode = extension.letterbox
        self._engine_of = engine_of
        self.decision: Decision | None = getattr(extension, "boxes", None)
        self.decided = self.decision.nms() if self.decision else None
        self.digest = detector_digest(model.symbol_digest, model.params_digest, extension)

    def logits(self, batch: Array) -> Array:
        """uint8 [B, height, width, 3] RGB letterboxed → float64 [B, N, 5 + nc] raw logits.

        Of a model whose graph decides these are the rows inside it.
        """
        if self.decision is not None:
            return self.undecided().logits(batch)
        return np.concatenate([self._logits(heads) for heads in self._run(batch)])

    def detections(self, batch: Array, settings: NmsSettings) -> list[Array]:
        """uint8 [B, height, width, 3] RGB letterboxed → detections of each image; see `decode`."""
        return [self.decode(heads, settings) for heads in self._run(batch)]

    def undecided(self) -> IntegerPredictor:
        """The same network with the host deciding from its rows; its digest is the model's."""
        return self if self.decision is None else self._of_rows

    @cached_property
    def _of_rows(self) -> IntegerPredictor:
        graph = rows_of_decision(self.model.graph)
        model = replace(self.model, graph=graph, engine=self._engine_of(graph))
        assert isinstance(self.extension, Extension)
        rows = IntegerPredictor(model, replace(self.extension, boxes=None), self._engine_of)
        rows.digest = self.digest
        return rows

    def _run(self, batch: Array) -> list[list[Array]]:
        if batch.dtype != np.uint8 or batch.shape[1:] != (*self.imgsz, 3):
            raise InputError("images", f"are {batch.dtype} {batch.shape}", f"uint8 of {self.imgsz}")
        codes = self.extension.quantize_input(batch)
        return [self.model.run(codes[k : k + 1]) for k in range(len(codes))]

    def encode(self, image: Array) -> tuple[Array, Placement]:
        """uint8 [h, w, 3] RGB → the model's input, int8 or int32, and where the picture went."""
        fit = Letterbox(*self.imgsz, mode=self.extension.letterbox, resize=resize)
        canvas, placement = fit.apply(image)
        codes = self.extension.quantize_input(canvas[None])
        narrow = chain_io.input_type_size(self.model.graph) == 1
        return codes.astype(np.int8 if narrow else np.int32), placement

    def decode(self, heads: list[Array], settings: NmsSettings) -> Array:
        """The int32 heads of one picture → detections [n, 6] in pixels of the network's input.

        Columns x1 y1 x2 y2, score, class, best first. InputError where the graph decides by other
        settings.
        """
        if self.decision is None:
            if isinstance(self.extension, OriginalExtension):
                (logits,) = self.extension.logits(heads)
                return detections(logits, self.architecture, self.imgsz, settings)
            rows = heads[0][0]
            places = self.extension.plausible(rows, settings.conf)
            logits = self.extension.dequantize(rows[places])
            return detections(logits, self.architecture, self.imgsz, settings, places=places)
        check_settings(self, settings)
        found = self.decision.read(heads[0][0])
        if settings.conf > self.decision.conf:
            found = found[found[:, 4] > settings.conf]
        return found[: settings.max_det]

    def _logits(self, heads: list[Array]) -> Array:
        if isinstance(self.extension, OriginalExtension):
            return self.extension.logits(heads)
        return self.extension.dequantize(heads[0])


class ModelOpener:
    """Entry point "cvm": model folders and bundles."""

    def accepts(self, path: PathLike) -> bool:
        """Whether symbol and params lie there, or in the data folder of a bundle."""
        return is_model(path)

    def open(
        self,
        path: PathLike,
        imgsz: tuple[int, int] | None = None,
        threads: int | None = None,
        device: str = "cpu",
    ) -> Predictor:
        """The model, loaded. InputError for another size than its own, or another device.

        device: "cpu", or "cpu:reference" and the like, which names the engine.
        """
        place, _, engine = device.partition(":")
        if place != "cpu":
            raise InputError("device", f"is {device!r}", "cpu, where integer models run")
        return open_detector(path, imgsz, threads, engine or None)


def open_detector(
    path: PathLike,
    imgsz: tuple[int, int] | None = None,
    threads: int | None = None,
    engine: str | None = None,
) -> IntegerPredictor:
    """The detector at `path`: a model folder with `ext`, or a bundle with its manifest.

    imgsz: (height, width), which must be the model's own; None takes it. threads, engine: as for
    `yolo_cvm.load`. InputError where the model is damaged or says nothing about detection.
    """
    model = load(path, threads=threads, engine=engine)
    extension = read_extension(path, model)
    _refuse_large(model.graph, extension)
    if imgsz is not None and tuple(imgsz) != extension.imgsz:
        height, width = extension.imgsz
        raise InputError("imgsz", f"is {imgsz[0]}x{imgsz[1]}", f"{height}x{width}, the model's own")
    return IntegerPredictor(model, extension, partial(select, threads=threads, name=engine))


def _refuse_large(graph: Graph, extension: Extension | OriginalExtension) -> None:
    """LogicError where the picture, the program and the host's decoding exceed `--max-memory`."""
    most = granted().memory
    if most is None:
        return
    rows = extension.architecture.rows(*extension.imgsz) * extension.architecture.no
    decoding = 0 if getattr(extension, "boxes", None) else _DECODING_BYTES * rows
    need = peak_bytes(graph) + 2 * math.prod(graph.input_shape) + decoding
    if need > most:
        raise LogicError("memory", f"{need} bytes with decoding", f"at most {most}")


def read_extension(path: PathLike, model: Model) -> Extension | OriginalExtension:
    """What the integers mean: from `ext` beside the model, else from the bundle's manifest."""
    return meaning(*_content(path), model)


def extension_record(path: PathLike, model: Model) -> dict[str, Any] | None:
    """The content of a detector's `ext` in our own form; None for models of other kinds.

    The original's quantizer writes an `ext` for every network, which is none of our detectors.
    InputError where ours is damaged or describes another model.
    """
    folder = model_files(path)[0].parent
    if not (folder / EXT).is_file() and not (folder.parent.parent / MANIFEST).is_file():
        return None
    content, source = _content(path)
    if content is None or is_original(content):
        return None
    extension = meaning(content, source, model)
    assert isinstance(extension, Extension)
    record: dict[str, Any] = json.loads(extension.to_json())
    return record


def _content(path: PathLike) -> tuple[Any, str]:
    """The content of `ext` beside the model or in the bundle's manifest, and where it stands."""
    folder = model_files(path)[0].parent
    source, manifest = folder / EXT, folder.parent.parent / MANIFEST
    if source.is_file() or not manifest.is_file():
        return read_json(source), str(source)
    # A bundle's folder holds nothing but the two files, so that they alone make its hash.
    data = read_bytes(manifest, bundle_manifest.LIMIT)
    return bundle_manifest.decode(data, str(manifest)).get("extension"), str(manifest)


def meaning(content: Any, source: str, model: Model) -> Extension | OriginalExtension:
    """What the integers mean, from the content of an `ext`. source: its path, for errors."""
    if is_original(content):
        return read_original(content, model.graph, source)
    extension = Extension.from_dict(content, source)
    check_extension(extension, model.graph, source)
    return extension
