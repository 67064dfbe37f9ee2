"""Large buffers of a server go back to the system, whatever was freed before."""

from __future__ import annotations

import subprocess
import sys

import pytest

MEASURE = """
import ctypes
from yolo_cvm.node import allocator

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks",
                 "uordblks", "fordblks", "keepcost")]

try:
    mallinfo = ctypes.CDLL(None).mallinfo2
except (OSError, AttributeError):
    raise SystemExit(7)
mallinfo.restype = Info
{call}
del_me = bytearray(24 << 20)
del del_me
before = mallinfo().hblkhd
held = bytearray(16 << 20)
print(mallinfo().hblkhd - before)
"""


def own_mappings(call: str) -> int:
    """Bytes of own mappings that a buffer of 16 MiB takes after one of 24 MiB was freed."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE.format(call=call)], capture_output=True, text=True
    )
    if done.returncode == 7:
        pytest.skip("only glibc 2.33 and newer tell how memory is taken")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_large_buffers_are_returned_to_the_system() -> None:
    assert own_mappings("") == 0
    assert own_mappings("allocator.limit()") >= 16 << 20
