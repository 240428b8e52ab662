"""The weighted fit of a range of pixels: sums over energies, small problems, statistics of the residual, maps.

Index letters: p pixel, u and v unknown (background terms, then references), t background term, r and s reference.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from xstxm._kernels.batched_nnls import solve_block, solve_supports, variances
from xstxm._kernels.chunk_loops import CHUNK, FAST, weigh_each_residual
from xstxm._kernels.fit_plan import FCLS, LSTSQ, NNLS
from xstxm._kernels.small_nnls import INNER, JIT, covariance
from xstxm._kernels.subsets import choose, find_best
from xstxm._kernels.weighted_loops import sum_chunk, weighted_square
from xstxm._kernels.weighted_problems import (
    copy_triangle,
    factorise_sums,
    guess,
    make_room,
    pose,
    reduce,
    solve_singly,
)


class Choice(NamedTuple):
    """Which references a pixel may have."""

    subsets: np.ndarray
    """Bit masks; none to let the constraints alone decide."""
    most: int
    known: bool
    """Whether the variance is that of the data, or a relative weight."""


@njit(**INNER)
def _choose(method, n_terms, choice, wanted, weights, values, number, room):
    """Set the supports of a chunk to the best subsets, and solve them."""
    reduced, small, total = room.reduced, room.small, room.reduced.total
    weighted_square(weights, values, total)
    for t in range(n_terms):
        for p in range(CHUNK):
            total[p] -= reduced.target[t, p] * reduced.leading[t, p]
    find_best(method, choice.subsets, small, room.found)
    choose(total, number, wanted, choice.known, small, room.found)
    solve_supports(small, method == FCLS, CHUNK)
    small.wrong[:] = 0


@njit(**FAST)
def _complete(method, triangle, lost, reduced, small):
    """Set amounts off the support to zero and those of lost pixels to NaN, and fill the background."""
    n_unknowns, n_terms = triangle.shape[0], reduced.background.shape[0]
    for r in range(n_unknowns - n_terms):
        x, mask = small.amount[r], small.mask[r]
        if method != LSTSQ:
            for p in range(CHUNK):
                mask[p] = mask[p] if x[p] > 0 else 0.0
                x[p] = x[p] if mask[p] > 0 else 0.0
        for p in range(CHUNK):
            x[p] += lost[p]
    for t in range(n_terms - 1, -1, -1):
        total, z = reduced.background[t], reduced.leading[t]
        for p in range(CHUNK):
            total[p] = z[p]
        for v in range(t + 1, n_unknowns):
            f, x = reduced.triangle[t, v], small.amount[v - n_terms] if v >= n_terms else reduced.background[v]
            for p in range(CHUNK):
                total[p] -= f[p] * x[p]
        f = 1 / triangle[t, t]
        for p in range(CHUNK):
            total[p] *= f


@njit(**FAST)
def _express(triangle, reduced, small, chunk):
    """Fill the fit in terms of the orthonormal spectra."""
    n_unknowns, n_terms, total = triangle.shape[0], reduced.background.shape[0], reduced.total
    for u in range(n_unknowns):
        total[:] = 0.0
        for v in range(u, n_unknowns):
            f, x = triangle[u, v], small.amount[v - n_terms] if v >= n_terms else reduced.background[v]
            for p in range(CHUNK):
                total[p] += f * x[p]
        fitted = chunk.fitted[u * CHUNK : (u + 1) * CHUNK]
        for p in range(CHUNK):
            fitted[p] = total[p]


@njit(**FAST)
def _write_amounts(scale, at, m, lost, reduced, small, maps):
    """Write what is known of the first m pixels of a chunk without their residual."""
    active = reduced.total
    active[:] = 0.0
    for r in range(scale.size):
        x, mask, variance, factor = small.amount[r], small.mask[r], small.variance[r], 1 / scale[r]
        amount, stderr = maps.amount[r, at : at + m], maps.stderr[r, at : at + m]
        for p in range(m):
            amount[p] = x[p] * factor
        for p in range(m):
            stderr[p] = np.sqrt(stderr.dtype.type(mask[p] * variance[p] * factor * factor)) + lost[p]
        for p in range(CHUNK):
            active[p] += mask[p]
    for t in range(reduced.background.shape[0]):
        source, out = reduced.background[t], maps.background[t, at : at + m]
        for p in range(m):
            out[p] = source[p]
    n_active = maps.n_active[at : at + m]
    for p in range(m):
        n_active[p] = np.int16(active[p] if lost[p] == 0 else 0.0)


@njit(**FAST)
def _write_statistics(n_others, at, m, chunk, maps):
    """Write the statistics of the first m pixels of a chunk; `n_others` numbers are free beside the references in use."""
    rss, chi2, square = chunk.sums[:CHUNK], chunk.sums[CHUNK : 2 * CHUNK], chunk.sums[2 * CHUNK : 3 * CHUNK]
    number, lost = chunk.sums[3 * CHUNK :], chunk.lost
    rms, r_factor, reduced = maps.rms[at : at + m], maps.r_factor[at : at + m], maps.reduced_chi2[at : at + m]
    n_energy, n_active = maps.n_energy[at : at + m], maps.n_active[at : at + m]
    for p in range(m):
        rms[p] = np.sqrt(rss[p] / number[p]) + lost[p]
        r_factor[p] = rss[p] / square[p] + lost[p]
        reduced[p] = chi2[p] / (number[p] - number.dtype.type(n_active[p] + n_others)) + lost[p]
        n_energy[p] = np.int32(number[p])


@njit(**FAST)
def _invert(n_terms, triangle, reduced):
    """Fill the inverse of the triangle of the references."""
    n = reduced.inverse.shape[0]
    for s in range(n):
        reduced.inverse[s, s, :] = 1 / triangle[n_terms + s, n_terms + s]
        for r in range(s - 1, -1, -1):
            row = reduced.inverse[r, s]
            row[:] = 0.0
            for k in range(r + 1, s + 1):
                f, below = reduced.triangle[n_terms + r, n_terms + k], reduced.inverse[k, s]
                for p in range(CHUNK):
                    row[p] -= f[p] * below[p]
            f = 1 / triangle[n_terms + r, n_terms + r]
            for p in range(CHUNK):
                row[p] *= f


@njit(**FAST)
def _write_covariance(fixed_sum, design, at, m, lost, reduced, small, maps):
    """Write the covariance with no bound active of the first m pixels of a chunk, V D^-1 V' with V the inverse triangle.

    With C that matrix and q its product with ones, a fixed sum takes q q' / sum(q) off.
    """
    n, n_terms, total = design.scale.size, design.n_terms, reduced.total
    _invert(n_terms, design.triangle, reduced)
    small.slope[:] = 0.0
    total[:] = 0.0
    for r in range(n):
        for s in range(r + 1):
            out = reduced.weighted[r, s]
            out[:] = 0.0
            for k in range(r, n):
                f, g = reduced.inverse[r, k], reduced.inverse[s, k]
                inverse = reduced.factor[n_terms + k, n_terms + k]
                for p in range(CHUNK):
                    out[p] += f[p] * g[p] * inverse[p]
            twice = 1.0 if r == s else 2.0
            for p in range(CHUNK):
                total[p] += twice * out[p]
                small.slope[r, p] += out[p]
                if r != s:
                    small.slope[s, p] += out[p]
    for r in range(n):
        for s in range(r + 1):
            matrix, factor = reduced.weighted[r, s], 1 / (design.scale[r] * design.scale[s])
            out, mirrored = maps.covariance[r, s, at : at + m], maps.covariance[s, r, at : at + m]
            for p in range(m):
                taken = small.slope[r, p] * small.slope[s, p] / total[p] if fixed_sum else 0.0
                out[p] = mirrored[p] = (matrix[p] - taken) * factor + lost[p]


@njit(**INNER)
def _write_covariance_singly(method, design, at, m, lost, room, maps):
    """Write the covariance with no bound active where the references hardly differ but for their fixed sum."""
    n, single = design.scale.size, room.single
    for p in range(m):
        copy_triangle(design.n_terms, p, room.reduced, single)
        covariance(method, single.columns, (1 << n) - 1, single.work, single.covariance)
        for r in range(n):
            for s in range(n):
                d = single.covariance[r, s] / (design.scale[r] * design.scale[s])
                maps.covariance[r, s, at + p] = d + lost[p]


@njit(**INNER)
def _fit_chunk(method, design, choice, wanted, at, m, chunk, room, maps):
    """Fit the first m pixels of a chunk, whose results start at `at`."""
    reduced, small, n_terms = room.reduced, room.small, design.n_terms
    lost = chunk.lost
    factorise_sums(len(design.triangle) - (1 if method == FCLS else 0), chunk, reduced)
    reduce(design.triangle, reduced)
    pose(n_terms, reduced, small)
    if choice.subsets.size > 0:
        number = chunk.sums[3 * CHUNK :]
        _choose(method, n_terms, choice, wanted[at : at + m], chunk.weights, chunk.values, number, room)
        for k in range(choice.most + 1):
            for p in range(m):
                maps.best[k, at + p] = reduced.total[p] - room.found.gain[k, p] + lost[p]
    else:
        if method == NNLS:
            guess(n_terms, design.triangle, reduced, small)
        solve_block(method, small, room.gathered)
    variances(method, small)
    for p in range(m):
        if (small.wrong[p] > 0 or not design.certain) and lost[p] == 0:
            solve_singly(method, n_terms, p, reduced, small, room.single)
    _complete(method, design.triangle, lost, reduced, small)
    _express(design.triangle, reduced, small, chunk)
    _write_amounts(design.scale, at, m, lost, reduced, small, maps)
    if maps.covariance.size > 0:
        if design.certain:
            _write_covariance(method == FCLS, design, at, m, lost, reduced, small, maps)
        else:
            _write_covariance_singly(method, design, at, m, lost, room, maps)


@njit(**JIT)
def fit_range(method, design, choice, wanted, values, value_row, variance, variance_row, n_pixels, start, chunk, maps):
    """Fit a range of pixels into the maps, from pixel `start` on; the energies of the flat data lie a row apart."""
    room = make_room(design.n_terms, design.scale.size, choice.most)
    n_others = design.n_terms - (1 if method == FCLS else 0)
    for first in range(0, n_pixels, CHUNK):
        n, at = min(CHUNK, n_pixels - first), start + first
        sum_chunk(design, values, value_row, variance, variance_row, first, n, chunk)
        _fit_chunk(method, design, choice, wanted, at, n, chunk, room, maps)
        weigh_each_residual(chunk.values, design.basis, chunk.fitted, chunk.weights, chunk.sums)
        _write_statistics(n_others, at, n, chunk, maps)
