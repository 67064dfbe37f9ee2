"""Reading with a limit and writing all or nothing: every file passes through here.

A reader names the size it is ready to hold before it reads. A writer leaves either the old
content or the complete new one, also when it is killed half-way, and replaces nothing but results
of ours (see `yolo_core.outputs`).
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import hashlib
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from yolo_core import outputs, replacing
from yolo_core.errors import InputError, SpecialFileError
from yolo_core.outputs import PathLike as PathLike
from yolo_core.words import shown

_JSON_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")

#: How a zip archive begins.
_ARCHIVES = {b"PK\x03\x04": "a zip archive", b"\x1f\x8b": "a gzip archive"}

#: How the system says that there is no room for more, by itself without a name.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: Largest text file (labels, lists, JSON settings) that is read, in bytes.
TEXT_LIMIT = 16 << 20
#: Most values in a JSON file unless the reader knows better: lists, objects and what they hold.
JSON_VALUES = 1 << 20


def read_bytes(path: PathLike, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes."""
    path = Path(path)
    try:
        _require_regular(path)
        with open(path, "rb") as stream:
            # No more memory is asked for than the file is long, whatever the limit.
            size = os.fstat(stream.fileno()).st_size
            data = stream.read(size + 1) if size <= limit else b""
    except (OSError, ValueError) as error:
        raise InputError(path, f"cannot be read ({_reason(error)})") from error
    if max(size, len(data)) > limit:
        raise InputError(path, f"is larger than {limit} bytes", "a smaller file")
    return data


