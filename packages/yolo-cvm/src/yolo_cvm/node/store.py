"""The files of a node by info hash, read without leaving the store.

Layout (spec C1, C2): `<root>/<hash>/data/symbol`, `data/params` or `data`, where `<root>/<hash>` is
a folder or a link to `.tmp/<hash>` beside it. A bundle is such a root with one model. A store may
change while it is read; whatever is not whole at that moment is absent.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from yolo_core.errors import InputError
from yolo_core.files import PathLike
from yolo_core.graph import RuntimeFault
from yolo_cvm.bundle import torrent

DATA, SYMBOL, PARAMS, TORRENT = "data", "symbol", "params", "torrent"
MODEL_FILES = (PARAMS, SYMBOL)
#: Largest file of any kind that is read, in bytes.
FILE_LIMIT = 1 << 30
TORRENT_LIMIT = 64 << 20

_INFO_HASH = re.compile("[0-9a-f]{40}")
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Store:
    """One or more roots, looked through in order.

    checked: compare the files of a hash with its torrent whenever `verify` is called.
    """

    def __init__(self, roots: Sequence[PathLike], checked: bool = False) -> None:
        self.roots = tuple(Path(root) for root in roots)
        self.checked = checked
        for root in self.roots:
            if not root.is_dir():
                raise InputError(
                    root, "is not a folder", "the root of a torrentfs store or a bundle"
                )

    def read(
        self, info_hash: str, parts: Sequence[str], declared: int, most: int = FILE_LIMIT
    ) -> bytes:
        """A file of a hash.

        info_hash: 40 lower-case digits. parts: the path below it. declared: the size that the
        chain knows. RuntimeFault where the file is larger than that (spec A24) or than `most`,
        absent or unreadable.
        """
        name = "/".join((info_hash, *parts))
        for root in self.roots:
            try:
                handle = _open_inside(root, (info_hash, *parts))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise RuntimeFault(name, f"cannot be read ({error.strerror})") from error
            try:
                with open(handle, "rb") as stream:
                    size = os.fstat(stream.fileno()).st_size
                    if size > min(declared, most):
                        raise RuntimeFault(name, f"has {size} bytes", f"at most {declared}")
                    return stream.read(size)
            except OSError as error:
                raise RuntimeFault(name, f"cannot be read ({error.strerror})") from error
        raise RuntimeFault(name, "is not in the store")

    def verify(self, info_hash: str) -> None:
        """Compare the files of a hash with the torrent beside them, where the store is checked.

        RuntimeFault where there is no torrent of that hash or a piece differs (spec C3).
        """
        if not self.checked:
            return
        info = self._torrent(info_hash)
        single = set(info.lengths) == {torrent.NAME}
        files = {
            name: self.read(info_hash, (DATA,) if single else (DATA, name), length)
            for name, length in info.lengths.items()
        }
        for name, length in info.lengths.items():
            if len(files[name]) != length:
                raise RuntimeFault(f"{info_hash}/{name}", "is shorter than its torrent says")
        for piece, name, _, _ in torrent.broken_pieces(info, files):
            raise RuntimeFault(f"{info_hash}/{name}", f"differs from its torrent in piece {piece}")

    def models(self) -> Iterator[tuple[str, Path]]:
        """Info hash and root of every model, by hash; the first root that has it counts."""
        found: dict[str, Path] = {}
        for root in self.roots:
            try:
                names = sorted(os.listdir(root))
            except OSError:
                continue
            for name in names:
                if _INFO_HASH.fullmatch(name) and name not in found and _has_model(root, name):
                    found[name] = root
        yield from sorted(found.items())

    def beside(self, root: Path, name: str, most: int) -> bytes | None:
        """A file of a root itself of at most `most` bytes, None where there is none."""
        try:
            with open(_open_inside(root, (name,)), "rb") as stream:
                data = stream.read(most + 1)
        except OSError:
            return None
        return data if len(data) <= most else None

    def _torrent(self, info_hash: str) -> torrent.Info:
        for parts in ((info_hash, TORRENT), (".tmp", info_hash, TORRENT)):
            for root in self.roots:
                try:
                    with open(_open_inside(root, parts), "rb") as stream:
                        data = stream.read(TORRENT_LIMIT)
                        info = torrent.decode(data, "/".join(parts), with_inputs=True)
                except (OSError, InputError):
                    continue
                if info.info_hash == info_hash:
                    return info
        raise RuntimeFault(info_hash, "has no torrent of its own hash to be checked against")


def _has_model(root: Path, info_hash: str) -> bool:
    for name in MODEL_FILES:
        try:
            os.close(_open_inside(root, (info_hash, DATA, name)))
        except OSError:
            return False
    return True


def _open_inside(root: Path, parts: Sequence[str]) -> int:
    """A handle of a regular file below `root`; links may lead about inside, never out.

    The path is resolved first and then walked without following anything, so that a link that is
    put there in between is refused. OSError where that fails.
    """
    top = os.path.realpath(root)
    resolved = os.path.realpath(os.path.join(top, *parts))
    inside = os.path.relpath(resolved, top)
    steps = inside.split(os.sep)
    if steps[0] in (os.pardir, os.curdir):
        raise PermissionError(1, "a link leads out of the store", os.path.join(*parts))
    handle = os.open(top, _OPEN | os.O_DIRECTORY)
    try:
        for step in steps:
            deeper = os.open(step, _OPEN, dir_fd=handle)
            os.close(handle)
            handle = deeper
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise PermissionError(1, "is not a regular file", os.path.join(*parts))
    except OSError:
        os.close(handle)
        raise
    return handle
