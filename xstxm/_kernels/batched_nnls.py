"""Many small constrained least-squares problems at once, each with a matrix of its own, pixels innermost.

Minimises ``x'Hx / 2 - h'x`` with x free, x >= 0, or x >= 0 and sum(x) = 1. A support is a mask of ones and zeros; with the
rows and columns off the support replaced by those of the identity, all pixels factorise matrices of one size, whatever
their supports. Those that break the optimality conditions change sides, all at once while their number falls, else the
worst one, and where that does not help for long the last one (Murty's rule, which always ends). Most pixels are right at once or after one exchange: those that are not go on among themselves,
gathered into a smaller room. No pixel sees another, so none depends on its place. Everything is float64.

Index letters: i, j, k reference, p pixel, q pixel in the smaller room.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from xstxm._kernels.chunk_loops import FAST
from xstxm._kernels.fit_plan import FCLS, LSTSQ, NNLS
from xstxm._kernels.small_nnls import INNER

TOLERANCE = 1e-12
"""Amount or slope below zero, relative to the largest, that is rounding."""
PATIENCE = 2
"""Rounds without progress, in units of the number of references, before the last one changes sides, not the worst."""
ROUNDS = 4
"""Exchanges after which the pixels that are still wrong are gathered anew."""
DOUBTFUL = 1e-10
"""Part of a diagonal element that is left by elimination, below which the matrix is too nearly singular to be trusted."""
GATHERED = 64
"""Pixels of the smaller room."""


class Problems(NamedTuple):
    """Problems of one block and their solutions."""

    matrix: np.ndarray
    """(i, j, p) lower triangle, diagonals of like size."""
    right: np.ndarray
    amount: np.ndarray
    mask: np.ndarray
    """(i, p) 1 for references in use, 0 at the bound."""
    factor: np.ndarray
    """(i, j, p) of the masked matrix L D L': L below, L D above, the inverse of D on the diagonal."""
    ones: np.ndarray
    """(i, p) the solution for ones on the right, which a fixed sum takes."""
    variance: np.ndarray
    slope: np.ndarray
    wrong: np.ndarray
    """(p) references on the wrong side; at the end, above zero where no solution was found that can be trusted."""
    fewest: np.ndarray
    waited: np.ndarray
    shared: np.ndarray
    """(p) what all slopes have in common where the sum is fixed."""
    size: np.ndarray
    """(2, p) largest amount and right side."""
    doubt: np.ndarray
    """(p) above zero where the matrix is too nearly singular to be trusted."""
    total: np.ndarray
    work: np.ndarray


@njit(**INNER)
def problems(n, n_pixels):
    """Return room for the problems of a block."""
    each = (n, n_pixels)
    return Problems(
        np.zeros((n, n, n_pixels)),
        np.zeros(each),
        np.zeros(each),
        np.zeros(each),
        np.zeros((n, n, n_pixels)),
        np.zeros(each),
        np.zeros(each),
        np.zeros(each),
        np.zeros(n_pixels, np.int64),
        np.zeros(n_pixels, np.int64),
        np.zeros(n_pixels, np.int64),
        np.zeros(n_pixels),
        np.zeros((2, n_pixels)),
        np.zeros(n_pixels),
        np.zeros(n_pixels),
        np.zeros(n_pixels),
    )


@njit(**FAST)
def factorise(a, limit, before, doubt, lanes):
    """Factorise matrices (i, j, p) in place, L D L': L below, L D above, the inverse of D on the diagonal.

    Adds to `doubt` (p) where elimination leaves of a diagonal element less than the part `limit`; `before` (p) is scratch.
    """
    n = a.shape[0]
    for j in range(n):
        diagonal = a[j, j]
        for p in range(lanes):
            before[p] = diagonal[p]
        for i in range(j, n):
            row = a[i, j]
            for k in range(j):
                f, g = a[k, i], a[j, k]
                for p in range(lanes):
                    row[p] -= f[p] * g[p]
        for p in range(lanes):
            doubt[p] += 1.0 if diagonal[p] <= limit * before[p] else 0.0
            diagonal[p] = 1.0 / diagonal[p]
        for i in range(j + 1, n):
            row, above = a[i, j], a[j, i]
            for p in range(lanes):
                above[p] = row[p]
                row[p] *= diagonal[p]


