"""A COCO annotation file as it is converted: its pictures, classes, boxes and outlines.

What cannot be used is left out and told, as everywhere: an annotation without a usable box, of a
picture or category that is not listed, or of a crowd, which YOLO's labels cannot say; a picture
that is not in the folder or cannot be decoded.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import read_json
from yolo_core.words import text_fault
from yolo_core.yolo.samples import picture_sizes

#: Largest annotation file in bytes, and most values in it; instances_train2017.json has 0.45 GB
#: and about 45 million values.
LIMIT, VALUES = 1 << 30, 64 << 20
_CORNERS = 3


@dataclass(frozen=True)
class Labelled:
    """One picture with its objects.

    place: its file. name: its path below the folder of the pictures. size: (height, width).
    boxes: float64 [n, 5] of class, x1, y1, x2, y2 in pixels. outlines: for each box the corners
    of its only polygon, float64 [k, 2], None where there is none or are several.
    """

    place: Path
    name: PurePosixPath
    size: tuple[int, int]
    boxes: Array
    outlines: tuple[Array | None, ...]


@dataclass
class Told:
    """What a conversion has to tell: places by kind."""

    kinds: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, place: str) -> None:
        self.kinds.setdefault(kind, []).append(place)

    def lines(self) -> list[str]:
        """A line for each kind with its number and its first place."""
        return [f"{len(v)} {kind}, first {v[0]}" for kind, v in sorted(self.kinds.items())]


def read_coco(source: Path, folder: Path, told: Told) -> tuple[tuple[str, ...], list[Labelled]]:
    """The names of the classes, by ascending category id, and every picture of the file.

    folder: where the pictures lie; a name is looked for below it, with or without the folders
    that it names. InputError for what is no annotation file, and where no picture is usable.
    """
    content = read_json(source, LIMIT, VALUES)
    if not isinstance(content, dict):
        raise InputError(source, "is not a COCO annotation file", "an object with images")
    names, classes = _classes(_listed(content, "categories", source), source)
    pictures = _pictures(_listed(content, "images", source), source, folder, told)
    if not pictures:
        raise InputError(source, "lists no picture that can be used", f"its pictures in {folder}")
    sizes = dict(zip(pictures, picture_sizes([p for p, _, _ in pictures.values()], "pictures")))
    listed = {str(item["id"]) for item in _listed(content, "images", source)}
    objects: dict[str, list[tuple[Array, Array | None]]] = {key: [] for key in pictures}
    for number, note in enumerate(_listed(content, "annotations", source)):
        key = str(note.get("image_id")) if isinstance(note, dict) else ""
        size = sizes.get(key)
        if size is None or isinstance(size, InputError):
            if not isinstance(note, dict) or key not in listed:
                told.add("annotations left out", f"annotation {number}: is on no listed image")
            continue
        try:
            objects[key].append(_object(note, classes, size, f"annotation {number}", told))
        except InputError as error:
            told.add("annotations left out", f"{error.source}: {error.cause}")
    left_out = told.kinds.get("annotations left out")
    if left_out and not any(objects.values()):
        raise InputError(source, f"has no usable annotation ({left_out[0]})", "boxes of its images")
    found = [_labelled(pictures[key], sizes[key], objects[key], told) for key in pictures]
    usable = [item for item in found if item is not None]
    if not usable:
        raise InputError(source, "lists no picture that can be used", f"its pictures in {folder}")
    return names, usable


def _listed(content: Mapping[str, Any], key: str, source: Path) -> Sequence[Any]:
    value = content.get(key)
    if not isinstance(value, list):
        raise InputError(source, f"has no list `{key}`", "a COCO annotation file")
    return value


def _classes(items: Sequence[Any], source: Path) -> tuple[tuple[str, ...], dict[str, int]]:
    """Names by ascending id, and the class index of each id."""
    by_id: dict[Any, str] = {}
    for item in items:
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str) or not name or text_fault(name):
            raise InputError(source, f"has the category {item!r:.60}", "an id and a name")
        if item.get("id") in by_id or name in by_id.values():
            raise InputError(source, f"has the category {item!r:.60} twice", "ids and names apart")
        by_id[_id(item, source)] = name
    if not by_id:
        raise InputError(source, "lists no categories", "at least one category")
    ordered = sorted(by_id, key=lambda key: (isinstance(key, str), key))
    names = tuple(by_id[key] for key in ordered)
    return names, {str(key): index for index, key in enumerate(ordered)}


def _id(item: Mapping[str, Any], source: Path) -> int | str:
    value = item.get("id")
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise InputError(source, f"has the id {value!r:.60}", "a number or a text")
    return value


def _pictures(
    items: Sequence[Any], source: Path, folder: Path, told: Told
) -> dict[str, tuple[Path, PurePosixPath, Mapping[str, Any]]]:
    """File, name and entry of every picture that is there, by its id as text."""
    found: dict[str, tuple[Path, PurePosixPath, Mapping[str, Any]]] = {}
    seen: set[str] = set()
    for item in items:
        name = item.get("file_name") if isinstance(item, dict) else None
        if not isinstance(name, str) or not name:
            raise InputError(source, f"has the image {item!r:.60}", "an id and a file_name")
        key = str(_id(item, source))
        if key in seen:
            raise InputError(source, f"has the image id {key:.60} twice", "ids apart")
        seen.add(key)
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or "\0" in name:
            raise InputError(source, f"image {key:.60} lies outside the folder", "a relative path")
        starts = (PurePosixPath(*path.parts[start:]) for start in range(len(path.parts)))
        below = next((part for part in starts if os.path.isfile(folder / part)), None)
        if below is None:
            told.add("pictures left out", f"{name} is not in {folder}")
        else:
            found[key] = (folder / below, below, item)
    return found


def _object(
    note: Mapping[str, Any], classes: Mapping[str, int], size: tuple[int, int], place: str,
    told: Told,
) -> tuple[Array, Array | None]:  # fmt: skip
    """Class and corners of one annotation, within its picture, and its outline."""
    label = classes.get(str(note.get("category_id")))
    if label is None:
        raise InputError(place, f"is of the unknown category {note.get('category_id')!r:.60}")
    if note.get("iscrowd"):
        raise InputError(place, "is a crowd, which YOLO's labels cannot say")
    box = _numbers(note.get("bbox"))
    if box is None or len(box) != 4 or box[2] <= 0 or box[3] <= 0:
        raise InputError(place, f"has the box {note.get('bbox')!r:.60}")
    sides = np.array([size[1], size[0]] * 2, np.float64)
    corners = np.array([box[0], box[1], box[0] + box[2], box[1] + box[3]])
    if not _is_a_row(corners / sides):
        corners = np.clip(corners, 0, sides)
        if corners[2] <= corners[0] or corners[3] <= corners[1]:
            raise InputError(place, "lies outside its picture")
        told.add("boxes cut at the edge of their picture", place)
    return np.array([label, *corners]), _outline(note.get("segmentation"), size, place, told)


def _is_a_row(shares: Array) -> bool:
    """Whether a label row can say the box: its centre lies in the picture, its sides are shares."""
    row = (*(shares[:2] + shares[2:]) / 2, *(shares[2:] - shares[:2]))
    return all(0 <= value <= 1 for value in row)


def _outline(value: Any, size: tuple[int, int], place: str, told: Told) -> Array | None:
    if not isinstance(value, list) or not value:
        return None  # none, or a mask in runs
    if len(value) > 1:
        told.add("outlines of several parts, kept as boxes", place)
        return None
    numbers = _numbers(value[0])
    if numbers is None or len(numbers) % 2 or len(numbers) < 2 * _CORNERS:
        return None
    sides = np.array([size[1], size[0]], np.float64)
    corners = np.array(numbers).reshape(-1, 2)
    around = np.concatenate((corners.min(axis=0), corners.max(axis=0)))
    return corners if _is_a_row(around / [*sides, *sides]) else np.clip(corners, 0, sides)


def _numbers(value: Any) -> list[float] | None:
    """A list of finite numbers as such; None where it is none."""
    if not isinstance(value, list):
        return None
    plain = [v for v in value if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(plain) != len(value) or not np.isfinite(np.array(plain, np.float64)).all():
        return None
    return [float(v) for v in plain]


def _labelled(
    picture: tuple[Path, PurePosixPath, Mapping[str, Any]],
    size: tuple[int, int] | InputError,
    objects: Sequence[tuple[Array, Array | None]],
    told: Told,
) -> Labelled | None:
    place, name, item = picture
    if isinstance(size, InputError):
        told.add("pictures left out", str(size))
        return None
    for key, side in (("height", size[0]), ("width", size[1])):
        stated = item.get(key)
        if isinstance(stated, (int, float)) and stated > 0 and stated != side:
            cause = f"is {size[1]} by {size[0]} pixels"
            said = f"{item.get('width')} by {item.get('height')} as the file says"
            raise InputError(place, cause, said)
    boxes = np.array([box for box, _ in objects], np.float64).reshape(-1, 5)
    return Labelled(place, name, size, boxes, tuple(outline for _, outline in objects))
