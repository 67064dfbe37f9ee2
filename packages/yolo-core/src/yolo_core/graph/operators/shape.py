"""The operators that move elements without changing them, and the gathers.

Source: spec 3.2, 3.3. Operators: repeat, tile, flatten, concatenate, expand_dims, reshape,
squeeze, transpose, strided_slice, slice_like, take, cvm_lut, where. The checker refuses results
beyond the limits of spec 4.5 before any of them runs. Where nothing else is said the result has
the precision of the first operand.
"""

from __future__ import annotations

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph.integers import Shape, elements
from yolo_core.graph.operators.attributes import (
    Attributes,
    Integer,
    Integers,
    OptionalInteger,
    check_axes,
    check_axis,
    check_distinct_axes,
    check_limits,
)
from yolo_core.graph.operators.operator import Arrays, Operator, Precisions, Shapes, require


class _Copy(Operator):
    """The same elements in the same order under another shape."""

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        (shape,) = self.shape([x[0].shape], a)
        return (x[0].reshape(shape),)


class Flatten(_Copy):
    """[d0, product of the rest]. Spec 3.2."""

    name = "flatten"
    in_place = True

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        return ((x[0][0], elements(x[0][1:])),)


class ExpandDims(_Copy):
    """num_newaxis ones inserted before position axis (n + axis + 1 where negative). Spec 3.2."""

    name = "expand_dims"
    attributes = (Integer("axis", required=True), Integer("num_newaxis", 1, low=1))
    in_place = True

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        check_limits("num_newaxis", (a.num_newaxis,), 1)
        axis = check_axis(a.axis, len(x[0]) + 1)
        return (x[0][:axis] + (1,) * a.num_newaxis + x[0][axis:],)


class Squeeze(_Copy):
    """Unit dims dropped: all, or the listed ones, which must be 1; at least [1]. Spec 3.2.

    An axis may be named more than once.
    """

    name = "squeeze"
    attributes = (Integers("axis", ()),)
    in_place = True

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        axes = check_axes(a.axis, len(x[0]))
        for axis in axes:
            require(x[0][axis] == 1, "attribute axis", f"dimension {axis} is {x[0][axis]}", "1")
        kept = (d for axis, d in enumerate(x[0]) if (axis not in axes if axes else d != 1))
        return (tuple(kept) or (1,),)


class Reshape(_Copy):
    """The same elements under a target shape of codes read left to right. Spec 3.3.

    d > 0: d itself. 0: copy a source dim. -1: infer (once). -2: copy the rest. -3: merge two
    source dims. -4 a b: split one source dim into a and b, one of which may be -1. A literal
    and -1 move the source cursor by one like 0. Other negative codes are refused.
    """

    name = "reshape"
    attributes = (Integers("shape", required=True),)
    in_place = True

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        source, codes = x[0], list(a.shape)
        require(bool(codes), "attribute shape", "empty")
        out: list[int] = []
        cursor, infer = 0, -1
        while codes:
            code = codes.pop(0)
            if code > 0:
                out.append(code)
                cursor += 1
            elif code == 0:
                require(cursor < len(source), "attribute shape", "0 copies no source dimension")
                out.append(source[cursor])
                cursor += 1
            elif code == -1:
                require(infer < 0, "attribute shape", "-1 twice")
                infer = len(out)
                out.append(1)
                cursor += 1
            elif code == -2:
                out.extend(source[cursor:])
                cursor = len(source)
            elif code == -3:
                require(cursor + 1 < len(source), "attribute shape", "-3 merges no two dimensions")
                out.append(source[cursor] * source[cursor + 1])
                cursor += 2
            elif code == -4:
                require(
                    cursor < len(source) and len(codes) >= 2,
                    "attribute shape",
                    "-4 splits no source dimension into two",
                )
                out.extend(self._split(source[cursor], codes.pop(0), codes.pop(0)))
                cursor += 1
            else:
                require(False, "attribute shape", f"code {code}", "-4 or more")
        if infer >= 0:
            known = elements(out)
            require(
                elements(source) % known == 0,
                "attribute shape",
                f"{elements(source)} elements do not divide by {known}",
            )
            out[infer] = elements(source) // known
        require(
            elements(out) == elements(source),
            "attribute shape",
            f"{tuple(out)} has {elements(out)} elements",
            f"{elements(source)}",
        )
        return (tuple(out),)

    @staticmethod
    def _split(dim: int, left: int, right: int) -> tuple[int, int]:
        require(
            (left > 0 or left == -1) and (right > 0 or right == -1) and left + right != -2,
            "attribute shape",
            f"-4 {left} {right}",
            "two sizes, at most one of them -1",
        )
        if left == -1:
            left = dim // right
        elif right == -1:
            right = dim // left
        require(left * right == dim, "attribute shape", f"-4 {left} {right}", f"a product of {dim}")
        return left, right


