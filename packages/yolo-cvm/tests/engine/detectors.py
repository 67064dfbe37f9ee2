"""Small programs that detect: heads, rows, selection, suppression."""

from __future__ import annotations

from typing import Any

import numpy as np

from yolo_core.arrays import Array
from yolo_core.graph import Graph, GraphBuilder, Ref


def suppression(shape: tuple[int, ...], threshold: int, joined: bool, k: int | None = None,
                **attributes: Any) -> Graph:  # fmt: skip
    """The input's rows above a threshold, suppressed; the first k of them."""
    b = GraphBuilder()
    x = b.input("data", (*shape, 6), 32)
    rows = x
    if joined:  # parts that are joined into rows again, one of them reversed twice
        parts = [
            b.operator("strided_slice", [x], begin=(0, 0, first), end=(*shape, last))
            for first, last in ((0, 1), (1, 3), (3, 6))
        ]
        rows = b.operator("concatenate", parts, axis=2)
    counts = b.operator("get_valid_counts", [rows], score_threshold=threshold)
    y = b.operator("non_max_suppression", [b.output(counts, 1), counts], **attributes)
    if k is not None:
        y = b.operator("strided_slice", [y], begin=(0, 0, 0), end=(shape[0], k, 6))
    return b.build([y])


class Detector:
    """Two heads of two anchors, rows joined, the best by one column taken."""

    WIDTH = 7

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.b = GraphBuilder()
        self.x = self.b.input("data", (1, 3, 12, 10), 8)
        self._count = 0

    def parameter(self, values: Array, bits: int) -> Ref:
        self._count += 1
        return self.b.parameter(f"p{self._count}", values, bits)

    def conv(self, x: Ref, outputs: int, kernel: int = 1, stride: int = 1) -> Ref:
        weight = self.random.integers(-9, 10, (outputs, x.shape[1], kernel, kernel))
        bias = self.random.integers(-99, 100, outputs)
        return self.b.operator(
            "conv2d",
            [x, self.parameter(weight, 5), self.parameter(bias, 8)],
            channels=outputs,
            kernel_size=(kernel, kernel),
            strides=(stride, stride),
            padding=(kernel // 2, kernel // 2),
        )

    def head(self, x: Ref, kernel: int = 1) -> Ref:
        y = self.conv(x, 2 * self.WIDTH, kernel)
        factor = self.parameter(self.random.integers(1, 60, (1, y.shape[1], 1, 1)), 7)
        y = self.b.operator(
            "broadcast_mul", [self.b.operator("cvm_clip", [y], precision=12), factor]
        )
        y = self.b.operator("cvm_right_shift", [y], precision=9, shift_bit=4)
        _, _, height, width = y.shape
        y = self.b.operator("reshape", [y], shape=(1, 2, self.WIDTH, height * width))
        y = self.b.operator("transpose", [y], axes=(0, 1, 3, 2))
        return self.b.operator("reshape", [y], shape=(1, 2 * height * width, self.WIDTH))

    def rows(self, kernel: int = 1) -> Ref:
        x = self.b.operator("cvm_right_shift", [self.conv(self.x, 5, 3)], precision=8, shift_bit=5)
        y = self.b.operator("cvm_right_shift", [self.conv(x, 40, 3, 2)], precision=8, shift_bit=7)
        return self.b.operator("concatenate", [self.head(x, kernel), self.head(y)], axis=1)

    def column(self, rows: Ref, first: int, last: int) -> Ref:
        end = (1, rows.shape[1], last)
        return self.b.operator("strided_slice", [rows], begin=(0, 0, first), end=end)


def indices(detector: Detector, rows: Ref, count: int) -> Ref:
    """Row numbers that depend on the input; some of them outside, many of them repeated."""
    few = detector.column(rows, 4, 5)
    few = detector.b.operator("strided_slice", [few], begin=(0, 0, 0), end=(1, count, 1))
    return detector.b.operator("reshape", [few], shape=(count,))
