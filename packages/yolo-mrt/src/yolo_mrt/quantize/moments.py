"""What convolutions read, as second moments: where it is looked at, and how it is summed up.

All sums are of integers and exact, so they have the same bits on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yolo_core.arrays import Array
from yolo_mrt.network.net import Layer

#: Positions of each tensor and image that the moments are taken at.
POSITIONS = 384
#: So many products of two numbers up to 254 have a sum below 2^24, which is exact in float32.
_EXACT = 256


@dataclass(frozen=True)
class Moments:
    """How the columns that a convolution reads, of codes (code - zero), are spread.

    covariances [K, K]: sums over the positions of products of two columns' deviations from their
    means. totals [K]: sums of the columns, integers. count: of positions.
    """

    covariances: Array
    totals: Array
    count: int


class MomentSums:
    """Moments in the making."""

    def __init__(self, size: int) -> None:
        self._products, self._totals = np.zeros((size, size)), np.zeros(size)
        self._count = 0

    def add(self, matrix: Array) -> None:
        """The columns at some positions: float32 [positions, K] of integers from -254 to 254."""
        for start in range(0, len(matrix), _EXACT):
            part = matrix[start : start + _EXACT]
            self._products += part.T @ part
        self._totals += matrix.sum(axis=0, dtype=np.float64)
        self._count += len(matrix)

    def moments(self) -> Moments:
        """What has been added; nothing can be added afterwards."""
        covariances = self._products
        # In place and row by row: of the largest networks one such matrix weighs a gigabyte.
        for row, total in zip(covariances, self._totals):
            row -= total * self._totals / self._count
        return Moments(covariances, self._totals, self._count)


def columns(layer: Layer, x: Array, positions: Array) -> Array:
    """What the convolution multiplies at these output positions: [len(positions), P * kh * kw]."""
    (kh, kw), (sh, sw), (ph, pw) = layer.kernel, layer.stride, layer.padding
    width = (x.shape[2] + 2 * pw - kw) // sw + 1
    if (kh, kw, sh, sw, ph, pw) == (1, 1, 1, 1, 0, 0):
        return np.ascontiguousarray(x.reshape(len(x), -1)[:, positions].T)
    padded = np.pad(x, ((0, 0), (ph, ph), (pw, pw)))
    rows = (positions // width * sh)[:, None, None] + np.arange(kh)[None, :, None]
    cols = (positions % width * sw)[:, None, None] + np.arange(kw)[None, None, :]
    return padded[:, rows, cols].transpose(1, 0, 2, 3).reshape(len(positions), -1)


def sample_positions(layer: Layer, x: Array, number: int) -> Array:
    """Positions of the convolution's result, reading x [P, h, w]: int64 [n].

    They depend on the image's number alone.
    """
    rows = (x.shape[1] + 2 * layer.padding[0] - layer.kernel[0]) // layer.stride[0] + 1
    across = (x.shape[2] + 2 * layer.padding[1] - layer.kernel[1]) // layer.stride[1] + 1
    generator = np.random.RandomState(number)
    return generator.randint(0, rows * across, size=min(POSITIONS, rows * across))
