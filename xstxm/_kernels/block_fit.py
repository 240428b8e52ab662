"""The fit of complete pixels, statistics included: a block is copied from memory once, then fitted chunk by chunk in cache.

Of counts the copy is their optical density, which is nowhere else.

Index letters: e energy, p pixel, u unknown (background terms, then references), t background term,
r reference. The pixel index is innermost in every heavy loop, and no pixel depends on its neighbours.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from xstxm._kernels.batched_nnls import GATHERED, problems, solve_block, variances
from xstxm._kernels.block_load import load_counts_d, load_counts_f, load_densities
from xstxm._kernels.chunk_loops import (
    CHUNK,
    FAST,
    multiply,
    sum_residuals,
    sum_squares,
    weigh_residuals,
)
from xstxm._kernels.density_lines import Beam
from xstxm._kernels.fit_plan import FCLS, LANES, LSTSQ, Maps, Plan, aligned
from xstxm._kernels.lanes import test_support
from xstxm._kernels.small_nnls import INNER, JIT, constrained, covariance, workspace

BLOCK_BYTES = 1 << 19
"""Size of a block. Memory gives long runs of an image faster than it gives short ones, which would fit the second cache."""

ALL_AT_ONCE, ONE_BY_ONE = 8, 100
"""Rounds in which all wrong references change side, then rounds in which only the first does."""

WRONG = (1 << LANES) - 1
UNDONE = -1
"""`n_active` of a pixel that is left to `partial_fit`."""


class Scratch(NamedTuple):
    """Room of one thread, in the data's dtype but for the last three. Rows of zeros pad what `multiply` takes and gives."""

    tiles: np.ndarray
    """(chunk, e * p) the spectra of a block."""
    projected: np.ndarray
    """(chunk, u, p) projections of the data."""
    fitted: np.ndarray
    """(u, p) projections of the fit."""
    sums: np.ndarray
    """(5 * p) squares of the residual, the same weighted, squares of the data, references in use, noise."""
    size: np.ndarray
    """(p) largest projection on a reference."""
    solution: np.ndarray
    """(p, lanes) amounts over `Plan.scale`."""
    amount: np.ndarray
    """(u, p) projections on the background, then amounts."""
    outcome: np.ndarray
    """(u, p) background, then projections of the fit on the references."""
    spread: np.ndarray
    """(r, p) standard deviations of the amounts for unit noise."""
    support: np.ndarray
    in_use: np.ndarray
    """(p) the support, and those of it that are above zero by more than rounding."""
    todo: np.ndarray


