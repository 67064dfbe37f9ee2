"""The container of a `.pt` file of before PyTorch 1.6: pickles in a row, then the storages.

In this order: a magic number, the version of the layout, what C's types are on the machine that
wrote it, the content, the keys of the storages (five pickles), and for each key the number of
elements (int64) and the elements, little-endian on every machine. `torch.save` still writes it
when it is asked for `_use_new_zipfile_serialization=False`.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np

from yolo_core.errors import InputError
from yolo_port.pickle_machine import Admit, Global, Persistent, read_pickle
from yolo_port.readers.torch_tensors import PICKLE_LIMIT, STORAGE_DTYPES, TorchFile

#: Beginning of such a file: the pickle of its magic number.
MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_VERSION = 1001
_COUNT = struct.Struct("<Q")
_MAX_STORAGES = 20_000
_EXPECTED = "a file that torch.save wrote"


class LegacyFile(TorchFile):
    """An opened `.pt` of the older layout."""

    def __init__(self, path: Path, admit: Admit) -> None:
        """Open and check the file. InputError when it is not one that PyTorch writes."""
        super().__init__(path)
        self._element_bytes: dict[str, int] = {}
        self._stream = open(path, "rb")  # noqa: SIM115 - closed by close()
        try:
            self.content, keys, place = self._pickles(admit)
            self._places = self._storages(keys, place)
        except InputError:
            self.close()
            raise

    def close(self) -> None:
        self._stream.close()

    def _pickles(self, admit: Admit) -> tuple[Any, Any, int]:
        """Content, keys of the storages, and where the first storage begins."""
        data = memoryview(self._stream.read(PICKLE_LIMIT))
        place, found = len(MAGIC), []
        for _ in range(4):
            value, used = read_pickle(data[place:], self.path, admit, self._refer)
            found.append(value)
            place += used
        version, _, content, keys = found
        if version != _VERSION:
            raise InputError(self.path, f"has layout {version!r:.20}", f"{_VERSION}")
        return content, keys, place

    def _refer(self, identity: Any) -> Any:
        """What the pickle's reference is: a class with its source text beside it, or a storage."""
        parts = identity if isinstance(identity, tuple) else ()
        if len(parts) == 4 and parts[0] == "module" and isinstance(parts[1], Global):
            return parts[1]
        if len(parts) > 2 and isinstance(parts[1], Global) and isinstance(parts[2], str):
            code = STORAGE_DTYPES.get(parts[1])
            self._element_bytes[parts[2]] = np.dtype(code).itemsize if code else 0
        return Persistent(identity)

    def _storages(self, keys: Any, place: int) -> dict[str, tuple[int, int]]:
        """Key → first byte and number of bytes of each storage."""
        sound = isinstance(keys, list) and len(keys) <= _MAX_STORAGES
        if not sound or not all(isinstance(key, str) for key in keys):
            raise InputError(self.path, "has no list of its storages", _EXPECTED)
        length = os.path.getsize(self.path)
        found: dict[str, tuple[int, int]] = {}
        for key in keys:
            self._stream.seek(place)
            head = self._stream.read(_COUNT.size)
            place += len(head)
            count = _COUNT.unpack(head)[0] if len(head) == _COUNT.size else length
            each = self._element_bytes.get(key, 0)  # none: a kind of number that cannot be skipped
            size = count * each
            if each == 0 or size < 0 or place + size > length:
                raise InputError(self.path, f"has no complete storage {key[:40]}", _EXPECTED)
            found[key] = (place, size)
            place += size
        return found

    def _storage_size(self, key: str) -> int | None:
        return self._places[key][1] if key in self._places else None

    def _storage_bytes(self, key: str) -> bytes:
        place, size = self._places[key]
        self._stream.seek(place)
        return self._stream.read(size)
