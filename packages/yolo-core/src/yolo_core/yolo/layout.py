"""The language of YOLOv5's model yaml: rows of [from, number, module, arguments].

    nc: 80                       classes
    depth_multiple: 0.33         times the number of each row that is above 1
    width_multiple: 0.25         times the channels of each row, rounded up to a multiple of 8
    activation: nn.SiLU()        optional; of every convolution
    anchors:                     a row per level, widths and heights in pixels; or a number, from
      - [10,13, 16,30, 33,23]    which the trainer starts to look for anchors of its own
    backbone: [[-1, 1, Conv, [64, 6, 2, 2]], …]
    head: […, [[17, 20, 23], 1, Detect, [nc, anchors]]]

Nothing is evaluated: arguments are numbers, True, False, None and the words `nc` and `anchors`.
Two keys are ours: `channel_multiple`, to which channels are rounded up, as late releases of the
repository have it, and `csp_activation`, of the joined part of a BottleneckCSP.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yolo_core.yolo.kinds import DETECT, KINDS, MAX_SOURCES, UNSUPPORTED
from yolo_core.yolo.plan import IMAGE, LayoutError, Plan, Step

MAX_ROWS = 1000
MAX_REPEATS = 200
_MAX_ARGUMENTS = 10
_WORDS: Mapping[str, Any] = {"None": None, "True": True, "False": False}
_PREFIXES = ("nn.", "torch.nn.", "models.common.", "models.yolo.")


@dataclass(frozen=True)
class Row:
    """One row of a yaml. sources: as written, negative ones count from the row itself."""

    sources: tuple[int, ...]
    repeats: int
    kind: str
    arguments: tuple[Any, ...] = ()

    def to_list(self) -> list[Any]:
        """The row as plain data; `rows_of` reads it back."""
        sources: Any = self.sources[0] if len(self.sources) == 1 else list(self.sources)
        arguments = [list(a) if isinstance(a, tuple) else a for a in self.arguments]
        return [sources, self.repeats, self.kind, arguments]


@dataclass(frozen=True)
class Layer:
    """One row, placed.

    sources: indices of the layers it reads, all smaller than its own; -1 is the input image.
    in_channels: of each source. out_channels: 0 for Detect, whose levels are its convolutions.
    repeats: of its inner block, or of itself. stride_from_input: of its output (0 for Detect).
    step: index of the step that is its output, of the last one for Detect.
    """

    index: int
    kind: str
    sources: tuple[int, ...]
    in_channels: tuple[int, ...]
    out_channels: int
    repeats: int
    stride_from_input: int
    step: int


@dataclass(frozen=True)
class Network:
    """A layout with its multiples, written out.

    heads: steps of the detection convolutions, by level. strides: how often smaller each level
    is than the image.
    """

    layers: tuple[Layer, ...]
    steps: tuple[Step, ...]
    heads: tuple[int, ...]
    strides: tuple[int, ...]


def check_channels(channels: object) -> None:
    """Refuse a network whose input, `ch` in a model yaml, is not red, green, blue."""
    if channels != 3:
        count = "one input channel" if channels == 1 else f"{channels!r:.20} input channels"
        expected = "three, for RGB pictures: a network trained on those"
        raise LayoutError(f"is a YOLOv5 of {count}", expected)


def rows_of(lists: Any) -> tuple[Row, ...]:
    """Rows from the lists of a yaml, backbone and head in one. LayoutError for what is no row."""
    if not isinstance(lists, (list, tuple)) or not lists:
        raise LayoutError("has no layers", "a list of [from, number, module, arguments]")
    if len(lists) > MAX_ROWS:
        raise LayoutError(f"has {len(lists)} layers", f"at most {MAX_ROWS}")
    return tuple(_row(index, entry) for index, entry in enumerate(lists))


def _row(index: int, entry: Any) -> Row:
    where = f"has a layer {index} that"
    if not isinstance(entry, (list, tuple)) or not 3 <= len(entry) <= 4:
        raise LayoutError(f"{where} is {str(entry)[:40]}", "[from, number, module, arguments]")
    sources, repeats, kind, arguments = (*entry, ())[:4]
    sources = tuple(sources) if isinstance(sources, (list, tuple)) else (sources,)
    if not 1 <= len(sources) <= MAX_SOURCES or not all(type(each) is int for each in sources):
        raise LayoutError(f"{where} reads {str(sources)[:40]}", "numbers of layers")
    if type(repeats) is not int or not 1 <= repeats <= MAX_REPEATS:
        raise LayoutError(f"{where} is repeated {str(repeats)[:20]} times", f"1 to {MAX_REPEATS}")
    if not isinstance(kind, str) or not isinstance(arguments, (list, tuple)):
        raise LayoutError(f"{where} is {str(entry)[:40]}", "[from, number, module, arguments]")
    if len(arguments) > _MAX_ARGUMENTS:
        raise LayoutError(f"{where} has {len(arguments)} arguments", f"at most {_MAX_ARGUMENTS}")
    return Row(sources, repeats, kind_named(kind), tuple(map(_argument, arguments)))


def kind_named(word: str) -> str:
    """The kind that a module of a yaml is. LayoutError for one that is not known."""
    for prefix in _PREFIXES:
        if word.startswith(prefix):
            word = word[len(prefix) :]
    if word in UNSUPPORTED:
        raise LayoutError(f"has a layer {word}: {UNSUPPORTED[word]}", "another kind")
    if word not in KINDS and word != DETECT:
        raise LayoutError(f"has a layer of the kind {word[:40]!r}", ", ".join([*KINDS, DETECT]))
    return word


def _argument(value: Any) -> Any:
    if isinstance(value, str):
        return _WORDS.get(value, value)
    if isinstance(value, (list, tuple)):
        plain = len(value) <= 64 and all(
            each is None or isinstance(each, (int, float, str)) for each in value
        )
        if not plain:
            raise LayoutError("has an argument that is nested", "numbers and words")
        return tuple(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise LayoutError(f"has the argument {str(value)[:40]}", "a number or a word")


@dataclass(frozen=True)
class Terms:
    """What a layout is written out with. numbers: of one anchor's answer, 5 + classes."""

    depth_multiple: float
    width_multiple: float
    channel_multiple: int
    numbers: int
    anchors_per_level: int
    activation: str
    csp_activation: str
    input_channels: int = 3

    def width(self, channels: int) -> int:
        """Channels after the width multiple."""
        if channels == self.numbers * self.anchors_per_level:
            return channels  # YOLOv5 leaves what has as many as a detection layer
        step = self.channel_multiple
        return math.ceil(channels * self.width_multiple / step) * step

    def depth(self, repeats: int) -> int:
        """Repeats after the depth multiple."""
        return max(round(repeats * self.depth_multiple), 1) if repeats > 1 else repeats