class Transpose(Operator):
    """Axes permuted; reversed where none is given; negatives allowed. Spec 3.2."""

    name = "transpose"
    attributes = (Integers("axes", ()),)

    def axes(self, ndim: int, a: Attributes) -> tuple[int, ...]:
        """The source axis of each result axis."""
        axes = check_distinct_axes(a.axes, ndim, "axes")
        require(len(axes) in (0, ndim), "attribute axes", f"{len(axes)} axes", f"{ndim}")
        return axes or tuple(reversed(range(ndim)))

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        return (tuple(x[0][axis] for axis in self.axes(len(x[0]), a)),)

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        return (np.transpose(x[0], self.axes(x[0].ndim, a)),)


class Concatenate(Operator):
    """Inputs joined along axis; all other dims equal; the widest precision. Spec 3.2."""

    name = "concatenate"
    attributes = (Integer("axis", 1),)

    def arity(self, a: Attributes) -> int:
        return -1

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        axis = check_axis(a.axis, len(x[0]))
        first = x[0][:axis] + x[0][axis + 1 :]
        for shape in x:
            require(
                len(shape) == len(x[0]) and shape[:axis] + shape[axis + 1 :] == first,
                "operands",
                f"shapes {x[0]} and {shape}",
                f"equal dims but for axis {axis}",
            )
        return ((*x[0][:axis], sum(shape[axis] for shape in x), *x[0][axis + 1 :]),)

    def precision(self, p: Precisions, x: Shapes, y: Shapes, a: Attributes) -> tuple[int, ...]:
        return (max(p),)

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        return (np.concatenate(x, axis=a.axis),)


class Repeat(Operator):
    """Each slice along axis repeated consecutively. Spec 3.2."""

    name = "repeat"
    attributes = (Integer("repeats", required=True), Integer("axis", 0))

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        require(a.repeats > 0, "attribute repeats", f"{a.repeats}", "at least 1")
        axis = check_axis(a.axis, len(x[0]))
        return ((*x[0][:axis], x[0][axis] * a.repeats, *x[0][axis + 1 :]),)

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        return (x[0].repeat(a.repeats, axis=a.axis),)


class Tile(Operator):
    """The whole repeated reps times, shape and reps aligned right; reps is not empty. Spec 3.2."""

    name = "tile"
    attributes = (Integers("reps", ()),)

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        require(bool(a.reps), "attribute reps", "empty")
        check_limits("reps", a.reps, 1)
        ndim = max(len(x[0]), len(a.reps))
        dims = (1,) * (ndim - len(x[0])) + x[0]
        reps = (1,) * (ndim - len(a.reps)) + a.reps
        return (tuple(d * r for d, r in zip(dims, reps)),)

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        return (np.tile(x[0], a.reps),)


