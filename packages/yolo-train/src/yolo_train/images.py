"""Images at training size, decoded on demand or held in memory that all processes share.

Nothing here needs MXNet, so that worker processes can import it.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.progress import progress
from yolo_core.yolo.letterbox import opencv, read_image


def read_at_size(path: Path, imgsz: int) -> Array:
    """uint8 RGB with the longer side of `imgsz` pixels; area averaging where it shrinks."""
    image = read_image(path)
    before = image.shape[:2]
    if max(before) == imgsz:
        return image
    cv2 = opencv()
    height, width = size_of(before, imgsz)
    how = cv2.INTER_AREA if imgsz < max(before) else cv2.INTER_LINEAR
    result: Array = cv2.resize(image, (width, height), interpolation=how)
    return result


def size_of(size: tuple[int, ...], imgsz: int) -> tuple[int, int]:
    """(height, width) of an image of this size once its longer side has `imgsz` pixels."""
    ratio = imgsz / max(size)
    return max(round(size[0] * ratio), 1), max(round(size[1] * ratio), 1)


@dataclass(frozen=True)
class ImageCache:
    """The first images of a list, decoded once into shared memory of a stated size.

    A process that is started with a cache sees the same memory, which has no name in the file
    system: it goes with the last of them, however they end.

    memory: the bytes of all images. places: per image (offset, height, width), None for those not
    cached.
    """

    memory: Any
    places: tuple[tuple[int, int, int] | None, ...]

    @classmethod
    def of(cls, paths: Sequence[Path], imgsz: int, limit: int) -> ImageCache:
        """limit: bytes that the cache may take."""
        size = min(limit, len(paths) * imgsz * imgsz * 3)
        memory = multiprocessing.get_context("spawn").RawArray("B", size)
        places: list[tuple[int, int, int] | None] = []
        used = 0
        for path in progress(paths, "cache", unit="images"):
            # Full once an image did not fit: the rest is read from its files.
            if None in places:
                places.append(None)
                continue
            image = read_at_size(path, imgsz)
            if used + image.size > size:
                places.append(None)
                continue
            np.frombuffer(memory, np.uint8, image.size, used)[:] = image.ravel()
            places.append((used, image.shape[0], image.shape[1]))
            used += image.size
        return cls(memory, tuple(places))

    def image(self, number: int) -> Array | None:
        """uint8 [height, width, 3], or None for an image that is not here."""
        place = self.places[number]
        if place is None:
            return None
        offset, height, width = place
        flat = np.frombuffer(self.memory, np.uint8, height * width * 3, offset)
        return flat.reshape(height, width, 3)


class ImageReader:
    """Image by number, from the cache where it is there."""

    def __init__(self, paths: Sequence[Path], imgsz: int, cache: ImageCache | None) -> None:
        self._paths, self._imgsz, self._cache = paths, imgsz, cache

    def read(self, number: int) -> Array:
        """uint8 RGB, longer side at the training size; not to be written to."""
        cached = None if self._cache is None else self._cache.image(number)
        return read_at_size(self._paths[number], self._imgsz) if cached is None else cached
