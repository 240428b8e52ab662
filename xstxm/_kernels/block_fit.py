"""The fit of complete pixels, block by block, statistics included: one pass over the data.

Index letters: e energy, p pixel, u unknown (background terms, then references), t background term,
r reference. The pixel index is innermost in every heavy loop, and no pixel depends on its neighbours.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from xstxm._kernels.fit_plan import FCLS, LANES, LSTSQ
from xstxm._kernels.small_nnls import INNER, JIT

BLOCK, CHUNK = 1024, 256
MAX_EXCHANGES = 100
UNDONE = -1
"""`n_active` of a pixel that is left to `partial_fit`."""

# contracting a*b+c keeps the arithmetic of every pixel the same; reordering its sums would not
FAST: dict[str, Any] = {**INNER, "fastmath": {"contract", "nsz"}}


class Scratch(NamedTuple):
    """Arrays of one block; the first five in the data's dtype."""

    projected: np.ndarray
    fitted: np.ndarray
    residual: np.ndarray
    rss: np.ndarray
    square: np.ndarray
    amount: np.ndarray
    spread: np.ndarray
    support: np.ndarray
    sum: np.ndarray


@njit(**INNER)
def _scratch(like, n_references):
    shape = (like.shape[0], BLOCK)
    return Scratch(
        np.zeros(shape, like.dtype),
        np.zeros(shape, like.dtype),
        np.empty(CHUNK, like.dtype),
        np.empty(BLOCK, like.dtype),
        np.empty(BLOCK, like.dtype),
        np.empty((n_references, BLOCK)),
        np.empty((n_references, BLOCK)),
        np.empty(BLOCK, np.int64),
        np.empty(BLOCK),
    )


@njit(**FAST)
def _project(od, row, first, n, n_unknowns, basis, block):
    """Project a block on the basis and sum its squares: four energies at a time, pixels innermost."""
    n_energies = basis.shape[1]
    for u in range(n_unknowns):
        for p in range(BLOCK):
            block.projected[u, p] = 0
    for p in range(BLOCK):
        block.square[p] = 0
    whole = n_energies - n_energies % 4
    for e in range(0, whole, 4):
        for c in range(0, n, CHUNK):
            m = min(CHUNK, n - c)
            at = e * row + first + c
            o0 = od[at : at + m]
            o1 = od[at + row : at + row + m]
            o2 = od[at + 2 * row : at + 2 * row + m]
            o3 = od[at + 3 * row : at + 3 * row + m]
            for u in range(n_unknowns):
                total = block.projected[u, c : c + m]
                q0, q1, q2, q3 = basis[u, e], basis[u, e + 1], basis[u, e + 2], basis[u, e + 3]
                for p in range(m):
                    total[p] += (q0 * o0[p] + q1 * o1[p]) + (q2 * o2[p] + q3 * o3[p])
            total = block.square[c : c + m]
            for p in range(m):
                total[p] += (o0[p] * o0[p] + o1[p] * o1[p]) + (o2[p] * o2[p] + o3[p] * o3[p])
    for e in range(whole, n_energies):
        o0 = od[e * row + first : e * row + first + n]
        for u in range(n_unknowns):
            q0 = basis[u, e]
            for p in range(n):
                block.projected[u, p] += q0 * o0[p]
        for p in range(n):
            block.square[p] += o0[p] * o0[p]


@njit(**FAST)
def _solve_unbounded(plan, n, block):
    """Fill the amounts of a block without bounds, and the support of those above zero as first guess."""
    n_references = plan.scale.size
    for p in range(n):
        block.support[p] = 0
    for r in range(n_references):
        x = block.amount[r]
        f = plan.free[r, n_references]
        for p in range(n):
            x[p] = f
        for j in range(n_references):
            f = plan.free[r, j]
            c = block.projected[plan.n_terms + j]
            for p in range(n):
                x[p] += f * c[p]
        bit = np.int64(1) << r
        for p in range(n):
            block.support[p] += bit if x[p] > 0 else 0


