"""COCO annotation files as a YOLO dataset: pictures, label files and data.yaml in a new folder.

OUT/images/val/street/1.jpg      a copy of each picture
OUT/labels/val/street/1.txt      a row for each object; empty for a picture without any
OUT/data.yaml                    the splits and the classes, by ascending category id

What YOLO's labels cannot say is left out and told beside what `coco_json` leaves out: crowds, and
boxes without area or outside their picture.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from yolo_core.arrays import Array
from yolo_core.datasets.coco_json import Box, CocoFile, Image, finite, read_coco
from yolo_core.errors import InputError
from yolo_core.files import PathLike, atomic_folder, read_bytes
from yolo_core.outputs import check_holds_no_input, check_outputs
from yolo_core.yolo.dataset import is_image_name
from yolo_core.yolo.letterbox import FILE_LIMIT

SPLITS = ("train", "val", "test")
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


def write_yolo(
    sources: Sequence[PathLike],
    folders: Sequence[PathLike],
    out: PathLike,
    splits: Sequence[str] = (),
    segments: bool = False,
    strict: bool = False,
) -> list[str]:
    """Write the YOLO dataset of one or several COCO files, each of which becomes a split.

    folders: of the pictures, one for each file or one for all; none takes the folder of the file.
    splits: their names; none takes them from the names of the files. segments: write outlines
    where an object has one polygon. strict: InputError instead of leaving anything out. Returns
    lines to tell.
    """
    files = [Path(source) for source in sources]
    named = list(splits) or _split_names(files)
    if len(set(named)) < len(named) or len(named) != len(files):
        cause = f"names {len(set(named))} splits for {len(files)} files"
        raise InputError("--split", cause, "another one for each of them")
    places = _folders(files, folders)
    check_outputs(files, folders=[out])
    check_holds_no_input(out, places)
    told = Told()
    lines: list[str] = []
    names: tuple[str, ...] = ()
    with atomic_folder(out) as folder:
        for split, source, place in zip(named, files, places):
            content = read_coco(source, place)
            own = tuple(category.name for category in content.categories)
            if names and own != names:
                cause = f"has other classes than {files[0]}"
                raise InputError(source, cause, "files of the same categories")
            names = own
            pictures = list(labelled(content, source, place, told))
            count = _write_split(folder, split, pictures, segments, told)
            lines.append(f"{split}: {len(pictures)} pictures, {count} boxes from {source}")
        if strict and told.kinds:
            raise InputError(files[0], told.lines()[0], "nothing to leave out or change")
        data = {split: f"images/{split}" for split in named}
        text = yaml.safe_dump(
            {**data, "names": dict(enumerate(names))}, allow_unicode=True, sort_keys=False
        )
        (folder / "data.yaml").write_text(text, encoding="utf-8")
    return [*lines, *told.lines(), f"{Path(out) / 'data.yaml'}: {len(names)} classes"]


def labelled(content: CocoFile, source: Path, folder: Path, told: Told) -> Iterator[Labelled]:
    """Every picture of an annotation file with what labels can say of it.

    folder: of the pictures. InputError where annotations are left out and no box remains.
    """
    classes = {category.id: index for index, category in enumerate(content.categories)}
    images = {image.id: image for image in content.images}
    objects: dict[int, list[tuple[Array, Array | None]]] = {key: [] for key in images}
    left_out = list(content.rows)
    for box, place, segmentation in zip(content.boxes, content.places, content.segmentations):
        image = images[box.image_id]
        try:
            corners = _corners(box, image, place, told)
        except InputError as error:
            left_out.append(f"{error.source}: {error.cause}")
            continue
        row = np.array([classes[box.category_id], *corners])
        objects[image.id].append((row, _outline(segmentation, image, place, told)))
    if left_out and not any(objects.values()):
        raise InputError(source, f"has no usable annotation ({left_out[0]})", "boxes of its images")
    for kind, places in (
        ("annotations left out", left_out),
        ("categories left out", content.unused),
        ("pictures left out", content.absent),
        ("pictures of another size than the file says", content.sizes),
    ):
        for place in places:
            told.add(kind, place)
    for image in content.images:
        found = objects[image.id]
        boxes = np.array([box for box, _ in found], np.float64).reshape(-1, 5)
        yield Labelled(
            folder / image.file_name, PurePosixPath(image.file_name), (image.height, image.width),
            boxes, tuple(outline for _, outline in found),
        )  # fmt: skip


def _corners(box: Box, image: Image, place: str, told: Told) -> Array:
    """x1, y1, x2, y2 of a box in pixels, within its picture."""
    if box.crowd:
        raise InputError(place, "is a crowd, which YOLO's labels cannot say")
    x, y, width, height = box.bbox
    if width <= 0 or height <= 0:
        raise InputError(place, f"has the box {list(box.bbox)}, which has no area")
    sides = np.array([image.width, image.height] * 2, np.float64)
    corners: Array = np.array([x, y, x + width, y + height])
    if not _is_a_row(corners / sides):
        corners = np.clip(corners, 0, sides)
        if corners[2] <= corners[0] or corners[3] <= corners[1]:
            raise InputError(place, "lies outside its picture")
        told.add("boxes cut at the edge of their picture", place)
    return corners


def _is_a_row(shares: Array) -> bool:
    """Whether a label row can say the box: its centre lies in the picture, its sides are shares."""
    row = (*(shares[:2] + shares[2:]) / 2, *(shares[2:] - shares[:2]))
    return all(0 <= value <= 1 for value in row)


def _outline(value: Any, image: Image, place: str, told: Told) -> Array | None:
    if not isinstance(value, list) or not value:
        return None  # none, or a mask in runs
    # VGG's annotator writes the numbers of its one polygon without a list around them.
    parts = value if isinstance(value[0], list) else [value]
    if len(parts) > 1:
        told.add("outlines of several parts, kept as boxes", place)
        return None
    words = parts[0]
    numbers = [known for known in map(finite, words) if known is not None]
    if len(numbers) < len(words) or len(numbers) % 2 or len(numbers) < 2 * _CORNERS:
        told.add("outlines that are none, kept as boxes", place)
        return None
    sides = np.array([image.width, image.height], np.float64)
    corners: Array = np.array(numbers).reshape(-1, 2)
    around = np.concatenate((corners.min(axis=0), corners.max(axis=0)))
    if not _is_a_row(around / [*sides, *sides]):
        corners = np.clip(corners, 0, sides)
    if min(np.ptp((corners / sides).astype(np.float32), axis=0)) <= 0:
        told.add("outlines without area, kept as boxes", place)
        return None
    return corners


def _write_split(
    folder: Path, split: str, pictures: Sequence[Labelled], segments: bool, told: Told
) -> int:
    """Write a split's pictures and label files; the number of boxes."""
    count = 0
    taken: set[str] = set()
    for picture in pictures:
        name = _free_name(picture.name, taken, told)
        image = Path("images", split, name)
        label = Path("labels", split, name).with_suffix(".txt")
        for path in (image, label):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
        rows = label_rows(picture, segments)
        count += len(rows)
        # Both lie in the folder that takes its place as a whole, and are marked with it.
        (folder / image).write_bytes(read_bytes(picture.place, FILE_LIMIT))
        (folder / label).write_text("".join(rows), encoding="utf-8")
    return count


