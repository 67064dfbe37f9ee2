"""Which images share a batch, and its size, where batches are rectangles instead of squares."""

from __future__ import annotations

from collections.abc import Sequence

from yolo_core.yolo.letterbox import MAX_STRIDE
from yolo_train.images import size_of

#: (height, width) in pixels.
Size = tuple[int, int]


def rectangles(
    sizes: Sequence[Size], imgsz: int, batch: int, stride: int = MAX_STRIDE
) -> list[tuple[list[int], Size]]:
    """Batches of image numbers, each with its input size; images of like shape are together.

    sizes: of every image. imgsz: longer side of every input. stride: what the sides are
    multiples of.
    """
    order = by_shape(sizes)
    return [
        (members, rectangle([sizes[number] for number in members], imgsz, stride))
        for members in (order[start : start + batch] for start in range(0, len(order), batch))
    ]


def by_shape(sizes: Sequence[Size]) -> list[int]:
    """Image numbers from the widest to the highest."""
    return sorted(range(len(sizes)), key=lambda n: (sizes[n][0] / sizes[n][1], n))


def rectangle(sizes: Sequence[Size], imgsz: int, stride: int) -> Size:
    """The smallest input that holds all of these images with their longer sides at `imgsz`."""
    scaled = [size_of(size, imgsz) for size in sizes]
    height, width = (max(size[axis] for size in scaled) for axis in (0, 1))
    return stride_up(height, stride), stride_up(width, stride)


def stride_up(side: float, stride: int) -> int:
    """The side, rounded up to a multiple of the stride."""
    return max(-(-round(side) // stride), 1) * stride
