"""Engines: whatever runs a checked program. All give the same integers for every node."""

from __future__ import annotations

from typing import Iterator, List, Optional, Protocol, Tuple

import numpy as np

from yolo_core.errors import InputError
from yolo_core.graph import Graph
from yolo_cvm.engine.reference import ReferenceEngine


class Engine(Protocol):
    """A program ready to run.

    Data are int32 arrays of the program's input shape within its declared precision; LogicError
    otherwise. Nothing that an engine returns depends on threads, machine or earlier runs.
    """

    name: str

    def run(self, data: np.ndarray) -> List[np.ndarray]:
        """The heads of one inference as contiguous int32 arrays, owned by the caller."""

    def trace(self, data: np.ndarray) -> Iterator[Tuple[int, Tuple[np.ndarray, ...]]]:
        """(node number, int32 outputs) of every operator in node order; read-only to the caller."""


def select(graph: Graph, threads: Optional[int] = None, name: Optional[str] = None) -> Engine:
    """The engine called `name`, or the fastest that is there. InputError where unknown."""
    if name in (None, "reference"):
        return ReferenceEngine(graph)
    raise InputError(f"engine {name!r}", "unknown", "reference")
