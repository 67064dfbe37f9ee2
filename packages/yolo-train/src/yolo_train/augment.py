"""Turning labelled images into training samples: mosaic, mixup, perspective, colour, flips.

Every function takes the random generator that it draws from, so a sample depends on its seed
alone and not on which process made it. Boxes are float64 [n, 5] of class, x1, y1, x2, y2 in
pixels of the image beside them; images are uint8 RGB. Nothing here needs MXNet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Callable, Optional

import numpy as np

from yolo_core.arrays import Array
from yolo_core.yolo.letterbox import FILL, opencv
from yolo_train.hyp import Hyp
from yolo_train.rectangles import Size
from yolo_train.warp import warp

#: number → image with its longer side at the training size, and its boxes
Load = Callable[[int], tuple[Array, Array]]
Labelled = tuple[Array, Array]
#: Of each box of an image the corners [k, 2] in its pixels, None for a plain box; none at all for
#: an image of plain boxes.
Outlines = Sequence[Optional[Array]]

# A box must keep these after a warp: sides in pixels, share of its area, ratio of its sides.
_MIN_SIDE, _MIN_AREA, _MAX_ASPECT = 2.0, 0.1, 100.0
# An outline says what is left of an object, so that less of it is enough.
_MIN_OUTLINED_AREA = 0.01
# Points of each side of an outline that are warped.
_POINTS = 8
# Share of another box that a pasted object may cover.
_MAX_COVERED = 0.3
_MIXUP_BETA = 32.0


def no_outlines(_number: int) -> Outlines:
    """For datasets of plain boxes."""
    return ()


def training_sample(
    load: Load, index: int, count: int, size: Size, hyp: Hyp, rng: np.random.Generator,
    outlines: Callable[[int], Outlines] = no_outlines,
) -> Labelled:  # fmt: skip
    """The augmented image [height, width, 3] number `index` of `count`, and its boxes.

    size: (height, width); a mosaic needs a square. outlines: number → outline of each box of the
    image, in its pixels.
    """
    height, width = size
    if rng.random() < hyp.mosaic:
        image, boxes = _mosaic_sample(load, outlines, index, count, width, hyp, rng)
        if rng.random() < hyp.mixup:
            second = int(rng.integers(count))
            other = _mosaic_sample(load, outlines, second, count, width, hyp, rng)
            image, boxes = _mixup((image, boxes), other, rng)
    else:
        loaded = load(index)
        image, boxes = _centred(*loaded, size)
        before = loaded[0].shape
        offset = [(width - before[1]) // 2, (height - before[0]) // 2]
        moved = [None if each is None else each + offset for each in outlines(index)]
        image, boxes = random_perspective(image, boxes, hyp, size, rng, moved)
    image = hsv(image, hyp, rng)
    if rng.random() < hyp.flipud:
        image = opencv().flip(image, 0)
        boxes[:, [2, 4]] = height - boxes[:, [4, 2]]
    if rng.random() < hyp.fliplr:
        image = opencv().flip(image, 1)
        boxes[:, [1, 3]] = width - boxes[:, [3, 1]]
    return image, boxes


def _mosaic_sample(
    load: Load, outlines: Callable[[int], Outlines], index: int, count: int, imgsz: int, hyp: Hyp,
    rng: np.random.Generator,
) -> Labelled:  # fmt: skip
    others = [int(number) for number in rng.integers(count, size=3)]
    indices = [index, *others]
    rng.shuffle(indices)
    parts = [load(number) for number in indices]
    known = [outlines(number) for number in indices]
    image, boxes, moved = outlined_mosaic(parts, known, imgsz, rng)
    image, boxes, pasted = copy_paste(image, boxes, moved, hyp.copy_paste, rng)
    return random_perspective(image, boxes, hyp, (imgsz, imgsz), rng, pasted)


def mosaic(parts: Sequence[Labelled], imgsz: int, rng: np.random.Generator) -> Labelled:
    """Four images around a random point of a grey canvas of twice the size."""
    return outlined_mosaic(parts, [()] * len(parts), imgsz, rng)[:2]


def outlined_mosaic(
    parts: Sequence[Labelled], outlines: Sequence[Outlines], imgsz: int, rng: np.random.Generator
) -> tuple[Array, Array, list[Array | None]]:
    """`mosaic` of images whose boxes may have outlines, which move with them.

    The outlines are one per box; an image without any counts as one of plain boxes.
    """
    side = 2 * imgsz
    canvas = np.full((side, side, 3), FILL, np.uint8)
    center_x, center_y = (int(v) for v in rng.integers(imgsz // 2, imgsz + imgsz // 2 + 1, size=2))
    placed: list[Array] = []
    found: list[Array | None] = []
    for number, (image, boxes) in enumerate(parts):
        height, width = image.shape[:2]
        # Each image touches the centre with the corner that faces it.
        left = center_x if number % 2 else center_x - width
        top = center_y if number >= 2 else center_y - height
        x1, y1 = max(left, 0), max(top, 0)
        x2, y2 = min(left + width, side), min(top + height, side)
        canvas[y1:y2, x1:x2] = image[y1 - top : y2 - top, x1 - left : x2 - left]
        moved = boxes.copy()
        moved[:, [1, 3]] = np.clip(moved[:, [1, 3]] + left, 0, side)
        moved[:, [2, 4]] = np.clip(moved[:, [2, 4]] + top, 0, side)
        placed.append(moved)
        shift = np.array((left, top))
        for outline in outlines[number] or (None,) * len(boxes):
            found.append(None if outline is None else np.clip(outline + shift, 0, side))
    return canvas, np.concatenate(placed), found


def copy_paste(
    image: Array, boxes: Array, outlines: Sequence[Array | None], share: float,
    rng: np.random.Generator,
) -> tuple[Array, Array, Sequence[Array | None]]:  # fmt: skip
    """Pastes a share of the outlined objects once more, mirrored left to right.

    An object whose place is taken to `_MAX_COVERED` of another box stays away (Ghiasi et al.,
    "Simple copy-paste is a strong data augmentation method", 2021, as YOLOv5 does it).
    """
    known = [number for number, outline in enumerate(outlines) if outline is not None]
    count = round(share * len(known))
    if not count:
        return image, boxes, outlines
    cv2, width = opencv(), image.shape[1]
    mask = np.zeros(image.shape[:2], np.uint8)
    boxes, found = boxes.copy(), list(outlines)
    for number in rng.choice(known, count, replace=False):
        label, left, top, right, bottom = boxes[number]
        pasted = np.array([label, width - right, top, width - left, bottom])
        if right <= left or bottom <= top or (_covered(boxes, pasted) >= _MAX_COVERED).any():
            continue
        outline: Array = outlines[number]
        cv2.fillPoly(mask, [np.rint(outline).astype(np.int32)], 1)
        boxes = np.concatenate((boxes, pasted[None]))
        found.append(outline * np.array((-1, 1)) + np.array((width, 0)))
    mirrored = cv2.flip(mask, 1)[..., None].astype(bool)
    return np.where(mirrored, cv2.flip(image, 1), image), boxes, found


def _covered(boxes: Array, cover: Array) -> Array:
    """Share of each box that lies behind the box `cover`."""
    low, high = np.maximum(boxes[:, 1:3], cover[1:3]), np.minimum(boxes[:, 3:], cover[3:])
    area = (boxes[:, 3:] - boxes[:, 1:3]).prod(axis=1)
    result: Array = np.clip(high - low, 0, None).prod(axis=1) / np.maximum(area, 1e-9)
    return result


def _centred(image: Array, boxes: Array, size: Size) -> Labelled:
    """The image in the middle of a grey rectangle."""
    height, width = image.shape[:2]
    if (height, width) == size:
        return image, boxes.copy()
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    canvas = np.full((*size, 3), FILL, np.uint8)
    canvas[top : top + height, left : left + width] = image
    moved = boxes.copy()
    moved[:, [1, 3]] += left
    moved[:, [2, 4]] += top
    return canvas, moved


def _mixup(one: Labelled, other: Labelled, rng: np.random.Generator) -> Labelled:
    """Both images blended about half and half, the boxes of both."""
    share = float(rng.beta(_MIXUP_BETA, _MIXUP_BETA))
    mixed = one[0].astype(np.float32) * share + other[0].astype(np.float32) * (1 - share)
    return mixed.astype(np.uint8), np.concatenate((one[1], other[1]))


def random_perspective(
    image: Array, boxes: Array, hyp: Hyp, size: Size, rng: np.random.Generator,
    outlines: Outlines = (),
) -> Labelled:  # fmt: skip
    """Warp the image's middle to `size` (height, width): turn, scale, shear, shift, perspective.

    Boxes follow with the box around their warped corners, or around their warped outline where
    there is one; what is left of too little goes.
    """
    height, width = image.shape[:2]
    to_center = np.eye(3)
    to_center[:2, 2] = -width / 2, -height / 2
    perspective = np.eye(3)
    perspective[2, :2] = rng.uniform(-hyp.perspective, hyp.perspective, 2)
    angle = math.radians(rng.uniform(-hyp.degrees, hyp.degrees))
    scale = rng.uniform(1 - hyp.scale, 1 + hyp.scale)
    turn = np.eye(3)
    turn[0, :2] = scale * math.cos(angle), scale * math.sin(angle)
    turn[1, :2] = -scale * math.sin(angle), scale * math.cos(angle)
    shear = np.eye(3)
    shear[0, 1], shear[1, 0] = (
        math.tan(math.radians(v)) for v in rng.uniform(-1, 1, 2) * hyp.shear
    )
    shift = np.eye(3)
    shift[:2, 2] = rng.uniform(0.5 - hyp.translate, 0.5 + hyp.translate, 2) * size[::-1]
    matrix = shift @ shear @ turn @ perspective @ to_center
    return warp(image, matrix, size), _warp_boxes(boxes, matrix, scale, size, outlines)


def _around(outline: Array, matrix: Array, size: Size) -> Array:
    """The box around the part of a warped outline that lies inside the image; zeros for none."""
    following = np.roll(outline, -1, axis=0)
    steps = np.linspace(0, 1, _POINTS, endpoint=False)[:, None, None]
    points = (outline + (following - outline) * steps).reshape(-1, 2)
    moved = np.column_stack((points, np.ones(len(points)))) @ matrix.T
    moved = moved[:, :2] / moved[:, 2:]
    inside = moved[((moved >= 0) & (moved <= size[::-1])).all(axis=1)]
    if not len(inside):
        return np.zeros(4)
    return np.concatenate((inside.min(axis=0), inside.max(axis=0)))


def _warp_boxes(boxes: Array, matrix: Array, scale: float, size: Size, outlines: Outlines) -> Array:
    """The boxes around the warped corners, inside the image; without those that lost too much."""
    if not len(boxes):
        return boxes
    corners: Array = np.ones((len(boxes), 4, 3))
    corners[:, :, :2] = boxes[:, [1, 2, 3, 4, 1, 4, 3, 2]].reshape(-1, 4, 2)
    corners = corners @ matrix.T
    corners = corners[..., :2] / corners[..., 2:]
    warped = np.concatenate((boxes[:, :1], corners.min(axis=1), corners.max(axis=1)), axis=1)
    warped[:, 1:] = np.clip(warped[:, 1:], 0, (*size[::-1], *size[::-1]))
    least = np.full(len(boxes), _MIN_AREA)
    for number, outline in enumerate(outlines):
        if outline is not None:
            warped[number, 1:] = _around(outline, matrix, size)
            least[number] = _MIN_OUTLINED_AREA
    before = (boxes[:, 3:] - boxes[:, 1:3]) * scale
    after = warped[:, 3:] - warped[:, 1:3]
    tiny = 1e-16
    aspect = np.maximum(after[:, 0] / (after[:, 1] + tiny), after[:, 1] / (after[:, 0] + tiny))
    kept = (
        (after > _MIN_SIDE).all(axis=1)
        & (after.prod(axis=1) / (before.prod(axis=1) + tiny) > least)
        & (aspect < _MAX_ASPECT)
    )
    result: Array = warped[kept]
    return result


def hsv(image: Array, hyp: Hyp, rng: np.random.Generator) -> Array:
    """Hue, saturation and value multiplied by random gains around 1."""
    if not (hyp.hsv_h or hyp.hsv_s or hyp.hsv_v):
        return image
    cv2 = opencv()
    gains = rng.uniform(-1, 1, 3) * (hyp.hsv_h, hyp.hsv_s, hyp.hsv_v) + 1
    steps = np.arange(256)
    tables = np.stack(
        (
            steps * gains[0] % 180,
            np.clip(steps * gains[1], 0, 255),
            np.clip(steps * gains[2], 0, 255),
        ),
        axis=1,
    ).astype(np.uint8)
    changed = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), tables.reshape(1, 256, 3))
    result: Array = cv2.cvtColor(changed, cv2.COLOR_HSV2RGB)
    return result
