"""The fit where every value has a variance of its own: exact, pixel by pixel.

The weighted sums of a pixel over its energies, Q'WQ and Q'Wy with orthonormal Q, pose it a small constrained problem of
its own (`weighted_loops`, `weighted_block`).

Index letters: e energy, p pixel, t background term, r reference, k number of references.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from xstxm._kernels.fit_plan import METHODS
from xstxm._kernels.rows import flat
from xstxm._kernels.subsets import subsets_up_to
from xstxm._kernels.weighted_block import Choice, fit_range
from xstxm._kernels.weighted_loops import make_block, make_design

RANGE = 1 << 14
"""Pixels of one task of a thread."""


class WeightedMaps(NamedTuple):
    """The result of a weighted fit, pixels last."""

    amount: np.ndarray
    stderr: np.ndarray
    """From the variances, of the references in use; those at their bound have 0."""
    background: np.ndarray
    rms: np.ndarray
    r_factor: np.ndarray
    reduced_chi2: np.ndarray
    """As in `fit_plan.Maps`, the weights being one over the variance."""
    n_energy: np.ndarray
    n_active: np.ndarray
    covariance: np.ndarray
    """(r, r, p) with no bound active; (0, 0, 0) where not asked for."""
    best: np.ndarray
    """(k, p) chi-square of the best k references, infinite where there are none; (0, 0) where no choice was asked for."""


def fit_weighted(
    values: np.ndarray,
    variance: np.ndarray,
    references: np.ndarray,
    terms: np.ndarray,
    *,
    method: str,
    most: int = 0,
    known: bool = True,
    wanted: np.ndarray | None = None,
    with_covariance: bool = False,
    threads: int = 1,
) -> WeightedMaps:
    """Fit references and background terms to every pixel, weighted by the inverse variance.

    Parameters
    ----------
    values, variance
        (energy, pixel). Where a value is not finite, or a variance is not finite and above zero, the value is left out;
        pixels with no more energies than unknowns give NaN.
    references, terms
        (reference, energy) and (term, energy), independent of each other.
    most
        Above zero: choose the references of each pixel, at most so many, of all subsets that fit with amounts above
        zero: that of least BIC, the best of the `wanted` number (pixel).
    known
        Whether the variance is that of the data, for the BIC, or a relative weight.
    method, with_covariance, threads
        As in `linear_fit.fit_pixels`.
    """
    n_pixels, n, n_terms = values.shape[1], len(references), len(terms)
    dtype = values.dtype.newbyteorder("=")
    # a ratio of chi-squares needs what little the best subset leaves, which sums in float32 would round away
    summed = np.dtype(float) if most and not known else dtype
    design = make_design(references, terms, summed, method == "fcls")
    maps = _empty_maps(n, n_terms, n_pixels, most, dtype, with_covariance)
    choice = Choice(subsets_up_to(n, most) if most else np.zeros(0, np.int64), most, known)
    sizes = np.full(n_pixels if most else 0, -1, np.int64)
    if wanted is not None:
        sizes[:] = wanted
    tasks = iter(range(0, n_pixels, RANGE))  # shared by the threads, each of which takes the next

    def work() -> None:
        block = make_block(design, min(RANGE, n_pixels))
        for start in tasks:
            part = slice(start, start + RANGE)
            data = (*flat(values[:, part], dtype), *flat(variance[:, part], dtype))
            fit_range(METHODS[method], design, choice, sizes, *data, maps.rms[part].size, start, block, maps)

    if threads == 1:
        work()
    else:
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(work) for _ in range(threads)]:
                done.result()
    return maps


def _empty_maps(n: int, n_terms: int, n_pixels: int, most: int, dtype: np.dtype, with_covariance: bool) -> WeightedMaps:
    return WeightedMaps(
        amount=np.empty((n, n_pixels), dtype),
        stderr=np.empty((n, n_pixels), dtype),
        background=np.empty((n_terms, n_pixels), dtype),
        rms=np.empty(n_pixels, dtype),
        r_factor=np.empty(n_pixels, dtype),
        reduced_chi2=np.empty(n_pixels, dtype),
        n_energy=np.empty(n_pixels, np.int32),
        n_active=np.empty(n_pixels, np.int16),
        covariance=np.empty((n, n, n_pixels) if with_covariance else (0, 0, 0), dtype),
        best=np.empty((most + 1, n_pixels) if most else (0, 0)),
    )
