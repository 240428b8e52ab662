"""References fitted to the pixels of an array, block by block: maps without their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from xstxm._apply import is_lazy, over_energy, pixels_last
from xstxm._selection import step_probabilities
from xstxm._unknowns import TERM, Method
from xstxm.conventions import ENERGY, OTHER_REFERENCE, REFERENCE
from xstxm.options import get_options


class FitMaps(NamedTuple):
    """What a fit says of every pixel; with further dimensions before or after those of the pixels."""

    amount: xr.DataArray
    """(reference)"""
    stderr: xr.DataArray
    background: xr.DataArray
    """(term)"""
    rms: xr.DataArray
    r_factor: xr.DataArray
    reduced_chi2: xr.DataArray
    n_active: xr.DataArray
    n_energies: xr.DataArray
    covariance: xr.DataArray | None = None
    """(reference, other_reference)"""


def fit_maps(
    od: xr.DataArray,
    spectra: xr.DataArray,
    terms: xr.DataArray,
    method: Method,
    covariance: bool,
    variance: xr.DataArray | None = None,
    most: int = 0,
    wanted: xr.DataArray | None = None,
) -> FitMaps:
    """Fit every pixel. Lazy.

    A variance that is the same in all pixels makes weights of the energies, which cost nothing.
    """
    weights = None if variance is None or most else _weights_of_energies(variance, od.sizes[ENERGY])
    whole = None if variance is None or weights is not None else variance.broadcast_like(od).transpose(*od.dims)
    n_references = spectra.sizes[REFERENCE]
    native = od.dtype.newbyteorder("=")
    dims: list[list[str]] = [[REFERENCE], [REFERENCE], [TERM], [], [], [], [], []]
    dtypes = [*[native] * 6, np.dtype("int16"), np.dtype("int32")]
    sizes = {REFERENCE: n_references, TERM: terms.sizes[TERM]}
    if covariance:
        dims, dtypes, sizes = (
            [*dims, [REFERENCE, OTHER_REFERENCE]],
            [*dtypes, native],
            {**sizes, OTHER_REFERENCE: n_references},
        )
    maps = over_energy(
        _fit_block,
        *(item for item in (od, whole, wanted) if item is not None),
        verb="fit",
        output_dims=dims,
        output_sizes=sizes,
        output_dtypes=dtypes,
        kwargs={
            "references": np.asarray(spectra),
            "terms": np.asarray(terms),
            "method": method,
            "covariance": covariance,
            "weights": weights,
            "weighted": whole is not None,
            "most": most,
            # dask runs blocks side by side already
            "threads": 1 if is_lazy(od) else get_options().num_threads,
        },
    )
    return FitMaps(*maps)


def _fit_block(
    od: np.ndarray,
    *others: np.ndarray,
    references: np.ndarray,
    terms: np.ndarray,
    method: Method,
    covariance: bool,
    weights: np.ndarray | None,
    weighted: bool,
    most: int,
    threads: int,
) -> tuple[np.ndarray, ...]:
    """Fit an array with energy last; the maps come back with their own dims last."""
    from xstxm._kernels.linear_fit import fit_pixels
    from xstxm._kernels.weighted_fit import fit_weighted

    shape = od.shape[:-1]
    options: dict[str, Any] = {"method": method, "with_covariance": covariance, "threads": threads}
    maps: Any
    if weighted or most:
        variance = others[0] if weighted else _alike(od)
        wanted = others[-1].ravel() if len(others) > weighted else None
        data = pixels_last(od), pixels_last(variance)
        maps = fit_weighted(*data, references, terms, most=most, known=weighted, wanted=wanted, **options)
    else:
        options = {**options, "weights": weights, "known_noise": weights is not None}
        maps = fit_pixels(pixels_last(od), references, terms, **options)
    if most and not weighted:  # the variance is that of the residual
        maps.stderr[:] *= np.sqrt(maps.reduced_chi2)
        if covariance:
            maps.covariance[:] *= maps.reduced_chi2
    statistics = maps.rms, maps.r_factor, maps.reduced_chi2, maps.n_active, maps.n_energy
    arrays = [maps.amount, maps.stderr, maps.background, *statistics]
    arrays += [maps.covariance] if covariance else []
    return tuple(_pixels_first(array, shape) for array in arrays)


def _weights_of_energies(variance: xr.DataArray, n_energies: int) -> np.ndarray | None:
    """Return one over a variance that depends on the energy only; None for any other, or where it leaves energies out.

    Eager on an array in memory.
    """
    if {*variance.dims} - {ENERGY} or is_lazy(variance):
        return None
    values = np.broadcast_to(np.asarray(variance, dtype=float), n_energies)
    with np.errstate(divide="ignore"):
        weights = 1 / values
    return weights if (np.isfinite(weights) & (weights > 0)).all() else None


def _pixels_first(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    own = array.shape[:-1]
    return np.moveaxis(array.reshape((*own, *shape)), range(len(own)), range(-len(own), 0))


def added_probabilities(
    od: xr.DataArray,
    spectra: xr.DataArray,
    terms: xr.DataArray,
    method: Method,
    variance: xr.DataArray | None,
    most: int,
) -> xr.DataArray:
    """Return the probability that the k-th reference of a pixel only fits noise, k along `reference`. Lazy.

    k starts at 1, and at 2 where the sum of the amounts is fixed.
    """
    found = over_energy(
        _probabilities_block,
        *([od] if variance is None else [od, variance.broadcast_like(od).transpose(*od.dims)]),
        verb="fit",
        output_dims=[[REFERENCE]],
        output_sizes={REFERENCE: most - (method == "fcls")},
        output_dtypes=[np.dtype(float)],
        kwargs={
            "references": np.asarray(spectra),
            "terms": np.asarray(terms),
            "method": method,
            "most": most,
            "threads": 1 if is_lazy(od) else get_options().num_threads,
        },
    )
    return found.drop_vars(REFERENCE, errors="ignore")


def _probabilities_block(
    od: np.ndarray,
    variance: np.ndarray | None = None,
    *,
    references: np.ndarray,
    terms: np.ndarray,
    method: Method,
    **options: Any,
) -> np.ndarray:
    """Return the probabilities of an array with energy last."""
    from xstxm._kernels.weighted_fit import fit_weighted

    known = variance is not None
    data = pixels_last(od), pixels_last(variance if variance is not None else _alike(od))
    maps = fit_weighted(*data, references, terms, method=method, known=known, **options)
    counts = maps.n_energy.astype(float), len(references), len(terms)
    found = step_probabilities(maps.best.T, *counts, known, fixed_sum=method == "fcls")
    return found.reshape(*od.shape[:-1], -1)


def _alike(od: np.ndarray) -> np.ndarray:
    """Return variances of one, the same memory for all energies."""
    return np.broadcast_to(np.ones((*od.shape[:-1], 1), od.dtype.newbyteorder("=")), od.shape)
