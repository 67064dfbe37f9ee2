"""`.npz` and `.npy` files of earlier ports: dictionaries of arrays, read without NumPy's unpickler.

An `.npz` is a zip of plain arrays. An `.npy` that holds a dictionary is a header and a pickle;
the pickle goes through `pickle_machine`, which knows four globals of NumPy and refuses the rest.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import read_bytes
from yolo_core.yolo.architecture import SIZES, Architecture
from yolo_core.yolo.npy import OBJECT, read_npy_header
from yolo_port.pickle_machine import Global, Record, read_pickle
from yolo_port.readers.zip_container import open_zip
from yolo_port.source import SourceModel, is_shape
from yolo_port.state_dict import tidy

#: Largest file, and largest content of a compressed file: yolov5x in double precision is 0.7 GB.
FILE_LIMIT = 1 << 30
_MAX_TENSORS = 4000
#: A file may unpack to this many times its size and a little; weights compress to nine tenths.
_MAX_RATIO = 64
_SMALL = 1 << 20
#: What NumPy writes; the other methods of zip are nobody's.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
#: What follows the weight of a normalised convolution.
_NORM = ("weight", "bias", "running_mean", "running_var")
_EXPECTED = "a dictionary of YOLOv5's arrays"

_RECONSTRUCT = frozenset(
    Global(module, "_reconstruct") for module in ("numpy.core.multiarray", "numpy._core.multiarray")
)
_FROM_BUFFER = frozenset(
    Global(module, "_frombuffer") for module in ("numpy.core.numeric", "numpy._core.numeric")
)
_DTYPE = Global("numpy", "dtype")
_ENCODE = Global("_codecs", "encode")
_ALLOWED = (
    _RECONSTRUCT
    | _FROM_BUFFER
    | {_DTYPE, _ENCODE, Global("numpy", "ndarray"), Global("collections", "OrderedDict")}
)
_CODES = {"f2", "f4", "f8", "i4", "i8"}


def read_npz(path: Path) -> SourceModel:
    """The arrays of an `.npz`, compressed or not. InputError for bombs, pickles and damage."""
    source = str(path)
    arrays: dict[str, Array] = {}
    budget = min(FILE_LIMIT, _MAX_RATIO * path.stat().st_size + _SMALL)
    try:
        with open_zip(path, _EXPECTED) as archive:
            infos = archive.infolist()
            if len(infos) > _MAX_TENSORS:
                raise InputError(source, f"has {len(infos)} arrays", f"at most {_MAX_TENSORS}")
            for info in infos:
                budget -= info.file_size
                if budget < 0:
                    raise InputError(
                        source, f"unpacks to too much at {info.filename} (a zip bomb?)"
                    )
                if info.compress_type not in _COMPRESSIONS:
                    raise InputError(source, f"packs {info.filename} in an unusual way", "deflate")
                name = info.filename[: -len(".npy")]
                if not info.filename.endswith(".npy") or name in arrays:
                    raise InputError(source, f"has the entry {info.filename}", "one .npy per array")
                with archive.open(info) as stream:
                    arrays[name] = _plain_array(stream.read(info.file_size + 1), source, name)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        raise InputError(source, f"is a damaged .npz ({error})", _EXPECTED) from error
    return _model(arrays, source, "npz")


def read_npy(path: Path) -> SourceModel:
    """The dictionary, or the ordered list, of arrays in an `.npy`.

    A list has the order of a state dict of release 6 or later and no names (see `named_in_order`).
    InputError for any global but NumPy's own, and for damage.
    """
    source = str(path)
    data = read_bytes(path, FILE_LIMIT)
    header = read_npy_header(data, source, "the array", _EXPECTED)
    if len(header.shape) > 1 or header.code != OBJECT:
        raise InputError(source, f"holds one array of shape {header.shape}", _EXPECTED)

    def admit(reference: Global) -> bool:
        if reference not in _ALLOWED:
            raise InputError(
                source,
                f"asks for the global {reference}, which is not on the allow-list",
                _EXPECTED,
            )
        return True

    content, _ = read_pickle(memoryview(data)[header.start :], source, admit)
    cell = _array_state(content, source, "the dictionary")[-1]
    if header.shape and isinstance(cell, list):
        if not 0 < len(cell) <= _MAX_TENSORS:
            raise InputError(source, f"holds {len(cell)} arrays", _EXPECTED)
        listed = [_pickled_array(value, source, f"array {at}") for at, value in enumerate(cell)]
        return replace(
            _model(named_in_order(listed, source), source, "npy"),
            form="NumPy list in the order of a state dict",
            assumed=("names of the tensors by their order",),
        )
    values = cell[0] if isinstance(cell, list) and len(cell) == 1 else None
    if isinstance(values, Record):
        values = values.pairs
    if not isinstance(values, dict) or not 0 < len(values) <= _MAX_TENSORS:
        raise InputError(source, "holds no dictionary", _EXPECTED)
    arrays = {
        name: _pickled_array(value, source, name)
        for name, value in values.items()
        if isinstance(name, str)
    }
    return _model(arrays, source, "npy")


def named_in_order(arrays: list[Array], source: str) -> dict[str, Array]:
    """Arrays in the order of a state dict, by their names there.

    A convolution begins with its weight, which alone has four axes; four vectors behind it are a
    normalisation, one is a bias. Batch counters are scalars and not used; three axes are the
    anchors.
    """
    groups: list[list[Array]] = []
    found: dict[str, Array] = {}
    for array in arrays:
        if array.ndim == 4:
            groups.append([array])
        elif array.ndim == 3:
            found["model.24.anchors"] = array
        elif array.ndim == 1 and groups:
            groups[-1].append(array)
    names = _names_in_order(len(groups))
    if names is None:
        raise InputError(source, f"holds {len(groups)} convolutions in a list",
                         "as many as an official size of YOLOv5 has")  # fmt: skip
    for name, (weight, *rest) in zip(names, groups):
        found[f"{name}.weight"] = weight
        if len(rest) == 1:
            found[f"{name}.bias"] = rest[0]
        elif len(rest) == len(_NORM):
            stem = f"{name[: -len('.conv')]}.bn"
            found.update({f"{stem}.{part}": array for part, array in zip(_NORM, rest)})
        else:
            raise InputError(source, f"holds {len(rest)} vectors behind {name}", "1 or 4")
    return found


def _names_in_order(count: int) -> list[str] | None:
    """The convolutions of the official size with so many, in the order of its state dict."""
    for size in SIZES:
        names = [conv.name for conv in Architecture.named(size).convolutions()]
        if len(names) == count:
            return sorted(names, key=_natural)
    return None


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key under which `m.2` comes before `m.10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in name.split(".")]


def _model(arrays: Mapping[str, Array], source: str, form: str) -> SourceModel:
    tensors, anchors = tidy(arrays, source)
    return SourceModel(source, f"NumPy dictionary ({form})", tensors, grid_anchors=anchors)


def _plain_array(data: bytes, source: str, name: str) -> Array:
    header = read_npy_header(data, source, name, _EXPECTED)
    if header.code == OBJECT:
        raise InputError(source, f"holds pickled objects in {name}", "plain arrays")
    return _from_bytes(data[header.start :], header.code, header.shape, source, name)


def _from_bytes(data: bytes, code: str, shape: tuple[int, ...], source: str, name: str) -> Array:
    if code[1:] not in _CODES:
        raise InputError(source, f"has {name} as {code}", "floating point")
    dtype = np.dtype(code)
    if not is_shape(shape):
        raise InputError(source, f"has {name} of shape {shape}", _EXPECTED)
    if math.prod(shape) * dtype.itemsize != len(data):
        raise InputError(source, f"has {len(data)} bytes for {name} of shape {shape}",
                         f"{math.prod(shape) * dtype.itemsize}")  # fmt: skip
    return np.frombuffer(data, dtype).reshape(shape)


def _array_state(value: Any, source: str, name: str) -> tuple[Any, ...]:
    """(shape, dtype record, Fortran order, content) of a pickled array."""
    if isinstance(value, Record) and value.function in _FROM_BUFFER and len(value.arguments) == 4:
        content, dtype, shape, order = value.arguments
        return shape, dtype, order != "C", content
    if (
        isinstance(value, Record)
        and value.function in _RECONSTRUCT
        and isinstance(value.state, tuple)
        and len(value.state) == 5
    ):
        return value.state[1:]
    raise InputError(source, f"holds no array in {name}", _EXPECTED)


def _pickled_array(value: Any, source: str, name: str) -> Array:
    shape, dtype, fortran, content = _array_state(value, source, name)
    if isinstance(content, Record) and content.function == _ENCODE:
        # How bytes are written for Python 2 readers: as Latin-1 text to be encoded.
        text = content.arguments[0] if len(content.arguments) == 2 else None
        content = text.encode("latin-1", "replace") if isinstance(text, str) else None
    if not isinstance(content, bytes) or fortran is not False or not isinstance(shape, tuple):
        raise InputError(source, f"describes {name} in an unusual way", "a plain array in C order")
    return _from_bytes(content, _dtype(dtype, source, name), shape, source, name)


def _dtype(value: Any, source: str, name: str) -> str:
    """A dtype's code with its byte order ("<f4"), which is entry 1 of the pickled state."""
    code = value.arguments[0] if isinstance(value, Record) and value.arguments else None
    state = value.state if isinstance(value, Record) else None
    known = isinstance(value, Record) and value.function == _DTYPE
    if not (known and isinstance(code, str) and code in _CODES and isinstance(state, tuple)):
        raise InputError(source, f"has {name} of an unknown element type", "floating point")
    if len(state) < 2 or state[1] not in ("<", ">", "="):
        raise InputError(source, f"has {name} of an unknown byte order", "little-endian")
    return str(state[1]) + str(code)