class StridedSlice(Operator):
    """Elements begin + i * stride of each axis. Spec 3.3.

    Missing trailing entries mean begin 0, end = dim, stride 1. Negative begin and end get the
    dim added once; then both are brought into [0, dim], or [-1, dim-1] for a negative stride.
    Without attributes it slices axis 0 to [0:1]. More entries than dims are refused.
    """

    name = "strided_slice"
    attributes = (Integers("begin", (0,)), Integers("end", (1,)), Integers("stride", ()))

    def slices(self, shape: Shape, a: Attributes) -> list[tuple[int, int, int]]:
        """First index, count and stride of every axis. LogicError where a slice is empty."""
        for name in ("begin", "end", "stride"):
            require(
                len(getattr(a, name)) <= len(shape),
                f"attribute {name}",
                f"{len(getattr(a, name))} entries",
                f"at most {len(shape)}",
            )
        result = []
        for axis, dim in enumerate(shape):
            begin = a.begin[axis] if axis < len(a.begin) else 0
            end = a.end[axis] if axis < len(a.end) else dim
            stride = a.stride[axis] if axis < len(a.stride) else 1
            require(stride != 0, "attribute stride", "0")
            low, high = (0, dim) if stride > 0 else (-1, dim - 1)
            begin = min(max(begin + dim if begin < 0 else begin, low), high)
            end = min(max(end + dim if end < 0 else end, low), high)
            span = end - begin if stride > 0 else begin - end
            require(span > 0, "attribute begin", f"the slice of axis {axis} is empty")
            result.append((begin, -(-span // abs(stride)), stride))
        return result

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        return (tuple(count for _, count, _ in self.slices(x[0], a)),)

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        y = x[0]
        for axis, (begin, count, stride) in enumerate(self.slices(x[0].shape, a)):
            y = np.take(y, begin + stride * np.arange(count), axis=axis)
        return (y,)


class SliceLike(Operator):
    """The leading part of x, as long as `like` on the given axes (all where none). Spec 3.2.

    An axis may be named more than once.
    """

    name = "slice_like"
    attributes = (Integers("axis", ()),)

    def arity(self, a: Attributes) -> int:
        return 2

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        axes = check_axes(a.axis, len(x[0]))
        if not axes:
            require(
                len(x[0]) == len(x[1]),
                "operands",
                f"shapes {x[0]} and {x[1]}",
                "as many dimensions",
            )
            axes = tuple(range(len(x[0])))
        out = list(x[0])
        for axis in axes:
            require(axis < len(x[1]), "attribute axis", f"{axis}", f"an axis of {x[1]}")
            require(
                x[1][axis] <= x[0][axis],
                "operands",
                f"{x[1]} is longer on axis {axis}",
                f"at most {x[0][axis]}",
            )
            out[axis] = x[1][axis]
        return (tuple(out),)

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        (shape,) = self.shape([x[0].shape, x[1].shape], a)
        return (x[0][tuple(slice(size) for size in shape)],)


class Take(Operator):
    """data[.., indices, ..] with every index clamped to [0, n-1]; negatives do not wrap. Spec 3.3.

    Without axis the data count as flattened.
    """

    name = "take"
    attributes = (OptionalInteger("axis", None),)

    def arity(self, a: Attributes) -> int:
        return 2

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        if a.axis is None:
            return (x[1],)
        axis = check_axis(a.axis, len(x[0]))
        return (x[0][:axis] + x[1] + x[0][axis + 1 :],)

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        return (np.take(x[0], x[1], axis=a.axis, mode="clip"),)


class CvmLut(Operator):
    """table[clamp(data, 0, in_dim - 1)], the table flattened. Spec 3.2.

    The result has the precision of the table; the data may have any.
    """

    name = "cvm_lut"
    attributes = (Integer("in_dim", required=True),)

    def arity(self, a: Attributes) -> int:
        return 2

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        require(
            elements(x[1]) == a.in_dim,
            "attribute in_dim",
            f"{a.in_dim}",
            f"{elements(x[1])}, the size of the table",
        )
        return (x[0],)

    def precision(self, p: Precisions, x: Shapes, y: Shapes, a: Attributes) -> tuple[int, ...]:
        return (p[1],)

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        return (np.take(x[1], x[0], mode="clip"),)


class Where(Operator):
    """cond != 0 ? x : y. Spec 3.2, 3.3.

    cond has the shape of x, or one entry per row of x. The declared precision is that of cond,
    unsound as the original has it. With one entry per row the original's formal and CPU back
    ends copy as many *bytes* as the row has elements and leave the rest of the row unwritten;
    the bytes that they write are reproduced here and the rest is 0, so that no element depends
    on history (spec 8.2, 8.6). Rows of one-dimensional x are elements, copied whole.
    """

    name = "where"

    def arity(self, a: Attributes) -> int:
        return 3

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        cond, left, right = x
        require(left == right, "operands", f"shapes {left} and {right}", "identical shapes")
        require(cond in (left, (left[0],)), "condition", f"shape {cond}", f"{left} or ({left[0]},)")
        return (left,)

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        cond, left, right = x
        if cond.ndim == left.ndim:
            return (np.where(cond != 0, left, right),)
        rows = np.where((cond != 0).reshape(-1, *(1,) * (left.ndim - 1)), left, right)
        size = elements(left.shape[1:])
        source = np.ascontiguousarray(rows, "<i4").reshape(len(cond), size).view(np.uint8)
        written = np.zeros_like(source)
        written[:, :size] = source[:, :size]
        return (written.view("<i4").astype(np.int32).reshape(left.shape),)


OPERATORS = (
    Flatten(),
    ExpandDims(),
    Squeeze(),
    Reshape(),
    Transpose(),
    Concatenate(),
    Repeat(),
    Tile(),
    StridedSlice(),
    SliceLike(),
    Take(),
    CvmLut(),
    Where(),
)
