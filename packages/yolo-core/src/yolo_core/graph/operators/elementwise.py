"""The operators that look at one element at a time.

Source: spec 3.2, 3.3. Operators: relu, abs, negative, cvm_precision, clip, cvm_clip,
cvm_right_shift, cvm_left_shift, elemwise_add, elemwise_sub.
"""

from __future__ import annotations

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph.errors import RuntimeFault
from yolo_core.graph.integers import INT32_MAX, MAX_PRECISION, Shape, clamp, precision_of
from yolo_core.graph.operators.attributes import Attributes, Boolean, Integer, check_limits
from yolo_core.graph.operators.operator import Arrays, Operator, Precisions, Shapes, require


class Relu(Operator):
    """max(x, 0); precision of x. Spec 3.2."""

    name = "relu"
    in_place = True

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        return (np.maximum(x[0], np.int32(0)),)


class Abs(Operator):
    """Absolute value; precision of x. Spec 3.2, 8.1.

    |-2^31| wraps to -2^31, which no honest precision allows.
    """

    name = "abs"
    in_place = True

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        return (np.where(x[0] < 0, np.negative(x[0]), x[0]),)


class Negative(Operator):
    """-x; precision of x; -(-2^31) wraps to -2^31. Spec 3.2.

    It may not run in place: the original's list spells it wrongly (spec 1.5 step 4).
    """

    name = "negative"

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        return (np.negative(x[0]),)


class CvmPrecision(Operator):
    """max(1, bl(|x|)): the bits that hold the magnitude, 1..32; always 6 bits. Spec 3.2.

    -2^31 has the magnitude 2^31 of 32 bits; the original's formal back end never ends there.
    """

    name = "cvm_precision"
    in_place = True

    def precision(self, p: Precisions, x: Shapes, y: Shapes, a: Attributes) -> tuple[int, ...]:
        return (6,)

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        magnitude = np.abs(x[0].astype(np.int64))
        bits = np.ones(x[0].shape, np.int32)
        for bit in range(1, 32):
            bits += magnitude >= 2**bit
        return (bits,)


class Clip(Operator):
    """min(max(x, a_min), a_max) with a_min < a_max. Spec 3.2.

    The precision is NP(max(|a_min|, |a_max|)) whatever x has, one bit more than needed where the
    larger magnitude is 2^k - 1: clip(-127, 127) has 9 bits, which conv2d refuses.
    """

    name = "clip"
    attributes = (
        Integer("a_min", required=True),
        Integer("a_max", required=True),
    )
    in_place = True

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        check_limits("a_min", (a.a_min,), -INT32_MAX, INT32_MAX)
        require(a.a_min < a.a_max, "attribute a_min", f"{a.a_min}", f"less than a_max = {a.a_max}")
        return (x[0],)

    def precision(self, p: Precisions, x: Shapes, y: Shapes, a: Attributes) -> tuple[int, ...]:
        return (precision_of(max(abs(a.a_min), abs(a.a_max))),)

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        return (np.minimum(np.maximum(x[0], np.int32(a.a_min)), np.int32(a.a_max)),)


class CvmClip(Operator):
    """x brought into [-R(precision), R(precision)], which has that precision. Spec 3.2.

    is_sign is ignored. Precision 1 gives zeros.
    """

    name = "cvm_clip"
    attributes = (Integer("precision", required=True), Boolean("is_sign", True))
    in_place = True

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        check_limits("precision", (a.precision,), 1, MAX_PRECISION)
        return (x[0],)

    def precision(self, p: Precisions, x: Shapes, y: Shapes, a: Attributes) -> tuple[int, ...]:
        return (a.precision,)

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        return (clamp(x[0], a.precision),)


def _shifted(x: Shapes, a: Attributes) -> tuple[Shape, ...]:
    """The shape of a shift, whose precision and distance are 1..32; LogicError otherwise."""
    check_limits("precision", (a.precision,), 1, MAX_PRECISION)
    check_limits("shift_bit", (a.shift_bit,), 1, MAX_PRECISION)
    return (x[0],)


class CvmRightShift(Operator):
    """x / 2^shift_bit rounded half up (toward +infinity), then clamped to +-R(precision).

    t = floor(x / 2^(s-1)); u = floor((t + 1) / 2); y = clamp(u). Spec 3.3: -1.5 -> -1, 2.5 -> 3.
    The result has the precision of the attribute; is_sign is ignored. Defined for every s of
    1..32, also s = 31 and 32 where the original's CPU back end differs. Where t + 1 does not fit
    (s = 1, x = 2^31 - 1) the mathematical value 2^30 counts; the original's formal back end
    overflows there, the one place where it is not followed.
    """

    name = "cvm_right_shift"
    attributes = (
        Integer("precision", required=True),
        Integer("shift_bit", required=True),
        Boolean("is_sign", True),
    )
    in_place = True

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        return _shifted(x, a)

    def precision(self, p: Precisions, x: Shapes, y: Shapes, a: Attributes) -> tuple[int, ...]:
        return (a.precision,)

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        t = x[0] >> np.int32(a.shift_bit - 1)
        u = (t >> np.int32(1)) + (t & np.int32(1))  # floor((t + 1) / 2) without forming t + 1
        return (clamp(u, a.precision),)


class CvmLeftShift(Operator):
    """x * 2^shift_bit, wrapping, then clamped to +-R(precision). Spec 3.2, 3.3.

    The result has the precision of the attribute; is_sign is ignored. The original's CPU and CUDA
    back ends always throw here; the formal one is followed. P(x) + shift_bit must not exceed 32,
    so that honest values never wrap; else a runtime fault.
    """

    name = "cvm_left_shift"
    attributes = CvmRightShift.attributes
    in_place = True

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        return _shifted(x, a)

    def precision(self, p: Precisions, x: Shapes, y: Shapes, a: Attributes) -> tuple[int, ...]:
        if p[0] + a.shift_bit > 32:
            raise RuntimeFault(
                "precision", f"{p[0]} bits shifted left by {a.shift_bit}", "at most 32 bits"
            )
        return (a.precision,)

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        return (clamp(x[0] << np.int32(a.shift_bit), a.precision),)


class _Pairwise(Operator):
    """Two operands of one shape; the result has one bit more than the wider."""

    in_place = True

    def arity(self, a: Attributes) -> int:
        return 2

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        require(x[0] == x[1], "operands", f"shapes {x[0]} and {x[1]}", "identical shapes")
        return (x[0],)

    def precision(self, p: Precisions, x: Shapes, y: Shapes, a: Attributes) -> tuple[int, ...]:
        return (max(p) + 1,)


class ElemwiseAdd(_Pairwise):
    """x0 + x1 of identical shapes, wrapping; one bit more than the wider operand. Spec 3.2."""

    name = "elemwise_add"

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        return (x[0] + x[1],)


class ElemwiseSub(_Pairwise):
    """x0 - x1 of identical shapes, wrapping; one bit more than the wider operand. Spec 3.2."""

    name = "elemwise_sub"

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        return (x[0] - x[1],)


OPERATORS = (
    Relu(),
    Abs(),
    Negative(),
    CvmPrecision(),
    Clip(),
    CvmClip(),
    CvmRightShift(),
    CvmLeftShift(),
    ElemwiseAdd(),
    ElemwiseSub(),
)
