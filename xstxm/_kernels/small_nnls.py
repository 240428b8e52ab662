"""Constrained least squares of one small system: the exact, always finite solver behind `linear_fit`.

A system is a set of columns, stored as rows: columns[r] is what reference r adds to the target.
Everything is float64. Index letters: r reference, i place in the list of chosen references, m row of the
system. A support is a bit mask of the references above zero.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from xstxm._kernels.fit_plan import FCLS, LSTSQ

JIT: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy"}
INNER: dict[str, Any] = {**JIT, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""For functions that only compiled code calls: the wrappers would take most of the compile time."""

DEPENDENT = 1e-13
"""A column whose part independent of the others is smaller than this, relative to itself, is dependent."""


class Work(NamedTuple):
    """Scratch of one thread."""

    q: np.ndarray
    triangle: np.ndarray
    inverse: np.ndarray
    solution: np.ndarray
    rest: np.ndarray
    chosen: np.ndarray
    lifted: np.ndarray
    lifted_target: np.ndarray


@njit(**INNER)
def workspace(n_references):
    """Return scratch for systems of n_references columns."""
    n = n_references
    return Work(
        np.empty((n, n + 1)),
        np.empty((n, n)),
        np.empty((n, n)),
        np.empty(n),
        np.empty(n + 1),
        np.empty(n, np.int64),
        np.empty((n, n + 1)),
        np.empty(n + 1),
    )


@njit(**INNER)
def _dot(a, b, size):
    total = 0.0
    for m in range(size):
        total += a[m] * b[m]
    return total


@njit(**INNER)
def _total(a):
    total = 0.0
    for m in range(a.size):
        total += a[m]
    return total


@njit(**INNER)
def _least_squares(columns, target, support, work):
    """Fit the columns of a support by modified Gram-Schmidt on [columns, target], which is backward stable.

    Fills `chosen`, `solution` (per chosen), `triangle` and `rest` (target minus fit). Returns how many were
    chosen, or -1 - r for a column r that depends on those before it.
    """
    size = target.size
    count = 0
    for r in range(columns.shape[0]):
        if not (support >> r) & 1:
            continue
        v = work.q[count]
        for m in range(size):
            v[m] = columns[r, m]
        before = np.sqrt(_dot(v, v, size))
        for i in range(count):
            d = _dot(work.q[i], v, size)
            work.triangle[i, count] = d
            for m in range(size):
                v[m] -= d * work.q[i, m]
        norm = np.sqrt(_dot(v, v, size))
        if not norm > DEPENDENT * before:
            return -1 - r
        for m in range(size):
            v[m] /= norm
        work.triangle[count, count] = norm
        work.chosen[count] = r
        count += 1
    for m in range(size):
        work.rest[m] = target[m]
    for i in range(count):
        d = _dot(work.q[i], work.rest, size)
        work.solution[i] = d
        for m in range(size):
            work.rest[m] -= d * work.q[i, m]
    for i in range(count - 1, -1, -1):
        d = work.solution[i]
        for j in range(i + 1, count):
            d -= work.triangle[i, j] * work.solution[j]
        work.solution[i] = d / work.triangle[i, i]
    return count


@njit(**INNER)
def _feasible_start(columns, target, support, x, work):
    """Drop references from a support until its least-squares solution is positive; fill x, return the support."""
    while True:
        count = _least_squares(columns, target, support, work)
        if count < 0:
            support ^= 1 << (-1 - count)
            continue
        wrong = 0
        for i in range(count):
            if not work.solution[i] > 0:
                wrong |= 1 << work.chosen[i]
        if wrong == 0:
            break
        support ^= wrong
    x[:] = 0.0
    for i in range(count):
        x[work.chosen[i]] = work.solution[i]
    return support


@njit(**INNER)
def _step_towards(support, count, x, work):
    """Move x towards the new solution until the first reference reaches zero; return the smaller support."""
    step = 1.0
    first = -1
    for i in range(count):
        r = work.chosen[i]
        if not work.solution[i] > 0:
            part = x[r] / (x[r] - work.solution[i])
            if first < 0 or part < step:
                step = part
                first = r
    for i in range(count):
        r = work.chosen[i]
        x[r] += step * (work.solution[i] - x[r])
        if r == first or not x[r] > 0:
            x[r] = 0.0
            support &= ~(1 << r)
    return support


@njit(**INNER)
def _exchange(columns, target, support, enter, x, work):
    """Let a reference enter; return the new support, or -1 where rounding alone made it look useful."""
    support |= 1 << enter
    first = True
    while True:
        count = _least_squares(columns, target, support, work)
        if count < 0:
            if first:
                return -1
            x[-1 - count] = 0.0
            support ^= 1 << (-1 - count)
            continue
        positive = True
        for i in range(count):
            if not work.solution[i] > 0:
                positive = False
                if first and work.chosen[i] == enter:
                    return -1
        if positive:
            for i in range(count):
                x[work.chosen[i]] = work.solution[i]
            return support
        support = _step_towards(support, count, x, work)
        first = False


