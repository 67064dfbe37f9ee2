"""Which parts of a graph run together, and in which form every tensor is kept.

Three kinds of place:
    constant   known while planning
    image      pixels of 8, 16 or 32 bits, channels innermost: convolutions and what surrounds them
    plain      dense int32 in the graph's own order: everything else
A region is a convolution (or a pointwise operator on images) with the pointwise operators that can
run on its result while that is in the cache. Regions run where their root stands.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph import Entry, Graph, Node
from yolo_cvm.engine.borders import Border, Correction, recognise
from yolo_cvm.engine.ranges import Range, ranges
from yolo_cvm.engine.words import DType, product

MOST_CONSTANT = 1 << 22  # elements; larger ones are computed in every run
MOST_NODES = 14  # of a region
BYTE, SHORT = 127, 32767

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
class Region:
    """root: node that decides when it runs; nodes: those inside, ascending, with the root."""

    root: int
    shape: tuple[int, ...]
    convolution: bool
    nodes: list[int] = field(default_factory=list)
    border: Border | None = None
    border_node: int = -1


@dataclass(frozen=True)
class Pad:
    """A value that is another one with a border of one code per channel around it.

    fill: the codes as int8 bytes.
    """

    source: Entry
    top: int
    bottom: int
    left: int
    right: int
    fill: bytes

    @property
    def halo(self) -> int:
        """The widest side."""
        return max(self.top, self.bottom, self.left, self.right)


class Analysis:
    """Decides; `fuse` acts. `apart`: nodes that must not join a region begun before them."""

    def __init__(self, graph: Graph, apart: frozenset[int] = frozenset()) -> None:
        self.graph = graph
        self.known: dict[Entry, Range] = ranges(graph)
        self.consumers = graph.consumers()
        self.heads = set(graph.heads)
        self.region_of: dict[Entry, Region] = {}
        self.regions: dict[int, Region] = {}
        self.images: set[Entry] = set()
        self.pads: dict[Entry, Pad] = {}
        self._apart = apart
        self._constant: dict[Entry, bool] = {}
        self._values: dict[Entry, Array] = {}
        for index, node in enumerate(graph.nodes):
            self._visit(index, node)

    # --- constants

    def is_constant(self, entry: Entry) -> bool:
        """Whether the value depends on parameters alone."""
        if entry not in self._constant:
            node = self.graph.nodes[entry.node]
            if node.is_variable:
                result = entry.node != self.graph.input_index
            else:
                result = all(self.is_constant(e) for e in node.inputs)
            self._constant[entry] = result
        return self._constant[entry]

    def constant(self, entry: Entry) -> Array:
        """The value of a constant entry."""
        if entry not in self._values:
            node = self.graph.nodes[entry.node]
            if node.is_variable:
                return self.graph.parameters[node.name]
            outputs = node.operator.meaning(
                [self.constant(e) for e in node.inputs], node.attributes
            )
            for number, value in enumerate(outputs):
                self._values[Entry(entry.node, number)] = np.ascontiguousarray(value)
        return self._values[entry]

    def stored(self, entry: Entry) -> Array:
        """The value of a constant entry, int8 where a parameter is kept so."""
        node = self.graph.nodes[entry.node]
        return self.graph.parameters.stored(node.name) if node.is_variable else self.constant(entry)

    def per_channel(self, entry: Entry, channels: int) -> Array | None:
        """A constant that is one number or one per channel, as [1] or [channels]; else None."""
        if not self.is_constant(entry):
            return None
        shape = self.graph.shape(entry)
        if len(shape) > 4:
            return None
        if product(shape) == 1:
            return self.constant(entry).reshape(1)
        if (1,) * (4 - len(shape)) + shape == (1, channels, 1, 1):
            return self.constant(entry).reshape(channels)
        return None

    # --- forms

    def dtype(self, entry: Entry) -> DType:
        """The narrowest element type that holds the proven range."""
        low, high = self.known[entry]
        if low >= -BYTE - 1 and high <= BYTE:
            return DType.INT8
        return DType.INT16 if low >= -SHORT - 1 and high <= SHORT else DType.INT32

    def is_image(self, entry: Entry) -> bool:
        """Whether the value is made as an image (it may be needed as plain as well)."""
        return entry in self.images

    def position(self, entry: Entry) -> int:
        """The node at whose turn the value is made."""
        region = self.region_of.get(entry)
        return region.root if region else entry.node

    # --- regions

    def _visit(self, index: int, node: Node) -> None:
        if node.is_variable or self.is_constant(Entry(index)):
            return
        if node.op == "conv2d" and self._takes_bytes(node):
            self._begin(index, node, convolution=True)
        elif self._pointwise(node):
            self._join(index, node)
        elif (node.op == "concatenate" and self._pads(index, node)) or self._moves_pixels(node):
            self.images.add(Entry(index))

    def _begin(self, index: int, node: Node, convolution: bool) -> None:
        region = Region(index, node.shapes[0], convolution, [index])
        self.regions[index] = self.region_of[Entry(index)] = region
        self.images.add(Entry(index))

    def _takes_bytes(self, node: Node) -> bool:
        """Whether a convolution can run on bytes: constant weights, proven ranges, one group."""
        a, (batch, channels, height, width) = node.attributes, self.graph.shape(node.inputs[0])
        if a.groups != 1 or not all(self.is_constant(e) for e in node.inputs[1:]):
            return False
        if any(self.dtype(e) != DType.INT8 for e in node.inputs[:2]):
            return False
        if self.known[node.inputs[1]][0] < -BYTE:  # weights; inputs may be -128
            return False
        if self.is_constant(node.inputs[0]):
            return False
        # A wide border around a small picture is cheaper to skip than to store.
        halo = max(a.padding)
        padded = batch * channels * (height + 2 * halo) * (width + 2 * halo)
        result: bool = padded <= (1 << 20) + 16 * (
            batch * channels * height * width + product(node.shapes[0])
        )
        return result

    def _pointwise(self, node: Node) -> bool:
        """Whether an operator works pixel by pixel on four-dimensional data."""
        if len(node.shapes[0]) != 4:
            return False
        channels = node.shapes[0][1]
        if node.op in _CLAMPS or node.op == "cvm_right_shift":
            return True
        if node.op == "cvm_lut":
            return self.is_constant(node.inputs[1]) and not self.is_constant(node.inputs[0])
        if node.op not in _PAIRS:
            return False
        left, right = node.inputs
        if self.is_constant(left) and node.op in ("broadcast_sub", "elemwise_sub"):
            return False
        if self.is_constant(right) or self.is_constant(left):
            value, other = (left, right) if self.is_constant(right) else (right, left)
            if self.graph.shape(value) != node.shapes[0]:
                return False
            return self.per_channel(other, channels) is not None or self._border(node) is not None
        return all(self.graph.shape(e) == node.shapes[0] for e in node.inputs)

    def operands(self, node: Node) -> list[Entry]:
        """The inputs of a pointwise operator that are not constants."""
        return [e for e in node.inputs if not self.is_constant(e)]

    def _join(self, index: int, node: Node) -> None:
        operands = self.operands(node)
        if not all(self.is_image(e) for e in operands):
            return
        candidates = [self.region_of[e] for e in operands if e in self.region_of]
        border = self._border(node)
        if candidates and index not in self._apart:
            region = max(candidates, key=lambda r: r.root)
            others = (e for e in operands if self.region_of.get(e) is not region)
            if len(region.nodes) < MOST_NODES and all(
                self.position(e) < region.root for e in others
            ):
                region.nodes.append(index)
                self.region_of[Entry(index)] = region
                self.images.add(Entry(index))
                if border is not None:
                    region.border, region.border_node = border, index
                return
        if border is not None and self.per_channel(node.inputs[1], node.shapes[0][1]) is None:
            return  # only right next to its convolution
        self._begin(index, node, convolution=False)

    def _moves_pixels(self, node: Node) -> bool:
        """Whether pooling, upsampling or concatenation can stay in image form."""
        if node.op == "upsampling":
            return self.is_image(node.inputs[0])
        if node.op == "max_pool2d":
            return self.is_image(node.inputs[0]) and self.dtype(node.inputs[0]) == DType.INT8
        if node.op == "concatenate":
            return (
                len(node.shapes[0]) == 4
                and node.attributes.axis in (1, -3)
                and all(self.is_image(e) for e in node.inputs)
            )
        return False

    # --- zero points

    def _pads(self, index: int, node: Node) -> bool:
        """Recognise constants joined before and behind one byte image on an axis of its plane."""
        axis = node.attributes.axis % len(node.shapes[0])
        inner = [k for k, e in enumerate(node.inputs) if not self.is_constant(e)]
        if len(node.shapes[0]) != 4 or axis < 2 or len(inner) != 1:
            return False
        middle = inner[0]
        entry = node.inputs[middle]
        known = self.is_image(entry) or entry.node == self.graph.input_index
        if not known or self.dtype(Entry(index)) != DType.INT8:
            return False
        fills = {self._channel_codes(e) for k, e in enumerate(node.inputs) if k != middle}
        if len(fills) != 1 or None in fills:
            return False
        (fill,) = fills
        assert fill is not None
        before, behind = (
            sum(self.graph.shape(e)[axis] for e in part)
            for part in (node.inputs[:middle], node.inputs[middle + 1 :])
        )
        old = self.pads.get(entry)
        if old is None:
            old = Pad(entry, 0, 0, 0, 0, fill)
        elif old.fill != fill:
            return False
        if axis == 2:
            pad = replace(old, top=old.top + before, bottom=old.bottom + behind)
        else:
            pad = replace(old, left=old.left + before, right=old.right + behind)
        self.pads[Entry(index)] = pad
        return True

    def _channel_codes(self, entry: Entry) -> bytes | None:
        """The one code per channel that a constant consists of, as int8 bytes; else None."""
        if product(self.graph.shape(entry)) > MOST_CONSTANT:
            return None
        values = self.constant(entry)
        codes = values[0, :, 0, 0]
        if not np.array_equal(values, np.broadcast_to(codes[None, :, None, None], values.shape)):
            return None
        return codes.astype(np.int8).tobytes()

    def _border(self, node: Node) -> Border | None:
        """The border that an addition right after a byte convolution amounts to."""
        if node.op != "broadcast_add" or self.is_constant(node.inputs[0]):
            return None
        root = node.inputs[0]
        region = self.region_of.get(root)
        if (
            region is None
            or not region.convolution
            or root.node != region.root
            or len(self.consumers[root]) != 1
            or root in self.heads
        ):
            return None
        correction = self._correction(node.inputs[1], node.shapes[0])
        if correction is None:
            return None
        conv = self.graph.nodes[root.node]
        height, width = self.graph.shape(conv.inputs[0])[2:]
        return recognise(
            correction, self.constant(conv.inputs[1]), (height, width), conv.attributes
        )

    def _correction(self, entry: Entry, shape: tuple[int, ...]) -> Correction | None:
        """A constant [1, O, H, W], taken apart into a table and the indices of rows and columns."""
        if not self.is_constant(entry) or self.graph.shape(entry) != (1, *shape[1:]):
            return None
        indices = [np.arange(shape[2]), np.arange(shape[3])]
        node = self.graph.nodes[entry.node]
        for _ in range(2):
            if node.op != "take" or node.attributes.axis not in (2, 3, -1, -2):
                break
            axis = node.attributes.axis % 4
            data, index = node.inputs
            if len(self.graph.shape(data)) != 4 or len(self.graph.shape(index)) != 1:
                break
            size = self.graph.shape(data)[axis]
            chosen = np.clip(self.constant(index), 0, size - 1)
            indices[axis - 2] = chosen[indices[axis - 2]]
            entry = data
            node = self.graph.nodes[entry.node]
        if not node.is_variable and product(self.graph.shape(entry)) > MOST_CONSTANT:
            return None
        return Correction(self.constant(entry)[0], *indices)

    # --- who needs what

    def outside_readers(self, entry: Entry) -> list[int]:
        """Nodes that read the value and are not in its region."""
        region = self.region_of.get(entry)
        inside = set(region.nodes) if region else set()
        return [i for i in self.consumers.get(entry, []) if i not in inside]

    def reads_image(self, index: int) -> bool:
        """Whether a node takes its operands as images."""
        return Entry(index) in self.images

    def padded_by(self, entry: Entry) -> Iterable[tuple[int, bytes]]:
        """(halo, fill) which every byte convolution on the value wants, where it wants any."""
        for pad in self.pads.values():
            if pad.source == entry:
                yield pad.halo, pad.fill
        for index in self.consumers.get(entry, []):
            region = self.regions.get(index)
            if region and region.convolution and self.graph.nodes[index].inputs[0] == entry:
                halo = max(self.graph.nodes[index].attributes.padding)
                if halo:
                    yield halo, self.fill(region)

    def fill(self, region: Region) -> bytes:
        """What a convolution pads with, as one int8 per channel of its input."""
        channels = self.graph.shape(self.graph.nodes[region.root].inputs[0])[1]
        code = region.border.fill if region.border else 0
        return np.full(channels, code, np.int8).tobytes()
