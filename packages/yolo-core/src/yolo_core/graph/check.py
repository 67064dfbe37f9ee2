"""Everything that must hold before a program may run: shapes, precisions, ids, limits.

Source: spec 1.5, 1.6, 3, 4.5, 5.1, 8.6. A program that passes here cannot make an engine read or
write outside its tensors. `declaration` checks what a file declares, `infer` one node.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from yolo_core.arrays import Array
from yolo_core.graph.costs import gas, storage
from yolo_core.graph.errors import GraphError, LogicError
from yolo_core.graph.files.declaration import VERSION_1_0, Declaration
from yolo_core.graph.integers import MAX_PRECISION, Shape, check_shape, limit
from yolo_core.graph.operators import TABLE, Attributes
from yolo_core.graph.operators.attributes import parse
from yolo_core.graph.program import INPUT_NAME, Entry, Graph, Node


def precision(value: int) -> None:
    """A declared or inferred precision is 1..32; LogicError otherwise."""
    if not 1 <= value <= MAX_PRECISION:
        raise LogicError("precision", f"{value} bits", "1..32")


def infer(
    op: str, x: Sequence[Shape], p: Sequence[int], given: Mapping[str, object], raw: bool
) -> tuple[Attributes, tuple[Shape, ...], tuple[int, ...]]:
    """Attributes, output shapes and output precisions of one operator on these operands.

    given: strings of a file where raw, else Python values. Raises LogicError or RuntimeFault.
    """
    operator = TABLE.get(op)
    if operator is None:
        raise LogicError("func_name", f"{op[:60]!r} is not an operator")
    a = parse(operator.attributes, given, raw)
    arity = operator.arity(a)
    if len(x) != arity and not (arity < 0 < len(x)):
        raise LogicError("inputs", f"{len(x)} operands", "1 or more" if arity < 0 else f"{arity}")
    y = operator.shape(x, a)
    for shape in y:
        check_shape(shape)
    q = operator.precision(p, x, y, a)
    for value in q:
        precision(value)
    return a, y, q


def parameter_shape(name: str, found: Shape, shape: Shape) -> None:
    """A parameter has the declared shape; LogicError otherwise."""
    if found != shape:
        raise LogicError(f"parameter {name!r}", f"shape {found}", f"{shape}")


def parameter(name: str, values: Array, shape: Shape, bits: int) -> None:
    """A parameter has the declared shape and magnitudes up to R(bits); LogicError otherwise."""
    parameter_shape(name, values.shape, shape)
    place = f"parameter {name!r}"
    bound = limit(bits)
    low, high = int(values.min()), int(values.max())
    if low < -bound or high > bound:
        worst = low if low < -bound else high
        raise LogicError(place, f"value {worst} beyond its {bits} bits", f"-{bound}..{bound}")


def structure(nodes: Sequence[Node], heads: Sequence[Entry]) -> None:
    """Heads point at tensors, variable names are unique, `data` is there. LogicError."""
    if not heads:
        raise LogicError("heads", "empty", "at least one output")
    for number, head in enumerate(heads):
        if not 0 <= head.node < len(nodes) or not 0 <= head.output < len(nodes[head.node].shapes):
            raise LogicError(f"head {number}", f"no tensor [{head.node}, {head.output}]")
    names = [node.name for node in nodes if node.is_variable]
    if INPUT_NAME not in names:
        raise LogicError("nodes", f"no variable called {INPUT_NAME!r}")


def whole(graph: Graph) -> None:
    """What only the whole program can break: the storage plan and the limits of gas."""
    storage.check(graph)
    gas.gas(graph)


def declaration(declared: Declaration) -> Graph:
    """The program that a file declares, without parameters; raises where any rule is broken."""
    nodes: list[Node] = []
    starts = [0]
    names: dict[str, int] = {}
    for index, item in enumerate(declared.nodes):
        try:
            node = _node(declared, index, nodes, starts[-1])
        except GraphError as error:
            op = item.op if item.op is not None else "variable"
            raise error.at(f"node {index} {item.name[:60]!r} ({op[:60]})") from None
        if node.is_variable and names.setdefault(node.name, index) != index:
            raise LogicError(f"node {index} {node.name[:60]!r}", "variable declared twice")
        nodes.append(node)
        starts.append(starts[-1] + len(node.shapes))
    _whole_lists(declared, nodes, starts)
    structure(nodes, declared.heads)
    graph = Graph(tuple(nodes), declared.heads, declared.storage, postprocess=declared.postprocess)
    whole(graph)
    return graph


def _node(declared: Declaration, index: int, nodes: Sequence[Node], start: int) -> Node:
    """One node: its operands, then its inferred shapes against the declared ones."""
    item = declared.nodes[index]
    if item.op is None:
        if item.inputs:
            raise LogicError("inputs", f"{len(item.inputs)} operands", "none for a variable")
        shape, bits = _declared(declared.shapes, start), _declared(declared.precisions, start)
        check_shape(shape)
        precision(bits)
        return Node(item.name, None, (), Attributes({}), (shape,), (bits,))
    for number, entry in enumerate(item.inputs):
        # Topological order: an operand comes before its reader, so no cycle can be told.
        if not 0 <= entry.node < index:
            raise LogicError(f"operand {number}", f"node {entry.node}", "an earlier node")
        if not 0 <= entry.output < len(nodes[entry.node].shapes):
            raise LogicError(f"operand {number}", f"node {entry.node} has no output {entry.output}")
    a, y, q = infer(
        item.op,
        [nodes[e.node].shapes[e.output] for e in item.inputs],
        [nodes[e.node].precisions[e.output] for e in item.inputs],
        declared.op_attributes[index],
        raw=True,
    )
    for number, shape in enumerate(y):
        stated = _declared(declared.shapes, start + number)
        if stated != shape:
            raise LogicError("shape", f"declared {stated} for output {number}", f"{shape}")
        bits = _declared(declared.precisions, start + number)
        if bits != -1:
            precision(bits)
    return Node(item.name, item.op, item.inputs, a, y, q)


_Item = TypeVar("_Item")


def _declared(values: Sequence[_Item], entry_id: int) -> _Item:
    if entry_id >= len(values):
        raise LogicError("attrs", f"a list ends before entry {entry_id}")
    return values[entry_id]


def _whole_lists(declared: Declaration, nodes: Sequence[Node], starts: list[int]) -> None:
    """Lists with one item per tensor are complete; node_row_ptr and arg_nodes are as derived."""
    count = starts[-1]
    for name, values in (
        ("shape", declared.shapes),
        ("storage_id", declared.storage),
        ("precision", declared.precisions),
    ):
        if len(values) != count:
            raise LogicError(f"attrs.{name}", f"{len(values)} items", f"{count}, one per tensor")
    if declared.types is not None and declared.types != count:
        raise LogicError("attrs.dltype", f"{declared.types} items", f"{count}, one per tensor")
    required = declared.version == VERSION_1_0
    variables = tuple(i for i, node in enumerate(nodes) if node.is_variable)
    for name, stated, derived in (
        ("node_row_ptr", declared.row_starts, tuple(starts)),
        ("arg_nodes", declared.variables, variables),
    ):
        if stated is None:
            if required:
                raise LogicError(name, "missing", f"required by {VERSION_1_0}")
        elif stated != derived:
            raise LogicError(name, "differs from what the nodes say")
    if required and declared.types is None:
        raise LogicError("attrs.dltype", "missing", f"required by {VERSION_1_0}")
