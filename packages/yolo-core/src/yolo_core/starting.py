"""The start of every command: its module is imported here, so that a failure can be told.

This module imports nothing large, because it must itself be there when memory is short.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module

from yolo_core.errors import is_shortage

#: Exit codes, see `yolo_core.command`, which is not imported at this point.
_SHORTAGE = 3
_INTERRUPTED = 130
#: Address space in bytes without which NumPy's OpenBLAS asks for memory for ever.
_LEAST = 128 << 20


def start(module: str, name: str) -> None:
    """Run `main` of this module as the command `name`.

    Where this machine has too little memory to import it, one line says so and SystemExit has
    code 3; an interrupt has code 130.
    """
    try:
        if _address_space() < _LEAST:
            raise MemoryError
        main = import_module(module).main
    except (MemoryError, ImportError, OSError) as error:
        if not isinstance(error, MemoryError) and not is_shortage(error):
            raise
        print(f"Error: this machine has too little memory to start {name}", file=sys.stderr)
        raise SystemExit(_SHORTAGE) from None
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        raise SystemExit(_INTERRUPTED) from None
    try:
        main(prog_name=name)
    except SystemExit as end:
        if end.code == _SHORTAGE:
            _leave()
        raise


def _leave() -> None:
    """End the process at once: MXNet frees twice what it failed to make larger, and crashes."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.flush()
    os._exit(_SHORTAGE)


def _address_space() -> float:
    """Bytes that this process may map, as `ulimit -v` limits it."""
    if sys.platform == "win32":
        return float("inf")
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return float("inf") if limit == resource.RLIM_INFINITY else limit
