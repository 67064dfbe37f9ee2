"""Bars that show how far long work has come."""

from __future__ import annotations

import gc
import sys
from typing import Any

import pytest
from tqdm import tqdm

from yolo_core.progress import progress


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
