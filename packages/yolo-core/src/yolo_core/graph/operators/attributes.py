"""The attribute grammar: how the strings of `op_attrs` become integers, booleans and tuples.

Source: spec 1.4. Each operator lists the attributes it takes; everything else is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Union

from yolo_core.graph.errors import LogicError, RuntimeFault
from yolo_core.graph.integers import INT32_MAX, INT32_MIN

Value = Union[int, bool, str, None, tuple[int, ...]]

# The largest value that the original allows in a range-checked attribute (spec 3.1).
ATTRIBUTE_LIMIT = 4096

_INTEGER = re.compile(r"\s*([+-]?[0-9]{1,20})\s*")
_ITEM = re.compile(r"\s*([+-]?[0-9]{1,20})L?\s*")
_TUPLE = re.compile(r"\s*(?:\((?P<round>[^()\[\]]*)\)|\[(?P<square>[^()\[\]]*)\])\s*")
_HIDDEN = re.compile(r"__.*__")


class Attributes(Mapping[str, Value]):
    """The parsed attributes of one node: every attribute of its operator, defaults filled in.

    Read as a mapping or by name: `a["strides"]` and `a.strides` are the same tuple of ints.
    """

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Value:
        return self._values[name]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Attributes({self._values!r})"


@dataclass(frozen=True)
class Attribute:
    """One attribute of an operator: its name, its kind of value and its default.

    low, high: inclusive bounds whose violation is a runtime fault; None where unbounded.
    """

    name: str
    default: Value = None
    required: bool = False
    low: int | None = None
    high: int | None = None

    def read(self, text: str) -> Value:
        """The value that the string stands for; RuntimeFault where the grammar is broken."""
        raise NotImplementedError

    def accept(self, value: object) -> Value:
        """A Python value given by a builder, checked like a value read from a file."""
        return self.read(self.write(value))

    def write(self, value: object) -> str:
        """The string of a value as the original compiler would write it."""
        return str(value)

    def _fault(self, text: object, expected: str) -> RuntimeFault:
        return RuntimeFault(f"attribute {self.name}", f"cannot read {str(text)[:60]!r}", expected)

    def _bounded(self, value: int, text: str) -> int:
        low = INT32_MIN if self.low is None else self.low
        high = INT32_MAX if self.high is None else self.high
        if not low <= value <= high:
            raise RuntimeFault(f"attribute {self.name}", f"{value}", f"{low}..{high}")
        return value


class Integer(Attribute):
    """A 32-bit integer: `16`."""

    def read(self, text: str) -> Value:
        match = _INTEGER.fullmatch(text)
        if not match:
            raise self._fault(text, "an integer")
        return self._bounded(int(match.group(1)), text)


class OptionalInteger(Integer):
    """A 32-bit integer or `None`."""

    def read(self, text: str) -> Value:
        return None if text.strip() == "None" else super().read(text)


class Boolean(Attribute):
    """`true`, `false`, `1` or `0` in any case."""

    def read(self, text: str) -> Value:
        word = text.strip().lower()
        if word not in ("true", "false", "1", "0"):
            raise self._fault(text, "true, false, 1 or 0")
        return word in ("true", "1")


class Integers(Attribute):
    """A tuple: `(1, 1)`, `[1,1]`, `(1,)`, `()`, or a bare scalar for a tuple of one."""

    def read(self, text: str) -> Value:
        match = _TUPLE.fullmatch(text)
        if not match:
            items = [text]
        else:
            inside = (
                match.group("round") if match.group("round") is not None else match.group("square")
            )
            items = inside.split(",")
            if not items[-1].strip():
                items.pop()
        values = []
        for item in items:
            one = _ITEM.fullmatch(item)
            if not one:
                raise self._fault(text, "a tuple of integers")
            values.append(self._bounded(int(one.group(1)), text))
        return tuple(values)

    def write(self, value: object) -> str:
        if isinstance(value, (tuple, list)):
            items = ", ".join(str(int(item)) for item in value)
            return f"({items},)" if len(value) == 1 else f"({items})"
        return str(value)


class Text(Attribute):
    """A raw string; the operator judges it."""

    def read(self, text: str) -> Value:
        return text


def parse(allowed: tuple[Attribute, ...], given: Mapping[str, object], raw: bool) -> Attributes:
    """Every attribute of an operator from what a node gives.

    raw: True for the strings of a file, False for Python values from a builder.
    Raises LogicError when the operator takes no attributes at all, else RuntimeFault (spec 1.4).
    """
    names = {attribute.name for attribute in allowed}
    for name in given:
        if not allowed:
            raise LogicError(f"attribute {name[:60]!r}", "the operator takes no attributes")
        if name not in names and not _HIDDEN.fullmatch(name):
            raise RuntimeFault(f"attribute {name[:60]!r}", "unknown", ", ".join(sorted(names)))
    values: dict[str, Value] = {}
    for attribute in allowed:
        if attribute.name not in given:
            if attribute.required:
                raise RuntimeFault(f"attribute {attribute.name}", "missing")
            values[attribute.name] = attribute.default
            continue
        value = given[attribute.name]
        values[attribute.name] = attribute.read(str(value)) if raw else attribute.accept(value)
    return Attributes(values)


def check_limits(
    name: str, values: tuple[int, ...], low: int = 0, high: int = ATTRIBUTE_LIMIT
) -> None:
    """The range check of spec 3.1: each value in low..high (default 0..4096), else LogicError."""
    for value in values:
        if not low <= value <= high:
            raise LogicError(f"attribute {name}", f"{value}", f"{low}..{high}")


def check_pair(name: str, values: tuple[int, ...], low: int, high: int = ATTRIBUTE_LIMIT) -> None:
    """A tuple of exactly two values in low..high, else LogicError."""
    if len(values) != 2:
        raise LogicError(f"attribute {name}", f"{len(values)} values", "2")
    check_limits(name, values, low, high)


def check_text(name: str, value: str, *allowed: str) -> None:
    """One of the named words, else LogicError."""
    if value not in allowed:
        raise LogicError(f"attribute {name}", f"{value[:60]!r}", " or ".join(allowed))


def check_axis(axis: int, ndim: int, name: str = "axis") -> int:
    """The axis counted from the front; negatives count from the end; out of range: LogicError."""
    if not -ndim <= axis < ndim:
        raise LogicError(f"attribute {name}", f"{axis}", f"{-ndim}..{ndim - 1}")
    return axis % ndim


def check_axes(axes: tuple[int, ...], ndim: int, name: str = "axis") -> tuple[int, ...]:
    """The axes counted from the front, in the order given; out of range: LogicError."""
    return tuple(check_axis(axis, ndim, name) for axis in axes)


def check_distinct_axes(axes: tuple[int, ...], ndim: int, name: str = "axis") -> tuple[int, ...]:
    """As `check_axes`, where naming an axis twice is a LogicError too."""
    result = check_axes(axes, ndim, name)
    if len(set(result)) != len(result):
        raise LogicError(f"attribute {name}", f"{axes} names an axis twice")
    return result
