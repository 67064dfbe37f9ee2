"""`.npz` and `.npy` files: dictionaries of arrays, read without NumPy's unpickler.

An `.npz` is a zip of arrays. An array that holds a dictionary is a header and a pickle; the
pickle goes through `pickle_machine`, which knows a few globals of NumPy and refuses the rest.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import read_bytes
from yolo_core.yolo.architecture import SIZES, Architecture
from yolo_core.yolo.npy import OBJECT, read_npy_header
from yolo_port.description import decoded, names_beside, plain
from yolo_port.holders import HOLDERS, find
from yolo_port.pickle_machine import Global, Record, read_pickle
from yolo_port.readers.pickled_arrays import (
    ARRAY_GLOBALS,
    array_state,
    element_code,
    from_bytes,
    is_array,
    pickled_array,
)
from yolo_port.readers.zip_container import open_zip
from yolo_port.source import SourceModel
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
_ALLOWED = ARRAY_GLOBALS | {
    Global("collections", "OrderedDict"),
    *(Global(module, "scalar") for module in ("numpy.core.multiarray", "numpy._core.multiarray")),
}
#: Deepest nesting of dictionaries and lists.
_MAX_DEPTH = 6


def read_npz(path: Path) -> SourceModel:
    """The arrays of an `.npz`, compressed or not. InputError for bombs and damage."""
    source = str(path)
    content: dict[str, Any] = {}
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
                if not info.filename.endswith(".npy") or name in content:
                    raise InputError(source, f"has the entry {info.filename}", "one .npy per array")
                with archive.open(info) as stream:
                    content[name] = _value(stream.read(info.file_size + 1), source, name)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        raise InputError(source, f"is a damaged .npz ({error})", _EXPECTED) from error
    if not any("." in name for name in content):  # some writers part the names by slashes
        content = {name.replace("/", "."): value for name, value in content.items()}
    return _model(content, source, "npz")


def read_npy(path: Path) -> SourceModel:
    """The dictionary, or the ordered list, of arrays in an `.npy`.

    A list has the order of a state dict of release 6 or later and no names (see `named_in_order`).
    InputError for any global but NumPy's own, and for damage.
    """
    source = str(path)
    content = _value(read_bytes(path, FILE_LIMIT), source, "the array")
    if isinstance(content, list):
        if not content or not all(isinstance(each, (np.ndarray, int)) for each in content):
            raise InputError(source, "holds a list that is not one of arrays", _EXPECTED)
        listed = [np.asarray(each) for each in content]
        tensors, anchors = tidy(named_in_order(listed, source), source)
        return SourceModel(
            source, "NumPy list in the order of a state dict", tensors, grid_anchors=anchors,
            assumed=("names of the tensors by their order",),
        )  # fmt: skip
    if not isinstance(content, dict):
        shape = content.shape if isinstance(content, np.ndarray) else "()"
        raise InputError(source, f"holds one array of shape {shape}", _EXPECTED)
    return _model(content, source, "npy")


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


def _model(content: Mapping[str, Any], source: str, form: str) -> SourceModel:
    """The model in a dictionary of arrays, or in one inside of it, with the names beside them."""

    def hold(place: Mapping[Any, Any]) -> SourceModel | None:
        for key in ("", *HOLDERS):
            held = place.get(key) if key else place
            arrays = _arrays(held) if isinstance(held, dict) else {}
            if any(array.dtype.kind == "f" for array in arrays.values()):
                tensors, anchors = tidy(arrays, source)
                return SourceModel(
                    source, f"NumPy dictionary ({form})", tensors, grid_anchors=anchors,
                    **names_beside([place, content], source),
                )  # fmt: skip
        return None

    found = find(content, hold, lambda value: value if isinstance(value, dict) else None, source)
    if found is None:
        kinds = sorted({f"{each.dtype}" for each in _arrays(content).values()})
        what = f"arrays of {', '.join(kinds)} alone" if kinds else "no dictionary of arrays"
        raise InputError(source, f"holds {what}", _EXPECTED)
    return found


def _arrays(place: Mapping[Any, Any]) -> dict[str, Array]:
    return {key: each for key, each in place.items() if isinstance(each, np.ndarray)}


def _value(data: bytes, source: str, name: str) -> Any:
    """What an `.npy` holds: an array, or the dictionary or list of an array of objects; names,
    in an array of text, as a list."""
    header = read_npy_header(data, source, name, _EXPECTED, fortran=True)
    rest = memoryview(data)[header.start :]
    if header.code == OBJECT:
        content, _ = read_pickle(rest, source, lambda reference: _admit(reference, source))
        return _understood(content, source, name, _MAX_DEPTH)
    if header.code[1] == "U" and len(header.shape) < 2:
        count = header.shape[0] if header.shape else 1
        return decoded(header.code[1:], bytes(rest), count) if count <= _MAX_TENSORS else None
    return from_bytes(bytes(rest), header.code, header.shape, source, name, header.fortran)


def _admit(reference: Global, source: str) -> bool:
    if reference not in _ALLOWED:
        cause = f"asks for the global {reference}, which is not on the allow-list"
        raise InputError(source, cause, _EXPECTED)
    return True


def _understood(value: Any, source: str, name: str, depth: int) -> Any:
    """A value of a pickle with its arrays read and its dictionaries plain."""
    if depth == 0:
        raise InputError(source, f"nests {name[:80]} too deep", _EXPECTED)
    if isinstance(value, Record) and value.function.name == "OrderedDict":
        value = value.pairs
    if isinstance(value, (dict, list)) and len(value) > _MAX_TENSORS:
        raise InputError(source, f"holds {len(value)} arrays in {name[:80]}", _EXPECTED)
    if isinstance(value, dict):
        return {key: _understood(each, source, str(key), depth - 1) for key, each in value.items()
                if isinstance(key, (str, int))}  # fmt: skip
    if isinstance(value, (list, tuple)):
        return [_understood(each, source, name, depth - 1) for each in value]
    if not is_array(value):
        return plain(value)
    shape, kind, _, content = array_state(value, source, name)
    if isinstance(content, list):
        found = _understood(content, source, name, depth - 1)
        return found if shape or len(found) != 1 else found[0]
    return plain(value) if element_code(kind)[:1] == "U" else pickled_array(value, source, name)
