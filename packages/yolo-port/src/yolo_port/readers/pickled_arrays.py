"""Arrays of NumPy in a pickle, made from what its records say and not by NumPy's unpickler."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_port.pickle_machine import Global, Record
from yolo_port.source import is_shape

_RECONSTRUCT = frozenset(
    Global(module, "_reconstruct") for module in ("numpy.core.multiarray", "numpy._core.multiarray")
)
_FROM_BUFFER = frozenset(
    Global(module, "_frombuffer") for module in ("numpy.core.numeric", "numpy._core.numeric")
)
_DTYPE = Global("numpy", "dtype")
_ENCODE = Global("_codecs", "encode")
#: Globals without which no array can be described.
ARRAY_GLOBALS = _RECONSTRUCT | _FROM_BUFFER | {_DTYPE, _ENCODE, Global("numpy", "ndarray")}
_CODES = {"f2", "f4", "f8", "i4", "i8"}

_EXPECTED = "a plain array"


def is_array(value: Any) -> bool:
    """Whether a value of a pickle describes an array of NumPy."""
    return isinstance(value, Record) and value.function in _RECONSTRUCT | _FROM_BUFFER


def array_state(value: Any, source: str, name: str) -> tuple[Any, ...]:
    """(shape, dtype record, Fortran order, content) of a pickled array."""
    if isinstance(value, Record) and value.function in _FROM_BUFFER and len(value.arguments) == 4:
        content, dtype, shape, order = value.arguments
        return shape, dtype, order == "F", content
    if (
        isinstance(value, Record)
        and value.function in _RECONSTRUCT
        and isinstance(value.state, tuple)
        and len(value.state) == 5
    ):
        return value.state[1:]
    raise InputError(source, f"holds no array in {name}", _EXPECTED)


def pickled_array(value: Any, source: str, name: str) -> Array:
    """The array that a record describes. InputError for objects and for damage."""
    shape, dtype, fortran, content = array_state(value, source, name)
    if isinstance(content, Record) and content.function == _ENCODE:
        # How bytes are written for Python 2 readers: as Latin-1 text to be encoded.
        text = content.arguments[0] if len(content.arguments) == 2 else None
        content = text.encode("latin-1", "replace") if isinstance(text, str) else None
    if not isinstance(content, bytes) or not isinstance(shape, tuple):
        raise InputError(source, f"describes {name} in an unusual way", _EXPECTED)
    code = _dtype(dtype, source, name)
    return from_bytes(content, code, shape, source, name, fortran is not False)


def _dtype(value: Any, source: str, name: str) -> str:
    """A dtype's code with its byte order ("<f4"), which is entry 1 of the pickled state."""
    code = element_code(value)
    state = value.state if isinstance(value, Record) else None
    if code not in _CODES or not isinstance(state, tuple):
        raise InputError(source, f"has {name} of an unknown element type", "floating point")
    if len(state) < 2 or state[1] not in ("<", ">", "=", "|"):
        raise InputError(source, f"has {name} of an unknown byte order", "little-endian")
    return str(state[1]) + code


def element_code(value: Any) -> str:
    """`f4` or `U3` from the record of a dtype; empty for anything else."""
    known = isinstance(value, Record) and value.function == _DTYPE and value.arguments
    code = value.arguments[0] if known else ""
    return code if isinstance(code, str) else ""


def from_bytes(
    data: bytes, code: str, shape: tuple[int, ...], source: str, name: str, fortran: bool = False
) -> Array:
    """The array of these bytes. code: its element type. fortran: its first axis runs fastest."""
    if code[1:] not in _CODES:
        raise InputError(source, f"has {name} as {code}", "floating point")
    dtype = np.dtype(code)
    if not is_shape(shape):
        raise InputError(source, f"has {name} of shape {shape}", _EXPECTED)
    if math.prod(shape) * dtype.itemsize != len(data):
        raise InputError(source, f"has {len(data)} bytes for {name} of shape {shape}",
                         f"{math.prod(shape) * dtype.itemsize}")  # fmt: skip
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
