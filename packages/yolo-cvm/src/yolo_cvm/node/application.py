"""The paths of `yolo-cvm serve`: `/infer` for nodes, the page and its requests for people."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from yolo_core.errors import InputError
from yolo_core.graph import GraphError
from yolo_cvm.node import requests
from yolo_cvm.node.digits import Digits
from yolo_cvm.node.http import Head, Received, Response
from yolo_cvm.node.members import TooMuch
from yolo_cvm.node.observe import PROMETHEUS, Log, Metrics
from yolo_cvm.node.page import Page
from yolo_cvm.node.serving import Serving

_INFER = "/infer"
_JSON = "application/json"
_NAMES = {requests.STORED: "infer", requests.CONTENT: "infer_content", requests.GAS: "gas"}
_NOT_FOUND = Response(b"404 page not found\n", 404)


class NodeApplication:
    """Answers every request of the server. Safe for threads."""

    def __init__(self, serving: Serving, page: Page, metrics: Metrics, log: Log) -> None:
        self._serving = serving
        self._page = page
        self._metrics = metrics
        self._log = log

    def before_body(self, head: Head) -> Response | None:
        """See `http.Application`: only a POST to a path that takes one has its body read."""
        if head.method == "POST" and head.path in (_INFER, "/detect", "/verify"):
            return None
        if head.path == _INFER:
            return self._counted(head, "infer", lambda: (
                Response(requests.failure(requests.METHOD_TEXT)), "method"
            ))  # fmt: skip
        if head.method not in ("GET", "HEAD"):
            return _NOT_FOUND
        return self._read(head)

    def answer(self, head: Head, body: Received | None) -> Response:
        """See `http.Application`."""
        if head.path == _INFER:
            return self._counted(head, "infer", lambda: self._infer(body))
        if body is None:
            return _json({"error": "the body is too large, or was not read to its end"}, 413)
        job = self._page.detect if head.path == "/detect" else self._page.verify
        given = bytes(body)
        return self._counted(head, head.path[1:], lambda: _people(job, head, given))

    def _read(self, head: Head) -> Response:
        if head.path == "/healthz":
            return Response(b"ok\n")
        if head.path == "/metrics":
            return Response(self._metrics.text(), content_type=PROMETHEUS)
        if head.path == "/models":
            return _json(self._page.models())
        return self._page.file(head.path) or _NOT_FOUND

    def _infer(self, body: Received | None) -> tuple[Response, str]:
        """The answer to a node, and its outcome in a word."""
        try:
            if body is None:
                raise TooMuch
            request = requests.read_request(body)
        except TooMuch:
            return Response(requests.failure(requests.BODY_TEXT)), "body"
        except requests.UnknownType:
            return Response(requests.failure(requests.TYPE_TEXT)), "type"
        except requests.Unreadable:
            return Response(requests.unreadable()), "parse"
        try:
            return Response(self._computed(request)), "ok"
        except GraphError as error:
            self._log.write(
                "refused", request=_NAMES[request.kind], model=request.model[:60],
                failure=error.kind, reason=str(error),
            )  # fmt: skip
            return Response(requests.fault(error)), error.kind.split()[0]

    def _computed(self, request: requests.Request) -> bytes | Digits:
        serving, size, network = self._serving, request.model_size, request.network
        if request.kind == requests.GAS:
            return requests.gas_answer(serving.gas(request.model, size, network))
        if isinstance(request.input, bytes):
            output = serving.infer_content(request.model, request.input, size, network)
        else:
            output = serving.infer_stored(
                request.model, request.input, size, request.input_size, network
            )
        return requests.success(output)

    def _counted(
        self, head: Head, name: str, answer: Callable[[], tuple[Response, str]]
    ) -> Response:
        begin = time.monotonic()
        response, outcome = answer()
        seconds = time.monotonic() - begin
        self._metrics.count(name, outcome, seconds)
        self._log.write(
            "request", method=head.method, path=head.path, outcome=outcome,
            status=response.status, milliseconds=round(seconds * 1000, 2),
            bytes=len(response.body),
        )  # fmt: skip
        return response


def _people(job: Callable[[Head, bytes], Any], head: Head, body: bytes) -> tuple[Response, str]:
    try:
        return _json(job(head, body)), "ok"
    except InputError as error:
        return _json({"error": str(error)}, 400), "refused"


def _json(record: Any, status: int = 200) -> Response:
    data = (json.dumps(record, indent=1) + "\n").encode()
    return Response(data, status, _JSON, (("Cache-Control", "no-store"),))
