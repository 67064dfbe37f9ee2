"""A picture warped by a matrix, to the same bytes with every release of OpenCV.

OpenCV 5 works out where a pixel comes from in floating point, OpenCV 4 in 32nds of a pixel; a
training curve would tell which of them is installed. The places are therefore worked out here, in
32nds, and OpenCV looks them up, which both do alike.
"""

from __future__ import annotations

import numpy as np

from yolo_core.arrays import Array
from yolo_core.yolo.letterbox import FILL, opencv
from yolo_train.rectangles import Size

# A place is held in 32nds of a pixel, and the steps of an affine one in 1024ths.
_BITS, _AFFINE_BITS = 5, 10
_FRACTION = (1 << _BITS) - 1
# What OpenCV can look up: places are int16, and those beyond lie outside of every picture.
_REACH = 1 << 15
# A matrix that enlarges without measure leads further than an int32 can say, in two terms.
_FURTHEST = 1 << 29


def warp(image: Array, matrix: Array, size: Size) -> Array:
    """Map the image by the matrix [3, 3] to `size` (height, width); what lies outside is grey."""
    cv2 = opencv()
    if np.array_equal(matrix[2], (0, 0, 1)):
        places = _affine_places(matrix, size)
    else:
        places = _perspective_places(matrix, size)
    whole: Array = np.empty((*size, 2), np.int16)
    fraction: Array = np.zeros(size, np.uint16)
    for axis, place in enumerate(places):
        np.clip(place >> _BITS, -_REACH, _REACH - 1, out=whole[..., axis], casting="unsafe")
        fraction |= ((place & _FRACTION) << (axis * _BITS)).astype(np.uint16)
    warped: Array = cv2.remap(
        image, whole, fraction, cv2.INTER_LINEAR, borderValue=(FILL, FILL, FILL)
    )
    return warped


def _affine_places(matrix: Array, size: Size) -> tuple[Array, Array]:
    """x and y in the image of every pixel of the result, in 32nds."""
    (a, b, shift_x), (c, d, shift_y) = matrix[:2].tolist()
    determinant = a * d - b * c
    inverse = 1 / determinant if determinant else 0.0
    steps = ((d * inverse, -b * inverse), (-c * inverse, a * inverse))
    rows, columns = np.arange(size[0])[:, None], np.arange(size[1])
    half = 1 << (_AFFINE_BITS - _BITS - 1)
    x, y = (
        (_units(down * rows - across * shift_x - down * shift_y) + half + _units(across * columns))
        >> (_AFFINE_BITS - _BITS)
        for across, down in steps
    )
    return x, y


def _units(values: Array) -> Array:
    """In 1024ths, to the nearest; a tie goes to the even one."""
    exact = np.rint(values * (1 << _AFFINE_BITS))
    whole: Array = np.clip(exact, -_FURTHEST, _FURTHEST).astype(np.int32)
    return whole


def _perspective_places(matrix: Array, size: Size) -> tuple[Array, Array]:
    """The same for a matrix whose last row is not 0, 0, 1."""
    # By cofactors: a linear algebra library would round as its processor likes.
    cofactors = np.stack([np.cross(matrix[i - 2], matrix[i - 1]) for i in range(3)], axis=1)
    inverse = cofactors / (matrix[0] @ cofactors[:, 0])
    rows, columns = np.arange(size[0])[:, None], np.arange(size[1])
    x, y, depth = (across * columns + (down * rows + shift) for across, down, shift in inverse)
    scale = np.divide(1 << _BITS, depth, out=np.zeros(size), where=depth != 0)
    reach = _REACH << _BITS
    x, y = (np.rint(np.clip(v * scale, -reach, reach - 1)).astype(np.int32) for v in (x, y))
    return x, y
