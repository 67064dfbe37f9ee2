"""Boxes painted into pixels, for annotated pictures, videos and the sheets of a training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from yolo_core.arrays import Array
from yolo_core.media.lettering import lettering
from yolo_core.yolo.letterbox import opencv

#: One colour per class in turn, RGB; dark enough for white letters.
_PALETTE = (
    (0, 103, 165), (190, 70, 0), (0, 121, 90), (107, 63, 160), (179, 38, 30),
    (110, 96, 0), (0, 118, 130), (160, 40, 110), (80, 90, 100), (130, 80, 40),
)  # fmt: skip
#: Height of letters of the fonts, in pixels, that look as large as OpenCV's of scale 1.
_LETTER_PIXELS = 32


@dataclass(frozen=True)
class LabelledBox:
    """corners: x1, y1, x2, y2 in pixels. text: what its label says. label: its class index."""

    corners: Sequence[float]
    text: str
    label: int


def labelled(
    detections: Array, names: Sequence[str], hide_labels: bool = False
) -> list[LabelledBox]:
    """Detections [n, 6] (x1 y1 x2 y2, score, class) with the name of the class and the score.

    hide_labels: boxes without a text.
    """
    return [
        LabelledBox(corners, "" if hide_labels else f"{names[int(label)]} {score:.2f}", int(label))
        for *corners, score, label in detections.tolist()
    ]


def draw(image: Array, boxes: Iterable[LabelledBox], line_width: int | None = None) -> Array:
    """A copy of the uint8 [H, W, 3] RGB picture with the boxes, the first one on top.

    line_width: of the frames, in pixels; None lets it grow with the picture.
    """
    cv2 = opencv()
    canvas = np.ascontiguousarray(image).copy()
    # Lines and letters grow with the picture, so that they look alike in a thumbnail.
    line = line_width or max(1, round((image.shape[0] + image.shape[1]) / 600))
    size = max(0.4, (image.shape[0] + image.shape[1]) / 3000)
    for box in reversed(list(boxes)):
        color = _PALETTE[box.label % len(_PALETTE)]
        x1, y1, x2, y2 = (round(value) for value in box.corners)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), color, line, cv2.LINE_AA)
        if box.text:
            _write(canvas, box.text, max(0, x1 - line // 2), max(0, y1), size, color)
    return canvas


def _write(
    canvas: Array, text: str, x: int, y: int, size: float, color: tuple[int, int, int]
) -> None:
    """White letters on a plate that stands on the line y, or hangs from it where none fits."""
    cv2 = opencv()
    stroke = max(1, round(size * 1.5))
    ink = None if text.isascii() else lettering(text, max(9, round(_LETTER_PIXELS * size)))
    if ink is None:
        (width, height), under = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, stroke)
        pad = under // 2 + 1
    else:
        (height, width), pad = ink.shape, 1
    left = min(x, max(0, canvas.shape[1] - width - 2 * pad))
    base = y if y >= height + 2 * pad else y + height + 2 * pad
    top = base - height - 2 * pad
    cv2.rectangle(canvas, (left, top), (left + width + 2 * pad, base), color, -1)
    if ink is None:
        cv2.putText(
            canvas, text, (left + pad, base - pad), cv2.FONT_HERSHEY_SIMPLEX, size,
            (255, 255, 255), stroke, cv2.LINE_AA,
        )  # fmt: skip
        return
    place = canvas[top + pad : base - pad, left + pad : left + pad + width]
    ink = ink[: place.shape[0], : place.shape[1], None]
    place[:] = place + ((255 - place.astype(np.int32)) * ink // 255).astype(np.uint8)


def encode_picture(image: Array, ending: str = ".jpg") -> bytes:
    """The bytes of an image file. image: uint8 [H, W, 3] RGB. ending: ".jpg" or ".png"."""
    done, data = opencv().imencode(ending, np.ascontiguousarray(image[:, :, ::-1]))
    assert done
    return bytes(data)
