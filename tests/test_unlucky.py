"""A full disk and a folder that may not be written: one line, and nothing half-made."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import invoke
from test_outputs import QUICK, Writer, content

_CAPABILITIES_3 = 0x20080522  # of the kernel's capget and capset
_OVERRIDES = 0b1111  # CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER

#: Commands that keep nothing of what was whole before the disk was full: `detect` keeps finished
#: pictures, and `coco --out` the run file without its page.
TOGETHER = [
    writer for writer in QUICK
    if " detect " not in writer.words and not ("coco" in writer.words and "--out" in writer.words)
]  # fmt: skip


@pytest.fixture
def place(work: Path, tmp_path: Path) -> Path:
    """A copy of `work`; the marks of our results are copied too."""
    return Path(shutil.copytree(work, tmp_path / "place"))


def names(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def failed(writer: Writer, place: Path) -> str | None:
    """Run a command; the one line of its error, None where it ends well. It leaves all as it was
    when it fails."""
    before, there = content(place), names(place)
    result = invoke(writer.words, place)
    if result.exit_code == 0:
        return None
    # What `coco` has predicted is kept, for the same command to go on from.
    for journal in (names(place) - there) & set(place.glob("**/*.journal")):
        journal.unlink()
    assert result.exit_code == 2, (result.output, result.exception)
    assert content(place) == before
    assert names(place) == there
    (line,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert ".yolo-part" not in line
    assert any(output.split("/")[0] in line for output in writer.outputs), line
    return line


FULL = [(writer, number) for writer in TOGETHER for number in range(1, len(writer.outputs) + 1)]


@pytest.mark.parametrize(("writer", "number"), FULL, ids=lambda value: str(value)[:60])
def test_a_disk_that_fills_up(
    place: Path, writer: Writer, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of this number finds no room any more."""
    left = number

    def full(handle: int) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    line = failed(writer, place)
    if line is None:
        assert left > 0  # it writes fewer files
    else:
        assert "No space left" in line


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


@contextlib.contextmanager
def no_privileges() -> Iterator[None]:
    """Permissions count for this process inside the block, even when it belongs to root."""
    if sys.platform != "linux" or os.geteuid():
        yield
        return
    libc, header = ctypes.CDLL(None, use_errno=True), _Header(_CAPABILITIES_3, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, twice 32 bits
    assert libc.capget(ctypes.byref(header), sets) == 0
    effective = sets[0]
    try:
        sets[0] = effective & ~_OVERRIDES
        assert libc.capset(ctypes.byref(header), sets) == 0
        yield
    finally:
        sets[0] = effective
        assert libc.capset(ctypes.byref(header), sets) == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
@pytest.mark.parametrize("writer", QUICK, ids=lambda writer: writer.words[:40])
def test_a_folder_that_may_not_be_written(place: Path, writer: Writer) -> None:
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [place, *names(place)]}
    try:
        for path, mode in modes.items():
            path.chmod(mode & 0o555)
        with no_privileges():
            line = failed(writer, place)
        assert line is not None
        assert "Permission denied" in line
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
