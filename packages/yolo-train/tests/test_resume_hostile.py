"""States that a stranger crafted: one line, no memory that the file does not hold."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolo_core.errors import InputError
from yolo_train.run_folder import COLUMNS, STATE, RunFolder
from yolo_train.start import architecture_from_text

WIDTH = len(COLUMNS)
SHAPE = "{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}"


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(array))
    return stream.getvalue()


def header(text: str, payload: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + payload


def read(folder: Path, results: bytes, method: int = zipfile.ZIP_STORED) -> dict[str, Any]:
    (folder / "weights").mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / STATE, "w", method) as file:
        file.writestr("results.npy", results)
        file.writestr("digest.npy", npy("x" * 20))
    return RunFolder(folder).read_state()


@pytest.mark.parametrize(
    "results",
    [
        header(SHAPE.format("<f8", f"1125899906842624, {WIDTH}")),
        header(SHAPE.format("<f8", f"9223372036854775807, {WIDTH}")),
        header(SHAPE.format("<f8", f"-1, {WIDTH}")),
        header(SHAPE.format("<f8", f"True, {WIDTH}"), b"\0" * 8 * WIDTH),
        header(SHAPE.format("|V0", f"1000000000, {WIDTH}")),
        header(SHAPE.format("|O", f"0, {WIDTH}")),
        header("{'descr': '<f8', ("), header("{'descr': '''"), header("(" * 9000),
        header("-" * 9000 + "1"), b"", b"\x93NUMPY",
        npy(np.zeros((1, WIDTH), complex)), npy(np.full((1, WIDTH), "x")),
        npy(np.zeros((1, WIDTH), "M8[D]")), npy(np.zeros((1, WIDTH), np.float32)), npy(0.0),
    ],
)  # fmt: skip
def test_crafted_results_are_refused(results: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        read(tmp_path, results)


def test_a_state_is_read_and_a_compressed_one_is_not(tmp_path: Path) -> None:
    table = npy(np.arange(2.0 * WIDTH).reshape(2, WIDTH))
    assert str(read(tmp_path, table)["digest"]) == "x" * 20
    with pytest.raises(InputError):
        read(tmp_path, table, zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "1", "null", "{", '{"size": "n"}'])
def test_a_crafted_architecture_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        architecture_from_text(text)


@pytest.mark.parametrize(
    ("inside", "word"),
    [
        (".", "runs/train/exp"), (".", "runs/train/exp/"), (".", "runs/train/exp/weights"),
        (".", "runs/train/exp/weights/last"), (".", "runs/train/exp/weights/last.params"),
        (".", "runs/train/exp/weights/last-0000.params"), (".", "runs/train/exp/weights/last.pt"),
        ("runs/train", "exp"), ("runs/train/exp", "."), ("runs/train/exp", "weights/last"),
        ("runs/train/exp/weights", "last"), ("runs/train/exp/weights", "last.yaml"),
    ],
)  # fmt: skip
def test_a_run_is_found_by_every_name_of_it(
    inside: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "runs/train/exp"
    (run / "weights").mkdir(parents=True)
    (run / STATE).write_bytes(b"")
    monkeypatch.chdir(tmp_path / inside)
    assert RunFolder.open(word).path == run
    assert RunFolder.open(tmp_path / inside / word).path == run
