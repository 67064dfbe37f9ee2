"""The tile program of one region: its operators, one after the other, on registers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph import Entry, Node
from yolo_core.graph.integers import INT32_MAX, limit
from yolo_cvm.engine.analysis import Region
from yolo_cvm.engine.programs import Program, Tile, Value
from yolo_cvm.engine.views import follow
from yolo_cvm.engine.words import DType, Tensor, product

if TYPE_CHECKING:
    from yolo_cvm.engine.fuse import Planner

_PAIR_KINDS = {
    "elemwise_add": Tile.ADD,
    "broadcast_add": Tile.ADD,
    "elemwise_sub": Tile.SUB,
    "broadcast_sub": Tile.SUB,
    "broadcast_mul": Tile.MUL,
    "broadcast_max": Tile.MAX,
}


class RegionBuilder:
    """Writes the tile program of one region, node by node."""

    def __init__(self, planner: Planner, region: Region, program: Program) -> None:
        self.planner = planner
        self.region = region
        self.program = program
        self.analysis = planner.analysis
        self.graph = planner.graph
        self.values: dict[Entry, Value] = {}
        self.stored: dict[Entry, Tensor] = {}
        self.bias: Array = np.zeros(0, np.int64)
        self.last = region.root
        self._bases: dict[Entry, tuple[int, int]] = {}
        inside = set(region.nodes)
        self._left = {
            Entry(i): sum(
                self.graph.nodes[r].inputs.count(Entry(i))
                for r in self.analysis.consumers.get(Entry(i), [])
                if r in inside
            )
            for i in region.nodes
        }
        self._folded: dict[Entry, tuple[Entry, int]] = {}
        self._fold_additions()

    def start(self) -> None:
        """The accumulators of a convolution are the first register."""
        region, graph = self.region, self.graph
        if not region.convolution:
            return
        conv = graph.nodes[region.root]
        self.bias = np.zeros(region.shape[1], np.int64)
        if len(conv.inputs) == 3:
            self.bias += self.analysis.constant(conv.inputs[2])
        if region.border is not None:
            self.bias += region.border.bias
        self.bias = (self.bias & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
        entry = Entry(region.root)
        self._keep(entry, Value(self.program.take(), self.analysis.known[entry]))

    def node(self, index: int) -> None:
        """One operator of the region."""
        self.last = index
        region, entry = self.region, Entry(index)
        if (region.convolution and index == region.root) or entry in self._folded:
            return
        if index == region.border_node:
            value = self._operand(self.graph.nodes[index].inputs[0], changes=True)
            self._keep(entry, Value(value.register, self.analysis.known[entry]))
            return
        self._operator(entry, self.graph.nodes[index])

    def _operator(self, entry: Entry, node: Node) -> None:
        program, known, a = self.program, self.analysis.known[entry], node.attributes
        operands = self.analysis.operands(node)
        if node.op == "cvm_lut":
            self._lookup(entry, node)
            return
        if len(operands) == 2:
            left, right = (program.finish(self._operand(e, changes=False)) for e in operands)
            value = program.pair(_PAIR_KINDS[node.op], left, right, known)  # type: ignore[index]
            self._drop(operands[0], left)
            if operands[1] != operands[0] or operands[0] not in self.values:
                self._drop(operands[1], right)
            self._keep(entry, value)
            return
        value = self._operand(operands[0], changes=True)
        if node.op == "relu":
            value = program.clamp(value, 0, INT32_MAX)
        elif node.op == "clip":
            value = program.clamp(value, a.a_min, a.a_max)
        elif node.op == "cvm_clip":
            value = program.clamp(value, -limit(a.precision), limit(a.precision))
        elif node.op == "cvm_right_shift":
            bound = limit(a.precision)
            value = program.shift(value, a.shift_bit, -bound, bound, known)
        else:
            value = self._with_constant(node, value, known)
        self._keep(entry, value)

    def _with_constant(self, node: Node, value: Value, known: tuple[int, int]) -> Value:
        (other,) = (e for e in node.inputs if self.analysis.is_constant(e))
        constant = self.analysis.per_channel(other, self.region.shape[1])
        assert constant is not None
        if node.op == "broadcast_mul":
            return self.program.multiply(value, constant, known)
        if node.op == "broadcast_max":
            return self.program.maximum(value, constant, known)
        if node.op in ("broadcast_sub", "elemwise_sub"):
            constant = np.negative(constant)  # wraps like the subtraction itself
        return self.program.add(value, constant, known)

    def _lookup(self, entry: Entry, node: Node) -> None:
        source, table_entry = node.inputs
        source, move = self._folded.get(source, (source, 0))
        self._rebase(source)
        value = self.program.finish(self._operand(source, changes=False))
        entries: Array = self.analysis.constant(table_entry).reshape(-1)
        if source in self._bases:
            first, last = self._bases[source]
            entries = entries[first + move : last + move + 1]
        table = self.planner.writer.constant(entries)
        image, plain = self._wanted(entry)
        if (
            image
            and not plain
            and not self._left[entry]
            and self.analysis.dtype(entry) == DType.INT8
        ):
            target = self.planner.places.image(entry)
            self.program.lookup_store(value, table, target)
            self.stored[entry] = target
        else:
            found = self.program.lookup(value, table, self.analysis.known[entry])
            self._keep(entry, found)
        self._drop(source, value)

    def _rebase(self, source: Entry) -> None:
        """Let an index that reaches only part of its tables count from that part's beginning.

        Short tables stay in registers or in the nearest cache; a network may join all of its
        tables end to end.
        """
        value = self.values.get(source)
        if value is None or source in self._bases:
            return
        folded = any(s == source for s, _ in self._folded.values())
        if not folded and (
            value.offset is None or value.known[0] <= 0 or not self._only_indexes(source)
        ):
            return
        first, last = value.known
        self._bases[source] = (first, last)
        self.values[source] = replace(
            self.program.add(value, np.array([-first]), (0, last - first))
            if value.offset is None
            else replace(value, offset=value.offset - first),
            known=(0, last - first),
        )

    def _only_indexes(self, entry: Entry) -> bool:
        """Whether a value does nothing but index tables, all of which it stays within."""
        low, high = self.analysis.known[entry]
        inside = set(self.region.nodes)
        return (
            low >= 0
            and not any(self._wanted(entry))
            and all(
                r in inside
                and node.op == "cvm_lut"
                and node.inputs[0] == entry
                and high < product(self.graph.shape(node.inputs[1]))
                for r, node in (
                    (r, self.graph.nodes[r]) for r in self.analysis.consumers.get(entry, [])
                )
            )
        )

    def _fold_additions(self) -> None:
        """One value that indexes several tables after different additions indexes all as one."""
        for index in self.region.nodes:
            entry = Entry(index)
            readers = self.analysis.consumers.get(entry, [])
            if len(readers) < 2 or any(self._wanted(entry)):
                continue
            moves = {}
            for reader in readers:
                node, moved = self.graph.nodes[reader], Entry(reader)
                if node.op != "broadcast_add" or moved not in self._left:
                    break
                constant = self.analysis.per_channel(node.inputs[1], self.region.shape[1])
                if constant is None or constant.size != 1 or not self._only_indexes(moved):
                    break
                moves[moved] = (entry, int(constant[0]))
            else:
                self._folded.update(moves)
                self._left[entry] = sum(self._left[moved] for moved in moves)

    # --- registers

    def _operand(self, entry: Entry, changes: bool) -> Value:
        """An operand's value; `changes`: the caller will work in its register."""
        if entry not in self.values:
            return self.program.load(self.planner.image_of(entry), self.analysis.known[entry])
        value = self.values[entry]
        self._left[entry] -= 1
        if not changes:
            value = self.values[entry] = self.program.finish(value)
        elif self._left[entry]:
            value = self.values[entry] = self.program.finish(value)
            value = self.program.copied(value)
        return value

    def _drop(self, entry: Entry, value: Value) -> None:
        """An operand that was only read: its register is free after the last reader."""
        if entry not in self.values or not self._left[entry]:
            self.program.release(value.register)

    def _keep(self, entry: Entry, value: Value) -> None:
        """A value is there: store it for readers outside, keep it for those inside."""
        image, plain = self._wanted(entry)
        if image or plain:
            value = self.program.finish(value)
        if image:
            target = self.planner.places.image(entry)
            self.program.store(value, target)
            self.stored[entry] = target
        if plain:
            analysis = self.analysis
            layout = follow(self.graph, entry, analysis.consumers, analysis.heads)
            self.planner.scatter(self.program, value, layout)
        if self._left[entry]:
            self.values[entry] = value
        else:
            self.program.release(value.register)

    def _wanted(self, entry: Entry) -> tuple[bool, bool]:
        """Whether readers outside need the value as an image, and as plain."""
        analysis = self.analysis
        readers = analysis.outside_readers(entry)
        image = any(analysis.reads_image(i) for i in readers)
        plain = entry in analysis.heads or any(not analysis.reads_image(i) for i in readers)
        return image, plain
