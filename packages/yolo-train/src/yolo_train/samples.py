"""What names the training data: a digest over samples, which a resumed run must meet again.

Nothing here needs MXNet, so that worker processes can import it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from yolo_core.yolo.samples import Sample

#: The class that all boxes have with --single-cls, as YOLOv5 calls it.
ONE_CLASS = ("item",)


def of_one_class(sample: Sample) -> Sample:
    """The same sample with every box of class 0."""
    labels = sample.labels.copy()
    labels[:, 0] = 0
    return replace(sample, labels=labels)


def digest(samples: Sequence[Sample]) -> str:
    """SHA-256 over names, sizes and boxes: changes when the training data changes."""
    state = hashlib.sha256()
    for sample in samples:
        name = f"{sample.image.name} {sample.size}\n"
        state.update(name.encode("utf-8", "surrogateescape"))
        state.update(np.ascontiguousarray(sample.labels, "<f4").tobytes())
    return state.hexdigest()
