"""A labelled dataset as YOLO users keep it: data.yaml, folders of images, one text file per image.

    path: datasets/shapes      # relative to the folder data.yaml lies in
    train: images/train        # a folder, a list of images in a .txt, or several of them
    val: images/val
    names: {0: circle, 1: square}

This module says which files belong to a dataset; `labels` reads what stands in the label files and
`samples` looks at all of a split. Every stage reads datasets through these three, as YOLOv5 does.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo_core.errors import InputError
from yolo_core.files import PathLike, read_text
from yolo_core.outputs import is_result
from yolo_core.words import shown, text_fault
from yolo_core.yolo.architecture import MAX_CLASSES
from yolo_core.yolo.labels import label_path as label_path
from yolo_core.yolo.labels import read_labels as read_labels

#: YOLOv5 takes these for pictures; what is in them is told from their bytes.
IMAGE_ENDINGS = (".bmp", ".dng", ".jpeg", ".jpg", ".mpo", ".pfm", ".png", ".tif", ".tiff", ".webp")
#: The files by which a folder of results is known: of a detection, and of a training.
DETECTIONS, TRAINING = "detections.json", "results.csv"
_SPLITS = ("train", "val", "test")
_ADDRESS = re.compile(r"(?:^|/)([a-z][a-z0-9+]+):/(.*)")
#: Keys that people write for a split and YOLOv5 does not read.
_OTHER_WORDS = {"train": ("training",), "val": ("valid", "validation"), "test": ("testing",)}
_YAML = (".yaml", ".yml")


@dataclass(frozen=True)
class DataConfig:
    """What a data.yaml says. train, val, test: folders, lists or images; may be empty.

    A place that does not exist is an error only for the command that asks for its split.
    misnamed: split → the key that stands for it and that YOLOv5 does not read.
    """

    source: Path
    root: Path
    train: tuple[Path, ...]
    val: tuple[Path, ...]
    test: tuple[Path, ...]
    names: tuple[str, ...]
    misnamed: tuple[tuple[str, str], ...] = ()

    def places(self, split: str) -> tuple[Path, ...]:
        """Where the images of "train", "val" or "test" lie; InputError when that is nowhere."""
        places: tuple[Path, ...] = getattr(self, split)
        if not places:
            other = dict(self.misnamed).get(split)
            cause = f" but `{other}`, which YOLOv5 does not read" if other else ""
            expected = f"the key `{split}` in its place" if other else "a folder of images"
            raise InputError(self.source, f"has no `{split}`{cause}", expected)
        for place in places:
            if not _exists(place):
                raise _absent(self.source, place, split)
        return places

    def images(self, split: str) -> list[Path]:
        """The images of a split, sorted within each place; InputError when there are none."""
        return [image for place in self.places(split) for image in list_images(place)]


def is_yaml(path: PathLike) -> bool:
    """Whether a path is called as a data.yaml is, and not as a folder, a list or a picture."""
    return Path(path).suffix.lower() in _YAML


def read_data_yaml(path: PathLike) -> DataConfig:
    """A data.yaml. InputError where it says no classes, and where nothing that it names exists.

    Classes that are counted by `nc` and not named are class0, class1 …, as YOLOv5 calls them.
    """
    from yolo_core.yaml_file import read_yaml  # a node, which reads none, is spared the library

    source = Path(path)
    if os.path.isdir(source):
        raise InputError(source, "is a folder", "its data.yaml")
    data = read_yaml(source)
    if not isinstance(data, dict):
        raise InputError(source, "is not a mapping", "path, train, val and names")
    nc = data.get("nc")
    names = _names(_counted(nc) if data.get("names") is None else data["names"], source)
    if nc not in (None, len(names), str(len(names))):
        raise InputError(source, f"says nc: {nc!r:.40} and has {len(names)} names", "as many")
    root = _root(data.get("path"), source)
    splits = {split: _folders(data.get(split), root, source, split) for split in _SPLITS}
    named = [(split, place) for split in _SPLITS for place in splits[split]]
    if named and not any(_exists(place) for _, place in named):
        split, place = named[0]
        raise _absent(source, place, split)
    misnamed = tuple(
        (split, word) for split in _SPLITS for word in _OTHER_WORDS[split]
        if word in data and split not in data
    )  # fmt: skip
    return DataConfig(source, root, splits["train"], splits["val"], splits["test"], names, misnamed)


def _absent(source: Path, place: Path, split: str) -> InputError:
    address = _ADDRESS.search(place.as_posix())  # a path has lost one of its slashes
    if address:
        cause = f"names {address[1]}://{address[2]} as `{split}`, which is an address"
        return InputError(source, cause, "a folder on this machine")
    return InputError(source, f"names {place} as `{split}`, which does not exist")


def _exists(place: Path) -> bool:
    # os.path answers no where Path raises: names that are too long, for one.
    return os.path.exists(place)


def _counted(nc: Any) -> list[str] | None:
    """Names for so many classes; None where `nc` is no number of classes."""
    count = int(nc) if _is_number(nc) else nc
    if isinstance(count, bool) or not isinstance(count, int):
        return None
    return [f"class{number}" for number in range(min(count, MAX_CLASSES + 1))]


def _names(value: Any, source: Path) -> tuple[str, ...]:
    if isinstance(value, str) and value:
        form = ", ".join(word.strip() for word in value.split(","))
        expected = f"names: [{form:.60}]" if "," in value else "a list or mapping of names"
        raise InputError(source, f"has `names` as one text, {value!r:.60}", expected)
    if isinstance(value, dict):
        # YOLOv5 takes the keys "0" and 0 for the same.
        numbered = {int(key) if _is_number(key) else key: name for key, name in value.items()}
        if set(numbered) != set(range(len(value))):
            raise InputError(source, "has `names` with gaps", f"keys 0 to {len(value) - 1}")
        value = [numbered[index] for index in range(len(value))]
    if not isinstance(value, list) or not value:
        raise InputError(source, "has no `names`", "the class names as a list or mapping, or nc")
    if len(value) > MAX_CLASSES:
        raise InputError(source, f"has {len(value)} names", f"at most {MAX_CLASSES}")
    seen: dict[str, int] = {}
    for number, name in enumerate(value):
        # YAML reads an unquoted yes, no, on or off as true or false, and nothing as null.
        # An unquoted .nan or .inf is a number that is none.
        number_like = isinstance(name, (int, float)) and not isinstance(name, bool)
        if not isinstance(name, str) and not (number_like and math.isfinite(name)):
            raise InputError(source, f"has the class name {name!r:.40}", "names, quoted if need be")
        fault = text_fault(str(name)) or (None if str(name).isprintable() else "cannot be seen")
        if fault:
            cause = f"has the class name {name!r:.40}, which {fault}"
            raise InputError(source, cause, "a short name of signs that can be seen")
        if str(name) in seen:
            cause = f"calls the classes {seen[str(name)]} and {number} both {name!r:.40}"
            raise InputError(source, cause, "a name for each class")
        seen[str(name)] = number
    return tuple(seen)


def _is_number(key: Any) -> bool:
    return isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 9


def _root(value: Any, source: Path) -> Path:
    if value is None:
        return source.parent
    if not isinstance(value, str):
        raise InputError(source, f"has `path` {value!r}", "a folder")
    # YOLOv5 reads `path` relative to the working folder; beside the file is tried first.
    forms = [place for form in _spellings(value) for place in (source.parent / form, Path(form))]
    return next(filter(os.path.isdir, forms), Path(value))


def _folders(value: Any, root: Path, source: Path, split: str) -> tuple[Path, ...]:
    items = value if isinstance(value, list) else [] if value in (None, "") else [value]
    places = []
    for item in items:
        if not isinstance(item, str) or not item:
            raise InputError(source, f"has `{split}` {item!r:.60}", "folders of images")
        place = next(filter(_exists, _readings(item, root, source)), root / item)
        if is_yaml(place) and os.path.isfile(place):
            cause = f"names {place} as `{split}`, which is a YAML file"
            raise InputError(source, cause, "a folder of images, a list of them or an image")
        places.append(place)
    return tuple(places)


def _readings(item: str, root: Path, source: Path) -> Iterator[Path]:
    """What a place may mean, the likeliest first: exports name folders that the reader has not."""
    for below in map(Path, _spellings(item)):
        yield root / below
        while below.parts[:1] == ("..",):
            below = Path(*below.parts[1:])
            yield root / below
        if not below.is_absolute():
            yield source.parent / below
            # `my-set-1/train/images`, written beside the folder `my-set-1` that holds data.yaml.
            if below.parts[:1] == (source.parent.resolve().name,):
                yield source.parent / Path(*below.parts[1:])


def _spellings(name: str) -> tuple[str, ...]:
    """A path as written, and with the backslashes of Windows as separators."""
    return (name, name.replace("\\", "/")) if "\\" in name else (name,)


def list_images(place: PathLike) -> list[Path]:
    """Images of a folder (and those in it), of a list, or the one image itself, sorted.

    Links to folders are followed, each folder counts once; what is hidden (`.ipynb_checkpoints`,
    `._x.jpg`) is no image, and neither is what a detection or a training of ours drew. A list's
    line that begins with `./` is meant from the list's folder, another from the working folder,
    then from the list's. Any file that is not called like an image is a list. Where one of its
    lines is called like an image, all count: readers tell those that are none.
    """
    place = Path(place)
    if os.path.isdir(place):
        found = sorted(path for path in files_below(place) if is_image_name(path))
    elif not _exists(place):
        raise InputError(place, "does not exist", "a folder of images, a .txt list or an image")
    elif is_image_name(place):
        found = [place]
    else:
        found = sorted(listed(place))
    if not any(map(is_image_name, found)):
        first = f"; its first line names {shown(found[0], 60)}" if found else ""
        expected = f"files ending in {' '.join(IMAGE_ENDINGS)}"
        raise InputError(place, f"holds no image{first}", expected)
    return found


def is_image_name(path: PathLike) -> bool:
    """Whether a file of that name is taken for an image."""
    return os.fspath(path).lower().endswith(IMAGE_ENDINGS)


def files_below(folder: PathLike) -> Iterator[Path]:
    """Every file below a folder that is not hidden, through links too; each folder once.

    Folders of results of ours that lie in it are passed over. InputError for a folder that cannot
    be read.
    """
    seen = {os.path.realpath(folder)}
    # A link back to a folder above would bring in what lies beside this one: other splits.
    seen.update(str(parent) for parent in Path(os.path.realpath(folder)).parents)

    def refuse(error: OSError) -> None:
        reason = error.strerror or "?"
        raise InputError(error.filename or folder, f"cannot be read ({reason})", "a readable one")

    for place, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        kept = []
        for name in sorted(folders):
            real = os.path.realpath(os.path.join(place, name))
            if not name.startswith(".") and real not in seen and not holds_results(real):
                seen.add(real)
                kept.append(name)
        folders[:] = kept
        yield from (Path(place) / name for name in names if not name.startswith("."))


def holds_results(folder: PathLike) -> bool:
    """Whether a detection or a training of ours has written into this folder."""
    return any(is_result(Path(folder, name), changed=True) for name in (DETECTIONS, TRAINING))


def listed(place: Path) -> Iterator[Path]:
    """The places that the lines of a .txt list name, read as `list_images` says."""
    for line in read_text(place).splitlines():
        forms = [_from_list(form, place.parent) for form in _spellings(line.strip()) if form]
        if forms:
            yield next(filter(_exists, forms), forms[0])


def _from_list(line: str, folder: Path) -> Path:
    beside = folder / line
    if line.startswith("./"):
        return beside
    return beside if _exists(beside) and not _exists(Path(line)) else Path(line)
