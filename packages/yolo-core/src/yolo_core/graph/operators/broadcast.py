"""The operators of two operands whose shapes are matched by broadcasting.

Source: spec 3.1, 3.2: right-aligned, dims equal or 1, at most 6 dims. Operators: broadcast_add,
broadcast_sub, broadcast_mul, broadcast_max, broadcast_div, broadcast_greater.
"""

from __future__ import annotations

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph.integers import Shape
from yolo_core.graph.operators.attributes import Attributes
from yolo_core.graph.operators.operator import Arrays, Operator, Precisions, Shapes, require


def broadcast_shape(left: Shape, right: Shape) -> Shape:
    """The common shape of two shapes; LogicError where they are incompatible."""
    ndim = max(len(left), len(right))
    left_dims = (1,) * (ndim - len(left)) + tuple(left)
    right_dims = (1,) * (ndim - len(right)) + tuple(right)
    for p, q in zip(left_dims, right_dims):
        require(
            p == q or 1 in (p, q),
            "operands",
            f"shapes {left} and {right}",
            "dimensions that are equal or 1",
        )
    return tuple(max(p, q) for p, q in zip(left_dims, right_dims))


class _Broadcast(Operator):
    """Two operands, one result of the common shape."""

    def arity(self, a: Attributes) -> int:
        return 2

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        return (broadcast_shape(x[0], x[1]),)


class BroadcastAdd(_Broadcast):
    """x0 + x1, wrapping; one bit more than the wider operand. Spec 3.2."""

    name = "broadcast_add"

    def precision(self, p: Precisions, x: Shapes, y: Shapes, a: Attributes) -> tuple[int, ...]:
        return (max(p) + 1,)

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        return (x[0] + x[1],)


class BroadcastSub(_Broadcast):
    """x0 - x1, wrapping; one bit more than the wider operand. Spec 3.2."""

    name = "broadcast_sub"

    def precision(self, p: Precisions, x: Shapes, y: Shapes, a: Attributes) -> tuple[int, ...]:
        return (max(p) + 1,)

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        return (x[0] - x[1],)


class BroadcastMul(_Broadcast):
    """x0 * x1, wrapping; the precisions add up. Spec 3.2."""

    name = "broadcast_mul"

    def precision(self, p: Precisions, x: Shapes, y: Shapes, a: Attributes) -> tuple[int, ...]:
        return (p[0] + p[1],)

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        return (x[0] * x[1],)


class BroadcastMax(_Broadcast):
    """The larger of both; the wider precision. Spec 3.2."""

    name = "broadcast_max"

    def precision(self, p: Precisions, x: Shapes, y: Shapes, a: Attributes) -> tuple[int, ...]:
        return (max(p),)

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        return (np.maximum(x[0], x[1]),)


class BroadcastDiv(_Broadcast):
    """x0 / x1 truncated toward zero, 0 where x1 = 0; precision of x0. Spec 3.2.

    -2^31 / -1 wraps to -2^31.
    """

    name = "broadcast_div"

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        top, bottom = x[0].astype(np.int64), x[1].astype(np.int64)
        divisor = np.where(bottom == 0, np.int64(1), bottom)
        magnitude = np.abs(top) // np.abs(divisor)
        quotient = np.where((top < 0) != (divisor < 0), -magnitude, magnitude)
        return (np.where(bottom == 0, np.int64(0), quotient).astype(np.int32),)


class BroadcastGreater(_Broadcast):
    """1 where x0 > x1, else 0. Spec 3.2.

    The declared precision is that of x0, not 2 bits; the original counts so. It is unsound
    where x0 has 1 bit.
    """

    name = "broadcast_greater"

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        return ((x[0] > x[1]).astype(np.int32),)


OPERATORS = (
    BroadcastAdd(),
    BroadcastSub(),
    BroadcastMul(),
    BroadcastMax(),
    BroadcastDiv(),
    BroadcastGreater(),
)
