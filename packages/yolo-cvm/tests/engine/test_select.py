"""Choosing an engine, refusing what cannot run, and what happens without the library."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from yolo_core.errors import InputError
from yolo_core.graph import Graph, GraphBuilder, LogicError
from yolo_cvm.engine import ARCH_VARIABLE, library, select
from yolo_cvm.engine.library import check

SETS = library.instruction_sets()
compiled = pytest.mark.skipif(not SETS, reason="the package was installed without a compiler")


@pytest.fixture
def graph() -> Graph:
    b = GraphBuilder()
    return b.build([b.operator("relu", [b.input("data", (2, 3), 8)])])


def test_reference_by_name(graph: Graph) -> None:
    assert select(graph, name="reference").name == "reference"


@compiled
def test_best_instruction_set_first(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ARCH_VARIABLE, raising=False)
    assert select(graph).name == f"compiled-{SETS[0]}"
    assert SETS[-1] == "portable"


@compiled
@pytest.mark.parametrize("name", SETS)
def test_variable_forces_an_instruction_set(
    graph: Graph, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ARCH_VARIABLE, name)
    assert select(graph).name == f"compiled-{name}"


@compiled
def test_unknown_names_are_refused(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="abacus"):
        select(graph, name="abacus")
    monkeypatch.setenv(ARCH_VARIABLE, "abacus")
    with pytest.raises(InputError, match=ARCH_VARIABLE):
        select(graph)


@compiled
def test_input_is_checked(graph: Graph) -> None:
    engine = select(graph)
    for bad in (np.zeros((3, 2), np.int32), np.full((2, 3), 128), np.zeros((2, 3))):
        with pytest.raises(LogicError):
            engine.run(bad)
    assert engine.run(np.full((2, 3), -5, np.int8))[0].tolist() == [[0] * 3] * 2


def test_without_the_library_the_reference_runs_and_says_so(
    graph: Graph, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(library, "path", lambda: tmp_path / "_native.so")
    library.find.cache_clear()
    with pytest.warns(RuntimeWarning, match="was installed without a C"):
        assert select(graph).name == "reference"
    with pytest.raises(InputError, match="compiled"):
        select(graph, name="compiled")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert select(graph, name="reference").name == "reference"


def test_a_library_that_does_not_load_is_not_called_missing(
    graph: Graph, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "_native.so").write_bytes(b"not a library")
    monkeypatch.setattr(library, "path", lambda: tmp_path / "_native.so")
    library.find.cache_clear()
    assert library.opened() is None
    with pytest.raises(InputError, match="that does not load"):
        select(graph, name="compiled")


@pytest.fixture(autouse=True)
def _found_anew() -> Iterator[None]:
    """Tests that put another library in the place of ours leave nothing behind."""
    yield
    library.find.cache_clear()


@compiled
def test_codes_become_exceptions() -> None:
    opened = library.opened()
    assert opened is not None
    with pytest.raises(MemoryError):
        check(opened, library.MEMORY)
    with pytest.raises(RuntimeError):
        check(opened, library.INVALID)


@compiled
def test_memory_that_is_not_there_is_an_error() -> None:
    """A pool of 2^40 bytes fits no machine that runs tests under this limit."""
    program = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
import numpy as np
from yolo_core.graph import GraphBuilder
from yolo_cvm.engine import select
b = GraphBuilder()
x = b.input("data", (1, 1024), 8)
y = b.operator("tile", [x], reps=(4096, 64))
graph = b.build([b.operator("max", [y], axis=(0, 1))])
try:
    select(graph, 1).run(np.ones((1, 1024), np.int32))
except MemoryError:
    print("refused")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "refused", done.stderr


@compiled
def test_plans_that_lie_are_refused() -> None:
    """The library checks what the planner hands over: any changed word is caught or harmless."""
    from yolo_cvm.engine import planner
    from yolo_cvm.engine.compiled import NativePlan

    from .random_graphs import random_program

    random = np.random.default_rng(0)
    refused = 0
    for seed in range(12):
        graph, _ = random_program(seed)
        plan = planner.plan(graph)
        whole = plan.words.copy()
        for _ in range(40):
            plan.words[:] = whole
            at = int(random.integers(0, len(whole)))
            plan.words[at] = random.choice([-1, 0, 1 << 20, 1 << 33, 1 << 62, whole[at] + 1])
            try:
                NativePlan(plan, "")
            except (RuntimeError, MemoryError):
                refused += 1
    assert refused > 100


def test_import_is_light() -> None:
    """Importing the package loads neither the engines nor OpenCV."""
    heavy = ("cv2", "yolo_cvm.engine.compiled")
    program = f"import sys, yolo_cvm; print(*(m in sys.modules for m in {heavy}))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["False", "False"]
