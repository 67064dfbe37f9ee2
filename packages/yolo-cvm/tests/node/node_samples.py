"""A store, a server in this process, and requests to it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import io
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_cvm.node.http import Limits
from yolo_cvm.node.observe import Log
from yolo_cvm.node.server import NodeServer, Settings
from yolo_cvm.node.serving import Budget

BUDGET = Budget(model_bytes=256 << 20, result_bytes=32 << 20, parallel=2, waiting=16, threads=1)
BIG = 1 << 30
RUNTIME = b'{"data":"0x63766d206b65726e656c2072756e74696d65206572726f72","info":"error"}'
LOGIC = b'{"data":"0x63766d206b65726e656c206c6f676963206572726f72","info":"error"}'


def put(root: Path, info_hash: str, files: dict[str, bytes]) -> None:
    """Files of a hash in the layout of a node: `data` alone, or `symbol` and `params`."""
    home = root / ".tmp" / info_hash
    for name, content in files.items():
        path = home / "data" if name == "data" else home / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if not (root / info_hash).is_symlink():
        os.symlink(f".tmp/{info_hash}", root / info_hash)


def name_of(text: str) -> str:
    """An info hash for a test."""
    return hashlib.sha1(text.encode()).hexdigest()


def npy(array: Array) -> bytes:
    """A `.npy` file."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def ok(data: bytes) -> bytes:
    """The answer with this output."""
    return b'{"data":"0x' + data.hex().encode() + b'","info":"ok"}'


class Client:
    """Requests to a server."""

    def __init__(self, port: int, log: io.StringIO, tell: Callable[[bytes], int]) -> None:
        self.port = port
        self.log = log
        self.tell = tell

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        data = response.read()
        connection.close()
        return response.status, response.headers["Content-Type"], data

    def infer(self, **keys: Any) -> bytes:
        """The body of an answer to `/infer`, which has status 200."""
        status, kind, data = self.ask("POST", "/infer", json.dumps(keys).encode())
        assert (status, kind) == (200, "text/plain; charset=utf-8")
        return data

    def raw(self) -> socket.socket:
        """A connection to speak on."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)


@contextlib.contextmanager
def running(*roots: Path, **changes: Any) -> Iterator[Client]:
    """A server on these stores. changes: budget, limits, checked."""
    log = io.StringIO()
    settings = Settings(
        roots, "127.0.0.1", 0, changes.get("budget", BUDGET), changes.get("limits", Limits()),
        changes.get("checked", False),
    )  # fmt: skip
    server = NodeServer(settings, Log(log))
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=server.run, args=(theirs,))
    thread.start()
    try:
        yield Client(server.port, log, ours.send)
    finally:
        ours.send(bytes([signal.SIGTERM]))
        thread.join(30)
        ours.close()
        theirs.close()


def recorded_store(root: Path, golden: Path, store: dict[str, Any]) -> Path:
    """The store of the recorded requests."""
    for entry in store.values():
        names = ("symbol", "params") if entry["kind"] == "model" else ("data",)
        files = {}
        for name in names:
            encoded = entry.get(f"{name}_b64")
            files[name] = (
                base64.b64decode(encoded)
                if encoded is not None
                else (golden / entry["golden"] / name).read_bytes()
            )
        put(root, entry["infohash"], files)
    return root
