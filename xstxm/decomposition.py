"""Singular value decomposition of a stack through its energy-by-energy second moment."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xstxm._apply import is_lazy, require_single_chunk
from xstxm.conventions import ENERGY, pixel_dims
from xstxm.errors import OptionError

BLOCK = 1 << 16
"""Pixels that are held in float64 at once."""


def second_moment(array: xr.DataArray, usable: xr.DataArray) -> xr.DataArray:
    """Return the sum over usable pixels of od(E) od(E'), shape (energy, energy_), in float64. Lazy."""
    array = require_single_chunk(array, "the decomposition").transpose(ENERGY, *usable.dims)
    if is_lazy(array):
        clean = array.where(usable, 0).astype(float)
        axes = tuple(range(1, clean.ndim))
        moment = np.tensordot(clean.data, clean.data, axes=(axes, axes))
    else:
        moment = _blocked_moment(np.asarray(array), np.asarray(usable))
    return xr.DataArray(moment, dims=(ENERGY, f"{ENERGY}_"), coords={ENERGY: array[ENERGY].variable})


def _blocked_moment(array: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Accumulate in float64 over blocks of pixels, so that the stack never exists in float64."""
    spectra, keep = array.reshape(len(array), -1), usable.ravel()
    moment = np.zeros((len(array), len(array)))
    for start in range(0, keep.size, BLOCK):
        block = spectra[:, start : start + BLOCK][:, keep[start : start + BLOCK]].astype(float)
        moment += block @ block.T
    return moment


def eigenspectra(moment: xr.DataArray, n_pixels: int, n_components: int | None = None) -> xr.DataArray:
    """Return the leading eigenspectra (component, energy) of a second moment, the largest entry of each positive.

    Without `n_components`, those above the optimal hard threshold for unknown noise (Gavish and
    Donoho, IEEE Trans. Inf. Theory 60, 5040, 2014), between 2 and 8. Eager, on an energy-by-energy matrix.
    """
    values, vectors = np.linalg.eigh(np.asarray(moment))
    values, vectors = values[::-1], vectors[:, ::-1]
    if n_components is None:
        singular = np.sqrt(np.maximum(values, 0))
        few, many = sorted((len(values), max(n_pixels, 1)))
        beta = few / many
        omega = 0.56 * beta**3 - 0.95 * beta**2 + 1.82 * beta + 1.43
        n_components = int(np.clip((singular > omega * np.median(singular)).sum(), 2, 8))
    if n_components != int(n_components) or not 1 <= n_components <= len(values):
        raise OptionError("n_components", n_components, f"a whole number from 1 to the {len(values)} energies")
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
    left = xr.dot(array, array, dim=ENERGY) - xr.dot(projected, projected, dim="component")
    return projected, (left / degrees).clip(min=0)
