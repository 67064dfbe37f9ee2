"""What a symbol file declares, before any rule of the machine has been applied to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from yolo_core.graph.errors import RuntimeFault
from yolo_core.graph.files.json_reader import JsonReader
from yolo_core.graph.integers import Shape
from yolo_core.graph.program import Entry

VERSION_1_0 = "cvm_1.0.0"
VERSION_1_1 = "cvm_1.1.0"


@dataclass(frozen=True)
class DeclaredNode:
    """A node as written: its name, its operator (None for a variable) and its operands."""

    name: str
    op: str | None
    inputs: tuple[Entry, ...]


@dataclass(frozen=True)
class Declaration:
    """The fields of spec 1.1 and 1.3, well-formed but unchecked.

    shapes, storage, precisions: one per tensor; op_attributes: one text per node, which
    `attribute_strings` reads and which is not looked at for a variable (spec 1.4);
    types: how many int32 entries `dltype` lists, None where it is absent;
    row_starts, variables: node_row_ptr and arg_nodes, None where absent.
    """

    nodes: tuple[DeclaredNode, ...]
    heads: tuple[Entry, ...]
    shapes: tuple[Shape, ...]
    storage: tuple[int, ...]
    precisions: tuple[int, ...]
    op_attributes: tuple[str, ...]
    types: int | None
    row_starts: tuple[int, ...] | None
    variables: tuple[int, ...] | None
    version: str
    postprocess: str


def attribute_strings(text: str) -> Mapping[str, str]:
    """The strings by name in the `op_attrs` text of one operator. RuntimeFault where broken."""
    reader = JsonReader(text, "op_attrs", len(text) + 1)
    value = reader.value("the object")
    reader.end()
    if not isinstance(value, dict):
        raise RuntimeFault("op_attrs", "not an object")
    for key, item in value.items():
        if not isinstance(item, str):
            raise RuntimeFault(f"op_attrs.{key[:60]}", "not a string")
    return value
