"""The form of a plan as text for people: what `yolo-cvm inspect --plan` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable

from yolo_core.arrays import Array
from yolo_core.graph import Entry
from yolo_cvm.engine.format import AXES, CONSTANTS, NUMBER, PROGRAMS, STEPS, TILES, Field, Storage
from yolo_cvm.engine.planner.form import Form, Operation, Tensor

#: Entries of an array that are printed.
_SHOWN = 4


def show(form: Form) -> Iterator[str]:
    """Lines on what the last pass filled in."""
    return _PARTS[form.done[-1]](form)


def _node(form: Form, index: int) -> str:
    node = form.graph.nodes[index]
    return f"{index} {node.op or 'variable'}"


def _entry(form: Form, entry: Entry) -> str:
    return _node(form, entry.node) + (f".{entry.output}" if entry.output else "")


def _constants(form: Form) -> Iterator[str]:
    for index, node in enumerate(form.graph.nodes):
        kind = "constant" if index in form.constants.nodes else "value"
        for output, shape in enumerate(node.shapes):
            low, high = form.constants.intervals[Entry(index, output)]
            where = _entry(form, Entry(index, output))
            yield f"{where}: {kind} {_dims(shape)} in {low}..{high}"


def _padding(form: Form) -> Iterator[str]:
    for entry, pad in form.pads.items():
        sides = f"{pad.top} above, {pad.bottom} below, {pad.left} left, {pad.right} right"
        yield f"{_entry(form, entry)}: {_entry(form, pad.source)} with a border: {sides}"


def _fusion(form: Form) -> Iterator[str]:
    for index in range(len(form.graph.nodes)):
        if index in form.fusion.regions:
            nodes = form.fusion.regions[index].nodes
            yield f"region {index}: " + ", ".join(_node(form, n) for n in nodes)
        elif Entry(index) in form.fusion.pads:
            yield f"{_node(form, index)}: a border"
        elif Entry(index) in form.fusion.images and index not in form.fusion.region_of:
            yield f"{_node(form, index)}: moves the pixels of images"


def _epilogues(form: Form) -> Iterator[str]:
    for root, code in sorted(form.epilogues.code.items()):
        yield f"region {_node(form, root)}:"
        for operation in code:
            yield "  " + _operation(operation, TILES[operation.kind])
    for index in sorted(form.epilogues.absorbed):
        yield f"{_node(form, index)}: done by a scattered store"


def _selection(form: Form) -> Iterator[str]:
    for at, select in form.selections.selects.items():
        where = ", ".join(
            f"{_entry(form, c.entry)} from {c.start} by {c.step}" for c in select.columns
        )
        yield f"{_node(form, at)}: {select.rows} rows of {select.count} candidates: {where}"
    for index in sorted(form.selections.absorbed):
        yield f"{_node(form, index)}: done by a selection"


def _rows(form: Form) -> Iterator[str]:
    for entry, heads in form.rows.heads.items():
        for head in heads:
            rows = f"{head.channels.shape[0]}x{head.height}x{head.width} rows from {head.first}"
            yield f"{_entry(form, entry)}: {rows} by {_node(form, head.root)}, when they are read"


def _chains(form: Form) -> Iterator[str]:
    for last, chain in form.chains.chains.items():
        joined = "" if chain.split is None else f", joined from axis {chain.split} on"
        nodes = ", ".join(_node(form, n) for n in chain.nodes)
        yield f"chain {last} of {_dims(chain.shape)}{joined}: {nodes}"


def _layout(form: Form) -> Iterator[str]:
    for number, head in enumerate(form.layout.outputs):
        yield f"output {number}: {_entry(form, head)}"
    for entry, (buffer, first) in form.layout.plain_homes.items():
        yield f"{_entry(form, entry)}: made in buffer {buffer} from byte {first}"
    for entry, (whole, channel) in form.layout.image_homes.items():
        yield f"{_entry(form, entry)}: made in {_entry(form, whole)} from channel {channel}"
    for entry, (halo, _) in form.layout.borders.items():
        yield f"{_entry(form, entry)}: made with a border of {halo}"


def _emission(form: Form) -> Iterator[str]:
    for number, step in enumerate(form.steps.steps):
        told = _fields(STEPS[step.kind], step.fields)
        yield f"step {number} {step.kind.name} for node {step.source}: {told}"
        for field in STEPS[step.kind]:
            for operation in step.fields[field.name] if field.kind in PROGRAMS else ():
                yield "  " + _operation(operation, PROGRAMS[field.kind][operation.kind])


def _memory(form: Form) -> Iterator[str]:
    for number, buffer in enumerate(form.steps.buffers):
        if buffer.storage == Storage.ARENA:
            yield f"buffer {number}: {buffer.size} bytes at {form.memory.offsets[number]}"
    yield f"arena: {form.memory.arena} bytes"


_PARTS: Mapping[str, Callable[[Form], Iterator[str]]] = {
    "constants": _constants,
    "padding": _padding,
    "fusion": _fusion,
    "epilogues": _epilogues,
    "selection": _selection,
    "rows": _rows,
    "chains": _chains,
    "layout": _layout,
    "emission": _emission,
    "memory": _memory,
}


def _dims(shape: Any) -> str:
    return "x".join(map(str, shape))


def _operation(operation: Operation, fields: Sequence[Field]) -> str:
    told = _fields(fields, operation.fields)
    registers = f"r{operation.dst} <- r{operation.a} r{operation.b}"
    return f"{operation.kind.name} {registers} {told}".rstrip()


def _fields(fields: Any, values: Mapping[str, Any]) -> str:
    return " ".join(
        f"{field.name}={_value(field.kind, values[field.name])}"
        for field in fields
        if field.kind not in PROGRAMS
    )


def _value(kind: str, value: Any) -> str:
    if isinstance(value, Tensor):
        return f"t{value.number}[{_dims(value.dims)}]"
    if isinstance(value, Entry):
        return f"node {value.node}"
    if kind == NUMBER:
        return str(value)
    if kind == AXES:
        return ",".join(f"{size}:{'/'.join(map(str, strides))}" for size, strides in value) or "1"
    if kind in CONSTANTS and isinstance(value, int):
        return f"c{value}"
    return "none" if value is None else _array(value)


def _array(values: Array) -> str:
    flat = values.reshape(-1)
    more = f",...({flat.size})" if flat.size > _SHOWN else ""
    return ",".join(map(str, flat[:_SHOWN])) + more