def write_out(rows: Sequence[Row], terms: Terms) -> Network:
    """The network that rows describe. LayoutError, naming the layer, where they describe none."""
    return _Writer(rows, terms).network()


class _Writer:
    def __init__(self, rows: Sequence[Row], terms: Terms) -> None:
        self._rows, self._terms = rows, terms
        self._plan = Plan(terms.input_channels, terms.activation, terms.csp_activation)
        self._layers: list[Layer] = []
        self._heads: tuple[int, ...] = ()

    def network(self) -> Network:
        for index, row in enumerate(self._rows):
            try:
                self._layers.append(self._place(index, row))
            except LayoutError as error:
                cause = f"{error.cause} (layer {index}, {row.kind})"
                raise LayoutError(cause, error.expected) from error
        if not self._heads:
            raise LayoutError("has no Detect layer at its end", "one")
        steps = tuple(self._plan.steps)
        strides = tuple(steps[head].stride_from_input for head in self._heads)
        return Network(tuple(self._layers), steps, self._heads, strides)

    def _place(self, index: int, row: Row) -> Layer:
        sources = tuple(self._source(index, source) for source in row.sources)
        tensors = [IMAGE if s == IMAGE else self._layers[s].step for s in sources]
        channels = tuple(map(self._plan.channels, tensors))
        if row.kind == DETECT:
            if index != len(self._rows) - 1:
                raise LayoutError("has a Detect layer in its middle", "one, at its end")
            self._heads = tuple(self._detect(index, tensors))
            return Layer(index, DETECT, sources, channels, 0, 1, 0, self._heads[-1])
        kind = KINDS[row.kind]
        if len(sources) > kind.sources:
            raise LayoutError(f"reads {len(sources)} layers", f"at most {kind.sources}")
        repeats = self._terms.depth(row.repeats)
        step = self._expand(index, row, tensors, repeats)
        return Layer(
            index, row.kind, sources, channels, self._plan.channels(step), repeats,
            self._plan.stride(step), step,
        )  # fmt: skip

    def _source(self, index: int, source: int) -> int:
        place = index + source if source < 0 else source
        if not IMAGE <= place < index or (place == IMAGE and index):
            raise LayoutError(f"reads layer {source}", "an earlier one")
        return place

    def _expand(self, index: int, row: Row, tensors: list[int], repeats: int) -> int:
        kind, stem, arguments = KINDS[row.kind], f"model.{index}", list(row.arguments)
        if kind.scaled:
            if not arguments or type(arguments[0]) is not int or not 0 < arguments[0] < 1 << 20:
                raise LayoutError("has no channels", "a number above 0")
            arguments[0] = self._terms.width(arguments[0])
        if kind.repeats:
            arguments.insert(1, repeats)
            repeats = 1
        try:
            if repeats == 1:
                return kind.expand(self._plan, stem, tensors, *arguments)
            step = tensors[0]
            for number in range(repeats):
                step = kind.expand(self._plan, f"{stem}.{number}", [step], *arguments)
            return step
        except (TypeError, ValueError, OverflowError, IndexError) as error:
            if isinstance(error, LayoutError):
                raise
            raise LayoutError(f"has the arguments {list(row.arguments)!s:.60}",
                              f"those of {row.kind}") from error  # fmt: skip

    def _detect(self, index: int, tensors: Sequence[int]) -> Iterator[int]:
        out = self._terms.numbers * self._terms.anchors_per_level
        for level, tensor in enumerate(tensors):
            if tensor == IMAGE:
                raise LayoutError("detects on the image itself", "a layer")
            yield self._plan.detection(f"model.{index}.m.{level}", tensor, out)
