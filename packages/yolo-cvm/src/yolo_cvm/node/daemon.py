"""The process behind `libcvm_runtime.so`: models, inference and gas for one node.

The library (native/node_library/cvm_runtime.c) starts it with a socket at file descriptor 3, over
which it hands a new socket for every model and every question about gas. A model lives as long as
its socket; the process ends when the node does, since that closes the first one.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import socket
import struct
import sys
import threading
import traceback
import weakref
from collections.abc import Callable

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph import GraphError, RuntimeFault
from yolo_cvm import chain_io
from yolo_cvm.model import Model
from yolo_cvm.node import allocator, machine

CONTROL = 3

_REQUEST = struct.Struct("=IiQQ")
_REPLY = struct.Struct("=ii6Q34s34s4x")
_LOAD, _SHARE, _INFER, _GAS = 1, 2, 3, 4
_DEVICES = (0, 1, 2)
_TEXT = 32
_RUNTIME = RuntimeFault.code
_FIRST_FOREIGN, _LAST_FOREIGN = CONTROL + 1, 1 << 16


def main() -> None:
    """Serve the sockets that come over the first one until it closes."""
    allocator.limit()
    os.closerange(_FIRST_FOREIGN, _LAST_FOREIGN)
    os.chdir("/")
    control = socket.socket(fileno=CONTROL)
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not data:
            # Threads may be at work for a node that is gone; nothing of theirs is worth saving.
            os._exit(0)
        for descriptor in descriptors:
            connection = socket.socket(fileno=descriptor)
            session = Session(connection)
            threading.Thread(target=session.run, daemon=True).start()


class Session:
    """One socket: a model and its inferences, or one question about gas."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._model: Model | None = None
        self._input_length = 0
        self._shared: mmap.mmap | None = None
        self._output: Array = np.empty(0, np.int8)

    def run(self) -> None:
        """Answer requests until the node closes the socket."""
        with contextlib.suppress(OSError), self._connection:
            while True:
                data, descriptors, _, _ = socket.recv_fds(self._connection, _REQUEST.size, 1)
                if len(data) != _REQUEST.size:
                    return
                descriptor = descriptors[0] if descriptors else -1
                try:
                    reply = self._answer(data, descriptor)
                finally:
                    if descriptor >= 0:
                        os.close(descriptor)
                self._connection.send(reply)

    def _answer(self, request: bytes, descriptor: int) -> bytes:
        kind, device, first, second = _REQUEST.unpack(request)
        jobs: dict[int, Callable[[], bytes]] = {
            _LOAD: lambda: self._load(device, _content(descriptor, first + second), first),
            _SHARE: lambda: self._share(descriptor, first, second),
            _INFER: lambda: self._infer(first),
            _GAS: lambda: _told(gas=machine.gas(_content(descriptor, first))),
        }
        try:
            return jobs[kind]()
        except GraphError as error:
            return _reply(error.code)
        except MemoryError:
            return _reply(_RUNTIME)
        except Exception:
            # A defect of ours is RUNTIME to the node, and told to whoever reads its errors.
            traceback.print_exc(file=sys.stderr)
            return _reply(_RUNTIME)

    def _load(self, device: int, content: bytes, symbol_length: int) -> bytes:
        if device not in _DEVICES:
            raise RuntimeFault("device type", f"is {device}", f"one of {_DEVICES}")
        self._model, figures = _models.get(content[:symbol_length], content[symbol_length:])
        self._input_length = figures.input_length
        return _told(
            figures.storage, figures.gas, figures.input_length, figures.input_type_size,
            figures.output_length, figures.output_type_size, figures.version, figures.postprocess,
        )  # fmt: skip

    def _share(self, descriptor: int, output_at: int, size: int) -> bytes:
        assert self._model is not None
        self._shared = mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED | _POPULATE)
        graph = self._model.graph
        kind = np.int8 if chain_io.output_type_size(graph) == 1 else np.int32
        count = chain_io.output_length(graph) // np.dtype(kind).itemsize
        self._output = np.frombuffer(self._shared, kind, count, output_at)
        return _reply(0)

    def _infer(self, length: int) -> bytes:
        assert self._model is not None
        assert self._shared is not None
        # A wrong length is refused by its number alone; such an input was not handed over.
        held = min(length, self._input_length + 1)
        data = memoryview(self._shared)[:held] if held <= self._input_length else bytes(held)
        machine.infer(self._model, data, chain_io.C_INTERFACE, self._output)
        return _reply(0)


class _Models:
    """Models that are in use, by their content: two handles of one model share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: weakref.WeakValueDictionary[bytes, Model] = weakref.WeakValueDictionary()
        self._figures: dict[bytes, machine.Figures] = {}

    def get(self, symbol: bytes, params: bytes) -> tuple[Model, machine.Figures]:
        """The model and its figures. LogicError or RuntimeFault."""
        digest = hashlib.sha256(len(symbol).to_bytes(8, "big") + symbol)
        digest.update(params)
        key = digest.digest()
        with self._lock:
            model = self._held.get(key)
            if model is None:
                model, self._figures[key] = machine.load(symbol, lambda: params)
                self._held[key] = model
                for stale in set(self._figures) - set(self._held):
                    del self._figures[stale]
            return model, self._figures[key]


_models = _Models()
_POPULATE = getattr(mmap, "MAP_POPULATE", 0)


def _content(descriptor: int, size: int) -> bytes:
    """The first `size` bytes of a file in memory."""
    parts, at = [], 0
    while at < size:
        part = os.pread(descriptor, size - at, at)
        if not part:
            raise RuntimeFault("file", "is shorter than the library says")
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def _reply(code: int) -> bytes:
    return _REPLY.pack(code, 0, 0, 0, 0, 0, 0, 0, b"", b"")


def _told(
    storage: int = 0,
    gas: int = 0,
    input_length: int = 0,
    input_type_size: int = 0,
    output_length: int = 0,
    output_type_size: int = 0,
    version: str = "",
    method: str = "",
) -> bytes:
    texts = (text.encode("utf-8", "replace")[:_TEXT] for text in (version, method))
    numbers = (
        storage, gas, input_length, input_type_size, output_length, output_type_size,
    )  # fmt: skip
    return _REPLY.pack(0, 0, *numbers, *texts)


if __name__ == "__main__":
    main()
