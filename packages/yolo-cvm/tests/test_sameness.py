"""The table of `nox -s sameness`: one digest, and a row that differs or is absent says so."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from cvm_samples import write_model
from engine.random_graphs import random_program

SAMENESS = Path(__file__).resolve().parents[1] / "sameness"


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"sameness_{name}", SAMENESS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found  # dataclasses look their module up
    spec.loader.exec_module(found)
    return found


def items(folder: Path) -> Path:
    for seed in range(3):
        graph, data = random_program(seed)
        place = write_model(folder / str(seed), graph)
        np.save(place / "input.npy", data)
    return folder


def test_engines_and_threads_give_one_digest(tmp_path: Path) -> None:
    job = module("job")
    folder = items(tmp_path / "a")
    digests = {
        job.digest_of(folder, engine, threads)
        for engine, threads in (("reference", 1), ("compiled", 1), ("compiled", 3))
    }
    assert len(digests) == 1
    (tmp_path / "a" / "2").rename(tmp_path / "a" / "3")
    assert job.digest_of(folder, "reference", 1) not in digests


@pytest.mark.parametrize(
    ("digest", "note", "told"),
    [
        ("a" * 64, "", "| x | same |"),
        ("a" * 64, "compared", "| x | same, every output compared |"),
        ("b" * 64, "", "| x | **another**: `bbbbbbbbbbbbbbbb` |"),
        (None, "there is no uv", "| x | absent: there is no uv |"),
    ],
)
def test_rows_of_the_table(digest: str | None, note: str, told: str) -> None:
    run = module("run")
    text = run.table([run.Row("x", digest, note)], "two vectors", "a" * 64)
    assert text.splitlines()[0] == f"two vectors: digest `{'a' * 64}`"
    assert text.splitlines()[-1] == told
