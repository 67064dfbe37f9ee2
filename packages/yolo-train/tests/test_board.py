"""The event file for TensorBoard."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path
from typing import Any

import pytest

from yolo_core.outputs import is_result
from yolo_train import board

ROWS = [{"epoch": float(n), "metrics/mAP_0.5": 0.25 * n, "x/lr0": 0.01} for n in range(3)]


def events(folder: Path) -> list[tuple[int, dict[str, float]]]:
    """Step and values of every event in the folder, read by the library that others use."""
    proto = pytest.importorskip("tensorboardX.proto.event_pb2")
    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (size,) = struct.unpack_from("<Q", data, at)
            event = proto.Event.FromString(data[at + 12 : at + 12 + size])
            at += 12 + size + 4
            found += [(event.step, {v.tag: v.simple_value}) for v in event.summary.value]
    return found


def test_every_epoch_is_an_event_and_the_file_is_a_result(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    with board.opened_board(tmp_path, []) as opened:
        for row in ROWS[:2]:
            opened.add(row)
    assert all(map(is_result, tmp_path.iterdir()))
    with board.opened_board(tmp_path, ROWS[:2]) as opened:
        opened.add(ROWS[2])
    scores = [(step, *v.values()) for step, v in events(tmp_path) if "metrics/mAP_0.5" in v]
    assert sorted(scores) == [(0, 0.0), (1, 0.25), (2, 0.5)]


def test_a_run_that_comes_from_elsewhere_brings_its_epochs(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    with board.opened_board(tmp_path, ROWS):
        pass
    assert [step for step, v in events(tmp_path) if "x/lr0" in v] == [0, 1, 2]


def test_without_the_library_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: Any = importlib.util.find_spec

    def absent(name: str) -> Any:
        return None if name == "tensorboardX" else known(name)

    monkeypatch.setattr(importlib.util, "find_spec", absent)
    with board.opened_board(tmp_path, []) as opened:
        opened.add(ROWS[0])
    assert not list(tmp_path.iterdir())
