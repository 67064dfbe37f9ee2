"""The two kinds of failure that CVM knows; which of them happens is part of consensus.

Source: spec 4.1. A logic error is return code 1 of the original C interface, a runtime fault is
return code 2. Both are `InputError`, so that every command refuses them in one line.
"""

from __future__ import annotations

from typing import ClassVar

from yolo_core.errors import InputError


class GraphError(InputError):
    """A program, its parameters or its input break a rule. Use one of the two kinds below."""

    code: ClassVar[int]
    kind: ClassVar[str]

    def __str__(self) -> str:
        return f"{super().__str__()} [{self.kind}, code {self.code}]"

    def at(self, place: str) -> GraphError:
        """The same failure with the place where it was found put before its source."""
        source = f"{place}: {self.source}" if self.source else place
        return type(self)(source, self.cause, self.expected)


class LogicError(GraphError):
    """The program is at fault: a rule of the machine is broken (return code 1)."""

    code = 1
    kind = "logic error"


class RuntimeFault(GraphError):
    """The file cannot be read or an attribute cannot be parsed (return code 2)."""

    code = 2
    kind = "runtime fault"
