"""What is in a dataset and what is wrong with it: a verdict for every kind of fault.

The faults that all stages leave out (`yolo_core.yolo.samples`) come first; then those that change
what is learnt or measured without stopping anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError, SpecialFileError
from yolo_core.files import sha256_file
from yolo_core.words import shown
from yolo_core.yolo.dataset import DataConfig, files_below
from yolo_core.yolo.labels import label_path
from yolo_core.yolo.samples import CheckReport, Sample, check_samples

SPLITS = ("train", "val", "test")

#: What a fault means. An OK kind has no places.
OK, LEFT_OUT, TOLD, WRONG = "ok", "left out", "noted", "wrong"

#: A box of fewer pixels a side is hard to find, in the size that the picture has.
_TINY = 3.0
_LISTED = 5


@dataclass(frozen=True)
class Verdict:
    """One kind of fault. verdict: one of OK, LEFT_OUT, TOLD, WRONG. meaning: in a few words.

    places: where, each with its cause where there is one to tell.
    """

    kind: str
    verdict: str
    meaning: str
    places: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """A split as it was found. counts: boxes by class. absent: why there is none to look at."""

    split: str
    samples: tuple[Sample, ...]
    report: CheckReport
    counts: Array


@dataclass(frozen=True)
class Checked:
    """A whole dataset. absent: lines about splits that cannot be read."""

    data: DataConfig
    parts: tuple[Part, ...]
    absent: tuple[str, ...]
    verdicts: tuple[Verdict, ...]

    def lines(self) -> list[str]:
        """The counts of each split, then a line for each kind of fault and its first places."""
        lines = [f"{_counts(part, self.data.names)}" for part in self.parts]
        lines += map(shown, self.absent)
        width = max(len(verdict.kind) for verdict in self.verdicts)
        for verdict in self.verdicts:
            count = len(verdict.places)
            meaning = f"  ({verdict.meaning})" if count else ""
            lines.append(f"{verdict.kind:<{width}}  {count:>6}  {verdict.verdict}{meaning}")
            lines += [f"    {shown(place)}" for place in verdict.places[:_LISTED]]
            if count > _LISTED:
                lines.append(f"    and {count - _LISTED} more")
        return lines

    def faults(self) -> int:
        """How many things are left out or wrong."""
        return sum(len(v.places) for v in self.verdicts if v.verdict in (LEFT_OUT, WRONG))

    def refuse_faults(self) -> None:
        """InputError where anything is left out or wrong (`--strict`)."""
        places = [v.places[0] for v in self.verdicts if v.verdict in (LEFT_OUT, WRONG)]
        if places:
            raise InputError(self.data.source, f"has {self.faults()} faults, first {places[0]}")


def check_dataset(data: DataConfig) -> Checked:
    """Look at every picture and label of a dataset. InputError where no split can be read."""
    parts, absent = [], []
    misnamed = dict(data.misnamed)
    for split in SPLITS:
        if not getattr(data, split) and split not in misnamed:
            continue
        try:
            images = data.images(split)
            samples, report = check_samples(images, len(data.names), split)
        except SpecialFileError:
            raise
        except InputError as error:
            absent.append(f"{split}: {error.cause}")
            continue
        labels = np.concatenate([sample.labels[:, 0] for sample in samples]).astype(np.int64)
        counts = np.bincount(labels, minlength=len(data.names))
        parts.append(Part(split, samples, report, counts))
    if not parts:
        raise InputError(data.source, absent[0] if absent else "names no split", "pictures")
    return Checked(data, tuple(parts), tuple(absent), _verdicts(data, parts))


def _counts(part: Part, names: Sequence[str]) -> str:
    per_class = ", ".join(f"{shown(name)} {count}" for name, count in zip(names, part.counts))
    return (
        f"{part.split}: {len(part.samples)} images ({len(part.report.missing)} without a label "
        f"file), {part.counts.sum()} boxes: {per_class}"
    )


def _verdicts(data: DataConfig, parts: Sequence[Part]) -> tuple[Verdict, ...]:
    def of(name: str) -> tuple[str, ...]:
        return tuple(place for part in parts for place in getattr(part.report, name))

    twins, leaks = _same_pictures(parts)
    found = (
        ("unreadable pictures", LEFT_OUT, "they take no part", of("corrupt")),
        ("faulty label rows", LEFT_OUT, "they take no part", of("rows")),
        ("rows that stand twice", LEFT_OUT, "each counts once", of("duplicates")),
        ("pictures named twice", LEFT_OUT, "each counts once", of("repeated")),
        ("pictures in two splits", WRONG, "what is trained on is not a test", leaks),
        ("splits without any box", WRONG, "nothing can be learnt or measured", _boxless(parts)),
        ("classes without a box", TOLD, "nothing can be learnt of them", _unseen(data, parts)),
        ("pictures without a label file", TOLD, "they count as background", of("missing")),
        ("label files without a picture", TOLD, "nobody reads them", _orphans(parts)),
        ("equal pictures in a split", TOLD, "they weigh more than others", twins),
        ("tiny boxes", TOLD, f"below {_TINY:g} pixels a side", _tiny(parts)),
    )
    return tuple(
        Verdict(kind, verdict if places else OK, meaning, places)
        for kind, verdict, meaning, places in found
    )


def _same_pictures(parts: Sequence[Part]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Pictures of equal bytes within a split, and across splits."""
    first: dict[str, tuple[str, Path]] = {}
    twins: list[str] = []
    leaks: list[str] = []
    by_size: dict[int, int] = {}
    for part in parts:
        for sample in part.samples:
            size = os.path.getsize(sample.image)
            by_size[size] = by_size.get(size, 0) + 1
    for part in parts:
        for sample in part.samples:
            if by_size[os.path.getsize(sample.image)] == 1:
                continue
            split, image = first.setdefault(sha256_file(sample.image), (part.split, sample.image))
            if image == sample.image and split == part.split:
                continue
            target = twins if split == part.split else leaks
            target.append(f"{sample.image} is {image}")
    return tuple(twins), tuple(leaks)


