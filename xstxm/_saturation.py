"""Energies at which a pixel is too thick for its light to be trusted, left out of its fit."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xstxm._apply import over_energy, pixels_last
from xstxm.conventions import ENERGY, quality_bits


def without_saturated(
    od: xr.DataArray, spectra: xr.DataArray, terms: xr.DataArray, limit: float, before: xr.DataArray | None
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the optical density with NaN above a limit, and the quality of its pixels. Lazy.

    `too_thick` are pixels of which energies were left out, `poor_fit` those of which none remains.
    """
    kept, remain, left_out = over_energy(
        _without_saturated,
        od,
        verb="fit",
        output_dims=[[ENERGY], [], []],
        output_dtypes=[od.dtype, np.int32, np.int32],
        kwargs={
            "design": np.concatenate([np.asarray(terms, dtype=float), np.asarray(spectra, dtype=float)]),
            "limit": limit,
        },
    )
    kept = kept.assign_coords({ENERGY: od[ENERGY].variable}).transpose(*od.dims)
    flags = {"too_thick": left_out > 0, "poor_fit": (left_out > 0) & (remain == 0)}
    return kept, quality_bits(flags, before)


def _without_saturated(od: np.ndarray, *, design: np.ndarray, limit: float) -> tuple[np.ndarray, ...]:
    """Take an array with energy last."""
    from xstxm._kernels.saturation import without_saturated

    kept, remain, left_out = without_saturated(pixels_last(od), design, limit)
    shape = od.shape[:-1]
    return np.moveaxis(kept.reshape(-1, *shape), 0, -1), remain.reshape(shape), left_out.reshape(shape)
