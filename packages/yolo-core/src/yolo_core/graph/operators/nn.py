"""The operators of neural networks: conv2d, dense, max_pool2d, upsampling.

Source: spec 3.2, 3.3. Layout is NCHW for tensors and OIHW for weights, nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph.integers import INT32_MAX, INT32_MIN, MAX_DIM, Shape, elements, growth
from yolo_core.graph.operators.attributes import (
    Attributes,
    Boolean,
    Integer,
    Integers,
    Text,
    check_limits,
    check_pair,
    check_text,
)
from yolo_core.graph.operators.operator import Arrays, Operator, Precisions, Shapes, require

#: Values of the input that `Conv2d.meaning` lays out at once, unless one tap reads more.
LAID_OUT = 1 << 18
#: Products between two looks for Ctrl-C and the deadline: less than a second of NumPy.
PRODUCTS = 1 << 28


def _product_sum_precision(p: Precisions, terms: int) -> int:
    """Precision of a sum of products, with the bias p[2] where there is one."""
    require(p[0] <= 8, "data", f"{p[0]} bits", "at most 8 bits")
    require(p[1] <= 8, "weight", f"{p[1]} bits", "at most 8 bits")
    q = p[0] + p[1] + growth(terms)
    return max(q, p[2]) + 1 if len(p) == 3 else q


class Conv2d(Operator):
    """Grouped, strided, dilated convolution of 8-bit data with 8-bit weights. Spec 3.3.

    y[n,o,i,j] = bias[o] + sum over c, r, s of
        x[n, (o / (O/g)) * (C/g) + c, i*stride + r*dilation - pad, ...] * w[o,c,r,s]
    with out size = floor((size + 2*pad - ((k-1)*dilation + 1)) / stride) + 1. Taps outside the
    picture contribute 0. Sums wrap; within the precision rule they cannot.

    Precision: data and weight have at most 8 bits; q = px + pw + RS(C/g * kh * kw); with a bias
    max(q, pb) + 1. So K = 32767 terms of 8 x 8 bits with a bias are the most that fit 32 bits.
    The weight must be exactly [channels, C/groups, kh, kw]; the original never compares it
    (spec 8.1 defect 4). Its CPU back end cuts operands to 8 bits, which changes nothing here.
    """

    name = "conv2d"
    attributes = (
        Integer("channels", required=True),
        Integers("kernel_size", required=True),
        Integers("strides", (1, 1)),
        Integers("padding", (0, 0)),
        Integers("dilation", (1, 1)),
        Integer("groups", 1),
        Text("layout", "NCHW"),
        Text("kernel_layout", "OIHW"),
        Text("out_layout", "__undef__"),
        Text("out_dtype", "same"),
        Boolean("use_bias", True),
    )

    def arity(self, a: Attributes) -> int:
        return 3 if a.use_bias else 2

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        check_text("layout", a.layout, "NCHW")
        check_text("kernel_layout", a.kernel_layout, "OIHW")
        check_text("out_layout", a.out_layout, "__undef__", "NCHW")
        check_text("out_dtype", a.out_dtype, "same", "int32")
        check_pair("kernel_size", a.kernel_size, 1, MAX_DIM)
        check_pair("strides", a.strides, 1)
        check_pair("padding", a.padding, 0)
        check_pair("dilation", a.dilation, 1)
        require(len(x[0]) == 4, "data", f"shape {x[0]}", "4 dimensions")
        batch, channels, height, width = x[0]
        require(a.groups > 0, "attribute groups", f"{a.groups}", "at least 1")
        require(
            channels % a.groups == 0 and a.channels % a.groups == 0,
            "attribute groups",
            f"{a.groups}",
            f"a divisor of {channels} and of {a.channels} channels",
        )
        weight = (a.channels, channels // a.groups, *a.kernel_size)
        require(x[1] == weight, "weight", f"shape {x[1]}", f"{weight}")
        if a.use_bias:
            require(x[2] == (a.channels,), "bias", f"shape {x[2]}", f"({a.channels},)")
        out = []
        for size, k, stride, pad, dilation in zip(
            (height, width), a.kernel_size, a.strides, a.padding, a.dilation
        ):
            reach = (k - 1) * dilation + 1
            require(
                reach <= size + 2 * pad,
                "kernel",
                f"{reach} wide when dilated",
                f"at most {size + 2 * pad}, the padded input",
            )
            out.append((size + 2 * pad - reach) // stride + 1)
        return ((batch, a.channels, *out),)

    def precision(self, p: Precisions, x: Shapes, y: Shapes, a: Attributes) -> tuple[int, ...]:
        return (_product_sum_precision(p, elements(x[1][1:])),)

    def gas(self, x: Shapes, y: Shapes, a: Attributes) -> int:
        return 3 * elements(x[1][1:]) + (1 if a.use_bias else 0)

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        (shape,) = self.shape([array.shape for array in x], a)
        y = np.zeros(shape, np.int32)
        if a.use_bias:
            y += x[2].reshape(1, -1, 1, 1)
        # Every group is a convolution of its own: the axis g stands beside the channels.
        data = x[0].reshape(len(x[0]), a.groups, -1, *x[0].shape[2:])
        weight = x[1].reshape(a.groups, -1, *x[1].shape[1:])
        weight = weight.reshape(*weight.shape[:3], -1).transpose(0, 1, 3, 2)  # by taps
        sums = y.reshape(len(y), a.groups, -1, shape[2] * shape[3])
        rows, columns = (
            [reach(k * dilation - padding, stride, size, count) for k in range(kernel)]
            for kernel, dilation, padding, stride, size, count in zip(
                a.kernel_size, a.dilation, a.padding, a.strides, data.shape[3:], shape[2:]
            )
        )
        taps = [(r, s) for r in range(len(rows)) for s in range(len(columns))]
        step = max(1, LAID_OUT // (elements(data.shape[:3]) * shape[2] * shape[3]))
        for first in range(0, len(taps), step):
            some = taps[first : first + step]
            terms = np.zeros((*data.shape[:2], len(some), data.shape[2], *shape[2:]), np.int32)
            for t, (r, s) in enumerate(some):
                (out_h, in_h), (out_w, in_w) = rows[r], columns[s]
                terms[:, :, t, :, out_h, out_w] = data[..., in_h, in_w]
            factors = weight[:, :, first : first + step]
            laid = terms.reshape(*terms.shape[:2], -1, sums.shape[3])
            flat = factors.reshape(*factors.shape[:2], -1)
            for part in parts(flat.shape[1], elements(laid.shape)):
                sums[:, :, part] += np.einsum("gok,ngkp->ngop", flat[:, part], laid)
        return (y,)


def parts(count: int, cost: int) -> Iterator[slice]:
    """All of an axis of `count` entries of `cost` products each, in parts that take a second.

    Between them Python sees Ctrl-C and the deadline of the command.
    """
    step = max(1, PRODUCTS // max(cost, 1))
    for first in range(0, count, step):
        yield slice(first, first + step)


def reach(offset: int, stride: int, size: int, count: int) -> tuple[slice, slice]:
    """Where one tap of a window falls inside an axis of `size` elements; `count` outputs.

    Output i reads input i * stride + offset. Returns the outputs whose input exists, and those
    inputs; what lies outside is read by nobody.
    """
    first = max(0, -(offset // stride))
    last = min(count, (size - 1 - offset) // stride + 1)
    if last <= first:
        return slice(0, 0), slice(0, 0)
    start = first * stride + offset
    return slice(first, last), slice(start, start + (last - first - 1) * stride + 1, stride)


class Dense(Operator):
    """X times the transpose of W, plus bias. Strictly [M,K] and [units,K]. Spec 3.2.

    Precision as conv2d with K terms.
    """

    name = "dense"
    attributes = (Integer("units", required=True, low=1), Boolean("use_bias", True))

    def arity(self, a: Attributes) -> int:
        return 3 if a.use_bias else 2

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        require(len(x[0]) == 2, "data", f"shape {x[0]}", "2 dimensions")
        rows, terms = x[0]
        require(x[1] == (a.units, terms), "weight", f"shape {x[1]}", f"{(a.units, terms)}")
        if a.use_bias:
            require(x[2] == (a.units,), "bias", f"shape {x[2]}", f"({a.units},)")
        return ((rows, a.units),)

    def precision(self, p: Precisions, x: Shapes, y: Shapes, a: Attributes) -> tuple[int, ...]:
        return (_product_sum_precision(p, x[0][1]),)

    def gas(self, x: Shapes, y: Shapes, a: Attributes) -> int:
        return 3 * x[1][1] + (1 if a.use_bias else 0)

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        y = np.zeros((len(x[0]), len(x[1])), np.int32)
        for part in parts(len(x[1]), x[0].size):
            y[:, part] = np.einsum("mk,uk->mu", x[0], x[1][part])
        return (y + x[2] if a.use_bias else y,)


class MaxPool2d(Operator):
    """The largest element of each window; padding never wins. Precision of x. Spec 3.3.

    A window is no larger than the padded input, and larger than the padding. ceil_mode rounds
    the number of windows up; the last must still begin before the picture's far edge, so that it
    holds at least one real element.
    """

    name = "max_pool2d"
    attributes = (
        Integers("pool_size", required=True),
        Integers("strides", (1, 1)),
        Integers("padding", (0, 0)),
        Text("layout", "NCHW"),
        Boolean("ceil_mode", False),
    )

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        check_text("layout", a.layout, "NCHW")
        require(len(x[0]) == 4, "data", f"shape {x[0]}", "4 dimensions")
        check_pair("pool_size", a.pool_size, 1, INT32_MAX)
        check_pair("strides", a.strides, 1)
        check_limits("padding", a.padding)
        require(len(a.padding) in (1, 2), "attribute padding", f"{len(a.padding)} values", "1 or 2")
        out = []
        for size, k, stride, pad in zip(x[0][2:], a.pool_size, a.strides, self.padding(a)):
            require(
                k <= size + 2 * pad,
                "attribute pool_size",
                f"{k}",
                f"at most {size + 2 * pad}, the padded input",
            )
            require(pad < k, "attribute padding", f"{pad}", f"less than the window of {k}")
            count = (size + 2 * pad - k + (stride - 1 if a.ceil_mode else 0)) // stride + 1
            require(
                (count - 1) * stride - pad < size,
                "attribute ceil_mode",
                "the last window lies outside the picture",
            )
            out.append(count)
        return ((*x[0][:2], *out),)

    def gas(self, x: Shapes, y: Shapes, a: Attributes) -> int:
        return elements(a.pool_size)

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        (shape,) = self.shape([x[0].shape], a)
        y = x[0]
        # The largest of a window is the largest, over its columns, of the largest of each column.
        for d in (0, 1):
            size = (*y.shape[: 2 + d], shape[2 + d], *y.shape[3 + d :])
            partial = np.full(size, INT32_MIN, np.int32)
            for tap in range(a.pool_size[d]):
                out, into = reach(
                    tap - self.padding(a)[d], a.strides[d], x[0].shape[2 + d], shape[2 + d]
                )
                view = partial[:, :, out] if d == 0 else partial[:, :, :, out]
                np.maximum(view, y[:, :, into] if d == 0 else y[:, :, :, into], out=view)
            y = partial
        return (y,)

    @staticmethod
    def padding(a: Attributes) -> tuple[int, int]:
        """Padding of height and width; a single value serves both."""
        return (a.padding[0], a.padding[-1])


class Upsampling(Operator):
    """Nearest neighbour: out[..,y,x] = in[..,y/scale,x/scale]; precision of x. Spec 3.2."""

    name = "upsampling"
    attributes = (
        Integer("scale", required=True),
        Text("layout", "NCHW"),
        Text("method", "NEAREST_NEIGHBOR"),
    )

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        check_limits("scale", (a.scale,), 1)
        check_text("layout", a.layout, "NCHW")
        check_text("method", a.method, "NEAREST_NEIGHBOR")
        require(len(x[0]) == 4, "data", f"shape {x[0]}", "4 dimensions")
        batch, channels, height, width = x[0]
        return ((batch, channels, height * a.scale, width * a.scale),)

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        return (x[0].repeat(a.scale, axis=2).repeat(a.scale, axis=3),)


OPERATORS = (Conv2d(), Dense(), MaxPool2d(), Upsampling())
