"""Engines: whatever runs a checked program. All give the same integers for every node.

`reference` is the definition in NumPy; `compiled` is the native library, with one list of
functions per instruction set (native/arch/). Environment: YOLO_CVM_ARCH forces an instruction set.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from typing import Protocol

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.graph import Graph
from yolo_cvm.engine import library
from yolo_cvm.engine.reference import ReferenceEngine

ARCH_VARIABLE = "YOLO_CVM_ARCH"


class Engine(Protocol):
    """A program ready to run.

    Data are int32 arrays of the program's input shape within its declared precision; LogicError
    otherwise. Nothing that an engine returns depends on threads, machine or earlier runs.
    """

    @property
    def name(self) -> str:
        """`reference`, or `compiled-` and the instruction set in use."""

    def run(self, data: Array, into: Array | None = None) -> list[Array]:
        """The heads of one inference as contiguous int32 arrays, owned by the caller.

        into: contiguous int32 of the first head's shape, which it is written to.
        """

    def trace(self, data: Array) -> Iterator[tuple[int, tuple[Array, ...]]]:
        """(node number, int32 outputs) of every operator in node order; read-only to the caller."""


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def select(graph: Graph, threads: int | None = None, name: str | None = None) -> Engine:
    """The engine called `name`, or the fastest that is there.

    threads: cores of one run, all of them if None. name: `reference`, `compiled`, or an
    instruction set of `library.instruction_sets()`. Raises InputError where it is unknown or
    cannot run here. A program that the compiled engine cannot plan within its memory runs by the
    reference whatever was asked for, with the same result.
    """
    if name == "reference":
        return ReferenceEngine(graph)
    sets = library.instruction_sets()
    if not sets:
        if name is not None:
            cause = f"cannot run, since yolo-cvm {library.absence()}"
            raise InputError(f"engine {name!r}", cause, "reference")
        _say_slow()
        return ReferenceEngine(graph)
    wanted = name if name not in (None, "compiled") else os.environ.get(ARCH_VARIABLE) or ""
    if wanted and wanted not in sets:
        source = f"engine {name!r}" if name == wanted else f"{ARCH_VARIABLE}={wanted}"
        raise InputError(source, "unknown or not of this machine", ", ".join(("reference", *sets)))
    from yolo_cvm.engine.compiled import CompiledEngine
    from yolo_cvm.engine.planner import PlanningError

    try:
        return CompiledEngine(graph, cores() if threads is None else threads, wanted)
    except PlanningError as error:
        message = f"the slow reference engine runs this model, which has no plan: {error}"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
        return ReferenceEngine(graph)


def _say_slow() -> None:
    """Once: Python shows a warning the first time that it comes from a place, and this is one."""
    message = f"yolo-cvm {library.absence()}, so the slow reference engine runs"
    warnings.warn(message, RuntimeWarning, stacklevel=1)
