"""Damaged files of every format: read or refused in one line, never anything else."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from port_samples import (
    arrays,
    random_checkpoint,
    state_dict,
    training_checkpoint,
    ultralytics_model,
    write_original,
    write_pt,
)
from safetensors.numpy import save_file

from yolo_core.errors import InputError
from yolo_port.matching import fused
from yolo_port.readers import load
from yolo_port.writers.onnx_file import write_onnx

ROUNDS = 60
# What stands for structure in the formats: opcodes, sizes at their edges, JSON's marks.
PIECES = [bytes([each]) for each in b'(tRb}uQN0]{"-']
PIECES += [b"K\xff", b"\x88", bytes(8), b"\xff" * 4, b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80"]


def _files(tmp_path: Path) -> Iterator[Any]:
    """Form → (the file that is damaged, what is loaded, where its structure lies)."""
    checkpoint = random_checkpoint()
    whole = write_pt(tmp_path / "a.pt", training_checkpoint(ultralytics_model(checkpoint)))
    yield "whole model, directory", whole, whole, lambda size: (size - 20_000, size)
    yield "whole model, pickle", whole, whole, lambda size: (0, 60_000)
    plain = write_pt(tmp_path / "b.pt", state_dict(checkpoint))
    yield "state dict, pickle", plain, plain, lambda size: (0, 20_000)
    save_file(arrays(checkpoint), tmp_path / "c.safetensors")
    yield "safetensors", *[tmp_path / "c.safetensors"] * 2, lambda size: (0, 25_000)
    dictionary: Any = arrays(checkpoint)
    np.save(tmp_path / "d.npy", dictionary)
    yield "npy", *[tmp_path / "d.npy"] * 2, lambda size: (0, 5_000)
    np.savez(tmp_path / "e.npz", **dictionary)
    yield "npz", *[tmp_path / "e.npz"] * 2, lambda size: (size - 30_000, size)
    stem = write_original(tmp_path / "f", checkpoint)
    yield "symbol", tmp_path / "f-symbol.json", stem, lambda size: (0, size)
    if importlib.util.find_spec("onnx") is not None:
        (graph,) = write_onnx(tmp_path / "g", fused(checkpoint))
        yield "onnx", graph, graph, lambda size: (0, 20_000)


def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for form, damaged, loaded, structure in _files(tmp_path):
        whole = damaged.read_bytes()
        lines: list[str] = []
        for _ in range(ROUNDS):
            data = bytearray(whole)
            low, high = structure(len(whole))
            for place in random.integers(low, high, size=int(random.integers(1, 5))):
                piece = PIECES[random.integers(len(PIECES))]
                taken = (0, 1, len(piece))[random.integers(3)]
                data[place : place + taken] = piece
            damaged.write_bytes(data)
            try:
                load(loaded)
            except InputError as error:
                lines.append(str(error))
        damaged.write_bytes(whole)
        load(loaded)
        assert len(lines) > ROUNDS // 4, form
        assert max(map(len, lines)) < 1000, form
