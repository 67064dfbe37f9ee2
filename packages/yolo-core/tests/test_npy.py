"""The header of `.npy` files: what NumPy writes, and nothing else."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from yolo_core.errors import InputError
from yolo_core.yolo.npy import read_npy_header

WHOLE = b"\x93NUMPY\x01\x00\x3e\x00{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }"


def saved(values: Any, version: tuple[int, int] = (1, 0)) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, values, version)
    return stream.getvalue()


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3), (1, 2, 3, 4)])
def test_what_numpy_writes_is_read(shape: tuple[int, ...], version: tuple[int, int]) -> None:
    values = np.ones(shape, "<i2")
    data = saved(values, version)
    header = read_npy_header(data, "f", "a", "an array")
    assert (header.shape, header.code) == (shape, "<i2")
    assert data[header.start :] == values.tobytes()


def test_fortran_order_is_told_where_it_is_asked_for() -> None:
    data = saved(np.asfortranarray(np.ones((2, 3))))
    assert read_npy_header(data, "f", "a", "an array", fortran=True).fortran
    assert not read_npy_header(saved(np.ones((2, 3))), "f", "a", "an array", fortran=True).fortran


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "no .npy header for a; expected an array"),
        (b"\x93NUMPY", "no .npy header"),
        (b"\x93NUMPY\x04\x00" + WHOLE[8:], "no .npy header"),
        (WHOLE[:-1], "no valid"),
        (WHOLE[:10] + WHOLE[10:].replace(b"(3,)", b"(9**9)"), "no valid"),
        (WHOLE[:10] + WHOLE[10:].replace(b"False", b"print"), "no valid"),
        (WHOLE[:10] + WHOLE[10:].replace(b"'<f4'", b"'f8,f'"), "no valid"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + b" " * 99, "no valid"),
        (saved(np.asfortranarray(np.ones((2, 3)))), "Fortran order"),
    ],
)
def test_anything_else_is_one_line(data: bytes, cause: str) -> None:
    with pytest.raises(InputError, match=cause) as caught:
        read_npy_header(data, "f", "a", "an array")
    assert str(caught.value).startswith("f")
    assert "\n" not in str(caught.value)
