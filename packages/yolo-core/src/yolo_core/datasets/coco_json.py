"""COCO annotation files as people have them, read as pycocotools reads them.

What cannot be used is left out and told, as everywhere: an annotation without a usable box, or of
a picture or category that is not listed; a picture that is not in the folder; a category without
annotations that is called like one with some (exports list a set's own name so). What would change
the meaning of the rest is refused: ids that stand twice, names of two categories that are the same.
`dataset convert` and the evaluation read such files through this module alone.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from yolo_core.errors import InputError
from yolo_core.files import read_json
from yolo_core.words import NAME_LIMIT, shown, text_fault
from yolo_core.yolo.samples import picture_sizes

#: Largest annotation or run file in bytes, and most values in it; instances_train2017.json has
#: 0.45 GB and about 45 million values, polygons included.
JSON_LIMIT, JSON_VALUES = 1 << 30, 64 << 20
#: Longest name of a picture below its folder, in characters.
PATH_LIMIT = 4096

#: Numbers of boxes, areas and scores are smaller than this.
MOST = 1e15
_LARGEST_SIDE = 1 << 20


@dataclass(frozen=True)
class Image:
    """One picture: its id, its name below the image folder, its size in pixels."""

    id: int
    file_name: str
    width: int
    height: int


@dataclass(frozen=True)
class Category:
    """One class of objects as the annotation file counts it."""

    id: int
    name: str


@dataclass(frozen=True)
class Box:
    """One annotated object: `bbox` is x, y, width, height in pixels of the original image.

    crowd: the box marks a group; detections inside it count neither for nor against a model.
    area: pixels, for the small, medium and large figures.
    """

    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float
    crowd: bool


@dataclass(frozen=True)
class CocoFile:
    """What an annotation file says: images and categories in ascending id, boxes by image, then in
    the order of the file.

    places, segmentations: of each box, its place in the file and what stands there as
    `segmentation`, unchecked. image_ids, category_ids: our ids by those of the file as text, where
    the file's are not all whole numbers; empty where ours are the file's. absent: pictures that are
    left out, rows: annotations that are, unused: categories that are, each with its cause. sizes:
    pictures of another size than the file says, which count as they are.
    """

    images: tuple[Image, ...]
    categories: tuple[Category, ...]
    boxes: tuple[Box, ...]
    places: tuple[str, ...]
    segmentations: tuple[Any, ...]
    image_ids: Mapping[str, int]
    category_ids: Mapping[str, int]
    absent: tuple[str, ...]
    rows: tuple[str, ...]
    unused: tuple[str, ...]
    sizes: tuple[str, ...]


def read_coco(source: Path, folder: Path | None) -> CocoFile:
    """Read a COCO `instances.json`.

    folder: where the pictures lie; a name is looked for below it, with or without the folders that
    it names, and the size is the picture's own. None where the pictures are not needed: none is
    then looked for, and sizes are those of the file. InputError for what is not an annotation file,
    and where no picture is usable.
    """
    if folder is not None and not folder.is_dir():
        raise InputError(folder, "is not a folder", "the folder of the annotated images")
    content = read_json(source, JSON_LIMIT, JSON_VALUES)
    if not isinstance(content, dict):
        raise InputError(source, "is not a COCO annotation file", "an object with images")
    reader = _Reader(str(source), folder)
    listed = list_of(content, "categories", reader.source)
    notes = list_of(content, "annotations", reader.source)
    categories = reader.categories(listed, notes)
    images = reader.images(list_of(content, "images", reader.source), notes)
    found = sorted(reader.boxes(notes), key=lambda entry: entry[0].image_id)
    boxes, places, segmentations = zip(*found) if found else ((), (), ())
    return CocoFile(
        images, categories, boxes, places, segmentations,
        _renamed(reader.images_by), _renamed(reader.categories_by),
        tuple(reader.absent), tuple(reader.rows), tuple(reader.unused), tuple(reader.sizes),
    )  # fmt: skip


def _renamed(ids: Mapping[str, int | None]) -> dict[str, int]:
    """The ids that are others here than in the file; all of them, or none."""
    known = {key: own for key, own in ids.items() if own is not None}
    return {} if all(key == str(own) for key, own in known.items()) else known


@dataclass
class _Reader:
    """What is known while a file is read. images_by, categories_by: the ids in the file, as text,
    with our own; pictures that are left out have None. rows, absent, unused: what is left out.
    sizes: images of another size than stated.
    """

    source: str
    folder: Path | None
    images_by: dict[str, int | None] = field(default_factory=dict)
    categories_by: dict[str, int] = field(default_factory=dict)
    rows: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    sizes: list[str] = field(default_factory=list)
    _corners: dict[str, tuple[int, int]] | None = None

    def categories(self, items: Sequence[Any], notes: Sequence[Any]) -> tuple[Category, ...]:
        if not items:
            raise InputError(self.source, "lists no categories", "at least one category")
        ids = _numbered([_identity(item, "category", self.source) for item in items])
        for item, own in zip(items, ids):
            key = id_text(item["id"])
            if key in self.categories_by:
                raise InputError(self.source, f"has the category id {key:.60} twice", "unique ids")
            self.categories_by[key] = own
        used = {id_text(note.get("category_id")) for note in notes if isinstance(note, dict)}
        found: dict[str, str] = {}
        for item in items:
            key = id_text(item["id"])
            name = self._category_name(item, key)
            before = found.setdefault(name, key)
            if before == key:
                continue
            kept, left = (before, key) if before in used else (key, before)
            if left in used or kept not in used:
                raise InputError(self.source, f"has two categories {name!r:.60}", "a name for each")
            self.unused.append(f"category {left:.60} is called {name!r:.60} like {kept:.60}")
            del self.categories_by[left]
            found[name] = kept
        named = (Category(self.categories_by[key], name) for name, key in found.items())
        return tuple(sorted(named, key=lambda category: category.id))

    def _category_name(self, item: Mapping[str, Any], key: str) -> str:
        name = item.get("name")
        if isinstance(name, (int, float)) and not isinstance(name, bool):
            name = str(name)  # as in a data.yaml
        if not isinstance(name, str) or not name:
            raise InputError(self.source, f"category {key:.60} has no name", "a name")
        check_name(name, f"category {key:.60}", self.source)
        return name

    def images(self, items: Sequence[Any], notes: Sequence[Any]) -> tuple[Image, ...]:
        if not items:
            raise InputError(self.source, "lists no images", "at least one image")
        ids = _numbered([_identity(item, "image", self.source) for item in items])
        named: list[tuple[Mapping[str, Any], int, str]] = []
        for item, own in zip(items, ids):
            key = id_text(item["id"])
            if key in self.images_by:
                raise InputError(self.source, f"has the image id {key:.60} twice", "unique ids")
            name = self._name(item, key)
            self.images_by[key] = None if name is None else own
            if name is not None:
                named.append((item, own, name))
        if not named and self.folder is not None:
            missing = items[0]["file_name"]
            expected = f"the image with id {items[0]['id']!s:.60} of {self.source}"
            raise InputError(self.folder / shown(missing), "does not exist", expected)
        if self.folder is None:
            corners = _far_corners(notes)
            found = [_without_picture(*entry, corners) for entry in named]
        else:
            sizes = picture_sizes([self.folder / name for _, _, name in named], "check pictures")
            looks = [self._with_picture(*entry, notes, size) for entry, size in zip(named, sizes)]
            found = [image for image in looks if image is not None]
        if not found:
            cause = f"lists no image that can be used ({self.absent[0]})"
            raise InputError(self.source, cause, "its pictures")
        return tuple(sorted(found, key=lambda image: image.id))

    def _name(self, item: Mapping[str, Any], key: str) -> str | None:
        """The image's name below the folder; None where it is not there."""
        name = item.get("file_name")
        if not isinstance(name, str) or not name:
            raise InputError(self.source, f"image {key:.60} has no file_name", "a relative path")
        address = name.partition("://")[2]
        if address:  # of a server; the picture lies here under its last words
            name = unquote(re.split("[?#]", address)[0])
        fault = text_fault(name, PATH_LIMIT)
        if fault:
            self.absent.append(f"image {key:.60} has a name that {fault}")
            return None
        path = PurePosixPath(name.replace("\\", "/"))
        if ".." in path.parts:
            cause = f"image {key:.60} lies outside the folder"
            raise InputError(self.source, cause, "a path below it")
        # The folders above the pictures may have other names here than where the file was made.
        parts = path.parts[1:] if path.is_absolute() else path.parts
        if self.folder is None:
            return PurePosixPath(*parts).as_posix()
        for start in range(len(parts)):
            below = PurePosixPath(*parts[start:])
            place = self.folder / below
            if os.path.lexists(place) and not os.path.isdir(place):
                return below.as_posix()
        self.absent.append(f"{name} is not in {self.folder}")
        return None

    def _with_picture(
        self,
        item: Mapping[str, Any],
        own: int,
        name: str,
        notes: Sequence[Any],
        size: tuple[int, int] | InputError,
    ) -> Image | None:
        """An image of the size that its picture has; None where that cannot be decoded.

        Where the file says another size, and a box that lies within that size reaches out of the
        picture, the boxes are of another picture than this one: it is left out.
        """
        key = id_text(item["id"])
        if isinstance(size, InputError):
            self.images_by[key] = None
            self.absent.append(str(size))
            return None
        height, width = size
        stated = _side(item.get("width")) or width, _side(item.get("height")) or height
        if stated != (width, height):
            told = f"{name} is {width} by {height} pixels, not {stated[0]} by {stated[1]}"
            right, bottom = self._far_corner(key, notes)
            if right > width + 1 or bottom > height + 1:
                self.images_by[key] = None
                self.absent.append(f"{told}, and has a box that reaches to {right}, {bottom}")
                return None
            self.sizes.append(told)
        return Image(own, name, width, height)

    def _far_corner(self, key: str, notes: Sequence[Any]) -> tuple[int, int]:
        """How far the boxes of an image reach. Most files have no image that is asked for."""
        if self._corners is None:
            self._corners = _far_corners(notes)
        return self._corners.get(key, (1, 1))

    def boxes(self, notes: Sequence[Any]) -> list[tuple[Box, str, Any]]:
        """Each usable box with its place and segmentation."""
        found = []
        for number, item in enumerate(notes):
            place = f"annotation {number}"
            try:
                box = self._box(item)
            except InputError as error:
                self.rows.append(f"{place}: {error.cause}")
                continue
            if box is not None:
                found.append((box, place, item.get("segmentation")))
        return found

    def _box(self, item: Any) -> Box | None:
        """One annotation; None where its picture is left out."""
        if not isinstance(item, dict):
            raise InputError(self.source, "is not an object")
        image, category = id_text(item.get("image_id")), id_text(item.get("category_id"))
        if image not in self.images_by:
            raise InputError(self.source, f"is on the unknown image {image:.60}")
        if category not in self.categories_by:
            raise InputError(self.source, f"is of the unknown category {category:.60}")
        sides = bbox(item, self.source)
        crowd = item.get("iscrowd")
        if crowd not in (None, 0, 1):
            raise InputError(self.source, f"has iscrowd {crowd!r:.60}")
        area = finite(item.get("area"))
        if area is None or area < 0:
            area = sides[2] * sides[3]
        own = self.images_by[image]
        return None if own is None else Box(own, self.categories_by[category], sides, area,
                                            bool(crowd))  # fmt: skip


