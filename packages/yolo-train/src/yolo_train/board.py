"""The figures of a run for TensorBoard, where tensorboardX is installed."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from yolo_core.outputs import mark

#: How the names of event files begin.
EVENTS = "events.out.tfevents."


class Board:
    """Writes one event file into the folder of a run; without tensorboardX nothing."""

    def __init__(self, folder: Path, earlier: list[dict[str, float]]) -> None:
        """earlier: the epochs that were done before, for a run that is resumed elsewhere."""
        self._folder = folder
        self._writer: Any = None
        if importlib.util.find_spec("tensorboardX") is None:
            return
        from tensorboardX import SummaryWriter

        before = len(list(folder.glob(f"{EVENTS}*")))
        # The names hold seconds; a second writer of the same second must not take the first's.
        self._writer = SummaryWriter(str(folder), flush_secs=1, filename_suffix=f".{before}")
        for row in () if before else earlier:
            self.add(row)

    def add(self, row: Mapping[str, float]) -> None:
        """The figures of an epoch, by the names of results.csv."""
        if self._writer is None:
            return
        for name, value in row.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, int(row["epoch"]))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            for path in self._folder.glob(f"{EVENTS}*"):
                mark(path)


@contextlib.contextmanager
def opened_board(folder: Path, earlier: list[dict[str, float]]) -> Iterator[Board]:
    """A board that is closed, and its files marked as results of ours, when the block ends."""
    board = Board(folder, earlier)
    try:
        yield board
    finally:
        board.close()
