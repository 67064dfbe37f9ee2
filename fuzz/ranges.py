"""An adversary against the certificate's rules: values that leave what is said of them.

    python ranges.py [--count N] [--programs N] [--seed N]

N times an operator gets intervals whose ends are near the edges of int32, of small precisions and
of zero, and operands at these ends and between them; sums of products get the inputs that make each
of them largest and smallest. Then every value of random programs, on inputs at the extremes of
their precision, must lie in its interval. Prints the counts; exit code 1 names what leaves.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "packages/yolo-cvm/tests/engine"))

from random_graphs import random_program

from yolo_core.arrays import Array
from yolo_core.graph import Graph, check, interpret
from yolo_core.graph.integers import INT32_MAX, INT32_MIN, limit
from yolo_core.graph.operators import TABLE
from yolo_core.graph.proof.bounds import intervals
from yolo_core.graph.proof.intervals import Range, Site
from yolo_core.graph.proof.ranges import RULES

#: Intervals that one call of a rule gets.
BATCH = 2048
POWERS = np.array([2**k + d for k in range(32) for d in (-1, 0, 1)], np.int64)
EDGES = np.unique(np.clip(np.concatenate([POWERS, -POWERS, [0]]), INT32_MIN, INT32_MAX))
PAIRS = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "max": np.maximum, "div": None,
    "greater": None,
}  # fmt: skip


def some_intervals(draw: np.random.Generator, most: int = INT32_MAX) -> Range:
    """A batch of intervals within +-most, of edges and of any values, some of one value."""
    edges = EDGES[np.abs(EDGES + 0.5) < most + 1]
    ends = np.where(
        draw.random((2, BATCH)) < 0.7,
        draw.choice(edges, (2, BATCH)),
        draw.integers(-most - 1, most + 1, (2, BATCH)),
    )
    ends[1] = np.where(draw.random(BATCH) < 0.1, ends[0], ends[1])
    return Range(ends.min(axis=0), ends.max(axis=0))


def some_values(draw: np.random.Generator, within: Range) -> Array:
    """A value of each interval: an end, an edge of int32 between, or any."""
    kind = draw.integers(0, 4, BATCH)
    edge = np.clip(draw.choice(EDGES, BATCH), within.lo, within.hi)
    between = draw.integers(within.lo, within.hi + 1)
    return np.choose(kind, [within.lo, within.hi, edge, between])


def rule(op: str, x: list[Range], given: dict[str, Any], values: list[Array | None]) -> Range:
    """What the rule of an operator says."""
    operator = TABLE[op]
    attributes = check.attributes(operator, len(x), given, raw=False)
    shapes = [one.lo.shape for one in x]
    outputs = operator.shape(shapes, attributes)
    found = RULES[op](Site(operator, x, shapes, outputs, attributes, values))[0]
    return found.moved(lambda end: np.broadcast_to(end, outputs[0]))


def leaves(
    op: str,
    x: list[Range],
    operands: list[Array],
    given: dict[str, Any],
    exact: Array | None = None,
    values: list[Array | None] | None = None,
) -> str:
    """What leaves its interval, in words; empty where nothing does.

    exact: the results before they wrap, where those are meant; else an interval beyond int32 says
    nothing of the machine's results.
    """
    found = rule(op, x, given, values or [None] * len(x))
    if exact is None:
        attributes = check.attributes(TABLE[op], len(x), given, raw=False)
        narrow = [one.astype(np.int32) for one in operands]
        exact = TABLE[op].meaning(narrow, attributes)[0].astype(np.int64)
        said = (found.lo >= INT32_MIN) & (found.hi <= INT32_MAX)
    else:
        said = np.full(exact.shape, True)
    wrong = np.flatnonzero((said & ((exact < found.lo) | (exact > found.hi))).reshape(-1))
    if not wrong.size:
        return ""
    k = int(wrong[0])
    ends = [(int(one.lo.reshape(-1)[k]), int(one.hi.reshape(-1)[k])) for one in x
            if one.lo.size == exact.size]  # fmt: skip
    return f"{op} {given} of {ends}: {int(exact.reshape(-1)[k])} leaves " + str(
        (int(found.lo.reshape(-1)[k]), int(found.hi.reshape(-1)[k]))
    )


def one_operand(draw: np.random.Generator) -> str:
    """An operator of one operand, element by element."""
    op = str(draw.choice(["relu", "abs", "negative", "cvm_precision", "clip", "cvm_clip",
                          "cvm_right_shift", "cvm_left_shift", "cvm_lut"]))  # fmt: skip
    x = some_intervals(draw, int(draw.choice([INT32_MAX, 2**20, 100])))
    data = some_values(draw, x)
    precision, shift = int(draw.integers(1, 33)), int(draw.integers(1, 33))
    if op == "clip":
        low, high = np.sort(draw.choice(EDGES[(EDGES > INT32_MIN)], 2, replace=False))
        return leaves(op, [x], [data], {"a_min": int(low), "a_max": int(high)})
    if op == "cvm_clip":
        return leaves(op, [x], [data], {"precision": precision})
    if op in ("cvm_right_shift", "cvm_left_shift"):
        return leaves(op, [x], [data], {"precision": precision, "shift_bit": shift})
    if op == "cvm_lut":
        size = int(draw.choice([1, 2, 7, 256]))
        table = draw.choice(EDGES, (size,)).astype(np.int32)
        whole = Range(table.astype(np.int64), table.astype(np.int64))
        known = table if draw.random() < 0.8 else None
        return leaves(op, [x, whole], [data, table], {"in_dim": size}, values=[None, known])
    exact = {"abs": np.abs(data), "negative": -data}.get(op)
    return leaves(op, [x], [data], {}, exact)


def two_operands(draw: np.random.Generator) -> str:
    """An operator of two operands, element by element."""
    kind = str(draw.choice(list(PAIRS)))
    x, y = (some_intervals(draw, int(draw.choice([INT32_MAX, 2**15, 9]))) for _ in range(2))
    left, right = some_values(draw, x), some_values(draw, y)
    exact = PAIRS[kind]
    return leaves(f"broadcast_{kind}", [x, y], [left, right], {},
                  None if exact is None else exact(left, right))  # fmt: skip


def products(draw: np.random.Generator) -> str:
    """A sum of products at the inputs that make each of its outputs largest and smallest."""
    inputs, units = int(draw.integers(1, 40)), int(draw.integers(1, 12))
    most = int(draw.choice([127, 2**15, 2**20]))
    ends = np.sort(draw.integers(-most, most + 1, (2, 1, inputs)), axis=0)
    x = Range(ends[0], ends[1])
    weight = draw.integers(-127, 128, (units, inputs)).astype(np.int32)
    weight[draw.random(weight.shape) < 0.2] = int(draw.choice([-127, 0, 127]))
    bias = draw.choice(EDGES, (units,)).astype(np.int32)
    w, b = (Range(one.astype(np.int64), one.astype(np.int64)) for one in (weight, bias))
    op, given = "dense", {"units": units, "use_bias": True}
    found = rule(op, [x, w, b], given, [None, weight, bias])
    wide = weight.astype(np.int64)
    high = np.maximum(wide * x.lo, wide * x.hi).sum(axis=1) + bias
    low = np.minimum(wide * x.lo, wide * x.hi).sum(axis=1) + bias
    if np.array_equal(found.lo[0], low) and np.array_equal(found.hi[0], high):
        return ""
    return f"dense of {inputs} inputs: {found.lo[0]}..{found.hi[0]}, but {low}..{high} occur"


def reductions(draw: np.random.Generator) -> str:
    """Sums and maxima at the ends of every element."""
    shape = tuple(int(one) for one in draw.integers(1, 5, int(draw.integers(1, 5))))
    ends = np.sort(draw.choice(EDGES, (2, *shape)), axis=0)
    x = Range(ends[0], ends[1])
    axes = tuple(axis for axis in range(len(shape)) if draw.random() < 0.5)
    given = {"axis": axes, "keepdims": bool(draw.integers(2)), "exclude": bool(draw.integers(2))}
    op = str(draw.choice(["sum", "max"]))
    corner = np.where(draw.random(shape) < draw.choice([0, 0.5, 1]), x.lo, x.hi)
    return leaves(op, [x], [corner], given)


def of_program(graph: Graph, data: Array, draw: np.random.Generator) -> tuple[int, str]:
    """Values of a program that leave their intervals on a few inputs; how many were looked at."""
    proven = list(intervals(graph))
    bound = limit(graph.input_precision)
    signs = draw.choice(np.array([-bound, bound]), (2, *graph.input_shape))
    count = 0
    for x in (data, *signs, np.full_like(data, bound), np.full_like(data, -bound)):
        for index, outputs in interpret.trace(graph, x.astype(np.int32)):
            for number, (array, (low, high)) in enumerate(zip(outputs, proven[index])):
                count += array.size
                if array.min() < low or array.max() > high:
                    return count, f"node {index}, output {number} leaves {low}..{high}"
    return count, ""


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000, help="intervals of operators")
    parser.add_argument("--programs", type=int, default=300, help="random programs")
    parser.add_argument("--seed", type=int, default=0, help="of the first trial")
    options = parser.parse_args()
    tried = [one_operand, two_operands, products, reductions]
    begun, count, seed = time.monotonic(), 0, options.seed
    while count < options.count:
        trial = tried[seed % len(tried)]
        wrong = trial(np.random.default_rng(seed))
        if wrong:
            print(f"seed {seed}: {wrong}")
            return 1
        count += BATCH if trial in (one_operand, two_operands) else 1
        seed += 1
    print(
        f"{count:,} intervals of operators in {time.monotonic() - begun:.0f} s, no value leaves one"
    )
    begun, values = time.monotonic(), 0
    for number in range(options.seed, options.seed + options.programs):
        graph, data = random_program(number)
        looked, wrong = of_program(graph, data, np.random.default_rng(number))
        values += looked
        if wrong:
            print(f"program {number}: {wrong}")
            return 1
    print(f"{values:,} values of {options.programs} programs in {time.monotonic() - begun:.0f} s, "
          "none leaves its interval")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
