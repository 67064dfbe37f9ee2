"""How long work shows that it moves: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

from yolo_core.console import is_quiet

T = TypeVar("T")

_SECONDS_BETWEEN_BARS = 0.2
_SECONDS_BETWEEN_LINES = 15.0
_FORMAT = "{desc} [{bar:24}] {n_fmt}/{total_fmt} {speed} {elapsed} < {remaining}"


class _Lines(io.TextIOBase):
    """Standard error for a log: every state of the bar is a line of its own."""

    def write(self, text: str) -> int:
        line = text.strip("\r\n ")
        if line:
            sys.stderr.write(line + "\n")
        return len(text)

    def flush(self) -> None:
        sys.stderr.flush()


class _Bar(tqdm):  # type: ignore[type-arg]  # generic for type checkers alone
    @property
    def format_dict(self) -> dict[str, Any]:
        """tqdm's own, and `speed`: how many a second, or how many seconds each takes."""
        state = dict(super().format_dict)
        rate = state["rate"] or state["n"] / max(state["elapsed"], 1e-9)
        told = f"{rate:.1f} {self.unit}/s" if rate >= 1 else f"{1 / (rate or 1):.1f} s each"
        return {**state, "speed": told if state["n"] else ""}

    def close(self) -> None:
        """What tqdm's own does, unless an interrupt came before the bar was made."""
        if hasattr(self, "start_t"):
            super().close()


def progress(
    items: Iterable[T], label: str, total: int | None = None, unit: str = "steps"
) -> Iterator[T]:
    """Yield `items` and report on standard error how many have passed and how fast.

    total: the number of items, for iterables that have no length.
    """
    if sys.stderr is None or is_quiet():  # closed: nobody wants to know
        yield from items
        return
    terminal = sys.stderr.isatty()
    interval = _SECONDS_BETWEEN_BARS if terminal else _SECONDS_BETWEEN_LINES
    yield from _Bar(
        items, label, total, file=sys.stderr if terminal else _Lines(), unit=unit,
        mininterval=interval, maxinterval=interval, miniters=1, ascii="-#", bar_format=_FORMAT,
    )  # fmt: skip
