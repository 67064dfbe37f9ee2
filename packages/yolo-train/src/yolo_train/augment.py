"""Turning labelled images into training samples: mosaic, mixup, perspective, colour, flips.

Every function takes the random generator that it draws from, so a sample depends on its seed
alone and not on which process made it. Boxes are float64 [n, 5] of class, x1, y1, x2, y2 in
pixels of the image beside them; images are uint8 RGB. Nothing here needs MXNet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Callable

import numpy as np

from yolo_core.arrays import Array
from yolo_core.yolo.letterbox import FILL, opencv
from yolo_train.hyp import Hyp

#: number → image with its longer side at the training size, and its boxes
Load = Callable[[int], tuple[Array, Array]]
Labelled = tuple[Array, Array]

# A box must keep these after a warp: sides in pixels, share of its area, ratio of its sides.
_MIN_SIDE, _MIN_AREA, _MAX_ASPECT = 2.0, 0.1, 100.0
_MIXUP_BETA = 32.0


def training_sample(
    load: Load, index: int, count: int, imgsz: int, hyp: Hyp, rng: np.random.Generator
) -> Labelled:
    """The augmented image [imgsz, imgsz, 3] number `index` of `count`, and its boxes."""
    if rng.random() < hyp.mosaic:
        image, boxes = _mosaic_sample(load, index, count, imgsz, hyp, rng)
        if rng.random() < hyp.mixup:
            other = _mosaic_sample(load, int(rng.integers(count)), count, imgsz, hyp, rng)
            image, boxes = _mixup((image, boxes), other, rng)
    else:
        image, boxes = _centred(*load(index), imgsz)
        image, boxes = random_perspective(image, boxes, hyp, imgsz, rng)
    image = hsv(image, hyp, rng)
    if rng.random() < hyp.flipud:
        image = opencv().flip(image, 0)
        boxes[:, [2, 4]] = imgsz - boxes[:, [4, 2]]
    if rng.random() < hyp.fliplr:
        image = opencv().flip(image, 1)
        boxes[:, [1, 3]] = imgsz - boxes[:, [3, 1]]
    return image, boxes


def _mosaic_sample(
    load: Load, index: int, count: int, imgsz: int, hyp: Hyp, rng: np.random.Generator
) -> Labelled:
    others = [int(number) for number in rng.integers(count, size=3)]
    indices = [index, *others]
    rng.shuffle(indices)
    image, boxes = mosaic([load(number) for number in indices], imgsz, rng)
    return random_perspective(image, boxes, hyp, imgsz, rng)


def mosaic(parts: Sequence[Labelled], imgsz: int, rng: np.random.Generator) -> Labelled:
    """Four images around a random point of a grey canvas of twice the size."""
    side = 2 * imgsz
    canvas = np.full((side, side, 3), FILL, np.uint8)
    center_x, center_y = (int(v) for v in rng.integers(imgsz // 2, imgsz + imgsz // 2 + 1, size=2))
    placed: list[Array] = []
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
    return canvas, np.concatenate(placed)


def _centred(image: Array, boxes: Array, imgsz: int) -> Labelled:
    """The image in the middle of a grey square."""
    height, width = image.shape[:2]
    if (height, width) == (imgsz, imgsz):
        return image, boxes.copy()
    top, left = (imgsz - height) // 2, (imgsz - width) // 2
    canvas = np.full((imgsz, imgsz, 3), FILL, np.uint8)
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
    image: Array, boxes: Array, hyp: Hyp, imgsz: int, rng: np.random.Generator
) -> Labelled:
    """Warp the image's middle to [imgsz, imgsz, 3]: turn, scale, shear, shift, perspective.

    Boxes follow with the box around their warped corners; what is left of too little goes.
    """
    cv2 = opencv()
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
    shift[:2, 2] = rng.uniform(0.5 - hyp.translate, 0.5 + hyp.translate, 2) * imgsz
    matrix = shift @ shear @ turn @ perspective @ to_center
    grey = (FILL, FILL, FILL)
    if hyp.perspective:
        warped = cv2.warpPerspective(image, matrix, (imgsz, imgsz), borderValue=grey)
    else:
        warped = cv2.warpAffine(image, matrix[:2], (imgsz, imgsz), borderValue=grey)
    return warped, _warp_boxes(boxes, matrix, scale, imgsz)


def _warp_boxes(boxes: Array, matrix: Array, scale: float, imgsz: int) -> Array:
    """The boxes around the warped corners, inside the image; without those that lost too much."""
    if not len(boxes):
        return boxes
    corners: Array = np.ones((len(boxes), 4, 3))
    corners[:, :, :2] = boxes[:, [1, 2, 3, 4, 1, 4, 3, 2]].reshape(-1, 4, 2)
    corners = corners @ matrix.T
    corners = corners[..., :2] / corners[..., 2:]
    warped = np.concatenate((boxes[:, :1], corners.min(axis=1), corners.max(axis=1)), axis=1)
    warped[:, 1:] = np.clip(warped[:, 1:], 0, imgsz)
    before = (boxes[:, 3:] - boxes[:, 1:3]) * scale
    after = warped[:, 3:] - warped[:, 1:3]
    tiny = 1e-16
    aspect = np.maximum(after[:, 0] / (after[:, 1] + tiny), after[:, 1] / (after[:, 0] + tiny))
    kept = (
        (after > _MIN_SIDE).all(axis=1)
        & (after.prod(axis=1) / (before.prod(axis=1) + tiny) > _MIN_AREA)
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
