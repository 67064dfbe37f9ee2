"""What is true about the pictures: images, categories and boxes of one evaluation.

Two sources, one result: a COCO annotation file with its image folder, or a YOLO `data.yaml`
whose labels become COCO boxes in memory. Everything is checked before anything is predicted.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from yolo_core.datasets.coco_json import (
    PATH_LIMIT,
    Box,
    Category,
    Image,
    bbox,
    check_name,
    finite,
    list_of,
    read_coco,
    short,
)
from yolo_core.errors import InputError
from yolo_core.yolo.dataset import read_data_yaml
from yolo_core.yolo.samples import CheckReport, check_samples

#: Hears what is left out.
Tell = Callable[[str], None]

#: Categories of a YOLO dataset get the class index plus this, because some tools read category
#: 0 as background.
FIRST_CATEGORY = 1


@dataclass(frozen=True)
class GroundTruth:
    """Images and categories in ascending id; boxes by image, then in the order of the source.

    left_out: how many pictures and rows of the source take no part, by kind. image_ids,
    category_ids: as in `CocoFile`, for lists of detections that name the ids of the source.
    """

    source: str
    folder: str
    images: tuple[Image, ...]
    categories: tuple[Category, ...]
    boxes: tuple[Box, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    image_ids: Mapping[str, int] = field(default_factory=dict)
    category_ids: Mapping[str, int] = field(default_factory=dict)

    @property
    def objects(self) -> int:
        """Number of boxes that count (crowds do not)."""
        return sum(not box.crowd for box in self.boxes)

    @property
    def crowds(self) -> int:
        return len(self.boxes) - self.objects

    def path(self, image: Image) -> Path:
        return Path(self.folder) / image.file_name

    def shard(self, index: int, count: int) -> GroundTruth:
        """Every `count`-th image from the `index`-th on (1-based), with its boxes."""
        images = self.images[index - 1 :: count]
        kept = {image.id for image in images}
        boxes = tuple(box for box in self.boxes if box.image_id in kept)
        return replace(self, images=images, boxes=boxes)

    def digest(self) -> str:
        """SHA-256 of images, categories and boxes; where the files lie plays no part."""
        return self._digest

    @functools.cached_property
    def _digest(self) -> str:
        content = self.to_dict()
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """The ground truth as a COCO annotation file."""
        return {
            "images": [
                {"id": i.id, "file_name": i.file_name, "width": i.width, "height": i.height}
                for i in self.images
            ],
            "categories": [{"id": c.id, "name": c.name} for c in self.categories],
            "annotations": [
                {
                    "id": number,
                    "image_id": box.image_id,
                    "category_id": box.category_id,
                    "bbox": list(box.bbox),
                    "area": box.area,
                    "iscrowd": int(box.crowd),
                }
                for number, box in enumerate(self.boxes, start=1)
            ],
        }


def from_data_yaml(
    data: Path, split: str = "val", strict: bool = False, tell: Tell = lambda line: None
) -> GroundTruth:
    """Read the images and labels of one split of a YOLO dataset.

    Ids are 1, 2, … in the order of the sorted file names. An image without a label file has no
    objects. What cannot be used is left out and told; strict: InputError instead. InputError
    also where no image has a box.
    """
    config = read_data_yaml(data)
    samples, report = check_samples(config.images(split), len(config.names), split, True)
    if strict:
        report.refuse_faults()
    if report.kinds():
        tell(report.summary())
    folder, names = common_folder([sample.image for sample in samples])
    images, boxes = [], []
    for number, (sample, name) in enumerate(zip(samples, names), start=1):
        height, width = sample.size
        images.append(Image(number, name, width, height))
        boxes += [_box_from_label(row, number, width, height) for row in sample.labels]
    categories = tuple(
        Category(index + FIRST_CATEGORY, name) for index, name in enumerate(config.names)
    )
    left_out = report.left_out()
    return GroundTruth(str(data), str(folder), tuple(images), categories, tuple(boxes), left_out)


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
    found = read_coco(annotations, images if pictures else None)
    if not found.boxes and (pictures or found.rows):
        first = f" ({found.rows[0]})" if found.rows else ""
        raise InputError(annotations, f"has no usable annotation{first}", "boxes of its images")
    if pictures and all(box.crowd for box in found.boxes):
        raise InputError(annotations, "has crowds alone, and nothing to be found", "single objects")
    report = CheckReport(
        str(annotations), len(found.images), found.absent, rows=found.rows, sizes=found.sizes,
        categories=found.unused, rows_are="annotations",
    )  # fmt: skip
    if strict:
        report.refuse_faults()
    if report.kinds():
        tell(report.summary())
    folder = str(images) if images is not None else ""
    truth = GroundTruth(
        str(annotations), folder, found.images, found.categories, found.boxes, report.left_out(),
        found.image_ids, found.category_ids,
    )  # fmt: skip
    _tell_of_odd_boxes(truth, tell)
    return truth


def _tell_of_odd_boxes(truth: GroundTruth, tell: Tell) -> None:
    """Boxes that are scored as written and are hardly meant so."""
    sizes = {image.id: (image.width, image.height) for image in truth.images}
    flat = sum(box.bbox[2] == 0 or box.bbox[3] == 0 for box in truth.boxes)
    outside = 0
    for box in truth.boxes:
        (x, y, w, h), (width, height) = box.bbox, sizes[box.image_id]
        # A pixel of rounding is common.
        outside += x < -1 or y < -1 or x + w > width + 1 or y + h > height + 1
    if flat:
        tell(f"{truth.source}: boxes without area, which count and cannot be found: {flat}")
    if outside:
        tell(f"{truth.source}: boxes that reach out of their picture, scored as written: {outside}")


def parse_coco(content: Any, source: str, folder: str) -> GroundTruth:
    """The ground truth in a run file of ours, checked strictly; `source` names it in errors."""
    if not isinstance(content, dict):
        raise InputError(source, "is not a COCO annotation file", "an object with images")
    categories = sorted(
        (_category(item, source) for item in list_of(content, "categories", source)),
        key=lambda category: category.id,
    )
    images = sorted(
        (_image(item, source) for item in list_of(content, "images", source)),
        key=lambda image: image.id,
    )
    _unique("image", [image.id for image in images], source)
    _unique("category", [category.id for category in categories], source)
    if not images:
        raise InputError(source, "lists no images", "at least one image")
    if not categories:
        raise InputError(source, "lists no categories", "at least one category")
    known_images = {image.id for image in images}
    known_categories = {category.id for category in categories}
    boxes = [
        _box(item, known_images, known_categories, source)
        for item in list_of(content, "annotations", source)
    ]
    boxes.sort(key=lambda box: box.image_id)
    return GroundTruth(source, folder, tuple(images), tuple(categories), tuple(boxes))


def identifier(item: Any, key: str, source: str) -> int:
    """The integer under `key` of a JSON object."""
    value = item.get(key) if isinstance(item, dict) else None
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 1 << 53:
        raise InputError(source, f"has {key} {short(value)}", "an integer")
    return value


def _image(item: Any, source: str) -> Image:
    number_ = identifier(item, "id", source)
    name = item.get("file_name")
    if not isinstance(name, str) or not name:
        raise InputError(source, f"image {number_} has no file_name", "a relative path")
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or "\0" in name:
        raise InputError(source, f"image {number_} lies outside the folder", "a relative path")
    check_name(name, f"image {number_}", source, PATH_LIMIT)
    width, height = identifier(item, "width", source), identifier(item, "height", source)
    if not (0 < width <= 1 << 20 and 0 < height <= 1 << 20):
        raise InputError(source, f"image {number_} is {width} by {height}", "a size in pixels")
    return Image(number_, name, width, height)


def _category(item: Any, source: str) -> Category:
    number_ = identifier(item, "id", source)
    name = item.get("name")
    if not isinstance(name, str) or not name:
        raise InputError(source, f"category {number_} has no name", "a name")
    check_name(name, f"category {number_}", source)
    return Category(number_, name)


def _box(item: Any, images: Set[int], categories: Set[int], source: str) -> Box:
    image, category = identifier(item, "image_id", source), identifier(item, "category_id", source)
    if image not in images:
        raise InputError(source, f"has a box on the unknown image {image}", "a listed image")
    if category not in categories:
        raise InputError(source, f"has a box of the unknown category {category}", "a listed one")
    box = bbox(item, source)
    area = finite(item.get("area", box[2] * box[3]))
    crowd = item.get("iscrowd", 0)
    if area is None or area < 0 or crowd not in (0, 1):
        raise InputError(source, f"has a box with area {area}, iscrowd {short(crowd)}", "numbers")
    return Box(image, category, box, area, bool(crowd))


def _box_from_label(row: Sequence[float], image: int, width: int, height: int) -> Box:
    """A label row (class, centre and size relative to the image) as a box in pixels."""
    x, w = float(row[1]) * width, float(row[3]) * width
    y, h = float(row[2]) * height, float(row[4]) * height
    # Label files carry about six digits; a thousandth of a pixel keeps all of them.
    box = (round(x - w / 2, 3), round(y - h / 2, 3), round(w, 3), round(h, 3))
    area = round(box[2] * box[3], 3)
    return Box(image, int(row[0]) + FIRST_CATEGORY, box, area, crowd=False)


def _unique(what: str, ids: Iterable[int], source: str) -> None:
    seen: set[int] = set()
    for value in ids:
        if value in seen:
            raise InputError(source, f"has the {what} id {value} twice", "unique ids")
        seen.add(value)


def common_folder(paths: Sequence[Path]) -> tuple[Path, list[str]]:
    """The deepest folder that holds all paths, and each path's name below it (with slashes).

    The folder is relative to the working folder unless a path is absolute.
    """
    absolute = [os.path.abspath(path) for path in paths]
    folder = os.path.commonpath([os.path.dirname(path) for path in absolute])
    names = [Path(os.path.relpath(path, folder)).as_posix() for path in absolute]
    if any(path.is_absolute() for path in paths):
        return Path(folder), names
    return Path(os.path.relpath(folder)), names