@njit(**INNER)
def nonnegative(columns, target, support, x, work):
    """Minimise |sum_r x_r columns_r - target| with x >= 0 (Lawson and Hanson), from a guess of the support.

    The objective falls at every exchange, so that no support comes twice; a limit guards against rounding.
    Columns should have like norms. Fills x, returns the support.
    """
    n, size = columns.shape
    support = _feasible_start(columns, target, support, x, work)
    tolerance = 1e-14 * np.sqrt(_dot(target, target, size))
    refused = 0
    for _ in range(10 * n + 10):
        steepest = tolerance
        enter = n
        for r in range(n):
            if not ((support | refused) >> r) & 1:
                slope = _dot(columns[r], work.rest, size)
                if slope > steepest:
                    steepest = slope
                    enter = r
        if enter == n:
            break
        grown = _exchange(columns, target, support, enter, x, work)
        if grown < 0:
            refused |= 1 << enter
            _least_squares(columns, target, support, work)
        else:
            support = grown
            refused = 0
    return support


@njit(**INNER)
def _lift(columns, target, work):
    """Write a problem with sum(x) = 1 as one with x >= 0 alone, into `lifted` and `lifted_target`.

    The columns are (columns_r - target, 1), the target (0, 1); with f the squared misfit, its solution is
    x / (1 + f), exactly: no large weight, no approximation.
    """
    n, size = columns.shape
    largest = 0.0
    for r in range(n):
        norm = 0.0
        for m in range(size):
            d = columns[r, m] - target[m]
            work.lifted[r, m] = d
            norm += d * d
        largest = max(largest, norm)
    scale = 1.0 / np.sqrt(largest) if largest > 0 else 1.0
    for r in range(n):
        for m in range(size):
            work.lifted[r, m] *= scale
        work.lifted[r, size] = 1.0
    for m in range(size):
        work.lifted_target[m] = 0.0
    work.lifted_target[size] = 1.0


@njit(**INNER)
def constrained(method, columns, target, support, x, work):
    """Solve one small system by LSTSQ, NNLS or FCLS, from a guess of the support; fill x, return the support."""
    n = columns.shape[0]
    if method == LSTSQ:
        support = (1 << n) - 1
        _least_squares(columns, target, support, work)
        for r in range(n):
            x[r] = work.solution[r]
        return support
    if method == FCLS:
        _lift(columns, target, work)
        columns, target = work.lifted, work.lifted_target
    support = nonnegative(columns, target, support, x, work)
    if method == FCLS:
        total = _total(x)
        for r in range(n):
            x[r] /= total
    return support


@njit(**INNER)
def covariance(method, columns, support, work, out):
    """Fill out (r, r) with the covariance of the amounts of a support for unit noise, 0 off the support.

    (C'C)^-1 of the columns. For FCLS the first amount is one minus the others, whose columns are the
    differences to the first.
    """
    n, size = columns.shape
    out[:] = 0.0
    first = -1
    if method == FCLS:
        first = 0
        while not (support >> first) & 1:
            first += 1
        support ^= 1 << first
    for r in range(n):
        for m in range(size):
            work.lifted[r, m] = columns[r, m] - (columns[first, m] if first >= 0 else 0.0)
        work.lifted[r, size] = 0.0
    work.lifted_target[:] = 0.0
    count = _least_squares(work.lifted, work.lifted_target, support, work)
    if count < 0:
        out[:] = np.nan
        return
    _invert_triangle(count, work)
    for i in range(count):
        for j in range(i, count):
            d = 0.0
            for k in range(j, count):
                d += work.inverse[i, k] * work.inverse[j, k]
            out[work.chosen[i], work.chosen[j]] = d
            out[work.chosen[j], work.chosen[i]] = d
    if first >= 0:
        for r in range(n):
            if r != first:
                out[first, r] = -_total(out[r])
                out[r, first] = out[first, r]
        out[first, first] = -_total(out[first])


@njit(**INNER)
def _invert_triangle(count, work):
    for i in range(count):
        for j in range(i, -1, -1):
            d = 1.0 if i == j else 0.0
            for k in range(j + 1, i + 1):
                d -= work.triangle[j, k] * work.inverse[k, i]
            work.inverse[j, i] = d / work.triangle[j, j]


@njit(**JIT)
def solve_amounts_only(method, columns, targets, supports, amounts):
    """Fill amounts (p, r) for targets (p, m), and supports (p) with what was found in place of the guesses."""
    work = workspace(columns.shape[0])
    for p in range(targets.shape[0]):
        supports[p] = constrained(method, columns, targets[p], supports[p], amounts[p], work)
