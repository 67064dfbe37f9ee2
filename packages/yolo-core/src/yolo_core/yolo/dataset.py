"""A labelled dataset as YOLO users keep it: data.yaml, folders of images, one text file per image.

    path: datasets/shapes      # relative to the folder data.yaml lies in
    train: images/train        # a folder, a list of images in a .txt, or several of them
    val: images/val
    names: {0: circle, 1: square}

The labels of `images/train/7.jpg` are in `labels/train/7.txt`, one box a line:
`class x-centre y-centre width height`, sides as shares of the image.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import PathLike, read_text, read_yaml
from yolo_core.yolo.architecture import MAX_CLASSES

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
MAX_BOXES_PER_IMAGE = 10_000

# Below this a side is zero, or loses its digits, in single precision.
_SMALLEST_SIDE = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class DataConfig:
    """What a data.yaml says. train, val, test: existing folders, lists or images; may be empty."""

    source: Path
    root: Path
    train: tuple[Path, ...]
    val: tuple[Path, ...]
    test: tuple[Path, ...]
    names: tuple[str, ...]

    def images(self, split: str) -> list[Path]:
        """The images of "train", "val" or "test", sorted; InputError when there are none."""
        places: tuple[Path, ...] = getattr(self, split)
        if not places:
            raise InputError(self.source, f"has no `{split}`", "a folder of images")
        return [image for place in places for image in list_images(place)]


def read_data_yaml(path: PathLike) -> DataConfig:
    """A data.yaml. InputError when `names` is missing or a folder it names does not exist."""
    source = Path(path)
    data = read_yaml(source)
    if not isinstance(data, dict):
        raise InputError(source, "is no mapping", "path, train, val and names")
    names = _names(data.get("names"), source)
    if "nc" in data and data["nc"] != len(names):
        raise InputError(source, f"says nc: {data['nc']} and has {len(names)} names", "as many")
    root = _root(data.get("path"), source)
    splits = [_folders(data.get(split), root, source, split) for split in ("train", "val", "test")]
    return DataConfig(source, root, splits[0], splits[1], splits[2], names)


def _names(value: Any, source: Path) -> tuple[str, ...]:
    if isinstance(value, dict):
        if set(value) != set(range(len(value))):
            raise InputError(source, "has `names` with gaps", f"keys 0 to {len(value) - 1}")
        value = [value[index] for index in range(len(value))]
    if not isinstance(value, list) or not value:
        raise InputError(source, "has no `names`", "the class names as a list or mapping")
    if len(value) > MAX_CLASSES:
        raise InputError(source, f"has {len(value)} names", f"at most {MAX_CLASSES}")
    for name in value:
        # YAML reads an unquoted yes, no, on or off as true or false, and nothing as null.
        if not isinstance(name, (str, int, float)) or isinstance(name, bool):
            raise InputError(source, f"has the class name {name!r:.40}", "names, quoted if need be")
    return tuple(str(name) for name in value)


def _root(value: Any, source: Path) -> Path:
    if value is None:
        return source.parent
    if not isinstance(value, str):
        raise InputError(source, f"has `path` {value!r}", "a folder")
    beside = source.parent / value
    # YOLOv5 reads `path` relative to the working folder; beside the file is tried first.
    return beside if os.path.isdir(beside) else Path(value)


def _folders(value: Any, root: Path, source: Path, split: str) -> tuple[Path, ...]:
    items = [] if value is None else value if isinstance(value, list) else [value]
    places = []
    for item in items:
        if not isinstance(item, str) or not item:
            raise InputError(source, f"has `{split}` {item!r:.60}", "folders of images")
        place = root / item
        if not os.path.exists(place):
            raise InputError(source, f"names {place} as `{split}`, which does not exist")
        places.append(place)
    return tuple(places)


def list_images(place: PathLike) -> list[Path]:
    """Images of a folder (and those in it), of a .txt list, or the one image itself, sorted."""
    place = Path(place)
    if os.path.isdir(place):
        found = [
            Path(folder) / name
            for folder, _, names in os.walk(place)
            for name in names
            if name.lower().endswith(IMAGE_ENDINGS)
        ]
    elif place.suffix == ".txt":
        lines = (line.strip() for line in read_text(place).splitlines())
        # A relative line is meant from the list's own folder.
        found = [place.parent / line for line in lines if line]
    elif os.path.isfile(place):
        found = [place]
    else:
        raise InputError(place, "does not exist", "a folder of images, a .txt list or an image")
    if not found:
        raise InputError(place, "holds no image", f"files ending in {' '.join(IMAGE_ENDINGS)}")
    return sorted(found)


def label_path(image: PathLike) -> Path:
    """The label file of an image: the last folder `images` becomes `labels`, the ending `.txt`."""
    image = Path(image)
    parts = list(image.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def read_labels(path: PathLike, nc: int) -> Array:
    """float32 [n, 5]: class, x-centre, y-centre, width, height (0 to 1). An empty file is n = 0.

    InputError names the line: not five numbers, a class that does not exist, a box out of range.
    """
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        if words:
            rows.append(_label(words, nc, f"{path}:{number}"))
        if len(rows) > MAX_BOXES_PER_IMAGE:
            raise InputError(path, "has too many boxes", f"at most {MAX_BOXES_PER_IMAGE}")
    return np.array(rows, np.float32).reshape(-1, 5)


def _label(words: Sequence[str], nc: int, source: str) -> tuple[float, ...]:
    expected = "class x-centre y-centre width height"
    if len(words) != 5:
        raise InputError(source, f"has {len(words)} words", expected)
    try:
        label, *box = (float(word) for word in words)
    except ValueError as error:
        raise InputError(source, f"is no list of numbers ({error})", expected) from error
    if not 0 <= label < nc or label != int(label):
        raise InputError(source, f"has class {words[0]}", f"0 to {nc - 1}")
    if not all(0 <= side <= 1 for side in box) or min(box[2:]) < _SMALLEST_SIDE:
        raise InputError(source, f"has the box {' '.join(words[1:])}", "shares from 0 to 1")
    return (label, *box)
