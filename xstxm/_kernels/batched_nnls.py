"""Many small constrained least-squares problems at once, each with a matrix of its own, pixels innermost.

Minimises ``x'Hx / 2 - h'x`` with x free, x >= 0, or x >= 0 and sum(x) = 1. A support is a mask of ones and zeros; with the
rows and columns off the support replaced by those of the identity, all pixels factorise matrices of one size, whatever
their supports. Those that break the optimality conditions change sides, all at once while their number falls, then one
at a time (Murty's rule). No pixel sees another. Everything is float64.

Index letters: i, j, k reference, p pixel.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from xstxm._kernels.block_fit import FAST
from xstxm._kernels.fit_plan import FCLS, LSTSQ
from xstxm._kernels.small_nnls import INNER

TOLERANCE = 1e-12
"""Amount or slope below zero, relative to the largest, that is rounding."""
GRACE = 3
"""Rounds without progress before references change sides one by one."""


class Problems(NamedTuple):
    """Problems of one block and their solutions."""

    matrix: np.ndarray
    """(i, j, p), unit diagonal but for a fixed sum."""
    right: np.ndarray
    amount: np.ndarray
    mask: np.ndarray
    """(i, p) 1 for references in use, 0 at the bound."""
    factor: np.ndarray
    """(i, j, p) Cholesky factor of the masked matrix, the inverse of its diagonal on the diagonal."""
    ones: np.ndarray
    """(i, p) the solution for ones on the right, which a fixed sum takes."""
    variance: np.ndarray
    slope: np.ndarray
    wrong: np.ndarray
    fewest: np.ndarray
    grace: np.ndarray
    shared: np.ndarray
    """(p) what all slopes have in common where the sum is fixed."""
    size: np.ndarray
    """(2, p) largest amount and right side."""
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
    )


@njit(**FAST)
def cholesky(lower):
    """Factorise matrices (i, j, p) in place, lower triangle only; the inverse of its diagonal on the diagonal.

    NaN where a matrix is not positive definite.
    """
    n, n_pixels = lower.shape[0], lower.shape[2]
    for j in range(n):
        pivot = lower[j, j]
        for k in range(j):
            f = lower[j, k]
            for p in range(n_pixels):
                pivot[p] -= f[p] * f[p]
        for p in range(n_pixels):
            pivot[p] = 1.0 / np.sqrt(pivot[p])
        for i in range(j + 1, n):
            row = lower[i, j]
            for k in range(j):
                f, g = lower[i, k], lower[j, k]
                for p in range(n_pixels):
                    row[p] -= f[p] * g[p]
            for p in range(n_pixels):
                row[p] *= pivot[p]


@njit(**FAST)
def _factorise(a):
    """Fill the factor of the masked matrices."""
    n, n_pixels = a.mask.shape
    for i in range(n):
        for j in range(i + 1):
            mi, mj, full, out = a.mask[i], a.mask[j], a.matrix[i, j], a.factor[i, j]
            for p in range(n_pixels):
                out[p] = mi[p] * mj[p] * full[p]
        out = a.factor[i, i]
        for p in range(n_pixels):
            out[p] += 1.0 - a.mask[i, p]
    cholesky(a.factor)


@njit(**FAST)
def _substitute(a, x):
    """Solve for a right side x (i, p) in place, forwards and back."""
    n, n_pixels = a.mask.shape
    for i in range(n):
        for k in range(i):
            f = a.factor[i, k]
            for p in range(n_pixels):
                x[i, p] -= f[p] * x[k, p]
        f = a.factor[i, i]
        for p in range(n_pixels):
            x[i, p] *= f[p]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            f = a.factor[k, i]
            for p in range(n_pixels):
                x[i, p] -= f[p] * x[k, p]
        f = a.factor[i, i]
        for p in range(n_pixels):
            x[i, p] *= f[p]


@njit(**FAST)
def solve_supports(a, fixed_sum):
    """Fill the amounts of the present supports."""
    n, n_pixels = a.mask.shape
    _factorise(a)
    a.shared[:] = 0.0
    for i in range(n):
        for p in range(n_pixels):
            a.amount[i, p] = a.mask[i, p] * a.right[i, p]
    _substitute(a, a.amount)
    if not fixed_sum:
        return
    total, part = a.total, a.work
    total[:] = 0.0
    part[:] = 0.0
    for i in range(n):
        for p in range(n_pixels):
            a.ones[i, p] = a.mask[i, p]
    _substitute(a, a.ones)
    for i in range(n):
        for p in range(n_pixels):
            total[p] += a.amount[i, p]
            part[p] += a.ones[i, p]
    for p in range(n_pixels):
        a.shared[p] = (1.0 - total[p]) / part[p]
    for i in range(n):
        for p in range(n_pixels):
            a.amount[i, p] += a.shared[p] * a.ones[i, p]


@njit(**FAST)
def _judge(a):
    """Fill the slopes, and how many references of each pixel are on the wrong side."""
    n, n_pixels = a.mask.shape
    largest, steepest = a.size[0], a.size[1]
    largest[:] = 0.0
    steepest[:] = 0.0
    a.wrong[:] = 0
    for i in range(n):
        slope = a.slope[i]
        for p in range(n_pixels):
            slope[p] = -a.right[i, p] - a.shared[p]
            largest[p] = max(largest[p], abs(a.amount[i, p]))
            steepest[p] = max(steepest[p], abs(a.right[i, p]) + abs(a.shared[p]))
        for j in range(n):
            full = a.matrix[i, j]
            for p in range(n_pixels):
                slope[p] += full[p] * a.amount[j, p]
    for i in range(n):
        for p in range(n_pixels):
            low = a.mask[i, p] * (a.amount[i, p] + TOLERANCE * largest[p])
            low += (1.0 - a.mask[i, p]) * (a.slope[i, p] + TOLERANCE * steepest[p])
            a.slope[i, p] = low
            a.wrong[p] += 1 if low < 0 else 0


@njit(**INNER)
def _exchange(a):
    """Let references change sides; return how many pixels had such."""
    n, n_pixels = a.mask.shape
    open_ = 0
    for p in range(n_pixels):
        if a.wrong[p] == 0:
            continue
        open_ += 1
        if a.wrong[p] < a.fewest[p]:
            a.fewest[p] = a.wrong[p]
            a.grace[p] = GRACE
        else:
            a.grace[p] -= 1
        for i in range(n - 1, -1, -1):
            if a.slope[i, p] < 0:
                a.mask[i, p] = 1.0 - a.mask[i, p]
                if a.grace[p] < 0:
                    break
    return open_


@njit(**INNER)
def solve_block(method, a):
    """Solve the problems from the supports in `mask`; pixels that found no end have `wrong` above zero."""
    n = a.mask.shape[0]
    a.fewest[:] = n + 1
    a.grace[:] = GRACE
    if method == LSTSQ:
        a.mask[:] = 1.0
    solve_supports(a, method == FCLS)
    a.wrong[:] = 0
    if method == LSTSQ:
        return
    _judge(a)
    for _ in range(4 * n + 10):
        if _exchange(a) == 0:
            break
        solve_supports(a, method == FCLS)
        _judge(a)


@njit(**FAST)
def variances(method, a):
    """Fill the variances of the amounts of the present supports, 0 off them."""
    n, n_pixels = a.mask.shape
    fixed_sum = method == FCLS
    a.variance[:] = 0.0
    a.total[:] = 0.0
    if fixed_sum:
        for i in range(n):
            for p in range(n_pixels):
                a.total[p] += a.ones[i, p]
    # the inverse of the factor, column by column in `slope`
    for i in range(n):
        for k in range(i, n):
            row, f = a.slope[k], a.factor[k, k]
            for p in range(n_pixels):
                row[p] = 1.0 if k == i else 0.0
            for j in range(i, k):
                g, before = a.factor[k, j], a.slope[j]
                for p in range(n_pixels):
                    row[p] -= g[p] * before[p]
            for p in range(n_pixels):
                row[p] *= f[p]
                a.variance[i, p] += row[p] * row[p]
        for p in range(n_pixels):
            a.variance[i, p] *= a.mask[i, p]
        if fixed_sum:
            for p in range(n_pixels):
                left = a.variance[i, p] - a.ones[i, p] * a.ones[i, p] / a.total[p]
                a.variance[i, p] = left if left > TOLERANCE * a.variance[i, p] else 0.0
