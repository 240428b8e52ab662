"""Exact fit of references and background to every pixel of an array: one pass, statistics included.

The design [background, references] is factorised once, background first: the free background drops out and
what remains is a small constrained problem in the triangle R of the references, with the data projected onto
orthonormal spectra (never normal equations: references are often near-collinear). With up to `MAX_TABLE`
references every support has a table with its solution and its duals, and pivoting finds the optimal one
(`block_fit`). `small_nnls` solves what has no table, `partial_fit` the pixels with unusable energies.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from xstxm._kernels.block_fit import fit_range, make_scratch
from xstxm._kernels.fit_plan import Maps, Plan, make_plan
from xstxm._kernels.partial_fit import fit_spectra
from xstxm._kernels.rows import flat

RANGE = 1 << 14
"""Pixels of one task of a thread."""

SINGLY = 1024
"""Pixels that are fitted one by one in one call."""


def fit_pixels(
    od: np.ndarray,
    references: np.ndarray,
    terms: np.ndarray,
    *,
    method: str,
    weights: np.ndarray | None = None,
    known_noise: bool = False,
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
        (reference, energy), finite, independent of each other and of the terms; at most 62, the bits of a support.
    terms
        Background spectra (term, energy); none for an array of shape (0, energy).
    method
        ``"lstsq"``, ``"nnls"`` or ``"fcls"``; the background is free in each.
    weights
        (energy), positive and finite: minimises sum w (od - fit)^2. All alike by default.
    known_noise
        The weights are one over the variances of the data, so that the standard errors follow from them alone.
        By default they are scaled by the residual of each pixel, `Maps.reduced_chi2`.
    with_covariance
        Return the covariance of the amounts too.
    threads
        Threads; the result does not depend on their number.
    """
    native = od.dtype.newbyteorder("=")
    if weights is not None and not (np.isfinite(weights) & (np.asarray(weights) > 0)).all():
        raise ValueError("weights must be positive and finite: leave out the energies that should not count")
    plan = make_plan(references, terms, method, native, weights)
    maps = _empty_maps(plan, od.shape[1], native, with_covariance)
    tasks = iter(range(0, od.shape[1], RANGE))  # shared by the threads, each of which takes the next
    work = functools.partial(_fit_tasks, tasks, od, plan, known_noise, maps)
    if threads == 1:
        work()
    else:
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(work) for _ in range(threads)]:
                done.result()
    return maps


def _fit_tasks(tasks: Iterator[int], od: np.ndarray, plan: Plan, known_noise: bool, maps: Maps) -> None:
    scratch = make_scratch(plan, min(RANGE, od.shape[1]))
    for start in tasks:
        tile = od[:, start : start + RANGE]
        data, row = flat(tile, plan.basis.dtype)
        fit_range(data, row, tile.shape[1], start, plan, known_noise, scratch, maps)
        left = np.flatnonzero(maps.n_active[start : start + RANGE] < 0)
        for some in np.array_split(left, -(-left.size // SINGLY)) if left.size else ():
            spectra = np.ascontiguousarray(tile[:, some].T, dtype=np.float64)
            _fit_singly(spectra, some + start, plan, known_noise, maps)


def _fit_singly(spectra: np.ndarray, pixels: np.ndarray, plan: Plan, known_noise: bool, maps: Maps) -> None:
    """Fit spectra (pixel, energy) one by one and put the results into the maps."""
    count, n = pixels.size, plan.scale.size
    amount, error, background = np.empty((count, n)), np.empty((count, n)), np.empty((count, plan.n_terms))
    statistics, counts, full = np.empty((count, 3)), np.empty((count, 2), np.int64), np.empty((count, n, n))
    root = np.sqrt(plan.weights.astype(np.float64)) if plan.weights.size else np.ones(plan.n_energies)
    fit_spectra(
        plan.method,
        plan.n_terms,
        plan.design,
        root,
        known_noise,
        spectra,
        amount,
        error,
        background,
        statistics,
        counts,
        full,
    )
    maps.amount[:, pixels] = amount.T
    maps.stderr[:, pixels] = error.T
    maps.background[:, pixels] = background.T
    maps.rms[pixels], maps.r_factor[pixels], maps.reduced_chi2[pixels] = statistics.T
    maps.n_energy[pixels], maps.n_active[pixels] = counts.T
    if maps.covariance.size:
        maps.covariance[:, :, pixels] = full.transpose(1, 2, 0)


def _empty_maps(plan: Plan, n_pixels: int, dtype: np.dtype, with_covariance: bool) -> Maps:
    n = plan.scale.size
    return Maps(
        amount=np.empty((n, n_pixels), dtype),
        stderr=np.empty((n, n_pixels), dtype),
        background=np.empty((plan.n_terms, n_pixels), dtype),
        rms=np.empty(n_pixels, dtype),
        r_factor=np.empty(n_pixels, dtype),
        reduced_chi2=np.empty(n_pixels, dtype),
        n_energy=np.empty(n_pixels, np.int32),
        n_active=np.empty(n_pixels, np.int16),
        covariance=np.empty((n, n, n_pixels) if with_covariance else (0, 0, 0), dtype),
    )
