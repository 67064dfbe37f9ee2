"""Boxes painted into pixels, for annotated pictures and videos."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from yolo_core.arrays import Array
from yolo_core.yolo.letterbox import opencv

#: One colour per class in turn, RGB; dark enough for white letters.
_PALETTE = (
    (0, 103, 165), (190, 70, 0), (0, 121, 90), (107, 63, 160), (179, 38, 30),
    (110, 96, 0), (0, 118, 130), (160, 40, 110), (80, 90, 100), (130, 80, 40),
)  # fmt: skip


def annotate(image: Array, detections: Array, names: Sequence[str]) -> Array:
    """A copy of the picture with its detections drawn, the strongest on top.

    image: uint8 [H, W, 3] RGB. detections: float64 [n, 6] x1 y1 x2 y2 in pixels, score, class,
    best first. names: of the classes.
    """
    cv2 = opencv()
    canvas = np.ascontiguousarray(image).copy()
    # Lines and letters grow with the picture, so that they look alike in a thumbnail.
    line = max(1, round((image.shape[0] + image.shape[1]) / 600))
    size = max(0.4, (image.shape[0] + image.shape[1]) / 3000)
    for x1, y1, x2, y2, score, label in detections[::-1].tolist():
        color = _PALETTE[int(label) % len(_PALETTE)]
        corner, opposite = (round(x1), round(y1)), (round(x2), round(y2))
        cv2.rectangle(canvas, corner, opposite, color, line, cv2.LINE_AA)
        # OpenCV's letters are ASCII only.
        text = f"{names[int(label)]} {score:.2f}".encode("ascii", "replace").decode()
        stroke = max(1, round(size * 1.5))
        (width, height), under = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, stroke)
        pad = under // 2 + 1
        left = min(max(0, corner[0] - line // 2), max(0, canvas.shape[1] - width - 2 * pad))
        base = corner[1] if corner[1] >= height + 2 * pad else corner[1] + height + 2 * pad
        cv2.rectangle(
            canvas, (left, base - height - 2 * pad), (left + width + 2 * pad, base), color, -1
        )
        cv2.putText(
            canvas, text, (left + pad, base - pad), cv2.FONT_HERSHEY_SIMPLEX, size,
            (255, 255, 255), stroke, cv2.LINE_AA,
        )  # fmt: skip
    return canvas


def encode(image: Array, ending: str) -> bytes:
    """The bytes of an image file. image: uint8 [H, W, 3] RGB. ending: ".jpg" or ".png"."""
    cv2 = opencv()
    done, data = cv2.imencode(ending, np.ascontiguousarray(image[:, :, ::-1]))
    assert done
    return bytes(data.tobytes())
