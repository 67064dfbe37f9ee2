"""The header of an `.npy` file, read by hand because such files come from strangers.

NumPy's own reader evaluates the header as Python and allocates what it promises. NumPy always
writes the header in one form, so that form is matched and nothing is evaluated or allocated.
Source: the format description of `numpy.lib.format`, versions 1.0 to 3.0.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from yolo_core.errors import InputError

MAGIC = b"\x93NUMPY"
#: The code of an array of Python objects, which is a pickle.
OBJECT = "|O"
_MAX_HEADER = 4096
_HEADER = re.compile(
    rb"\{'descr': '(?P<descr>[<>|][a-zA-Z]\d{0,7})', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>(?:\d{1,15}L?,)?|\d{1,15}L?(?:, \d{1,15}L?){1,8})\), \} *\n?"
)


@dataclass(frozen=True)
class NpyHeader:
    """shape: of the array. code: its element type, "<f4" for instance. start: where the elements
    begin in the file. fortran: whether they lie in Fortran order, the first axis fastest.
    """

    shape: tuple[int, ...]
    code: str
    start: int
    fortran: bool = False


def read_npy_header(
    data: bytes, source: str, name: str, expected: str, fortran: bool = False
) -> NpyHeader:
    """The header at the beginning of the file's bytes.

    source: the file, name: the array and expected: what should be there, for the InputError that
    anything else is. fortran: whether an array in Fortran order is taken too.
    """
    size = struct.Struct("<H" if data[6:7] == b"\x01" else "<I")
    start = len(MAGIC) + 2 + size.size
    sound = data.startswith(MAGIC) and data[6:7] in (b"\x01", b"\x02", b"\x03")
    if not sound or len(data) < start:
        raise InputError(source, f"has no .npy header for {name}", expected)
    end = start + size.unpack_from(data, start - size.size)[0]
    found = _HEADER.fullmatch(data[start : min(end, start + _MAX_HEADER)])
    if found is None or end > len(data):
        raise InputError(source, f"has no valid .npy header for {name}", expected)
    shape = tuple(int(side) for side in re.findall(rb"\d+", found["shape"]))
    turned = found["fortran"] == b"True" and len(shape) > 1
    if turned and not fortran:
        raise InputError(source, f"has {name} in Fortran order", "C order")
    return NpyHeader(shape, found["descr"].decode("ascii"), end, turned)
