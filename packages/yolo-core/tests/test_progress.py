"""Bars that show how far long work has come."""

from __future__ import annotations

import gc
import re
import sys
import time
from typing import Any

import pytest
from tqdm import tqdm

from yolo_core.progress import _FORMAT, _Bar, progress


def test_an_interrupt_while_the_bar_is_made_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    said: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", said.append)
    monkeypatch.setattr(tqdm, "_get_free_pos", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(progress([1, 2], "work"))
    gc.collect()
    assert said == []


def test_slow_work_is_told_in_seconds_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in progress(range(3), "fast", unit="images"):
        pass
    bar = _Bar(range(9), file=sys.stderr, unit="images", bar_format=_FORMAT)
    bar.n, bar.start_t = 2, time.time() - 8
    bar.refresh()
    said = capsys.readouterr().err
    assert re.search(r"fast \[#+\] 3/3 [0-9.]+ images/s 00:00 < 00:00", said)
    assert "2/9 4.0 s each 00:08 < 00:28" in said
