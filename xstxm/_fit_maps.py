"""References fitted to the pixels of an array, block by block: maps without their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from xstxm._apply import is_lazy, over_energy, pixels_last, threads_for
from xstxm._densities import Light
from xstxm._kernels.devices import on_device, on_host
from xstxm._selection import step_probabilities
from xstxm._unknowns import TERM, Method
from xstxm.conventions import ENERGY, OTHER_REFERENCE, REFERENCE, float_dtype

if TYPE_CHECKING:
    from xstxm._kernels.fit_plan import Maps


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
    arrays = [item for item in (od, whole, wanted) if item is not None]
    options = {"weights": weights, "weighted": whole is not None, "most": most}
    maps = _over_pixels(_fit_block, arrays, spectra, terms, method, covariance, options)
    return FitMaps(*maps)


def fit_counts(
    light: Light,
    used: xr.DataArray | None,
    spectra: xr.DataArray,
    terms: xr.DataArray,
    method: Method,
    covariance: bool,
) -> tuple[FitMaps, xr.DataArray]:
    """Fit the optical density of every pixel that is used, without holding it; and return what `told_by` reads. Lazy."""
    arrays = [light.counts, *(x if isinstance(x, xr.DataArray) else xr.DataArray(x) for x in light[1:4])]
    options = {"thick": light.thick, "of_energy": [ENERGY in item.dims for item in arrays]}
    arrays += [] if used is None else [used]
    bits, *maps = _over_pixels(_fit_counts_block, arrays, spectra, terms, method, covariance, options, counted=True)
    return FitMaps(*maps), bits


def _over_pixels(
    func: Callable[..., tuple[np.ndarray, ...]],
    arrays: Sequence[xr.DataArray],
    spectra: xr.DataArray,
    terms: xr.DataArray,
    method: Method,
    covariance: bool,
    options: dict[str, Any],
    *,
    counted: bool = False,
) -> Sequence[xr.DataArray]:
    """Return the maps that a function of blocks makes, behind the bits of counts."""
    n_references, dtype = spectra.sizes[REFERENCE], float_dtype(arrays[0])
    dims: list[list[str]] = [[REFERENCE], [REFERENCE], [TERM], *[[]] * 5]
    dtypes = [*[dtype] * 6, np.dtype("int16"), np.dtype("int32")]
    sizes = {REFERENCE: n_references, TERM: terms.sizes[TERM]}
    if counted:
        dims, dtypes = [[], *dims], [np.dtype("uint8"), *dtypes]
    if covariance:
        dims, dtypes = [*dims, [REFERENCE, OTHER_REFERENCE]], [*dtypes, dtype]
        sizes = {**sizes, OTHER_REFERENCE: n_references}
    return over_energy(
        func,
        *arrays,
        verb="fit",
        output_dims=dims,
        output_sizes=sizes,
        output_dtypes=dtypes,
        kwargs={
            **options,
            "references": np.asarray(spectra),
            "terms": np.asarray(terms),
            "method": method,
            "with_covariance": covariance,
            "threads": threads_for(*arrays),
        },
    )


def _fit_block(
    od: np.ndarray,
    *others: np.ndarray,
    references: np.ndarray,
    terms: np.ndarray,
    weights: np.ndarray | None,
    weighted: bool,
    most: int,
    with_covariance: bool,
    **options: Any,
) -> tuple[np.ndarray, ...]:
    """Fit an array with energy last; the maps come back with their own dims last."""
    from xstxm._kernels import array_fit
    from xstxm._kernels.linear_fit import fit_pixels
    from xstxm._kernels.weighted_fit import fit_weighted

    options["with_covariance"] = with_covariance
    if on_device(od):
        known: dict[str, Any] = {"weights": weights, "known_noise": weights is not None}
        known |= {"variance": pixels_last(others[0])} if weighted else {}
        maps = array_fit.fit_pixels(pixels_last(od), references, terms, **known, **options)
    elif weighted or most:
        variance = others[0] if weighted else _alike(od)
        wanted = others[-1].ravel() if len(others) > weighted else None
        data = pixels_last(od), pixels_last(variance)
        maps = fit_weighted(*data, references, terms, most=most, known=weighted, wanted=wanted, **options)
    else:
        options = {**options, "weights": weights, "known_noise": weights is not None}
        maps = fit_pixels(pixels_last(od), references, terms, **options)
    if most and not weighted:  # the variance is that of the residual
        maps.stderr[:] *= np.sqrt(maps.reduced_chi2)
        if with_covariance:
            maps.covariance[:] *= maps.reduced_chi2
    return _arrays(maps, od.shape[:-1], *([maps.covariance] if with_covariance else []))


def _fit_counts_block(
    counts: np.ndarray,
    *others: np.ndarray,
    references: np.ndarray,
    terms: np.ndarray,
    of_energy: Sequence[bool],
    thick: float,
    with_covariance: bool,
    **options: Any,
) -> tuple[np.ndarray, ...]:
    """Fit the optical density of counts with energy last."""
    from xstxm._kernels import array_fit, linear_fit
    from xstxm._kernels.linear_fit import Incident

    shape = counts.shape[:-1]
    i0, scale, dark = (
        _table(item if there else item[..., None], shape) for item, there in zip(others, of_energy[1:], strict=False)
    )
    options = {**options, "incident": Incident(i0, scale, dark, thick), "with_covariance": with_covariance}
    fit = array_fit if on_device(counts) else linear_fit
    maps = fit.fit_pixels(pixels_last(counts), references, terms, **options)
    if len(others) == len(of_energy):
        _leave_out(~np.broadcast_to(others[-1], shape).ravel(), maps)
    return maps.bits.reshape(shape), *_arrays(maps, shape, *([maps.covariance] if with_covariance else []))


def _table(item: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return an array with energy last as (energy, pixel), with one pixel where all are the same."""
    n_energies = item.shape[-1]
    if item.size == n_energies:
        return item.reshape(n_energies, 1)
    return pixels_last(np.broadcast_to(item, (*shape, n_energies)))


def _leave_out(pixels: np.ndarray, maps: Maps) -> None:
    """Make of pixels what a fit without any energy gives."""
    for name, values in maps._asdict().items():
        if values.size and name != "bits":
            values[..., pixels] = np.nan if values.dtype.kind == "f" else 0


def _arrays(maps: Maps, shape: Sequence[int], *more: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the arrays of `FitMaps`, their own dims last."""
    statistics = maps.rms, maps.r_factor, maps.reduced_chi2, maps.n_active, maps.n_energy
    arrays = [maps.amount, maps.stderr, maps.background, *statistics, *more]
    return tuple(_pixels_first(array, shape) for array in arrays)


def _weights_of_energies(variance: xr.DataArray, n_energies: int) -> np.ndarray | None:
    """Return one over a variance that depends on the energy only; None for any other, or where it leaves energies out.

    Eager on an array in memory.
    """
    if {*variance.dims} - {ENERGY} or is_lazy(variance):
        return None
    values = np.broadcast_to(on_host(variance.data).astype(float), n_energies)
    with np.errstate(divide="ignore"):
        weights = 1 / values
    return weights if (np.isfinite(weights) & (weights > 0)).all() else None


def _pixels_first(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    own = array.shape[:-1]
    return np.moveaxis(array.reshape((*own, *shape)), tuple(range(len(own))), tuple(range(-len(own), 0)))


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
            "threads": threads_for(od),
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
