"""NumPy beside MXNet: one thread does it, in the order it comes, while the network runs on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

#: Pieces of work that may wait, each with a tensor in memory.
WAITING = 4


@contextmanager
def beside() -> Iterator[Callable[..., None]]:
    """A function `later(work, *arguments)`; all work is done when the block ends.

    What a piece of work raises is raised by a later call, or at the end.
    """
    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1) as thread:

        def later(work: Callable[..., None], *arguments: object) -> None:
            waiting.append(thread.submit(work, *arguments))
            if len(waiting) > WAITING:
                waiting.popleft().result()

        yield later
        while waiting:
            waiting.popleft().result()
