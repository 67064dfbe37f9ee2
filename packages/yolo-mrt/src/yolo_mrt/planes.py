"""Pictures as the networks take them: fitted, as planes of colour, as floats or as codes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from yolo_core.arrays import Array
from yolo_core.progress import progress
from yolo_core.yolo.letterbox import Letterbox, read_image
from yolo_mrt.calibrate.scheme import INPUT_ZERO
from yolo_mrt.calibrate.tables import CODE_LIMIT
from yolo_mrt.calibrate.views import views
from yolo_mrt.network.source import Source
from yolo_mrt.pictures import spread
from yolo_mrt.settings import Settings


def canvases(
    settings: Settings, label: str, count: int | None = None, each: int = 1
) -> Iterator[Array]:
    """Fitted images uint8 [h, w, 3] RGB, `count` of them spread evenly, each seen in `each` ways
    (see `views`), with progress."""
    images = settings.images if count is None else spread(settings.images, count)
    fit = Letterbox(*settings.imgsz, mode=settings.letterbox)
    for image in progress(images, label, unit="images"):
        yield from views(read_image(image), fit, each)


def _planes(canvas: Array, color: str) -> Array:
    channels = canvas if color == "rgb" else canvas[..., ::-1]
    return np.ascontiguousarray(channels.transpose(2, 0, 1)[None])


def float_planes(
    settings: Settings, source: Source, label: str, count: int | None = None, each: int = 1
) -> Iterator[Array]:
    """Images as the float network takes them: float32 [1, 3, h, w] in 0…1."""
    for canvas in canvases(settings, label, count, each):
        yield _planes(canvas, source.color).astype(np.float32) / np.float32(255)


def code_planes(
    settings: Settings, source: Source, label: str, count: int | None = None, each: int = 1
) -> Iterator[Array]:
    """Images as the integer model takes them: int32 [1, 3, h, w] in ±127."""
    for canvas in canvases(settings, label, count, each):
        planes = _planes(canvas, source.color).astype(np.int32)
        yield np.clip(planes + INPUT_ZERO, -CODE_LIMIT, CODE_LIMIT)
