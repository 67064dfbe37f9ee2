"""Pass 3: which values are images, and which operators run together on their pixels.

An image keeps its pixels in 8, 16 or 32 bits with channels innermost; every other value is plain:
dense int32 in the graph's own order. A region is a convolution (or an operator on pixels) with the
operators on pixels that can run on its result while that is in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from yolo_core.graph import Entry, Node
from yolo_cvm.engine.format import DType
from yolo_cvm.engine.planner.form import Form, Fusion, Pad, Region, frozen, product

NAME = "fusion"
MOST_NODES = 14  # of a region
#: Elements that a convolution's border may always add, and times the sizes of input and result.
SMALL_BORDER = 1 << 20
MOST_TIMES = 16

_CLAMPS = frozenset(["relu", "clip", "cvm_clip"])
_PAIRS = frozenset(
    [
        "broadcast_add",
        "broadcast_sub",
        "broadcast_mul",
        "broadcast_max",
        "elemwise_add",
        "elemwise_sub",
    ]
)


@dataclass
class _Growing:
    """What has been decided up to the node in turn."""

    form: Form
    images: set[Entry] = field(default_factory=set)
    nodes: dict[int, list[int]] = field(default_factory=dict)
    region_of: dict[int, int] = field(default_factory=dict)
    pads: dict[Entry, Pad] = field(default_factory=dict)


def run(form: Form) -> Form:
    """One walk over the nodes in order."""
    g = _Growing(form)
    for index, node in enumerate(form.graph.nodes):
        if node.is_variable or not form.operands(node):
            continue
        if node.op == "conv2d" and _takes_bytes(form, node):
            _begin(g, index)
        elif _pointwise(form, node):
            _join(g, index, node)
        elif _is_pad(g, index) or _moves_pixels(g, node):
            g.images.add(Entry(index))
    regions = {
        root: Region(root, tuple(nodes), form.graph.nodes[root].op == "conv2d")
        for root, nodes in g.nodes.items()
    }
    fusion = Fusion(frozenset(g.images), frozen(regions), frozen(g.region_of), frozen(g.pads))
    return form.after(NAME, fusion=fusion)


def _begin(g: _Growing, index: int) -> None:
    g.nodes[index] = [index]
    g.region_of[index] = index
    g.images.add(Entry(index))


def _takes_bytes(form: Form, node: Node) -> bool:
    """Whether a convolution can run on bytes: constant weights, proven ranges."""
    a, (batch, channels, height, width) = node.attributes, form.graph.shape(node.inputs[0])
    if not all(form.is_constant(e) for e in node.inputs[1:]):
        return False
    if any(form.dtype(e) != DType.INT8 for e in node.inputs[:2]):
        return False
    if form.constants.intervals[node.inputs[1]][0] < -127:  # weights; inputs may be -128
        return False
    if form.is_constant(node.inputs[0]):
        return False
    # A wide border around a small picture is cheaper to skip than to store.
    halo = max(a.padding)
    padded = batch * channels * (height + 2 * halo) * (width + 2 * halo)
    sizes = batch * channels * height * width + product(node.shapes[0])
    return bool(padded <= SMALL_BORDER + MOST_TIMES * sizes)


def _pointwise(form: Form, node: Node) -> bool:
    """Whether an operator works pixel by pixel on four-dimensional data."""
    if len(node.shapes[0]) != 4:
        return False
    channels = node.shapes[0][1]
    if node.op in _CLAMPS or node.op in ("cvm_right_shift", "negative"):
        return True
    if node.op == "cvm_lut":
        return form.is_constant(node.inputs[1]) and not form.is_constant(node.inputs[0])
    if node.op not in _PAIRS:
        return False
    left, right = node.inputs
    if form.is_constant(left) and node.op in ("broadcast_sub", "elemwise_sub"):
        return False
    if form.is_constant(right) or form.is_constant(left):
        value, other = (left, right) if form.is_constant(right) else (right, left)
        same = form.graph.shape(value) == node.shapes[0]
        return same and form.per_channel(other, channels) is not None
    return all(form.graph.shape(e) == node.shapes[0] for e in node.inputs)


def _join(g: _Growing, index: int, node: Node) -> None:
    """Add an operator to the latest region that it can run in, or let it begin one."""
    operands = g.form.operands(node)
    if not all(e in g.images for e in operands):
        return
    roots = [g.region_of[e.node] for e in operands if e.node in g.region_of]
    if roots:
        root = max(roots)
        others = (e.node for e in operands if g.region_of.get(e.node) != root)
        if len(g.nodes[root]) < MOST_NODES and all(g.region_of.get(n, n) < root for n in others):
            g.nodes[root].append(index)
            g.region_of[index] = root
            g.images.add(Entry(index))
            return
    _begin(g, index)


def _is_pad(g: _Growing, index: int) -> bool:
    """Whether the node puts a border around an image, or around the input."""
    pad = g.form.pads.get(Entry(index))
    if pad is None or not (pad.source in g.images or pad.source.node == g.form.graph.input_index):
        return False
    g.pads[Entry(index)] = pad
    return True


def _moves_pixels(g: _Growing, node: Node) -> bool:
    """Whether pooling, upsampling or concatenation can stay in image form."""
    if node.op in ("upsampling", "max_pool2d"):
        return node.inputs[0] in g.images
    if node.op == "concatenate":
        return (
            len(node.shapes[0]) == 4
            and node.attributes.axis in (1, -3)
            and all(e in g.images for e in node.inputs)
        )
    return False
