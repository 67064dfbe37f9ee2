"""Every operator of the machine as plain steps on dense int32 tensors.

Thirty-seven operators become eleven kinds of loop: what only moves elements is one strided copy.
Source: specification 3. Nothing here looks at neighbours; `fuse` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable

from yolo_core.graph import Graph, Node
from yolo_core.graph.integers import INT32_MAX, INT32_MIN, limit
from yolo_core.graph.operators import TABLE
from yolo_cvm.engine.words import PlanWriter, Step, Tensor, product

Inputs = Sequence[Tensor]
Strides = tuple[int, ...]

CLAMP, ABS, NEGATIVE, PRECISION, RIGHT_SHIFT, LEFT_SHIFT = range(6)
ADD, SUB, MUL, MAX, DIV, GREATER = range(6)
#: Appends the steps of a node: (writer, node, inputs, outputs).
Lowering = Callable[[PlanWriter, Node, Inputs, Inputs], None]
VIEWS = frozenset(["flatten", "expand_dims", "reshape", "squeeze"])


def dense_strides(dims: Sequence[int]) -> Strides:
    """Row-major strides in elements."""
    strides = [1]
    for d in reversed(dims[1:]):
        strides.append(strides[-1] * d)
    return tuple(reversed(strides))


def lower(
    writer: PlanWriter, node: Node, inputs: Inputs, outputs: Sequence[Tensor | None]
) -> list[Tensor]:
    """Append the steps of one operator; returns its output tensors.

    outputs: where they should go, None for fresh memory. Views of their input take no step.
    """
    if node.op in VIEWS:
        target = outputs[0]
        if target is None or (
            target.buffer is inputs[0].buffer and target.start == inputs[0].start
        ):
            return [writer.alias(inputs[0], node.shapes[0])]
    targets = [
        t if t is not None else writer.plain(shape) for t, shape in zip(outputs, node.shapes)
    ]
    assert node.op is not None
    LOWERINGS[node.op](writer, node, inputs, targets)
    return targets


def copy(
    writer: PlanWriter,
    source: Tensor,
    target: Tensor,
    dims: Sequence[int],
    source_strides: Strides,
    target_strides: Strides | None = None,
    source_start: int = 0,
    target_start: int = 0,
) -> None:
    """target[.. strides ..] = source[.. strides ..] over `dims`, starts and strides in elements."""
    target_strides = dense_strides(dims) if target_strides is None else target_strides
    axes = _merge(dims, (source_strides, target_strides))
    writer.step(
        Step.COPY,
        [source.number, target.number, source_start, target_start, *_axes(axes)],
        [source],
        [target],
    )


def _merge(dims: Sequence[int], strides: Sequence[Strides]) -> list[tuple[int, tuple[int, ...]]]:
    """Axes (size, stride of every operand), with neighbours joined where all operands allow."""
    axes: list[tuple[int, tuple[int, ...]]] = []
    for i, size in enumerate(dims):
        step = tuple(s[i] for s in strides)
        if size == 1:
            continue
        if axes and all(outer == size * inner for outer, inner in zip(axes[-1][1], step)):
            axes[-1] = (axes[-1][0] * size, step)
        else:
            axes.append((size, step))
    return axes


def _axes(axes: Sequence[tuple[int, tuple[int, ...]]], operands: int = 2) -> list[int]:
    words = [len(axes), *(size for size, _ in axes)]
    for operand in range(operands):
        words += [stride[operand] for _, stride in axes]
    return words


def _unary(kind: int, low: int = 0, high: int = 0, shift: int = 0) -> Lowering:
    def build(w: PlanWriter, node: Node, x: Inputs, y: Inputs) -> None:
        w.step(Step.UNARY, [kind, x[0].number, y[0].number, low, high, shift], x, y)

    return build


def _clip(w: PlanWriter, node: Node, x: Inputs, y: Inputs) -> None:
    _unary(CLAMP, node.attributes.a_min, node.attributes.a_max)(w, node, x, y)


def _cvm_clip(w: PlanWriter, node: Node, x: Inputs, y: Inputs) -> None:
    bound = limit(node.attributes.precision)
    _unary(CLAMP, -bound, bound)(w, node, x, y)


def _shift(kind: int) -> Lowering:
    def build(w: PlanWriter, node: Node, x: Inputs, y: Inputs) -> None:
        bound = limit(node.attributes.precision)
        _unary(kind, -bound, bound, node.attributes.shift_bit)(w, node, x, y)

    return build


def _binary(kind: int) -> Lowering:
    def build(w: PlanWriter, node: Node, x: Inputs, y: Inputs) -> None:
        shape = node.shapes[0]
        strides = [_broadcast_strides(t.dims, shape) for t in x]
        axes = _merge(shape, (*strides, dense_strides(shape)))
        w.step(Step.BINARY, [kind, x[0].number, x[1].number, y[0].number, *_axes(axes, 3)], x, y)

    return build


def _broadcast_strides(dims: Sequence[int], shape: Sequence[int]) -> Strides:
    own = dense_strides(dims)
    missing = len(shape) - len(dims)
    return (0,) * missing + tuple(0 if d == 1 else s for d, s in zip(dims, own))


def _reduce(maximum: int) -> Lowering:
    def build(w: PlanWriter, node: Node, x: Inputs, y: Inputs) -> None:
        a, dims = node.attributes, x[0].dims
        reduced = node.operator.axes(len(dims), a)  # type: ignore[attr-defined]
        strides = dense_strides(dims)
        words = [maximum, int(bool(maximum) and not a.axis), x[0].number, y[0].number]
        for wanted in (False, True):
            axes = [
                (d, (s,)) for i, (d, s) in enumerate(zip(dims, strides)) if (i in reduced) is wanted
            ]
            words += _axes(axes, 1)
        w.step(Step.REDUCE, words, x, y)

    return build


def _flat_copy(w: PlanWriter, node: Node, x: Inputs, y: Inputs) -> None:
    copy(w, x[0], y[0], (x[0].count,), (1,))


def _transpose(w: PlanWriter, node: Node, x: Inputs, y: Inputs) -> None:
    axes = TABLE["transpose"].axes(len(x[0].dims), node.attributes)  # type: ignore[attr-defined]
    strides = dense_strides(x[0].dims)
    copy(w, x[0], y[0], y[0].dims, tuple(strides[a] for a in axes))


def _repeat(w: PlanWriter, node: Node, x: Inputs, y: Inputs) -> None:
    dims, axis = x[0].dims, node.attributes.axis % len(x[0].dims)
    strides = dense_strides(dims)
    copy(
        w,
        x[0],
        y[0],
        (*dims[: axis + 1], node.attributes.repeats, *dims[axis + 1 :]),
        (*strides[: axis + 1], 0, *strides[axis + 1 :]),
    )


def _tile(w: PlanWriter, node: Node, x: Inputs, y: Inputs) -> None:
    reps, dims = node.attributes.reps, x[0].dims
    ndim = max(len(reps), len(dims))
    reps = (1,) * (ndim - len(reps)) + tuple(reps)
    dims = (1,) * (ndim - len(dims)) + dims
    sizes: list[int] = []
    steps: list[int] = []
    for r, d, s in zip(reps, dims, dense_strides(dims)):
        sizes += [r, d]
        steps += [0, s]
    copy(w, x[0], y[0], sizes, tuple(steps))


def _upsampling(w: PlanWriter, node: Node, x: Inputs, y: Inputs) -> None:
    batch, channels, height, width = x[0].dims
    scale = node.attributes.scale
    a, b, c, d = dense_strides(x[0].dims)
    copy(w, x[0], y[0], (batch, channels, height, scale, width, scale), (a, b, c, 0, d, 0))


def _strided_slice(w: PlanWriter, node: Node, x: Inputs, y: Inputs) -> None:
    slices = TABLE["strided_slice"].slices(x[0].dims, node.attributes)  # type: ignore[attr-defined]
    strides = dense_strides(x[0].dims)
    copy(
        w,
        x[0],
        y[0],
        y[0].dims,
        tuple(step * s for (_, _, step), s in zip(slices, strides)),
        source_start=sum(begin * s for (begin, _, _), s in zip(slices, strides)),
    )


def _slice_like(w: PlanWriter, node: Node, x: Inputs, y: Inputs) -> None:
    copy(w, x[0], y[0], y[0].dims, dense_strides(x[0].dims))


def _concatenate(w: PlanWriter, node: Node, x: Inputs, y: Inputs) -> None:
    axis = node.attributes.axis % len(y[0].dims)
    strides = dense_strides(y[0].dims)
    at = 0
    for t in x:
        start = at * strides[axis]
        at += t.dims[axis]
        if t.buffer is y[0].buffer and t.start == y[0].start + 4 * start:
            continue  # already written in place
        copy(w, t, y[0], t.dims, dense_strides(t.dims), strides, target_start=start)


def _take(w: PlanWriter, node: Node, x: Inputs, y: Inputs) -> None:
    axis, dims = node.attributes.axis, x[0].dims
    if axis is None:
        outer, n, inner = 1, x[0].count, 1
    else:
        axis %= len(dims)
        outer, n, inner = product(dims[:axis]), dims[axis], product(dims[axis + 1 :])
    w.step(Step.TAKE, [x[0].number, x[1].number, y[0].number, outer, n, inner], x, y)


def _cvm_lut(w: PlanWriter, node: Node, x: Inputs, y: Inputs) -> None:
    w.step(Step.TAKE, [x[1].number, x[0].number, y[0].number, 1, x[1].count, 1], x, y)


def _where(w: PlanWriter, node: Node, x: Inputs, y: Inputs) -> None:
    row, whole, mask = 1, 1, 0
    if len(x[0].dims) != len(x[1].dims):
        row = product(x[1].dims[1:])
        whole = row // 4
        mask = (1 << 8 * (row % 4)) - 1
    w.step(Step.WHERE, [*(t.number for t in x), y[0].number, row, whole, mask], x, y)


def _dense(w: PlanWriter, node: Node, x: Inputs, y: Inputs) -> None:
    bias = x[2].number if len(x) == 3 else -1
    w.step(
        Step.DENSE, [x[0].number, x[1].number, bias, y[0].number, *x[0].dims, x[1].dims[0]], x, y
    )


def _conv2d(w: PlanWriter, node: Node, x: Inputs, y: Inputs) -> None:
    a = node.attributes
    bias = x[2].number if len(x) == 3 else -1
    w.step(
        Step.CONV,
        [
            x[0].number,
            x[1].number,
            bias,
            y[0].number,
            *x[0].dims,
            *y[0].dims[2:],
            *a.kernel_size,
            *a.strides,
            *a.padding,
            *a.dilation,
            a.channels,
            a.groups,
        ],
        x,
        y,
    )


def _max_pool2d(w: PlanWriter, node: Node, x: Inputs, y: Inputs) -> None:
    a = node.attributes
    padding = (a.padding[0], a.padding[-1])
    w.step(
        Step.MAX_POOL,
        [
            x[0].number,
            y[0].number,
            *x[0].dims,
            *y[0].dims[2:],
            *a.pool_size,
            *a.strides,
            *padding,
            1,
            1,
        ],
        x,
        y,
    )


def _get_valid_counts(w: PlanWriter, node: Node, x: Inputs, y: Inputs) -> None:
    w.step(
        Step.VALID_COUNTS,
        [x[0].number, y[0].number, y[1].number, *x[0].dims, node.attributes.score_threshold],
        x,
        y,
    )


def _non_max_suppression(w: PlanWriter, node: Node, x: Inputs, y: Inputs) -> None:
    a = node.attributes
    batch, rows, _ = x[0].dims
    scratch = w.plain((2, rows))
    bounded = [max(INT32_MIN, min(INT32_MAX, v)) for v in (a.max_output_size, a.iou_threshold)]
    w.step(
        Step.SUPPRESS,
        [
            x[0].number,
            x[1].number,
            y[0].number,
            scratch.number,
            batch,
            rows,
            *bounded,
            int(a.force_suppress),
            a.top_k,
        ],
        x,
        [*y, scratch],
    )


LOWERINGS: dict[str, Lowering] = {
    "relu": _unary(CLAMP, 0, INT32_MAX),
    "abs": _unary(ABS),
    "negative": _unary(NEGATIVE),
    "cvm_precision": _unary(PRECISION),
    "clip": _clip,
    "cvm_clip": _cvm_clip,
    "cvm_right_shift": _shift(RIGHT_SHIFT),
    "cvm_left_shift": _shift(LEFT_SHIFT),
    "elemwise_add": _binary(ADD),
    "elemwise_sub": _binary(SUB),
    "broadcast_add": _binary(ADD),
    "broadcast_sub": _binary(SUB),
    "broadcast_mul": _binary(MUL),
    "broadcast_max": _binary(MAX),
    "broadcast_div": _binary(DIV),
    "broadcast_greater": _binary(GREATER),
    "sum": _reduce(0),
    "max": _reduce(1),
    "flatten": _flat_copy,
    "expand_dims": _flat_copy,
    "reshape": _flat_copy,
    "squeeze": _flat_copy,
    "transpose": _transpose,
    "repeat": _repeat,
    "tile": _tile,
    "upsampling": _upsampling,
    "strided_slice": _strided_slice,
    "slice_like": _slice_like,
    "concatenate": _concatenate,
    "take": _take,
    "cvm_lut": _cvm_lut,
    "where": _where,
    "dense": _dense,
    "conv2d": _conv2d,
    "max_pool2d": _max_pool2d,
    "get_valid_counts": _get_valid_counts,
    "non_max_suppression": _non_max_suppression,
}


def literal(graph: Graph) -> tuple[PlanWriter, dict[tuple[int, int], Tensor], list[int]]:
    """One operator after the other, every tensor in memory of its own: the plan of a trace.

    Returns the unfinished writer, the tensor of every (node, output), and for every node the
    number of steps after which its outputs are complete.
    """
    writer = PlanWriter(graph.input_shape)
    tensors: dict[tuple[int, int], Tensor] = {}
    done: list[int] = []
    for index, node in enumerate(graph.nodes):
        writer.source = index
        if node.is_variable:
            found = [
                writer.input()
                if index == graph.input_index
                else writer.constant_tensor(graph.parameters[node.name])
            ]
        else:
            inputs = [tensors[e.node, e.output] for e in node.inputs]
            found = lower(writer, node, inputs, [None] * len(node.shapes))
        for output, tensor in enumerate(found):
            tensors[index, output] = tensor
            writer.keep(tensor)
        done.append(len(writer.steps))
    for head in graph.heads:
        tensor = tensors[head.node, head.output]
        target = writer.plain(tensor.dims, writer.output(tensor.dims))
        copy(writer, tensor, target, (tensor.count,), (1,))
    return writer, tensors, done
