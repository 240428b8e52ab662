"""How often each value is there."""

from __future__ import annotations

import numpy as np
import xarray as xr

from stxm_explorer.figures.rasters import Array

_BINS = 120


def histogram(image: xr.DataArray) -> tuple[Array, Array]:
    """Return the outline of a histogram of the finite values."""
    values = np.asarray(image, dtype=float)
    finite = values[np.isfinite(values)]
    count, edges = np.histogram(finite, _BINS) if finite.size else (np.zeros(1), np.array([0.0, 1.0]))
    return np.repeat(edges, 2), np.concatenate([[0], np.repeat(count, 2), [0]])