def _require_regular(path: Path) -> None:
    """A FIFO or a device would block or never end, so only regular files are opened."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise InputError(path, "does not exist", "a file") from error
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise SpecialFileError(path, "is a link that leads in a circle", "a file") from error
        raise
    if stat.S_ISDIR(mode):
        raise InputError(path, "is not a regular file but a folder", "a file")
    if not stat.S_ISREG(mode):
        kind = next((kind for test, kind in _KINDS if test(mode)), "a device")
        raise SpecialFileError(path, f"is not a regular file but {kind}", "a file")


_KINDS = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))


def read_start(path: PathLike, most: int, limit: int) -> tuple[bytes, int, str]:
    """The first `most` bytes of a regular file of at most `limit` bytes, its size, its SHA-256.

    For files of which only the start means anything: what follows is hashed and not kept.
    """
    start = bytearray()
    digest, size = hashlib.sha256(), 0
    for block in _blocks(Path(path), limit):
        start += block[: most - len(start)]
        digest.update(block)
        size += len(block)
    return bytes(start), size, digest.hexdigest()


def _blocks(path: Path, limit: int) -> Iterator[bytes]:
    """The content of a regular file piece by piece. InputError beyond `limit` bytes."""
    try:
        _require_regular(path)
        with open(path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            while size <= limit and (block := stream.read(1 << 16)):
                size = max(size, stream.tell())
                yield block
    except (OSError, ValueError) as error:
        raise InputError(path, f"cannot be read ({_reason(error)})") from error
    if size > limit:
        raise InputError(path, f"is larger than {limit} bytes", "a smaller file")


def read_text(path: PathLike, limit: int = TEXT_LIMIT) -> str:
    """The content of a text file of at most `limit` bytes, in UTF-8 or marked as UTF-16.

    A byte order mark is no part of the text. Editors and shells of Windows write both kinds.
    """
    data = read_bytes(path, limit)
    name, coding = "UTF-8", "utf-8-sig"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        name, coding = "UTF-16", "utf-16"
    try:
        return data.decode(coding)
    except UnicodeDecodeError as error:
        for start, kind in _ARCHIVES.items():
            if data.startswith(start):
                raise InputError(path, f"is {kind}", "what it holds, unpacked") from error
        raise InputError(path, f"is not {name} text (byte {error.start})", "UTF-8") from error


def read_json(path: PathLike, limit: int = TEXT_LIMIT, values: int = JSON_VALUES) -> Any:
    """The content of a JSON file of at most `limit` bytes and `values` values."""
    return parse_json(read_text(path, limit), path, values)


def parse_json(text: str, source: PathLike, values: int = JSON_VALUES) -> Any:
    """The content of a JSON text of at most `values` values. source: its file, for the error.

    The values are counted before anything is built from them: a few bytes of text each, they
    take a hundred in memory. A text with half a surrogate pair is refused, since it is no Unicode
    and cannot be written anywhere; so is a key that stands twice in an object, of which every
    reader would take another value. InputError for each, and for what is no JSON.
    """
    count = sum(map(text.count, ",[{"))
    if count > values:  # unless what was counted stands in texts
        outside = _JSON_STRING.sub("", text)
        count = sum(map(outside.count, ",[{"))
    if count > values:
        raise InputError(source, f"holds {count} values", f"at most {values}")
    try:
        content = json.loads(text, object_pairs_hook=each_key_once(source))
    except (ValueError, RecursionError) as error:
        raise InputError(source, f"is not valid JSON ({_first_line(error)})") from error
    if _SURROGATE.search(text):
        try:
            json.dumps(content, ensure_ascii=False).encode("utf-8")
        except (ValueError, RecursionError) as error:
            raise InputError(source, "holds half a surrogate pair", "Unicode text") from error
    return content


def each_key_once(source: PathLike) -> Callable[[list[tuple[str, Any]]], dict[str, Any]]:
    """What makes the objects of a JSON text (`object_pairs_hook`). source: its file.

    InputError where a key stands twice.
    """

    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            key, _ = Counter(key for key, _ in pairs).most_common(1)[0]
            raise InputError(source, f"has the key {shown(key, 60)} twice", "each key once")
        return found

    return made


def sha256_file(path: PathLike) -> str:
    """SHA-256 of a regular file's bytes, 64 lower-case hexadecimal digits."""
    digest = hashlib.sha256()
    try:
        _require_regular(Path(path))
        with open(path, "rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
    except (OSError, ValueError) as error:
        raise InputError(path, f"cannot be read ({_reason(error)})") from error
    return digest.hexdigest()


def atomic_write(path: PathLike, content: str | bytes, cache: bool = False) -> None:
    """Write a whole file or nothing: into a neighbour first, then renamed over `path`.

    What is written is marked as a result of ours; anything else that lies at `path` is refused
    with InputError. cache: a file that only we read, replaced also when its content was changed.
    """
    atomic_files({Path(path): content}, cache)


def atomic_files(contents: Mapping[Path, str | bytes], cache: bool = False) -> None:
    """Write files that belong together, as `atomic_write` does each.

    All are complete beside their places before the first takes its own, in the order given, so
    that a full disk leaves none of them. Only a kill can leave some new ones beside old ones.
    """
    for path in contents:
        outputs.check_file(path, cache)
    with contextlib.ExitStack() as parts:
        written = [
            (path, *parts.enter_context(_complete(path, content)))
            for path, content in contents.items()
        ]
        if len(written) > 1:  # of two commands' files the sets must not mix
            parts.enter_context(replacing.in_turn(written[0][0].parent))
        for path, temporary, digest in written:
            try:
                _put(temporary, path, digest)
            except OSError as error:
                raise _unwritten(path, error) from error


@contextlib.contextmanager
def _complete(path: Path, content: str | bytes) -> Iterator[tuple[Path, str]]:
    """A file beside `path` with this content, locked, and its SHA-256.

    At the end it is removed if it is there still, and so are folders that were made for it and
    are empty. InputError where it cannot be written.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_folders_for(path))
            handle, temporary = replacing.part_file(path)
            stack.callback(os.close, handle)
            stack.callback(_remove, temporary)
            left = memoryview(data)
            while left:
                left = left[os.write(handle, left) :]
            os.fsync(handle)
        except (OSError, ValueError) as error:
            raise _unwritten(path, error) from error
        yield temporary, hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def _folders_for(path: Path) -> Iterator[None]:
    """Make the folders that `path` lies in; those made here and empty at the end go again."""
    absent = [folder for folder in path.parents if not os.path.lexists(folder)]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        with contextlib.suppress(OSError):
            for folder in absent:
                folder.rmdir()


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _unwritten(path: PathLike, error: Exception) -> InputError:
    return InputError(path, f"cannot be written ({_reason(error)})")


def atomic_move(temporary: PathLike, path: PathLike) -> None:
    """Put a finished file, which a library has written beside `path`, in its place.

    The same rule as for `atomic_write`. temporary: on the same file system as `path`.
    """
    path = Path(path)
    outputs.check_file(path)
    try:
        _put(Path(temporary), path)
    except OSError as error:
        raise _unwritten(path, error) from error


def _put(temporary: Path, path: Path, digest: str | None = None) -> None:
    os.chmod(temporary, 0o666 & ~_umask())
    outputs.mark(temporary, path.name, digest)
    os.replace(temporary, path)


@contextlib.contextmanager
def atomic_folder(path: PathLike, cache: bool = False) -> Iterator[Path]:
    """A temporary folder that takes the place of `path` when the block ends without an error.

    Everything in it is marked as a result of ours. An existing folder is replaced as a whole, and
    only when it is empty or holds such results alone; `outputs.check_folder` says what is refused.
    cache: a folder that only programs read, replaced also when its files were changed.
    """
    path = Path(path)
    replacing.recover(path)
    outputs.check_folder(path, cache)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_folders_for(path))
            place = stack.enter_context(replacing.part_folder(path))
            fresh = place / replacing.NEW
            fresh.mkdir()
        except (OSError, ValueError) as error:
            raise _unwritten(path, error) from error
        with _told_as(fresh, path):
            yield fresh
        with replacing.in_turn(path.parent):
            outputs.check_folder(path, cache)  # again: the work may have taken hours
            try:
                outputs.mark_folder(fresh)
                replacing.take_place(fresh, path, place / replacing.OLD)
            except OSError as error:
                raise _unwritten(path, error) from error


@contextlib.contextmanager
def _told_as(fresh: Path, path: Path) -> Iterator[None]:
    """What cannot be written below `fresh` is told by the place that the user knows."""
    hidden, known = os.fspath(fresh), os.fspath(path)
    try:
        yield
    except InputError as error:
        error.source = error.source.replace(hidden, known)
        error.cause = error.cause.replace(hidden, known)
        raise
    except OSError as error:
        if hidden in str(error.filename):
            known = str(error.filename).replace(hidden, known)
        elif error.errno not in _FULL:
            raise
        raise _unwritten(known, error) from error


def _umask() -> int:
    """The process's file mode mask; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or _first_line(error)


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0] or type(error).__name__
