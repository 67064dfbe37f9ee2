"""The rules of the certificate, proven by trying out all intervals of a few bits.

A rule is sound where every result of every operand in its intervals lies in the interval that it
gives, and exact where both ends of that interval occur.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from yolo_core.arrays import Array
from yolo_core.graph import check
from yolo_core.graph.operators import TABLE
from yolo_core.graph.proof import ranges
from yolo_core.graph.proof.intervals import Range, Site
from yolo_core.graph.proof.ranges import RULES

#: Operands of one: all values of these; of two: all pairs of these.
WIDE = np.arange(-17, 18, dtype=np.int32)
NARROW = np.arange(-6, 7, dtype=np.int32)

UNARY: list[tuple[str, dict[str, Any]]] = [
    ("relu", {}),
    ("abs", {}),
    ("negative", {}),
    ("cvm_precision", {}),
    *(("cvm_clip", {"precision": p}) for p in range(1, 7)),
    *(("clip", {"a_min": a, "a_max": b}) for a in range(-19, 19, 3) for b in range(a + 1, 20, 4)),
    *(
        (op, {"precision": p, "shift_bit": s})
        for op in ("cvm_right_shift", "cvm_left_shift")
        for p in range(1, 8)
        for s in range(1, 7)
    ),
]
BINARY = ["broadcast_add", "broadcast_sub", "broadcast_mul", "broadcast_max", "broadcast_div",
          "broadcast_greater", "elemwise_add", "elemwise_sub"]  # fmt: skip


def all_intervals(values: Array) -> tuple[Array, Array]:
    """Lowest and highest value of every interval of consecutive values."""
    pairs = [(a, b) for a in values for b in values if a <= b]
    low, high = np.array(pairs, np.int64).T
    return low, high


def rule(op: str, x: list[Range], given: dict[str, Any], values: list[Array | None]) -> Range:
    """What the rule of an operator says of operands of these ranges."""
    operator = TABLE[op]
    attributes = check.attributes(operator, len(x), given, raw=False)
    shapes = [one.lo.shape for one in x]
    results = check.shapes(operator, shapes, attributes)
    found = RULES[op](Site(operator, x, shapes, results, attributes, values))[0]
    return Range(*(np.broadcast_to(end, results[0]) for end in (found.lo, found.hi)))


def results(op: str, operands: list[Array], given: dict[str, Any]) -> Array:
    """What the operator makes of operands, as int64."""
    operator = TABLE[op]
    attributes = check.attributes(operator, len(operands), given, raw=False)
    return operator.meaning(operands, attributes)[0].astype(np.int64)


def windows(result: Array, low: Array, high: Array, first: int) -> Iterator[tuple[int, int]]:
    """The least and the greatest result over every interval of operands."""
    for a, b in zip(low - first, high - first + 1):
        yield int(result[a:b].min()), int(result[a:b].max())


@pytest.mark.parametrize(("op", "given"), UNARY, ids=lambda value: str(value).replace(" ", ""))
def test_rules_of_one_operand_are_sound_and_exact(op: str, given: dict[str, Any]) -> None:
    low, high = all_intervals(WIDE)
    found = rule(op, [Range(low, high)], given, [None])
    result = results(op, [WIDE], given)
    right = np.array(list(windows(result, low, high, int(WIDE[0]))))
    assert np.array_equal(found.lo, right[:, 0])
    assert np.array_equal(found.hi, right[:, 1])


@pytest.mark.parametrize("op", BINARY)
def test_rules_of_two_operands_are_sound_and_exact(op: str) -> None:
    low, high = all_intervals(NARROW)
    count, first = low.size, int(NARROW[0])
    # every interval of the one with every interval of the other
    left = Range(np.repeat(low, count), np.repeat(high, count))
    right = Range(np.tile(low, count), np.tile(high, count))
    size = NARROW.size
    table = results(op, [np.repeat(NARROW, size), np.tile(NARROW, size)], {}).reshape(size, size)
    rows = [table[a : b + 1] for a, b in zip(low - first, high - first)]
    least = [row.min(axis=0)[a : b + 1].min() for row in rows
             for a, b in zip(low - first, high - first)]  # fmt: skip
    most = [row.max(axis=0)[a : b + 1].max() for row in rows
            for a, b in zip(low - first, high - first)]  # fmt: skip
    found = rule(op, [left, right], {}, [None, None])
    assert np.array_equal(found.lo, least)
    assert np.array_equal(found.hi, most)


@pytest.mark.parametrize("size", [1, 2, 5, 16, 35])
@pytest.mark.parametrize("known", [True, False])
def test_the_rule_of_tables(size: int, known: bool) -> None:
    table = np.random.default_rng(size).integers(-99, 100, (size,)).astype(np.int32)
    low, high = all_intervals(WIDE)
    whole = Range(
        table.min(keepdims=True).astype(np.int64), table.max(keepdims=True).astype(np.int64)
    )
    operands = [Range(low, high), Range(np.broadcast_to(whole.lo, (size,)),
                                        np.broadcast_to(whole.hi, (size,)))]  # fmt: skip
    found = rule("cvm_lut", operands, {"in_dim": size}, [None, table if known else None])
    result = results("cvm_lut", [WIDE, table], {"in_dim": size})
    right = np.array(list(windows(result, low, high, int(WIDE[0]))))
    if known:
        assert np.array_equal(found.lo, right[:, 0])
        assert np.array_equal(found.hi, right[:, 1])
    else:
        assert (found.lo <= right[:, 0]).all()
        assert (found.hi >= right[:, 1]).all()


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kind", [np.int8, np.int32])
def test_the_rule_of_convolutions(groups: int, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ends occur: the inputs that reach them are known, as each stands in one product."""
    monkeypatch.setattr(ranges, "TAPS_AT_A_TIME", 30)
    random = np.random.default_rng(groups)
    weight: Array = random.integers(-128, 128, (6, 4 // groups, 3, 3)).astype(kind)
    weight[0] = weight.dtype.type(-128)
    given = {"channels": 6, "kernel_size": (3, 3), "groups": groups, "use_bias": False}
    for spread in (0, 40):
        low = random.integers(-50 - spread, -49, (1, 4, 1, 1))
        high = low + random.integers(60, 61 + spread, (1, 4, 1, 1))
        ends = [np.broadcast_to(end, (1, 4, 3, 3)) for end in (low, high)]
        whole = Range(np.full((6, 4 // groups, 3, 3), -128), np.full((6, 4 // groups, 3, 3), 127))
        found = rule("conv2d", [Range(*ends), whole], given, [None, weight])
        each = weight.astype(np.int64).reshape(groups, -1, 4 // groups, 9)
        products = [each * end.reshape(groups, 1, 4 // groups, 9) for end in ends]
        assert np.array_equal(found.lo.reshape(groups, -1), np.minimum(*products).sum(axis=(2, 3)))
        assert np.array_equal(found.hi.reshape(groups, -1), np.maximum(*products).sum(axis=(2, 3)))


def test_the_rule_of_where() -> None:
    low, high = all_intervals(NARROW)
    count = low.size
    left = Range(np.repeat(low, count), np.repeat(high, count))
    right = Range(np.tile(low, count), np.tile(high, count))
    condition = Range(np.zeros_like(left.lo), np.ones_like(left.lo))
    found = rule("where", [condition, left, right], {}, [None, None, None])
    assert np.array_equal(found.lo, np.minimum(left.lo, right.lo))
    assert np.array_equal(found.hi, np.maximum(left.hi, right.hi))


@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("bits", [8, 12])
def test_weighted_sums_are_exact(alike: bool, bits: int) -> None:
    """Both ends of a convolution occur: every weight meets the end of its sign."""
    draw = np.random.default_rng(bits)
    bound = 2 ** (bits - 1) - 1
    weight = draw.integers(-bound, bound + 1, (6, 5, 3, 3))
    lo = np.full(5, -9) if alike else draw.integers(-99, -1, 5)
    hi = np.full(5, 7) if alike else draw.integers(-1, 99, 5)
    x = Range(*(end.reshape(1, 5, 1, 1).astype(np.int64) for end in (lo, hi)))
    operator = TABLE["conv2d"]
    given = {"channels": 6, "kernel_size": (3, 3), "use_bias": False}
    attributes = check.attributes(operator, 2, given, raw=False)
    shapes = [(1, 5, 9, 9), weight.shape]
    site = Site(operator, [x, Range(weight, weight)], shapes, [(1, 6, 7, 7)], attributes,
                [None, weight])  # fmt: skip
    found = RULES["conv2d"](site)[0]
    ends = [weight * end.reshape(1, 5, 1, 1) for end in (lo, hi)]
    assert found.lo.reshape(-1).tolist() == np.minimum(*ends).sum(axis=(1, 2, 3)).tolist()
    assert found.hi.reshape(-1).tolist() == np.maximum(*ends).sum(axis=(1, 2, 3)).tolist()
