"""The integer program: an immutable graph of nodes, each with shapes and precisions.

Source: spec 1. A `Graph` has passed every check of `check`; nothing in it may be changed. Those
who build one use `builder`, those who read one use `loader`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph.integers import Shape
from yolo_core.graph.operators import TABLE, Attributes, Operator

INPUT_NAME = "data"


class Entry(NamedTuple):
    """One tensor of the program: output number `output` of node number `node`."""

    node: int
    output: int = 0


@dataclass(frozen=True)
class Node:
    """A variable (op None) or an operator.

    shapes, precisions: one of each output; attributes: parsed, complete, empty for a variable.
    """

    name: str
    op: str | None
    inputs: tuple[Entry, ...]
    attributes: Attributes
    shapes: tuple[Shape, ...]
    precisions: tuple[int, ...]

    @property
    def is_variable(self) -> bool:
        """True for the input and the parameters."""
        return self.op is None

    @property
    def operator(self) -> Operator:
        """The entry of the operator table; only for operators."""
        assert self.op is not None
        return TABLE[self.op]


class Parameters(Mapping[str, Array]):
    """Name to read-only int32 array; int8 arrays stay int8 in memory and are widened when read."""

    def __init__(self, arrays: Mapping[str, Array] | None = None) -> None:
        self._arrays: dict[str, Array] = {}
        for name, array in (arrays or {}).items():
            held = np.ascontiguousarray(array, None if array.dtype == np.int8 else np.int32)
            held = held.view()
            held.flags.writeable = False
            self._arrays[name] = held

    def __getitem__(self, name: str) -> Array:
        array = self._arrays[name].astype(np.int32, copy=False)
        array.flags.writeable = False
        return array

    def stored(self, name: str) -> Array:
        """The read-only array as it is in memory, int8 or int32."""
        return self._arrays[name]

    def __contains__(self, name: object) -> bool:
        return name in self._arrays  # that of Mapping would widen the array

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


@dataclass(frozen=True)
class Graph:
    """A checked program.

    nodes: in topological order; node `input_index` is the variable called `data`.
    heads: the outputs, in order.
    parameters: one array for every other variable; empty in a program whose parameters have not
        been bound yet.
    storage: storage id of every tensor, in entry order (spec 1.3); what a file declares, or a
        plan of our own. It sizes the original's memory pool and binds no engine.
    postprocess: "", "argmax", "detection" or any other word, which means raw output.
    """

    nodes: tuple[Node, ...]
    heads: tuple[Entry, ...]
    storage: tuple[int, ...]
    parameters: Parameters = field(default_factory=Parameters)
    postprocess: str = ""

    def __repr__(self) -> str:
        return f"Graph({len(self.nodes)} nodes, {len(self.heads)} heads)"

    @cached_property
    def input_index(self) -> int:
        """Number of the node called `data`."""
        return next(i for i, n in enumerate(self.nodes) if n.is_variable and n.name == INPUT_NAME)

    @property
    def input_shape(self) -> Shape:
        """Shape of `data`."""
        return self.nodes[self.input_index].shapes[0]

    @property
    def input_precision(self) -> int:
        """Declared precision of `data`, 1..32."""
        return self.nodes[self.input_index].precisions[0]

    @property
    def head_shapes(self) -> tuple[Shape, ...]:
        """Shapes of the heads, in order."""
        return tuple(self.shape(head) for head in self.heads)

    @property
    def head_precisions(self) -> tuple[int, ...]:
        """Declared precisions of the heads, in order."""
        return tuple(self.precision(head) for head in self.heads)

    def shape(self, entry: Entry) -> Shape:
        """Shape of a tensor."""
        return self.nodes[entry.node].shapes[entry.output]

    def precision(self, entry: Entry) -> int:
        """Declared precision of a tensor, 1..32."""
        return self.nodes[entry.node].precisions[entry.output]

    def input_shapes(self, node: Node) -> list[Shape]:
        """Shapes of the operands of a node."""
        return [self.shape(entry) for entry in node.inputs]

    def row_starts(self) -> list[int]:
        """The prefix sum of outputs per node (`node_row_ptr`).

        The entry id of a tensor is row_starts()[node] + output.
        """
        starts = [0]
        for node in self.nodes:
            starts.append(starts[-1] + len(node.shapes))
        return starts

    def last_uses(self) -> Mapping[Entry, int]:
        """The number of the last node that reads each tensor.

        A tensor that nobody reads counts its own node; a head counts len(nodes), past the end.
        """
        return self._last_uses

    @cached_property
    def _last_uses(self) -> Mapping[Entry, int]:
        """Worked out once: every run of the interpreter asks for it."""
        last: dict[Entry, int] = {}
        for index, node in enumerate(self.nodes):
            for entry in node.inputs:
                last[entry] = index
            for output in range(len(node.shapes)):
                last[Entry(index, output)] = index
        for head in self.heads:
            last[head] = len(self.nodes)
        return MappingProxyType(last)

    @cached_property
    def dying(self) -> tuple[tuple[Entry, ...], ...]:
        """For every node the tensors that nobody needs once it is done."""
        found: list[list[Entry]] = [[] for _ in self.nodes]
        for entry, index in self.last_uses().items():
            if index < len(found):
                found[index].append(entry)
        return tuple(map(tuple, found))

    def consumers(self) -> dict[Entry, list[int]]:
        """The numbers of the nodes that read each tensor, ascending, once per node."""
        readers: dict[Entry, list[int]] = {}
        for index, node in enumerate(self.nodes):
            for entry in dict.fromkeys(node.inputs):
                readers.setdefault(entry, []).append(index)
        return readers

    def bind(self, parameters: Mapping[str, Array]) -> Graph:
        """The same program with its parameters, which become read-only int32."""
        return replace(self, parameters=Parameters(parameters))
