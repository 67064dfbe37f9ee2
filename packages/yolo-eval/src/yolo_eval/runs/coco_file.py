"""COCO annotation files as people have them, read as pycocotools reads them.

What cannot be used is left out and told, as everywhere: an annotation without a usable box, or of
a picture or category that is not listed; a picture that is not in the folder. What would change
the meaning of the rest is refused: ids that stand twice, names of two categories that are the same.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from yolo_core.errors import InputError
from yolo_core.files import read_json
from yolo_core.yolo.samples import CheckReport, picture_sizes
from yolo_eval.runs.ground_truth import (
    JSON_LIMIT,
    JSON_VALUES,
    Box,
    Category,
    GroundTruth,
    Image,
    Tell,
    bbox,
    list_of,
    number,
)

_LARGEST_SIDE = 1 << 20


def from_coco(
    annotations: Path,
    images: Path | None,
    strict: bool = False,
    tell: Tell = lambda line: None,
    pictures: bool = True,
) -> GroundTruth:
    """Read a COCO `instances.json`; `images` is the folder that its file names are relative to.

    strict: refuse what would be left out. pictures: False where they are not needed (scoring);
    none is then looked for, and annotations without a box are no error. InputError for what is
    not an annotation file or has no usable box.
    """
    if images is not None and not Path(images).is_dir():
        raise InputError(images, "is not a folder", "the folder of the annotated images")
    content = read_json(annotations, JSON_LIMIT, JSON_VALUES)
    if not isinstance(content, dict):
        raise InputError(annotations, "is not a COCO annotation file", "an object with images")
    reader = _Reader(str(annotations), images if pictures else None)
    categories = reader.categories(list_of(content, "categories", reader.source))
    notes = list_of(content, "annotations", reader.source)
    found = reader.images(list_of(content, "images", reader.source), notes)
    boxes = reader.boxes(notes)
    if not boxes and (pictures or reader.rows):
        first = f" ({reader.rows[0]})" if reader.rows else ""
        raise InputError(annotations, f"has no usable annotation{first}", "boxes of its images")
    report = CheckReport(
        str(annotations), len(found), tuple(reader.absent), rows=tuple(reader.rows)
    )
    if strict:
        report.refuse_faults()
    if report.kinds():
        tell(report.summary())
    reader.tell_of_odd_boxes(boxes, found, tell)
    folder = str(images) if images is not None else ""
    return GroundTruth(reader.source, folder, found, categories, boxes, report.left_out())


@dataclass
class _Reader:
    """What is known while a file is read. images_by, categories_by: the ids in the file, as text,
    with our own; pictures that are left out have None. rows, absent: what is left out.
    """

    source: str
    folder: Path | None
    images_by: dict[str, int | None] = field(default_factory=dict)
    categories_by: dict[str, int] = field(default_factory=dict)
    rows: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    def categories(self, items: Sequence[Any]) -> tuple[Category, ...]:
        if not items:
            raise InputError(self.source, "lists no categories", "at least one category")
        ids = _numbered([_identity(item, "category", self.source) for item in items])
        found: dict[str, int] = {}
        for item, number_ in zip(items, ids):
            key, name = str(item["id"]), item.get("name")
            if not isinstance(name, str) or not name:
                raise InputError(self.source, f"category {key} has no name", "a name")
            if key in self.categories_by:
                raise InputError(self.source, f"has the category id {key} twice", "unique ids")
            if name in found:
                raise InputError(self.source, f"has two categories {name!r:.60}", "a name for each")
            self.categories_by[key] = found[name] = number_
        named = (Category(number_, name) for name, number_ in found.items())
        return tuple(sorted(named, key=lambda category: category.id))

    def images(self, items: Sequence[Any], notes: Sequence[Any]) -> tuple[Image, ...]:
        if not items:
            raise InputError(self.source, "lists no images", "at least one image")
        ids = _numbered([_identity(item, "image", self.source) for item in items])
        named: list[tuple[Mapping[str, Any], int, str]] = []
        for item, number_ in zip(items, ids):
            key = str(item["id"])
            if key in self.images_by:
                raise InputError(self.source, f"has the image id {key} twice", "unique ids")
            name = self._name(item, key)
            self.images_by[key] = None if name is None else number_
            if name is None:
                self.absent.append(f"{item['file_name']} is not in {self.folder}")
            else:
                named.append((item, number_, name))
        if not named:
            missing = items[0]["file_name"]
            expected = f"the image with id {items[0]['id']} of {self.source}"
            raise InputError(f"{self.folder}/{missing}", "does not exist", expected)
        if self.folder is None:
            found = [self._without_picture(*entry, notes) for entry in named]
        else:
            sizes = picture_sizes([self.folder / name for _, _, name in named], "check pictures")
            looks = [self._with_picture(*entry, size) for entry, size in zip(named, sizes)]
            found = [image for image in looks if image is not None]
        if not found:
            cause = f"lists no image that can be used ({self.absent[0]})"
            raise InputError(self.source, cause, "its pictures")
        return tuple(sorted(found, key=lambda image: image.id))

    def _name(self, item: Mapping[str, Any], key: str) -> str | None:
        """The image's name below the folder; None where it is not there."""
        name = item.get("file_name")
        if not isinstance(name, str) or not name:
            raise InputError(self.source, f"image {key} has no file_name", "a relative path")
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or "\0" in name:
            raise InputError(self.source, f"image {key} lies outside the folder", "a relative path")
        if self.folder is None:
            return path.as_posix()
        # The folders above the pictures may have other names here than where the file was made.
        for start in range(len(path.parts)):
            below = PurePosixPath(*path.parts[start:])
            if os.path.isfile(self.folder / below):
                return below.as_posix()
        return None

    def _with_picture(
        self, item: Mapping[str, Any], number_: int, name: str, size: tuple[int, int] | InputError
    ) -> Image | None:
        """An image of the size that its picture has; None where that cannot be decoded."""
        if isinstance(size, InputError):
            self.images_by[str(item["id"])] = None
            self.absent.append(str(size))
            return None
        height, width = size
        for stated, side in (
            (_side(item.get("width")), width),
            (_side(item.get("height")), height),
        ):
            if stated is not None and stated != side:
                said = f"{item['width']} by {item['height']} as in {self.source}"
                place = f"{self.folder}/{name}"
                raise InputError(place, f"is {width} by {height} pixels", said)
        return Image(number_, name, width, height)

    def _without_picture(
        self, item: Mapping[str, Any], number_: int, name: str, notes: Sequence[Any]
    ) -> Image:
        """An image of the size that the file says, at least that of its boxes."""
        width, height = _side(item.get("width")), _side(item.get("height"))
        if width is None or height is None:
            ends = [_far_corner(note) for note in notes if _is_on(note, item["id"])]
            width, height = (max((end[axis] for end in ends), default=1) for axis in (0, 1))
        return Image(number_, name, width, height)

    def boxes(self, notes: Sequence[Any]) -> tuple[Box, ...]:
        found = []
        for place, item in enumerate(notes):
            try:
                box = self._box(item)
            except InputError as error:
                self.rows.append(f"annotation {place}: {error.cause}")
                continue
            if box is not None:
                found.append(box)
        return tuple(sorted(found, key=lambda box: box.image_id))

    def _box(self, item: Any) -> Box | None:
        """One annotation; None where its picture is left out."""
        if not isinstance(item, dict):
            raise InputError(self.source, "is no object")
        image, category = str(item.get("image_id")), str(item.get("category_id"))
        if image not in self.images_by:
            raise InputError(self.source, f"is on the unknown image {image:.60}")
        if category not in self.categories_by:
            raise InputError(self.source, f"is of the unknown category {category:.60}")
        sides = bbox(item, self.source)
        crowd = item.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise InputError(self.source, f"has iscrowd {crowd!r:.60}")
        area = number(item.get("area"))
        if area is None or area < 0:
            area = sides[2] * sides[3]
        own = self.images_by[image]
        return None if own is None else Box(own, self.categories_by[category], sides, area,
                                            bool(crowd))  # fmt: skip

    def tell_of_odd_boxes(self, boxes: Sequence[Box], images: Sequence[Image], tell: Tell) -> None:
        """Boxes that are scored as written and are hardly meant so."""
        sizes = {image.id: (image.width, image.height) for image in images}
        flat = sum(box.bbox[2] == 0 or box.bbox[3] == 0 for box in boxes)
        outside = 0
        for box in boxes:
            (x, y, w, h), (width, height) = box.bbox, sizes[box.image_id]
            # A pixel of rounding is common.
            outside += x < -1 or y < -1 or x + w > width + 1 or y + h > height + 1
        if flat:
            tell(f"{self.source}: {flat} boxes have no area and cannot be found; they count")
        if outside:
            tell(f"{self.source}: {outside} boxes reach out of their picture; scored as written")


