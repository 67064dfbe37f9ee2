"""How close the integer model comes to the float one on a few images, without any labels."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.graph import Graph, interpret
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.boxes import (
    NmsSettings,
    decode,
    detections,
    detections_of_rows,
    iou,
    rows_of,
)
from yolo_core.yolo.elementary import sigmoid
from yolo_core.yolo.model_folder import Extension, write_model_folder
from yolo_core.yolo.predictor import openers
from yolo_core.yolo.scores import score_boxes
from yolo_mrt.calibrate.float_pass import FloatNet
from yolo_mrt.compile.estimate import LIKELY, Estimate, LossEstimator
from yolo_mrt.network.source import Source

CONFIDENT = NmsSettings.for_display()
#: The float network's detections that may be objects, and what is scored against them: many more,
#: so that none is missed only because its score has moved.
_LIKELY, _SCORED = NmsSettings(conf=LIKELY), NmsSettings(conf=0.0025)
SAME_IOU = 0.5
#: Share of boxes found again below which a user is warned.
_POOR = 0.9
#: The normal distribution's 97.5 % point, for intervals of 95 %.
_NORMAL = 1.96


@dataclass(frozen=True)
class Agreement:
    """What the integer model makes of images, held against the float network's answers.

    images: how many. boxes, found: confident float detections, and those that the integer model
    finds too (same class, IoU of half or more). overlap: mean IoU of those found, 0 without any.
    ap: COCO's AP in points of the integer model's detections where the confident float ones
    stand in for labels, over their classes; None without any. snr_db: energy of the float logits
    over that of the difference. estimate: of the AP that quantization costs; None where nothing
    is known of it.
    """

    images: int
    boxes: int
    found: int
    overlap: float
    ap: float | None
    snr_db: float
    estimate: Estimate | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def told(self, own: bool) -> list[str]:
        """Lines for the user. own: the images are those that the model was calibrated on."""
        images = "1 image" if self.images == 1 else f"{self.images} images"
        where = "it was calibrated on" if own else "it was not calibrated on"
        if not self.boxes or self.ap is None:
            return [
                f"warning: the float network finds nothing on the {images} judged, which {where}, "
                f"above confidence {CONFIDENT.conf}, so nothing is known of the accuracy; is it "
                "trained?"
            ]
        low, high = share_interval(self.found, self.boxes)
        lines = [
            f"{images} {where}: {self.found} of {self.boxes} confident boxes found again "
            f"({100 * low:.0f} to {100 * high:.0f} %), overlapping by {100 * self.overlap:.0f} %; "
            f"AP {self.ap:.1f} with the float network's boxes as labels"
        ]
        if self.estimate is not None:
            lines.append(f"estimated loss: {self.estimate.told()}")
        elif self.images == 1:
            lines.append("the loss of AP cannot be estimated from one image")
        if own:
            lines.append(
                "warning: no image was left to judge on, and on those that it was calibrated on a "
                "model looks better than it is; give more images than --num-calib"
            )
        if self.found < _POOR * self.boxes:
            lines.append(
                "warning: the integer model loses boxes; calibrate on more pictures such as it "
                "will see, or look for the cause with yolo-mrt report"
            )
        return lines


def share_interval(part: int, whole: int) -> tuple[float, float]:
    """The 95 % interval of a share, after Wilson (1927)."""
    share, square = part / whole, _NORMAL**2
    centre = share + square / (2 * whole)
    spread = _NORMAL * sqrt(share * (1 - share) / whole + square / (4 * whole**2))
    return (
        max((centre - spread) / (1 + square / whole), 0.0),
        min((centre + spread) / (1 + square / whole), 1.0),
    )


def compare(
    graph: Graph,
    extension: Extension,
    source: Source,
    images: Iterable[Array],
    checkpoint: str,
) -> Agreement:
    """Run the program and the float network on uint8 images [h, w, 3] RGB.

    checkpoint: the float network's file, for the error where its outputs are not finite.
    """
    float_net = FloatNet(source.net)
    architecture, imgsz = source.architecture, extension.imgsz
    signal = noise = 0.0
    labels: list[Array] = []
    answers: list[Array] = []
    overlaps: list[float] = []
    loss = LossEstimator()
    run = _runner(graph, extension)
    for image in images:
        planes = image if source.color == "rgb" else image[..., ::-1]
        planes = planes.transpose(2, 0, 1)[None]
        heads = float_net.run(planes.astype(np.float32) / np.float32(255))
        exact = rows_of(heads, architecture.no)[0].astype(np.float64)
        if not np.isfinite(exact).all():
            raise InputError(checkpoint, "overflows: its outputs are not finite", "finite numbers")
        logits = run(image[None])
        signal += float((exact**2).sum())
        noise += float(((exact - logits) ** 2).sum())
        confident = detections(exact, architecture, imgsz, CONFIDENT)
        labels.append(confident[:, [5, 0, 1, 2, 3]])
        answer, rows = detections_of_rows(logits, architecture, imgsz, _SCORED)
        answers.append(answer)
        same = _at_rows(exact, rows, answer[:, 5].astype(np.int64), architecture, imgsz)
        loss.add(detections(exact, architecture, imgsz, _LIKELY), answer, same)
        overlaps += _overlaps(confident, detections(logits, architecture, imgsz, CONFIDENT))
    found = [overlap for overlap in overlaps if overlap >= SAME_IOU]
    return Agreement(
        len(labels), len(overlaps), len(found), float(np.mean(found)) if found else 0.0,
        average_precision(labels, answers, architecture.nc) if overlaps else None,
        float(10 * np.log10(max(signal, 1e-30) / max(noise, 1e-30))), loss.estimate(),
    )  # fmt: skip


def average_precision(labels: list[Array], found: list[Array], classes: int) -> float:
    """COCO's AP in points, the mean over the classes that the labels have; 0 without labels.

    labels: per image [n, 5] of class and corners. found: per image the rows of `detections`.
    """
    values = score_boxes(labels, found, classes).class_ap[:, 0]
    known = values[~np.isnan(values)]
    return 100 * float(known.mean()) if len(known) else 0.0


def _at_rows(
    numbers: Array, rows: Array, classes: Array, architecture: Architecture, imgsz: tuple[int, int]
) -> Array:
    """Box and score that raw numbers [N, 5 + nc] have at rows [n] for classes [n]: [n, 5]."""
    score = sigmoid(numbers[rows, 4]) * sigmoid(numbers[rows, 5 + classes])
    boxes = decode(numbers[rows], rows, architecture, imgsz)
    return np.concatenate((boxes, score[:, None]), axis=1)


def _overlaps(boxes: Array, others: Array) -> list[float]:
    """For each box the largest IoU with another of its class, 0 where there is none."""
    best = []
    for box in boxes:
        rivals = others[others[:, 5] == box[5], :4]
        best.append(float(iou(box[:4], rivals).max()) if len(rivals) else 0.0)
    return best


def _runner(graph: Graph, extension: Extension) -> Callable[[Array], Array]:
    """uint8 [1, h, w, 3] RGB → raw logits float64 [N, 5 + nc] of the program.

    By an engine where one is installed, which gives the same integers as the definition, sooner.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model"
        write_model_folder(place, graph, extension, {})
        for _, opener in openers():
            if opener.accepts(place):
                predictor = opener.open(place, None, None, "cpu")
                return lambda image: predictor.logits(image)[0]

    def by_definition(image: Array) -> Array:
        rows: Array = extension.dequantize(
            interpret.run(graph, extension.quantize_input(image))[0]
        )[0]
        return rows

    return by_definition
