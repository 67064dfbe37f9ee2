"""What an operator is: a name, attributes, and five rules.

Every class of the modules beside this one describes one operator of spec 3 and overrides what
differs from the commonest case: one input, one output, same shape, same precision, gas base 1.

In the rules
    x   the inputs: their shapes, or in `meaning` their int32 arrays
    p   the declared precisions of the inputs, 1..32
    y   the shapes of the outputs
    a   the parsed attributes
All arrays are int32 in row-major order and all arithmetic wraps modulo 2^32 (spec 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from yolo_core.arrays import Array
from yolo_core.graph.errors import LogicError
from yolo_core.graph.integers import Shape
from yolo_core.graph.operators.attributes import Attribute, Attributes

Shapes = Sequence[Shape]
Precisions = Sequence[int]
Arrays = Sequence[Array]


class Operator:
    """One operation of the machine. Stateless; the table holds one instance of each."""

    name: ClassVar[str]
    attributes: ClassVar[tuple[Attribute, ...]] = ()
    outputs: ClassVar[int] = 1
    in_place: ClassVar[bool] = False  # may write its result over its operand (spec 1.5 step 4)

    def arity(self, a: Attributes) -> int:
        """Number of inputs; -1 for one or more."""
        return 1

    def shape(self, x: Shapes, a: Attributes) -> tuple[Shape, ...]:
        """Shapes of the outputs. LogicError where inputs or attributes do not fit."""
        return (x[0],)

    def precision(self, p: Precisions, x: Shapes, y: Shapes, a: Attributes) -> tuple[int, ...]:
        """Declared precisions of the outputs; the checker refuses any outside 1..32."""
        return (p[0],)

    def gas(self, x: Shapes, y: Shapes, a: Attributes) -> int:
        """Base w of spec 5.1: the operator costs w * elements(y[0])."""
        return 1

    def meaning(self, x: Arrays, a: Attributes) -> tuple[Array, ...]:
        """The value of every output as int32 arrays."""
        raise NotImplementedError


def require(condition: bool, source: str, cause: str, expected: str = "") -> None:
    """A rule of spec 3; LogicError where it is broken."""
    if not condition:
        raise LogicError(source, cause, expected or None)
