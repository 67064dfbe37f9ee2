"""Unfinished results beside their place, how they take it, and what is left of them after a kill.

While `out` is being written, `.out.XXXXXXXX.yolo-part` lies beside it: a file, or a folder that
holds `new` and, where the system cannot exchange two folders in one step, `old` for a moment.
Its writer keeps it locked, so that the next command that writes `out` can tell what a killed one
has left: `old` goes back to its place where that is empty, everything else is removed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import glob
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from yolo_core.errors import InputError

ENDING = ".yolo-part"
LOCK_ENDING = ".yolo-lock"
NEW, OLD = "new", "old"

_HERE = -100  # AT_FDCWD of Linux
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux


def part_file(path: Path) -> tuple[int, Path]:
    """An open, locked, empty file beside `path`, and its name. OSError where it cannot be made."""
    while True:
        handle, name = tempfile.mkstemp(ENDING, f".{path.name}.", path.parent)
        if _kept(handle, name):
            return handle, Path(name)
        os.close(handle)


@contextlib.contextmanager
def part_folder(path: Path) -> Iterator[Path]:
    """A locked folder beside `path`, removed at the end. OSError where it cannot be made.

    What it holds as `old` at the end goes back to `path` where nothing is there.
    """
    place, handle = _made_folder(path)
    try:
        yield place
    finally:
        _clear(place, path)
        if handle is not None:
            os.close(handle)


def _made_folder(path: Path) -> tuple[Path, int | None]:
    """A new folder beside `path` and its locked handle, None where there are no such locks."""
    while True:
        place = Path(tempfile.mkdtemp(ENDING, f".{path.name}.", path.parent))
        if sys.platform == "win32":
            return place, None
        try:
            handle = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # as in `_kept`
        if _kept(handle, place):
            return place, handle
        os.close(handle)


def _kept(handle: int, name: str | Path) -> bool:
    """Lock a part that was just made; False where another command has removed it before that."""
    lock(handle, wait=True)
    try:
        return os.path.samestat(os.fstat(handle), os.stat(name))
    except FileNotFoundError:
        return False


def take_place(fresh: Path, path: Path, old: Path) -> None:
    """Put the folder `fresh` in the place of `path`, where a folder may be or not.

    In one step where the system knows how to exchange two names; elsewhere what is at `path` is
    called `old` for a moment. OSError where the system refuses.
    """
    for _ in range(100):  # another command may put its own folder there between two steps
        if not os.path.lexists(path):
            with contextlib.suppress(FileExistsError, NotADirectoryError):
                if _renamed(fresh, path):
                    return
        elif _exchanged(fresh, path):
            return
        elif os.path.lexists(path):
            os.replace(path, old)
            os.replace(fresh, path)
            return
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), os.fspath(path))


def _renamed(fresh: Path, path: Path) -> bool:
    try:
        os.rename(fresh, path)
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        return False
    return True


def _exchanged(one: Path, other: Path) -> bool:
    """Whether both names were exchanged; False where the system cannot, or `other` is gone."""
    call = _exchange_call()
    return call is not None and call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), 2) == 0


@functools.lru_cache(maxsize=1)
def _exchange_call() -> Callable[..., int] | None:
    if not sys.platform.startswith("linux"):
        return None
    function = getattr(ctypes.CDLL(None), "renameat2", None)  # glibc 2.28, musl 1.2.6
    if function is not None:
        name = ctypes.c_char_p
        function.argtypes = [ctypes.c_int, name, ctypes.c_int, name, ctypes.c_uint]
    found: Callable[..., int] | None = function
    return found


def is_part(name: str) -> bool:
    """Whether a file or folder of that name is an unfinished result, or the lock of one."""
    return name.startswith(".") and name.endswith((ENDING, LOCK_ENDING))


def recover(path: Path) -> None:
    """Undo what a killed command has left half-done beside `path`; a living one is let be."""
    pattern = f".{glob.escape(path.name)}.????????{ENDING}"
    with contextlib.suppress(OSError, ValueError):
        for part in path.parent.glob(pattern):
            handle = _opened(part)
            if handle is None:
                continue
            try:
                if stat.S_ISDIR(os.fstat(handle).st_mode):
                    _clear(part, path)
                else:
                    part.unlink()
            finally:
                os.close(handle)


def remove_parts(folder: Path) -> None:
    """Remove the unfinished files that killed commands have left in a folder."""
    with contextlib.suppress(OSError):
        for part in folder.glob(f".*{ENDING}"):
            if part.is_file():
                recover(folder / part.name[1 : -len(".12345678" + ENDING)])


def _clear(place: Path, path: Path) -> None:
    """Remove a folder of parts; its `old` goes back to `path` where nothing is there."""
    if set(os.listdir(place)) - {NEW, OLD}:
        return  # nothing that we made
    if os.path.lexists(place / OLD) and not os.path.lexists(path):
        os.replace(place / OLD, path)
    shutil.rmtree(place, ignore_errors=True)


def _opened(part: Path) -> int | None:
    """A locked handle of a part that no other process has; None where one has, or cannot tell."""
    if sys.platform == "win32":
        return None
    try:
        handle = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if lock(handle) and _is_ours(os.fstat(handle)):
        return handle
    os.close(handle)
    return None


def _is_ours(status: os.stat_result) -> bool:
    kind = stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode)
    return kind and status.st_uid == os.geteuid()


def lock(handle: int, wait: bool = False) -> bool | None:
    """Whether this open file is now locked for its process alone; it is until it is closed.

    wait: until another process is done with it. None where there are no such locks.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def lock_alone(handle: int, path: Path) -> None:
    """Lock this open file until it is closed. InputError where another process has it.

    path: what is being written, for the message. Where there are no locks, nobody is kept out.
    """
    if lock(handle) is False:
        expected = "its end, or another output"
        raise InputError(path, "is being written by another command", expected)


@contextlib.contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """One process after the other, among those that replace something in this folder."""
    handle = None
    with contextlib.suppress(OSError, ValueError):
        handle = os.open(folder, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        if handle is not None:
            lock(handle, wait=True)
        yield
    finally:
        if handle is not None:
            os.close(handle)


@contextlib.contextmanager
def only_one(path: Path) -> Iterator[None]:
    """InputError while another process is in the same block for the same result.

    A hidden file beside the result is locked; it is removed at the end, and so are folders that
    were made for it and stay empty. Where none can be made, or the file system has no locks,
    nobody is kept out.
    """
    name = path.with_name(f".{path.name}{LOCK_ENDING}")
    absent = [folder for folder in path.parents if not os.path.lexists(folder)]
    handle = None
    with contextlib.suppress(OSError, ValueError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _lock_file(name)
    if handle is None:
        yield
        return
    try:
        lock_alone(handle, path)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.unlink(name)
                for folder in absent:
                    os.rmdir(folder)
    finally:
        os.close(handle)


def _lock_file(name: Path) -> int:
    """An open file of this name. It is not one that its last user is about to remove."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    while True:
        handle = os.open(name, flags, 0o600)
        if lock(handle) is not True:
            return handle
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(name)):
                return handle
        os.close(handle)
