"""Exact fit of references and background to every pixel of an array: one pass, statistics included.

The design [background, references] is factorised once, background first: the free background drops out and
what remains is a small constrained problem in the triangle R of the references, with the data projected onto
orthonormal spectra (never normal equations: references are often near-collinear). With up to `MAX_TABLE`
references every support has a table with its solution and its duals, and pivoting finds the optimal one
(`block_fit`). `small_nnls` solves what has no table, `partial_fit` the pixels with unusable energies.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from xstxm._kernels.block_fit import BLOCK, fit_range, project_range
from xstxm._kernels.fit_plan import LSTSQ, Maps, Plan, make_plan
from xstxm._kernels.partial_fit import fit_spectra
from xstxm._kernels.small_nnls import solve_many

RANGE = 16 * BLOCK
"""Pixels of one task of a thread."""


def fit_pixels(
    od: np.ndarray,
    references: np.ndarray,
    terms: np.ndarray,
    *,
    method: str,
    with_covariance: bool = False,
    threads: int = 1,
) -> Maps:
    """Fit references and background terms to every pixel.

    Parameters
    ----------
    od
        Data (energy, pixel), float32 or float64, of any strides. NaN and infinite values are left out, pixel
        by pixel; pixels with no more energies than unknowns give NaN.
    references
        (reference, energy), finite, independent of each other and of the terms.
    terms
        Background spectra (term, energy); none for an array of shape (0, energy).
    method
        ``"lstsq"``, ``"nnls"`` or ``"fcls"``; the background is free in each.
    with_covariance
        Return the covariance of the amounts too.
    threads
        Threads; the result does not depend on their number.
    """
    native = od.dtype.newbyteorder("=")
    plan = make_plan(references, terms, method, native)
    maps = _empty_maps(plan, od.shape[1], native, with_covariance)
    if threads == 1:
        for task in _tasks(od.shape[1]):
            _fit_task(od, plan, maps, task)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda task: _fit_task(od, plan, maps, task), _tasks(od.shape[1])))
    return maps


def _tasks(n_pixels: int) -> Iterator[slice]:
    return (slice(start, min(start + RANGE, n_pixels)) for start in range(0, n_pixels, RANGE))


def _fit_task(od: np.ndarray, plan: Plan, maps: Maps, task: slice) -> None:
    tile = od[:, task]
    flat, row = _flat(tile, plan.basis.dtype)
    solved = _solve_without_table(flat, row, tile.shape[1], plan)
    fit_range(flat, row, tile.shape[1], task.start, plan, *solved, maps)
    left = np.flatnonzero(maps.n_active[task] < 0)
    for some in np.array_split(left, -(-left.size // BLOCK)) if left.size else ():
        _fit_singly(np.ascontiguousarray(tile[:, some].T, dtype=np.float64), some + task.start, plan, maps)


def _flat(tile: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, int]:
    """Return a flat read-only view and the distance of energies in it, so that one compiled signature serves all."""
    if (
        tile.dtype != dtype
        or tile.strides[1] != dtype.itemsize
        or tile.strides[0] % dtype.itemsize
        or tile.strides[0] < 0
    ):
        tile = np.ascontiguousarray(tile, dtype=dtype)
    row = tile.strides[0] // dtype.itemsize
    size = (tile.shape[0] - 1) * row + tile.shape[1]
    return np.lib.stride_tricks.as_strided(tile, (size,), (dtype.itemsize,), writeable=False), row


def _solve_without_table(flat: np.ndarray, row: int, n_pixels: int, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    n = plan.scale.size
    if plan.method == LSTSQ or len(plan.tables):
        return np.empty((0, n)), np.empty((0, n))
    targets, supports = np.empty((n_pixels, n)), np.empty(n_pixels, np.int64)
    project_range(flat, row, n_pixels, plan, targets, supports)
    amounts, spreads = np.empty_like(targets), np.empty_like(targets)
    solve_many(plan.method, plan.columns, targets, supports, amounts, spreads)
    return amounts / plan.scale, spreads / plan.scale


def _fit_singly(spectra: np.ndarray, pixels: np.ndarray, plan: Plan, maps: Maps) -> None:
    """Fit spectra (pixel, energy) one by one and put the results into the maps."""
    count, n = pixels.size, plan.scale.size
    amount, error, background = np.empty((count, n)), np.empty((count, n)), np.empty((count, plan.n_terms))
    sums, counts, full = np.empty((count, 2)), np.empty((count, 2), np.int64), np.empty((count, n, n))
    fit_spectra(plan.method, plan.n_terms, plan.design, spectra, amount, error, background, sums, counts, full)
    maps.amount[:, pixels] = amount.T
    maps.stderr[:, pixels] = error.T
    maps.background[:, pixels] = background.T
    maps.rss[pixels], maps.square[pixels] = sums.T
    maps.n_energy[pixels], maps.n_active[pixels] = counts.T
    if maps.covariance.size:
        maps.covariance[:, :, pixels] = full.transpose(1, 2, 0)


def _empty_maps(plan: Plan, n_pixels: int, dtype: np.dtype, with_covariance: bool) -> Maps:
    n = plan.scale.size
    return Maps(
        np.empty((n, n_pixels), dtype),
        np.empty((n, n_pixels), dtype),
        np.empty((plan.n_terms, n_pixels), dtype),
        np.empty(n_pixels, dtype),
        np.empty(n_pixels, dtype),
        np.empty(n_pixels, np.int32),
        np.empty(n_pixels, np.int16),
        np.empty((n, n, n_pixels) if with_covariance else (0, 0, 0), dtype),
    )
