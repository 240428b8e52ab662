"""The small problems of a weighted fit, made from the sums over energies.

With Q R the factorised design [background, references], W the inverse variances of a pixel and L D L' = Q'WQ (L with
a unit diagonal), the weighted problem is an ordinary one in the triangle U = L'R with the weights D and the target
(L D)^-1 Q'Wy, conditioned as well as the weights are alike. All runs in float64 with the pixels innermost; what
`batched_nnls` does not end, or cannot be trusted with, is left to `small_nnls`.

Index letters: p pixel, u and v unknown (background terms, then references), t background term, r and s reference.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from xstxm._kernels.batched_nnls import GATHERED, Problems, factorise, problems
from xstxm._kernels.chunk_loops import CHUNK, FAST
from xstxm._kernels.small_nnls import INNER, JIT, Work, constrained, covariance, workspace
from xstxm._kernels.subsets import Search, search

ROUNDING = 16
"""Part of a diagonal element, in units of the rounding of one number, that may be left of it by the rounding of the sums alone."""


class Reduced(NamedTuple):
    """The small problems of a chunk, float64, pixels last; references are over `Design.scale`."""

    factor: np.ndarray
    """(u, v) of Q'WQ, as in `batched_nnls`: the diagonal holds one over D."""
    target: np.ndarray
    """(u) L^-1 Q'Wy, at first, and (L D)^-1 Q'Wy."""
    leading: np.ndarray
    triangle: np.ndarray
    """(u, v) U, and D U."""
    weighted: np.ndarray
    background: np.ndarray
    total: np.ndarray
    """(p) weighted sum of squares that the background leaves, with a choice of references; else scratch."""
    inverse: np.ndarray
    """(r, s) inverse of the triangle of the references."""


class Single(NamedTuple):
    """Room for a problem that is solved by itself."""

    columns: np.ndarray
    target: np.ndarray
    covariance: np.ndarray
    work: Work


class Room(NamedTuple):
    """Room of one thread."""

    reduced: Reduced
    small: Problems
    gathered: Problems
    found: Search
    single: Single


@njit(**JIT)
def make_room(n_terms, n, most):
    """Return room for n references."""
    n_unknowns = n_terms + n
    reduced = Reduced(
        np.zeros((n_unknowns, n_unknowns, CHUNK)),
        np.zeros((n_unknowns, CHUNK)),
        np.zeros((n_unknowns, CHUNK)),
        np.zeros((n_unknowns, n_unknowns, CHUNK)),
        np.zeros((n_unknowns, n_unknowns, CHUNK)),
        np.zeros((n_terms, CHUNK)),
        np.zeros(CHUNK),
        np.zeros((n, n, CHUNK)),
    )
    single = Single(np.zeros((n, n)), np.zeros(n), np.zeros((n, n)), workspace(n))
    return Room(reduced, problems(n, CHUNK), problems(n, GATHERED), search(most, CHUNK), single)


@njit(**FAST)
def factorise_sums(n_free, chunk, out):
    """Fill the factor of Q'WQ and the targets, and mark the pixels whose energies do not determine the unknowns."""
    n = out.target.shape[0]
    lost, number, doubt = chunk.lost, chunk.sums[3 * CHUNK :], out.total
    at = 0
    for u in range(n):
        for v in range(u, n):
            gram, element = chunk.gram[at : at + CHUNK], out.factor[v, u]
            for p in range(CHUNK):
                element[p] = gram[p]
            at += CHUNK
    doubt[:] = 0.0
    factorise(out.factor, ROUNDING * float(np.finfo(lost.dtype).eps), out.target[0], doubt, CHUNK)
    for p in range(CHUNK):
        lost[p] = np.nan if doubt[p] > 0 or number[p] <= n_free else 0.0
    for u in range(n):
        target, leading, inverse = out.target[u], out.leading[u], out.factor[u, u]
        projected = chunk.projected[u * CHUNK : (u + 1) * CHUNK]
        for p in range(CHUNK):
            target[p] = projected[p]
        for k in range(u):
            f, before = out.factor[u, k], out.target[k]
            for p in range(CHUNK):
                target[p] -= f[p] * before[p]
        for p in range(CHUNK):
            leading[p] = target[p] * inverse[p]


@njit(**FAST)
def reduce(triangle, out):
    """Fill U = L'R, and D U."""
    n = triangle.shape[0]
    for u in range(n):
        inverse, diagonal = out.factor[u, u], out.total
        for p in range(CHUNK):
            diagonal[p] = 1 / inverse[p]
        for v in range(u, n):
            row, weighted = out.triangle[u, v], out.weighted[u, v]
            row[:] = triangle[u, v]
            for k in range(u + 1, v + 1):
                f, g = triangle[k, v], out.factor[k, u]
                for p in range(CHUNK):
                    row[p] += f * g[p]
            for p in range(CHUNK):
                weighted[p] = row[p] * diagonal[p]


@njit(**FAST)
def pose(n_terms, reduced, small):
    """Fill the normal equations of the references, from the triangle."""
    for r in range(small.right.shape[0]):
        right = small.right[r]
        right[:] = 0.0
        for j in range(r + 1):
            f, z = reduced.triangle[n_terms + j, n_terms + r], reduced.target[n_terms + j]
            for p in range(CHUNK):
                right[p] += f[p] * z[p]
        for s in range(r + 1):
            full = small.matrix[r, s]
            full[:] = 0.0
            for j in range(s + 1):
                f, g = reduced.weighted[n_terms + j, n_terms + r], reduced.triangle[n_terms + j, n_terms + s]
                for p in range(CHUNK):
                    full[p] += f[p] * g[p]


@njit(**FAST)
def guess(n_terms, triangle, reduced, small):
    """Set the supports to the references that are above zero without bounds."""
    n = small.mask.shape[0]
    for r in range(n - 1, -1, -1):
        x, mask, z = small.amount[r], small.mask[r], reduced.leading[n_terms + r]
        for p in range(CHUNK):
            x[p] = z[p]
        for s in range(r + 1, n):
            f, other = reduced.triangle[n_terms + r, n_terms + s], small.amount[s]
            for p in range(CHUNK):
                x[p] -= f[p] * other[p]
        f = 1 / triangle[n_terms + r, n_terms + r]
        for p in range(CHUNK):
            x[p] *= f
            mask[p] = 1.0 if x[p] > 0 else 0.0


@njit(**INNER)
def copy_triangle(n_terms, p, reduced, single):
    """Copy the triangle of one pixel, the roots of D taken into it."""
    for j in range(single.target.size):
        root = np.sqrt(1 / reduced.factor[n_terms + j, n_terms + j, p])
        for r in range(single.target.size):
            single.columns[r, j] = reduced.triangle[n_terms + j, n_terms + r, p] * root if j <= r else 0.0
        single.target[j] = reduced.leading[n_terms + j, p] * root


@njit(**INNER)
def solve_singly(method, n_terms, p, reduced, small, single):
    """Solve the problem of one pixel by the solver that always ends."""
    n = single.target.size
    copy_triangle(n_terms, p, reduced, single)
    support = constrained(method, single.columns, single.target, (1 << n) - 1, small.right[:, p], single.work)
    covariance(method, single.columns, support, single.work, single.covariance)
    for r in range(n):
        small.amount[r, p] = small.right[r, p]
        small.mask[r, p] = 1.0 if (support >> r) & 1 else 0.0
        small.variance[r, p] = single.covariance[r, r]
