"""Images at training size, decoded on demand or held in memory that all processes share.

Nothing here needs MXNet, so that worker processes can import it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import shared_memory
from pathlib import Path

import numpy as np

from yolo_core.letterbox import opencv, read_image
from yolo_core.progress import progress


def read_at_size(path: Path, imgsz: int) -> np.ndarray:
    """uint8 RGB with the longer side of `imgsz` pixels; area averaging where it shrinks."""
    image = read_image(path)
    height, width = image.shape[:2]
    ratio = imgsz / max(height, width)
    if ratio == 1:
        return image
    cv2 = opencv()
    size = (max(round(width * ratio), 1), max(round(height * ratio), 1))
    how = cv2.INTER_AREA if ratio < 1 else cv2.INTER_LINEAR
    return cv2.resize(image, size, interpolation=how)


@dataclass(frozen=True)
class CacheIndex:
    """Where the cached images lie in one block of shared memory.

    block: its name. places: per image (offset, height, width), None for those not cached.
    """

    block: str
    places: tuple[tuple[int, int, int] | None, ...]


class ImageCache:
    """The first images of a list, decoded once into shared memory of a stated size.

    Belongs to the process that made it, which closes it; others attach through `index`.
    """

    def __init__(self, paths: Sequence[Path], imgsz: int, limit: int) -> None:
        """limit: bytes that the cache may take."""
        size = min(limit, len(paths) * imgsz * imgsz * 3)
        self._block = shared_memory.SharedMemory(create=True, size=max(size, 1))
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
            target: np.ndarray = np.ndarray(image.shape, np.uint8, self._block.buf, used)
            target[:] = image
            places.append((used, image.shape[0], image.shape[1]))
            used += image.size
        self.index = CacheIndex(self._block.name, tuple(places))

    def close(self) -> None:
        self._block.close()
        self._block.unlink()


class ImageReader:
    """Image by number, from the cache where it is there."""

    def __init__(self, paths: Sequence[Path], imgsz: int, cache: CacheIndex | None) -> None:
        self._paths, self._imgsz, self._cache = paths, imgsz, cache
        # The tracker that removes forgotten blocks is shared with the owner, so attaching is free.
        self._block = None if cache is None else shared_memory.SharedMemory(name=cache.block)

    def read(self, number: int) -> np.ndarray:
        """uint8 RGB, longer side at the training size; not to be written to."""
        place = None if self._cache is None else self._cache.places[number]
        if place is None or self._block is None:
            return read_at_size(self._paths[number], self._imgsz)
        offset, height, width = place
        return np.ndarray((height, width, 3), np.uint8, self._block.buf, offset)
