"""Which way each weight rounds: to nearest, or so that the errors of a channel cancel.

Everything here has the same bits on every machine. Square roots, products and sums of single
elements are exact by IEEE 754; matrix products, which libraries add up in orders of their own, are
taken of integers so small that no sum can round.
"""

from __future__ import annotations

import numpy as np

from yolo_core.arrays import Array
from yolo_mrt.calibrate.tables import CODE_LIMIT

#: Share of the mean energy that is added to every column's, so that rare inputs count too.
DAMPING = 0.05
#: The least that is added: a step's square at one position, far above the last bits of moments.
_LEAST = 1.0
_BLOCK = 64
#: A factor's entries reach 1: with this many fractional bits, sums over a block fit 53 bits.
_FACTOR_BITS = 23
#: Bits of the two operands of longer sums: with 2^13 terms they fit 53 bits as well.
_ERROR_BITS, _LONG_BITS = 19, 21
#: Smallest pivot; what is below has drowned in the rounding of the factor.
_PIVOT = 2.0**-20


def round_nearest(flat: Array, step: Array) -> Array:
    """int64 [out, K] in ±127."""
    result: Array = np.clip(np.rint(flat / step[:, None]), -CODE_LIMIT, CODE_LIMIT).astype(np.int64)
    return result


def round_compensating(flat: Array, step: Array, moments: Array) -> Array:
    """int64 [out, K] in ±127, minimising the error of weight times input.

    moments [K, K]: sums over positions, of products of the input codes or of their deviations from
    means. With moments = L L^T the squared error of a channel is the sum over k of (sum over j ≥ k
    of error_j L_jk)^2, so the columns are rounded from the last to the first, each making its own
    term as small as it can: the nearest plane of Babai's, the column by column surgery of the
    pruning literature. The column of the largest energy, the last of the order, is the first to
    round.
    """
    size = flat.shape[1]
    energy = np.diag(moments)
    order = np.argsort(energy, kind="stable")
    factor = moments[np.ix_(order, order)]
    factor[np.arange(size), np.arange(size)] += max(DAMPING * np.rint(energy).mean(), _LEAST)
    norm = np.sqrt(np.diag(factor))
    factor /= norm[:, None]
    factor /= norm[None, :]
    _factorize(factor)
    wished = flat[:, order] / step[:, None]
    chosen = np.empty_like(wished)
    errors = np.zeros_like(wished)
    for end in range(size, 0, -_BLOCK):
        start = max(end - _BLOCK, 0)
        carried = _exact_product(errors[:, end:], factor[end:, start:end])
        for column in range(end - 1, start - 1, -1):
            asked = carried[:, column - start] / (factor[column, column] * norm[column])
            rounded = np.clip(np.rint(wished[:, column] + asked), -CODE_LIMIT, CODE_LIMIT)
            error = (wished[:, column] - rounded) * norm[column]
            carried[:, : column - start] += error[:, None] * factor[column, start:column]
            chosen[:, column], errors[:, column] = rounded, error
    result = np.empty_like(chosen)
    result[:, order] = chosen
    codes: Array = result.astype(np.int64)
    return codes


def _factorize(matrix: Array) -> None:
    """Cholesky's L in place of the lower triangle of a matrix with a diagonal of ones.

    Entries are rounded to _FACTOR_BITS on the way, far below what the damping has added.
    """
    size = len(matrix)
    for start in range(0, size, _BLOCK):
        end = min(start + _BLOCK, size)
        for column in range(start, end):
            pivot = np.sqrt(max(matrix[column, column], _PIVOT))
            matrix[column + 1 :, column] /= pivot
            matrix[column, column] = pivot
            below = matrix[column + 1 :, column]
            matrix[column + 1 :, column + 1 : end] -= below[:, None] * below[: end - column - 1]
        panel = np.rint(np.ldexp(matrix[end:, start:end], _FACTOR_BITS))
        for left in range(0, size - end, _BLOCK):
            right = left + _BLOCK
            matrix[end + left :, end + left : end + right] -= np.ldexp(
                panel[left:] @ panel[left:right].T, -2 * _FACTOR_BITS
            )


def _exact_product(errors: Array, factor: Array) -> Array:
    """errors @ factor, both rounded so far that every sum is exact. factor is at most 1."""
    if not errors.any():
        return np.zeros((len(errors), factor.shape[1]))
    # frexp, unlike a logarithm, is exact.
    exponent = int(np.frexp(np.abs(errors).max())[1])
    whole = np.rint(np.ldexp(errors, _ERROR_BITS - exponent))
    parts = np.rint(np.ldexp(factor, _LONG_BITS))
    result: Array = np.ldexp(whole @ parts, exponent - _ERROR_BITS - _LONG_BITS)
    return result
