"""Which pictures a network is calibrated on, which it is judged on, and what they are worth."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError, SpecialFileError
from yolo_core.files import PathLike
from yolo_core.yolo.dataset import is_yaml, list_images, read_data_yaml
from yolo_core.yolo.letterbox import read_image, resize
from yolo_core.yolo.samples import each_once

MAX_CALIB = 100_000
#: Pictures that are kept from calibration, to judge the result on, where there are so many.
MAX_JUDGED = 16
#: With fewer different pictures accuracy suffers whatever is done.
FEW = 16
#: A picture whose values differ by less, of 255, shows nothing.
_FLAT = 8
#: A picture with a shorter side, in pixels, is all interpolation once it is fitted.
_TINY = 16
#: Where 99 of 100 values of a picture are below this, of 255, it is dark.
_DARK = 40
#: Side of the thumbnails by which pictures are compared; how much two must differ, of 255 and on
#: average, to count as different; how many pictures a new one is compared with.
_THUMBNAIL, _ALIKE, _COMPARED = 32, 3.0, 256
#: So many pictures of a kind are named.
_LISTED = 5

Tell = Callable[[str], None]


class Likeness:
    """Counts the pictures that differ from all before them and show anything."""

    def __init__(self) -> None:
        self._seen: list[Array] = []
        self.different = 0

    def is_new(self, pixels: Array) -> bool:
        """Whether uint8 [h, w, 3] shows what none before showed; counts it where it does."""
        if is_flat(pixels):
            return False
        small = resize(pixels, _THUMBNAIL, _THUMBNAIL).astype(np.int16)
        if any(float(np.abs(small - other).mean()) < _ALIKE for other in self._seen):
            return False
        if len(self._seen) < _COMPARED:
            self._seen.append(small)
        self.different += 1
        return True


def is_flat(pixels: Array) -> bool:
    """Whether a picture has one colour."""
    return int(pixels.max()) - int(pixels.min()) < _FLAT


def calibration_images(
    data: PathLike,
    count: int,
    tell: Tell = lambda line: None,
    strict: bool = False,
    imgsz: tuple[int, int] | None = None,
) -> tuple[Path, ...]:
    """`count` images, evenly spread over a folder, a list, or the training part of a data.yaml.

    An image that cannot be read is left out and another takes its place; that, and whatever makes
    the images poor ones to calibrate on, is told. strict: refuse what would be left out. imgsz:
    (height, width) of the network's input, by which images are found small. Raises InputError
    where no image shows anything.
    """
    return chosen(all_images(data), count, str(data), tell, strict, imgsz)


def all_images(data: PathLike) -> list[Path]:
    """The images of a folder, of a list, or of the training part of a data.yaml."""
    path = Path(data)
    if is_yaml(path):
        return read_data_yaml(path).images("train")
    return list_images(path)


def chosen(
    images: Sequence[Path],
    count: int,
    source: str,
    tell: Tell,
    strict: bool = False,
    imgsz: tuple[int, int] | None = None,
) -> tuple[Path, ...]:
    """`count` of these images that can be read, evenly spread; see `calibration_images`."""
    if not 1 <= count <= MAX_CALIB:
        raise InputError("num-calib", f"is {count}", f"1 to {MAX_CALIB}")
    wanted, _ = each_once(images)
    look = _Look(imgsz)
    for image in _spread_first(wanted, count):
        if len(look.kept) == count:
            break
        look.at(image)
    if strict and look.unreadable:
        raise InputError(source, f"has an image that cannot be read ({look.unreadable[0]})")
    look.judge(count, source, tell)
    order = {image: number for number, image in enumerate(wanted)}
    return tuple(sorted(look.kept, key=order.__getitem__))


def judging_images(
    data: PathLike, calibrated: Sequence[Path], most: int = MAX_JUDGED
) -> tuple[Path, ...]:
    """At most `most` images that are not calibrated on: the rest of a folder, of a list, or of
    the training part of a data.yaml; where nothing is left of that, of its validation part.

    Images that cannot be read or show nothing are passed over.
    """
    found = kept_back(all_images(data), calibrated, most)
    if found or not is_yaml(data):
        return found
    try:
        others = read_data_yaml(Path(data)).images("val")
    except InputError:
        return ()  # quantizing needs no validation part
    return kept_back(others, calibrated, most)


def kept_back(
    images: Sequence[Path], calibrated: Sequence[Path], most: int = MAX_JUDGED
) -> tuple[Path, ...]:
    """At most `most` of the images that are not calibrated on, evenly spread.

    Those that cannot be read or show nothing are passed over.
    """
    taken = set(calibrated)
    rest = [image for image in each_once(images)[0] if image not in taken]
    found: list[Path] = []
    for image in _spread_first(rest, most):
        if len(found) == most:
            break
        try:
            if not is_flat(read_image(image)):
                found.append(image)
        except SpecialFileError:
            raise
        except InputError:
            continue  # an image that cannot be read is told where it would be calibrated on
    return tuple(found)


def spread(images: Sequence[Path], count: int) -> Sequence[Path]:
    """At most `count` of the images, evenly spread."""
    if count >= len(images):
        return images
    return [images[i * len(images) // count] for i in range(count)]


def _spread_first(images: Sequence[Path], count: int) -> Iterator[Path]:
    """`count` images evenly spread over all, then the others in order."""
    first = spread(images, count)
    yield from first
    taken = set(first)
    yield from (image for image in images if image not in taken)


@dataclass
class _Look:
    """What looking at images has shown so far, by their files."""

    imgsz: tuple[int, int] | None
    kept: list[Path] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    flat: list[str] = field(default_factory=list)
    tiny: list[str] = field(default_factory=list)
    dark: list[str] = field(default_factory=list)
    small: list[str] = field(default_factory=list)
    digests: set[bytes] = field(default_factory=set)
    likeness: Likeness = field(default_factory=Likeness)

    def at(self, image: Path) -> None:
        try:
            pixels = read_image(image)
        except SpecialFileError:
            raise
        except InputError as error:
            self.unreadable.append(str(error))
            return
        self.kept.append(image)
        self.digests.add(hashlib.sha256(pixels.tobytes()).digest())
        self.likeness.is_new(pixels)
        if is_flat(pixels):
            self.flat.append(str(image))
        elif min(pixels.shape[:2]) < _TINY:
            self.tiny.append(str(image))
        elif float((pixels < _DARK).mean()) >= 0.99:
            self.dark.append(str(image))
        elif self.imgsz and 4 * max(pixels.shape[:2]) <= max(self.imgsz):
            self.small.append(str(image))

    def judge(self, count: int, source: str, tell: Tell) -> None:
        """Tell what is wrong; InputError where nothing is right."""
        if not self.kept:
            raise InputError(source, f"has no usable image ({self.unreadable[0]})", "pictures")
        if len(self.flat) + len(self.tiny) == len(self.kept):
            cause = "has only pictures of one colour or a few pixels"
            raise InputError(source, cause, "pictures such as the model will see")
        if len(self.kept) < count:
            found = f"{len(self.kept)} of {count} pictures asked for"
            tell(f"{source}: calibrates on {found}; no more are there")
        kinds = {
            "left out": self.unreadable,
            "of one colour": self.flat,
            "of a few pixels": self.tiny,
            "nearly black": self.dark,
            "much smaller than the network's input": self.small,
        }
        for kind, places in kinds.items():
            for place in places[:_LISTED]:
                tell(f"{source}: {kind}: {place}")
            if len(places) > _LISTED:
                tell(f"{source}: {kind}: and {len(places) - _LISTED} more")
        copies = len(self.kept) - len(self.digests)
        if copies:
            tell(f"{source}: {copies} of {len(self.kept)} pictures are copies of others")
        self._judge_variety(source, tell)

    def _judge_variety(self, source: str, tell: Tell) -> None:
        different = self.likeness.different
        alike = len(self.kept) - len(self.flat) - different
        if alike > len(self.kept) // 2:
            tell(
                f"{source}: only {different} of {len(self.kept)} pictures differ from each other; "
                "take pictures of different scenes"
            )
        poor = len(self.dark) + len(self.small)
        if 2 * poor > len(self.kept):
            tell(f"{source}: most pictures are poor ones, so the model may miss what it should see")
        if different < FEW:
            counted = (
                "1 picture shows" if different == 1 else f"{different} different pictures show"
            )
            tell(
                f"{source}: {counted} little of what the network will meet; each is seen in "
                "several ways and thresholds are set wide, but some boxes will be lost. 64 to 128 "
                "pictures such as the model will see are best"
            )
