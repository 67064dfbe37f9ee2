"""Pass 9: regions and chains become single steps, everything else is lowered as it stands.

Tensors are made when they are first needed, and so are the steps that bring a value from one form
into the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph import Entry, Node
from yolo_cvm.engine.format import (
    CONSTANTS,
    IMAGE,
    INTO,
    TARGET,
    TILES,
    DType,
    Field,
    Step,
    Storage,
)
from yolo_cvm.engine.planner import lowering
from yolo_cvm.engine.planner.chain_code import ChainWriter
from yolo_cvm.engine.planner.form import (
    Buffer,
    Chain,
    Form,
    Head,
    ImageName,
    Interval,
    Operation,
    Region,
    Select,
    Tensor,
)
from yolo_cvm.engine.planner.layout import zeros
from yolo_cvm.engine.planner.rows import Channels, columns
from yolo_cvm.engine.planner.scatters import natural
from yolo_cvm.engine.planner.tile_code import TileCode, TooWide
from yolo_cvm.engine.planner.writer import Writer

NAME = "emission"


def run(form: Form) -> Form:
    """One walk over the nodes in order, then the heads."""
    return form.after(NAME, steps=_Emission(form).run())


class _Emission:
    """The tensors that there are so far, in either form."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.graph = form.graph
        self.writer = Writer(list(form.layout.buffers))
        self.plain: dict[Entry, Tensor] = {}
        self.image: dict[Entry, Tensor] = {}
        #: operators that have no step of their own
        self._left_out = {
            *form.epilogues.absorbed,
            *form.selections.absorbed,
            *form.rows.roots,
            *(entry.node for entry in form.rows.heads),
        }
        self._targets: dict[Entry, Tensor] = {}
        self._repadded: dict[tuple[Entry, bytes], Tensor] = {}

    def run(self) -> Any:
        form = self.form
        for index, node in enumerate(self.graph.nodes):
            self.writer.source = index
            entry = Entry(index)
            if index == self.graph.input_index:
                input_buffer = self.writer.buffer(Buffer(Storage.INPUT))
                self.plain[entry] = self.writer.plain(self.graph.input_shape, input_buffer)
            elif index in form.constants.nodes or index in self._left_out:
                continue
            elif index in form.fusion.regions:
                self._region(form.fusion.regions[index])
            elif index in form.selections.selects:
                self._select(entry, form.selections.selects[index])
            elif node.op in ("strided_slice", "take") and node.inputs[0] in form.rows.heads:
                self._rows(entry, node)
            elif index in form.fusion.region_of or entry in form.fusion.pads:
                continue
            elif index in form.chains.last_of:
                if index in form.chains.chains:
                    self._chain(form.chains.chains[index])
            elif entry in form.fusion.images:
                self._pixels(entry, node)
            else:
                self._plain_node(index, node)
        for number, head in enumerate(form.layout.outputs):
            self._finish_head(number, self.plain_of(head))
        return self.writer.finished()

    def _finish_head(self, number: int, tensor: Tensor) -> None:
        """Copy a head to the caller's array unless it was computed there."""
        if tensor.buffer != number or tensor.start:
            target = self.writer.plain(tensor.dims, number)
            lowering.copy(self.writer, tensor, target, (tensor.count,), (1,))

    # --- tensors on demand

    def plain_of(self, entry: Entry) -> Tensor:
        """The value as dense int32."""
        if entry not in self.plain:
            if self.form.is_constant(entry):
                self.plain[entry] = self.writer.constant_tensor(self.form.constant(entry))
            else:
                self._image_to_plain(entry)
        return self.plain[entry]

    def image_of(self, entry: Entry) -> Tensor:
        """The value as an image."""
        pad = self.form.fusion.pads.get(entry)
        if entry in self.image:
            return self.image[entry]
        if pad is not None:
            around = self._padded(pad.source, pad.halo, pad.fill)
            self.image[entry] = self.writer.framed(around, pad.top, pad.bottom, pad.left, pad.right)
        else:
            source, target = self.plain_of(entry), self._target(entry)
            self.writer.step(Step.TO_IMAGE, x=source, out=target)
            self._made(entry, target)
        return self.image[entry]

    def _target(self, entry: Entry) -> Tensor:
        """The image that a value is made in."""
        if entry not in self._targets:
            layout = self.form.layout
            batch, channels, height, width = self.graph.shape(entry)
            first, at = 0, entry
            while at in layout.image_homes:
                at, before = layout.image_homes[at]
                first += before
            if at == entry:
                dims = (batch, height, width, channels)
                halo = layout.halos.get(entry, 0)
                tensor = self.writer.image(dims, self.form.dtype(entry), halo)
            else:
                tensor = self.writer.channels(self._target(at), first, channels)
            self._targets[entry] = tensor
        return self._targets[entry]

    def _made(self, entry: Entry, image: Tensor) -> None:
        """An image is complete but for its border."""
        self.image[entry] = image
        if entry in self.form.layout.borders:
            self._halo(image, self.form.layout.borders[entry][1])

    def _halo(self, image: Tensor, fill: bytes) -> None:
        codes = self.writer.constant(np.frombuffer(fill, np.int8))
        self.writer.step(Step.HALO, out=image, codes=codes)

    def _padded(self, entry: Entry, halo: int, fill: bytes) -> Tensor:
        """The image with a border of at least `halo` pixels of `fill`."""
        image = self.image_of(entry)
        have, filled = self.form.layout.borders.get(entry, (0, b""))
        if halo == 0 or (have >= halo and filled == fill):
            return image
        if (entry, fill) not in self._repadded or self._repadded[entry, fill].halo < halo:
            copy = self.writer.image(image.dims, DType.INT8, halo)
            self._copy_image(image, copy, self._known(entry))
            self._halo(copy, fill)
            self._repadded[entry, fill] = copy
        return self._repadded[entry, fill]

    def _known(self, entry: Entry) -> Interval:
        return self.form.constants.intervals[entry]

    # --- plain steps

    def _image_to_plain(self, entry: Entry) -> None:
        code = TileCode()
        value = code.load(entry, self._known(entry))
        code.scatter(value, natural(entry, self.graph.shape(entry)))
        self._pointwise(code.operations, self.image_of(entry).dims)

    def _chain(self, chain: Chain) -> None:
        """A chain as one step; by single steps where it needs more registers than there are."""
        writer = ChainWriter(self.form, chain, self.plain_of, self._made_plain)
        try:
            links = writer.write()
        except TooWide:
            for index in chain.nodes:
                self._plain_node(index, self.graph.nodes[index])
        else:
            self.writer.step(Step.CHAIN, rows=writer.rows, inner=writer.inner, links=links)

    def _dense(self, entry: Entry, node: Node) -> None:
        """A dense layer whose weights are constant bytes."""
        x = self.plain_of(node.inputs[0])
        bias = self.plain_of(node.inputs[2]) if len(node.inputs) == 3 else None
        self.writer.step(
            Step.DENSE_BYTES,
            x=x,
            weight=self.writer.weights(self.form.stored(node.inputs[1])),
            bias=bias,
            out=self._made_plain(entry),
            rows=x.dims[0],
            inner=x.dims[1],
            units=node.shapes[0][1],
        )

    def _plain_node(self, index: int, node: Node) -> None:
        if node.op == "dense" and self._has_bytes(node.inputs[1]):
            self._dense(Entry(index), node)
            return
        outputs = [self._home(Entry(index, k)) for k in range(len(node.shapes))]
        inputs = [self.plain_of(e) for e in node.inputs]
        for output, tensor in enumerate(lowering.lower(self.writer, node, inputs, outputs)):
            self.plain[Entry(index, output)] = tensor

    def _has_bytes(self, entry: Entry) -> bool:
        return self.form.is_constant(entry) and self.form.stored(entry).dtype == np.int8

    def _home(self, entry: Entry) -> Tensor | None:
        """The place of a plain value; None where any fresh memory will do."""
        home = self.form.layout.plain_homes.get(entry)
        return None if home is None else self.writer.plain(self.graph.shape(entry), *home)

    # --- detection

    def _made_plain(self, entry: Entry) -> Tensor:
        """The plain tensor that a value is about to be written to."""
        shape = self.graph.shape(entry)
        self.plain[entry] = self._home(entry) or self.writer.plain(shape)
        return self.plain[entry]

    def _select(self, entry: Entry, select: Select) -> None:
        node, valid = (self.graph.nodes[n] for n in (select.node, select.valid))
        columns: dict[str, Any] = {}
        for k, column in enumerate(select.columns):
            columns[f"column{k}"] = self.plain_of(column.entry)
            columns[f"start{k}"], columns[f"step{k}"] = column.start, column.step
        self.writer.step(
            Step.SELECT,
            **columns,
            out=self._made_plain(entry),
            order=lowering.suppression_order(self.writer, node, select.rows),
            count=select.count,
            rows=select.rows,
            threshold=valid.attributes.score_threshold,
            **lowering.suppression(node),
        )

    def _rows(self, entry: Entry, node: Node) -> None:
        """Columns of all rows, or rows by their numbers, of heads that are not written."""
        heads = self.form.rows.heads[node.inputs[0]]
        index = self.plain_of(node.inputs[1]) if node.op == "take" else None
        target = self._made_plain(entry)
        for head in heads:
            if index is None:
                self._columns(head, entry, target)
                continue
            for anchor, channels in enumerate(head.channels):
                self._taken(head, anchor, channels, index, target)

    def _columns(self, head: Head, entry: Entry, target: Tensor) -> None:
        found = columns(self.form, entry.node)
        assert found is not None
        first, count = found
        plane = head.height * head.width
        anchors = np.arange(len(head.channels))[:, None]
        offsets = (head.first + anchors * plane) * count + np.arange(count)
        code = Channels(self.form, head.root, head.channels[:, first : first + count].reshape(-1))
        self.writer.step(
            Step.CONV_IMAGE,
            **self._part(code, target, offsets.reshape(-1), head.width * count, count),
            batch=1,
            height=head.height,
            width=head.width,
            **lowering.pair("kernel", (1, 1)),
            **lowering.pair("stride", (1, 1)),
            **lowering.pair("pad", (0, 0)),
            **lowering.pair("dilation", (1, 1)),
            groups=1,
        )

    def _taken(
        self, head: Head, anchor: int, channels: Array, index: Tensor, target: Tensor
    ) -> None:
        code, width = Channels(self.form, head.root, channels), channels.size
        self.writer.step(
            Step.CONV_ROWS,
            **self._part(code, target, np.arange(width), 0, width),
            index=index,
            out=target,
            first=head.first + anchor * head.height * head.width,
            size=sum(h.channels.shape[0] * h.height * h.width for h in self._of(head)),
            count=index.count,
        )

    def _of(self, head: Head) -> tuple[Head, ...]:
        """All heads whose rows are joined with those of this one."""
        return next(heads for heads in self.form.rows.heads.values() if head in heads)

    def _part(
        self, part: Channels, target: Tensor, offsets: Array, row: int, pixel: int
    ) -> dict[str, Any]:
        """Fields of a convolution of some of a head's channels, stored to a plain tensor."""
        place = {"offsets": offsets, "image_stride": 0, "row_stride": row, "pixel_stride": pixel}
        return {
            "image": self.image_of(part.source),
            "weight": self.writer.weights(part.weight),
            "bias": self.writer.constant(part.bias) if part.bias.any() else -1,
            "channels": part.bias.size,
            "code": self._resolved(part.code(target, place)),
        }

    # --- images that only move

    def _pixels(self, entry: Entry, node: Node) -> None:
        a = node.attributes
        target = self._target(entry)
        if node.op == "concatenate":
            self._concatenate(node, target)
        elif node.op == "upsampling":
            source = self.image_of(node.inputs[0])
            self.writer.step(Step.COPY_IMAGE, x=source, out=target, scale=a.scale)
        else:
            self.writer.step(
                Step.POOL_IMAGE,
                x=self.image_of(node.inputs[0]),
                out=target,
                **lowering.pair("kernel", a.pool_size),
                **lowering.pair("stride", a.strides),
                **lowering.pair("pad", (a.padding[0], a.padding[-1])),
            )
        self._made(entry, target)

    def _concatenate(self, node: Node, target: Tensor) -> None:
        first = 0
        for entry in node.inputs:
            source = self.image_of(entry)
            start = target.start + first * target.dtype.size
            if source.buffer != target.buffer or source.start != start:
                part = self.writer.channels(target, first, source.dims[3])
                self._copy_image(source, part, self._known(entry))
            first += source.dims[3]

    def _copy_image(self, source: Tensor, target: Tensor, known: Interval) -> None:
        if source.dtype == target.dtype:
            self.writer.step(Step.COPY_IMAGE, x=source, out=target, scale=1)
            return
        code = TileCode()
        code.store(code.load(source, known), target)
        self._pointwise(code.operations, target.dims)

    # --- regions

    def _region(self, region: Region) -> None:
        code = self.form.epilogues.code[region.root]
        node = self.graph.nodes[region.root]
        if region.convolution:
            self._convolution(region.root, node, code)
        else:
            batch, channels, height, width = node.shapes[0]
            self._pointwise(code, (batch, height, width, channels))
        for operation in code:
            for name in (f.name for f in TILES[operation.kind] if f.kind == INTO):
                entry = operation.fields[name]
                self._made(entry, self._target(entry))

    def _pointwise(self, code: Sequence[Operation], dims: Sequence[int]) -> None:
        fields = dict(zip(("batch", "height", "width", "channels"), dims))
        self.writer.step(Step.POINTWISE, **fields, code=self._resolved(code))

    def _convolution(self, root: int, node: Node, code: Sequence[Operation]) -> None:
        a = node.attributes
        batch, channels, height, width = node.shapes[0]
        source = node.inputs[0]
        resolved = self._resolved(code)
        bias = self.form.epilogues.bias[root]
        self.writer.step(
            Step.CONV_IMAGE,
            image=self._padded(source, max(a.padding), zeros(self.form, source)),
            weight=self.writer.weights(self.form.stored(node.inputs[1])),
            bias=self.writer.constant(bias) if bias.any() else -1,
            batch=batch,
            height=height,
            width=width,
            channels=channels,
            **lowering.pair("kernel", a.kernel_size),
            **lowering.pair("stride", a.strides),
            **lowering.pair("pad", a.padding),
            **lowering.pair("dilation", a.dilation),
            groups=a.groups,
            code=resolved,
        )

    def _resolved(self, code: Sequence[Operation]) -> tuple[Operation, ...]:
        """The operations with tensors and numbers of constants in place of values and arrays."""
        return tuple(
            Operation(
                operation.kind,
                operation.dst,
                operation.a,
                operation.b,
                {f.name: self._value(f, operation.fields) for f in TILES[operation.kind]},
            )
            for operation in code
        )

    def _value(self, field: Field, fields: Any) -> Any:
        given: ImageName | Array | int | None = fields[field.name]
        if isinstance(given, Tensor):
            return given
        if field.kind == IMAGE:
            return self.image_of(given)  # type: ignore[arg-type]
        if field.kind == INTO:
            return self._target(given)  # type: ignore[arg-type]
        if field.kind == TARGET:
            return self._scattered(given)  # type: ignore[arg-type]
        if field.kind in CONSTANTS:
            return -1 if given is None else self.writer.constant(given)  # type: ignore[arg-type]
        return given

    def _scattered(self, entry: Entry) -> Tensor:
        """The plain tensor that a value is scattered to."""
        target = self._home(entry) or self.writer.plain(self.graph.shape(entry))
        self.plain[entry] = target
        return target
