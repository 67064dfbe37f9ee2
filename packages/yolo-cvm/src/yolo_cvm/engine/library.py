"""The compiled library: found beside this file, opened once, called through ctypes.

Every call releases the interpreter lock. Where the library cannot be used `opened()` is None, the
caller falls back to the reference, and `absence()` is the reason to tell.
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import POINTER, c_char_p, c_double, c_int, c_int32, c_int64, c_void_p
from pathlib import Path

from yolo_cvm.engine.format import FINGERPRINT

INVALID, MEMORY = 1, 2

_SIGNATURES = {
    "cvm_message": (c_char_p, []),
    "cvm_instruction_sets": (c_char_p, []),
    "cvm_format": (c_int64, []),
    "cvm_plan_new": (
        c_int,
        [
            POINTER(c_int64),
            c_int64,
            POINTER(c_void_p),
            POINTER(c_int64),
            c_char_p,
            POINTER(c_void_p),
        ],
    ),
    "cvm_plan_free": (None, [c_void_p]),
    "cvm_plan_instruction_set": (c_char_p, [c_void_p]),
    "cvm_execution_new": (c_int, [c_void_p, c_int, POINTER(c_void_p)]),
    "cvm_execution_free": (None, [c_void_p]),
    "cvm_begin": (c_int, [c_void_p, c_void_p, POINTER(c_void_p), c_int32]),
    "cvm_advance": (c_int64, [c_void_p, c_int64, c_double]),
    "cvm_address": (c_void_p, [c_void_p, c_int64]),
    "cvm_products": (None, [c_void_p, c_int]),
    "cvm_seconds": (POINTER(c_double), [c_void_p]),
    "cvm_ceiling": (c_int64, [c_char_p, c_int64]),
    "cvm_resize": (
        c_int,
        [c_void_p, c_int64, c_int64, c_void_p, c_int64, c_void_p, c_int64, c_void_p, c_char_p],
    ),
    "cvm_hex": (None, [c_void_p, c_int64, c_void_p, c_char_p]),
    "cvm_hex_words": (None, [c_void_p, c_int64, c_void_p, c_char_p]),
    "cvm_unhex": (c_int, [c_void_p, c_int64, c_void_p, c_char_p]),
}


def path() -> Path:
    """Where the library lies if it was compiled."""
    return Path(__file__).with_name("_native.so")


def opened() -> ctypes.CDLL | None:
    """The library with its signatures; None where it cannot be used, see `absence`."""
    return find()[0]


def absence() -> str:
    """Why there is no library, as the predicate of a sentence; empty where there is one."""
    return find()[1]


@functools.lru_cache(maxsize=1)
def find() -> tuple[ctypes.CDLL | None, str]:
    """The library, or why it cannot be used: not compiled, not loading, or of another format."""
    if not path().exists():
        return None, "was installed without a C++ compiler"
    try:
        library = ctypes.CDLL(str(path()))
    except OSError as error:
        return None, f"has a compiled library that does not load ({error})"
    stale = "has a compiled library of another version (install the package again)"
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name, None)
        if function is None:
            return None, stale
        function.restype = result
        function.argtypes = arguments
    return (library, "") if library.cvm_format() == FINGERPRINT else (None, stale)


def instruction_sets() -> tuple[str, ...]:
    """What this machine can run, best first; empty without the library."""
    library = opened()
    return tuple(library.cvm_instruction_sets().decode().split()) if library else ()


def check(library: ctypes.CDLL, code: int) -> None:
    """Raise what a nonzero return code means: MemoryError, or RuntimeError for a broken plan."""
    if code:
        message = library.cvm_message().decode()
        raise MemoryError(message) if code == MEMORY else RuntimeError(message)
