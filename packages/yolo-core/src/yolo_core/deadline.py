"""A limit of time for a whole command, and for whatever loops long without looking at signals.

The alarm of the process ends Python code wherever it is, as Ctrl-C does. Compiled code that runs
for long is asked for in slices, or watched from another thread (see yolo-cvm's engine).
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

from yolo_core.errors import DeadlineError


@contextlib.contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """DeadlineError inside the block once `seconds` have passed; None sets no limit.

    On systems without alarms, and outside the main thread, there is no limit.
    """
    main = threading.current_thread() is threading.main_thread()
    if seconds is None or not main or not hasattr(signal, "setitimer"):
        yield
        return

    def late(*_: Any) -> None:
        raise DeadlineError(seconds)

    before = signal.signal(signal.SIGALRM, late)
    # Again after a while, in case that a library swallows the first.
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
