"""The operators by which a graph decides: from rows of logits to the final boxes.

    rows [1, N, 5 + nc] → boxes [1, max_det, 6]

First the rows of best objectness are selected; boxes and classes are worked out for these alone.
Order and threshold are decided on log2(objectness) + log2(class probability), which has the same
relative resolution for weak and strong boxes and needs no product. Everything is a function of
architecture, input size, scale of the rows and `Decision`, with tables made by arithmetic that is
the same on every machine: so `check_decision` builds the operators again and compares, and a file
cannot claim what its graph does not do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from yolo_core.arrays import Array
from yolo_core.errors import InputError
from yolo_core.graph import Entry, Graph, GraphBuilder, Ref
from yolo_core.graph.errors import GraphError
from yolo_core.graph.integers import bits_for
from yolo_core.yolo.architecture import Architecture
from yolo_core.yolo.decision import COLUMNS, Decision
from yolo_core.yolo.elementary import exponential, log2, sigmoid

#: Of every node that decides; no layer's name begins with it.
PREFIX = "boxes."
#: Codes per logit, as a power of two, at which the tables are made; finer logits are shifted.
_CODE_BITS = 10
#: Box logits beyond it count as it; 2 sigmoid is then within 0.0007 of its end.
_EDGE = 8
#: Fraction bits of 2 sigmoid, of logarithms, and of squares before an anchor is multiplied.
_UNIT_BITS = 13
_LOG_BITS = 18
_SQUARE_BITS = 13
_LEAST_SQUARE_BITS = 8
#: Bits of the score table's index, by fraction bits of the score.
_STEP_BITS = {16: 13, 24: 15}
#: Score logits above it count as it, unless the confidence asks for more.
_TOP = 9
_LN2 = 0.6931471805599453


@dataclass(frozen=True)
class Rows:
    """What the rows are: their network, its input (height, width), codes per logit."""

    architecture: Architecture
    imgsz: tuple[int, int]
    scale: float

    @property
    def exponent(self) -> int:
        """log2 of the scale. InputError where it is not a whole number from 0 on."""
        mantissa, power = np.frexp(self.scale)
        if mantissa != 0.5 or power < 1:
            raise InputError(
                "output_scales", f"have {self.scale:g}", "a power of two, so that the graph decides"
            )
        return int(power) - 1

    @property
    def count(self) -> int:
        """How many rows."""
        return self.architecture.rows(*self.imgsz)


def decide(graph: Graph, rows: Rows, decision: Decision) -> Graph:
    """The program with the deciding operators behind its one head, which must be the rows.

    InputError where the model's ranges do not fit 32 bits.
    """
    builder = GraphBuilder.after(graph)
    try:
        return builder.build([_Tail(builder, rows, decision).build(builder.ref(graph.heads[0]))])
    except GraphError as error:
        raise InputError("boxes", f"do not fit this model: {error}") from error


def rows_of_decision(graph: Graph) -> Graph:
    """The program without its deciding operators: its head is the rows again."""
    start = _start(graph)
    entry = graph.nodes[_first_operator(graph, start)].inputs[0]
    builder = GraphBuilder.after(graph, start)
    return builder.build([builder.ref(entry)])


def check_decision(graph: Graph, rows: Rows, decision: Decision, source: str) -> None:
    """Refuse a bound graph whose deciding operators are not those of `decision`.

    source: the file that claims them. InputError naming the node and what differs.
    """
    start = _start(graph)
    if start == len(graph.nodes):
        raise InputError(source, "says that the graph decides", "what it does: it has no boxes")
    entry = graph.nodes[_first_operator(graph, start)].inputs[0]
    expected_shape = (1, rows.count, rows.architecture.no)
    if entry.node >= start or graph.shape(entry) != expected_shape:
        raise InputError(source, "says that the graph decides", f"rows {expected_shape} in it")
    builder = GraphBuilder()
    stand_in = builder.input("data", expected_shape, graph.precision(entry))
    try:
        own = builder.build([_Tail(builder, rows, decision).build(stand_in)])
    except GraphError as error:
        raise InputError(source, f"says what no graph can do: {error}") from error
    _compare(graph, start, entry, own, source)


def _start(graph: Graph) -> int:
    """Number of the first node that decides; the number of nodes where none does."""
    found = (i for i, node in enumerate(graph.nodes) if node.name.startswith(PREFIX))
    return next(found, len(graph.nodes))


def _first_operator(graph: Graph, start: int) -> int:
    found = (i for i in range(start, len(graph.nodes)) if not graph.nodes[i].is_variable)
    return next(found, start)


def _compare(graph: Graph, start: int, rows: Entry, own: Graph, source: str) -> None:
    """The nodes from `start` on against those of `own`, whose node 0 stands for the rows."""
    if len(graph.nodes) - start != len(own.nodes) - 1:
        raise InputError(
            source,
            f"claims boxes of {len(own.nodes) - 1} nodes",
            f"what the graph has: {len(graph.nodes) - start}",
        )

    def moved(entry: Entry) -> Entry:
        return rows if entry.node == 0 else Entry(entry.node - 1 + start, entry.output)

    for mine, theirs in zip(own.nodes[1:], graph.nodes[start:]):
        difference = ""
        if (mine.name, mine.op) != (theirs.name, theirs.op):
            difference = f"be {mine.op or 'a parameter'} {mine.name!r}"
        elif dict(mine.attributes) != dict(theirs.attributes):
            difference = f"have {dict(mine.attributes)}"
        elif (mine.shapes, mine.precisions) != (theirs.shapes, theirs.precisions):
            difference = f"have shape {mine.shapes} and precision {mine.precisions}"
        elif tuple(map(moved, mine.inputs)) != theirs.inputs:
            difference = "read other tensors"
        elif mine.is_variable and not np.array_equal(
            own.parameters.stored(mine.name), graph.parameters.stored(theirs.name)
        ):
            difference = "hold other numbers"
        if difference:
            raise InputError(
                source,
                f"claims boxes by which node {theirs.name[:60]!r} would {difference:.200}",
                "what the graph does",
            )
    if graph.heads != tuple(map(moved, own.heads)):
        raise InputError(source, "says that the graph decides", "boxes as its only output")


class _Tail:
    """Writes the operators behind the rows. [..] in comments: the shape of a tensor.

    S is a logarithm to base 2 with 18 fraction bits, raised by that of the confidence, so that
    S > 0 exactly where a score is above it.
    """

    def __init__(self, builder: GraphBuilder, rows: Rows, decision: Decision) -> None:
        self._builder, self._rows, self._decision = builder, rows, decision
        self._count = 0
        self._parameters: dict[str, Ref] = {}
        self._classes = rows.architecture.nc
        exponent = rows.exponent
        self._shift = max(exponent - _CODE_BITS, 0)
        self._exponent = exponent - self._shift
        logarithm = float(log2(np.array(decision.conf)))
        self._floor = -int(np.floor(logarithm * (1 << _LOG_BITS)))
        logit = (logarithm - float(log2(np.array(1 - decision.conf)))) * _LN2
        self._lowest = int(np.floor(logit * (1 << self._exponent))) - 1
        self._highest = (max(_TOP, int(np.ceil(logit)) + 3) << self._exponent) - self._lowest

    def build(self, rows: Ref) -> Ref:
        """The final boxes [1, max_det, 6] of the rows [1, N, 5 + nc]."""
        selected = self._select(rows)
        number = self._op("reshape", [self._columns(selected, 0, 1)], shape=(selected.shape[1],))
        logits = self._op("take", [rows, number], axis=1)
        corners = self._corners(self._to_codes(self._columns(logits, 0, 4)), selected)
        classes = self._to_codes(self._columns(logits, 5, 5 + self._classes))
        weight = self._columns(selected, 1, 2)
        if self._decision.labels == "best":
            candidates = self._best(classes, weight, corners)
        else:
            candidates = self._several(classes, weight, corners)
        return self._scores(self._suppress(candidates))

    # --- which rows

    def _select(self, rows: Ref) -> Ref:
        """[1, M, 6] of the M rows of best objectness: number, S, centre x and y, kind, stride.

        Suppression sorts and keeps M; since every row has a class of its own (its number), it
        drops none. Centre and stride are in 1/64 pixel; kind is twice the number of the anchor.
        Behind the last row that passes, all are -1.
        """
        objectness = self._logarithm(self._to_codes(self._columns(rows, 4, 5)))
        places = self._places()
        count = self._decision.select
        table = self._op(
            "concatenate",
            [self._columns(places, 0, 1), objectness, self._columns(places, 1, 5)],
            axis=2,
        )
        passed = self._op("get_valid_counts", [table], score_threshold=0)
        kept = self._op(
            "non_max_suppression",
            [self._builder.output(passed, 1), passed],
            iou_threshold=100, force_suppress=False, top_k=count, max_output_size=count,
        )  # fmt: skip
        return self._first(kept, count)

    def _places(self) -> Ref:
        """[1, N, 5], the same for every picture: number, centre x and y, kind, stride."""
        parts, at, kind = [], 0, 0
        unit = 1 << self._decision.pixel_bits
        height, width = self._rows.imgsz
        architecture = self._rows.architecture
        for level, (anchors, stride) in enumerate(zip(architecture.anchors, architecture.strides)):
            h, w, a = height // stride, width // stride, len(anchors)
            x = np.zeros((1, 1, 1, w, 5), np.int64)
            x[..., 0] = np.arange(w)
            x[..., 1] = (2 * np.arange(w) - 1) * (stride * unit // 2)
            y = np.zeros((1, a, h, 1, 5), np.int64)
            y[0, ..., 0, 0] = at + np.arange(a * h).reshape(a, h) * w
            y[0, ..., 0, 2] = (2 * np.arange(h) - 1) * (stride * unit // 2)
            y[0, ..., 0, 3] = 2 * (kind + np.arange(a))[:, None]
            y[..., 4] = stride * unit
            grid = self._op(
                "broadcast_add", [self._parameter(f"y{level}", y), self._parameter(f"x{level}", x)]
            )
            parts.append(self._op("reshape", [grid], shape=(1, a * h * w, 5)))
            at, kind = at + a * h * w, kind + a
        return self._op("concatenate", parts, axis=1)

    # --- boxes

    def _corners(self, logits: Ref, selected: Ref) -> Ref:
        """[1, M, 4] x1 y1 x2 y2 in 1/64 pixel from box logits [1, M, 4]."""
        unit = 1 << self._decision.pixel_bits
        architecture = self._rows.architecture
        edge = _EDGE << self._exponent
        table = np.rint(
            sigmoid((np.arange(2 * edge) - edge) / (1 << self._exponent)) * 2 * (1 << _UNIT_BITS)
        ).astype(np.int64)
        raised = self._op("broadcast_add", [logits, self._parameter("edge", np.array([edge]))])
        sigmoids = self._look_up(raised, "unit", table)
        largest = max(architecture.strides) * unit
        stride = self._op("cvm_clip", [self._columns(selected, 5, 6)], precision=bits_for(largest))
        centre = self._op("broadcast_mul", [self._columns(sigmoids, 0, 2), stride])
        centre = self._op(
            "cvm_right_shift", [centre], precision=bits_for(2 * largest), shift_bit=_UNIT_BITS
        )
        centre = self._op("broadcast_add", [centre, self._columns(selected, 2, 4)])

        anchors = np.array([side for level in architecture.anchors for pair in level
                            for side in pair])  # fmt: skip
        halves = np.rint(anchors * (unit // 2)).astype(np.int64)
        bits = bits_for(int(halves.max()))
        # The square has 2 bits more than its fraction, a bound that is reached, and a sign.
        fraction = min(_SQUARE_BITS, 32 - 4 - bits)
        if fraction < _LEAST_SQUARE_BITS:
            raise InputError("anchors", f"reach {anchors.max():g} pixels", "smaller ones for boxes")
        kinds = self._op(
            "broadcast_add",
            [self._columns(selected, 4, 5), self._parameter("sides", np.array([[[0, 1]]]))],
        )
        anchor = self._look_up(kinds, "anchors", halves)
        side = self._columns(sigmoids, 2, 4)
        square = self._op(
            "cvm_right_shift",
            [self._op("broadcast_mul", [side, side])],
            precision=fraction + 4, shift_bit=2 * _UNIT_BITS - fraction,
        )  # fmt: skip
        half = self._op(
            "cvm_right_shift",
            [self._op("broadcast_mul", [square, anchor])],
            precision=bits_for(4 * int(halves.max())), shift_bit=fraction,
        )  # fmt: skip
        low = self._op("broadcast_sub", [centre, half])
        high = self._op("broadcast_add", [centre, half])
        return self._op("concatenate", [low, high], axis=2)

    # --- scores and classes

    def _logarithm(self, codes: Ref) -> Ref:
        """S of logits: log2(sigmoid) + the raise; -1 where the logit alone is below the threshold.

        The raised logarithm of the other factor is at most the raise, so a sum of two S less one
        raise is above 0 only where both are above 0.
        """
        number = self._highest + 1
        logits = (np.arange(number) + self._lowest) / (1 << self._exponent)
        table = np.rint(log2(sigmoid(logits)) * (1 << _LOG_BITS)).astype(np.int64) + self._floor
        table[0] = -1
        lowest = self._parameter("lowest", np.array([-self._lowest]))
        return self._look_up(self._op("broadcast_add", [codes, lowest]), "logarithms", table)

    def _score(self, classes: Ref, weight: Ref) -> Ref:
        """S of whole scores from class logits and S of objectness, of shapes that broadcast."""
        total = self._op("broadcast_add", [self._logarithm(classes), weight])
        return self._op("broadcast_sub", [total, self._parameter("raise", np.array([self._floor]))])

    def _best(self, classes: Ref, weight: Ref, corners: Ref) -> Ref:
        """Candidates [1, M, 6] of the best class each; of equal logits the lower class wins."""
        _, count, number = classes.shape
        bits = max((number - 1).bit_length(), 1)
        half = 1 << (bits - 1)
        power = self._parameter("power", np.array([1 << bits]))
        order = self._parameter("order", (half - 1 - np.arange(number)).reshape(1, 1, -1))
        keys = self._op("broadcast_add", [self._op("broadcast_mul", [classes, power]), order])
        best = self._op("max", [keys], axis=(2,))
        # A key is a logit times 2^bits and less than that; only the proof does not see it.
        best = self._op("cvm_clip", [best], precision=classes.precision + bits + 1)
        best = self._op("reshape", [best], shape=(1, count, 1))
        logit = self._op("cvm_right_shift", [best], precision=classes.precision, shift_bit=bits)
        rest = self._op("broadcast_sub", [self._op("broadcast_mul", [logit, power]), best])
        rest = self._op("cvm_clip", [rest], precision=bits + 2)
        label = self._op("broadcast_add", [rest, self._parameter("half", np.array([half - 1]))])
        return self._op("concatenate", [label, self._score(logit, weight), corners], axis=2)

    def _several(self, classes: Ref, weight: Ref, corners: Ref) -> Ref:
        """Candidates [1, M * nc, 6] of every class of every row."""
        _, count, number = classes.shape
        grid = (1, count, number, 1)
        score = self._op("reshape", [self._score(classes, weight)], shape=grid)
        rows = self._parameter("rows", np.zeros((1, count, 1, 1), np.int64))
        labels = self._parameter("labels", np.arange(number).reshape(1, 1, -1, 1))
        none = self._parameter("none", np.zeros((1, 1, number, 1), np.int64))
        label = self._op("broadcast_add", [rows, labels])
        corners = self._op("reshape", [corners], shape=(1, count, 1, 4))
        corners = self._op("broadcast_add", [corners, none])
        table = self._op("concatenate", [label, score, corners], axis=3)
        return self._op("reshape", [table], shape=(1, count * number, COLUMNS))

    # --- the end

    def _suppress(self, candidates: Ref) -> Ref:
        """The final list [1, max_det, 6] of candidates."""
        own = self._decision
        passed = self._op("get_valid_counts", [candidates], score_threshold=0)
        kept = self._op(
            "non_max_suppression",
            [self._builder.output(passed, 1), passed],
            iou_threshold=own.iou, force_suppress=own.agnostic, top_k=own.top_k,
            max_output_size=own.max_det,
        )  # fmt: skip
        missing = own.max_det - kept.shape[1]
        if missing > 0:
            fill = self._parameter("fill", np.full((1, missing, COLUMNS), -1))
            kept = self._op("concatenate", [kept, fill], axis=1)
        return self._first(kept, own.max_det)

    def _scores(self, boxes: Ref) -> Ref:
        """The boxes with S turned into scores; the table's entries are the middles of its steps."""
        own = self._decision
        bits = max(self._floor.bit_length() - _STEP_BITS[own.score_bits], 1)
        steps = (self._floor - 1 >> bits) + 2
        middle = np.arange(steps) * (1 << bits) - ((1 << bits) - 1) / 2
        power = (np.minimum(middle, self._floor) - self._floor) * (_LN2 / (1 << _LOG_BITS))
        table = np.rint(np.ldexp(exponential(power), own.score_bits)).astype(np.int64)
        table[0] = -1
        addend = self._parameter("step", np.array([(1 << (bits - 1)) - 1]))
        index = self._op("broadcast_add", [self._columns(boxes, 1, 2), addend])
        index = self._op("cvm_right_shift", [index], precision=bits_for(steps), shift_bit=bits)
        score = self._look_up(index, "scores", table)
        parts = [self._columns(boxes, 0, 1), score, self._columns(boxes, 2, COLUMNS)]
        return self._op("concatenate", parts, axis=2)

    # --- writing nodes

    def _to_codes(self, logits: Ref) -> Ref:
        """Logits finer than the tables, made as coarse as these."""
        if not self._shift:
            return logits
        return self._op(
            "cvm_right_shift",
            [logits],
            precision=max(logits.precision - self._shift, 2), shift_bit=self._shift,
        )  # fmt: skip

    def _first(self, x: Ref, count: int) -> Ref:
        return self._op("strided_slice", [x], begin=(0, 0, 0), end=(1, count, x.shape[2]))

    def _columns(self, x: Ref, first: int, end: int) -> Ref:
        return self._op("strided_slice", [x], begin=(0, 0, first), end=(1, x.shape[1], end))

    def _look_up(self, index: Ref, name: str, table: Array) -> Ref:
        return self._op("cvm_lut", [index, self._parameter(name, table)], in_dim=len(table))

    def _op(self, op: str, inputs: Sequence[Ref], **attributes: object) -> Ref:
        name = f"{PREFIX}{self._count}.{op}"
        self._count += 1
        return self._builder.operator(op, inputs, name, **attributes)

    def _parameter(self, name: str, values: Array) -> Ref:
        """A parameter, or the one that was written under this name before."""
        known = self._parameters.get(name)
        if known is None:
            bits = bits_for(int(np.abs(values).max()))
            known = self._builder.parameter(PREFIX + name, values, bits)
            self._parameters[name] = known
        return known
