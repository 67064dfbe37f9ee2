"""Every operator of the machine as plain steps on dense int32 tensors.

Thirty-seven operators become eleven kinds of loop: what only moves elements is one strided copy.
Source: specification 3. Nothing here looks at neighbours; `emission` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Callable

from yolo_core.graph import Node
from yolo_core.graph.integers import INT32_MAX, INT32_MIN, limit
from yolo_core.graph.operators import TABLE
from yolo_cvm.engine.format import Binary, Step, Unary
from yolo_cvm.engine.planner.form import Tensor, product
from yolo_cvm.engine.planner.writer import Writer

Inputs = Sequence[Tensor]
Strides = tuple[int, ...]

#: Appends the steps of a node: (writer, node, inputs, outputs).
Lowering = Callable[[Writer, Node, Inputs, Inputs], None]
VIEWS = frozenset(["flatten", "expand_dims", "reshape", "squeeze"])


def dense_strides(dims: Sequence[int]) -> Strides:
    """Row-major strides in elements."""
    strides = [1]
    for d in reversed(dims[1:]):
        strides.append(strides[-1] * d)
    return tuple(reversed(strides))


def lower(
    writer: Writer, node: Node, inputs: Inputs, outputs: Sequence[Tensor | None]
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
    writer: Writer,
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
    writer.step(
        Step.COPY,
        x=source,
        out=target,
        x_start=source_start,
        out_start=target_start,
        axes=merge(dims, (source_strides, target_strides)),
    )


def pair(name: str, sizes: Sequence[int]) -> dict[str, int]:
    """Fields of a window: height and width."""
    return {f"{name}_h": sizes[0], f"{name}_w": sizes[1]}


def merge(dims: Sequence[int], strides: Sequence[Strides]) -> list[tuple[int, tuple[int, ...]]]:
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


#: Kind, bounds and shift of a UNARY step.
UnaryFields = tuple[Unary, int, int, int]


def _clamp(a: Any) -> UnaryFields:
    return Unary.CLAMP, a.a_min, a.a_max, 0


def _cvm_clip(a: Any) -> UnaryFields:
    bound = limit(a.precision)
    return Unary.CLAMP, -bound, bound, 0


def _shift(kind: Unary) -> Callable[[Any], UnaryFields]:
    def fields(a: Any) -> UnaryFields:
        bound = limit(a.precision)
        return kind, -bound, bound, a.shift_bit

    return fields


#: Operators of one operand: what their attributes make of a UNARY step.
UNARIES: dict[str, Callable[[Any], UnaryFields]] = {
    "relu": lambda a: (Unary.CLAMP, 0, INT32_MAX, 0),
    "abs": lambda a: (Unary.ABS, 0, 0, 0),
    "negative": lambda a: (Unary.NEGATIVE, 0, 0, 0),
    "cvm_precision": lambda a: (Unary.PRECISION, 0, 0, 0),
    "clip": _clamp,
    "cvm_clip": _cvm_clip,
    "cvm_right_shift": _shift(Unary.RIGHT_SHIFT),
    "cvm_left_shift": _shift(Unary.LEFT_SHIFT),
}
#: Operators of two operands, of shapes that fit each other.
BINARIES: dict[str, Binary] = {
    "elemwise_add": Binary.ADD,
    "elemwise_sub": Binary.SUB,
    "broadcast_add": Binary.ADD,
    "broadcast_sub": Binary.SUB,
    "broadcast_mul": Binary.MUL,
    "broadcast_max": Binary.MAX,
    "broadcast_div": Binary.DIV,
    "broadcast_greater": Binary.GREATER,
}


def _unary(fields: Callable[[Any], UnaryFields]) -> Lowering:
    def build(w: Writer, node: Node, x: Inputs, y: Inputs) -> None:
        kind, low, high, shift = fields(node.attributes)
        w.step(Step.UNARY, kind=kind, x=x[0], out=y[0], low=low, high=high, shift=shift)

    return build


def _binary(kind: Binary) -> Lowering:
    def build(w: Writer, node: Node, x: Inputs, y: Inputs) -> None:
        shape = node.shapes[0]
        strides = [broadcast_strides(t.dims, shape) for t in x]
        axes = merge(shape, (*strides, dense_strides(shape)))
        w.step(Step.BINARY, kind=kind, a=x[0], b=x[1], out=y[0], axes=axes)

    return build


def broadcast_strides(dims: Sequence[int], shape: Sequence[int]) -> Strides:
    """Strides over `shape` of a dense tensor that is repeated along the axes that it lacks."""
    own = dense_strides(dims)
    missing = len(shape) - len(dims)
    return (0,) * missing + tuple(0 if d == 1 else s for d, s in zip(dims, own))


def _reduce(maximum: int) -> Lowering:
    def build(w: Writer, node: Node, x: Inputs, y: Inputs) -> None:
        a, dims = node.attributes, x[0].dims
        over = node.operator.axes(len(dims), a)  # type: ignore[attr-defined]
        strides = dense_strides(dims)
        kept, reduced = (
            [(d, (s,)) for i, (d, s) in enumerate(zip(dims, strides)) if (i in over) is wanted]
            for wanted in (False, True)
        )
        w.step(
            Step.REDUCE,
            maximum=maximum,
            floor_zero=int(bool(maximum) and not a.axis),
            x=x[0],
            out=y[0],
            kept=kept,
            reduced=reduced,
        )

    return build


def _flat_copy(w: Writer, node: Node, x: Inputs, y: Inputs) -> None:
    copy(w, x[0], y[0], (x[0].count,), (1,))


def _transpose(w: Writer, node: Node, x: Inputs, y: Inputs) -> None:
    axes = TABLE["transpose"].axes(len(x[0].dims), node.attributes)  # type: ignore[attr-defined]
    strides = dense_strides(x[0].dims)
    copy(w, x[0], y[0], y[0].dims, tuple(strides[a] for a in axes))


def _repeat(w: Writer, node: Node, x: Inputs, y: Inputs) -> None:
    dims, axis = x[0].dims, node.attributes.axis % len(x[0].dims)
    strides = dense_strides(dims)
    copy(
        w,
        x[0],
        y[0],
        (*dims[: axis + 1], node.attributes.repeats, *dims[axis + 1 :]),
        (*strides[: axis + 1], 0, *strides[axis + 1 :]),
    )


def _tile(w: Writer, node: Node, x: Inputs, y: Inputs) -> None:
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


def _upsampling(w: Writer, node: Node, x: Inputs, y: Inputs) -> None:
    batch, channels, height, width = x[0].dims
    scale = node.attributes.scale
    a, b, c, d = dense_strides(x[0].dims)
    copy(w, x[0], y[0], (batch, channels, height, scale, width, scale), (a, b, c, 0, d, 0))


def _strided_slice(w: Writer, node: Node, x: Inputs, y: Inputs) -> None:
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


def _slice_like(w: Writer, node: Node, x: Inputs, y: Inputs) -> None:
    copy(w, x[0], y[0], y[0].dims, dense_strides(x[0].dims))


def _concatenate(w: Writer, node: Node, x: Inputs, y: Inputs) -> None:
    axis = node.attributes.axis % len(y[0].dims)
    strides = dense_strides(y[0].dims)
    at = 0
    for t in x:
        start = at * strides[axis]
        at += t.dims[axis]
        if t.buffer is y[0].buffer and t.start == y[0].start + 4 * start:
            continue  # already written in place
        copy(w, t, y[0], t.dims, dense_strides(t.dims), strides, target_start=start)


def _take(w: Writer, node: Node, x: Inputs, y: Inputs) -> None:
    axis, dims = node.attributes.axis, x[0].dims
    if axis is None:
        outer, n, inner = 1, x[0].count, 1
    else:
        axis %= len(dims)
        outer, n, inner = product(dims[:axis]), dims[axis], product(dims[axis + 1 :])
    w.step(Step.TAKE, data=x[0], index=x[1], out=y[0], outer=outer, size=n, inner=inner)


def _cvm_lut(w: Writer, node: Node, x: Inputs, y: Inputs) -> None:
    w.step(Step.TAKE, data=x[1], index=x[0], out=y[0], outer=1, size=x[1].count, inner=1)


def _where(w: Writer, node: Node, x: Inputs, y: Inputs) -> None:
    row, whole, mask = 1, 1, 0
    if len(x[0].dims) != len(x[1].dims):
        row = product(x[1].dims[1:])
        whole = row // 4
        mask = (1 << 8 * (row % 4)) - 1
    w.step(Step.WHERE, condition=x[0], x=x[1], y=x[2], out=y[0], row=row, whole=whole, mask=mask)


def _bias(x: Inputs) -> Tensor | None:
    return x[2] if len(x) == 3 else None


def _dense(w: Writer, node: Node, x: Inputs, y: Inputs) -> None:
    rows, inner = x[0].dims
    w.step(
        Step.DENSE,
        x=x[0],
        weight=x[1],
        bias=_bias(x),
        out=y[0],
        rows=rows,
        inner=inner,
        units=x[1].dims[0],
    )


def _window(
    x: Tensor, y: Tensor, kernel: Sequence[int], a: Any, dilation: Sequence[int]
) -> dict[str, int]:
    sizes = dict(zip(("batch", "channels", "height", "width"), x.dims))
    return {
        **sizes,
        "out_height": y.dims[2],
        "out_width": y.dims[3],
        **pair("kernel", kernel),
        **pair("stride", a.strides),
        **pair("pad", (a.padding[0], a.padding[-1])),
        **pair("dilation", dilation),
    }


def _conv2d(w: Writer, node: Node, x: Inputs, y: Inputs) -> None:
    a = node.attributes
    w.step(
        Step.CONV,
        x=x[0],
        weight=x[1],
        bias=_bias(x),
        out=y[0],
        **_window(x[0], y[0], a.kernel_size, a, a.dilation),
        outputs=a.channels,
        groups=a.groups,
    )


def _max_pool2d(w: Writer, node: Node, x: Inputs, y: Inputs) -> None:
    a = node.attributes
    w.step(Step.MAX_POOL, x=x[0], out=y[0], **_window(x[0], y[0], a.pool_size, a, (1, 1)))


def _get_valid_counts(w: Writer, node: Node, x: Inputs, y: Inputs) -> None:
    batch, count, width = x[0].dims
    w.step(
        Step.VALID_COUNTS,
        x=x[0],
        counts=y[0],
        rows=y[1],
        batch=batch,
        count=count,
        width=width,
        threshold=node.attributes.score_threshold,
    )


def suppression(node: Node) -> dict[str, int]:
    """Fields of a suppression."""
    a = node.attributes
    return {
        "max_output": max(INT32_MIN, min(INT32_MAX, a.max_output_size)),
        "iou": min(INT32_MAX, a.iou_threshold),
        "force": int(a.force_suppress),
        "top_k": max(INT32_MIN, min(INT32_MAX, a.top_k)),
    }


def suppression_order(writer: Writer, node: Node, most: int) -> Tensor:
    """Working memory of a suppression that keeps at most so many rows: two words for every
    candidate, five for every row that is kept."""
    count, a = node.shapes[0][1], node.attributes
    limits = [limit_ for limit_ in (a.max_output_size, a.top_k) if limit_ >= 0]
    return writer.plain((2 * count + 5 * min([count, most, *limits]),))


def _non_max_suppression(w: Writer, node: Node, x: Inputs, y: Inputs) -> None:
    batch, rows, _ = x[0].dims
    w.step(
        Step.SUPPRESS,
        x=x[0],
        counts=x[1],
        out=y[0],
        order=suppression_order(w, node, rows),
        batch=batch,
        count=rows,
        **suppression(node),
    )


LOWERINGS: dict[str, Lowering] = {
    **{op: _unary(fields) for op, fields in UNARIES.items()},
    **{op: _binary(kind) for op, kind in BINARIES.items()},
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