@njit(**FAST)
def _factorise_masked(a, lanes):
    """Fill the factor of the masked matrices."""
    n = a.mask.shape[0]
    for i in range(n):
        for j in range(i):
            mi, mj, full, out = a.mask[i], a.mask[j], a.matrix[i, j], a.factor[i, j]
            for p in range(lanes):
                out[p] = mi[p] * mj[p] * full[p]
        mi, full, out = a.mask[i], a.matrix[i, i], a.factor[i, i]
        for p in range(lanes):
            out[p] = mi[p] * full[p] + (1.0 - mi[p])
    a.doubt[:] = 0.0
    factorise(a.factor, DOUBTFUL, a.work, a.doubt, lanes)


@njit(**FAST)
def _substitute(factor, x, lanes):
    """Solve for a right side x (i, p) in place, forwards and back."""
    n = x.shape[0]
    for i in range(n):
        row = x[i]
        for k in range(i):
            f, g = factor[i, k], x[k]
            for p in range(lanes):
                row[p] -= f[p] * g[p]
    for i in range(n - 1, -1, -1):
        f, row = factor[i, i], x[i]
        for p in range(lanes):
            row[p] *= f[p]
        for k in range(i + 1, n):
            f, g = factor[k, i], x[k]
            for p in range(lanes):
                row[p] -= f[p] * g[p]


@njit(**FAST)
def solve_supports(a, fixed_sum, lanes):
    """Fill the amounts of the present supports."""
    n = a.mask.shape[0]
    _factorise_masked(a, lanes)
    a.shared[:] = 0.0
    for i in range(n):
        mask, right, amount = a.mask[i], a.right[i], a.amount[i]
        for p in range(lanes):
            amount[p] = mask[p] * right[p]
    _substitute(a.factor, a.amount, lanes)
    if not fixed_sum:
        return
    total, part, shared = a.total, a.work, a.shared
    total[:] = 0.0
    part[:] = 0.0
    for i in range(n):
        mask, one = a.mask[i], a.ones[i]
        for p in range(lanes):
            one[p] = mask[p]
    _substitute(a.factor, a.ones, lanes)
    for i in range(n):
        amount, one = a.amount[i], a.ones[i]
        for p in range(lanes):
            total[p] += amount[p]
            part[p] += one[p]
    for p in range(lanes):
        shared[p] = (1.0 - total[p]) / part[p]
    for i in range(n):
        amount, one = a.amount[i], a.ones[i]
        for p in range(lanes):
            amount[p] += shared[p] * one[p]


@njit(**FAST)
def _judge(a, lanes):
    """Fill the slopes, and how many references of each pixel are on the wrong side."""
    n = a.mask.shape[0]
    largest, steepest, shared, wrong = a.size[0], a.size[1], a.shared, a.wrong
    largest[:] = 0.0
    steepest[:] = 0.0
    wrong[:] = 0
    for i in range(n):
        slope, right, amount = a.slope[i], a.right[i], a.amount[i]
        for p in range(lanes):
            slope[p] = -right[p] - shared[p]
            largest[p] = max(largest[p], abs(amount[p]))
            steepest[p] = max(steepest[p], abs(right[p]) + abs(shared[p]))
        for j in range(n):
            full, other = a.matrix[max(i, j), min(i, j)], a.amount[j]
            for p in range(lanes):
                slope[p] += full[p] * other[p]
    for i in range(n):
        slope, mask, amount = a.slope[i], a.mask[i], a.amount[i]
        for p in range(lanes):
            low = mask[p] * (amount[p] + TOLERANCE * largest[p])
            low += (1.0 - mask[p]) * (slope[p] + TOLERANCE * steepest[p])
            slope[p] = low
            wrong[p] += 1 if low < 0 else 0


@njit(**INNER)
def _exchange(a, lanes):
    """Let references change sides; return how many pixels had such."""
    n = a.mask.shape[0]
    open_ = 0
    for p in range(lanes):
        if a.wrong[p] == 0:
            continue
        open_ += 1
        if a.wrong[p] < a.fewest[p]:
            a.fewest[p], a.waited[p] = a.wrong[p], 0
        else:
            a.waited[p] += 1
        if 0 < a.waited[p] <= PATIENCE * n:
            worst = np.argmin(a.slope[:, p])
            a.mask[worst, p] = 1.0 - a.mask[worst, p]
            continue
        for i in range(n - 1, -1, -1):
            if a.slope[i, p] < 0:
                a.mask[i, p] = 1.0 - a.mask[i, p]
                if a.waited[p] > 0:
                    break
    return open_


