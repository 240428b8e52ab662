"""The fit where every value has a variance of its own: exact, pixel by pixel.

With Q R the factorised design [background, references], W the inverse variances of a pixel and L L' = Q'WQ, the
weighted problem is an ordinary one in the triangle T = L'R with the target L^-1 Q'W y: the same small constrained
problem as without weights, conditioned as well as the weights are alike. All runs block by block with the pixels
innermost; what `batched_nnls` does not end is left to `small_nnls`, which always does.

Index letters: e energy, p pixel, u and v unknown (background terms, then references), t background term, r reference.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numba import njit

from xstxm._kernels.batched_nnls import cholesky, problems, solve_block, solve_supports, variances
from xstxm._kernels.block_fit import FAST
from xstxm._kernels.fit_plan import FCLS, METHODS
from xstxm._kernels.small_nnls import INNER, JIT, constrained, covariance, workspace
from xstxm._kernels.subsets import choose, find_best, search, subsets_up_to

BLOCK = 128
RANGE = 128 * BLOCK
"""Pixels that are summed at once, and those of one task of a thread."""


class WeightedMaps(NamedTuple):
    """The result of a weighted fit, pixels last."""

    amount: np.ndarray
    stderr: np.ndarray
    """From the variances, of the references in use; those at their bound have 0."""
    background: np.ndarray
    chi2: np.ndarray
    """Sum of squares of the residual over the variance."""
    rss: np.ndarray
    """Plain sum of squares of the residual, and of the data, over the energies in use."""
    square: np.ndarray
    n_energy: np.ndarray
    n_active: np.ndarray
    covariance: np.ndarray
    """(r, r, p) with no bound active; (0, 0, 0) where not asked for."""
    best: np.ndarray
    """(k, p) chi-square of the best k references; (0, 0) where no choice was asked for."""


class Choice(NamedTuple):
    """Which references a pixel may have."""

    subsets: np.ndarray
    """Bit masks; none to let the constraints alone decide."""
    most: int
    known: bool
    """Whether the variance is that of the data, or a relative weight."""


class Design(NamedTuple):
    """The factorised design, in the data's dtype but for the triangle, energies padded with zeros to eight."""

    basis: np.ndarray
    """(u, e) orthonormal spectra, zero rows up to a multiple of four."""
    products: np.ndarray
    """(u <= v, e) products of two of them."""
    triangle: np.ndarray


class Block(NamedTuple):
    """Arrays of one block, pixels last; the first five in the data's dtype."""

    weight: np.ndarray
    value: np.ndarray
    product: np.ndarray
    rest: np.ndarray
    model: np.ndarray
    gram: np.ndarray
    projected: np.ndarray
    n_energy: np.ndarray
    chi2: np.ndarray
    rss: np.ndarray
    square: np.ndarray


class Reduced(NamedTuple):
    """The small problems of one block, float64, pixels last."""

    lower: np.ndarray
    """(u, v) Cholesky factor of Q'WQ, the inverse of its diagonal on the diagonal."""
    target: np.ndarray
    triangle: np.ndarray
    scale: np.ndarray
    """(r) norm of the column of a reference."""
    background: np.ndarray


def fit_weighted(
    values: np.ndarray,
    variance: np.ndarray,
    references: np.ndarray,
    terms: np.ndarray,
    *,
    method: str,
    most: int = 0,
    known: bool = True,
    wanted: np.ndarray | None = None,
    with_covariance: bool = False,
    threads: int = 1,
) -> WeightedMaps:
    """Fit references and background terms to every pixel, weighted by the inverse variance.

    Parameters
    ----------
    values, variance
        (energy, pixel). Where a value is not finite, or a variance is not finite and above zero, the value is left out;
        pixels with no more energies than unknowns give NaN.
    references, terms
        (reference, energy) and (term, energy), independent of each other.
    most
        Above zero: choose the references of each pixel, at most so many, of all subsets that fit with amounts above
        zero: that of least BIC, the best of the `wanted` number (pixel).
    known
        Whether the variance is that of the data, for the BIC, or a relative weight.
    method, with_covariance, threads
        As in `linear_fit.fit_pixels`.
    """
    n_pixels, n, n_terms = values.shape[1], len(references), len(terms)
    dtype = values.dtype.newbyteorder("=")
    design = _factorised(np.concatenate([terms, references]), dtype)
    maps = WeightedMaps(
        np.empty((n, n_pixels), dtype),
        np.empty((n, n_pixels), dtype),
        np.empty((n_terms, n_pixels), dtype),
        np.empty(n_pixels, dtype),
        np.empty(n_pixels, dtype),
        np.empty(n_pixels, dtype),
        np.empty(n_pixels, np.int32),
        np.empty(n_pixels, np.int16),
        np.empty((n, n, n_pixels) if with_covariance else (0, 0, 0), dtype),
        np.empty((most + 1, n_pixels) if most else (0, 0)),
    )
    choice = Choice(subsets_up_to(n, most) if most else np.zeros(0, np.int64), most, known)
    sizes = np.full(n_pixels, -1, np.int64) if wanted is None else np.ascontiguousarray(wanted, np.int64)

    def task(start: int) -> None:
        part = slice(start, min(start + RANGE, n_pixels))
        data = (np.ascontiguousarray(array[:, part], dtype=dtype) for array in (values, variance))
        fit_range(METHODS[method], n_terms, design, choice, sizes, *data, start, maps)

    starts = range(0, n_pixels, RANGE)
    if threads == 1:
        for start in starts:
            task(start)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(task, starts))
    return maps


