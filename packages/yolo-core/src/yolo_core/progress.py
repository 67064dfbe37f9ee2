"""How long work shows that it moves: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_BAR_WIDTH = 24
_SECONDS_BETWEEN_BARS = 0.2
_SECONDS_BETWEEN_LINES = 15.0


def progress(
    items: Iterable[T], label: str, total: int | None = None, unit: str = "it"
) -> Iterator[T]:
    """Yield `items` and report on standard error how many have passed and how fast.

    total: the number of items, for iterables that have no length.
    """
    if total is None:
        total = len(items)  # type: ignore[arg-type]
    terminal = sys.stderr.isatty()
    interval = _SECONDS_BETWEEN_BARS if terminal else _SECONDS_BETWEEN_LINES
    begin = shown = time.monotonic()
    count = 0
    for item in items:
        yield item
        count += 1
        now = time.monotonic()
        if now - shown >= interval and count < total:
            shown = now
            _show(label, count, total, now - begin, unit, terminal, last=False)
    _show(label, count, total, time.monotonic() - begin, unit, terminal, last=True)


def _show(
    label: str, count: int, total: int, seconds: float, unit: str, terminal: bool, last: bool
) -> None:
    rate = count / seconds if seconds > 0 else 0.0
    left = (total - count) / rate if rate > 0 else 0.0
    filled = _BAR_WIDTH * count // total if total else _BAR_WIDTH
    bar = "#" * filled + "-" * (_BAR_WIDTH - filled)
    text = f"{label} [{bar}] {count}/{total} {rate:.1f} {unit}/s {seconds:.0f} s"
    if not last:
        text += f", {left:.0f} s left"
    if terminal:
        sys.stderr.write(f"\r{text}\x1b[K" + ("\n" if last else ""))
    else:
        sys.stderr.write(text + "\n")
    sys.stderr.flush()
