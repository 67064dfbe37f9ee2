"""Pass 6: rows of a detection head of which only some are wanted.

A detector that decides by itself joins the rows of its heads, reads a few columns of all of them,
and then takes whole rows by their numbers. Where the heads are convolutions of single pixels, the
columns are convolutions with few outputs, and the rows are worked out one by one when it is known
which are taken. The rows themselves are never written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph import Entry, Node
from yolo_core.graph.operators import TABLE
from yolo_cvm.engine.format import CONSTANTS, TILES, Tile
from yolo_cvm.engine.planner.form import Form, Head, Operation, Rows, Tensor, frozen, product

NAME = "rows"
#: How many times as long a row takes by itself as among all.
SINGLE_ROW_COST = 4

_ON_REGISTERS = frozenset(Tile) - {Tile.LOAD, Tile.STORE, Tile.LOOKUP_STORE}


def run(form: Form) -> Form:
    """Look at every concatenation."""
    made = _scattered(form)
    rows: dict[Entry, tuple[Head, ...]] = {}
    for index, node in enumerate(form.graph.nodes):
        if node.op == "concatenate" and _few_are_read(form, Entry(index), node):
            heads = _heads(form, node, made)
            if heads is not None:
                rows[Entry(index)] = heads
    roots = frozenset(head.root for heads in rows.values() for head in heads)
    return form.after(NAME, rows=Rows(frozen(rows), roots))


def columns(form: Form, reader: int) -> tuple[int, int] | None:
    """First column and their number where a node reads columns of all rows [1, n, width]."""
    node = form.graph.nodes[reader]
    if node.op != "strided_slice":
        return None
    shape = form.graph.shape(node.inputs[0])
    slices = TABLE["strided_slice"].slices(shape, node.attributes)  # type: ignore[attr-defined]
    first, count, stride = slices[2]
    return (first, count) if stride == 1 and slices[1] == (0, shape[1], 1) else None


class Channels:
    """A convolution's region for some of its output channels. source: the image it reads;
    weight [channels, inputs, 1, 1], bias: of these channels."""

    def __init__(self, form: Form, root: int, channels: Array) -> None:
        image, weight = form.graph.nodes[root].inputs[:2]
        self.source = image
        self.weight = form.stored(weight)[channels]
        self.bias = form.epilogues.bias[root][channels]
        self._channels = channels
        self._all = form.graph.nodes[root].shapes[0][1]
        self._code = form.epilogues.code[root]

    def code(self, target: Tensor, place: Mapping[str, Any]) -> tuple[Operation, ...]:
        """The region's operations, with the store to a tensor."""
        return tuple(
            replace(operation, fields={**operation.fields, "target": target, **place})
            if operation.kind == Tile.SCATTER
            else replace(operation, fields=self._constants(operation))
            for operation in self._code
        )

    def _constants(self, operation: Operation) -> dict[str, Any]:
        """The fields, with constants of all channels cut to those of these."""
        fields = dict(operation.fields)
        for field in TILES[operation.kind]:
            value = fields[field.name]
            if field.kind in CONSTANTS and field.name != "table" and value is not None:
                fields[field.name] = value[self._channels] if value.size == self._all else value
        return fields


def _few_are_read(form: Form, entry: Entry, node: Node) -> bool:
    """Whether readers want little of a value [1, rows, width]."""
    shape = node.shapes[0]
    if len(shape) != 3 or shape[0] != 1 or node.attributes.axis % 3 != 1 or entry in form.heads:
        return False
    work = 0
    for reader in form.readers.get(entry, ()):
        found, take = columns(form, reader), form.graph.nodes[reader]
        if found is not None:
            work += shape[1] * found[1]
        elif take.op == "take" and take.inputs[0] == entry and take.inputs[1] != entry:
            if take.attributes.axis is None or take.attributes.axis % 3 != 1:
                return False
            work += SINGLE_ROW_COST * product(take.shapes[0])
        else:
            return False
    return work < product(shape)


def _scattered(form: Form) -> dict[Entry, tuple[int, Operation]]:
    """Values that a convolution of single pixels makes and nobody else sees: root and store."""
    made = {}
    for root, region in form.fusion.regions.items():
        code, node = form.epilogues.code[root], form.graph.nodes[root]
        stores = [operation for operation in code if operation.kind == Tile.SCATTER]
        if not region.convolution or len(stores) != 1:
            continue
        a = node.attributes
        single = a.groups == 1 and node.shapes[0][0] == 1
        single = single and (a.kernel_size, a.strides, a.padding) == ((1, 1), (1, 1), (0, 0))
        if single and all(operation.kind in _ON_REGISTERS for operation in code):
            made[stores[0].fields["target"]] = root, stores[0]
    return made


def _heads(
    form: Form, node: Node, made: dict[Entry, tuple[int, Operation]]
) -> tuple[Head, ...] | None:
    """The convolutions that make the parts; None where a part is made in another way."""
    heads: list[Head] = []
    first = 0
    for part in node.inputs:
        if part not in made or len(form.readers[part]) != 1 or part in form.heads:
            return None
        root, store = made[part]
        found = _head(form, root, store, first, node.shapes[0][2])
        if found is None or any(head.root == root for head in heads):
            return None
        heads.append(found)
        first += form.graph.shape(part)[1]
    return tuple(heads)


def _head(form: Form, root: int, store: Operation, first: int, width: int) -> Head | None:
    """Rows by anchor, then row and column of the image; None for any other order."""
    _, channels, height, image_width = form.graph.nodes[root].shapes[0]
    strides = store.fields["row_stride"], store.fields["pixel_stride"]
    plane = height * image_width
    anchors, at = np.divmod(store.fields["offsets"], plane * width)
    order = np.argsort(anchors * width + at, kind="stable")
    places = (anchors * width + at)[order]
    if strides != (image_width * width, width) or channels % width:
        return None
    if not np.array_equal(places, np.arange(channels)) or int(at.max()) >= width:
        return None
    return Head(root, first, height, image_width, order.reshape(-1, width))
