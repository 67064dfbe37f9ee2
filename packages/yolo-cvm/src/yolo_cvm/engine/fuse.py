"""From a graph to a fast plan: regions become single steps, the rest is lowered as it stands."""

from __future__ import annotations

import numpy as np

from yolo_core.graph import Entry, Graph, Node
from yolo_cvm.engine import lower
from yolo_cvm.engine.analysis import MOST_CONSTANT, Analysis, Region
from yolo_cvm.engine.places import Places
from yolo_cvm.engine.programs import Affine, Program, TooWide, Value
from yolo_cvm.engine.regions import RegionBuilder
from yolo_cvm.engine.views import Layout, natural
from yolo_cvm.engine.words import DType, Plan, PlanWriter, Step, Tensor, product


def plan(graph: Graph) -> Plan:
    """The plan of a whole program."""
    apart: frozenset[int] = frozenset()
    while True:
        try:
            return Planner(graph, apart).plan()
        except _Split as split:
            apart |= {split.node}


class _Split(Exception):
    """A region does not fit the registers; `node` must begin one of its own."""

    def __init__(self, node: int) -> None:
        super().__init__(node)
        self.node = node


class Planner:
    """Walks the nodes once and appends steps; tensors are made when first needed."""

    def __init__(self, graph: Graph, apart: frozenset[int]) -> None:
        self.graph = graph
        self.analysis = Analysis(graph, apart)
        self.writer = PlanWriter(graph.input_shape)
        self.places = Places(self.analysis, self.writer)
        self.plain: dict[Entry, Tensor] = {}
        self.image: dict[Entry, Tensor] = {}
        self.absorbed: set[int] = set()
        self._repadded: dict[tuple[Entry, bytes], Tensor] = {}

    def plan(self) -> Plan:
        """Everything, in order."""
        for index, node in enumerate(self.graph.nodes):
            self.writer.source = index
            entry = Entry(index)
            if index == self.graph.input_index:
                self.plain[entry] = self.writer.input()
            elif node.is_variable or self.analysis.is_constant(entry) or index in self.absorbed:
                continue
            elif index in self.analysis.regions:
                self._region(self.analysis.regions[index])
            elif entry in self.analysis.region_of or entry in self.analysis.pads:
                continue
            elif self.analysis.is_image(entry):
                self._pixels(index, node)
            else:
                self._plain_node(index, node)
        for number, head in enumerate(self.graph.heads):
            self.places.finish_head(number, self.plain_of(head))
        return self.writer.finish()

    # --- tensors on demand

    def plain_of(self, entry: Entry) -> Tensor:
        """The value as dense int32."""
        if entry not in self.plain:
            if self.analysis.is_constant(entry):
                self._plain_constant(entry)
            else:
                self._image_to_plain(entry)
        return self.plain[entry]

    def image_of(self, entry: Entry) -> Tensor:
        """The value as an image."""
        if entry in self.analysis.pads and entry not in self.image:
            pad = self.analysis.pads[entry]
            self.image[entry] = self.writer.framed(
                self._padded(pad.source, pad.halo, pad.fill),
                pad.top,
                pad.bottom,
                pad.left,
                pad.right,
            )
        if entry not in self.image:
            source, target = self.plain_of(entry), self.places.image(entry)
            self.writer.step(Step.TO_IMAGE, [source.number, target.number], [source], [target])
            self._made(entry, target)
        return self.image[entry]

    def _made(self, entry: Entry, image: Tensor) -> None:
        """An image is complete but for its border."""
        self.image[entry] = image
        halo, fill = self.places.border(entry)
        if halo:
            self._halo(image, fill)

    def _halo(self, image: Tensor, fill: bytes) -> None:
        codes = self.writer.constant(np.frombuffer(fill, np.int8))
        self.writer.step(Step.HALO, [image.number, codes], [image], [image])

    def _plain_constant(self, entry: Entry) -> None:
        node = self.graph.nodes[entry.node]
        if node.is_variable or product(self.graph.shape(entry)) <= MOST_CONSTANT:
            self.plain[entry] = self.writer.constant_tensor(self.analysis.constant(entry))
        else:
            self._plain_node(entry.node, node)

    def _image_to_plain(self, entry: Entry) -> None:
        image = self.image_of(entry)
        program = Program(self.writer)
        value = program.load(image, self.analysis.known[entry])
        self.scatter(program, value, natural(entry, self.graph.shape(entry)))
        self._pointwise_step(program, image.dims)

    def _plain_node(self, index: int, node: Node) -> None:
        outputs = [self.places.plain(Entry(index, k)) for k in range(len(node.shapes))]
        found = lower.lower(self.writer, node, [self.plain_of(e) for e in node.inputs], outputs)
        for output, tensor in enumerate(found):
            self.plain[Entry(index, output)] = tensor

    # --- images that only move

    def _pixels(self, index: int, node: Node) -> None:
        entry, a = Entry(index), node.attributes
        target = self.places.image(entry)
        if node.op == "concatenate":
            self._concatenate(node, target)
        else:
            source = self.image_of(node.inputs[0])
            if node.op == "upsampling":
                step, words = Step.COPY_IMAGE, [a.scale]
            else:
                step = Step.POOL_IMAGE
                words = [*a.pool_size, *a.strides, a.padding[0], a.padding[-1]]
            self.writer.step(step, [source.number, target.number, *words], [source], [target])
        self._made(entry, target)

    def _concatenate(self, node: Node, target: Tensor) -> None:
        first = 0
        for entry in node.inputs:
            source = self.image_of(entry)
            count = source.dims[3]
            same = (
                source.buffer is target.buffer
                and source.start == target.start + first * target.dtype.size
            )
            if not same:
                part = self.writer.channels(target, first, count)
                self._copy_image(source, part, self.analysis.known[entry])
            first += count

    def _copy_image(self, source: Tensor, target: Tensor, known: tuple[int, int]) -> None:
        if source.dtype == target.dtype:
            self.writer.step(Step.COPY_IMAGE, [source.number, target.number, 1], [source], [target])
            return
        program = Program(self.writer)
        program.store(program.load(source, known), target)
        self._pointwise_step(program, target.dims)

    # --- regions

    def _region(self, region: Region) -> None:
        program = Program(self.writer)
        builder = RegionBuilder(self, region, program)
        nodes = list(region.nodes)
        try:
            builder.start()
            for index in nodes:
                builder.node(index)
        except TooWide:
            if builder.last == region.root:
                raise AssertionError("a single operator fits the registers") from None
            raise _Split(builder.last) from None
        if region.convolution:
            self._convolution_step(region, builder)
        else:
            batch, channels, height, width = region.shape
            self._pointwise_step(program, (batch, height, width, channels))
        for entry, image in builder.stored.items():
            self._made(entry, image)

    def _pointwise_step(self, program: Program, dims: tuple[int, ...]) -> None:
        self.writer.step(Step.POINTWISE, [*dims, *program.encoded()], program.reads, program.writes)

    def _convolution_step(self, region: Region, builder: RegionBuilder) -> None:
        conv = self.graph.nodes[region.root]
        a = conv.attributes
        batch, channels, height, width = region.shape
        image = self._padded(conv.inputs[0], max(a.padding), self.analysis.fill(region))
        weight = self.writer.weights(self.analysis.stored(conv.inputs[1]))
        bias = self.writer.constant(builder.bias) if builder.bias.any() else -1
        self.writer.step(
            Step.CONV_IMAGE,
            [
                image.number,
                weight,
                bias,
                batch,
                height,
                width,
                channels,
                *a.kernel_size,
                *a.strides,
                *a.padding,
                *a.dilation,
                *builder.program.encoded(),
            ],
            [image, *builder.program.reads],
            builder.program.writes,
        )

    def _padded(self, entry: Entry, halo: int, fill: bytes) -> Tensor:
        """The image with a border of at least `halo` pixels of `fill`."""
        image = self.image_of(entry)
        have, filled = self.places.border(entry)
        if halo == 0 or (have >= halo and filled == fill):
            return image
        if (entry, fill) not in self._repadded or self._repadded[entry, fill].halo < halo:
            copy = self.writer.image(image.dims, DType.INT8, halo)
            self._copy_image(image, copy, self.analysis.known[entry])
            self._halo(copy, fill)
            self._repadded[entry, fill] = copy
        return self._repadded[entry, fill]

    def scatter(self, program: Program, value: Value, layout: Layout) -> None:
        target = self.places.plain(layout.entry)
        if target is None:
            target = self.writer.plain(self.graph.shape(layout.entry))
        self.plain[layout.entry] = target
        self.absorbed.update(layout.nodes)
        program.scatter(
            value, Affine(target, layout.offsets, layout.image, layout.row, layout.pixel)
        )
