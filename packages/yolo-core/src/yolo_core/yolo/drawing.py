"""Boxes painted into pixels, for annotated pictures, videos and the sheets of a training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from yolo_core.arrays import Array
from yolo_core.yolo.letterbox import opencv

#: One colour per class in turn, RGB; dark enough for white letters.
_PALETTE = (
    (0, 103, 165), (190, 70, 0), (0, 121, 90), (107, 63, 160), (179, 38, 30),
    (110, 96, 0), (0, 118, 130), (160, 40, 110), (80, 90, 100), (130, 80, 40),
)  # fmt: skip


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
    stroke = max(1, round(size * 1.5))
    for box in reversed(list(boxes)):
        color = _PALETTE[box.label % len(_PALETTE)]
        x1, y1, x2, y2 = (round(value) for value in box.corners)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), color, line, cv2.LINE_AA)
        if not box.text:
            continue
        # OpenCV's letters are ASCII only.
        text = box.text.encode("ascii", "replace").decode()
        (width, height), under = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, stroke)
        pad = under // 2 + 1
        left = min(max(0, x1 - line // 2), max(0, canvas.shape[1] - width - 2 * pad))
        base = y1 if y1 >= height + 2 * pad else y1 + height + 2 * pad
        cv2.rectangle(
            canvas, (left, base - height - 2 * pad), (left + width + 2 * pad, base), color, -1
        )
        cv2.putText(
            canvas, text, (left + pad, base - pad), cv2.FONT_HERSHEY_SIMPLEX, size,
            (255, 255, 255), stroke, cv2.LINE_AA,
        )  # fmt: skip
    return canvas


def encode_picture(image: Array, ending: str = ".jpg") -> bytes:
    """The bytes of an image file. image: uint8 [H, W, 3] RGB. ending: ".jpg" or ".png"."""
    done, data = opencv().imencode(ending, np.ascontiguousarray(image[:, :, ::-1]))
    assert done
    return bytes(data)
