"""HTTP/1.1 over threads: one per connection, every wait with an end, every body with a limit.

h11 reads and writes the protocol; what happens on the sockets is decided here. A client that
sends slowly, closes its sending half, sends too much or reads nothing costs one thread until its
deadline, and the longest waiting one is dropped where there are too many.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Protocol, Union
from urllib.parse import unquote

import h11

from yolo_cvm.node.digits import Digits

Body = Union[bytes, Digits]
Received = Union[bytes, bytearray]

TEXT = "text/plain; charset=utf-8"

_CHUNK = 1 << 18
# What the original's library takes.
_HEAD_LIMIT = (1 << 20) + 4096
_SMALL = 64 << 10
# What is on its way to a client on this machine then stays in a cache: an answer of 17 MB takes 3.3
# instead of 4.6 ms. A client far away needs more on its way, which the system chooses.
_SENDING = 128 << 10
_HOST = re.compile("^https?://[^/?]*", re.IGNORECASE)
_LINGER_SECONDS = 2.0


@dataclass(frozen=True)
class Head:
    """The beginning of a request.

    path: without host and query, `%2F` and the like read. headers: names in lower case.
    """

    method: str
    path: str
    query: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Response:
    """An answer. headers: further ones, names and values."""

    body: Body
    status: int = 200
    content_type: str = TEXT
    headers: Sequence[tuple[str, str]] = ()


class Application(Protocol):
    """What answers requests; called from many threads."""

    def before_body(self, head: Head) -> Response | None:
        """An answer that needs no body; the connection ends after it where one follows."""

    def answer(self, head: Head, body: Received | None) -> Response:
        """The answer. body: None where it could not be read to its end, or is too large."""


@dataclass(frozen=True)
class Limits:
    """Seconds and bytes that a client gets.

    request_seconds: for a whole request from its first byte, and for taking an answer.
    idle_seconds: between requests. body_bytes: of one body. held_bytes: of all bodies at once.
    connections: at once.
    """

    request_seconds: float = 15.0
    idle_seconds: float = 60.0
    body_bytes: int = 64 << 20
    held_bytes: int = 512 << 20
    connections: int = 256


class _Gone(Exception):
    """The client has left, or has used up its time."""


@dataclass(eq=False)
class _Connection:
    """A client. since: when it began to wait for bytes; None while an answer is made."""

    socket: socket.socket
    since: float | None = None
    ended: bool = False
    protocol: Any = field(default_factory=lambda: _protocol())


@dataclass(frozen=True)
class _Body:
    """A body that was read. data: None where it cannot be used. held: bytes that it was counted
    with. whole: whether all of it was read. following: bytes of the next request, where the body
    was read past h11."""

    data: Received | None
    held: int
    whole: bool
    following: bytes | None = None


def _invite(connection: _Connection) -> None:
    """Tell a client to send its body, where it waits for that."""
    if connection.protocol.they_are_waiting_for_100_continue:
        go_on = h11.InformationalResponse(status_code=100, headers=[])
        connection.socket.sendall(connection.protocol.send(go_on))


def _next_cycle(connection: _Connection, following: bytes | None = None) -> bool:
    """Make ready for another request, if one may come.

    following: its first bytes, where h11 did not see the body before them and stays behind.
    """
    if connection.protocol.our_state is not h11.DONE:
        return False
    if following is None:
        connection.protocol.start_next_cycle()
        return True
    connection.protocol = _protocol()
    if following:
        connection.protocol.receive_data(following)
    return True


def _protocol() -> h11.Connection:
    return h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD_LIMIT)


class HttpServer:
    """Accepts connections on a listening socket until `stop`.

    application: answers. failed: is told of an exception that an answer ended with; the client
    gets status 500.
    """

    def __init__(
        self,
        listener: socket.socket,
        application: Application,
        limits: Limits,
        failed: Callable[[Exception], None],
    ) -> None:
        self._listener = listener
        self._application = application
        self._limits = limits
        self._failed = failed
        self._lock = threading.Lock()
        self._connections: set[_Connection] = set()
        self._held = 0
        self._stopping = False

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return len(self._connections)

    def accept(self) -> None:
        """Take one connection; it is served by a thread of its own."""
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        connection = _Connection(client, time.monotonic())
        with self._lock:
            if len(self._connections) >= self._limits.connections:
                self._drop_longest_waiting()
            self._connections.add(connection)
        try:
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
        except RuntimeError:
            self._close(connection)

    def stop(self, seconds: float) -> bool:
        """Drop clients that wait, let answers end for `seconds`; whether all have ended."""
        with self._lock:
            self._stopping = True
            for connection in self._connections:
                if connection.since is not None:
                    self._drop(connection)
        until = time.monotonic() + seconds
        while self._connections and time.monotonic() < until:
            time.sleep(0.01)
        return not self._connections

    def _drop_longest_waiting(self) -> None:
        waiting = [c for c in self._connections if c.since is not None and not c.ended]
        if waiting:
            self._drop(min(waiting, key=lambda c: c.since or 0.0))

    def _drop(self, connection: _Connection) -> None:
        connection.ended = True
        with contextlib.suppress(OSError):
            connection.socket.shutdown(socket.SHUT_RDWR)

    def _close(self, connection: _Connection) -> None:
        with self._lock:
            self._connections.discard(connection)
        connection.socket.close()

    def _serve(self, connection: _Connection) -> None:
        with contextlib.suppress(OSError):
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if ip_address(connection.socket.getpeername()[0]).is_loopback:
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SENDING)
        try:
            while self._one_request(connection) and not self._stopping:
                pass
        except (_Gone, OSError, h11.LocalProtocolError):
            pass
        finally:
            self._close(connection)

    def _one_request(self, connection: _Connection) -> bool:
        """Read and answer one request; whether another may follow."""
        deadline = _Deadline(self._limits.idle_seconds, self._limits.request_seconds)
        try:
            event = self._next(connection, deadline)
        except h11.RemoteProtocolError as error:
            self._refuse(connection, error.error_status_hint)
            return False
        if not isinstance(event, h11.Request):
            return False
        head = _head(event)
        response = self._before_body(head)
        if response is not None:
            complete = _no_body_follows(head)
            self._send(connection, head, response, keep=complete)
            if not complete:
                self._linger(connection)
                return False
            self._next(connection, deadline)
            return _next_cycle(connection)
        long = self._long(head)
        body = (
            self._long_body(connection, deadline, long)
            if long
            else self._body(connection, deadline)
        )
        try:
            connection.since = None
            response = self._answer(head, body.data)
            self._send(connection, head, response, keep=body.whole)
        finally:
            connection.since = time.monotonic()
            with self._lock:
                self._held -= body.held
        return body.whole and _next_cycle(connection, body.following)

    def _before_body(self, head: Head) -> Response | None:
        try:
            return self._application.before_body(head)
        except Exception as error:
            self._failed(error)
            return Response(b"internal error\n", 500)

    def _answer(self, head: Head, body: Received | None) -> Response:
        try:
            return self._application.answer(head, body)
        except Exception as error:
            self._failed(error)
            return Response(b"internal error\n", 500)

    def _next(self, connection: _Connection, deadline: _Deadline) -> Any:
        """The next event of the protocol. _Gone where the client or its time has ended."""
        while True:
            event = connection.protocol.next_event()
            if event is not h11.NEED_DATA:
                return event
            _invite(connection)
            connection.socket.settimeout(deadline.left())
            data = connection.socket.recv(_CHUNK)
            if not data:
                raise _Gone
            deadline.begin()
            connection.protocol.receive_data(data)

    def _long(self, head: Head) -> int:
        """Bytes of a long body whose length is told and may be kept; 0 for every other one."""
        told = head.headers.get("content-length", "")
        size = int(told) if told.isdigit() and "transfer-encoding" not in head.headers else 0
        return size if _SMALL <= size <= self._limits.body_bytes else 0

    def _long_body(self, connection: _Connection, deadline: _Deadline, size: int) -> _Body:
        """A body of `size` bytes, read past h11, which would copy a picture three times.

        Memory is taken as the bytes arrive; where all bodies together have no more, the rest is
        read to its end and dropped.
        """
        begin = connection.protocol.trailing_data[0]
        data, at = bytearray(begin[:size]), min(len(begin), size)
        fits = self._take(at)
        held = at if fits else 0
        try:
            _invite(connection)
            while at < size:
                if fits and at == len(data):
                    more = min(size, max(2 * at, _CHUNK)) - at
                    fits = self._take(more)
                    if fits:
                        held += more
                        data += bytes(more)
                connection.socket.settimeout(deadline.left())
                if fits:
                    with memoryview(data)[at:] as room:
                        got = connection.socket.recv_into(room)
                else:
                    got = len(connection.socket.recv(min(_CHUNK, size - at)))
                if not got:
                    raise _Gone
                deadline.begin()
                at += got
        except (_Gone, OSError):
            return _Body(None, held, whole=False)
        return _Body(data if fits else None, held, whole=True, following=begin[size:])

    def _body(self, connection: _Connection, deadline: _Deadline) -> _Body:
        """The body, without data where it is cut, late, malformed or too large.

        What is too large is read to its end all the same and dropped, so that the client gets
        its answer.
        """
        parts: list[Any] = []
        held, fits = 0, True
        try:
            while True:
                event = self._next(connection, deadline)
                if not isinstance(event, h11.Data):
                    whole = connection.protocol.their_state is h11.DONE
                    return _Body(b"".join(parts) if fits else None, held, whole)
                size = len(event.data)
                if fits and held + size <= self._limits.body_bytes and self._take(size):
                    held += size
                    parts.append(event.data)
                else:
                    fits = False
                    parts.clear()
        except (_Gone, OSError, h11.RemoteProtocolError):
            return _Body(None, held, whole=False)

    def _take(self, size: int) -> bool:
        with self._lock:
            if self._held + size > self._limits.held_bytes:
                return False
            self._held += size
            return True

    def _send(self, connection: _Connection, head: Head, response: Response, keep: bool) -> None:
        headers = [
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            *response.headers,
        ]
        if not keep:
            headers.append(("Connection", "close"))
        start = connection.protocol.send(h11.Response(status_code=response.status, headers=headers))
        connection.socket.settimeout(self._limits.request_seconds)
        if head.method == "HEAD":
            connection.socket.sendall(start)
        elif len(response.body) < _SMALL:
            few = connection.protocol.send(h11.Data(data=bytes(response.body)))
            connection.socket.sendall((start or b"") + (few or b""))
        else:
            self._send_pieces(connection, start or b"", response.body)
        connection.protocol.send(h11.EndOfMessage())

    def _send_pieces(self, connection: _Connection, start: bytes, body: Body) -> None:
        """Send a large body within the time for an answer; h11 only counts it."""
        connection.socket.sendall(start)
        until = time.monotonic() + self._limits.request_seconds
        whole: Any = body
        connection.protocol.send_with_data_passthrough(h11.Data(data=whole))
        for piece in [body] if isinstance(body, bytes) else body:
            connection.socket.settimeout(max(until - time.monotonic(), 0.001))
            connection.socket.sendall(piece)

    def _refuse(self, connection: _Connection, status: int) -> None:
        """Answer what is no HTTP, as far as that can be answered."""
        if connection.protocol.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            response = Response(b"malformed request\n", status)
            self._send(connection, Head("GET", "", "", {}), response, keep=False)
            self._linger(connection)

    def _linger(self, connection: _Connection) -> None:
        """Let the client read the answer before its unread bytes reset the connection."""
        until = time.monotonic() + _LINGER_SECONDS
        with contextlib.suppress(OSError):
            connection.socket.shutdown(socket.SHUT_WR)
            while (left := until - time.monotonic()) > 0:
                connection.socket.settimeout(left)
                if not connection.socket.recv(_CHUNK):
                    return


class _Deadline:
    """Time for a request: `idle` seconds until its first byte, `whole` seconds from then on."""

    def __init__(self, idle: float, whole: float) -> None:
        self._until = time.monotonic() + idle
        self._whole = whole
        self._begun = False

    def begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._until = time.monotonic() + self._whole

    def left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise _Gone
        return left


def _head(event: h11.Request) -> Head:
    # HTTP/1.1 also allows a target that names the host.
    target = _HOST.sub("", event.target.decode("latin-1"))
    path, _, query = target.partition("?")
    headers = {n.decode("latin-1"): v.decode("latin-1") for n, v in event.headers}
    return Head(event.method.decode("latin-1"), unquote(path, "latin-1"), query, headers)


def _no_body_follows(head: Head) -> bool:
    return head.headers.get("content-length", "0") == "0" and (
        "transfer-encoding" not in head.headers
    )
