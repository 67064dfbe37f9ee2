"""What the user grants one command: gas, memory and steps of every integer model that it loads.

A command that takes `yolo_core.command.budget_options` grants it for its whole run, and the reader
of models asks here before it allocates anything, so that no model comes in by a way that forgot.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """The most that one inference may take; None where unlimited.

    gas: as the chain charges it. memory: bytes at the peak, parameters included. steps: elementary
    steps of all operators.
    """

    gas: int | None = None
    memory: int | None = None
    steps: int | None = None


_UNLIMITED = Budget()
_granted: ContextVar[Budget] = ContextVar("granted", default=_UNLIMITED)


def granted() -> Budget:
    """The budget of the command that runs; without limits outside of one."""
    return _granted.get()


@contextlib.contextmanager
def grant(budget: Budget) -> Iterator[None]:
    """Inside the block `granted` is this budget."""
    token = _granted.set(budget)
    try:
        yield
    finally:
        _granted.reset(token)
