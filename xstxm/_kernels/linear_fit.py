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
from typing import Any, NamedTuple

import numpy as np

from xstxm._kernels.block_fit import fit_range, make_scratch
from xstxm._kernels.density import optical_densities
from xstxm._kernels.density_lines import Beam, over_incident
from xstxm._kernels.fit_plan import Maps, Plan, empty_maps, make_plan
from xstxm._kernels.partial_fit import fit_spectra, make_results
from xstxm._kernels.pixel_ranges import in_ranges
from xstxm._kernels.rows import flat, rows_of

SINGLY = 1024
"""Pixels that are fitted one by one in one call."""


class Incident(NamedTuple):
    """What makes optical densities of counts, tables (energy, pixel) with one of either where nothing changes.

    As in `density.optical_densities`.
    """

    i0: np.ndarray
    scale: np.ndarray
    dark: np.ndarray
    thick: float

    def of(self, pixels: Any) -> Incident:
        """Return that of some pixels."""
        i0, scale, dark = (x if x.shape[1] == 1 else x[:, pixels] for x in (self.i0, self.scale, self.dark))
        return self._replace(i0=i0, scale=scale, dark=dark)

    def beam(self, dtype: np.dtype) -> Beam:
        """Return it as compiled loops take it."""
        level = self.dark.astype(dtype)
        inverse = over_incident(self.i0, self.scale, level)
        return Beam(rows_of(level, dtype), rows_of(inverse, dtype))

    def densities(self, counts: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Return the optical densities of counts (energy, pixel)."""
        return optical_densities(counts, *self[:3], energy=0, dtype=dtype, thick=self.thick).od


def fit_pixels(
    data: np.ndarray,
    references: np.ndarray,
    terms: np.ndarray,
    *,
    method: str,
    incident: Incident | None = None,
    weights: np.ndarray | None = None,
    known_noise: bool = False,
    with_covariance: bool = False,
    threads: int = 1,
) -> Maps:
    """Fit references and background terms to every pixel.

    Parameters
    ----------
    data
        Optical density (energy, pixel), float32 or float64, of any strides. NaN and infinite values are left out, pixel
        by pixel; pixels with no more energies than unknowns give NaN. With `incident` counts of any dtype, in whose place
        their optical density is fitted, which is made block by block.
    references
        (reference, energy), finite, independent of each other and of the terms; at most 62, the bits of a support.
    terms
        Background spectra (term, energy); none for an array of shape (0, energy).
    method
        ``"lstsq"``, ``"nnls"`` or ``"fcls"``; the background is free in each.
    incident
        What makes optical density of counts. The fit is then in float64 for counts in float64, else in float32.
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
    native = data.dtype.newbyteorder("=")
    if incident is not None and native != np.float64:
        native = np.dtype("float32")
    if weights is not None and not (np.isfinite(weights) & (np.asarray(weights) > 0)).all():
        raise ValueError("weights must be positive and finite: leave out the energies that should not count")
    plan = make_plan(references, terms, method, native, weights)
    size = {"with_covariance": with_covariance, "of_counts": incident is not None}
    maps = empty_maps(len(references), len(terms), data.shape[1], native, **size)
    in_ranges(functools.partial(_fit_ranges, data, incident, plan, known_noise, maps), data.shape[1], threads)
    return maps


def _fit_ranges(
    data: np.ndarray, incident: Incident | None, plan: Plan, known_noise: bool, maps: Maps, ranges: Iterator[slice]
) -> None:
    scratch, dtype = make_scratch(plan, data.shape[1]), plan.basis.dtype
    for part in ranges:
        tile, own = data[:, part], None if incident is None else incident.of(part)
        values, row = flat(tile, dtype)
        beam = None if own is None else own.beam(dtype)
        thick = np.nan if own is None else own.thick
        fit_range(values, row, tile.shape[1], part.start, plan, known_noise, beam, thick, scratch, maps)
        left = np.flatnonzero(maps.n_active[part] < 0)
        for some in np.array_split(left, -(-left.size // SINGLY)) if left.size else ():
            od = tile[:, some] if own is None else own.of(some).densities(tile[:, some], dtype)
            spectra = np.ascontiguousarray(od.T, dtype=np.float64)
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
