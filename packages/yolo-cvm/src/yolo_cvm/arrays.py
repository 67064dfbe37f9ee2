"""Integer arrays in .npy files, read with a limit and never with pickles."""

from __future__ import annotations

import io

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import PathLike, atomic_write, read_bytes

ARRAY_LIMIT = 1 << 30


def read_array(path: PathLike) -> Array:
    """The integers of a .npy file. InputError where there are none."""
    return array_from(read_bytes(path, ARRAY_LIMIT), path)


def array_from(data: bytes, path: PathLike) -> Array:
    """The integers in the bytes of a .npy file. path: its name, for the error."""
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except Exception as error:
        # NumPy lets the errors of all that it reads with through: tokenize, zipfile, ast, struct.
        reason = str(error).split("\n", 1)[0]
        raise InputError(path, f"is not an array ({reason:.80})", "an integer .npy file") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "iu":
        raise InputError(path, "holds no integers", "an integer .npy file")
    return array


def write_array(path: PathLike, array: Array) -> None:
    """A .npy file, whole or not at all."""
    atomic_write(path, encode_array(array))


def encode_array(array: Array) -> bytes:
    """The bytes of a .npy file."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()