@njit(**INNER)
def _pivot(tables, n_references, support, c, y):
    """Exchange references until the optimality conditions hold; fill y, return the support or -1.

    All that are wrong change side while their number falls, with three rounds of grace; otherwise only the
    last one does (Murty's rule, which always ends, if sometimes late).
    """
    size = 0.0
    for j in range(n_references):
        size = max(size, abs(c[j]))
    fewest = n_references + 1
    grace = 3
    for _ in range(MAX_EXCHANGES):
        table = tables[support]
        for i in range(LANES):
            y[i] = table[n_references, i]
        for j in range(n_references):
            for i in range(LANES):
                y[i] += table[j, i] * c[j]
        wrong = 0
        last = 0
        count = 0
        for i in range(n_references):
            if y[i] < -(table[n_references + 1, i] * size + table[n_references + 2, i]):
                last = 1 << i
                wrong |= last
                count += 1
        if wrong == 0:
            return support
        if count < fewest:
            fewest = count
            grace = 3
        else:
            grace -= 1
        support ^= wrong if grace >= 0 else last
    return -1


@njit(**INNER)
def _solve_by_table(plan, n, block, c, y):
    """Turn the unbounded amounts of a block into the constrained ones, where they differ."""
    n_references = plan.scale.size
    everything = (1 << n_references) - 1
    for p in range(n):
        support = block.support[p]
        if support == everything:
            continue
        for r in range(n_references):
            c[r] = block.projected[plan.n_terms + r, p]
        found = _pivot(plan.tables, n_references, support, c, y)
        if found < 0:
            block.square[p] = np.nan  # leaves the pixel to the solver that always ends
            continue
        support = 0
        for r in range(n_references):
            positive = (found >> r) & 1 and y[r] > 0
            block.amount[r, p] = y[r] / plan.scale[r] if positive else 0.0
            if positive:
                support |= 1 << r
        block.support[p] = support


@njit(**INNER)
def _spread(plan, n, block):
    """Fill the standard deviations of the amounts for unit noise, 0 at the bound."""
    for r in range(plan.scale.size):
        if plan.tables.shape[0] > 0:
            for p in range(n):
                block.spread[r, p] = plan.spread[block.support[p], r]
        else:
            free = np.sqrt(plan.covariance[r, r])
            for p in range(n):
                block.spread[r, p] = free


@njit(**FAST)
def _fit_spectra(plan, n, block):
    """Express the fit in the orthonormal basis, where no large terms cancel: the background's part is exact."""
    n_references = plan.scale.size
    for t in range(plan.n_terms):
        for p in range(n):
            block.fitted[t, p] = block.projected[t, p]
    z = block.sum
    for j in range(n_references):
        for p in range(n):
            z[p] = 0.0
        for r in range(j, n_references):
            f = plan.columns[r, j] * plan.scale[r]
            x = block.amount[r]
            for p in range(n):
                z[p] += f * x[p]
        for p in range(n):
            block.fitted[plan.n_terms + j, p] = z[p]


@njit(**FAST)
def _sum_residuals(od, row, first, n, basis, block):
    """Sum the squares of the residual over energies, with the block still in cache."""
    for p in range(BLOCK):
        block.rss[p] = 0
    for c in range(0, n, CHUNK):
        m = min(CHUNK, n - c)
        rest = block.residual[:m]
        total = block.rss[c : c + m]
        for e in range(basis.shape[1]):
            at = e * row + first + c
            source = od[at : at + m]
            for u in range(0, basis.shape[0], 4):
                f0 = block.fitted[u, c : c + m]
                f1 = block.fitted[u + 1, c : c + m]
                f2 = block.fitted[u + 2, c : c + m]
                f3 = block.fitted[u + 3, c : c + m]
                q0, q1, q2, q3 = basis[u, e], basis[u + 1, e], basis[u + 2, e], basis[u + 3, e]
                if u == 0:
                    for p in range(m):
                        rest[p] = source[p] - ((q0 * f0[p] + q1 * f1[p]) + (q2 * f2[p] + q3 * f3[p]))
                else:
                    for p in range(m):
                        rest[p] -= (q0 * f0[p] + q1 * f1[p]) + (q2 * f2[p] + q3 * f3[p])
            for p in range(m):
                total[p] += rest[p] * rest[p]


