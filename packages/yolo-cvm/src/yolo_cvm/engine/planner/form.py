"""The form that the passes of the planner hand on: frozen, each part filled in by one pass.

A pass takes a `Form` and returns another with its own part replaced; no pass looks at a part that
a later one fills. `verify` checks the parts that are there, `show` prints them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Union

from yolo_core.arrays import Array
from yolo_core.graph import Entry, Graph, Node
from yolo_core.graph.costs.cost import peak_bytes
from yolo_cvm.engine.format import DType, Link, Step, Storage, Tile

#: Lowest and highest value.
Interval = tuple[int, int]


@dataclass(frozen=True)
class Constants:
    """What is known while planning.

    intervals: of every value; nodes: those whose outputs depend on parameters alone and are
    known; values: of the constants that are read, int32, parameters excluded.
    """

    intervals: Mapping[Entry, Interval] = field(default_factory=dict)
    nodes: frozenset[int] = frozenset()
    values: Mapping[Entry, Array] = field(default_factory=dict)


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


@dataclass(frozen=True)
class Region:
    """Operators that run as one step. root: the node at whose turn; nodes: ascending, with it.

    Either the root is a convolution and the others work on its result pixel by pixel, or all do.
    """

    root: int
    nodes: tuple[int, ...]
    convolution: bool


@dataclass(frozen=True)
class Fusion:
    """Which operators run together. images: values made with channels innermost.

    regions: by root; region_of: the root for every node inside a region.
    """

    images: frozenset[Entry] = frozenset()
    regions: Mapping[int, Region] = field(default_factory=dict)
    region_of: Mapping[int, int] = field(default_factory=dict)
    pads: Mapping[Entry, Pad] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Scatter:
    """Element (image, y, x, channel) of a value lies at
    image * image_stride + y * row_stride + x * pixel_stride + offsets[channel] of plain `entry`.

    absorbed: the operators on the way that this replaces.
    """

    entry: Entry
    offsets: Array
    image: int
    row: int
    pixel: int
    absorbed: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Tensor:
    """A plain int32 tensor, or an image (pixel_stride > 0) of [batch, height, width, channels].

    buffer: number of the memory it lies in; start: bytes from there to the first element;
    strides in elements.
    """

    number: int
    buffer: int
    start: int
    dims: tuple[int, ...]
    dtype: DType = DType.INT32
    image_stride: int = 0
    row_stride: int = 0
    pixel_stride: int = 0
    halo: int = 0

    @property
    def count(self) -> int:
        """Elements, without halo."""
        return product(self.dims)


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation of a program on registers: of tile code, or of a chain.

    fields: by the names of the format's table. Images are values of the graph (or tensors),
    constants are arrays (None where left out), a target is the value whose plain form is written.
    """

    kind: Tile | Link
    dst: int
    a: int
    b: int
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Epilogues:
    """What runs on the pixels of every region while they are in the cache.

    code: by root; bias: what a convolution adds, int32 per channel; absorbed: operators that a
    scattered store replaces.
    """

    code: Mapping[int, tuple[Operation, ...]] = field(default_factory=dict)
    bias: Mapping[int, Array] = field(default_factory=dict)
    absorbed: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Column:
    """One number of every candidate: element start + step * row of a value."""

    entry: Entry
    start: int
    step: int


@dataclass(frozen=True)
class Select:
    """A suppression with the get_valid_counts before it and the slice behind it.

    node, valid: the two operators; columns: the six numbers of the candidates; count: candidates;
    rows: of the result.
    """

    node: int
    valid: int
    columns: tuple[Column, ...]
    count: int
    rows: int


@dataclass(frozen=True)
class Selections:
    """selects: by the node whose value they make; absorbed: operators that they replace."""

    selects: Mapping[int, Select] = field(default_factory=dict)
    absorbed: frozenset[int] = frozenset()


@dataclass(frozen=True, eq=False)
class Head:
    """Rows of a head that is a convolution of single pixels, by anchor, then row and column.

    first: number of its first row among those of all heads; channels [anchors, width]: the output
    channel that makes each number of a row.
    """

    root: int
    first: int
    height: int
    width: int
    channels: Array


@dataclass(frozen=True)
class Rows:
    """heads: of every value [1, rows, numbers] that is never written; roots: their regions."""

    heads: Mapping[Entry, tuple[Head, ...]] = field(default_factory=dict)
    roots: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Chain:
    """Operators on plain values that run as one step at the turn of the last of them.

    nodes: ascending; shape: of the whole values; split: the axis from which on it is joined to one
    number for every row, None where nothing is.
    """

    nodes: tuple[int, ...]
    shape: tuple[int, ...]
    split: int | None


