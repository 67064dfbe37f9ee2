"""Where tensors live: results are written straight into the concatenation or head they end in.

Neither concatenation, reshaping nor the caller's output arrays then cost a copy.
"""

from __future__ import annotations

from yolo_core.graph import Entry
from yolo_cvm.engine import lower
from yolo_cvm.engine.analysis import Analysis
from yolo_cvm.engine.words import Buffer, PlanWriter, Tensor, product


class Places:
    """Decides homes ahead of time and makes tensors when first asked."""

    def __init__(self, analysis: Analysis, writer: PlanWriter) -> None:
        self.analysis = analysis
        self.graph = analysis.graph
        self.writer = writer
        self._outputs: list[Buffer] = []
        self._plain_home: dict[Entry, tuple[Buffer, int]] = {}
        self._image_home: dict[Entry, tuple[Entry, int]] = {}
        self._parts: dict[Entry, list[Entry]] = {}
        self._images: dict[Entry, Tensor] = {}
        self._borders: dict[Entry, tuple[int, bytes]] = {}
        self._house_heads()
        self._house_plain()
        self._house_images()

    # --- plain tensors

    def plain(self, entry: Entry) -> Tensor | None:
        """The home of a plain tensor; None where any fresh memory will do."""
        home = self._plain_home.get(entry)
        if home is None:
            return None
        return self.writer.plain(self.graph.shape(entry), *home)

    def finish_head(self, number: int, tensor: Tensor) -> None:
        """Copy a head to the caller's array unless it was computed there."""
        output = self._outputs[number]
        if tensor.buffer is not output or tensor.start:
            target = self.writer.plain(tensor.dims, output)
            lower.copy(self.writer, tensor, target, (tensor.count,), (1,))

    def _house_heads(self) -> None:
        for head in self.graph.heads:
            output = self.writer.output(self.graph.shape(head))
            self._outputs.append(output)
            if not self._fixed(head):
                self._plain_home.setdefault(head, (output, 0))

    def _house_plain(self) -> None:
        """From the last node to the first: what ends in a larger tensor is made there."""
        for index in range(len(self.graph.nodes) - 1, -1, -1):
            node, entry = self.graph.nodes[index], Entry(index)
            if node.is_variable or self._fixed(entry) or self.analysis.is_image(entry):
                continue
            if node.op in lower.VIEWS and entry in self._plain_home:
                self._give(node.inputs[0], *self._plain_home[entry])
            elif node.op == "concatenate":
                shape, axis = node.shapes[0], node.attributes.axis % len(node.shapes[0])
                if product(shape[:axis]) != 1:
                    continue
                if entry not in self._plain_home:
                    self._plain_home[entry] = (self.writer.arena(4 * product(shape)), 0)
                buffer, start = self._plain_home[entry]
                for part in node.inputs:
                    self._give(part, buffer, start)
                    start += 4 * product(self.graph.shape(part))

    def _give(self, entry: Entry, buffer: Buffer, start: int) -> None:
        if not self._fixed(entry):
            self._plain_home.setdefault(entry, (buffer, start))

    def _fixed(self, entry: Entry) -> bool:
        """Whether a tensor already lives somewhere: the input, parameters, constants."""
        return entry.node == self.graph.input_index or self.analysis.is_constant(entry)

    # --- images

    def border(self, entry: Entry) -> tuple[int, bytes]:
        """(halo, fill per channel) that an image is made with for its convolutions."""
        if entry not in self._borders:
            # A value inside another's border has no room for one of its own.
            framed = entry in self.analysis.pads
            wanted = [] if framed else list(self.analysis.padded_by(entry))
            fill = wanted[0][1] if wanted else b""
            self._borders[entry] = (max((h for h, f in wanted if f == fill), default=0), fill)
        return self._borders[entry]

    def image(self, entry: Entry) -> Tensor:
        """The image of a value, made when first asked for."""
        if entry not in self._images:
            batch, channels, height, width = self.graph.shape(entry)
            if entry in self._image_home:
                whole, first = self._image_home[entry]
                tensor = self.writer.channels(self.image(whole), first, channels)
            else:
                tensor = self.writer.image(
                    (batch, height, width, channels), self.analysis.dtype(entry), self._halo(entry)
                )
            self._images[entry] = tensor
        return self._images[entry]

    def _halo(self, entry: Entry) -> int:
        """The widest border of an image and of the parts that live in it."""
        return max([self.border(entry)[0], *(self._halo(e) for e in self._parts.get(entry, []))])

    def _house_images(self) -> None:
        for index, node in enumerate(self.graph.nodes):
            whole = Entry(index)
            if (
                node.op != "concatenate"
                or not self.analysis.is_image(whole)
                or whole in self.analysis.pads
            ):
                continue
            first = 0
            for part in node.inputs:
                if part not in self._image_home and self._can_share(part, whole):
                    self._image_home[part] = (whole, first)
                    self._parts.setdefault(whole, []).append(part)
                first += self.graph.shape(part)[1]

    def _can_share(self, part: Entry, whole: Entry) -> bool:
        if part in self.analysis.pads:
            return False
        if self.analysis.dtype(part) != self.analysis.dtype(whole):
            return False
        return not self.border(part)[0] or not self.border(whole)[0]
