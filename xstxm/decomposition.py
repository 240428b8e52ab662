"""Singular value decomposition of a stack through its energy-by-energy second moment."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xstxm._apply import require_single_chunk
from xstxm.conventions import ENERGY, pixel_dims


def second_moment(array: xr.DataArray) -> xr.DataArray:
    """Return sum over pixels of od(E) od(E'), shape (energy, energy_), in float64. Lazy.

    Pixels that are not finite at every energy are left out.
    """
    array = require_single_chunk(array, "the decomposition").transpose(ENERGY, ...)
    clean = array.where(xr.ufuncs.isfinite(array).all(ENERGY), 0).astype(float)
    axes = tuple(range(1, clean.ndim))
    moment = np.tensordot(clean.data, clean.data, axes=(axes, axes))
    return xr.DataArray(moment, dims=(ENERGY, f"{ENERGY}_"), coords={ENERGY: array[ENERGY].variable})


def eigenspectra(moment: xr.DataArray, n_pixels: int, n_components: int | None = None) -> xr.DataArray:
    """Return the leading eigenspectra (component, energy) of a second moment, the largest entry of each positive.

    Without `n_components`, those above the optimal hard threshold for unknown noise (Gavish and
    Donoho, IEEE Trans. Inf. Theory 60, 5040, 2014), between 2 and 8. Eager, on an energy-by-energy matrix.
    """
    values, vectors = np.linalg.eigh(np.asarray(moment))
    values, vectors = values[::-1], vectors[:, ::-1]
    if n_components is None:
        singular = np.sqrt(np.maximum(values, 0))
        beta = min(len(values) / max(n_pixels, 1), 1.0)
        omega = 0.56 * beta**3 - 0.95 * beta**2 + 1.82 * beta + 1.43
        n_components = int(np.clip((singular > omega * np.median(singular)).sum(), 2, 8))
    basis = vectors[:, :n_components]
    largest = np.abs(basis).argmax(0)
    basis = basis * np.sign(basis[largest, np.arange(basis.shape[1])])
    component = np.arange(1, basis.shape[1] + 1)
    return xr.DataArray(basis.T, dims=("component", ENERGY), coords={"component": component, ENERGY: moment[ENERGY]})


def scores(array: xr.DataArray, basis: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the scores (component, pixel dims) on an orthonormal basis and the residual variance (pixel dims). Lazy."""
    array = require_single_chunk(array, "the decomposition")
    dims = pixel_dims(array)
    projected = xr.dot(basis.astype(array.dtype), array, dim=ENERGY).transpose("component", *dims)
    degrees = max(array.sizes[ENERGY] - basis.sizes["component"], 1)
    left = (array**2).sum(ENERGY, skipna=False) - (projected**2).sum("component", skipna=False)
    return projected, (left / degrees).clip(min=0)
