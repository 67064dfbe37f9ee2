"""Pass 4: the tile code of every region: its operators, one after the other, on registers.

A region that needs more registers or operations than there are is cut in two where it does not
fit; what reads the second part from a region that runs earlier is cut off as well.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph import Entry, Node
from yolo_core.graph.integers import INT32_MAX, limit
from yolo_cvm.engine.format import DType, Tile
from yolo_cvm.engine.planner.form import (
    Epilogues,
    Form,
    Interval,
    Operation,
    Region,
    frozen,
    product,
)
from yolo_cvm.engine.planner.scatters import follow
from yolo_cvm.engine.planner.tile_code import TileCode, TooWide, Value

NAME = "epilogues"

_PAIR_KINDS = {
    "elemwise_add": Tile.ADD,
    "broadcast_add": Tile.ADD,
    "elemwise_sub": Tile.SUB,
    "broadcast_sub": Tile.SUB,
    "broadcast_mul": Tile.MUL,
    "broadcast_max": Tile.MAX,
}


def run(form: Form) -> Form:
    """Write all regions; cut those that do not fit and write the parts."""
    regions = dict(form.fusion.regions)
    region_of = dict(form.fusion.region_of)
    form = replace(form, fusion=replace(form.fusion, regions=regions, region_of=region_of))
    written: dict[int, tuple[tuple[Operation, ...], tuple[int, ...]]] = {}
    waiting = sorted(regions)
    while waiting:
        root = waiting.pop()
        writer = RegionWriter(form, regions[root])
        try:
            written[root] = writer.write()
        except TooWide:
            assert writer.last != root, "a single operator fits the registers"
            waiting += _cut(form, regions, region_of, writer.last)
    epilogues = Epilogues(
        frozen({root: code for root, (code, _) in sorted(written.items())}),
        frozen({root: _bias(form, root) for root, r in regions.items() if r.convolution}),
        frozenset(index for _, absorbed in written.values() for index in absorbed),
    )
    fusion = replace(form.fusion, regions=frozen(regions), region_of=frozen(region_of))
    return form.after(NAME, fusion=fusion, epilogues=epilogues)


def _cut(form: Form, regions: dict[int, Region], region_of: dict[int, int], first: int) -> set[int]:
    """Let `first` and what follows it in its region be a region; the roots of all that changed.

    The new region runs at the turn of `first`, later than before: an operator of a region that
    runs earlier and reads one of its values begins a region too.
    """
    changed: set[int] = set()
    queue = [first]
    while queue:
        first = queue.pop()
        root = region_of[first]
        if root == first:
            continue
        whole = regions[root].nodes
        regions[root] = replace(regions[root], nodes=tuple(n for n in whole if n < first))
        regions[first] = Region(first, tuple(n for n in whole if n >= first), False)
        region_of.update(dict.fromkeys(regions[first].nodes, first))
        changed |= {root, first}
        for node in regions[first].nodes:
            for reader in form.readers.get(Entry(node), ()):
                if region_of.get(reader, reader) < first:
                    queue.append(reader)
    return changed


def _bias(form: Form, root: int) -> Array:
    """What a convolution adds to its sums: zeros where there is no bias."""
    node = form.graph.nodes[root]
    if len(node.inputs) == 3:
        return form.constant(node.inputs[2])
    return np.zeros(node.shapes[0][1], np.int32)


class RegionWriter:
    """Writes the tile code of one region, node by node. last: the node in turn."""

    def __init__(self, form: Form, region: Region) -> None:
        self.form = form
        self.region = region
        self.graph = form.graph
        self.code = TileCode()
        self.last = region.root
        self._values: dict[Entry, Value] = {}
        self._bases: dict[Entry, tuple[int, int]] = {}
        self._absorbed: list[int] = []
        self._inside = frozenset(region.nodes)
        #: readers inside that are still to come, of every value made inside
        self._left = {
            Entry(i): sum(
                self.graph.nodes[r].inputs.count(Entry(i))
                for r in form.readers.get(Entry(i), ())
                if r in self._inside
            )
            for i in region.nodes
        }
        self._folded: dict[Entry, tuple[Entry, int]] = {}
        self._fold_additions()

    def write(self) -> tuple[tuple[Operation, ...], tuple[int, ...]]:
        """The operations, and the nodes that a scattered store replaces. TooWide."""
        for index in self.region.nodes:
            self.last = index
            entry = Entry(index)
            if self.region.convolution and index == self.region.root:
                # The accumulators of a convolution are the first register.
                self._keep(entry, Value(self.code.take(), self._known(entry)))
            elif entry not in self._folded:
                self._operator(entry, self.graph.nodes[index])
        return tuple(self.code.operations), tuple(self._absorbed)

    def _known(self, entry: Entry) -> Interval:
        return self.form.constants.intervals[entry]

    def _operator(self, entry: Entry, node: Node) -> None:
        code, known, a = self.code, self._known(entry), node.attributes
        operands = self.form.operands(node)
        if node.op == "cvm_lut":
            self._lookup(entry, node)
            return
        if len(operands) == 2:
            left, right = (code.finish(self._operand(e, changes=False)) for e in operands)
            value = code.pair(_PAIR_KINDS[node.op], left, right, known)  # type: ignore[index]
            self._drop(operands[0], left)
            if operands[1] != operands[0] or operands[0] not in self._values:
                self._drop(operands[1], right)
            self._keep(entry, value)
            return
        value = self._operand(operands[0], changes=True)
        if node.op == "relu":
            value = code.clamp(value, 0, INT32_MAX)
        elif node.op == "clip":
            value = code.clamp(value, a.a_min, a.a_max)
        elif node.op == "cvm_clip":
            value = code.clamp(value, -limit(a.precision), limit(a.precision))
        elif node.op == "negative":
            value = code.multiply(value, np.array([-1]), known)
        elif node.op == "cvm_right_shift":
            bound = limit(a.precision)
            value = code.shift(value, a.shift_bit, -bound, bound, known)
        else:
            value = self._with_constant(node, value, known)
        self._keep(entry, value)

    def _with_constant(self, node: Node, value: Value, known: Interval) -> Value:
        (other,) = (e for e in node.inputs if self.form.is_constant(e))
        constant = self.form.per_channel(other, node.shapes[0][1])
        assert constant is not None
        if node.op == "broadcast_mul":
            return self.code.multiply(value, constant, known)
        if node.op == "broadcast_max":
            return self.code.maximum(value, constant, known)
        if node.op in ("broadcast_sub", "elemwise_sub"):
            constant = np.negative(constant)  # wraps like the subtraction itself
        return self.code.add(value, constant, known)

    def _lookup(self, entry: Entry, node: Node) -> None:
        source, table_entry = node.inputs
        source, move = self._folded.get(source, (source, 0))
        self._rebase(source)
        value = self.code.finish(self._operand(source, changes=False))
        entries: Array = self.form.constant(table_entry).reshape(-1)
        if source in self._bases:
            first, last = self._bases[source]
            entries = entries[first + move : last + move + 1]
        image, plain = self._wanted(entry)
        if image and not plain and not self._left[entry] and self.form.dtype(entry) == DType.INT8:
            self.code.lookup_store(value, entries, entry)
        else:
            found = self.code.lookup(value, entries, self._known(entry))
            self._keep(entry, found)
        self._drop(source, value)

    def _rebase(self, source: Entry) -> None:
        """Let an index that reaches only part of its tables count from that part's beginning.

        Short tables stay in registers or in the nearest cache; a network may join all of its
        tables end to end.
        """
        value = self._values.get(source)
        if value is None or source in self._bases:
            return
        folded = any(s == source for s, _ in self._folded.values())
        if not folded and (
            value.offset is None or value.known[0] <= 0 or not self._only_indexes(source)
        ):
            return
        first, last = value.known
        self._bases[source] = (first, last)
        self._values[source] = replace(
            self.code.add(value, np.array([-first]), (0, last - first))
            if value.offset is None
            else replace(value, offset=value.offset - first),
            known=(0, last - first),
        )

    def _only_indexes(self, entry: Entry) -> bool:
        """Whether a value does nothing but index tables, all of which it stays within."""
        low, high = self._known(entry)
        return (
            low >= 0
            and not any(self._wanted(entry))
            and all(
                r in self._inside
                and node.op == "cvm_lut"
                and node.inputs[0] == entry
                and high < product(self.graph.shape(node.inputs[1]))
                for r, node in ((r, self.graph.nodes[r]) for r in self.form.readers.get(entry, ()))
            )
        )

    def _fold_additions(self) -> None:
        """One value that indexes several tables after different additions indexes all as one."""
        for index in self.region.nodes:
            entry = Entry(index)
            readers = self.form.readers.get(entry, ())
            if len(readers) < 2 or any(self._wanted(entry)):
                continue
            moves = {}
            for reader in readers:
                node, moved = self.graph.nodes[reader], Entry(reader)
                if node.op != "broadcast_add" or moved not in self._left:
                    break
                constant = self.form.per_channel(node.inputs[1], node.shapes[0][1])
                if constant is None or constant.size != 1 or not self._only_indexes(moved):
                    break
                moves[moved] = (entry, int(constant[0]))
            else:
                self._folded.update(moves)
                self._left[entry] = sum(self._left[moved] for moved in moves)

    # --- registers

    def _operand(self, entry: Entry, changes: bool) -> Value:
        """An operand's value; `changes`: the caller will work in its register."""
        if entry not in self._values:
            return self.code.load(entry, self._known(entry))
        value = self._values[entry]
        self._left[entry] -= 1
        if not changes:
            value = self._values[entry] = self.code.finish(value)
        elif self._left[entry]:
            value = self._values[entry] = self.code.finish(value)
            value = self.code.copied(value)
        return value

    def _drop(self, entry: Entry, value: Value) -> None:
        """An operand that was only read: its register is free after the last reader."""
        if entry not in self._values or not self._left[entry]:
            self.code.release(value.register)

    def _keep(self, entry: Entry, value: Value) -> None:
        """A value is there: store it for readers outside, keep it for those inside."""
        image, plain = self._wanted(entry)
        if image or plain:
            value = self.code.finish(value)
        if image:
            self.code.store(value, entry)
        if plain:
            place = follow(self.form, entry)
            self._absorbed += place.absorbed
            self.code.scatter(value, place)
        if self._left[entry]:
            self._values[entry] = value
        else:
            self.code.release(value.register)

    def _wanted(self, entry: Entry) -> tuple[bool, bool]:
        """Whether readers outside need the value as an image, and as plain."""
        form = self.form
        readers = [i for i in form.readers.get(entry, ()) if i not in self._inside]
        image = any(form.reads_image(i) for i in readers)
        plain = entry in form.heads or any(not form.reads_image(i) for i in readers)
        return image, plain
