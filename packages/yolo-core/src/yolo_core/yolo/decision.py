"""How an integer model decides by itself: the settings that its graph has built in.

A model whose graph decides puts out the final boxes [1, max_det, 6] as integers: class, score,
x1, y1, x2, y2, best first, and -1 in all six columns behind the last box. `decision_graph` writes
these settings as operators; here they are data, as they stand in `ext` under `detection.boxes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.yolo.boxes import NmsSettings

FORM = "boxes-1"
LABELS = ("best", "multi")
#: Columns of a box: class, score, x1, y1, x2, y2.
COLUMNS = 6
MAX_DET_LIMIT = 1000
#: Suppression costs up to max_det * top_k overlaps, which gas does not charge.
TOP_K_LIMIT = 4096
#: Rows that keep all their classes where a box may have several.
_MULTI_ROWS = 2000
#: Candidates (row and class) of the multi-label form.
_MULTI_CANDIDATES = 1 << 20
#: The smallest confidence that has a logarithm here; smaller ones are raised to it.
LEAST_CONF = 2.0**-16
#: Below it a step of 2^-16 is too coarse for a score.
_FINE_CONF = 0.01
PIXEL_BITS = 6
_SCORE_BITS = (16, 24)


@dataclass(frozen=True)
class Decision:
    """What the graph of a model decides by.

    conf: smallest score (objectness times class probability), exclusive, from 2^-16 to below 1.
    iou: overlap in whole percent, 1 to 100, from which on the weaker box of a class goes.
    max_det: boxes put out, 1 to 1000. top_k: candidates that enter suppression, max_det to 4096.
    agnostic: boxes of different classes suppress each other too. labels: "best", or "multi"
    where a box may count for several classes. select: rows of best objectness whose boxes and
    classes are looked at. pixel_bits, score_bits: fraction bits of corners and scores.
    """

    conf: float
    iou: int
    max_det: int
    top_k: int
    agnostic: bool
    labels: str
    select: int
    pixel_bits: int
    score_bits: int

    @classmethod
    def of(
        cls,
        rows: int,
        classes: int,
        conf: float = 0.25,
        iou: float = 45,
        max_det: int = 100,
        top_k: int = 1000,
        agnostic: bool = False,
        labels: str = "best",
    ) -> Decision:
        """The decision of a model with so many rows and classes; InputError out of range.

        conf below 2^-16, 0 included, becomes 2^-16.
        """
        _require(0 <= conf < 1, "conf", conf, "a number from 0 to below 1")
        _require(iou == int(iou), "iou", iou, "a whole percent from 1 to 100, as 45")
        _require(labels in LABELS, "labels", labels, " or ".join(LABELS))
        most = top_k
        if labels == "multi":
            most = min(_MULTI_ROWS, max(_MULTI_CANDIDATES // classes, 1))
        decision = cls(
            conf=max(float(conf), LEAST_CONF),
            iou=int(iou),
            max_det=max_det,
            top_k=top_k,
            agnostic=agnostic,
            labels=labels,
            select=max(min(rows, most), 1),
            pixel_bits=PIXEL_BITS,
            score_bits=_SCORE_BITS[conf < _FINE_CONF],
        )
        decision.check()
        return decision

    def check(self) -> None:
        """InputError naming the first setting that is out of range."""
        _require(LEAST_CONF <= self.conf < 1, "conf", self.conf, "a number from 2^-16 to below 1")
        _require(1 <= self.iou <= 100, "iou", self.iou, "a whole percent from 1 to 100, as 45")
        _require(
            1 <= self.max_det <= MAX_DET_LIMIT, "max-det", self.max_det, f"1 to {MAX_DET_LIMIT}"
        )
        _require(
            self.max_det <= self.top_k <= TOP_K_LIMIT,
            "top-k", self.top_k, f"max-det, which is {self.max_det}, to {TOP_K_LIMIT}",
        )  # fmt: skip
        _require(self.labels in LABELS, "labels", self.labels, " or ".join(LABELS))
        _require(1 <= self.select <= TOP_K_LIMIT, "select", self.select, f"1 to {TOP_K_LIMIT}")
        _require(self.pixel_bits == PIXEL_BITS, "pixel_bits", self.pixel_bits, f"{PIXEL_BITS}")
        _require(self.score_bits in _SCORE_BITS, "score_bits", self.score_bits, "16 or 24")

    def nms(self) -> NmsSettings:
        """The same in the words of a host that decides."""
        return NmsSettings(
            conf=self.conf,
            iou=self.iou / 100,
            max_det=self.max_det,
            multi_label=self.labels == "multi",
            agnostic=self.agnostic,
        )

    def overlaps(self) -> int:
        """The most overlaps that one suppression works out."""
        return self.max_det * self.top_k - self.max_det * (self.max_det + 1) // 2

    def read(self, boxes: Array) -> Array:
        """int32 [max_det, 6] of the graph → detections float64 [n, 6], best first.

        Columns x1 y1 x2 y2 (pixels of the network's input), score (0 to 1), class index.
        """
        ends = np.flatnonzero(boxes[:, 0] < 0)
        found = boxes[: ends[0] if len(ends) else len(boxes)].astype(np.float64)
        corners = np.ldexp(found[:, 2:], -self.pixel_bits)
        score = np.ldexp(found[:, 1:2], -self.score_bits)
        return np.concatenate((corners, score, found[:, :1]), axis=1)

    def to_dict(self) -> dict[str, Any]:
        """The content of `detection.boxes` in `ext`."""
        return {"form": FORM, **self.__dict__}

    @classmethod
    def from_dict(cls, data: Any, source: str) -> Decision:
        """From the content of `detection.boxes`. source: the file, for the error."""
        if not isinstance(data, dict) or data.get("form") != FORM:
            form = data.get("form") if isinstance(data, dict) else data
            raise InputError(source, f"has boxes of the form {form!r:.60}", f"{FORM!r}")
        kinds = cls.__annotations__
        if set(data) != {"form", *kinds}:
            raise InputError(
                source, "has missing or unknown keys in `boxes`", ", ".join(["form", *kinds])
            )
        for key, kind in kinds.items():
            if type(data[key]).__name__ != kind:
                raise InputError(source, f"has boxes.{key} = {data[key]!r:.60}", f"{kind}")
        decision = cls(**{key: data[key] for key in kinds})
        try:
            decision.check()
        except InputError as error:
            raise InputError(source, f"has in `boxes` {error.source} {error.cause}",
                             error.expected) from error  # fmt: skip
        return decision


def _require(good: bool, name: str, value: object, expected: str) -> None:
    if not good:
        raise InputError(name, f"is {value}", expected)
