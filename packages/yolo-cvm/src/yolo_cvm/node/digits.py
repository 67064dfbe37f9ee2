"""Hexadecimal digits: those of an output, spelled while they are sent, and those of a request.

The output of a picture of 640x640 has seventeen million digits, for which Python takes longer
than the engine takes for the picture. The compiled functions give the same digits, piece by piece
into one small buffer, so that no memory is taken for the whole.
"""

from __future__ import annotations

import binascii
import os
from collections.abc import Iterator

import numpy as np

from yolo_core.arrays import Array
from yolo_cvm.engine import ARCH_VARIABLE, library

#: Values per piece, whose digits stay in a cache until they are sent.
PIECE = 1 << 16


class Digits:
    """The lower-case digits of int8 or int32 values, integers with the highest byte first.

    before, after: bytes around the digits. `len` counts all of it.
    """

    def __init__(self, values: Array, before: bytes = b"", after: bytes = b"") -> None:
        self._values = np.ascontiguousarray(values).reshape(-1)
        self._before, self._after = before, after

    def __len__(self) -> int:
        return len(self._before) + 2 * self._values.nbytes + len(self._after)

    def __iter__(self) -> Iterator[bytes | memoryview]:
        """Pieces in order; each is only good until the next one is asked for."""
        yield self._before
        native = library.opened()
        size = self._values.itemsize
        buffer = np.empty(2 * size * min(PIECE, self._values.size), np.uint8)
        for first in range(0, self._values.size, PIECE):
            part = self._values[first : first + PIECE]
            if native is None:
                ordered = part.astype(part.dtype.newbyteorder(">"), copy=False)
                yield ordered.tobytes().hex().encode("ascii")
                continue
            function = native.cvm_hex if size == 1 else native.cvm_hex_words
            function(part.ctypes.data, part.size, buffer.ctypes.data, _instruction_set())
            yield buffer[: 2 * part.nbytes].data
        yield self._after

    def __bytes__(self) -> bytes:
        return b"".join(map(bytes, self))


def read(digits: memoryview) -> bytes | None:
    """The bytes that digits of either case spell; None where something else is there."""
    native = library.opened()
    if native is None:
        try:
            return binascii.unhexlify(digits)
        except binascii.Error:
            return None
    if len(digits) % 2:
        return None
    spelled = np.frombuffer(digits, np.uint8)
    content = np.empty(spelled.size // 2, np.uint8)
    strange = native.cvm_unhex(
        spelled.ctypes.data, content.size, content.ctypes.data, _instruction_set()
    )
    return None if strange else content.tobytes()


def _instruction_set() -> bytes:
    """The one that is forced, or nothing for the best; the digits are the same."""
    return os.environ.get(ARCH_VARIABLE, "").encode()
