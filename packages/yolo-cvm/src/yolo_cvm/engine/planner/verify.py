"""What must hold of a form after each pass. One verifier for all of them.

A rule that is broken is a defect of the planner, never of the user's model, which then runs in
another way. The library checks the finished plan again by itself.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping
from typing import Any, Callable

from yolo_core.graph import Entry
from yolo_core.graph.integers import INT32_MAX, INT32_MIN
from yolo_cvm.engine.format import (
    AXES,
    CONSTANTS,
    MOST_AXES,
    MOST_OPERATIONS,
    NUMBER,
    OPTIONAL_CONSTANT,
    OPTIONAL_PLAIN,
    PROGRAMS,
    READS,
    REGISTERS,
    STEPS,
    WRITES,
    DType,
    Field,
    Storage,
    Tile,
)
from yolo_cvm.engine.planner.form import Form, Operation, Tensor, product
from yolo_cvm.engine.planner.memory import lives


class PlanningError(Exception):
    """The form breaks a rule; the text says which pass, where, and what."""


def verify(form: Form) -> None:
    """Check what the last pass filled in. PlanningError where it breaks a rule."""
    for part in _RULES[form.done[-1]]:
        part(form)


def _require(ok: bool, form: Form, where: object, what: str) -> None:
    if not ok:
        raise PlanningError(f"after {form.done[-1]}, {where}: {what}")


# --- constants, padding ------------------------------------------------------------------------


def _constants(form: Form) -> None:
    known = form.constants
    for index, node in enumerate(form.graph.nodes):
        for output in range(len(node.shapes)):
            low, high = known.intervals[Entry(index, output)]
            _require(INT32_MIN <= low <= high <= INT32_MAX, form, index, "interval beyond int32")
        if index in known.nodes:
            alone = index != form.graph.input_index
            alone = alone and all(e.node in known.nodes for e in node.inputs)
            _require(alone, form, index, "a constant depends on the input")
    for entry, values in known.values.items():
        low, high = known.intervals[entry]
        _require(values.shape == form.graph.shape(entry), form, entry, "a constant of other shape")
        inside = low <= int(values.min()) and int(values.max()) <= high
        _require(inside, form, entry, "a constant beyond its interval")


def _pads(form: Form) -> None:
    for entry, pad in form.pads.items():
        batch, channels, height, width = form.graph.shape(pad.source)
        around = (batch, channels, height + pad.top + pad.bottom, width + pad.left + pad.right)
        _require(form.graph.shape(entry) == around, form, entry, "a border of another size")
        _require(len(pad.fill) == channels, form, entry, "a border of other channels")
        _require(form.dtype(entry) == DType.INT8, form, entry, "a border around no bytes")


# --- regions -----------------------------------------------------------------------------------


def _fusion(form: Form) -> None:
    fusion = form.fusion
    for entry in fusion.images:
        _require(len(form.graph.shape(entry)) == 4, form, entry, "an image has four dimensions")
    for root, region in fusion.regions.items():
        nodes = region.nodes
        _require(nodes[0] == root and list(nodes) == sorted(set(nodes)), form, root, "order")
        for index in nodes:
            node = form.graph.nodes[index]
            _require(fusion.region_of[index] == root, form, index, "in two regions")
            convolution = region.convolution and index == root
            _require((node.op == "conv2d") == convolution, form, index, "a convolution inside")
            operands = form.operands(node)
            if convolution:
                continue
            for entry in operands:
                inside = fusion.region_of.get(entry.node) == root and entry.node < index
                ready = entry in fusion.images and form.position(entry) < root
                _require(inside or ready, form, index, "an operand is not there in time")
    for index, root in fusion.region_of.items():
        _require(index in fusion.regions[root].nodes, form, index, "in no region")


def _epilogues(form: Form) -> None:
    for root, region in form.fusion.regions.items():
        code = form.epilogues.code[root]
        _require(len(code) <= MOST_OPERATIONS, form, root, "too many operations")
        held = {0} if region.convolution else set()
        stored: set[Entry] = set()
        scattered = 0
        for operation in code:
            _registers(form, root, operation, held)
            if operation.kind in (Tile.STORE, Tile.LOOKUP_STORE):
                stored.add(operation.fields["image"])
            scattered += operation.kind == Tile.SCATTER
        inside = set(region.nodes)
        plain = 0
        for index in region.nodes:
            entry = Entry(index)
            outside = [r for r in form.readers.get(entry, ()) if r not in inside]
            wanted = any(form.reads_image(r) for r in outside)
            _require((entry in stored) == wanted, form, index, "an image that is not stored")
            plain += entry in form.heads or not all(form.reads_image(r) for r in outside)
        _require(plain == scattered, form, root, "a plain value that is not stored")
        if region.convolution:
            channels = form.graph.nodes[root].shapes[0][1]
            _require(form.epilogues.bias[root].size == channels, form, root, "a bias of other size")


_SINKS = (Tile.STORE, Tile.LOOKUP_STORE, Tile.SCATTER)
_PAIRS = (Tile.ADD, Tile.SUB, Tile.MUL, Tile.MAX)


def _registers(form: Form, root: int, operation: Operation, held: set[int]) -> None:
    """Operations read registers that hold something."""
    _require(0 <= operation.dst < REGISTERS, form, root, "a register that there is not")
    if operation.kind != Tile.LOAD:
        _require(operation.a in held, form, root, "an empty register is read")
    if operation.kind in _PAIRS:
        _require(operation.b in held, form, root, "an empty register is read")
    if operation.kind not in _SINKS:
        held.add(operation.dst)


# --- selections, rows -------------------------------------------------------------------------


def _selections(form: Form) -> None:
    for at, select in form.selections.selects.items():
        graph = form.graph
        _require(graph.nodes[at].shapes[0] == (1, select.rows, 6), form, at, "another shape")
        _require(len(select.columns) == 6, form, at, "six numbers make a candidate")
        for column in select.columns:
            last = column.start + column.step * (select.count - 1)
            inside = last < product(graph.shape(column.entry))
            _require(inside, form, at, "a column that is too short")
            _require(column.entry.node < select.node, form, at, "a column that comes too late")
    for index in form.selections.absorbed:
        readers = {r for k in range(2) for r in form.readers.get(Entry(index, k), ())}
        replaced = form.selections.absorbed | set(form.selections.selects)
        _require(readers <= replaced, form, index, "a value that others read is left out")


def _rows(form: Form) -> None:
    for entry, heads in form.rows.heads.items():
        _, rows, width = form.graph.shape(entry)
        first = 0
        for head in heads:
            channels = form.graph.nodes[head.root].shapes[0][1]
            whole = sorted(head.channels.reshape(-1)) == list(range(channels))
            _require(head.first == first and whole, form, entry, "rows in another order")
            _require(head.channels.shape[1] == width, form, entry, "rows of another width")
            first += head.channels.shape[0] * head.height * head.width
        _require(first == rows, form, entry, "rows without a head")


# --- chains -----------------------------------------------------------------------------------


def _chains(form: Form) -> None:
    last_of = form.chains.last_of
    for last, chain in form.chains.chains.items():
        ordered = list(chain.nodes) == sorted(set(chain.nodes)) and chain.nodes[-1] == last
        _require(ordered, form, last, "order")
        for index in chain.nodes:
            _require(last_of[index] == last, form, index, "in two chains")
            _require(Entry(index) not in form.fusion.images, form, index, "an image in a chain")
            for reader in form.readers.get(Entry(index), ()):
                inside = last_of.get(reader) == last
                _require(inside or reader > last, form, index, "a value that is read too early")
            for entry in form.graph.nodes[index].inputs:
                made = last_of.get(entry.node, entry.node)
                _require(made <= last, form, index, "an operand is not there in time")


# --- layout ------------------------------------------------------------------------------------


def _layout(form: Form) -> None:
    layout = form.layout
    for entry, (buffer, start) in layout.plain_homes.items():
        end = start + 4 * product(form.graph.shape(entry))
        fits = start >= 0 and end <= layout.buffers[buffer].size
        _require(fits, form, entry, "a value that ends beyond its home")
    for part, (whole, first) in layout.image_homes.items():
        small, large = form.graph.shape(part), form.graph.shape(whole)
        same = small[0] == large[0] and small[2:] == large[2:]
        _require(same and first + small[1] <= large[1], form, part, "an image beyond its home")
        _require(form.dtype(part) == form.dtype(whole), form, part, "an image of another type")
        wide = layout.halos.get(whole, 0) >= layout.halos.get(part, 0)
        _require(wide, form, part, "a border that is wider than its home's")


# --- steps -------------------------------------------------------------------------------------


def _steps(form: Form) -> None:
    steps = form.steps
    written = {
        number
        for number, buffer in enumerate(steps.buffers)
        if buffer.storage in (Storage.CONSTANT, Storage.INPUT)
    }
    for number, step in enumerate(steps.steps):
        _fields(form, number, STEPS[step.kind], step.fields, written)
    outputs = {number for number, b in enumerate(steps.buffers) if b.storage == Storage.OUTPUT}
    _require(outputs <= written, form, "heads", "a head that no step writes")
    for tensor in steps.tensors:
        size = steps.buffers[tensor.buffer].size
        known = steps.buffers[tensor.buffer].storage != Storage.INPUT
        _require(not known or _inside(tensor, size), form, tensor.number, "beyond its buffer")


def _fields(
    form: Form, number: int, fields: Any, values: Mapping[str, Any], written: set[int]
) -> None:
    for field in fields:
        value = values[field.name]
        if field.kind == NUMBER:
            _require(field.low <= value <= field.high, form, number, f"{field.name} = {value}")
        elif field.kind == AXES:
            _require(len(value) <= MOST_AXES, form, number, "too many axes")
        elif field.kind in PROGRAMS:
            for operation in value:
                inner = PROGRAMS[field.kind][operation.kind]
                _fields(form, number, inner, operation.fields, written)
        elif field.kind in CONSTANTS:
            absent = field.kind == OPTIONAL_CONSTANT and value == -1
            known = absent or 0 <= value < len(form.steps.literals)
            _require(known, form, number, "a constant that there is not")
        elif value is None:
            _require(field.kind == OPTIONAL_PLAIN, form, number, f"{field.name} is missing")
        else:
            _tensor(form, number, field, value, written)


def _tensor(form: Form, number: int, field: Field, tensor: Tensor, written: set[int]) -> None:
    is_image = tensor.pixel_stride > 0
    _require(is_image == (field.kind in ("image", "into")), form, number, "the wrong kind of form")
    if field.kind in READS:
        _require(tensor.buffer in written, form, number, f"{field.name} is read before it is made")
    elif field.kind in WRITES:
        storage = form.steps.buffers[tensor.buffer].storage
        writable = storage in (Storage.ARENA, Storage.OUTPUT)
        _require(writable, form, number, f"{field.name} may not be written")
        written.add(tensor.buffer)


def _inside(t: Tensor, size: int) -> bool:
    if not t.pixel_stride:
        return t.start >= 0 and t.start + 4 * t.count <= size
    before = t.halo * (t.row_stride + t.pixel_stride)
    batch, height, width, channels = t.dims
    last = (
        (batch - 1) * t.image_stride
        + (height - 1 + t.halo) * t.row_stride
        + (width - 1 + t.halo) * t.pixel_stride
        + channels
    )
    return t.start >= before * t.dtype.size and t.start + last * t.dtype.size <= size


# --- memory ------------------------------------------------------------------------------------


def _memory(form: Form) -> None:
    """No two buffers that live at one time overlap."""
    offsets, arena = form.memory.offsets, form.memory.arena
    ending: list[tuple[int, int]] = []
    held: list[tuple[int, int]] = []
    for life in sorted(lives(form), key=lambda life: life.first):
        begin, end = offsets[life.number], offsets[life.number] + life.size
        _require(begin >= 0 and end <= arena, form, life.number, "a buffer beyond the arena")
        while ending and ending[0][0] < life.first:
            _, other = ending.pop(0)
            del held[bisect_left(held, (offsets[other], other))]
        at = bisect_left(held, (begin, life.number))
        free = at == len(held) or end <= held[at][0]
        if at:
            before = held[at - 1][1]
            free = free and offsets[before] + _size(form, before) <= begin
        _require(free, form, life.number, "two buffers overlap")
        insort(held, (begin, life.number))
        insort(ending, (life.last, life.number))


def _size(form: Form, number: int) -> int:
    return form.steps.buffers[number].size


_RULES: Mapping[str, tuple[Callable[[Form], None], ...]] = {
    "constants": (_constants,),
    "padding": (_pads,),
    "fusion": (_fusion,),
    "epilogues": (_fusion, _epilogues),
    "selection": (_selections,),
    "rows": (_rows,),
    "chains": (_chains,),
    "layout": (_layout,),
    "emission": (_steps,),
    "trace": (_steps,),
    "memory": (_memory,),
}
