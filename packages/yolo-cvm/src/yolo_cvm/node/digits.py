"""The hexadecimal digits of an output.

The output of a picture of 640x640 has seventeen million digits, for which Python takes longer
than the engine takes for the picture. The compiled functions give the same digits.
"""

from __future__ import annotations

import numpy as np

from yolo_core.arrays import Array
from yolo_cvm.engine import library

_FEW = 4096


def spell(values: Array, before: bytes = b"", after: bytes = b"") -> bytearray:
    """The lower-case digits of int8 or int32 values, integers with the highest byte first.

    before, after: bytes to put around the digits, so that nothing has to be copied again.
    """
    values = np.ascontiguousarray(values)
    native = library.opened()
    if native is None or values.nbytes < _FEW:
        ordered = values.astype(values.dtype.newbyteorder(">"), copy=False)
        return bytearray(before + ordered.tobytes().hex().encode("ascii") + after)
    text = bytearray(len(before) + 2 * values.nbytes + len(after))
    text[: len(before)] = before
    text[len(text) - len(after) :] = after
    target = np.frombuffer(text, np.uint8).ctypes.data + len(before)
    function = native.cvm_hex if values.itemsize == 1 else native.cvm_hex_words
    function(values.ctypes.data, values.size, target)
    return text