@njit(**INNER)
def _gather(a, pixels, small):
    """Copy the problems of some pixels into the smaller room."""
    n = a.mask.shape[0]
    for q in range(pixels.size):
        small.fewest[q], small.waited[q] = a.fewest[pixels[q]], a.waited[pixels[q]]
    for i in range(n):
        for j in range(i + 1):
            full, out = a.matrix[i, j], small.matrix[i, j]
            for q in range(pixels.size):
                out[q] = full[pixels[q]]
        for q in range(pixels.size):
            small.right[i, q], small.mask[i, q] = a.right[i, pixels[q]], a.mask[i, pixels[q]]


@njit(**INNER)
def _scatter(small, pixels, a):
    """Copy the solutions back, and the state of those that go on."""
    n = a.mask.shape[0]
    for q in range(pixels.size):
        p = pixels[q]
        a.wrong[p], a.doubt[p], a.shared[p] = small.wrong[q], small.doubt[q], small.shared[q]
        a.fewest[p], a.waited[p] = small.fewest[q], small.waited[q]
        for i in range(n):
            a.mask[i, p] = small.mask[i, q]
        if small.wrong[q] == 0:
            for i in range(n):
                a.amount[i, p], a.ones[i, p] = small.amount[i, q], small.ones[i, q]
                for j in range(i + 1):
                    a.factor[i, j, p] = small.factor[i, j, q]


@njit(**INNER)
def _go_on(a, fixed_sum, lanes):
    """Solve and exchange references until all pixels are right, for some rounds."""
    for _ in range(ROUNDS):
        solve_supports(a, fixed_sum, lanes)
        _judge(a, lanes)
        if _exchange(a, lanes) == 0:
            break


@njit(**INNER)
def solve_block(method, a, small):
    """Solve the problems from the supports in `mask`, `small` being the smaller room.

    `wrong` is above zero for pixels that found no end, or one that cannot be trusted.
    """
    fixed_sum, n = method == FCLS, a.mask.shape[0]
    if method != NNLS:
        a.mask[:] = 1.0  # with a fixed sum some amount is above zero then, so that no support is ever empty
    solve_supports(a, fixed_sum, a.wrong.size)
    a.wrong[:] = 0
    if method != LSTSQ:
        a.fewest[:] = n + 1
        a.waited[:] = 0
        _judge(a, a.wrong.size)
        _exchange(a, a.wrong.size)
        for _ in range((4 * n + 10) // ROUNDS):
            left = np.flatnonzero(a.wrong)
            for first in range(0, left.size, small.wrong.size):
                pixels = left[first : first + small.wrong.size]
                _gather(a, pixels, small)
                _go_on(small, fixed_sum, -(-pixels.size // 8) * 8)  # whole vectors
                _scatter(small, pixels, a)
            if left.size == 0:
                break
    for p in range(a.wrong.size):
        a.wrong[p] += 1 if a.doubt[p] > 0 else 0


@njit(**FAST)
def variances(method, a):
    """Fill the variances of the amounts of the present supports, 0 off them."""
    n, n_pixels = a.mask.shape
    fixed_sum = method == FCLS
    a.variance[:] = 0.0
    a.total[:] = 0.0
    if fixed_sum:
        for i in range(n):
            one = a.ones[i]
            for p in range(n_pixels):
                a.total[p] += one[p]
    # the inverse of L, column by column in `slope`
    for i in range(n):
        variance, mask = a.variance[i], a.mask[i]
        for k in range(i, n):
            row, f = a.slope[k], a.factor[k, k]
            row[:] = 1.0 if k == i else 0.0
            for j in range(i, k):
                g, before = a.factor[k, j], a.slope[j]
                for p in range(n_pixels):
                    row[p] -= g[p] * before[p]
            for p in range(n_pixels):
                variance[p] += row[p] * row[p] * f[p]
        for p in range(n_pixels):
            variance[p] *= mask[p]
        if fixed_sum:
            one, total = a.ones[i], a.total
            for p in range(n_pixels):
                left = variance[p] - one[p] * one[p] / total[p]
                variance[p] = left if left > TOLERANCE * variance[p] else 0.0
