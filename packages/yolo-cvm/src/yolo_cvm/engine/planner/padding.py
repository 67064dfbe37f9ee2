"""Pass 2: constants joined around a byte value on the axes of its plane are a border.

That is how a quantizer pads with a zero point (specification 6.8 e). Whether the value is an image,
so that its border can be kept around it, is seen by `fusion`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from yolo_core.graph import Entry, Node
from yolo_cvm.engine.format import DType
from yolo_cvm.engine.planner.form import Form, Pad, frozen, product

NAME = "padding"
#: Elements that a border may always have, and times the size of what it surrounds.
SMALL = 1 << 16
MOST_TIMES = 4


def run(form: Form) -> Form:
    """Find the pads; a border on both axes is one pad."""
    pads: dict[Entry, Pad] = {}
    for index, node in enumerate(form.graph.nodes):
        if node.op == "concatenate":
            found = _pad(form, index, node, pads)
            if found is not None:
                pads[Entry(index)] = found
    return form.after(NAME, pads=frozen(pads))


def fits(shape: tuple[int, ...], halo: int) -> bool:
    """Whether a value [n, c, h, w] may be kept with `halo` pixels on all four sides."""
    batch, channels, height, width = shape
    around = batch * channels * (height + 2 * halo) * (width + 2 * halo)
    return around <= SMALL + MOST_TIMES * product(shape)


def _pad(form: Form, index: int, node: Node, pads: dict[Entry, Pad]) -> Pad | None:
    axis = node.attributes.axis % len(node.shapes[0])
    inner = [k for k, e in enumerate(node.inputs) if not form.is_constant(e)]
    if len(node.shapes[0]) != 4 or axis < 2 or len(inner) != 1:
        return None
    if form.dtype(Entry(index)) != DType.INT8:
        return None
    middle = inner[0]
    entry = node.inputs[middle]
    fills = {_codes(form, e) for k, e in enumerate(node.inputs) if k != middle}
    old = pads.get(entry)
    if len(fills) != 1 or None in fills or (old is not None and {old.fill} != fills):
        return None
    (fill,) = fills
    assert fill is not None
    before, behind = (
        sum(form.graph.shape(e)[axis] for e in part)
        for part in (node.inputs[:middle], node.inputs[middle + 1 :])
    )
    pad = old or Pad(entry, 0, 0, 0, 0, fill)
    if axis == 2:
        pad = replace(pad, top=pad.top + before, bottom=pad.bottom + behind)
    else:
        pad = replace(pad, left=pad.left + before, right=pad.right + behind)
    return pad if fits(form.graph.shape(pad.source), pad.halo) else None


def _codes(form: Form, entry: Entry) -> bytes | None:
    """The one code per channel that a constant consists of, as int8 bytes; else None."""
    values = form.stored(entry)
    codes = values[0, :, 0, 0]
    if not np.array_equal(values, np.broadcast_to(codes[None, :, None, None], values.shape)):
        return None
    return codes.astype(np.int8).tobytes()
