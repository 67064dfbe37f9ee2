"""What a command may write, and where: nothing of the user's is ever replaced or removed.

The rule, for every command of every package:

- A file is replaced only when it is a result of ours and nobody has changed it since. A folder is
  replaced only when everything in it is. Links, devices, FIFOs and sockets are never replaced.
- An input is never an output, not even when it is a result of ours.

`yolo_core.files.atomic_write`, `atomic_files`, `atomic_folder` and `atomic_move` keep the first
half by themselves: whatever is written by them is marked, and what is not marked they refuse to
replace. So a new command needs two things only:

1. Write by those functions, never by `open`, `write_text` or a library's own `save`.
2. Before any long work, call `check_outputs`, so that a command which would be refused at its end
   is refused at its start, and so that no input is in the way:

       check_outputs(inputs=[model, picture], files=[json_file], folders=[out])

   `tests/test_outputs.py` runs every command over foreign files; add a new command there.

A command without `--out` that writes many files takes `new_folder("runs/detect", "exp")`.

How a result is marked: the extended attribute `user.yolo.result` of the file holds the SHA-256 of
its content. It moves with the file and costs no file of its own; a copy that does not carry it
(`cp` without `-a`, a download) is the user's. On a file system without extended attributes the
same digest stands in a hidden file `.yolo-results` in the folder, in the form of `sha256sum`.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Union

from yolo_core import replacing
from yolo_core.errors import InputError

PathLike = Union[str, "os.PathLike[str]"]

ATTRIBUTE = "user.yolo.result"
LIST = ".yolo-results"

_LIST_LIMIT = 16 << 20
_FREE = "a free name (remove what is there if nobody needs it)"
_KINDS = (
    (stat.S_ISDIR, "is a folder"),
    (stat.S_ISLNK, "is a link"),
    (stat.S_ISFIFO, "is a FIFO"),
    (stat.S_ISSOCK, "is a socket"),
    (stat.S_ISCHR, "is a device"),
    (stat.S_ISBLK, "is a device"),
)


def check_outputs(
    inputs: Iterable[PathLike | None] = (),
    files: Iterable[PathLike | None] = (),
    folders: Iterable[PathLike | None] = (),
    cache: bool = False,
) -> None:
    """Refuse outputs that a command must not write; call it before any work. None is left out.

    inputs: files and folders that the command reads; those that do not exist are passed over.
    files: single files that it will write. folders: folders that it will replace as a whole.
    cache: as for `atomic_write` and `atomic_folder`.
    InputError when a file or folder is not ours, is an input (by whatever name: a link, another
    spelling, a hard link), holds an input, or when two outputs are one place.
    """
    sources = [Path(path) for path in inputs if path is not None]
    targets = [Path(path) for path in files if path is not None]
    wholes = [Path(path) for path in folders if path is not None]
    _check_apart([*targets, *wholes])
    for path in (*targets, *wholes):
        replacing.recover(path)
    identities = {identity: path for path in sources for identity in _identity(path)}
    for target in targets:
        for identity in _identity(target):
            if identity in identities:
                raise InputError(target, "is read by this command", "another output")
        check_file(target, cache)
    for whole in wholes:
        check_folder(whole, cache)
        check_holds_no_input(whole, sources)


def check_holds_no_input(folder: PathLike, inputs: Iterable[PathLike]) -> None:
    """InputError when one of `inputs` is `folder` or lies somewhere in it."""
    place = os.path.realpath(folder)
    for source in inputs:
        if not os.path.lexists(source):
            continue
        # The name as given and the place that it leads to: a link in the folder is in it too.
        beside = os.path.join(os.path.realpath(Path(source).parent), Path(source).name)
        if any(_is_within(path, place) for path in (beside, os.path.realpath(source))):
            cause, expected = "lies where its result would go", "another place for the results"
            raise InputError(source, cause, f"{expected} than {folder}")


def check_file(path: PathLike, cache: bool = False) -> None:
    """InputError unless `path` is free or a result of ours that nobody has changed.

    cache: a result of ours that was changed is good as well.
    """
    path = Path(path)
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        raise InputError(path, f"cannot be written ({error})") from error
    for is_kind, cause in _KINDS:
        if is_kind(mode):
            raise InputError(path, cause, "a name that is free or a file")
    if not is_result(path, changed=cache):
        raise InputError(path, "is not a result of ours, or was changed since", _FREE)


def check_folder(path: PathLike, cache: bool = False) -> None:
    """InputError unless `path` is free, an empty folder, or one with results of ours alone.

    cache: results of ours that were changed are good as well.
    The folder that the process works in is refused too: it would be gone from under it.
    """
    path = Path(path)
    if os.path.isdir(path) and Path.cwd().is_relative_to(path.resolve()):
        raise InputError(path, "is the folder you work in", "another one")
    if os.path.lexists(path) and (os.path.islink(path) or not os.path.isdir(path)):
        raise InputError(path, "is in the way", "a folder or a free name")
    for found in _files_in(path) if os.path.isdir(path) else ():
        if os.path.islink(found) or not os.path.isfile(found) or not is_result(found, cache):
            if not os.path.lexists(found):
                continue  # another command has just put its own folder in this place
            name = found.relative_to(path)
            raise InputError(path, f"holds other files than results of ours ({name})", _FREE)


def new_folder(project: PathLike, name: str) -> Path:
    """Make and return `project/name`, `name2`, `name3` …: the first that is free.

    InputError where the folder cannot be made.
    """
    project = Path(project)
    number = 1
    while True:
        path = project / (name if number == 1 else f"{name}{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError as error:
            if not os.path.lexists(path):  # a folder above it is none, such as a link to nothing
                raise InputError(project, "is not a folder") from error
            number += 1
        except NotADirectoryError as error:
            raise InputError(project, "is not a folder") from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(path, f"cannot be made ({reason})") from error
        else:
            return path


def is_result(path: PathLike, changed: bool = False) -> bool:
    """Whether the file is marked as a result of ours and still has the content it was marked with.

    changed: take a marked file whose content has changed as well.
    """
    path = Path(path)
    try:
        with open(path, "rb") as stream:
            # Mark and content are those of one file, also while another command replaces it.
            digests = _marks(path, stream.fileno())
            return bool(digests) and (changed or _digest(stream) in digests)
    except OSError:
        return False


def mark(path: PathLike, name: str | None = None, digest: str | None = None) -> None:
    """Mark a regular file that was just written as a result of ours.

    name: what the file will be called in its folder once it is complete; default its own name.
    digest: SHA-256 of its content where the caller knows it.
    """
    path = Path(path)
    if digest is None:
        with open(path, "rb") as stream:
            digest = _digest(stream)
    try:
        os.setxattr(path, ATTRIBUTE, digest.encode("ascii"))
    except (OSError, AttributeError):
        # No extended attributes here, or not on this system.
        line = f"{digest}  ".encode("ascii") + _escaped(name or path.name) + b"\n"
        with open(path.parent / LIST, "ab") as stream:
            stream.write(line)


def mark_folder(folder: PathLike) -> None:
    """Mark every file in a folder that is not marked yet."""
    for path in _files_in(Path(folder)):
        if not is_result(path):
            mark(path)


def _marks(path: Path, handle: int) -> set[str]:
    """Digests that the file of this name, open as `handle`, was marked with."""
    try:
        return {os.getxattr(handle, ATTRIBUTE).decode("ascii", "replace")}
    except (OSError, AttributeError):
        pass
    try:
        with open(path.parent / LIST, "rb") as stream:
            lines = stream.read(_LIST_LIMIT).splitlines()
    except OSError:
        return set()
    wanted = _escaped(path.name)
    return {line[:64].decode("ascii", "replace") for line in lines if line[66:] == wanted}


def _escaped(name: str) -> bytes:
    """A file name within one line."""
    return os.fsencode(name).replace(b"\\", b"\\\\").replace(b"\n", b"\\n")


def _digest(stream: BinaryIO) -> str:
    digest = hashlib.sha256()
    for block in iter(lambda: stream.read(1 << 20), b""):
        digest.update(block)
    return digest.hexdigest()


def _files_in(folder: Path) -> Iterator[Path]:
    """Everything below a folder but folders, our lists and parts; links are not followed."""
    for place, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in sorted([*names, *links]):
            if name != LIST and not replacing.is_part(name):
                yield Path(place) / name


def _identity(path: Path) -> Iterator[tuple[int, int]]:
    """Device and number of the file that a name leads to, where it exists and is a file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return
    if not stat.S_ISDIR(found.st_mode):
        yield found.st_dev, found.st_ino


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _check_apart(outputs: list[Path]) -> None:
    """No two outputs may be one place, also where large and small letters count alike."""
    seen: dict[str, Path] = {}
    for path in outputs:
        place = os.path.join(os.path.realpath(path.parent), path.name).casefold()
        if place in seen:
            raise InputError(path, "is asked for twice", f"another name than {seen[place]}")
        seen[place] = path
