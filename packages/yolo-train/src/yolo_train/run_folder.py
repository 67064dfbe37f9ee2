"""The folder of a training run: its settings, its results so far, its checkpoints, its state.

Everything is written whole or not at all. The state file alone decides where a resumed run
continues; the other files follow from it.
"""

from __future__ import annotations

import csv
import io
import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.files import PathLike, atomic_write, read_bytes
from yolo_core.outputs import is_result, mark_folder, new_folder
from yolo_core.replacing import only_one, remove_parts
from yolo_core.yaml_file import read_yaml, yaml_text
from yolo_core.yolo.npy import read_npy_header

STATE = "weights/last.state.npz"
COLUMNS = (
    "epoch",
    "train/box_loss",
    "train/obj_loss",
    "train/cls_loss",
    "metrics/precision",
    "metrics/recall",
    "metrics/mAP_0.5",
    "metrics/mAP_0.5:0.95",
    "val/box_loss",
    "val/obj_loss",
    "val/cls_loss",
    "x/lr0",
    "x/lr1",
    "x/lr2",
)
_STATE_LIMIT = 8 << 30
_EXPECTED = "a state that this trainer wrote"
#: Kinds of element in a state: numbers, truth values and text.
_KINDS = "fiubU"


class RunFolder:
    """One `runs/train/exp*`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best = path / "weights" / "best"
        self.last = path / "weights" / "last"
        self.rows: list[dict[str, float]] = []

    @classmethod
    def create(cls, project: PathLike, name: str, exist_ok: bool = False) -> RunFolder:
        """A new folder `name`, `name2`, `name3` … under `project`, the first that is free.

        exist_ok: `name` itself, whose earlier run of ours is removed. InputError where a folder of
        this name is no run, or while another command trains in it.
        """
        path = Path(project) / name
        if exist_ok and path.is_dir():
            _empty(path)
        else:
            path = new_folder(project, name)
        (path / "weights").mkdir(exist_ok=True)
        return cls(path)

    @classmethod
    def open(cls, path: PathLike) -> RunFolder:
        """The folder of an earlier run that got as far as its first step.

        path: the folder, or one of its checkpoints (`weights/last`, `weights/last-0000.params` …).
        """
        folder = cls(Path(os.path.abspath(path)))  # "last" may be named from within its folder
        parent = folder.path.parent
        if folder.path.name == "weights":
            folder = cls(parent)
        elif parent.name == "weights" and not folder.path.is_dir():
            folder = cls(parent.parent)
        if not (folder.path / STATE).is_file():
            raise InputError(path, "has no run to resume", f"a folder with {STATE}")
        # The state says that the folder is a run of ours, also where it was copied from elsewhere.
        mark_folder(folder.path)
        remove_parts(folder.path / "weights")
        return folder

    @classmethod
    def latest(cls, project: PathLike) -> RunFolder:
        """The folder under `project` whose state was written last."""
        states = sorted(Path(project).glob(f"*/{STATE}"), key=lambda file: file.stat().st_mtime)
        if not states:
            raise InputError(project, "has no run to resume", f"a folder with {STATE} in it")
        return cls.open(states[-1].parent.parent)

    def write_yaml(self, name: str, content: Mapping[str, Any]) -> None:
        atomic_write(self.path / name, yaml_text(dict(content)))

    def read_yaml(self, name: str) -> dict[str, Any]:
        content = read_yaml(self.path / name)
        if not isinstance(content, dict):
            raise InputError(self.path / name, "is not a mapping")
        return content

    def add_row(self, row: Mapping[str, float]) -> None:
        """Add an epoch to results.csv."""
        self.rows.append(dict(row))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for values in self.rows:
            writer.writerow([f"{values[column]:.6g}" for column in COLUMNS])
        atomic_write(self.path / "results.csv", text.getvalue())

    def write_state(self, arrays: Mapping[str, Array]) -> None:
        """What a resumed run needs, with the results so far."""
        values = [[row[column] for column in COLUMNS] for row in self.rows]
        table = np.array(values, np.float64).reshape(-1, len(COLUMNS))
        stream = io.BytesIO()
        saved: dict[str, Any] = {"results": table, **arrays}
        np.savez(stream, **saved)
        atomic_write(self.path / STATE, stream.getvalue())

    def epochs_done(self) -> int:
        """Complete epochs of the state."""
        count = self.read_state().get("epochs")
        if count is None or count.shape != () or count.dtype.kind not in "iu":
            raise InputError(self.path / STATE, "does not tell its epochs", _EXPECTED)
        return int(count)

    def read_state(self) -> dict[str, Array]:
        """The arrays of the last complete epoch; `rows` become those of that time."""
        path = self.path / STATE
        data = io.BytesIO(read_bytes(path, _STATE_LIMIT))
        arrays = {}
        try:
            with zipfile.ZipFile(data) as members:
                for member in members.infolist():
                    # Ours are stored plainly; a compressed member could expand to any size.
                    if member.compress_type:
                        raise zipfile.BadZipFile("compressed")
                    name = member.filename[: -len(".npy")]
                    arrays[name] = _state_array(members.read(member), str(path), name)
        except (ValueError, EOFError, zipfile.BadZipFile, OSError, RuntimeError) as error:
            raise InputError(path, "is damaged", _EXPECTED) from error
        table = arrays.pop("results", None)
        if table is None or table.ndim != 2 or table.shape[1] != len(COLUMNS):
            raise InputError(path, "lacks the results", _EXPECTED)
        if table.dtype != np.float64:
            raise InputError(path, f"has results of type {table.dtype}", _EXPECTED)
        self.rows = [dict(zip(COLUMNS, (float(v) for v in values))) for values in table]
        return arrays


def _empty(path: Path) -> None:
    """Remove the results of an earlier run from its folder; other files stay."""
    if not (path / STATE).is_file() and any(path.iterdir()):
        raise InputError(path, "is a folder without a run", "another --name, or no --exist-ok")
    with only_one(path):
        for file in sorted(path.rglob("*")):
            if is_result(file):
                file.unlink()


def _state_array(data: bytes, source: str, name: str) -> Array:
    """One array of a state. Its header is matched, not evaluated, and nothing it promises is
    allocated that the file does not hold."""
    header = read_npy_header(data, source, name, _EXPECTED)
    kind = header.code.lstrip("<>|")[:1]
    dtype = np.dtype(header.code) if kind in _KINDS else None
    if dtype is None or math.prod(header.shape) * dtype.itemsize != len(data) - header.start:
        raise InputError(source, f"has {name} as {header.code} of shape {header.shape}", _EXPECTED)
    return np.frombuffer(data, dtype, offset=header.start).reshape(header.shape).copy()
