"""The text file beside an image: which one it is, and what its rows say.

A row is `class x-centre y-centre width height`, or `class x1 y1 x2 y2 …` with three corners or more
of an outline, whose bounding box is meant; all sides as shares of the image.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Union

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import PathLike, read_text

MAX_BOXES_PER_IMAGE = 10_000

_BOX_WORDS, _OUTLINE_WORDS = 5, 7
_EXPECTED = "class x-centre y-centre width height, or class and corners"
# Below this a side is zero, or loses its digits, in single precision.
_SMALLEST_SIDE = float(np.finfo(np.float32).tiny)

_Outline = Union[Array, None]


@dataclass(frozen=True)
class Labels:
    """What a label file says.

    boxes: float32 [n, 5] of class, x-centre, y-centre, width, height (0 to 1), each row once.
    outlines: for each box its corners, float32 [k, 2] of x and y as shares, None for a plain box.
    faults: rows that are left out, each with its place and cause. duplicates: places of rows that
    stood there before.
    """

    boxes: Array
    outlines: tuple[Array | None, ...] = ()
    faults: tuple[InputError, ...] = ()
    duplicates: tuple[str, ...] = ()


def label_path(image: PathLike) -> Path:
    """The label file of an image: the last folder `images` becomes `labels`, the ending `.txt`.

    Where no such file exists for the name as written, the name from the root of the file system
    and the name with all links followed are tried: a set that is read from within its `images`,
    or through a link to it, has the same labels. The name as written where none exists.
    """
    image = Path(image)
    written = _beside(image)
    if is_there(written):
        return written
    try:
        absolute = Path(os.path.abspath(image))
        followed = (
            Path(os.path.realpath(image.parent)) / image.name,
            Path(os.path.realpath(image)),
        )
    except (OSError, ValueError):
        return written
    for name in (absolute, *followed):
        path = _beside(name)
        if is_there(path):
            return path
    return written


def is_there(path: Path) -> bool:
    """Whether a label file exists, in a folder that may not be looked into too: that is told."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return True
    return True


def _beside(image: Path) -> Path:
    parts = list(image.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def read_labels(path: PathLike, nc: int) -> Array:
    """float32 [n, 5]: class, x-centre, y-centre, width, height (0 to 1). An empty file is n = 0.

    InputError names the line: no numbers, a class that does not exist, a box out of range.
    """
    found = look_at_labels(path, nc)
    if found.faults:
        raise found.faults[0]
    return found.boxes


def look_at_labels(path: PathLike, nc: int) -> Labels:
    """All that a label file says; faulty rows are left out and told.

    InputError where the file itself cannot be read, or has too many rows.
    """
    rows: list[tuple[float, ...]] = []
    outlines: list[_Outline] = []
    faults: list[InputError] = []
    duplicates: list[str] = []
    seen: set[tuple[float, ...]] = set()
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        place = f"{path}:{number}"
        if len(rows) + len(faults) + len(duplicates) >= MAX_BOXES_PER_IMAGE:
            raise InputError(path, "has too many boxes", f"at most {MAX_BOXES_PER_IMAGE}")
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # such a row is a fault, told below
                row, outline = _label(words, nc, place)
        except InputError as error:
            faults.append(error)
            continue
        if row in seen:
            duplicates.append(place)
            continue
        seen.add(row)
        rows.append(row)
        outlines.append(outline)
    boxes = np.array(rows, np.float32).reshape(-1, 5)
    return Labels(boxes, tuple(outlines), tuple(faults), tuple(duplicates))


def _label(words: Sequence[str], nc: int, source: str) -> tuple[tuple[float, ...], _Outline]:
    outlined = len(words) >= _OUTLINE_WORDS and len(words) % 2 == 1
    if any("," in word for word in words):
        raise InputError(source, "holds commas", f"{_EXPECTED}, with blanks between them")
    if len(words) != _BOX_WORDS and not outlined:
        raise InputError(source, f"has {len(words)} words", _EXPECTED)
    try:
        label, *numbers = (float(word) for word in words)
    except ValueError as error:
        raise InputError(source, f"is not a list of numbers ({error})", _EXPECTED) from error
    if not 0 <= label < nc or label != int(label):
        raise InputError(source, f"has class {words[0]}", f"0 to {nc - 1}")
    outline = np.array(numbers, np.float32).reshape(-1, 2) if outlined else None
    if outline is not None:
        (left, top), (right, bottom) = outline.min(axis=0), outline.max(axis=0)
        numbers = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
    # Rows are compared as they are kept, in single precision.
    box = tuple(float(np.float32(side)) for side in numbers)
    if not all(0 <= side <= 1 for side in box) or min(box[2:]) < _SMALLEST_SIDE:
        what = "box" if outline is None else "outline"
        raise InputError(source, f"has the {what} {' '.join(words[1:]):.80}", "shares from 0 to 1")
    return (label, *box), outline
