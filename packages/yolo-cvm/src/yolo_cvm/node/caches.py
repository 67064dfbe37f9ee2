"""What a server keeps in memory, within a budget of bytes; the least recently used goes first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class ByteCache(Generic[Value]):
    """A mapping whose values together cost at most `budget` bytes. Safe for threads.

    cost: bytes of a value. A value that costs more than the whole budget is not kept.
    """

    def __init__(self, budget: int, cost: Callable[[Value], int]) -> None:
        self._budget = budget
        self._cost = cost
        self._lock = threading.Lock()
        self._held: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._bytes = 0
        self.hits = self.misses = 0

    def get(self, key: Hashable) -> Value | None:
        """The value, which becomes the most recently used; None where there is none."""
        with self._lock:
            entry = self._held.get(key)
            if entry is None:
                self.misses += 1
                return None
            self.hits += 1
            self._held.move_to_end(key)
            return entry[0]

    def put(self, key: Hashable, value: Value) -> None:
        """Keep a value and drop the least recently used beyond the budget."""
        cost = self._cost(value)
        with self._lock:
            self._drop(key)
            if cost > self._budget:
                return
            self._held[key] = (value, cost)
            self._bytes += cost
            while self._bytes > self._budget:
                self._drop(next(iter(self._held)))

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._held.clear()
            self._bytes = 0

    @property
    def bytes(self) -> int:
        """What the kept values cost."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._held)

    def _drop(self, key: Hashable) -> None:
        entry = self._held.pop(key, None)
        if entry is not None:
            self._bytes -= entry[1]