def _factorised(rows: np.ndarray, dtype: np.dtype) -> Design:
    n_unknowns, n_energies = rows.shape
    q, r = np.linalg.qr(rows.astype(float).T)
    basis = np.zeros((-(-n_unknowns // 4) * 4, -(-n_energies // 8) * 8))
    basis[:n_unknowns, :n_energies] = q.T
    first, second = np.triu_indices(n_unknowns)
    products = basis[first] * basis[second]
    return Design(basis.astype(dtype), products.astype(dtype), np.ascontiguousarray(r))


@njit(**INNER)
def _room(like, n_unknowns):
    rows, n_energies = like.shape
    return Block(
        np.zeros((n_energies, BLOCK), like.dtype),
        np.zeros((n_energies, BLOCK), like.dtype),
        np.zeros((n_energies, BLOCK), like.dtype),
        np.empty(BLOCK, like.dtype),
        np.zeros((rows, BLOCK), like.dtype),
        np.empty((n_unknowns * (n_unknowns + 1) // 2, BLOCK)),
        np.empty((n_unknowns, BLOCK)),
        np.empty(BLOCK),
        np.empty(BLOCK),
        np.empty(BLOCK),
        np.empty(BLOCK),
    )


@njit(**FAST)
def _weigh(values, variance, first, n, block):
    """Fill weights, values and their products, 0 where a value is not to be used, and count those that are."""
    number = block.n_energy
    number[:] = 0.0
    for e in range(values.shape[0]):
        y, v = values[e, first : first + n], variance[e, first : first + n]
        weight, value, product = block.weight[e], block.value[e], block.product[e]
        for p in range(n):
            used = (abs(y[p]) < np.inf) & (v[p] > 0) & (v[p] < np.inf)
            weight[p] = 1 / v[p] if used else 0
            value[p] = y[p] if used else 0
            product[p] = weight[p] * value[p]
            number[p] += 1.0 if used else 0.0


@njit(**FAST)
def _sum_rows(factors, rows, n, sums):
    """Fill sums (k, p) with factors (k, e) @ rows (e, p): eight energies in the data's dtype, those in float64."""
    for k in range(n):
        total = sums[k]
        total[:] = 0.0
    for e in range(0, rows.shape[0], 8):
        r0, r1, r2, r3 = rows[e], rows[e + 1], rows[e + 2], rows[e + 3]
        r4, r5, r6, r7 = rows[e + 4], rows[e + 5], rows[e + 6], rows[e + 7]
        for k in range(n):
            f0, f1, f2, f3 = factors[k, e], factors[k, e + 1], factors[k, e + 2], factors[k, e + 3]
            f4, f5, f6, f7 = factors[k, e + 4], factors[k, e + 5], factors[k, e + 6], factors[k, e + 7]
            total = sums[k]
            for p in range(BLOCK):
                near = (f0 * r0[p] + f1 * r1[p]) + (f2 * r2[p] + f3 * r3[p])
                far = (f4 * r4[p] + f5 * r5[p]) + (f6 * r6[p] + f7 * r7[p])
                total[p] += near + far


@njit(**FAST)
def _factorise(block, out):
    """Fill the Cholesky factor of Q'WQ and the target; NaN where that is not positive definite."""
    n = out.target.shape[0]
    at = 0
    for u in range(n):
        for v in range(u, n):
            out.lower[v, u, :] = block.gram[at]
            at += 1
    cholesky(out.lower)
    for u in range(n):
        pivot, target = out.lower[u, u], out.target[u]
        target[:] = block.projected[u]
        for k in range(u):
            f, before = out.lower[u, k], out.target[k]
            for p in range(BLOCK):
                target[p] -= f[p] * before[p]
        for p in range(BLOCK):
            target[p] *= pivot[p]


@njit(**FAST)
def _reduce(triangle, out):
    """Fill the triangle L'R."""
    n = triangle.shape[0]
    for u in range(n):
        pivot = out.lower[u, u]
        for v in range(u, n):
            total = out.triangle[u, v]
            f = triangle[u, v]
            for p in range(BLOCK):
                total[p] = f / pivot[p]
            for k in range(u + 1, v + 1):
                f, row = triangle[k, v], out.lower[k, u]
                for p in range(BLOCK):
                    total[p] += f * row[p]


@njit(**FAST)
def _pose(n_terms, fixed_sum, reduced, small):
    """Fill the normal equations of the references, columns of unit norm unless their sum is fixed."""
    n = small.right.shape[0]
    for r in range(n):
        scale, right = reduced.scale[r], small.right[r]
        scale[:] = 0.0
        right[:] = 0.0
        for j in range(r + 1):
            t, z = reduced.triangle[n_terms + j, n_terms + r], reduced.target[n_terms + j]
            for p in range(BLOCK):
                scale[p] += t[p] * t[p]
                right[p] += t[p] * z[p]
        for p in range(BLOCK):
            scale[p] = 1.0 if fixed_sum else np.sqrt(scale[p])
            right[p] /= scale[p]
        for s in range(r + 1):
            full = small.matrix[r, s]
            full[:] = 0.0
            for j in range(s + 1):
                t, other = reduced.triangle[n_terms + j, n_terms + r], reduced.triangle[n_terms + j, n_terms + s]
                for p in range(BLOCK):
                    full[p] += t[p] * other[p]
            for p in range(BLOCK):
                full[p] /= scale[p] * reduced.scale[s, p]
            small.matrix[s, r, :] = full


@njit(**FAST)
def _total(block, reduced, n_terms, total):
    """Fill the weighted sum of squares that the background leaves."""
    total[:] = 0.0
    for e in range(block.value.shape[0]):
        value, weight = block.value[e], block.weight[e]
        for p in range(BLOCK):
            y = np.float64(value[p])
            total[p] += np.float64(weight[p]) * y * y
    for t in range(n_terms):
        for p in range(BLOCK):
            total[p] -= reduced.target[t, p] * reduced.target[t, p]


@njit(**INNER)
def _solve_singly(method, n_terms, p, reduced, small, columns, target, work, cov):
    """Solve the problem of one pixel by the solver that always ends."""
    n = target.size
    for r in range(n):
        target[r] = reduced.target[n_terms + r, p]
        for j in range(n):
            columns[r, j] = reduced.triangle[n_terms + j, n_terms + r, p] / reduced.scale[r, p] if j <= r else 0.0
    support = constrained(method, columns, target, (1 << n) - 1, small.right[:, p], work)
    covariance(method, columns, support, work, cov)
    for r in range(n):
        small.amount[r, p] = small.right[r, p]
        small.mask[r, p] = 1.0 if (support >> r) & 1 else 0.0
        small.variance[r, p] = cov[r, r]


@njit(**FAST)
def _complete(n_terms, triangle, reduced, small, block):
    """Turn scaled amounts into amounts, and fill the background and the model in terms of the orthonormal spectra."""
    n_unknowns, n = triangle.shape[0], small.amount.shape[0]
    for r in range(n):
        for p in range(BLOCK):
            positive = small.mask[r, p] * (1.0 if small.amount[r, p] != 0 else 0.0)
            small.mask[r, p] = positive
            small.amount[r, p] = small.amount[r, p] / reduced.scale[r, p] if positive > 0 else 0.0
            small.variance[r, p] /= reduced.scale[r, p] * reduced.scale[r, p]
    for t in range(n_terms - 1, -1, -1):
        total = reduced.background[t]
        total[:] = reduced.target[t]
        for r in range(n):
            f = reduced.triangle[t, n_terms + r]
            for p in range(BLOCK):
                total[p] -= f[p] * small.amount[r, p]
        for j in range(t + 1, n_terms):
            f = reduced.triangle[t, j]
            for p in range(BLOCK):
                total[p] -= f[p] * reduced.background[j, p]
        for p in range(BLOCK):
            total[p] /= reduced.triangle[t, t, p]
    for u in range(n_unknowns):
        for p in range(BLOCK):
            d = 0.0
            for v in range(u, n_unknowns):
                part = reduced.background[v, p] if v < n_terms else small.amount[v - n_terms, p]
                d += triangle[u, v] * part
            block.model[u, p] = d


@njit(**FAST)
def _sum_residuals(basis, block):
    """Fill the sums of squares, with the model in terms of the orthonormal spectra."""
    chi2, rss, square, rest = block.chi2, block.rss, block.square, block.rest
    chi2[:] = 0.0
    rss[:] = 0.0
    square[:] = 0.0
    for e in range(basis.shape[1]):
        weight, value = block.weight[e], block.value[e]
        for u in range(0, basis.shape[0], 4):
            q0, q1, q2, q3 = basis[u, e], basis[u + 1, e], basis[u + 2, e], basis[u + 3, e]
            m0, m1, m2, m3 = block.model[u], block.model[u + 1], block.model[u + 2], block.model[u + 3]
            if u == 0:
                for p in range(BLOCK):
                    rest[p] = value[p] - ((q0 * m0[p] + q1 * m1[p]) + (q2 * m2[p] + q3 * m3[p]))
            else:
                for p in range(BLOCK):
                    rest[p] -= (q0 * m0[p] + q1 * m1[p]) + (q2 * m2[p] + q3 * m3[p])
        for p in range(BLOCK):
            d = rest[p] * rest[p]
            chi2[p] += weight[p] * d
            rss[p] += d if weight[p] > 0 else 0
            square[p] += value[p] * value[p]


@njit(**INNER)
def _write(m, at, n_free, reduced, small, block, maps):
    """Write the maps of the first m pixels of a block; pixels that cannot be fitted are NaN."""
    n, n_terms = small.amount.shape[0], reduced.background.shape[0]
    for p in range(m):
        maps.n_energy[at + p] = int(block.n_energy[p])
        lost = block.n_energy[p] <= n_free or not small.amount[0, p] == small.amount[0, p]
        active = 0
        for r in range(n):
            active += 1 if small.mask[r, p] > 0 else 0
            maps.amount[r, at + p] = np.nan if lost else small.amount[r, p]
            maps.stderr[r, at + p] = np.nan if lost else np.sqrt(small.variance[r, p])
        for t in range(n_terms):
            maps.background[t, at + p] = np.nan if lost else reduced.background[t, p]
        maps.n_active[at + p] = 0 if lost else active
        maps.chi2[at + p] = np.nan if lost else block.chi2[p]
        maps.rss[at + p] = np.nan if lost else block.rss[p]
        maps.square[at + p] = np.nan if lost else block.square[p]


@njit(**INNER)
def _write_covariance(method, m, at, n_free, reduced, small, block, columns, work, cov, maps):
    """Write the covariance with no bound active."""
    n, n_terms = small.amount.shape[0], reduced.background.shape[0]
    for p in range(m):
        for r in range(n):
            for j in range(n):
                t = reduced.triangle[n_terms + j, n_terms + r, p]
                columns[r, j] = t / reduced.scale[r, p] if j <= r else 0.0
        covariance(method, columns, (1 << n) - 1, work, cov)
        for r in range(n):
            for j in range(n):
                d = cov[r, j] / (reduced.scale[r, p] * reduced.scale[j, p])
                maps.covariance[r, j, at + p] = d if block.n_energy[p] > n_free else np.nan


@njit(**JIT)
def fit_range(method, n_terms, design, choice, wanted, values, variance, start, maps):
    """Fit a range of pixels (e, p) into the maps, from pixel `start` on."""
    n_unknowns = design.triangle.shape[0]
    n = n_unknowns - n_terms
    n_free = n_unknowns - (1 if method == FCLS else 0)
    block, small = _room(design.basis, n_unknowns), problems(n, BLOCK)
    reduced = Reduced(
        np.empty((n_unknowns, n_unknowns, BLOCK)),
        np.empty((n_unknowns, BLOCK)),
        np.zeros((n_unknowns, n_unknowns, BLOCK)),
        np.empty((n, BLOCK)),
        np.empty((n_terms, BLOCK)),
    )
    work, cov, columns, target = workspace(n), np.empty((n, n)), np.empty((n, n)), np.empty(n)
    found, total = search(choice.most, BLOCK), np.empty(BLOCK)
    for first in range(0, values.shape[1], BLOCK):
        m = min(BLOCK, values.shape[1] - first)
        _weigh(values, variance, first, m, block)
        _sum_rows(design.products, block.weight, len(design.products), block.gram)
        _sum_rows(design.basis, block.product, n_unknowns, block.projected)
        _factorise(block, reduced)
        _reduce(design.triangle, reduced)
        _pose(n_terms, method == FCLS, reduced, small)
        if choice.subsets.size > 0:
            _total(block, reduced, n_terms, total)
            find_best(method, choice.subsets, small, found)
            sizes = wanted[start + first : start + first + m]
            choose(total, block.n_energy, sizes, choice.known, small, found)
            solve_supports(small, method == FCLS)
            small.wrong[:] = 0
            for k in range(choice.most + 1):
                for p in range(m):
                    maps.best[k, start + first + p] = total[p] - found.gain[k, p]
        else:
            small.mask[:] = 1.0
            solve_block(method, small)
        variances(method, small)
        for p in range(m):
            if small.wrong[p] > 0:
                _solve_singly(method, n_terms, p, reduced, small, columns, target, work, cov)
        _complete(n_terms, design.triangle, reduced, small, block)
        _sum_residuals(design.basis, block)
        _write(m, start + first, n_free, reduced, small, block, maps)
        if maps.covariance.size > 0:
            _write_covariance(method, m, start + first, n_free, reduced, small, block, columns, work, cov, maps)
