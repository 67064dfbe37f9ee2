"""Writing the program of a chain: its operators on registers, each whole or a column.

A register lies in a tensor where its value comes from outside or is wanted there, so that nothing
is copied to begin or to end with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Callable

from yolo_core.graph import Entry, Node
from yolo_core.graph.integers import INT32_MIN
from yolo_cvm.engine.format import LINK_REGISTERS, MOST_LINKS, Link, Unary
from yolo_cvm.engine.planner.chains import column_strides
from yolo_cvm.engine.planner.form import Chain, Form, Operation, Tensor, product
from yolo_cvm.engine.planner.lowering import (
    BINARIES,
    UNARIES,
    broadcast_strides,
    merge,
)
from yolo_cvm.engine.planner.tile_code import TooWide

#: What says where a register lies; that register is nobody else's.
_PLACES = frozenset([Link.INPUT, Link.OUTPUT])


@dataclass(frozen=True)
class Value:
    """A register, as many as there are values, and whether it holds one number for every row."""

    register: int
    column: bool


@dataclass
class ChainWriter:
    """Writes one chain. plain_of, made_plain: tensors of values that are read, or written."""

    form: Form
    chain: Chain
    plain_of: Callable[[Entry], Tensor]
    made_plain: Callable[[Entry], Tensor]
    operations: list[Operation] = field(default_factory=list)
    _registers: int = 0
    _values: dict[Entry, Value] = field(default_factory=dict)
    _outside: dict[tuple[Entry, tuple[int, ...]], Value] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of the whole values; each is one number where nothing is joined."""
        return product(self.chain.shape[: self.chain.split])

    @property
    def inner(self) -> int:
        """Numbers of a row."""
        return product(self.chain.shape) // self.rows

    def write(self) -> tuple[Operation, ...]:
        """The operations. TooWide where they need more registers than there are."""
        inside = frozenset(self.chain.nodes)
        for index in self.chain.nodes:
            readers = self.form.readers.get(Entry(index), ())
            wanted = Entry(index) in self.form.heads or any(r not in inside for r in readers)
            self._node(Entry(index), self.form.graph.nodes[index], wanted)
        return allocated(self.operations)

    def _node(self, entry: Entry, node: Node, wanted: bool) -> None:
        shape = node.shapes[0]
        if node.op in UNARIES:
            value = self._operand(node.inputs[0], shape)
            kind, low, high, shift = UNARIES[node.op](node.attributes)
            known = self.form.constants.intervals[node.inputs[0]]
            if kind == Unary.CLAMP and low <= known[0] and known[1] <= high and not wanted:
                self._values[entry] = value
                return
            fields = {"kind": kind, "low": low, "high": high, "shift": shift}
            self._write(entry, wanted, value.column, Link.UNARY, [value], fields)
        elif node.op in BINARIES:
            self._binary(entry, node, wanted)
        elif node.op == "cvm_lut":
            value = self._operand(node.inputs[0], shape)
            table = {"table": self.plain_of(node.inputs[1])}
            self._write(entry, wanted, value.column, Link.LOOKUP, [value], table)
        else:
            value = self._operand(node.inputs[0], self.chain.shape)
            maximum = node.op == "max"
            # A maximum over all axes by an empty attribute starts at zero (specification 3.3).
            least = INT32_MIN if node.attributes.axis else 0
            fields = {"maximum": int(maximum), "least": least}
            self._write(entry, wanted, True, Link.REDUCE, [value], fields)

    def _binary(self, entry: Entry, node: Node, wanted: bool) -> None:
        kind, shape = BINARIES[node.op or ""], node.shapes[0]
        numbers = [self._number(e) for e in node.inputs]
        for place, number in enumerate(numbers):
            if number is not None:
                value = self._operand(node.inputs[1 - place], shape)
                fields = {"kind": kind, "value": number, "swapped": int(place == 0)}
                self._write(entry, wanted, value.column, Link.SCALAR, [value], fields)
                return
        operands = [self._operand(e, shape) for e in node.inputs]
        self._write(entry, wanted, operands[0].column, Link.BINARY, operands, {"kind": kind})

    def _number(self, entry: Entry) -> int | None:
        """A constant of one element."""
        if not self.form.is_constant(entry) or product(self.form.graph.shape(entry)) != 1:
            return None
        return int(self.form.constant(entry).reshape(-1)[0])

    # --- operands

    def _operand(self, entry: Entry, shape: tuple[int, ...]) -> Value:
        """An operand of an operator on values of `shape`, which may be that of columns."""
        value = self._values.get(entry)
        if value is None:
            if (entry, shape) not in self._outside:
                self._outside[entry, shape] = self._read(self.plain_of(entry), shape)
            return self._outside[entry, shape]
        return self._spread(value) if value.column and shape == self.chain.shape else value

    def _spread(self, column: Value) -> Value:
        whole = self._new(False)
        self._emit(Link.SPREAD, whole, column, column, {})
        return whole

    def _read(self, tensor: Tensor, shape: tuple[int, ...]) -> Value:
        """A value from outside: where it lies, or gathered in the order of the chain's rows."""
        column = shape != self.chain.shape
        strides = broadcast_strides(tensor.dims, shape)
        if tensor.count == product(shape):
            return self._lies(Link.INPUT, column, {"x": tensor})
        split = self.chain.split
        if not column and split is not None and strides == column_strides(shape, split):
            return self._spread(self._lies(Link.INPUT, True, {"x": tensor}))
        value = self._new(column)
        axes = merge(shape, (strides,))
        fields = {"x": tensor, "column": int(column), "axes": axes}
        self._emit(Link.GATHER, value, value, value, fields)
        return value

    # --- registers

    def _new(self, column: bool) -> Value:
        self._registers += 1
        return Value(self._registers - 1, column)

    def _lies(self, kind: Link, column: bool, tensor: dict[str, Tensor]) -> Value:
        value = self._new(column)
        self._emit(kind, value, value, value, {**tensor, "column": int(column)})
        return value

    def _write(
        self, entry: Entry, wanted: bool, column: bool, kind: Link, operands: Sequence[Value],
        fields: dict[str, Any],
    ) -> None:  # fmt: skip
        """One operation, whose result goes where it is wanted."""
        if wanted:
            value = self._lies(Link.OUTPUT, column, {"out": self.made_plain(entry)})
        else:
            value = self._new(column)
        self._emit(kind, value, operands[0], operands[-1], fields)
        self._values[entry] = value

    def _emit(self, kind: Link, dst: Value, a: Value, b: Value, fields: dict[str, Any]) -> None:
        if len(self.operations) == MOST_LINKS:
            raise TooWide
        registers = dst.register, a.register, b.register
        self.operations.append(Operation(kind, *registers, fields))


def allocated(operations: Sequence[Operation]) -> tuple[Operation, ...]:
    """The operations on as few registers as they can do with. TooWide where these are too many."""
    last = {r: n for n, o in enumerate(operations) for r in (o.dst, o.a, o.b)}
    placed = {o.dst for o in operations if o.kind in _PLACES}
    # Working memory from below, and again where it is free; what lies in tensors from above.
    free, above = list(range(LINK_REGISTERS - len(placed))), LINK_REGISTERS
    if not free:
        raise TooWide
    number: dict[int, int] = {}
    made: list[Operation] = []
    for n, operation in enumerate(operations):
        if operation.dst in placed and operation.dst not in number:
            above -= 1
            number[operation.dst] = above
        elif operation.dst not in number:
            if not free:
                raise TooWide
            number[operation.dst] = free.pop(0)
        registers = operation.dst, operation.a, operation.b
        dst, a, b = (number[r] for r in registers)
        made.append(replace(operation, dst=dst, a=a, b=b))
        free += [number[r] for r in {r for r in registers if last[r] == n} - placed]
        free.sort()
    return tuple(made)
