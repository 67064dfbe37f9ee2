"""The YOLOv5 loss on the device: which cells answer for which box, and how wrong they are.

One hybrid block without a loop over boxes or levels. Every target meets every anchor of every
level and up to three cells (its own and the nearest neighbour in x and in y); those that match
are a mask over a fixed-size array, so nothing has to come back to the host to be counted.

Objectness targets are the IoU of the matched prediction; where several boxes fall on one cell
and anchor, the one counts that YOLOv5 writes last: it goes through the offsets (own cell, left,
upper, right, lower), then through the boxes. A box whose centre lies exactly on a line of the grid
matches its own cell twice there, as right or lower neighbour too, and so it does here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.mxnet.importing import mxnet
from yolo_core.mxnet.network import constant
from yolo_core.yolo.architecture import Architecture
from yolo_train.hyp import Hyp

mx: Any = mxnet()
_HybridBlock: Any = mx.gluon.HybridBlock

#: Weight of the objectness loss of each level, the finest first: of three levels, and of others.
BALANCE = (4.0, 1.0, 0.4)
_OTHER_BALANCE = (4.0, 1.0, 0.25, 0.06, 0.02, 0.01, 0.01, 0.01)
#: The gains of `Hyp` are meant for this many levels, classes, pixels.
_NOMINAL_LEVELS, _NOMINAL_CLASSES, _NOMINAL_IMGSZ = 3, 80, 640
_EPSILON = 1e-7
#: Share of the positives in the focal loss, as in its paper and in YOLOv5.
_FOCAL_ALPHA = 0.25
_CELLS = 3
#: Numbers of the offsets in YOLOv5's order, of which the last written counts.
_BEFORE, _AFTER, _OFFSETS = (1, 2), (3, 4), 5
#: What a match says of its box: the target's centre and size, the anchor's size, in grid cells.
_BOX = ("x", "y", "w", "h", "anchor_w", "anchor_h")
#: More targets than a batch can have; the order of writing is exact in float64 below it.
_MAX_TARGETS = 1 << 20


def balance(levels: int) -> tuple[float, ...]:
    """Weight of the objectness loss of each of so many levels (YOLOv5's numbers)."""
    return BALANCE if levels == len(BALANCE) else _OTHER_BALANCE[:levels]


def scaled_gains(
    hyp: Hyp, nc: int, imgsz: int, levels: int = _NOMINAL_LEVELS
) -> tuple[float, float, float]:
    """Gains of the box, objectness and class losses for this many classes, pixels and levels."""
    share = _NOMINAL_LEVELS / levels
    return (
        hyp.box * share,
        hyp.obj * (imgsz / _NOMINAL_IMGSZ) ** 2 * share,
        hyp.cls * nc / _NOMINAL_CLASSES * share,
    )


class DetectionLoss(_HybridBlock):  # type: ignore[misc]
    """Loss of a batch for inputs of one size.

    Inputs: the raw head of each level [B, anchors * no, h, w] and targets [T, 6] as in
    `batches.Batch`, the targets last. Outputs: loss [1], the weighted sum times B, and parts [3]:
    weighted box, objectness and class loss, without gradient.
    """

    def __init__(
        self, architecture: Architecture, imgsz: tuple[int, int], batch: int, hyp: Hyp,
        gains: tuple[float, float, float], own: bool = False,
    ) -> None:  # fmt: skip
        """own: use the compiled operators of this package; see `operators.usable`."""
        super().__init__(prefix="")
        self._own = own
        self._nc, self._no, self._batch = architecture.nc, architecture.no, batch
        self._levels, self._anchors = architecture.levels, architecture.anchors_per_level
        self._hyp, self._gains = hyp, gains
        height, width = imgsz
        strides = np.array(architecture.strides, np.float64)
        grid_x, grid_y = width // strides, height // strides
        cells = (grid_x * grid_y).astype(np.int64)
        self._cells, self._places = tuple(cells.tolist()), int(cells.sum())
        anchors = np.array(architecture.anchors, np.float64) / strides[:, None, None]
        share = np.array(balance(self._levels)) / (batch * self._anchors * cells)
        constants: dict[str, Array] = {
            # per level [L, 1, 1]
            "grid_x": grid_x.reshape(-1, 1, 1),
            "grid_y": grid_y.reshape(-1, 1, 1),
            "level_start": (np.cumsum(cells) - cells).reshape(-1, 1, 1),
            # per level and anchor [L, A, 1]
            "anchor_w": anchors[:, :, 0:1],
            "anchor_h": anchors[:, :, 1:2],
            "anchor": np.tile(np.arange(self._anchors)[:, None], (self._levels, 1, 1)),
            # per place [1, 1, P]
            "objectness_share": np.repeat(share, cells).reshape(1, 1, -1),
        }
        if not own:
            # per number of a row [1, no]
            constants["column"] = np.arange(self._no).reshape(1, -1)
        with self.name_scope():
            for name, value in constants.items():
                setattr(self, name, constant(self.params, name, value))

    def hybrid_forward(self, F: Any, first: Any, *rest: Any, **constants: Any) -> tuple[Any, Any]:
        *levels, targets = (first, *rest)
        found = self._assign(F, F.BlockGrad(targets), **constants)
        if self._own:
            boxes, logits, objectness = self._pick_own(F, levels, found)
            ciou = F.yolo_ciou(boxes, *(found[name] for name in _BOX))
        else:
            boxes, logits, objectness = self._pick(F, levels, found, constants["column"])
            ciou = _ciou(F, boxes, found, self._levels)
        mask, count = found["mask"], found["count"]
        box = F.sum(F.sum(mask * (1 - ciou), axis=1) / count)
        target = self._objectness_target(F, found, F.BlockGrad(F.relu(ciou)))
        losses = _cross_entropy(F, objectness, target, self._hyp.obj_pw, self._hyp.fl_gamma)
        obj = F.sum(F.broadcast_mul(losses, constants["objectness_share"]))
        parts = [self._gains[0] * box, self._gains[1] * obj]
        if self._nc > 1:
            parts.append(self._gains[2] * self._classes(F, logits, found))
        else:
            parts.append(F.zeros_like(box))
        stacked = F.concat(*[F.reshape(part, (1,)) for part in parts], dim=0)
        return F.sum(stacked) * self._batch, F.BlockGrad(stacked)

    def _assign(
        self, F: Any, targets: Any, grid_x: Any, grid_y: Any, level_start: Any, anchor_w: Any,
        anchor_h: Any, anchor: Any, **_: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """Matches of every target with every level, anchor and 3 cells, as arrays [L, 3 A T]."""
        image, label, x, y, w, h = (
            F.reshape(F.slice_axis(targets, axis=1, begin=i, end=i + 1), (1, 1, -1))
            for i in range(6)
        )
        number = F.reshape(F.contrib.arange_like(targets, axis=0), (1, 1, -1))
        x, w = F.broadcast_mul(grid_x, x), F.broadcast_mul(grid_x, w)
        y, h = F.broadcast_mul(grid_y, y), F.broadcast_mul(grid_y, h)
        ratio_w, ratio_h = F.broadcast_div(w, anchor_w), F.broadcast_div(h, anchor_h)
        worst = F.maximum(F.maximum(ratio_w, 1 / ratio_w), F.maximum(ratio_h, 1 / ratio_h))
        match = F.broadcast_mul(worst < self._hyp.anchor_t, label >= 0)
        step_x, near_x, again_x = _neighbour(F, x, grid_x)
        step_y, near_y, again_y = _neighbour(F, y, grid_y)
        nowhere = F.zeros_like(x)
        cell_x = _clip_cell(F, F.floor(x), [nowhere, step_x, nowhere], grid_x)
        cell_y = _clip_cell(F, F.floor(y), [nowhere, nowhere, step_y], grid_y)
        # How often each cell is matched: 0 or 1, the own cell up to three times.
        often = (1 + again_x + again_y, near_x, near_y)
        usable = [F.broadcast_mul(match, times) for times in often]
        written = [
            F.maximum(_AFTER[0] * again_x, _AFTER[1] * again_y),
            _BEFORE[0] + (_AFTER[0] - _BEFORE[0]) * (step_x > 0),
            _BEFORE[1] + (_AFTER[1] - _BEFORE[1]) * (step_y > 0),
        ]
        place = [
            F.broadcast_add(F.broadcast_mul(row, grid_x) + column, level_start)
            for row, column in zip(cell_y, cell_x)
        ]
        mask = _flatten(F, usable)
        like = F.zeros_like(match)
        spread = {
            "x": [F.broadcast_add(like, x - column) for column in cell_x],
            "y": [F.broadcast_add(like, y - row) for row in cell_y],
            "w": [F.broadcast_add(like, w)] * _CELLS,
            "h": [F.broadcast_add(like, h)] * _CELLS,
            "place": [F.broadcast_add(like, value) for value in place],
            "image": [F.broadcast_add(like, image)] * _CELLS,
            "label": [F.broadcast_add(like, label)] * _CELLS,
            "anchor": [F.broadcast_add(like, anchor)] * _CELLS,
            "anchor_w": [F.broadcast_add(like, anchor_w)] * _CELLS,
            "anchor_h": [F.broadcast_add(like, anchor_h)] * _CELLS,
            "offset": [F.broadcast_add(like, value) for value in written],
            "number": [F.broadcast_add(like, number)] * _CELLS,
        }
        found = {name: _flatten(F, values) for name, values in spread.items()}
        found["mask"] = mask
        found["count"] = F.maximum(F.sum(mask, axis=1), F.ones_like(F.sum(mask, axis=1)))
        # float32 counts exactly to 2**24; a batch of large images has more places than that.
        slot = F.cast(found["image"] * self._anchors + found["anchor"], "int32")
        found["slot"], found["place"] = slot, F.cast(found["place"], "int32")
        return found

    def _pick(
        self, F: Any, levels: Sequence[Any], found: dict[str, Any], column: Any
    ) -> tuple[Any, Any, Any]:
        """What the loss reads of the heads: the raw numbers that answer for each match, boxes
        [L * 3 A T, 4] and classes [L * 3 A T, nc], and the raw objectness [B, A, P] of all places.
        """
        heads = [F.reshape(head, (0, self._anchors, self._no, -1)) for head in levels]
        rows = F.concat(*heads, dim=3)
        start = found["slot"] * (self._no * self._places) + found["place"]
        index = F.broadcast_add(F.reshape(start, (-1, 1)), F.cast(column, "int32") * self._places)
        numbers = F.take(F.reshape(rows, (-1,)), index, axis=0, mode="clip")
        return (
            F.slice_axis(numbers, axis=1, begin=0, end=4),
            F.slice_axis(numbers, axis=1, begin=5, end=self._no),
            F.reshape(F.slice_axis(rows, axis=2, begin=4, end=5), (0, 0, -1)),
        )

    def _pick_own(
        self, F: Any, levels: Sequence[Any], found: dict[str, Any]
    ) -> tuple[Any, Any, Any]:
        """The same by the compiled operator, with zeros where there is no match."""
        # In plain rows: MXNet would turn oneDNN's layout for each of two passes.
        heads = [F.reshape(head, (0, 0, -1)) for head in levels]
        slot, place = (F.cast(found[name], "float32") for name in ("slot", "place"))
        slot = (slot + 1) * (found["mask"] > 0) - 1
        return tuple(
            F.yolo_pick(
                *heads, slot, place,
                anchors=self._anchors, numbers=self._no, cells=self._cells,
            )
        )  # fmt: skip

    def _objectness_target(self, F: Any, found: dict[str, Any], iou: Any) -> Any:
        """[B, A, P]: IoU of the match that is written last at each place, 0 where none is."""
        total = self._batch * self._anchors * self._places
        mask = F.cast(F.reshape(found["mask"] > 0, (-1,)), "int32")
        place = F.reshape(found["slot"] * self._places + found["place"], (-1,))
        place = place * mask + (1 - mask) * total
        iou = F.reshape(iou, (-1,))
        offset, number = (
            F.cast(F.reshape(found[name], (-1,)), "float64") for name in ("offset", "number")
        )
        key = (F.cast(place, "float64") * _OFFSETS + offset) * _MAX_TARGETS + number
        order = F.argsort(key, axis=0, dtype="int32")
        place, iou = F.take(place, order), F.take(iou, order)
        following = F.concat(
            F.slice_axis(place, axis=0, begin=1, end=None), -F.ones((1,), dtype="int32"), dim=0
        )
        last = place != following
        last = F.cast(last, "int32")
        target = place * last + (1 - last) * total
        written = F.scatter_nd(iou, F.reshape(target, (1, -1)), shape=(total + 1,))
        return F.reshape(
            F.slice_axis(written, axis=0, begin=0, end=total),
            (self._batch, self._anchors, self._places),
        )

    def _classes(self, F: Any, logits: Any, found: dict[str, Any]) -> Any:
        """Mean cross-entropy of the class numbers of each level's matches, summed over levels."""
        wrong = 0.5 * self._hyp.label_smoothing
        truth = F.one_hot(
            F.reshape(found["label"], (-1,)), self._nc, on_value=1 - wrong, off_value=wrong
        )
        losses = _cross_entropy(F, logits, truth, self._hyp.cls_pw, self._hyp.fl_gamma)
        losses = F.sum(losses, axis=1)
        losses = F.reshape(losses, (self._levels, -1))
        return F.sum(F.sum(losses * found["mask"], axis=1) / found["count"]) / self._nc


def _neighbour(F: Any, position: Any, cells: Any) -> tuple[Any, Any, Any]:
    """Step (-1 or 1) to the nearest neighbour cell, 1.0 where that cell counts, and 1.0 where the
    position lies on a line of the grid and the own cell counts once more.
    """
    share = position - F.floor(position)
    rest = F.broadcast_sub(cells, position)
    before = (share < 0.5) * (position > 1)
    # By the distance from the other end, whose float32 rounding decides at the lines.
    beyond = (rest - F.floor(rest) < 0.5) * (rest > 1)
    again = beyond * (share < 0.5)
    after = beyond - again
    return after - before, after + before, again


def _clip_cell(F: Any, own: Any, steps: Any, cells: Any) -> Any:
    moved = [F.relu(own + step) for step in steps]
    return [F.broadcast_minimum(cell, cells - 1) for cell in moved]


def _flatten(F: Any, parts: Any) -> Any:
    """Arrays [L, A, T] → [L, 3 A T]."""
    return F.reshape(F.concat(*parts, dim=2), (0, -1))


def _cross_entropy(F: Any, logits: Any, truth: Any, positive_weight: float, gamma: float) -> Any:
    """Binary cross-entropy with logits; positives weigh `positive_weight`.

    gamma: above 0 it is the focal loss (Lin et al. 2017, eq. 5) with this exponent, for truths
    from 0 to 1: a number counts the less, the nearer its probability is to the truth.
    """
    softplus = F.Activation(logits, act_type="softrelu")
    if positive_weight == 1:
        losses = softplus - logits * truth
    else:
        positive = positive_weight * truth
        losses = (positive + 1 - truth) * softplus - logits * positive
    if gamma == 0:
        return losses
    found = F.sigmoid(logits)
    # 1 - p_t, kept from 0, where the slope of a power below 1 is infinite.
    missed = F.maximum(truth + found - 2 * truth * found, _EPSILON)
    share = (1 - _FOCAL_ALPHA) + (2 * _FOCAL_ALPHA - 1) * truth
    return losses * share * missed**gamma


def _ciou(F: Any, boxes: Any, found: dict[str, Any], levels: int) -> Any:
    """Complete IoU [L, 3 A T] of the decoded raw boxes with their targets, in grid cells."""
    x, y, w, h = (
        F.reshape(
            F.Activation(F.slice_axis(boxes, axis=1, begin=i, end=i + 1), act_type="sigmoid"),
            (levels, -1),
        )
        * 2
        for i in range(4)
    )
    x, y = x - 0.5, y - 0.5
    tx, ty, tw, th, anchor_w, anchor_h = (found[name] for name in _BOX)
    w, h = F.square(w) * anchor_w, F.square(h) * anchor_h
    x1, x2, y1, y2 = x - w / 2, x + w / 2, y - h / 2, y + h / 2
    tx1, tx2, ty1, ty2 = tx - tw / 2, tx + tw / 2, ty - th / 2, ty + th / 2
    overlap = F.relu(F.minimum(x2, tx2) - F.maximum(x1, tx1)) * F.relu(
        F.minimum(y2, ty2) - F.maximum(y1, ty1)
    )
    union = w * h + tw * th - overlap + _EPSILON
    iou = overlap / union
    hull_w = F.maximum(x2, tx2) - F.minimum(x1, tx1)
    hull_h = F.maximum(y2, ty2) - F.minimum(y1, ty1)
    diagonal = F.square(hull_w) + F.square(hull_h) + _EPSILON
    distance = F.square(tx - x) + F.square(ty - y)
    angles = F.arctan(tw / (th + _EPSILON)) - F.arctan(w / (h + _EPSILON))
    aspect = (4 / math.pi**2) * F.square(angles)
    weight = F.BlockGrad(aspect / (aspect - iou + (1 + _EPSILON)))
    return iou - (distance / diagonal + aspect * weight)
