"""Everything that must hold before a program may run: shapes, precisions, ids, limits.

Source: spec 1.5, 1.6, 3, 4.5, 5.1, 8.6. A program that passes here cannot make an engine read or
write outside its tensors. `declaration` checks what a file declares, `infer` one node. Which of
the two errors comes is part of consensus, so the rules that the original has too are checked in
its order, before ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Optional

from yolo_core.arrays import Array
from yolo_core.graph.costs import gas, storage
from yolo_core.graph.errors import GraphError, LogicError, RuntimeFault
from yolo_core.graph.files.declaration import (
    VERSION_1_0,
    VERSION_1_1,
    Declaration,
    attribute_strings,
)
from yolo_core.graph.integers import MAX_PRECISION, Shape, check_shape, limit
from yolo_core.graph.operators import REGISTRY_ALIASES, TABLE, Attributes, Operator
from yolo_core.graph.operators.attributes import parse
from yolo_core.graph.program import INPUT_NAME, Entry, Graph, Node


def precision(value: int) -> None:
    """A declared or inferred precision is 1..32; LogicError otherwise."""
    if not 1 <= value <= MAX_PRECISION:
        raise LogicError("precision", f"{value} bits", "1..32")


def infer(
    op: str, x: Sequence[Shape], p: Sequence[int], given: Mapping[str, object]
) -> tuple[Attributes, tuple[Shape, ...], tuple[int, ...]]:
    """Attributes, output shapes and output precisions of one operator on these operands.

    given: Python values by name, as a builder has them. Raises LogicError or RuntimeFault.
    """
    operator = find(op)
    a = attributes(operator, len(x), given, raw=False)
    y = shapes(operator, x, a)
    return a, y, precisions(operator, p, x, y, a)


def find(op: str) -> Operator:
    """The entry of the operator table. RuntimeFault for a name that the original does not know.

    LogicError for a name that the original's registry knows and its kernels do not (spec 1.2).
    """
    operator = TABLE.get(op)
    if operator is None:
        fault = LogicError if op in REGISTRY_ALIASES else RuntimeFault
        raise fault("func_name", f"{op[:60]!r} is not an operator")
    return operator


def attributes(
    operator: Operator, operands: int, given: Mapping[str, object], raw: bool
) -> Attributes:
    """The parsed attributes of an operator, whose number of operands follows from them.

    given: strings of a file where raw, else Python values. Raises LogicError or RuntimeFault.
    """
    a = parse(operator.attributes, given, raw)
    arity = operator.arity(a)
    if operands != arity and not (arity < 0 < operands):
        raise LogicError("inputs", f"{operands} operands", "1 or more" if arity < 0 else f"{arity}")
    return a


def shapes(operator: Operator, x: Sequence[Shape], a: Attributes) -> tuple[Shape, ...]:
    """The output shapes of an operator, within the limits of spec 4.5. LogicError otherwise."""
    y = operator.shape(x, a)
    for shape in y:
        check_shape(shape)
    return y


def precisions(
    operator: Operator, p: Sequence[int], x: Sequence[Shape], y: Sequence[Shape], a: Attributes
) -> tuple[int, ...]:
    """The output precisions of an operator, each 1..32. LogicError or RuntimeFault otherwise."""
    q = operator.precision(p, x, y, a)
    for value in q:
        precision(value)
    return q


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
    """Heads point at tensors, and `data` is there. LogicError for heads, RuntimeFault for `data`.

    The original asks this only of a model that is loaded: gas is counted without.
    """
    if not heads:
        raise LogicError("heads", "empty", "at least one output")
    if not any(node.is_variable and node.name == INPUT_NAME for node in nodes):
        raise RuntimeFault("nodes", f"no variable called {INPUT_NAME!r}")
    for number, head in enumerate(heads):
        if not 0 <= head.node < len(nodes) or not 0 <= head.output < len(nodes[head.node].shapes):
            raise LogicError(f"head {number}", f"no tensor [{head.node}, {head.output}]")


def whole(graph: Graph) -> None:
    """What only the whole program can break: the storage plan and the limits of gas."""
    storage.check(graph)
    gas.gas(graph)


def declaration(declared: Declaration) -> Graph:
    """The program that a file declares, without parameters; raises where any rule is broken."""
    checked = declared_nodes(declared)
    structure(checked, declared.heads)
    graph = Graph(checked, declared.heads, declared.storage, postprocess=declared.postprocess)
    whole(graph)
    return graph


def declared_nodes(declared: Declaration) -> tuple[Node, ...]:
    """Every node that a file declares, checked in the original's order (spec 1.5).

    The order decides which of the two errors a file of several faults ends with. It is kept
    where the two kinds meet: names, operators and attributes of all nodes come first, then the
    lists, storage shared with an operand, variables, the version, topology, shapes and last
    precisions. Raises LogicError or RuntimeFault.
    """
    _unique_names(declared)
    operators = _operators(declared)
    starts = [0]
    for found in operators:
        starts.append(starts[-1] + (found[0].outputs if found else 1))
    _whole_lists(declared, starts[-1])
    _operands(declared, operators)
    _own_storage(declared, operators, starts)
    for index, item in enumerate(declared.nodes):
        with _node_named(declared, index):
            check_shape(declared.shapes[starts[index]])
            if item.op is None:
                precision(declared.precisions[starts[index]])
    for bits in declared.precisions:
        if bits != -1:
            precision(bits)
    _version(declared, starts)
    return _inferred(declared, operators, starts)


_Operators = Sequence[Optional[tuple[Operator, Attributes]]]


def _unique_names(declared: Declaration) -> None:
    names: set[str] = set()
    for index, item in enumerate(declared.nodes):
        if item.op is None:
            if item.name in names:
                raise RuntimeFault(f"node {index} {item.name[:60]!r}", "variable declared twice")
            names.add(item.name)


def _operators(declared: Declaration) -> _Operators:
    """Operator and attributes of each node, None for a variable."""
    if len(declared.op_attributes) != len(declared.nodes):
        raise LogicError(
            "attrs.op_attrs",
            f"{len(declared.op_attributes)} items",
            f"{len(declared.nodes)}, one per node",
        )
    result: list[tuple[Operator, Attributes] | None] = []
    for index, (item, text) in enumerate(zip(declared.nodes, declared.op_attributes)):
        with _node_named(declared, index):
            if item.op is None:
                result.append(None)
                continue
            operator = find(item.op)
            given = attribute_strings(text)
            result.append((operator, attributes(operator, len(item.inputs), given, raw=True)))
    return result


def _whole_lists(declared: Declaration, count: int) -> None:
    """Lists with one item per tensor are complete."""
    for name, values in (
        ("shape", declared.shapes),
        ("storage_id", declared.storage),
        ("precision", declared.precisions),
    ):
        if len(values) != count:
            raise LogicError(f"attrs.{name}", f"{len(values)} items", f"{count}, one per tensor")
    if declared.types is not None and declared.types != count:
        raise LogicError("attrs.dltype", f"{declared.types} items", f"{count}, one per tensor")


def _operands(declared: Declaration, operators: _Operators) -> None:
    """Operands come before their readers, so that no cycle can be told; variables have none."""
    for index, item in enumerate(declared.nodes):
        with _node_named(declared, index):
            if item.op is None and item.inputs:
                raise LogicError("inputs", f"{len(item.inputs)} operands", "none for a variable")
            for number, entry in enumerate(item.inputs):
                if not 0 <= entry.node < index:
                    raise LogicError(f"operand {number}", f"node {entry.node}", "an earlier node")
                found = operators[entry.node]
                if not 0 <= entry.output < (found[0].outputs if found else 1):
                    cause = f"node {entry.node} has no output {entry.output}"
                    raise LogicError(f"operand {number}", cause)


def _own_storage(declared: Declaration, operators: _Operators, starts: Sequence[int]) -> None:
    """Only in-place operators may share a storage with an operand (spec 1.5 step 4)."""
    for index, (item, found) in enumerate(zip(declared.nodes, operators)):
        if found is None or found[0].in_place:
            continue
        own = set(declared.storage[starts[index] : starts[index + 1]])
        for entry in item.inputs:
            pool = declared.storage[starts[entry.node] + entry.output]
            if pool in own:
                holder = declared.nodes[entry.node].name[:60]
                with _node_named(declared, index):
                    raise LogicError(
                        "storage_id",
                        f"output shares storage {pool} with its operand {holder!r}",
                        "a storage of its own: not an in-place op",
                    )


def _version(declared: Declaration, starts: list[int]) -> None:
    """node_row_ptr and arg_nodes are as derived, and what version 1.0.0 requires is there."""
    if declared.version not in (VERSION_1_0, VERSION_1_1):
        stated = f"{declared.version!r}"[:60]
        raise RuntimeFault("version", stated, f"{VERSION_1_0} or {VERSION_1_1}")
    required = declared.version == VERSION_1_0
    variables = tuple(i for i, node in enumerate(declared.nodes) if node.op is None)
    for name, stated_ids, derived in (
        ("node_row_ptr", declared.row_starts, tuple(starts)),
        ("arg_nodes", declared.variables, variables),
    ):
        if stated_ids is None:
            if required:
                raise LogicError(name, "missing", f"required by {VERSION_1_0}")
        elif stated_ids != derived:
            raise LogicError(name, "differs from what the nodes say")
    if required and declared.types is None:
        raise LogicError("attrs.dltype", "missing", f"required by {VERSION_1_0}")


def _inferred(
    declared: Declaration, operators: _Operators, starts: Sequence[int]
) -> tuple[Node, ...]:
    """The nodes with inferred shapes, which must be the declared ones, and precisions."""
    for index, (item, found) in enumerate(zip(declared.nodes, operators)):
        if found is None:
            continue
        with _node_named(declared, index):
            x = [declared.shapes[starts[e.node] + e.output] for e in item.inputs]
            for number, shape in enumerate(shapes(found[0], x, found[1])):
                stated = declared.shapes[starts[index] + number]
                if stated != shape:
                    raise LogicError("shape", f"declared {stated} for output {number}", f"{shape}")
    nodes: list[Node] = []
    for index, (item, found) in enumerate(zip(declared.nodes, operators)):
        own = tuple(declared.shapes[starts[index] : starts[index + 1]])
        if found is None:
            stated_bits = (declared.precisions[starts[index]],)
            nodes.append(Node(item.name, None, (), Attributes({}), own, stated_bits))
            continue
        with _node_named(declared, index):
            x = [nodes[e.node].shapes[e.output] for e in item.inputs]
            p = [nodes[e.node].precisions[e.output] for e in item.inputs]
            bits = precisions(found[0], p, x, own, found[1])
        nodes.append(Node(item.name, item.op, item.inputs, found[1], own, bits))
    return tuple(nodes)


@contextmanager
def _node_named(declared: Declaration, index: int) -> Iterator[None]:
    """An error within tells the node."""
    try:
        yield
    except GraphError as error:
        item = declared.nodes[index]
        op = item.op if item.op is not None else "variable"
        raise error.at(f"node {index} {item.name[:60]!r} ({op[:60]})") from None
