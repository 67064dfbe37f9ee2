"""The labelled images of a split, looked at before training: what is usable, what is not and why.

Nothing here needs MXNet, so that worker processes can import it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.progress import progress
from yolo_core.yolo.dataset import label_path, read_labels
from yolo_core.yolo.letterbox import read_image

#: Images are decoded by threads: OpenCV lets go of the interpreter meanwhile.
_THREADS = 4
#: A summary lists so many files of a kind; the rest is a number.
_LISTED = 10


@dataclass(frozen=True)
class Sample:
    """One image: its file, (height, width) in pixels, and its boxes.

    labels: float32 [n, 5] of class, centre x, centre y, width, height as shares of the image.
    """

    image: Path
    size: tuple[int, int]
    labels: Array


@dataclass(frozen=True)
class CheckReport:
    """What the check of a split found.

    corrupt: files left out, each with the reason. backgrounds: images whose label file is empty.
    missing: images without a label file; they count as backgrounds too. duplicates: files with
    the same box twice; the copies are dropped.
    """

    split: str
    images: int
    corrupt: tuple[str, ...]
    backgrounds: int
    missing: tuple[str, ...]
    duplicates: tuple[str, ...]

    def summary(self) -> str:
        """A line of numbers, then the files at fault."""
        parts = [f"{self.images} images", f"{self.backgrounds} without objects"]
        kinds: dict[str, tuple[str, ...]] = {
            "left out": self.corrupt,
            "without a label file": self.missing,
            "with duplicate boxes": self.duplicates,
        }
        parts += [f"{len(files)} {kind}" for kind, files in kinds.items() if files]
        lines = [f"{self.split}: " + ", ".join(parts)]
        for kind, files in kinds.items():
            lines += [f"  {kind}: {name}" for name in files[:_LISTED]]
            if len(files) > _LISTED:
                lines.append(f"  {kind}: and {len(files) - _LISTED} more")
        return "\n".join(lines)

    def refuse_faults(self) -> None:
        """InputError when any file is at fault (`--strict`)."""
        faults = [*self.corrupt, *self.missing, *self.duplicates]
        if faults:
            raise InputError(self.split, f"has {len(faults)} faulty files, first {faults[0]}")


def check_samples(
    images: Sequence[Path], nc: int, split: str
) -> tuple[tuple[Sample, ...], CheckReport]:
    """Decode every image and read every label file of a split.

    split: "train" or "val", for messages. InputError when no image at all is usable.
    """
    samples: list[Sample] = []
    corrupt: list[str] = []
    missing: list[str] = []
    duplicates: list[str] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        checked = pool.map(lambda image: _check(image, nc), images)
        for found in progress(checked, f"check {split}", total=len(images), unit="images"):
            if found.sample is None:
                corrupt.append(found.fault)
                continue
            samples.append(found.sample)
            if found.missing:
                missing.append(str(found.sample.image))
            if found.duplicates:
                duplicates.append(str(found.sample.image))
    if not samples:
        cause = f"has no usable image ({corrupt[0]})" if corrupt else "has no image"
        raise InputError(split, cause, "at least one image")
    report = CheckReport(
        split,
        len(samples),
        tuple(corrupt),
        sum(len(sample.labels) == 0 for sample in samples),
        tuple(missing),
        tuple(duplicates),
    )
    return tuple(samples), report


def digest(samples: Sequence[Sample]) -> str:
    """SHA-256 over names, sizes and boxes: changes when the training data changes."""
    state = hashlib.sha256()
    for sample in samples:
        state.update(f"{sample.image.name} {sample.size}\n".encode())
        state.update(np.ascontiguousarray(sample.labels, "<f4").tobytes())
    return state.hexdigest()


@dataclass(frozen=True)
class _Found:
    sample: Sample | None
    fault: str = ""
    missing: bool = False
    duplicates: bool = False


def _check(image: Path, nc: int) -> _Found:
    try:
        height, width = read_image(image).shape[:2]
        path = label_path(image)
        missing = not path.exists()
        labels = np.zeros((0, 5), np.float32) if missing else read_labels(path, nc)
    except InputError as error:
        return _Found(None, fault=str(error))
    _, first = np.unique(labels, axis=0, return_index=True)
    kept = labels[np.sort(first)]
    sample = Sample(image, (int(height), int(width)), kept)
    return _Found(sample, missing=missing, duplicates=len(kept) < len(labels))
