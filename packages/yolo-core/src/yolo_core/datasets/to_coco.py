"""A YOLO dataset as COCO annotation files, one for each of its splits.

Boxes lose nothing: their sides are written with all digits, so that the way back gives the very
numbers that training reads. Outlines become polygons.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import PathLike, atomic_files
from yolo_core.outputs import check_outputs
from yolo_core.yolo.dataset import DataConfig, read_data_yaml
from yolo_core.yolo.samples import Sample, check_samples

#: Categories are numbered from 1, because some tools read category 0 as background.
FIRST_CATEGORY = 1


def write_coco(
    data: PathLike, out: PathLike, strict: bool = False
) -> tuple[list[str], dict[Path, Path]]:
    """Write `out`/train.json, val.json and test.json for the splits that data.yaml names.

    strict: InputError instead of leaving anything out. Returns lines to tell, and of each file that
    was written the folder of its pictures.
    """
    config = read_data_yaml(data)
    splits = [name for name in ("train", "val", "test") if _exists(config, name)]
    targets = {split: Path(out) / f"{split}.json" for split in splits}
    check_outputs([data], targets.values())
    lines, contents, folders = [], {}, {}
    for split, target in targets.items():
        samples, report = check_samples(config.images(split), len(config.names), split)
        if strict:
            report.refuse_faults()
        folders[target], content = coco_of(samples, config.names)
        contents[target] = json.dumps(content, ensure_ascii=False) + "\n"
        lines += report.summary().splitlines()
        lines.append(
            f"{target}: {len(content['annotations'])} boxes, pictures below {folders[target]}"
        )
    if not lines:
        raise InputError(config.source, "names no split that exists", "train, val or test")
    atomic_files(contents)
    return lines, folders


def _exists(config: DataConfig, split: str) -> bool:
    places: Sequence[Path] = getattr(config, split)
    return bool(places) and all(os.path.exists(place) for place in places)


def coco_of(samples: Sequence[Sample], names: Sequence[str]) -> tuple[Path, dict[str, Any]]:
    """The folder that all pictures lie below, and the annotations as a COCO file has them."""
    places = [os.path.abspath(sample.image) for sample in samples]
    folder = os.path.commonpath([os.path.dirname(place) for place in places])
    ids = _image_ids(places)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for sample, place, number in zip(samples, places, ids):
        height, width = sample.size
        name = os.path.relpath(place, folder).replace(os.sep, "/")
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        outlines = sample.outlines or (None,) * len(sample.labels)
        for row, outline in zip(sample.labels, outlines):
            note = _annotation(row, outline, (height, width))
            annotations.append({"id": len(annotations) + 1, "image_id": number, **note})
    categories = [
        {"id": index + FIRST_CATEGORY, "name": name, "supercategory": ""}
        for index, name in enumerate(names)
    ]
    return Path(folder), {"images": images, "annotations": annotations, "categories": categories}


def _image_ids(places: Sequence[str]) -> list[int]:
    """The numbers that all files are called by, where they differ, as in COCO; else 1, 2 …"""
    stems = [Path(place).stem for place in places]
    if all(stem.isascii() and stem.isdigit() and len(stem) < 16 for stem in stems):
        numbers = [int(stem) for stem in stems]
        if len(set(numbers)) == len(numbers):
            return numbers
    return list(range(1, len(places) + 1))


def _annotation(row: Array, outline: Array | None, size: tuple[int, int]) -> Mapping[str, Any]:
    height, width = size
    label, *shares = (float(value) for value in row)
    x, y, w, h = (share * side for share, side in zip(shares, (width, height) * 2))
    polygon = []
    if outline is not None:
        polygon = [(outline.astype(np.float64) * [width, height]).ravel().tolist()]
    return {
        "category_id": int(label) + FIRST_CATEGORY,
        "bbox": [x - w / 2, y - h / 2, w, h],
        "area": w * h,
        "iscrowd": 0,
        "segmentation": polygon,
    }