def label_rows(picture: Labelled, segments: bool) -> list[str]:
    """A row for each object: class and box as shares of the picture, or class and outline."""
    height, width = picture.size
    rows = []
    for (label, x1, y1, x2, y2), outline in zip(picture.boxes.tolist(), picture.outlines):
        if segments and outline is not None:
            shares = (outline / [width, height]).ravel()
        else:
            centre = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height]
            shares = np.array([*centre, (x2 - x1) / width, (y2 - y1) / height])
        rows.append(f"{int(label)} {_text(shares)}\n")
    return rows


def _text(shares: Array) -> str:
    """Shares in as few digits as give the same number in single precision, as they are read."""
    short = np.asarray(shares, np.float32)
    return " ".join(np.format_float_positional(value, trim="0") for value in short)


def _free_name(name: PurePosixPath, taken: set[str], told: Told) -> PurePosixPath:
    """A name whose label file no other picture of the split has."""
    if not is_image_name(name):
        raise InputError(str(name), "is not called like a picture", "JPEG, PNG …")
    # A folder `images` within the name would send a reader of labels to another place.
    parts = ["images_" if part == "images" else part for part in name.parts[:-1]]
    free, number = PurePosixPath(*parts, name.name), 1
    while str(free.with_suffix("")).casefold() in taken:
        number += 1
        free = PurePosixPath(*parts, f"{name.stem}_{number}{name.suffix}")
    taken.add(str(free.with_suffix("")).casefold())
    if free != name:
        told.add("pictures renamed, since one label file cannot serve two", f"{name} to {free}")
    return free


def _split_names(files: Sequence[Path]) -> list[str]:
    """What the files' names say: instances_val2017.json is "val"; a single other one "train"."""
    found = []
    for file in files:
        looks = ([s for s in SPLITS if re.search(s, text, re.IGNORECASE)]
                 for text in (file.stem, file.parent.name))  # fmt: skip
        found.append(next((words[0] for words in looks if len(words) == 1), "train"))
    return found


def _folders(files: Sequence[Path], folders: Sequence[PathLike]) -> list[Path]:
    found = [Path(folder) for folder in folders] or [file.parent for file in files]
    if len(found) == 1:
        found *= len(files)
    if len(found) != len(files):
        cause = f"are {len(found)} folders for {len(files)} files"
        raise InputError("--images", cause, "one for each, or one for all")
    for folder in found:
        if not folder.is_dir():
            raise InputError(folder, "is not a folder", "the folder of the pictures")
    return found