def _identity(item: Any, what: str, source: str) -> int | str:
    """An id: a whole number or a text, as pycocotools takes anything that can be a key."""
    value = item.get("id") if isinstance(item, dict) else None
    if isinstance(value, bool) or not isinstance(value, (int, str)) or value == "":
        raise InputError(source, f"has the {what} id {value!r:.60}", "a number or a text")
    if isinstance(value, int) and abs(value) >= 1 << 53:
        raise InputError(source, f"has the {what} id {value!r:.60}", "a smaller number")
    return value


def _numbered(ids: Sequence[int | str]) -> list[int]:
    """Our own ids: those of the file where all are numbers, else 1, 2, … in its order."""
    whole = [value for value in ids if isinstance(value, int)]
    return whole if len(whole) == len(ids) else list(range(1, len(ids) + 1))


def _side(value: Any) -> int | None:
    """A width or height in whole pixels, None where the file does not know it."""
    side = number(value)
    if side is None or side != int(side) or not 0 < side <= _LARGEST_SIDE:
        return None
    return int(side)


def _is_on(note: Any, image: Any) -> bool:
    return isinstance(note, dict) and str(note.get("image_id")) == str(image)


def _far_corner(note: Mapping[str, Any]) -> tuple[int, int]:
    try:
        x, y, w, h = bbox(note, "")
    except InputError:
        return 1, 1
    right, bottom = (min(max(math.ceil(end), 1), _LARGEST_SIDE) for end in (x + w, y + h))
    return right, bottom
