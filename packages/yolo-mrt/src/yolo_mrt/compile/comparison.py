"""How close the integer model comes to the float one on a few images, without any labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph import Graph, interpret
from yolo_core.yolo.boxes import NmsSettings, detections, iou, rows_of
from yolo_mrt.calibrate.float_pass import FloatNet
from yolo_mrt.calibrate.scheme import INPUT_ZERO, Scheme
from yolo_mrt.calibrate.tables import CODE_LIMIT
from yolo_mrt.network.source import Source

CONFIDENT = NmsSettings.for_display()
SAME_IOU = 0.5


def compare(
    graph: Graph,
    scheme: Scheme,
    source: Source,
    images: Sequence[Array],
    imgsz: tuple[int, int],
) -> dict[str, Any]:
    """Run program and float network on uint8 images [h, w, 3].

    logit_snr_db: energy of the float logits over that of the difference. boxes, found: confident
    float detections, and those that the program finds too (same class, IoU of half or more).
    """
    float_net = FloatNet(source.net)
    signal = noise = 0.0
    boxes = found = 0
    for image in images:
        planes = image if source.color == "rgb" else image[..., ::-1]
        planes = planes.transpose(2, 0, 1)[None]
        heads = float_net.run(planes.astype(np.float32) / np.float32(255))
        exact = rows_of(heads, source.architecture.no)[0]
        codes = np.clip(planes.astype(np.int32) + INPUT_ZERO, -CODE_LIMIT, CODE_LIMIT)
        integers = interpret.run(graph, codes)[0][0]
        logits = np.ldexp(integers.astype(np.float64), -scheme.head_exponent)
        signal += float((exact.astype(np.float64) ** 2).sum())
        noise += float(((exact - logits) ** 2).sum())
        ours = detections(logits, source.architecture, imgsz, CONFIDENT)
        for box in detections(exact, source.architecture, imgsz, CONFIDENT):
            boxes += 1
            rivals = ours[ours[:, 5] == box[5]]
            found += bool(len(rivals)) and bool((iou(box[:4], rivals[:, :4]) >= SAME_IOU).any())
    ratio = 10 * np.log10(max(signal, 1e-30) / max(noise, 1e-30))
    return {"images": len(images), "logit_snr_db": float(ratio), "boxes": boxes, "found": found}
