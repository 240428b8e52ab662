"""Pixels of a detector that do not follow the beam: stuck, dead, hot or noisy at every energy."""

from __future__ import annotations

import warnings

import numpy as np

from xstxm._kernels.spikes import stands_out

_STUCK, _NOISY = 0.05, 5.0
"""Flicker relative to that of the surroundings below and above which a pixel is bad."""
_DEAD, _HOT = 0.02, 1.2
"""Level relative to the median, and to the brightest hundredth, below and above which a pixel is bad."""
_STANDS_OUT = 6.0


def behaviour(spectra: np.ndarray, order: np.ndarray, fewest: int):
    """Return mean and flicker of spectra (..., e), NaN where fewer than `fewest` values are finite.

    The flicker is the median distance of a value from the mean of its neighbours in energy: a median, so that a few
    spikes do not count; the second difference, so that a slope does not.
    """
    level, flicker = np.empty((2, *spectra.shape[:-1]), dtype=spectra.dtype)
    for at in np.ndindex(spectra.shape[:-2]):  # row by row: no second stack
        row = spectra[at][..., order]
        finite = np.isfinite(row)
        complete = finite.all()
        row = row if complete else np.where(finite, row, np.nan)
        mean, median = (np.mean, np.median) if complete else (np.nanmean, np.nanmedian)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Mean of empty slice|All-NaN", RuntimeWarning)
            level[at] = mean(row, axis=-1)
            flicker[at] = median(np.abs(np.diff(row, n=2, axis=-1)), axis=-1) / 2
        few = finite.sum(-1) < fewest
        level[at] = np.where(few, np.nan, level[at])
        flicker[at] = np.where(few, np.nan, flicker[at])
    return level, flicker


def bad_pixels(level: np.ndarray, flicker: np.ndarray):
    """Return the pixels (y, x) whose mean over energy, or whose flicker, no sample can have."""
    from scipy import ndimage

    finite = np.isfinite(level) & np.isfinite(flicker)
    if not finite.any():
        return np.zeros(level.shape, dtype=bool)

    def around(image):
        return ndimage.median_filter(np.where(finite, image, np.median(image[finite])), size=5, mode="mirror")

    usual, brightest = np.median(level[finite]), np.percentile(level[finite], 99)
    with np.errstate(invalid="ignore", divide="ignore"):
        steady = np.where(level > 0, flicker / np.sqrt(np.maximum(level, 0)), 0)
    stuck = flicker < _STUCK * around(flicker)
    noisy = steady > _NOISY * around(steady)
    dead = (level < _DEAD * usual) & (level < _DEAD * around(level))
    hot = (level > _HOT * brightest) & stands_out(np.sqrt(np.maximum(level, 0)), _STANDS_OUT, 1e-5)
    return finite & (stuck | noisy | dead | hot)