@dataclass(frozen=True)
class Chains:
    """chains: by their last node; last_of: that node for every node inside one."""

    chains: Mapping[int, Chain] = field(default_factory=dict)
    last_of: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Buffer:
    """A piece of memory that tensors share. index: which constant or output; size: bytes."""

    storage: Storage
    index: int = 0
    size: int = 0


@dataclass(frozen=True)
class Layout:
    """Where values are made, decided ahead so that nothing has to be copied there.

    outputs: the distinct heads; plain_homes: (buffer, first byte) of plain values that end in a
    head or a concatenation; image_homes: (concatenation, first channel) of images that live in
    another; borders: (halo, code per channel) that an image is made with; halos: the widest
    border of an image and of those that live in it.
    """

    outputs: tuple[Entry, ...] = ()
    buffers: tuple[Buffer, ...] = ()
    plain_homes: Mapping[Entry, tuple[int, int]] = field(default_factory=dict)
    image_homes: Mapping[Entry, tuple[Entry, int]] = field(default_factory=dict)
    borders: Mapping[Entry, tuple[int, bytes]] = field(default_factory=dict)
    halos: Mapping[Entry, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class PlanStep:
    """One step. source: the node it belongs to; fields: tensors, numbers of constants, numbers,
    axes and tile operations by the names of the format's table."""

    kind: Step
    source: int
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Steps:
    """Everything that a plan says but where buffers lie.

    literals: the arrays of the plan's constants, int32, or int8 for weights; until: steps until
    which a buffer is needed though none of them names it.
    """

    buffers: tuple[Buffer, ...] = ()
    tensors: tuple[Tensor, ...] = ()
    literals: tuple[Array, ...] = ()
    steps: tuple[PlanStep, ...] = ()
    until: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Memory:
    """offsets: byte at which each buffer lies in the arena; arena: bytes of the arena."""

    offsets: tuple[int, ...] = ()
    arena: int = 0


@dataclass(frozen=True)
class Form:
    """A graph on its way to a plan.

    readers: nodes that read each value; heads: the graph's, as a set; peak: bytes that the
    reference needs; done: names of passes.
    """

    graph: Graph
    readers: Mapping[Entry, tuple[int, ...]]
    heads: frozenset[Entry]
    peak: int
    done: tuple[str, ...] = ()
    constants: Constants = Constants()
    pads: Mapping[Entry, Pad] = field(default_factory=dict)
    fusion: Fusion = Fusion()
    epilogues: Epilogues = Epilogues()
    selections: Selections = Selections()
    rows: Rows = Rows()
    chains: Chains = Chains()
    layout: Layout = Layout()
    steps: Steps = Steps()
    memory: Memory = Memory()

    def after(self, name: str, **parts: Any) -> Form:
        """The form with parts replaced by the pass called `name`."""
        return replace(self, done=(*self.done, name), **parts)

    # --- constants

    def is_constant(self, entry: Entry) -> bool:
        """Whether the value is known while planning."""
        return entry.node in self.constants.nodes

    def constant(self, entry: Entry) -> Array:
        """The int32 value of a constant."""
        found = self.constants.values.get(entry)
        return self.graph.parameters[self.graph.nodes[entry.node].name] if found is None else found

    def stored(self, entry: Entry) -> Array:
        """The value of a constant, int8 where a parameter is kept so."""
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

    def operands(self, node: Node) -> list[Entry]:
        """The inputs of an operator that are not constants."""
        return [e for e in node.inputs if not self.is_constant(e)]

    def dtype(self, entry: Entry) -> DType:
        """The narrowest element type that holds every value."""
        low, high = self.constants.intervals[entry]
        if low >= -128 and high <= 127:
            return DType.INT8
        return DType.INT16 if low >= -32768 and high <= 32767 else DType.INT32

    # --- who needs what

    def reads_image(self, index: int) -> bool:
        """Whether a node takes its operands as images."""
        return Entry(index) in self.fusion.images

    def position(self, entry: Entry) -> int:
        """The node at whose turn a value is made."""
        return self.fusion.region_of.get(entry.node, entry.node)


#: What a tile operation may name as an image before tensors are numbered.
ImageName = Union[Entry, Tensor]


def frozen(mapping: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """A read-only view."""
    return MappingProxyType(dict(mapping))


def product(dims: Iterable[int]) -> int:
    """Number of elements in exact arithmetic."""
    n = 1
    for d in dims:
        n *= int(d)
    return n


def start(graph: Graph) -> Form:
    """The form before any pass."""
    readers = {entry: tuple(nodes) for entry, nodes in graph.consumers().items()}
    return Form(graph, frozen(readers), frozenset(graph.heads), peak_bytes(graph))
