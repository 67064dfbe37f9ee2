"""The container of a `.pt` file: a zip of one pickle and one entry per storage, strictly read.

PyTorch writes its zip without compression; one that was packed again with compression is read
where its content is not much larger than the file.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any, Literal

from yolo_core.errors import InputError
from yolo_port.pickle_machine import Admit, read_pickle
from yolo_port.readers.torch_tensors import ARRAYS_LIMIT, TorchFile
from yolo_port.readers.zip_container import open_zip

_LOCAL_HEADER_BYTES = 30
#: What may lie in a zip that is no PyTorch file, and what macOS adds to one.
_MODEL_ENDINGS = (".pt", ".pth", ".onnx", ".safetensors", ".npz", ".npy", ".params", ".h5", ".pb")
_ORIGIN = "the .pt that it was exported from, or an ONNX export"
_OF_MACOS = ("__MACOSX/",)
#: How much larger than the file all that is compressed in it may be; weights are hard to compress.
_MOST_EXPANSION = 2


class TorchArchive(TorchFile):
    """An opened `.pt`: its pickle as inert values, and its tensors on demand."""

    def __init__(self, path: Path, admit: Admit) -> None:
        """Open and check the container. InputError when it is not one that PyTorch writes."""
        super().__init__(path)
        self._zip, self._entries = _open(path)
        try:
            self._folder = self._single_folder()
            self.content = self._content(admit)
        except InputError:
            self.close()
            raise

    def _content(self, admit: Admit) -> Any:
        order, pickle = self._entry("byteorder"), self._entry("data.pkl")
        self.order = self._byte_order(order)
        if pickle is None:
            raise InputError(self.path, "is a zip without data.pkl", "a PyTorch file")
        if pickle.file_size > ARRAYS_LIMIT:
            raise InputError(self.path, f"has a pickle of {pickle.file_size} bytes",
                             f"at most {ARRAYS_LIMIT}")  # fmt: skip
        data = self._entry_bytes(pickle)
        content, used = read_pickle(data, self.path, admit)
        if used != len(data):
            raise InputError(self.path, f"has {len(data) - used} bytes behind its pickle")
        return content

    def close(self) -> None:
        self._zip.close()

    def _single_folder(self) -> str:
        folders = {name.partition("/")[0] for name in self._entries}
        if len(folders) != 1 or not all("/" in name for name in self._entries):
            raise InputError(self.path, "is a zip of several folders", "a PyTorch file")
        return folders.pop()

    def _entry(self, name: str) -> zipfile.ZipInfo | None:
        return self._entries.get(f"{self._folder}/{name}")

    def _byte_order(self, entry: zipfile.ZipInfo | None) -> Literal["<", ">"]:
        """What NumPy calls the byte order; files of before PyTorch 2.1 do not say."""
        word = b"little" if entry is None else self._entry_bytes(entry)[:20]
        if word not in (b"little", b"big"):
            raise InputError(self.path, f"has the byte order {word!r}", "little or big")
        return "<" if word == b"little" else ">"

    def _storage_size(self, key: str) -> int | None:
        entry = self._entry(f"data/{key}")
        return None if entry is None else entry.file_size

    def _storage_bytes(self, key: str) -> bytes:
        return self._entry_bytes(self._entries[f"{self._folder}/data/{key}"])

    def _entry_bytes(self, entry: zipfile.ZipInfo) -> bytes:
        try:
            return self._zip.read(entry)
        except (zipfile.BadZipFile, EOFError, OSError, ValueError, RuntimeError) as error:
            raise InputError(self.path, f"is damaged at {entry.filename} ({error})") from error


def _open(path: Path) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """The zip and its entries by name; every entry is stored, and lies apart from the others."""
    source = str(path)
    length = os.path.getsize(path)
    archive = open_zip(path, "a PyTorch file of 1.6 or later")
    try:
        entries: dict[str, zipfile.ZipInfo] = {}
        _refuse_packed_models(archive.namelist(), source)
        infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
        for info, following in zip(infos, [*infos[1:], None]):
            name = info.filename
            if name.startswith(_OF_MACOS):
                continue
            if info.flag_bits & 1:
                raise InputError(
                    source, f"has the encrypted zip entry {name[:80]}", "plain entries"
                )
            if "/code/" in name or name.endswith("/constants.pkl"):
                raise InputError(source, "is a TorchScript export, whose layers are code", _ORIGIN)
            _check_size(info, length, source)
            end = info.header_offset + _LOCAL_HEADER_BYTES + len(name) + info.compress_size
            if end > (following.header_offset if following else length):
                raise InputError(
                    source, f"has the zip entry {name[:80]} inside another (a zip bomb?)"
                )
            if name in entries:
                raise InputError(source, f"has the zip entry {name[:80]} twice", "unique entries")
            if "\\" in name or not {"", ".", ".."}.isdisjoint(name.split("/")):
                raise InputError(source, f"has the zip entry {name[:80]!r}, a path that leads away",
                                 "plain names")  # fmt: skip
            entries[name] = info
        if not entries:
            raise InputError(source, "is an empty zip", "a PyTorch file")
    except InputError:
        archive.close()
        raise
    return archive, entries


def _refuse_packed_models(names: list[str], source: str) -> None:
    """InputError for a zip around a model's file, as people send them."""
    if any(name.endswith(("data.pkl", "constants.pkl")) for name in names):
        return
    if any(name.endswith("/archive_format") for name in names):
        raise InputError(source, "is a program of torch.export, whose layers are code", _ORIGIN)
    held = [name for name in names if name.endswith(_MODEL_ENDINGS)
            and not name.startswith(_OF_MACOS)]  # fmt: skip
    if held:
        cause = f"is a zip archive of {', '.join(each[:60] for each in held[:3])}"
        raise InputError(source, cause, "the file inside: unzip it first")


def _check_size(info: zipfile.ZipInfo, length: int, source: str) -> None:
    """Refuse an entry that is compressed in a way of its own, or far larger than the file."""
    stored = info.compress_type == zipfile.ZIP_STORED and info.file_size == info.compress_size
    if stored:
        return
    most = _MOST_EXPANSION * length + (1 << 20)
    if info.compress_type != zipfile.ZIP_DEFLATED or info.file_size > most:
        raise InputError(source, f"has the compressed zip entry {info.filename[:80]} (a zip bomb?)",
                         "stored entries, as PyTorch writes them")  # fmt: skip
