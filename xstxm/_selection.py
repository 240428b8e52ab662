"""How many references a pixel needs: tests of one more, and the rate of false discoveries over an image."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xstxm._apply import is_lazy
from xstxm.conventions import REFERENCE

LEAST = 1e-30
"""Probability below which it does not matter how small it is."""
EDGES = np.geomspace(LEAST, 1.0, 30_001)
"""Of the histogram of probabilities that stands for their order, 0.23 % apart."""


def step_probabilities(
    best: np.ndarray, n_energy: np.ndarray, n_references: int, n_terms: int, known: bool, fixed_sum: bool = False
) -> np.ndarray:
    """Return for k = 1, 2, ... the probability that the k-th reference only fits noise, (..., k).

    best (..., k) is the chi-square of the best 0, 1, 2, ... references, infinite where there is no such subset. The
    k-th is the best of `n_references - k + 1`, which the probability is multiplied by, and noise asks for an amount
    above zero only every other time. A reference counts only with those before it. With a fixed sum there always is a
    first, whose amount follows from the others: nothing tests it, and k starts at 2.
    """
    from scipy.special import chdtrc, fdtrc

    sure = int(fixed_sum)
    k = np.arange(1 + sure, best.shape[-1])
    with_fewer, with_it = best[..., sure:-1], best[..., 1 + sure :]
    with np.errstate(invalid="ignore", divide="ignore"):
        less = np.maximum(with_fewer - with_it, 0)
        if known:
            tail = chdtrc(1, less)
        else:
            freedom = np.maximum(n_energy[..., None] - n_terms - k + sure, 1)
            tail = fdtrc(1, freedom, less / (with_it / freedom))
    probability = np.minimum(0.5 * tail * (n_references - k + 1), 1)
    probability = np.where(np.isfinite(with_it), probability, 1.0)
    probability = np.where(np.isnan(best[..., :1]), np.nan, probability)
    return np.maximum.accumulate(np.maximum(probability, LEAST), axis=-1)


def significant(probability: xr.DataArray, rate: float) -> xr.DataArray:
    """Return how many references of each pixel are discoveries, of which a share `rate` is false (Benjamini and Hochberg).

    Of N probabilities those up to the largest p with ``p <= rate * (number up to p) / N`` are discoveries. Lazy where
    the probabilities are.
    """
    outside = probability.fillna(2.0).data
    if is_lazy(probability):
        import dask.array as da

        counts, _ = da.histogram(outside, bins=EDGES)
    else:
        counts, _ = np.histogram(outside, bins=EDGES)
    upto = counts.cumsum(axis=0) if is_lazy(probability) else counts.cumsum()
    share = upto / np.maximum(upto[-1], 1)
    good = EDGES[1:] <= rate * share
    threshold = xr.DataArray((good * EDGES[1:]).max())
    return (probability <= threshold).sum(REFERENCE).astype(np.int64)