def finite(value: Any) -> float | None:
    """`value` as a finite float below `MOST` in magnitude, or None where it is none."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        with_limit = float(value) if abs(value) < MOST else math.nan
        return with_limit if math.isfinite(with_limit) else None
    return None


def bbox(item: Mapping[str, Any], source: str) -> tuple[float, float, float, float]:
    """The checked `bbox` of an annotation or a prediction: x, y, width ≥ 0, height ≥ 0."""
    values = item.get("bbox")
    if isinstance(values, list) and len(values) == 4:
        sides = [side for side in map(finite, values) if side is not None]
        if len(sides) == 4 and sides[2] >= 0 and sides[3] >= 0:
            return sides[0], sides[1], sides[2], sides[3]
    raise InputError(
        source, f"has the box {short(values)}", "bbox: [x, y, width, height], finite, sizes ≥ 0"
    )


def list_of(content: Mapping[str, Any], key: str, source: str) -> list[Any]:
    """The list under `key` of an annotation file."""
    value = content.get(key)
    if not isinstance(value, list):
        raise InputError(source, f"has no list {key!r}", "a COCO annotation file")
    return value


def check_name(name: str, what: str, source: str, limit: int = NAME_LIMIT) -> None:
    """InputError for a name that holds what cannot be shown, or is too long."""
    fault = text_fault(name, limit)
    if fault:
        raise InputError(source, f"{what} has a name that {fault}", "printable text")


def short(value: Any) -> str:
    """A value of a file in an error, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def id_text(value: Any) -> str:
    """An id as text, by which ids are compared: 7, 7.0 and "7" are one, as nobody means two."""
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def _identity(item: Any, what: str, source: str) -> int | str:
    """An id: a whole number or a text, as pycocotools takes anything that can be a key."""
    value = item.get("id") if isinstance(item, dict) else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, str)) or value == "":
        raise InputError(source, f"has the {what} id {value!r:.60}", "a number or a text")
    return value