def _boxless(parts: Sequence[Part]) -> tuple[str, ...]:
    return tuple(
        f"{part.split}: labels were looked for at {label_path(part.samples[0].image)}"
        for part in parts
        if not part.counts.any()
    )


def _unseen(data: DataConfig, parts: Sequence[Part]) -> tuple[str, ...]:
    return tuple(
        f"{part.split}: {shown(name)}"
        for part in parts
        for name, count in zip(data.names, part.counts)
        if not count and part.counts.any()
    )


def _orphans(parts: Sequence[Part]) -> tuple[str, ...]:
    """Label files beside those that are read that belong to no picture of any split."""
    read = {os.path.abspath(label_path(sample.image)) for part in parts for sample in part.samples}
    for part in parts:
        read |= {os.path.abspath(label_path(name)) for name in _named(part.report.corrupt)}
    folders = {os.path.dirname(path) for path in read if "labels" in Path(path).parts}
    found = {
        os.path.abspath(path)
        for folder in folders
        if os.path.isdir(folder)
        for path in files_below(folder)
        if path.suffix.lower() == ".txt" and path.name != "classes.txt"
    }
    return tuple(sorted(found - read))


def _named(lines: Iterable[str]) -> Iterable[str]:
    """The file that each line of a report begins with."""
    return (line.split(": ", 1)[0] for line in lines)


def _tiny(parts: Sequence[Part]) -> tuple[str, ...]:
    places = []
    for part in parts:
        for sample in part.samples:
            sides = sample.labels[:, 3:5] * np.array(sample.size[::-1], np.float32)
            for number in np.flatnonzero((sides < _TINY).any(axis=1)):
                width, height = sides[number]
                places.append(f"{sample.image}: {width:.1f} by {height:.1f} pixels")
    return tuple(places)