def make_scratch(plan: Plan, n_pixels: int) -> Scratch:
    """Return room for blocks of up to n_pixels."""
    dtype = plan.basis.dtype
    n, (n_unknowns, n_energies) = plan.scale.size, plan.basis.shape
    chunks = min(max(BLOCK_BYTES // (n_energies * dtype.itemsize * CHUNK), 1), -(-n_pixels // CHUNK))
    return Scratch(
        tiles=aligned((chunks, n_energies * CHUNK), dtype),
        projected=aligned((chunks, plan.n_terms + plan.free.shape[1] + 1, CHUNK), dtype),
        fitted=aligned((n_unknowns, CHUNK), dtype),
        sums=aligned((5 * CHUNK,), dtype),
        size=aligned((CHUNK,), dtype),
        solution=aligned((CHUNK, max(plan.tables.shape[2], LANES)), dtype),
        amount=aligned((plan.outcome.shape[1], CHUNK), dtype),
        outcome=aligned((n_unknowns, CHUNK), dtype),
        spread=aligned((n, CHUNK), dtype),
        support=aligned((CHUNK,), np.int64),
        in_use=aligned((CHUNK,), np.int64),
        todo=aligned((CHUNK,), np.int64),
    )


@njit(**FAST)
def _solve_unbounded(plan, projected, block):
    """Fill the amounts without bounds, the support of those above zero as first guess, and the size of the task."""
    n_references, size = plan.scale.size, block.size
    multiply(plan.free, projected[plan.n_terms :].reshape(-1), block.outcome.reshape(-1))
    size[:] = 0
    block.support[:] = 0
    for r in range(n_references):
        x, y, constant = block.amount[plan.n_terms + r], block.outcome[r], block.outcome.dtype.type(plan.constant[r])
        c, bit = projected[plan.n_terms + r], np.int64(1) << r
        for p in range(CHUNK):
            x[p] = y[p] + constant
            block.support[p] += bit if x[p] > 0 else 0
            size[p] = max(size[p], abs(c[p]))


@njit(**INNER)
def _pivot(tables, target, block):
    """Exchange references until the conditions of optimality hold; a pixel where they never do becomes NaN.

    All that are wrong change side at first, which is quick but may go round in circles, then only the first one
    does (Murty's rule, which always ends, if sometimes late).
    """
    lanes = tables.shape[2]
    support, in_use, todo, size, solution = block.support, block.in_use, block.todo, block.size, block.solution
    count = CHUNK
    for p in range(CHUNK):
        todo[p] = p
    for turn in range(ALL_AT_ONCE + ONE_BY_ONE):
        left = 0
        for i in range(count):
            p = todo[i]
            bits = test_support(tables, support[p], 0, target, p, size[p], solution)
            wrong, in_use[p] = bits & WRONG, bits >> LANES
            if lanes > LANES:
                bits = test_support(tables, support[p], LANES, target, p, size[p], solution)
                wrong |= (bits & WRONG) << LANES
                in_use[p] |= (bits >> LANES) << LANES
            support[p] ^= wrong if turn < ALL_AT_ONCE else wrong & -wrong
            todo[left] = p  # no branch on the outcome, which cannot be predicted
            left += wrong != 0
        count = left
        if count == 0:
            break
    for i in range(count):
        solution[todo[i], 0] = np.nan


@njit(**INNER)
def _solve_by_table(plan, projected, block):
    """Fill the constrained amounts and their spread."""
    _pivot(plan.tables, projected[plan.n_terms :], block)
    for r in range(plan.scale.size):
        x, factor = block.amount[plan.n_terms + r], block.amount.dtype.type(1 / plan.scale[r])
        for p in range(CHUNK):
            x[p] = block.solution[p, r] * factor
        spread, of_support = block.spread[r], plan.spread[r]
        for p in range(CHUNK):
            spread[p] = of_support[block.in_use[p]]


@njit(**FAST)
def _fill_matrix(columns, small):
    """Fill the normal equations of the references, the same for all pixels."""
    for r in range(columns.shape[0]):
        for q in range(r + 1):
            small.matrix[r, q, :] = np.sum(columns[r] * columns[q])


@njit(**FAST)
def _solve_by_exchange(plan, n, projected, block, small, gathered):
    """Fill the constrained amounts and their spread where there are too many references for tables."""
    lanes, n_references = small.wrong.size, plan.scale.size
    for first in range(0, n, lanes):
        for r in range(n_references):
            right, mask, support = small.right[r], small.mask[r], block.support[first : first + lanes]
            right[:] = 0.0
            for j in range(n_references):
                f, c = plan.columns[r, j], projected[plan.n_terms + j, first : first + lanes]
                for p in range(lanes):
                    right[p] += f * c[p]
            for p in range(lanes):
                mask[p] = (support[p] >> r) & 1
        solve_block(plan.method, small, gathered)
        variances(plan.method, small)
        for r in range(n_references):
            x, mask, variance, scale = small.amount[r], small.mask[r], small.variance[r], plan.scale[r]
            amount, spread = block.amount[plan.n_terms + r], block.spread[r]
            for p in range(lanes):
                positive = mask[p] > 0 and not x[p] <= 0
                amount[first + p] = x[p] / scale if positive else 0.0
                spread[first + p] = np.sqrt(variance[p]) / scale if positive else 0.0
        for p in range(min(lanes, n - first)):
            if small.wrong[p] > 0:
                _solve_singly(plan, first + p, projected, block)


@njit(**INNER)
def _solve_singly(plan, p, projected, block):
    """Fill the constrained amounts and their spread of one pixel by the solver that always ends."""
    n_references = plan.scale.size
    c, x, cov = np.empty(n_references), np.empty(n_references), np.empty((n_references, n_references))
    work = workspace(n_references)
    for r in range(n_references):
        c[r] = projected[plan.n_terms + r, p]
        if not np.isfinite(c[r]):
            block.amount[plan.n_terms :, p] = np.nan
            return
    support = constrained(plan.method, plan.columns, c, block.support[p], x, work)
    covariance(plan.method, plan.columns, support, work, cov)
    for r in range(n_references):
        block.amount[plan.n_terms + r, p] = x[r] / plan.scale[r]
        block.spread[r, p] = np.sqrt(cov[r, r]) / plan.scale[r]


@njit(**FAST)
def _fit_spectra(plan, projected, block):
    """Express the fit in the orthonormal basis, where no large terms cancel: the background's part is exact."""
    for t in range(plan.n_terms):
        c, fitted, amount = projected[t], block.fitted[t], block.amount[t]
        for p in range(CHUNK):
            fitted[p] = amount[p] = c[p]
    multiply(plan.outcome, block.amount.reshape(-1), block.outcome.reshape(-1))
    for u in range(plan.n_terms, plan.design.shape[0]):
        fitted, outcome = block.fitted[u], block.outcome[u]
        for p in range(CHUNK):
            fitted[p] = outcome[p]


@njit(**FAST)
def _add_squares(plan, projected, block, square):
    """Sum the squares of the data without looking at them: those of the residual and of the fit's projections."""
    n_unknowns = plan.design.shape[0]
    for p in range(CHUNK):
        square[p] = block.sums[p]
    for u in range(n_unknowns):
        c, f = projected[u], block.fitted[u]
        for p in range(CHUNK):
            square[p] += f[p] * (c[p] + (c[p] - f[p]))


@njit(**FAST)
def _write_statistics(plan, known_noise, at, n, block, maps):
    """Write statistics and counts of a chunk, and fill the noise of its pixels."""
    rss, weighted, square = block.sums[:CHUNK], block.sums[CHUNK : 2 * CHUNK], block.sums[2 * CHUNK : 3 * CHUNK]
    active, sigma = block.sums[3 * CHUNK : 4 * CHUNK], block.sums[4 * CHUNK :]
    chi2 = weighted if plan.weights.size > 0 else rss
    one = sigma.dtype.type(1)
    active[:] = plan.scale.size if plan.method == LSTSQ else 0
    if plan.method != LSTSQ:
        for r in range(plan.scale.size):
            x = block.amount[plan.n_terms + r]
            for p in range(CHUNK):
                active[p] += one if x[p] > 0 else 0 * one
    freedom = one * (plan.n_energies - plan.n_terms + (1 if plan.method == FCLS else 0))
    rms, r_factor, reduced = maps.rms[at : at + n], maps.r_factor[at : at + n], maps.reduced_chi2[at : at + n]
    n_energy, n_active = maps.n_energy[at : at + n], maps.n_active[at : at + n]
    for p in range(n):
        rms[p] = np.sqrt(rss[p] / (one * plan.n_energies))
        r_factor[p] = rss[p] / square[p]
        reduced[p] = chi2[p] / (freedom - active[p])
        n_energy[p] = plan.n_energies
    for p in range(n):
        n_active[p] = active[p] if np.isfinite(rss[p]) else UNDONE
        sigma[p] = one if known_noise else np.sqrt(reduced[p])


@njit(**FAST)
def _write_maps(plan, at, n, block, maps):
    sigma = block.sums[4 * CHUNK :]
    for t in range(plan.n_terms):
        source, out = block.outcome[t], maps.background[t, at : at + n]
        for p in range(n):
            out[p] = source[p]
    for r in range(plan.scale.size):
        x, spread = block.amount[plan.n_terms + r], block.spread[r]
        amount, stderr = maps.amount[r, at : at + n], maps.stderr[r, at : at + n]
        for p in range(n):
            amount[p] = x[p]
            stderr[p] = spread[p] * sigma[p]
    for r in range(maps.covariance.shape[0]):
        for j in range(plan.scale.size):
            for p in range(n):
                maps.covariance[r, j, at + p] = plan.covariance[r, j] * (sigma[p] * sigma[p])


@functools.cache
def _range_fitter(how: str, weighted: bool, counts: str) -> Any:
    """Return the compiled fit, bounds kept by "tables", by "exchange" or "free" of them; each compiles only what it calls.

    `counts` is the letter of their dtype where the data are counts, else "".

    Each has a name of its own, and so an index of its own among the cached functions on disk.
    """

    def fit(data, row, n_pixels, start, plan, known_noise, beam, room, thick, block, maps):
        n_references = plan.scale.size
        fitted, square = block.fitted.reshape(-1), block.sums[2 * CHUNK : 3 * CHUNK]
        size = block.tiles.shape[0] * CHUNK
        for r in range(n_references):
            block.spread[r, :] = np.sqrt(plan.covariance[r, r])
        if how == "exchange":
            small, gathered = problems(n_references, CHUNK), problems(n_references, GATHERED)
            _fill_matrix(plan.columns, small)
        for first in range(0, n_pixels, size):
            in_block = min(size, n_pixels - first)
            bits = maps.bits[start + first : start + first + in_block]
            if counts == "f":
                load_counts_f(data, row, first, in_block, plan, beam, room, thick, block, bits)
            elif counts == "d":
                load_counts_d(data, row, first, in_block, plan, beam, room, thick, block, bits)
            else:
                load_densities(data, row, first, in_block, plan, beam, room, thick, block, bits)
            for chunk in range(-(-in_block // CHUNK)):
                tile, projected, at = block.tiles[chunk], block.projected[chunk], start + first + chunk * CHUNK
                n = min(CHUNK, in_block - chunk * CHUNK)
                _solve_unbounded(plan, projected, block)
                if how == "tables":
                    _solve_by_table(plan, projected, block)
                elif how == "exchange":
                    _solve_by_exchange(plan, n, projected, block, small, gathered)
                _fit_spectra(plan, projected, block)
                block.sums[:] = 0
                if weighted:
                    sum_squares(tile, plan.n_energies, square)
                    weigh_residuals(tile, plan.spectra, fitted, plan.weights, block.sums)
                else:
                    sum_residuals(tile, plan.spectra, fitted, plan.weights, block.sums)
                    _add_squares(plan, projected, block, square)
                _write_statistics(plan, known_noise, at, n, block, maps)
                _write_maps(plan, at, n, block, maps)

    fit.__qualname__ = f"fit_{how}_{'weighted' if weighted else 'plain'}_{counts}"
    return njit(**JIT)(fit)


def fit_range(
    data: np.ndarray,
    row: int,
    n_pixels: int,
    start: int,
    plan: Plan,
    known_noise: bool,
    beam: Beam | None,
    thick: float,
    block: Scratch,
    maps: Maps,
) -> None:
    """Fit a range of pixels, whose results start at `start` in the maps; the data are flat, their energies `row` apart.

    With a beam they are counts, and `Maps.bits` of the pixels are filled, with `thick` as the limit of the density; without,
    they are optical densities. Pixels with an unusable energy, or without result, get `n_active` UNDONE.
    """
    how = "free" if plan.method == LSTSQ else "tables" if len(plan.tables) else "exchange"
    fit = _range_fitter(how, bool(plan.weights.size), "" if beam is None else plan.basis.dtype.char)
    room = None if beam is None else beam.room(CHUNK)
    fit(data, row, n_pixels, start, plan, known_noise, beam, room, thick, block, maps)
