"""What a symbol file declares, before any rule of the machine has been applied to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping, Optional, Tuple

from yolo_core.graph.integers import Shape
from yolo_core.graph.program import Entry

VERSION_1_0 = "cvm_1.0.0"
VERSION_1_1 = "cvm_1.1.0"


@dataclass(frozen=True)
class DeclaredNode:
    """A node as written: its name, its operator (None for a variable) and its operands."""

    name: str
    op: Optional[str]
    inputs: Tuple[Entry, ...]


@dataclass(frozen=True)
class Declaration:
    """The fields of spec 1.1 and 1.3, well-formed but unchecked.

    shapes, storage, precisions: one per tensor; op_attributes: one mapping of strings per node,
    empty for variables; types: how many int32 entries `dltype` lists, None where it is absent;
    row_starts, variables: node_row_ptr and arg_nodes, None where absent.
    """

    nodes: Tuple[DeclaredNode, ...]
    heads: Tuple[Entry, ...]
    shapes: Tuple[Shape, ...]
    storage: Tuple[int, ...]
    precisions: Tuple[int, ...]
    op_attributes: Tuple[Mapping[str, str], ...]
    types: Optional[int]
    row_starts: Optional[Tuple[int, ...]]
    variables: Optional[Tuple[int, ...]]
    version: str
    postprocess: str