def _numbered(ids: Sequence[int | str]) -> list[int]:
    """Our own ids: those of the file where all are numbers that JSON keeps exactly, else 1, 2, …
    in its order.
    """
    whole = [value for value in ids if isinstance(value, int) and abs(value) < 1 << 53]
    return whole if len(whole) == len(ids) else list(range(1, len(ids) + 1))


def _side(value: Any) -> int | None:
    """A width or height in whole pixels, None where the file does not know it."""
    side = finite(value)
    if side is None or side != int(side) or not 0 < side <= _LARGEST_SIDE:
        return None
    return int(side)


def _without_picture(
    item: Mapping[str, Any], own: int, name: str, corners: Mapping[str, tuple[int, int]]
) -> Image:
    """An image of the size that the file says, at least that of its boxes."""
    width, height = _side(item.get("width")), _side(item.get("height"))
    if width is None or height is None:
        width, height = corners.get(id_text(item["id"]), (1, 1))
    return Image(own, name, width, height)


def _far_corners(notes: Sequence[Any]) -> dict[str, tuple[int, int]]:
    """The least size in whole pixels that holds the boxes of each image."""
    found: dict[str, tuple[int, int]] = {}
    for note in notes:
        try:
            x, y, w, h = bbox(note if isinstance(note, dict) else {}, "")
        except InputError:
            continue
        right, bottom = (min(max(math.ceil(end), 1), _LARGEST_SIDE) for end in (x + w, y + h))
        key = id_text(note.get("image_id"))
        before = found.get(key, (1, 1))
        found[key] = max(before[0], right), max(before[1], bottom)
    return found
