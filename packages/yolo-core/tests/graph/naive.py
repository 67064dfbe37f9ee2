"""Second, slow readings of spec 3.3 in plain Python integers; the operator table must agree."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np


def wrap(value: int) -> int:
    """A mathematical integer reduced to int32."""
    return (value + 2**31) % 2**32 - 2**31


def conv2d(
    x: Any, w: Any, bias: Any, strides: Any, padding: Any, dilation: Any, groups: Any
) -> Any:
    """Every tap of every output, one at a time."""
    batch, _channels, height, width = x.shape
    outputs, inputs, kh, kw = w.shape
    rows = (height + 2 * padding[0] - (kh - 1) * dilation[0] - 1) // strides[0] + 1
    columns = (width + 2 * padding[1] - (kw - 1) * dilation[1] - 1) // strides[1] + 1
    y = np.zeros((batch, outputs, rows, columns), np.int64)
    for n, o, i, j in itertools.product(*map(range, y.shape)):
        total = 0 if bias is None else int(bias[o])
        first = (o // (outputs // groups)) * inputs
        for c, r, s in itertools.product(range(inputs), range(kh), range(kw)):
            top = i * strides[0] + r * dilation[0] - padding[0]
            left = j * strides[1] + s * dilation[1] - padding[1]
            if 0 <= top < height and 0 <= left < width:
                total += int(x[n, first + c, top, left]) * int(w[o, c, r, s])
        y[n, o, i, j] = wrap(total)
    return y


def max_pool2d(x: Any, size: Any, strides: Any, padding: Any, ceil: Any) -> Any:
    """The largest real element of every window."""
    batch, channels, height, width = x.shape
    counts = []
    for length, k, step, pad in zip((height, width), size, strides, padding):
        span = length + 2 * pad - k
        counts.append((span + (step - 1 if ceil else 0)) // step + 1)
    y = np.zeros((batch, channels, *counts), np.int64)
    for n, c, i, j in itertools.product(*map(range, y.shape)):
        top, left = i * strides[0] - padding[0], j * strides[1] - padding[1]
        window = x[n, c, max(top, 0) : top + size[0], max(left, 0) : left + size[1]]
        y[n, c, i, j] = window.max()
    return y


def right_shift(value: int, shift: int, precision: int) -> int:
    """x / 2^s rounded half up, clamped."""
    rounded = (2 * value + 2**shift) // 2 ** (shift + 1)
    bound = 2 ** (precision - 1) - 1
    result: int = min(max(rounded, -bound), bound)
    return result


def iou(a: Sequence[int], b: Sequence[int]) -> int:
    """Percent of overlap of two boxes of honest size."""
    area: list[int] = [(q[2] - q[0]) * (q[3] - q[1]) for q in (a, b)]
    if sum(area) <= 0:
        return 0
    shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    union = sum(area) - shared
    return 0 if union <= 0 else 100 * shared // union


def suppress(rows: Any, valid: Any, threshold: float, force: Any, top_k: Any, most: Any) -> Any:
    """Greedy suppression by the definition of spec 3.3."""
    total = min(max(valid, 0), len(rows))
    order = sorted(range(total), key=lambda k: -rows[k][1])
    look = min(total, top_k) if top_k >= 0 else total
    limit = min(total, most) if most >= 0 else total
    kept: list[Any] = []
    for row in (rows[k] for k in order[:look]):
        if len(kept) == limit:
            break
        if row[0] < 0:
            continue
        rivals = [r for r in kept if force or r[0] == row[0]]
        if all(iou(row[2:], r[2:]) < threshold for r in rivals):
            kept.append(row)
    return kept + [[-1] * 6] * (len(rows) - len(kept))
