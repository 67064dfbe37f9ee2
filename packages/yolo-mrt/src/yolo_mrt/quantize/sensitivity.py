"""What one quantized thing costs the detections: the float network with that thing alone coded.

Two distances to the float network's own answer, over the rows where it sees something: the squared
difference of the scores, and of the boxes in units of their size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.mxnet.importing import mxnet
from yolo_core.yolo.boxes import decode, rows_of
from yolo_core.yolo.elementary import sigmoid
from yolo_mrt.calibrate.float_pass import FloatNet
from yolo_mrt.calibrate.scheme import Codes
from yolo_mrt.calibrate.tables import CODE_LIMIT
from yolo_mrt.network.net import Layer
from yolo_mrt.network.source import Source

#: Rows below this objectness are background, rows below this score have no box worth comparing.
OBJECT, BOX = 0.02, 0.05


def through_codes(value: Any, codes: Codes) -> Any:
    """An NDArray [1, C, h, w] as its codes would give it back."""
    nd = mxnet().nd

    def column(array: Array) -> Any:
        return nd.array(np.asarray(array, np.float32).reshape(1, -1, 1, 1))

    code = nd.floor(nd.broadcast_mul(value, column(1 / codes.scale)) + 0.5)
    code = nd.broadcast_maximum(code, column(-CODE_LIMIT - codes.zero))
    code = nd.broadcast_minimum(code, column(CODE_LIMIT - codes.zero))
    return nd.broadcast_mul(code, column(codes.scale))


#: One thing quantized: of the float network and all tensors of a run, (tensor, its new value).
Trial = Callable[[FloatNet, Mapping[str, Any]], tuple[str, Any]]


def coded_tensor(name: str, codes: Codes) -> Trial:
    """The tensor goes through these codes."""
    return lambda net, values: (name, through_codes(values[name], codes))


def coded_read(conv: Layer, start: int, codes: Codes) -> Trial:
    """Channels from `start` on of what the convolution reads go through these codes."""
    nd = mxnet().nd

    def trial(net: FloatNet, values: Mapping[str, Any]) -> tuple[str, Any]:
        value = values[conv.inputs[0]]
        end = start + len(codes.scale)
        parts = [through_codes(nd.slice_axis(value, axis=1, begin=start, end=end), codes)]
        if start:
            parts.insert(0, nd.slice_axis(value, axis=1, begin=0, end=start))
        if end < value.shape[1]:
            parts.append(nd.slice_axis(value, axis=1, begin=end, end=None))
        return conv.name, net.layer(conv, [nd.concat(*parts, dim=1)])

    return trial


def coded_weight(conv: Layer, weight: Array) -> Trial:
    """The convolution has this weight, float [out, in, kh, kw]."""
    array = mxnet().nd.array(weight.astype(np.float32))
    return lambda net, values: (conv.name, net.layer(conv, [values[conv.inputs[0]]], array))


class Judge:
    """How far trials take the float network from its own answers."""

    def __init__(self, source: Source, imgsz: tuple[int, int]) -> None:
        self._net, self._source, self._imgsz = FloatNet(source.net), source, imgsz

    def distances(self, trials: Sequence[Trial], planes: Iterable[Array]) -> Array:
        """Mean over the images of (scores, boxes) of every trial: float64 [len(trials), 2]."""
        total, numbers = np.zeros((len(trials), 2)), self._source.architecture.no
        count = 0
        for plane in planes:
            values: dict[str, Any] = {}
            exact = rows_of(self._net.run(plane, values.__setitem__), numbers)[0].astype(np.float64)
            for index, trial in enumerate(trials):
                heads = self._net.rerun(values, *trial(self._net, values))
                total[index] += self._compare(exact, rows_of(heads, numbers)[0])
            count += 1
        return total / max(count, 1)

    def _compare(self, exact: Array, other: Array) -> tuple[float, float]:
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
