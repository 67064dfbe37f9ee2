"""What a server tells about itself: one line of JSON per event, and figures for Prometheus."""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any, TextIO

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from yolo_cvm.node.serving import Serving

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)


class Log:
    """Writes events as lines of JSON: time, event, and what belongs to it."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._lock = threading.Lock()

    def write(self, event: str, **details: Any) -> None:
        """One line. A stream that is gone is no reason to stop serving."""
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}Z"
        line = json.dumps({"time": stamp, "event": event, **details})
        with self._lock:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                return


class Metrics:
    """The server's figures. connections: gives how many are open."""

    def __init__(self, serving: Serving, connections: Any) -> None:
        self._registry = CollectorRegistry()
        self._answers = Counter(
            "yolo_cvm_answers", "Answers by request and outcome.", ["request", "outcome"],
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "yolo_cvm_answer_seconds", "Time of an answer by request.", ["request"],
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        figures = {
            "connections": ("Connections that are open.", connections),
            "queue_jobs": ("Inferences that wait or run.", lambda: serving.workers.load),
            "models": ("Models in memory.", lambda: len(serving.models)),
            "models_bytes": ("Memory of the models, about.", lambda: serving.models.bytes),
            "results": ("Results in memory.", lambda: len(serving.results)),
            "results_bytes": ("Memory of the results.", lambda: serving.results.bytes),
            "result_hits": ("Results answered from memory.", lambda: serving.results.hits),
            "result_misses": ("Results that were not in memory.", lambda: serving.results.misses),
        }
        for name, (text, figure) in figures.items():
            gauge = Gauge(f"yolo_cvm_{name}", text, registry=self._registry)
            gauge.set_function(figure)

    def count(self, request: str, outcome: str, seconds: float) -> None:
        """One answer."""
        self._answers.labels(request, outcome).inc()
        self._seconds.labels(request).observe(seconds)

    def text(self) -> bytes:
        """All figures in Prometheus' text form."""
        result: bytes = generate_latest(self._registry)
        return result
