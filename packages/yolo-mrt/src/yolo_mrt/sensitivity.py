"""What one quantized tensor costs the detections: the float network with that tensor alone coded.

Two distances to the float network's own answer, over the rows where it sees something: the squared
difference of the scores, and of the boxes in units of their size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from yolo_core.boxes import decode, rows_of, sigmoid
from yolo_core.mxnet_door import mxnet
from yolo_mrt.float_pass import FloatNet
from yolo_mrt.net import Layer
from yolo_mrt.scheme import Codes
from yolo_mrt.source import Source
from yolo_mrt.tables import CODE_LIMIT

#: Rows below this objectness are background, rows below this score have no box worth comparing.
OBJECT, BOX = 0.02, 0.05


def through_codes(value: Any, codes: Codes) -> Any:
    """An NDArray [1, C, h, w] as its codes would give it back."""
    nd = mxnet().nd

    def column(array: np.ndarray) -> Any:
        return nd.array(np.asarray(array, np.float32).reshape(1, -1, 1, 1))

    code = nd.floor(nd.broadcast_mul(value, column(1 / codes.scale)) + 0.5)
    code = nd.broadcast_maximum(code, column(-CODE_LIMIT - codes.zero))
    code = nd.broadcast_minimum(code, column(CODE_LIMIT - codes.zero))
    return nd.broadcast_mul(code, column(codes.scale))


class Judge:
    """The float network's answers on a few images, and how far a change takes it from them."""

    def __init__(
        self, source: Source, planes: Sequence[np.ndarray], imgsz: tuple[int, int]
    ) -> None:
        self.net = FloatNet(source.net)
        self._source, self._planes, self._imgsz = source, planes, imgsz
        self._answers = [rows_of(self.net.run(p))[0].astype(np.float64) for p in planes]

    def distance(self, change: Any = None, read: Any = None) -> tuple[float, float]:
        """(scores, boxes): mean squared distances per image under these hooks of `FloatNet.run`."""
        pairs = [
            self.compare(answer, rows_of(self.net.run(p, change=change, read=read))[0])
            for p, answer in zip(self._planes, self._answers)
        ]
        return float(np.mean([p[0] for p in pairs])), float(np.mean([p[1] for p in pairs]))

    def compare(self, exact: np.ndarray, other: np.ndarray) -> tuple[float, float]:
        """The two distances of raw rows [N, 5 + nc]."""
        other = other.astype(np.float64)
        rows = np.flatnonzero(sigmoid(exact[:, 4]) > OBJECT)
        scores = sigmoid(exact[rows, 4:5]) * sigmoid(exact[rows, 5:])
        changed = sigmoid(other[rows, 4:5]) * sigmoid(other[rows, 5:])
        boxed = rows[scores.max(axis=1, initial=0) > BOX]
        architecture = self._source.architecture
        boxes = decode(exact[boxed], boxed, architecture, self._imgsz)
        moved = decode(other[boxed], boxed, architecture, self._imgsz)
        sides = np.maximum(np.tile(boxes[:, 2:] - boxes[:, :2], (1, 2)), 1.0)
        return (
            float(((scores - changed) ** 2).sum()),
            float((((boxes - moved) / sides) ** 2).sum()),
        )


def slice_reader(conv: str, start: int, codes: Codes) -> Any:
    """A `read` hook: channels from `start` on of what `conv` reads go through these codes."""
    nd = mxnet().nd
    count = len(codes.scale)

    def read(layer: Layer, value: Any) -> Any:
        if layer.name != conv:
            return value
        parts: list[Any] = []
        if start:
            parts.append(nd.slice_axis(value, axis=1, begin=0, end=start))
        middle = nd.slice_axis(value, axis=1, begin=start, end=start + count)
        parts.append(through_codes(middle, codes))
        if start + count < value.shape[1]:
            parts.append(nd.slice_axis(value, axis=1, begin=start + count, end=None))
        return nd.concat(*parts, dim=1)

    return read
