"""Few pictures seen in many ways: what else the network would meet if there were more of them.

All of it is done on bytes: the same views on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from yolo_core.arrays import Array
from yolo_core.yolo.letterbox import FILL, Letterbox

#: So many different pictures speak for themselves. With fewer, each is seen in several ways and
#: thresholds are set higher (see `calibration.CAUTION`).
ENOUGH = 64
#: In so many ways one picture can be seen, and so many views of fewer pictures are wanted.
MAX_VIEWS, WANTED = 12, 96


def views_each(pictures: int) -> int:
    """How many views of each of so many different pictures are looked at."""
    return 1 if pictures >= ENOUGH else min(-(-WANTED // max(pictures, 1)), MAX_VIEWS)


def views(image: Array, fit: Letterbox, count: int) -> Iterator[Array]:
    """The first `count`, at most MAX_VIEWS, views of a picture, fitted: uint8 [height, width, 3].

    image: uint8 [h, w, 3] as it was read. The first view is the picture itself; then come its
    mirror image, its middle and its quarters enlarged, the picture made small, upside down,
    brighter, darker, and inverted.
    """
    yield from islice(_all_views(image, fit), count)


def _all_views(image: Array, fit: Letterbox) -> Iterator[Array]:
    height, width = image.shape[:2]
    canvas = fit.apply(image)[0]
    yield canvas
    yield np.ascontiguousarray(canvas[:, ::-1])
    tall, broad = max(height // 2, 1), max(width // 2, 1)
    corners = [(height // 4, width // 4)]
    corners += [(top, left) for top in (0, height - tall) for left in (0, width - broad)]
    for top, left in corners:
        yield fit.apply(image[top : top + tall, left : left + broad])[0]
    yield _made_small(canvas)
    yield np.ascontiguousarray(canvas[::-1])
    yield np.minimum(canvas.astype(np.uint16) * 3 // 2, 255).astype(np.uint8)
    yield canvas // 2
    yield 255 - canvas


def _made_small(canvas: Array) -> Array:
    """The canvas at half its size in the middle of grey."""
    height, width = canvas.shape[:2]
    small = Letterbox(height // 2, width // 2).apply(canvas)[0]
    result = np.full_like(canvas, FILL)
    top, left = height // 4, width // 4
    result[top : top + height // 2, left : left + width // 2] = small
    return result
