"""Pass 8: where values are made, so that neither concatenations, heads nor borders cost a copy."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from yolo_core.graph import Entry
from yolo_cvm.engine.format import Storage
from yolo_cvm.engine.planner.form import Buffer, Form, Layout, frozen, product
from yolo_cvm.engine.planner.lowering import VIEWS
from yolo_cvm.engine.planner.padding import fits

NAME = "layout"


@dataclass
class _Homes:
    """What has been decided so far."""

    form: Form
    buffers: list[Buffer] = field(default_factory=list)
    plain: dict[Entry, tuple[int, int]] = field(default_factory=dict)

    def add(self, buffer: Buffer) -> int:
        self.buffers.append(buffer)
        return len(self.buffers) - 1

    def give(self, entry: Entry, buffer: int, start: int) -> None:
        if not _fixed(self.form, entry):
            self.plain.setdefault(entry, (buffer, start))


def run(form: Form) -> Form:
    """Heads, then plain values from the last to the first, then images."""
    homes = _Homes(form)
    outputs = tuple(dict.fromkeys(form.graph.heads))
    for number, head in enumerate(outputs):
        size = 4 * product(form.graph.shape(head))
        homes.give(head, homes.add(Buffer(Storage.OUTPUT, number, size)), 0)
    _plain(homes)
    borders = _borders(form)
    image_homes, halos = _images(form, borders)
    return form.after(
        NAME,
        layout=Layout(
            outputs,
            tuple(homes.buffers),
            frozen(homes.plain),
            frozen(image_homes),
            frozen(borders),
            frozen(halos),
        ),
    )


def _fixed(form: Form, entry: Entry) -> bool:
    """Whether a value already lies somewhere: the input, parameters, constants."""
    return entry.node == form.graph.input_index or form.is_constant(entry)


def _plain(homes: _Homes) -> None:
    """What ends in a larger value is made there."""
    form = homes.form
    for index in range(len(form.graph.nodes) - 1, -1, -1):
        node, entry = form.graph.nodes[index], Entry(index)
        if node.is_variable or _fixed(form, entry) or entry in form.fusion.images:
            continue
        if node.op in VIEWS and entry in homes.plain:
            homes.give(node.inputs[0], *homes.plain[entry])
        elif node.op == "concatenate":
            shape, axis = node.shapes[0], node.attributes.axis % len(node.shapes[0])
            if product(shape[:axis]) != 1:
                continue
            if entry not in homes.plain:
                homes.plain[entry] = homes.add(Buffer(Storage.ARENA, 0, 4 * product(shape))), 0
            buffer, start = homes.plain[entry]
            for part in node.inputs:
                homes.give(part, buffer, start)
                start += 4 * product(form.graph.shape(part))


def _borders(form: Form) -> dict[Entry, tuple[int, bytes]]:
    """(halo, fill per channel) that an image is made with, where readers want any.

    The first reader decides what it is filled with; others make a copy with a border of their own.
    """
    wanted: dict[Entry, list[tuple[int, bytes]]] = {}
    for pad in form.fusion.pads.values():
        wanted.setdefault(pad.source, []).append((pad.halo, pad.fill))
    for root, region in form.fusion.regions.items():
        source = form.graph.nodes[root].inputs[0]
        halo = max(form.graph.nodes[root].attributes.padding) if region.convolution else 0
        if halo:
            wanted.setdefault(source, []).append((halo, zeros(form, source)))
    return {
        entry: (max(halo for halo, fill in asked if fill == asked[0][1]), asked[0][1])
        for entry, asked in wanted.items()
        # A value inside another's border has no room for one of its own.
        if entry not in form.fusion.pads
    }


def zeros(form: Form, entry: Entry) -> bytes:
    """Padding with 0, as one code per channel."""
    return np.zeros(form.graph.shape(entry)[1], np.int8).tobytes()


def _images(
    form: Form, borders: dict[Entry, tuple[int, bytes]]
) -> tuple[dict[Entry, tuple[Entry, int]], dict[Entry, int]]:
    """Images that are made inside a concatenation, and the halo of every image that has one."""
    homes: dict[Entry, tuple[Entry, int]] = {}
    halos = {entry: halo for entry, (halo, _) in borders.items()}
    for index, node in enumerate(form.graph.nodes):
        whole = Entry(index)
        if node.op != "concatenate" or whole not in form.fusion.images or whole in form.fusion.pads:
            continue
        first = 0
        for part in node.inputs:
            if part not in homes and _can_share(form, part, whole, borders):
                homes[part] = (whole, first)
            first += form.graph.shape(part)[1]
    # From the parts to the wholes, which have higher numbers.
    for part in sorted(homes, key=lambda entry: entry.node):
        whole = homes[part][0]
        halo = max(halos.get(whole, 0), halos.get(part, 0))
        if not fits(form.graph.shape(whole), halo):
            del homes[part]
        elif halo:
            halos[whole] = halo
    return homes, halos


def _can_share(
    form: Form, part: Entry, whole: Entry, borders: dict[Entry, tuple[int, bytes]]
) -> bool:
    if part in form.fusion.pads or form.dtype(part) != form.dtype(whole):
        return False
    return part not in borders or whole not in borders
