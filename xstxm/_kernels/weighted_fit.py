"""The fit where every value has a variance of its own: exact, pixel by pixel.

The weighted sums of a pixel over its energies, Q'WQ and Q'Wy with orthonormal Q, pose it a small constrained problem of
its own (`weighted_loops`, `weighted_block`).

Index letters: e energy, p pixel, t background term, r reference, k number of references.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xstxm._kernels.fit_plan import METHODS, Maps, empty_maps
from xstxm._kernels.pixel_ranges import in_ranges
from xstxm._kernels.rows import flat
from xstxm._kernels.subsets import subsets_up_to
from xstxm._kernels.weighted_block import Choice, fit_range
from xstxm._kernels.weighted_loops import make_chunk, make_design


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
) -> Maps:
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
        As in `linear_fit.fit_pixels`; standard errors and covariance follow from the variances alone.
    """
    n_pixels, n, n_terms = values.shape[1], len(references), len(terms)
    dtype = values.dtype.newbyteorder("=")
    # a ratio of chi-squares needs what little the best subset leaves, which sums in float32 would round away
    summed = np.dtype(float) if most and not known else dtype
    design = make_design(references, terms, summed, method == "fcls")
    maps = empty_maps(n, n_terms, n_pixels, dtype, with_covariance=with_covariance, most=most)
    choice = Choice(subsets_up_to(n, most) if most else np.zeros(0, np.int64), most, known)
    sizes = np.full(n_pixels if most else 0, -1, np.int64)
    if wanted is not None:
        sizes[:] = wanted

    def work(ranges: Iterator[slice]) -> None:
        chunk = make_chunk(design)
        for part in ranges:
            data = (*flat(values[:, part], dtype), *flat(variance[:, part], dtype))
            fit_range(METHODS[method], design, choice, sizes, *data, part.stop - part.start, part.start, chunk, maps)

    in_ranges(work, n_pixels, threads)
    return maps
