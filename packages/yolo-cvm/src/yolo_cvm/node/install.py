"""Putting `libcvm_runtime.so` where a node looks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from yolo_core.errors import InputError
from yolo_core.files import PathLike, atomic_write, read_bytes
from yolo_core.outputs import check_outputs

LIBRARY = "libcvm_runtime.so"
PLUGINS = "plugins"

_MARK = b"yolo-cvm interpreter:"
_ROOM = 4096
_LIMIT = 16 << 20


def built() -> Path:
    """Where the library lies if it was compiled."""
    return Path(__file__).with_name(LIBRARY)


def install(target: PathLike) -> Path:
    """Write the library into a node and return its path.

    target: a folder `plugins`, a node's working folder, which then gets one, or the library's own
    path. The interpreter that runs this is the one that the library starts its daemon with; it is
    tried first. A library that is not ours is never replaced. InputError where it is in the way.
    """
    library = install_path(Path(target))
    if not built().is_file():
        raise InputError(built(), "was not compiled", "an installation with a C compiler, on Linux")
    check_outputs(inputs=[built()], files=[library])
    python = os.path.abspath(sys.executable)
    _try(python)
    atomic_write(library, prepared(read_bytes(built(), _LIMIT), python))
    return library


def install_path(target: Path) -> Path:
    """Where the library goes for a target that `install` is given."""
    if target.name == LIBRARY:
        return target
    return (target if target.name == PLUGINS else target / PLUGINS) / LIBRARY


def prepared(library: bytes, python: str) -> bytes:
    """The library's bytes with the interpreter of its daemon in their place."""
    path = os.fsencode(python)
    at = library.find(_MARK)
    if at < 0 or len(_MARK) + len(path) + 1 > _ROOM:
        raise InputError(python, "does not fit into the library", f"at most {_ROOM} bytes")
    place = (_MARK + path).ljust(_ROOM, b"\0")
    return library[:at] + place + library[at + _ROOM :]


def _try(python: str) -> None:
    """Refuse an interpreter that does not find the daemon without help from its surroundings."""
    command = [python, "-I", "-c", "import yolo_cvm.node.daemon"]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise InputError(
            python, f"cannot run the daemon ({lines[-1]:.80})", "an installed yolo-cvm"
        )
