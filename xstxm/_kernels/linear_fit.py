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

import numpy as np

from xstxm._kernels.block_fit import fit_range, make_scratch
from xstxm._kernels.fit_plan import Maps, Plan, empty_maps, make_plan
from xstxm._kernels.partial_fit import fit_spectra, make_results
from xstxm._kernels.pixel_ranges import in_ranges
from xstxm._kernels.rows import flat

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
    maps = empty_maps(len(references), len(terms), od.shape[1], native, with_covariance=with_covariance)
    in_ranges(functools.partial(_fit_ranges, od, plan, known_noise, maps), od.shape[1], threads)
    return maps


def _fit_ranges(od: np.ndarray, plan: Plan, known_noise: bool, maps: Maps, ranges: Iterator[slice]) -> None:
    scratch = make_scratch(plan, od.shape[1])
    for part in ranges:
        tile = od[:, part]
        data, row = flat(tile, plan.basis.dtype)
        fit_range(data, row, tile.shape[1], part.start, plan, known_noise, scratch, maps)
        left = np.flatnonzero(maps.n_active[part] < 0)
        for some in np.array_split(left, -(-left.size // SINGLY)) if left.size else ():
            spectra = np.ascontiguousarray(tile[:, some].T, dtype=np.float64)
            _fit_singly(spectra, some + part.start, plan, known_noise, maps)


def _fit_singly(spectra: np.ndarray, pixels: np.ndarray, plan: Plan, known_noise: bool, maps: Maps) -> None:
    """Fit spectra (pixel, energy) one by one and put the results into the maps."""
    root = np.sqrt(plan.weights.astype(np.float64)) if plan.weights.size else np.ones(plan.n_energies)
    results = make_results(pixels.size, plan.scale.size, plan.n_terms)
    fit_spectra(plan.method, plan.n_terms, plan.design, root, known_noise, spectra, results)
    maps.amount[:, pixels] = results.amount.T
    maps.stderr[:, pixels] = results.error.T
    maps.background[:, pixels] = results.background.T
    maps.rms[pixels], maps.r_factor[pixels], maps.reduced_chi2[pixels] = results.statistics.T
    maps.n_energy[pixels], maps.n_active[pixels] = results.counts.T
    if maps.covariance.size:
        maps.covariance[:, :, pixels] = results.covariance.transpose(1, 2, 0)
