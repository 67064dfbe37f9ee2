"""The operators that reduce axes: sum and max.

Source: spec 3.2, 3.3 "Reductions". Axes of size 1 are axes like any other (the original's formal
back end; its CPU and CUDA back ends read wrong elements there).
"""

from __future__ import annotations

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph.integers import Shape, elements, growth
from yolo_core.graph.operators.attributes import (
    Attributes,
    Boolean,
    Integers,
    Text,
    check_distinct_axes,
)
from yolo_core.graph.operators.operator import Arrays, Operator, Precisions, Shapes


class _Reduction(Operator):
    """Reduce the listed axes, all axes where none is listed, or with `exclude` all the others.

    The result of a full reduction is [1], or ones with keepdims. `exclude` with every axis
    listed leaves nothing to reduce: a copy. The attribute dtype is ignored.
    """

    attributes = (
        Integers("axis", ()),
        Boolean("keepdims", False),
        Boolean("exclude", False),
        Text("dtype", "int32"),
    )

    def axes(self, ndim: int, a: Attributes) -> tuple[int, ...]:
        """The axes that are reduced, ascending. LogicError for a bad or repeated axis."""
        listed = check_distinct_axes(a.axis, ndim)
        if not listed:
            return tuple(range(ndim))
        return tuple(d for d in range(ndim) if (d in listed) != a.exclude)

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        axes = self.axes(len(x[0]), a)
        if a.keepdims:
            return (tuple(1 if d in axes else size for d, size in enumerate(x[0])),)
        return (tuple(size for d, size in enumerate(x[0]) if d not in axes) or (1,),)


class Sum(_Reduction):
    """Sum over axes, wrapping. Spec 3.2, 5.1.

    n = elements of x / elements of the result is the number of terms: precision p + RS(n), and
    the gas base.
    """

    name = "sum"

    def precision(self, p: Precisions, x: Shapes, y: Shapes, a: Attributes) -> tuple[int, ...]:
        return (p[0] + growth(elements(x[0]) // elements(y[0])),)

    def gas(self, x: Shapes, y: Shapes, a: Attributes) -> int:
        return elements(x[0]) // elements(y[0])

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        (shape,) = self.shape([x[0].shape], a)
        axes = self.axes(x[0].ndim, a)
        return (np.asarray(np.sum(x[0], axis=axes, dtype=np.int32)).reshape(shape),)


class Max(_Reduction):
    """Maximum over axes; precision of x; gas base 1 whatever is reduced. Spec 3.3.

    With an empty `axis` the original's accumulator starts at 0, so that all-negative data gives
    0 on every back end; that is kept. Axes listed one by one give the true maximum.
    """

    name = "max"

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        (shape,) = self.shape([x[0].shape], a)
        axes = self.axes(x[0].ndim, a)
        y = np.max(x[0], axis=axes).reshape(shape) if axes else x[0].copy()
        return (np.maximum(y, np.int32(0)) if not a.axis else y,)


OPERATORS = (Sum(), Max())