@njit(**INNER)
def _write(plan, at, n, block, maps):
    n_references = plan.scale.size
    n_energies = plan.basis.shape[1]
    fixed = plan.n_terms - (1 if plan.method == FCLS else 0)
    sigma = block.sum
    for p in range(n):
        maps.rss[at + p] = block.rss[p]
        maps.square[at + p] = block.square[p]
        maps.n_energy[at + p] = n_energies
        active = 0
        for r in range(n_references):
            active += 1 if plan.method == LSTSQ or block.amount[r, p] > 0 else 0
        sigma[p] = np.sqrt(block.rss[p] / (n_energies - fixed - active))
        maps.n_active[at + p] = active if np.isfinite(block.square[p]) else UNDONE
    for r in range(n_references):
        for p in range(n):
            maps.amount[r, at + p] = block.amount[r, p]
            maps.stderr[r, at + p] = block.spread[r, p] * sigma[p]
    for r in range(maps.covariance.shape[0]):
        for j in range(n_references):
            for p in range(n):
                maps.covariance[r, j, at + p] = plan.covariance[r, j] * (sigma[p] * sigma[p])


@njit(**FAST)
def _write_background(plan, at, n, block, maps):
    z = block.sum
    for t in range(plan.n_terms):
        for p in range(n):
            z[p] = 0.0
        for u in range(plan.n_terms):
            f = plan.background[t, u]
            for p in range(n):
                z[p] += f * block.projected[u, p]
        for r in range(plan.scale.size):
            f = plan.background[t, plan.n_terms + r]
            for p in range(n):
                z[p] += f * block.amount[r, p]
        for p in range(n):
            maps.background[t, at + p] = z[p]


@njit(**JIT)
def fit_range(od, row, n_pixels, start, plan, solved, solved_spread, maps):
    """Fit a range of pixels; od is flat, its energies `row` apart.

    Beyond the reach of the tables `solved` and `solved_spread` (p, r) hold what `small_nnls` found, else
    they are empty. Pixels with an unusable energy, or without result, get `n_active` UNDONE.
    """
    n_references = plan.scale.size
    block = _scratch(plan.basis, n_references)
    c, y = np.empty(n_references), np.empty(max(n_references, LANES))
    for first in range(0, n_pixels, BLOCK):
        n = min(BLOCK, n_pixels - first)
        _project(od, row, first, n, plan.design.shape[0], plan.basis, block)
        _solve_unbounded(plan, n, block)
        if plan.tables.shape[0] > 0:
            _solve_by_table(plan, n, block, c, y)
        _spread(plan, n, block)
        if solved.shape[0] > 0:
            for p in range(n):
                for r in range(n_references):
                    block.amount[r, p] = solved[first + p, r]
                    block.spread[r, p] = solved_spread[first + p, r]
        _fit_spectra(plan, n, block)
        _sum_residuals(od, row, first, n, plan.basis, block)
        _write(plan, start + first, n, block, maps)
        _write_background(plan, start + first, n, block, maps)


@njit(**JIT)
def project_range(od, row, n_pixels, plan, targets, supports):
    """Fill the targets (p, r) of the small systems of a range of pixels, and guesses of their supports (p)."""
    n_references = plan.scale.size
    block = _scratch(plan.basis, n_references)
    for first in range(0, n_pixels, BLOCK):
        n = min(BLOCK, n_pixels - first)
        _project(od, row, first, n, plan.design.shape[0], plan.basis, block)
        _solve_unbounded(plan, n, block)
        for p in range(n):
            complete = np.isfinite(block.square[p])
            supports[first + p] = block.support[p] if complete else 0
            for r in range(n_references):
                targets[first + p, r] = block.projected[plan.n_terms + r, p] if complete else 0.0
