"""Pixels in, detections out, whatever runs behind.

A predictor is found by entry point (group `yolo_core.predictors`), so whoever evaluates a model
needs to know no package but this one: yolo-core brings the float checkpoint, yolo-cvm the integer
model folder. What they have in common (decoding, suppression, the way back to the original
image) is done here once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import PathLike
from yolo_core.plugins import installed
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.boxes import NmsSettings, detections
from yolo_core.yolo.letterbox import MODES, Letterbox, Resize, resize

ENTRY_POINTS = "yolo_core.predictors"
FOREIGN_ENDINGS = (".pt", ".pth", ".onnx", ".safetensors", ".npz")


class Predictor(Protocol):
    """A network that is ready to run.

    imgsz: (height, width) of its input. kind: "float" or "integer". digest: sha256 over the files
    that it was made of, 64 hexadecimal digits.
    """

    architecture: Architecture
    imgsz: tuple[int, int]
    kind: str
    digest: str

    def logits(self, batch: Array) -> Array:
        """uint8 [B, height, width, 3] RGB letterboxed → raw numbers [B, N, 5 + nc].

        Rows by level (strides 8, 16, 32), anchor, y, x; columns x y w h objectness classes,
        before any sigmoid.
        """
        ...


@runtime_checkable
class Decider(Protocol):
    """A predictor that may decide by itself: what lies between pixels and boxes is its own affair.

    decided: the settings that the model has built in; None where it has none, and whoever calls
    chooses them.
    """

    decided: NmsSettings | None

    def detections(self, batch: Array, settings: NmsSettings) -> list[Array]:
        """uint8 [B, height, width, 3] RGB letterboxed → detections [n, 6] of each image.

        Columns as of `yolo_core.yolo.boxes.detections`. InputError where the model has other
        settings built in (see `settle`).
        """
        ...

    def undecided(self) -> Predictor:
        """The same network with the host deciding from its rows."""
        ...


class Opener(Protocol):
    """What an entry point of the group names: an object that recognises and opens models."""

    def accepts(self, path: PathLike) -> bool:
        """Whether `path` looks like a model of this kind (a quick look, nothing is loaded)."""
        ...

    def open(
        self,
        path: PathLike,
        imgsz: tuple[int, int] | None,
        threads: int | None,
        device: str,
    ) -> Predictor:
        """The model, loaded. InputError when it is damaged or cannot run as asked."""
        ...


def openers() -> Iterator[tuple[str, Opener]]:
    """Name and opener of every installed kind of model, by name; loaded one at a time."""
    for point in installed(ENTRY_POINTS):
        yield point.name, point.load()()


def open_predictor(
    path: PathLike,
    imgsz: tuple[int, int] | None = None,
    threads: int | None = None,
    device: str = "cpu",
) -> Predictor:
    """The model at `path`, whatever its kind.

    imgsz: (height, width); None takes the model's own, or 640. threads: None leaves it to the
    library behind. device: "cpu" or "gpu:0" (float models).
    """
    kinds = []
    for kind, opener in openers():
        if opener.accepts(path):
            return opener.open(path, imgsz, threads, device)
        kinds.append(kind)
    raise InputError(
        path,
        "is not a model that can be opened here",
        foreign_weights(path) or f"one of the kinds: {', '.join(kinds)}",
    )


def foreign_weights(path: PathLike) -> str | None:
    """What to do with a file of weights of another framework; None where it is none."""
    if not str(path).lower().endswith(FOREIGN_ENDINGS):
        return None
    return f"a checkpoint: yolo-port convert {path} --out weights/ makes one"


def mode_of(predictor: Predictor) -> str:
    """How the images of this model are fitted, "letterbox" or "squash"; what says nothing
    letterboxes. An integer model says it in its `ext`."""
    return str(getattr(predictor, "mode", MODES[0]))


def resize_of(predictor: Predictor) -> Resize:
    """The function that resizes the images of this model: its own, with the bytes of
    `yolo_core.yolo.letterbox.resize`, or that."""
    function: Resize = getattr(predictor, "resize", resize)
    return function


def own_imgsz(predictor: Predictor) -> tuple[int, int] | None:
    """The (height, width) that this model was made for; None where nothing says it."""
    size = getattr(predictor, "own_imgsz", None)
    return None if size is None else (int(size[0]), int(size[1]))


def decision_of(predictor: Predictor) -> NmsSettings | None:
    """What the model itself decides by; None where the host decides."""
    return predictor.decided if isinstance(predictor, Decider) else None


def settle(
    predictor: Predictor,
    usual: NmsSettings,
    conf: float | None = None,
    iou: float | None = None,
    max_det: int | None = None,
    agnostic: bool | None = None,
) -> NmsSettings:
    """The settings of a run. usual: what holds where a user says nothing and the host decides.

    A model that decides by itself gives what it has built in; of that a user can ask for less
    (a higher confidence, fewer boxes). InputError for anything else.
    """
    said = {"conf": conf, "iou": iou, "max_det": max_det, "agnostic": agnostic}
    wishes: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
    settings = replace(decision_of(predictor) or usual, **wishes)
    check_settings(predictor, settings)
    return settings


def display_settings(
    predictor: Predictor,
    conf: float | None = None,
    iou: float | None = None,
    max_det: int | None = None,
    agnostic: bool | None = None,
) -> NmsSettings:
    """The settings of a run whose boxes are shown to people; see `settle`.

    A model that decides from a lower score than people want to see, as one does that is to be
    scored by COCO's rules, shows its boxes from the usual score on unless `conf` asks for more.
    """
    usual, built_in = NmsSettings.for_display(), decision_of(predictor)
    if conf is None and built_in is not None:
        conf = max(built_in.conf, usual.conf)
    return settle(predictor, usual, conf, iou, max_det, agnostic)


def unshown(predictor: Predictor, settings: NmsSettings) -> str | None:
    """A sentence about the boxes that a model decided on and these settings leave out, or None."""
    built_in = decision_of(predictor)
    if built_in is None or built_in.conf >= settings.conf:
        return None
    return (
        f"Boxes of a score below {settings.conf:g} are left out; the model decides from "
        f"{built_in.conf:g} on: --conf {built_in.conf:g} shows them all."
    )


def check_settings(predictor: Predictor, settings: NmsSettings) -> None:
    """Refuse settings by which the model itself cannot decide."""
    built_in = decision_of(predictor)
    if built_in is None:
        return
    for name, wished, own, good in (
        ("conf", settings.conf, built_in.conf, settings.conf >= built_in.conf),
        ("iou", settings.iou, built_in.iou, settings.iou == built_in.iou),
        ("max-det", settings.max_det, built_in.max_det, settings.max_det <= built_in.max_det),
        ("multi-label", settings.multi_label, built_in.multi_label,
         settings.multi_label == built_in.multi_label),
        ("agnostic", settings.agnostic, built_in.agnostic, settings.agnostic == built_in.agnostic),
    ):  # fmt: skip
        if not good:
            raise InputError(
                name, f"is {wished}", f"what the model's graph decides by, {own}, or its rows"
            )


def detect_batch(
    predictor: Predictor,
    batch: Array,
    settings: NmsSettings,
    classes: Sequence[int] | None = None,
) -> list[Array]:
    """Detections [n, 6] (input pixels) of each image of uint8 [B, height, width, 3].

    classes: boxes of these alone. InputError where the model has other settings built in.
    """
    if not isinstance(predictor, Decider):
        return _decided_here(predictor, batch, settings, classes)
    if classes is None:
        return predictor.detections(batch, settings)
    if predictor.decided is None:
        return _decided_here(predictor.undecided(), batch, settings, classes)
    whole = replace(settings, max_det=predictor.decided.max_det)
    found = predictor.detections(batch, whole)
    kept = (boxes[np.isin(boxes[:, 5], list(classes))] for boxes in found)
    return [boxes[: settings.max_det] for boxes in kept]


def _decided_here(
    predictor: Predictor, batch: Array, settings: NmsSettings, classes: Sequence[int] | None
) -> list[Array]:
    return [
        detections(logits, predictor.architecture, predictor.imgsz, settings, classes)
        for logits in predictor.logits(batch)
    ]


def detect(
    predictor: Predictor,
    image: Array,
    settings: NmsSettings | None = None,
    mode: str | None = None,
    classes: Sequence[int] | None = None,
) -> Array:
    """Detections float64 [n, 6] of one RGB image: x1 y1 x2 y2 in its own pixels, score, class.

    settings: None takes what a person wants to see (`display_settings`). mode: None fits
    the image as the model says. classes: boxes of these alone; None is all.
    """
    mode = mode or mode_of(predictor)
    fit = Letterbox(*predictor.imgsz, mode=mode, resize=resize_of(predictor))
    canvas, placement = fit.apply(image)
    settings = settings or display_settings(predictor)
    found = detect_batch(predictor, canvas[None], settings, classes)[0]
    found[:, :4] = placement.to_image(found[:, :4])
    return found
