"""Pass 7: chains: operators on plain values that run together, on pieces that stay in the cache.

All values of a chain are whole (of one shape) or columns (one number for every row of that shape,
as a maximum over the last axes is): softmax by tables, what is multiplied by a number per channel,
and any run of operators that look at one element at a time. A chain runs at the turn of its last
node, so that no other node may read one of its values before that.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from yolo_core.graph import Entry, Node
from yolo_cvm.engine.format import MOST_INNER
from yolo_cvm.engine.planner.form import Chain, Chains, Form, frozen, product
from yolo_cvm.engine.planner.lowering import (
    BINARIES,
    UNARIES,
    broadcast_strides,
    dense_strides,
    merge,
)

NAME = "chains"
#: Operators of one chain, so that registers suffice but for strange graphs.
MOST_NODES = 24
#: Rows from this length on are joined with one operand by the loops over rows themselves.
LONG_ROW = 64

Shape = tuple[int, ...]


@dataclass
class _Open:
    """A chain that may still grow. split: the axis at which its rows begin, once one is joined."""

    shape: Shape
    split: int | None = None
    nodes: list[int] = field(default_factory=list)

    def is_column(self, shape: Shape) -> bool:
        """Whether a value has one number for every row."""
        if self.split is None:
            return False
        rows = self.shape[: self.split]
        return shape in (rows, rows + (1,) * (len(self.shape) - self.split))


@dataclass
class _Finding:
    form: Form
    left_out: frozenset[int]
    chains: list[_Open] = field(default_factory=list)
    chain_of: dict[int, _Open] = field(default_factory=dict)
    closed: set[int] = field(default_factory=set)  # by id

    def visit(self, index: int, node: Node) -> None:
        """Let a node join the latest chain that it reads from, or begin one."""
        read = {id(c): c for c in (self.chain_of.get(e.node) for e in node.inputs) if c}
        joined: _Open | None = None
        if self._can(index, node):
            open_ = [c for c in read.values() if id(c) not in self.closed]
            open_.sort(key=lambda c: c.nodes[-1])
            joined = next((c for c in reversed(open_) if self._joins(c, node)), None)
            if joined is None:
                joined = self._begun(node)
            if joined is not None:
                joined.nodes.append(index)
                self.chain_of[index] = joined
        self.closed.update(key for key, chain in read.items() if chain is not joined)

    def _can(self, index: int, node: Node) -> bool:
        """Whether the node's step would be one of those that chains are made of."""
        form = self.form
        if index in form.constants.nodes or index in self.left_out or not form.operands(node):
            return False
        if Entry(index) in form.fusion.images or index in form.fusion.region_of:
            return False
        return node.op in UNARIES or node.op in BINARIES or node.op in ("cvm_lut", "sum", "max")

    def _begun(self, node: Node) -> _Open | None:
        shape = self.form.graph.shape(node.inputs[0]) if _reduces(node) else node.shapes[0]
        chain = _Open(shape)
        if not self._joins(chain, node):
            return None
        self.chains.append(chain)
        return chain

    def _joins(self, chain: _Open, node: Node) -> bool:
        if len(chain.nodes) == MOST_NODES:
            return False
        if _reduces(node):
            return self._reduction(chain, node)
        shape = node.shapes[0]
        operands = node.inputs
        if node.op == "cvm_lut":
            operands, table = node.inputs[:1], node.inputs[1]
            if self._inside(chain, table):
                return False
        if shape == chain.shape:
            return all(self._reaches(chain, e, shape) for e in operands)
        inside = [self.form.graph.shape(e) for e in operands if self._inside(chain, e)]
        return chain.is_column(shape) and all(s == shape for s in inside)

    def _inside(self, chain: _Open, entry: Entry) -> bool:
        return self.chain_of.get(entry.node) is chain

    def _reaches(self, chain: _Open, entry: Entry, whole: Shape) -> bool:
        """Whether an operand of a whole value is whole, or can be brought there."""
        shape = self.form.graph.shape(entry)
        if shape == whole or not self._inside(chain, entry):
            return True
        assert chain.split is not None
        return broadcast_strides(shape, whole) == column_strides(whole, chain.split)

    def _reduction(self, chain: _Open, node: Node) -> bool:
        """Whether a sum or maximum is one over the last axes of whole values."""
        shape = self.form.graph.shape(node.inputs[0])
        split = _split(shape, node)
        if split is None or shape != chain.shape or chain.split not in (None, split):
            return False
        if product(shape[split:]) > MOST_INNER:
            return False
        result = _Open(shape, split)
        if not result.is_column(node.shapes[0]):
            return False
        chain.split = split
        return True


def run(form: Form) -> Form:
    """One walk over the nodes in order; chains of one node stay where their step is as good."""
    left_out = frozenset(
        {
            *form.epilogues.absorbed,
            *form.selections.absorbed,
            *form.selections.selects,
            *form.rows.roots,
            *(entry.node for entry in form.rows.heads),
        }
    )
    finding = _Finding(form, left_out)
    for index, node in enumerate(form.graph.nodes):
        finding.visit(index, node)
    found = {
        chain.nodes[-1]: Chain(tuple(chain.nodes), chain.shape, chain.split)
        for chain in finding.chains
        if len(chain.nodes) > 1 or _alone(form, chain.nodes[0])
    }
    last_of = {node: last for last, chain in found.items() for node in chain.nodes}
    return form.after(NAME, chains=Chains(frozen(found), frozen(last_of)))


def column_strides(whole: Shape, split: int) -> Shape:
    """Strides over the whole shape of a value with one number for every row."""
    return broadcast_strides(whole[:split] + (1,) * (len(whole) - split), whole)


def _reduces(node: Node) -> bool:
    return node.op in ("sum", "max")


def _split(shape: Shape, node: Node) -> int | None:
    """The first of the last axes that are reduced, where no others are; axes of 1 count as both."""
    over = node.operator.axes(len(shape), node.attributes)  # type: ignore[attr-defined]
    longer = [axis for axis in over if shape[axis] > 1]
    if not longer:
        return None
    split = min(longer)
    return split if all(a in over or shape[a] == 1 for a in range(split, len(shape))) else None


def _alone(form: Form, index: int) -> bool:
    """Whether a chain of one node is worth its while: short rows that are joined or repeated."""
    node = form.graph.nodes[index]
    if _reduces(node):
        return True
    shape = node.shapes[0]
    others = [form.graph.shape(e) for e in node.inputs]
    if node.op not in BINARIES or all(s == shape or product(s) == 1 for s in others):
        return False
    strides = [broadcast_strides(s, shape) for s in others]
    axes = merge(shape, (*strides, dense_strides(shape)))
    return axes[-1][0] < LONG_ROW
