"""What Python programs call a picture, as the pixels that a model is given.

A path, a PIL image, an array, a PyTorch tensor or an MXNet array; nothing is imported to know them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.detecting.sources import PICTURE, find_sources
from yolo_core.errors import InputError
from yolo_core.yolo.letterbox import read_image

_EXPECTED = (
    "a path, a PIL image, uint8 [height, width, 3] RGB, a tensor [3, height, width], or a list"
)


def is_one(source: Any) -> bool:
    """Whether the source is one picture rather than a list, a batch, a folder or a glob."""
    if isinstance(source, (str, os.PathLike)):
        return os.path.isfile(source)
    if isinstance(source, (list, tuple)):
        return False
    return len(getattr(source, "shape", ())) != 4


def pictures(source: Any, name: str = "picture") -> Iterator[tuple[str, Array]]:
    """Name and uint8 [height, width, 3] RGB pixels of each picture.

    name: of a picture without a file. InputError, in words, for anything that is not a picture.
    """
    if isinstance(source, (str, os.PathLike)):
        yield from _files(source)
    elif isinstance(source, (list, tuple)):
        if not source:
            raise InputError("pictures", "are an empty list", "at least one")
        for number, item in enumerate(source):
            yield from pictures(item, f"{name} {number}")
    elif hasattr(source, "convert") and hasattr(source, "getexif"):
        yield name, _of_pil(source)
    elif hasattr(source, "detach") and hasattr(source, "cpu"):
        for at, image in _each(_of_tensor(source.detach().cpu().numpy()), name):
            yield at, _checked(image)
    elif isinstance(source, np.ndarray) or hasattr(source, "asnumpy"):
        array = source if isinstance(source, np.ndarray) else source.asnumpy()
        for at, image in _each(array, name):
            yield at, _checked(image)
    else:
        raise InputError(name, f"is of the type {type(source).__name__}", _EXPECTED)


def _files(path: str | os.PathLike[str]) -> Iterator[tuple[str, Array]]:
    for found in find_sources([path]):
        if found.kind != PICTURE:
            cause = f"is a {found.kind}"
            raise InputError(found.shown, cause, "pictures; `yolo detect` takes videos and streams")
        yield str(found.place), read_image(str(found.place))


def _of_pil(image: Any) -> Array:
    from PIL import ImageOps

    turned = ImageOps.exif_transpose(image)
    return np.asarray((image if turned is None else turned).convert("RGB"))


def _of_tensor(values: Array) -> Array:
    """[.., 3, height, width], uint8 or from 0 to 1, as uint8 [.., height, width, 3]."""
    if values.ndim not in (3, 4) or values.shape[-3] != 3:
        cause = f"is a tensor of shape {list(values.shape)}"
        raise InputError("picture", cause, "[3, height, width] or [n, 3, height, width]")
    if values.dtype != np.uint8:
        if values.dtype.kind != "f" or not (values >= 0).all() or not (values <= 1).all():
            cause = f"is a tensor of {values.dtype}"
            raise InputError("picture", cause, "uint8, or floating point from 0 to 1")
        values = np.rint(values * 255).astype(np.uint8)
    return np.moveaxis(values, -3, -1)


def _each(array: Array, name: str) -> Iterator[tuple[str, Array]]:
    if array.ndim != 4:
        yield name, array
        return
    if not len(array):
        raise InputError(name, "is an empty batch", "at least one picture")
    for number, image in enumerate(array):
        yield f"{name} {number}", image


def _checked(image: Array) -> Array:
    if image.dtype != np.uint8:
        raise InputError("picture", f"is an array of {image.dtype}", "uint8 from 0 to 255")
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise InputError("picture", f"is an array of shape {list(image.shape)}", _EXPECTED)
    return np.ascontiguousarray(image)
