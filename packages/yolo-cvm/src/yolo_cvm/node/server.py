"""`yolo-cvm serve`: from options to a server that runs until it is told to end."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from yolo_core.errors import InputError
from yolo_core.files import PathLike
from yolo_cvm.node import allocator
from yolo_cvm.node.application import NodeApplication
from yolo_cvm.node.http import HttpServer, Limits
from yolo_cvm.node.observe import Log, Metrics
from yolo_cvm.node.page import Page
from yolo_cvm.node.serving import Budget, Serving
from yolo_cvm.node.store import Store

LOOPBACK = ("127.0.0.1", "localhost", "::1")
#: How long answers may still take after SIGTERM.
END_SECONDS = 15.0

_GIB = 1 << 30
_RESERVE = 512 << 20


@dataclass(frozen=True)
class Settings:
    """What `yolo-cvm serve` is told.

    roots: stores. host, port: where to listen; port 0 takes a free one. checked: compare files
    with their torrents at first use.
    """

    roots: Sequence[PathLike]
    host: str
    port: int
    budget: Budget
    limits: Limits = field(default_factory=Limits)
    checked: bool = False


def model_budget() -> int:
    """Bytes for models unless told otherwise, the original's rule (spec A25).

    4 GiB, or half of the machine's memory if that is less, at least 2 GiB, minus 512 MiB.
    """
    half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return max(min(4 * _GIB, half), 2 * _GIB) - _RESERVE


def parse_listen(text: str, anywhere: bool) -> tuple[str, int]:
    """Host and port of HOST:PORT. InputError for another text, or an address of the network.

    anywhere: whether an address other than the loopback's may be listened on.
    """
    host, colon, port = text.rpartition(":")
    host = host.strip("[]")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise InputError("--listen", f"{text!r:.80} is not an address", "HOST:PORT")
    if host not in LOOPBACK and not anywhere:
        raise InputError(
            "--listen", f"{host} is reached from outside, and there is no password",
            "127.0.0.1, or --anywhere if that is meant",
        )  # fmt: skip
    return host, int(port)


class NodeServer:
    """A server that listens, and answers while `run` runs.

    InputError where the address is taken or a root is not a folder.
    """

    def __init__(self, settings: Settings, log: Log) -> None:
        self._log = log
        self._serving = Serving(Store(settings.roots, settings.checked), settings.budget)
        self._page = Page(self._serving)
        self._listener = _listen(settings.host, settings.port)
        metrics = Metrics(self._serving, self._connections)
        application = NodeApplication(self._serving, self._page, metrics, log)
        self._http = HttpServer(self._listener, application, settings.limits, self._defect)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def run(self, told: socket.socket) -> None:
        """Serve until the number of SIGTERM or SIGINT arrives on `told`; then end cleanly.

        Any other number makes changed files be read again. Answers that are being made have
        `END_SECONDS` to end.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(told, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                numbers = told.recv(64) if told in ready else b""
                if {signal.SIGTERM, signal.SIGINT} & set(numbers):
                    break
                if numbers:
                    self._forget()
                if self._listener in ready:
                    self._http.accept()
        self._listener.close()
        ended = self._http.stop(END_SECONDS)
        self._page.close()
        self._serving.close()
        self._log.write("end", clean=ended)

    def _forget(self) -> None:
        self._serving.forget()
        self._page.forget()
        self._log.write("reload")

    def _connections(self) -> int:
        return self._http.connections

    def _defect(self, error: Exception) -> None:
        trace = traceback.format_exception(type(error), error, error.__traceback__)
        self._log.write("defect", error="".join(trace))


def serve(settings: Settings) -> None:
    """Run the server until SIGTERM or SIGINT; SIGHUP makes it read changed files again.

    InputError where the address is taken or a root is not a folder.
    """
    allocator.limit()
    log = Log()
    server = NodeServer(settings, log)
    with _signals() as told:
        log.write(
            "start", address=f"{settings.host}:{server.port}", process=os.getpid(),
            stores=[str(Path(root).resolve()) for root in settings.roots],
        )  # fmt: skip
        server.run(told)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(256)
    except OSError as error:
        listener.close()
        raise InputError(f"{host}:{port}", f"cannot be listened on ({error.strerror})") from error
    listener.setblocking(False)
    return listener


@contextlib.contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket on which the number of every signal arrives as a byte."""
    reader, writer = socket.socketpair()
    for end in (reader, writer):
        end.setblocking(False)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.signal(number, _nothing) for number in numbers]
    waker = signal.set_wakeup_fd(writer.fileno())
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(waker)
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)
        reader.close()
        writer.close()


def _nothing(number: int, frame: FrameType | None) -> None:
    """Only the wake-up counts."""
