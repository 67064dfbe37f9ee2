"""The labelled images of a split, looked at before work begins: what is usable, what is not.

One policy for all stages: an image that cannot be decoded is left out, so is a label row that
makes no sense; both are counted and listed, and `--strict` stops instead. A device, a pipe, a
socket or a circle of links among the images or labels is refused by name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError, SpecialFileError
from yolo_core.progress import progress
from yolo_core.yolo.labels import Labels, is_there, label_path, look_at_labels
from yolo_core.yolo.letterbox import read_image

#: Images are decoded by threads: OpenCV lets go of the interpreter meanwhile.
_THREADS = 4
#: A summary lists so many files of a kind; the rest is a number.
_LISTED = 10


@dataclass(frozen=True)
class Sample:
    """One image: its file, (height, width) in pixels, and its boxes.

    labels: float32 [n, 5] of class, centre x, centre y, width, height as shares of the image.
    outlines: for each box its corners as `labels.Labels` has them; empty where none is known.
    """

    image: Path
    size: tuple[int, int]
    labels: Array
    outlines: tuple[Array | None, ...] = ()


@dataclass(frozen=True)
class CheckReport:
    """What the check of a split found.

    corrupt: images left out, each with the reason. rows: label rows left out. backgrounds: images
    without objects. missing: images without a label file; they count as backgrounds too.
    duplicates: label rows that stand twice in a file; the copies are dropped. repeated: images
    that are named more than once; each counts once. sizes: images of another size than a file
    says, which count as they are. categories: those that are left out. rows_are: what the source
    calls a row.
    """

    split: str
    images: int
    corrupt: tuple[str, ...] = ()
    backgrounds: int = 0
    missing: tuple[str, ...] = ()
    duplicates: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    rows_are: str = "label rows"

    def kinds(self) -> dict[str, tuple[str, ...]]:
        """Places by kind of fault; kinds without any are not among them."""
        found = {
            "left out": self.corrupt,
            f"{self.rows_are} left out": self.rows,
            "without a label file": self.missing,
            f"duplicate {self.rows_are}": self.duplicates,
            "categories left out": self.categories,
            "named twice": self.repeated,
            "of another size than stated": self.sizes,
        }
        return {kind: places for kind, places in found.items() if places}

    def left_out(self) -> dict[str, int]:
        """How many images and rows take no part, by kind."""
        kinds = replace(self, missing=(), sizes=()).kinds()  # such images take part
        return {kind: len(places) for kind, places in kinds.items()}

    def summary(self) -> str:
        """A line of numbers, then the places at fault."""
        kinds = self.kinds()
        parts = [f"{self.images} images", f"{self.backgrounds} without objects"]
        parts += [f"{len(places)} {kind}" for kind, places in kinds.items()]
        lines = [f"{self.split}: " + ", ".join(parts)]
        for kind, places in kinds.items():
            lines += [f"  {kind}: {name}" for name in places[:_LISTED]]
            if len(places) > _LISTED:
                lines.append(f"  {kind}: and {len(places) - _LISTED} more")
        return "\n".join(lines)

    def refuse_faults(self) -> None:
        """InputError when anything is at fault (`--strict`)."""
        faults = [place for places in self.kinds().values() for place in places]
        if faults:
            raise InputError(self.split, f"has {len(faults)} faults, first {faults[0]}")


@dataclass
class _Gathered:
    samples: list[Sample] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)


def check_samples(
    images: Sequence[Path], nc: int, split: str, need_boxes: bool = False
) -> tuple[tuple[Sample, ...], CheckReport]:
    """Decode every image and read every label file of a split.

    split: "train", "val" or "test", for messages. need_boxes: refuse a split without any box.
    InputError when no image at all is usable; the line says where labels were looked for.
    """
    wanted, repeated = each_once(images)
    found = _Gathered()
    with ThreadPoolExecutor(_THREADS) as pool:
        checked = pool.map(lambda image: _check(image, nc), wanted)
        for image, look in zip(
            wanted, progress(checked, f"check {split}", total=len(wanted), unit="images")
        ):
            _take(found, image, look)
    if not found.samples:
        cause = f"has no usable image ({found.corrupt[0]})" if found.corrupt else "has no image"
        raise InputError(split, cause, "at least one image")
    if need_boxes and not any(len(sample.labels) for sample in found.samples):
        raise _no_boxes(found, split)
    report = CheckReport(
        split,
        len(found.samples),
        tuple(found.corrupt),
        sum(len(sample.labels) == 0 for sample in found.samples),
        tuple(found.missing),
        tuple(found.duplicates),
        tuple(found.rows),
        repeated,
    )
    return tuple(found.samples), report


def picture_sizes(images: Sequence[Path], label: str) -> list[tuple[int, int] | InputError]:
    """(height, width) of each image as it decodes, or why it does not.

    SpecialFileError for a device, a pipe and the like.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        looks = pool.map(_size, images)
        return list(progress(looks, label, total=len(images), unit="images"))


def _size(image: Path) -> tuple[int, int] | InputError:
    try:
        height, width = read_image(image).shape[:2]
    except SpecialFileError:
        raise
    except InputError as error:
        return error
    return int(height), int(width)


def each_once(images: Iterable[Path]) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The images in order, each once, and the names of those that came again."""
    seen: set[str] = set()
    kept, again = [], []
    for image in images:
        name = os.path.abspath(image)
        if name in seen:
            again.append(str(image))
        else:
            seen.add(name)
            kept.append(image)
    return tuple(kept), tuple(again)


_Look = tuple[tuple[int, int], "Labels | None"]


def _check(image: Path, nc: int) -> _Look | InputError:
    size = _size(image)
    if isinstance(size, InputError):
        return size
    path = label_path(image)
    try:
        return size, look_at_labels(path, nc) if is_there(path) else None
    except SpecialFileError:
        raise
    except InputError as error:
        return error


def _take(found: _Gathered, image: Path, look: _Look | InputError) -> None:
    if isinstance(look, InputError):
        found.corrupt.append(str(look))
        return
    size, labels = look
    if labels is None:
        found.missing.append(str(image))
        labels = Labels(np.zeros((0, 5), np.float32))
    found.rows += [str(fault) for fault in labels.faults]
    found.duplicates += labels.duplicates
    found.samples.append(Sample(image, size, labels.boxes, labels.outlines))


def _no_boxes(found: _Gathered, split: str) -> InputError:
    looked = label_path(found.samples[0].image)
    if found.rows:
        return InputError(split, f"has no usable label row ({found.rows[0]})", "at least one box")
    if len(found.missing) == len(found.samples):
        count = len(found.samples)
        return InputError(
            split, f"has no label file for any of its {count} images", f"files such as {looked}"
        )
    return InputError(split, f"has label files without a single box ({looked})", "at least one box")
