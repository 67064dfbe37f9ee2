"""Memory of a process of many threads that takes and gives back buffers of megabytes for days.

glibc lets every thread keep a heap of its own and raises the size from which a buffer is returned
to the system to that of the largest buffer ever freed. The memory of a server then grows for hours;
with the limits below it is level after some thousand answers. The rows of a picture of 640x640 are
8.6 MB, which is below the size: were they returned, the system would clear their pages for every
answer, which takes longer than spelling them.
"""

from __future__ import annotations

import contextlib
import ctypes

# Parameters of mallopt and their values, in bytes or heaps.
_ARENA_MAX, _HEAPS = -8, 2
_MMAP_THRESHOLD, _RETURNED = -3, 16 << 20
_TRIM_THRESHOLD, _KEPT = -1, 64 << 20


def limit() -> None:
    """Keep memory flat from here on; to be called before threads start. No effect without glibc."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_ARENA_MAX, _HEAPS)
        mallopt(_MMAP_THRESHOLD, _RETURNED)
        mallopt(_TRIM_THRESHOLD, _KEPT)
