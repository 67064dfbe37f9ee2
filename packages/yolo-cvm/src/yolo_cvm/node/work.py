"""Inference by a few threads behind a bounded queue, in which no request waits without end."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from yolo_core.graph import RuntimeFault

#: Longest that a node waits for an answer is 15 s; ours comes before.
PATIENCE_SECONDS = 14.5

_SOURCE = "inference"


class Workers:
    """Threads that run jobs in order. Jobs of equal key that wait or run share one outcome.

    parallel: threads. waiting: jobs that may wait beside those that run.
    """

    def __init__(self, parallel: int, waiting: int) -> None:
        self._queue: queue.Queue[Any] = queue.Queue()
        self._waiting = waiting
        self._parallel = parallel
        self._lock = threading.Lock()
        self._open: dict[Hashable, Future[Any]] = {}
        self._threads = [
            threading.Thread(target=self._work, name=f"inference-{k}", daemon=True)
            for k in range(parallel)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def load(self) -> int:
        """Jobs that wait or run."""
        return len(self._open)

    def run(self, key: Hashable, job: Callable[[], Any], patience: float = PATIENCE_SECONDS) -> Any:
        """The job's outcome. RuntimeFault at once where the queue is full, else after `patience`.

        A job whose caller has given up while it ran ends all the same, so that its result can be
        kept; one that has not begun by then is dropped.
        """
        with self._lock:
            future = self._open.get(key)
            if future is None:
                if len(self._open) >= self._parallel + self._waiting:
                    raise RuntimeFault(_SOURCE, "the queue is full", "fewer requests at once")
                future = self._open[key] = Future()
                self._queue.put((key, future, job, time.monotonic() + patience))
        try:
            return future.result(patience)
        except FutureTimeout:
            raise RuntimeFault(_SOURCE, f"took longer than {patience:g} s") from None

    def close(self) -> None:
        """End the threads once their present jobs are done."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)

    def _work(self) -> None:
        while True:
            item = self._queue.get()
            if item is None:
                return
            key, future, job, expires = item
            try:
                if time.monotonic() > expires:
                    raise RuntimeFault(_SOURCE, "waited too long in the queue")
                outcome = job()
            except BaseException as error:
                self._forget(key)
                future.set_exception(error)
            else:
                self._forget(key)
                future.set_result(outcome)

    def _forget(self, key: Hashable) -> None:
        with self._lock:
            self._open.pop(key, None)
