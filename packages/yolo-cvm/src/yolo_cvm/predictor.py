"""An integer model as a predictor: how yolo-core finds it, and what its integers mean.

The entry point `cvm` of `yolo_core.predictors` names `ModelOpener`.
"""

from __future__ import annotations

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import PathLike, read_bytes, read_json
from yolo_core.yolo.model_folder import EXT, Extension, check_extension
from yolo_core.yolo.predictor import Predictor
from yolo_cvm.bundle import manifest as bundle_manifest
from yolo_cvm.model import Model, detector_digest, is_model, load, model_files

MANIFEST = "manifest.json"


class IntegerPredictor:
    """A detector that computes in integers alone until its logits are scaled back."""

    kind = "integer"

    def __init__(self, model: Model, extension: Extension) -> None:
        if model.graph.input_shape[0] != 1:
            raise InputError("model", f"takes {model.graph.input_shape[0]} images at once", "1")
        self.model = model
        self.extension = extension
        self.architecture = extension.architecture
        self.imgsz = extension.imgsz
        self.digest = detector_digest(model.symbol_digest, model.params_digest, extension)

    def logits(self, batch: Array) -> Array:
        """uint8 [B, height, width, 3] RGB letterboxed → float64 [B, N, 5 + nc] raw logits."""
        if batch.dtype != np.uint8 or batch.shape[1:] != (*self.imgsz, 3):
            raise InputError("images", f"are {batch.dtype} {batch.shape}", f"uint8 of {self.imgsz}")
        codes = self.extension.quantize_input(batch)
        heads = [self.model.run(codes[k : k + 1])[0] for k in range(len(codes))]
        return self.extension.dequantize(np.concatenate(heads))


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
    if imgsz is not None and tuple(imgsz) != extension.imgsz:
        height, width = extension.imgsz
        raise InputError("imgsz", f"is {imgsz[0]}x{imgsz[1]}", f"{height}x{width}, the model's own")
    return IntegerPredictor(model, extension)


def read_extension(path: PathLike, model: Model) -> Extension:
    """What the integers mean: from `ext` beside the model, else from the bundle's manifest."""
    folder = model_files(path)[0].parent
    source, manifest = folder / EXT, folder.parent.parent / MANIFEST
    if source.is_file() or not manifest.is_file():
        content = read_json(source)
    else:
        # A bundle's folder holds nothing but the two files, so that they alone make its hash.
        source = manifest
        data = read_bytes(manifest, bundle_manifest.LIMIT)
        content = bundle_manifest.decode(data, str(manifest)).get("extension")
    extension = Extension.from_dict(content, str(source))
    check_extension(extension, model.graph, str(source))
    return extension
