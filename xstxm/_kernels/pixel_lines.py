"""Least squares of a few terms in every pixel: one small pseudo-inverse for all, others where energies are missing.

Index letters: e energy, t term, p pixel. `used` says which values are finite.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

FOUND, NOT_MEASURED, BELOW_NOISE, OUTSIDE_WINDOW, POOR_FIT = range(5)
"""What became of a pixel."""
SLAB = 4096
"""Pixels worked on at once, so that temporary arrays stay small."""
SINGULAR = 1e-10
"""Smallest eigenvalue, of a matrix with largest eigenvalue one, that still counts."""


def known(values: np.ndarray, variance: np.ndarray | None) -> np.ndarray:
    """Return which values (e, p) are finite, and their variance too where there is one."""
    return np.isfinite(values) if variance is None else np.isfinite(values) & np.isfinite(variance)


def slabs(used: np.ndarray) -> Iterator[tuple[np.ndarray, bool]]:
    """Yield the numbers of some pixels at a time and whether all their energies are used; pixels without any are left out."""
    whole, some = used.all(axis=0), used.any(axis=0)
    for group, complete in ((whole, True), (some & ~whole, False)):
        numbers = np.flatnonzero(group)
        for start in range(0, numbers.size, SLAB):
            yield numbers[start : start + SLAB], complete


def powers(x: np.ndarray, n_terms: int, derivative: int = 0) -> np.ndarray:
    """Return 1, x, x^2, ... (..., t), or a derivative of them."""
    exponent = np.arange(n_terms)
    factor = np.prod([exponent - k for k in range(derivative)], axis=0) if derivative else np.ones(n_terms)
    return factor * np.asarray(x)[..., None] ** np.maximum(exponent - derivative, 0)


def weights_of(design: np.ndarray, used: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | bool]:
    """Return the weights (t, e, p) that turn values into coefficients, and where they are determined.

    design (e, t), used (e, p); None where every value is used: then one set of weights, (t, e, 1), serves all.
    """
    if used is None:
        return np.linalg.pinv(design)[..., None], True
    q, r = np.linalg.qr(design)
    normal = np.einsum("et,eu,ep->ptu", q, q, used.astype(float), optimize=True)
    determined = np.linalg.eigvalsh(normal)[:, 0] > SINGULAR
    normal[~determined] = np.eye(q.shape[1])
    weights = np.einsum("ptu,eu->tep", np.linalg.inv(normal), q, optimize=True) * used
    return np.einsum("ts,sep->tep", np.linalg.inv(r), weights, optimize=True), determined


def combine(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return sum_e w_e y_e (..., p) of values (e, p), with weights (..., e, 1) for all pixels or (..., e, p)."""
    if weights.shape[-1] == 1:
        return weights[..., 0] @ values
    return np.einsum("...ep,ep->...p", weights, values)


def noise_variance(rss: np.ndarray, free: np.ndarray, size: np.ndarray, eps: float) -> np.ndarray:
    """Return the variance of a point (p) from a residual with `free` degrees of freedom: never below rounding.

    Without that floor the residual of a constant is an error of zero, and its rounding a significant feature.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.maximum(np.where(free > 0, rss / free, np.nan), (4 * eps * size) ** 2)
