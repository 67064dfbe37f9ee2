"""Which pictures a network is calibrated on, and whether they can say anything about it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from yolo_core.errors import InputError
from yolo_core.files import PathLike
from yolo_core.yolo.dataset import list_images, read_data_yaml
from yolo_core.yolo.letterbox import read_image
from yolo_core.yolo.samples import each_once

MAX_CALIB = 100_000
#: A picture whose values differ by less, of 255, shows nothing.
_FLAT = 8
#: A picture with a shorter side, in pixels, is all interpolation once it is fitted.
_TINY = 16
#: So many pictures of a kind are named.
_LISTED = 5

Tell = Callable[[str], None]


def calibration_images(
    data: PathLike, count: int, tell: Tell = lambda line: None, strict: bool = False
) -> tuple[Path, ...]:
    """`count` images, evenly spread over a folder, a list, or the training part of a data.yaml.

    An image that cannot be read is left out and another takes its place; that, and whatever makes
    the images poor ones to calibrate on, is told. strict: refuse what would be left out. Raises
    InputError where no image shows anything.
    """
    if not 1 <= count <= MAX_CALIB:
        raise InputError("num-calib", f"is {count}", f"1 to {MAX_CALIB}")
    path = Path(data)
    if path.suffix.lower() in (".yaml", ".yml"):
        found = read_data_yaml(path).images("train")
    else:
        found = list_images(path)
    return chosen(found, count, str(data), tell, strict)


def chosen(
    images: Sequence[Path], count: int, source: str, tell: Tell, strict: bool = False
) -> tuple[Path, ...]:
    """`count` of these images that can be read, evenly spread; see `calibration_images`."""
    wanted, _ = each_once(images)
    look = _Look()
    for image in _spread(wanted, count):
        if len(look.kept) == count:
            break
        look.at(image)
    if strict and look.unreadable:
        raise InputError(source, f"has an image that cannot be read ({look.unreadable[0]})")
    look.judge(count, len(wanted), source, tell)
    order = {image: number for number, image in enumerate(wanted)}
    return tuple(sorted(look.kept, key=order.__getitem__))


def _spread(images: Sequence[Path], count: int) -> Iterator[Path]:
    """`count` images evenly spread over all, then the others in order."""
    if len(images) <= count:
        yield from images
        return
    first = [i * len(images) // count for i in range(count)]
    yield from (images[number] for number in first)
    taken = set(first)
    yield from (image for number, image in enumerate(images) if number not in taken)


@dataclass
class _Look:
    """What looking at images has shown so far, by their files."""

    kept: list[Path] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    flat: list[str] = field(default_factory=list)
    tiny: list[str] = field(default_factory=list)
    digests: set[bytes] = field(default_factory=set)

    def at(self, image: Path) -> None:
        try:
            pixels = read_image(image)
        except InputError as error:
            self.unreadable.append(str(error))
            return
        self.kept.append(image)
        self.digests.add(hashlib.sha256(pixels.tobytes()).digest())
        if int(pixels.max()) - int(pixels.min()) < _FLAT:
            self.flat.append(str(image))
        elif min(pixels.shape[:2]) < _TINY:
            self.tiny.append(str(image))

    def judge(self, count: int, there: int, source: str, tell: Tell) -> None:
        """Tell what is wrong; InputError where nothing is right."""
        if not self.kept:
            raise InputError(source, f"has no usable image ({self.unreadable[0]})", "pictures")
        if len(self.flat) + len(self.tiny) == len(self.kept):
            cause = "has only pictures of one colour or a few pixels"
            raise InputError(source, cause, "pictures such as the model will see")
        if len(self.kept) < count:
            asked = f"{count} pictures were asked for to calibrate on"
            tell(f"{source}: {asked}, {len(self.kept)} are there")
        kinds = {
            "left out": self.unreadable,
            "of one colour": self.flat,
            "of a few pixels": self.tiny,
        }
        for kind, places in kinds.items():
            for place in places[:_LISTED]:
                tell(f"{source}: {kind}: {place}")
            if len(places) > _LISTED:
                tell(f"{source}: {kind}: and {len(places) - _LISTED} more")
        copies = len(self.kept) - len(self.digests)
        if copies:
            tell(f"{source}: {copies} of {len(self.kept)} pictures are copies of others")
