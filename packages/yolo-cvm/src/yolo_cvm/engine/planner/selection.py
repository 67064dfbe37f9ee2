"""Pass 5: get_valid_counts with the suppression that reads it, as one selection.

A detector joins six numbers per candidate, moves the valid rows to the front, suppresses, and
takes the first rows of the result. A selection reads the numbers where they were made, and only
those of the candidates that suppression looks at.
"""

from __future__ import annotations

from yolo_core.graph import Entry, Node
from yolo_core.graph.operators import TABLE
from yolo_cvm.engine.format import COLUMNS
from yolo_cvm.engine.planner.form import Column, Form, Select, Selections, frozen

NAME = "selection"


def run(form: Form) -> Form:
    """Look at every suppression."""
    selects: dict[int, Select] = {}
    absorbed: set[int] = set()
    for index, node in enumerate(form.graph.nodes):
        if node.op == "non_max_suppression" and index not in form.constants.nodes:
            found = _select(form, index, node)
            if found is not None:
                at, select, replaced = found
                selects[at] = select
                absorbed |= replaced
    return form.after(NAME, selections=Selections(frozen(selects), frozenset(absorbed)))


def _select(form: Form, index: int, node: Node) -> tuple[int, Select, set[int]] | None:
    """The node whose value the selection makes, the selection, and the nodes that it replaces."""
    packed, counts = node.inputs
    valid = form.graph.nodes[packed.node]
    if valid.op != "get_valid_counts" or (packed, counts) != (
        Entry(packed.node, 1),
        Entry(packed.node, 0),
    ):
        return None
    alone = all(_only_reader(form, entry) == index for entry in node.inputs)
    if not alone or node.shapes[0][0] != 1 or form.is_constant(packed):
        return None
    columns, joined = _columns(form, packed.node, valid.inputs[0])
    at, rows = index, node.shapes[0][1]
    reader = _only_reader(form, Entry(index))
    if reader is not None and _first_rows(form, reader):
        at, rows = reader, form.graph.nodes[reader].shapes[0][1]
    select = Select(index, packed.node, columns, node.shapes[0][1], rows)
    return at, select, {packed.node, index, *joined} - {at}


def _only_reader(form: Form, entry: Entry) -> int | None:
    """The node that alone reads a value; None where there are others, or the caller is one."""
    readers = form.readers.get(entry, ())
    return readers[0] if len(readers) == 1 and entry not in form.heads else None


def _columns(form: Form, reader: int, rows: Entry) -> tuple[tuple[Column, ...], set[int]]:
    """Where the numbers of every row lie, and the concatenation that is not needed then."""
    node = form.graph.nodes[rows.node]
    joins = node.op == "concatenate" and not form.is_constant(rows)
    if not joins or node.attributes.axis % 3 != 2 or _only_reader(form, rows) != reader:
        return tuple(Column(rows, k, len(COLUMNS)) for k in COLUMNS), set()
    columns = [
        Column(part, k, form.graph.shape(part)[2])
        for part in node.inputs
        for k in range(form.graph.shape(part)[2])
    ]
    return tuple(columns), {rows.node}


def _first_rows(form: Form, index: int) -> bool:
    """Whether a node takes the first rows of its operand, whole."""
    node = form.graph.nodes[index]
    if node.op != "strided_slice":
        return False
    shape = form.graph.shape(node.inputs[0])
    slices = TABLE["strided_slice"].slices(shape, node.attributes)  # type: ignore[attr-defined]
    whole = node.shapes[0] == (1, node.shapes[0][1], shape[2])
    return whole and all((begin, stride) == (0, 1) for begin, _, stride in slices)
