"""Resizing pictures in the compiled library, with the bytes of the definition in yolo-core."""

from __future__ import annotations

import numpy as np

from yolo_core.arrays import Array
from yolo_core.yolo import letterbox
from yolo_cvm.engine import library


def resize(image: Array, height: int, width: int, instruction_set: str = "") -> Array:
    """What `yolo_core.yolo.letterbox.resize` gives: uint8 [h, w, 3] to [height, width, 3].

    instruction_set: one of `library.instruction_sets()`, or "" for the best; without a library
    the definition itself computes it.
    """
    native = library.opened()
    if native is None or image.shape[:2] == (height, width):
        return letterbox.resize(image, height, width)
    image = np.ascontiguousarray(image, np.uint8)
    rows, columns = (
        np.array(letterbox.taps(*axis), np.int32)
        for axis in ((image.shape[0], height), (image.shape[1], width))
    )
    result: Array = np.empty((height, width, 3), np.uint8)
    code = native.cvm_resize(
        image.ctypes.data, *image.shape[:2], rows.ctypes.data, height, columns.ctypes.data, width,
        result.ctypes.data, instruction_set.encode(),
    )  # fmt: skip
    library.check(native, code)
    return result
