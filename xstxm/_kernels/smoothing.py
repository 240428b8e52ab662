"""Linear smoothing of spectra by one matrix for all pixels, with its variance; and what frames need to be filtered.

Index letters: e and f energy, p pixel, y x position in a frame, n draw of noise.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

MatrixOf = Callable[[np.ndarray], np.ndarray]
"""Gives the matrix (f, f) that smooths the energies in use, from a mask (e) of them."""


def smooth_pixels(
    values: np.ndarray, variance: np.ndarray | None, matrix_of: MatrixOf
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return smoothed values (e, p) and their variance, W y and (W * W) var.

    Values that are not finite are left out of what their neighbours become and stay as they are: pixels that lack
    the same energies share a matrix.
    """
    matrix = matrix_of(np.ones(len(values), dtype=bool)).astype(values.dtype)
    smooth = matrix @ values
    spread = None if variance is None else (matrix * matrix).astype(variance.dtype) @ variance
    broken = np.flatnonzero(~np.isfinite(values.sum(0)))
    used = np.isfinite(values[:, broken])
    patterns, member = np.unique(used, axis=1, return_inverse=True)
    for k, pattern in enumerate(patterns.T):
        pixels = broken[member.ravel() == k]
        smooth[:, pixels] = values[:, pixels]
        at = np.ix_(pattern, pixels)
        matrix = matrix_of(pattern).astype(values.dtype)
        smooth[at] = matrix @ values[at]
        if spread is not None and variance is not None:
            spread[:, pixels] = variance[:, pixels]
            spread[at] = (matrix * matrix).astype(variance.dtype) @ variance[at]
    return smooth, spread


def local_polynomial(
    energy: np.ndarray, window: float, order: int, used: np.ndarray, whole: np.ndarray | None = None
) -> np.ndarray:
    """Return the matrix of least-squares polynomials over the energies within half a window on either side.

    The value at each energy is that of its own polynomial. Where the window holds no more different energies than
    the order plus one, the order is what they determine, so that single values stay as they are. `whole`, the
    matrix of all energies, saves the rows that miss nothing.
    """
    slack = 1e-9 * np.abs(energy).max(initial=1.0)
    matrix = np.zeros((energy.size, energy.size)) if whole is None else whole.copy()
    for e in np.flatnonzero(used):
        near = np.abs(energy - energy[e]) <= window / 2 + slack
        if whole is None or not used[near].all():
            near &= used
            offset = (energy[near] - energy[e]) / (window / 2)
            degree = min(order, np.unique(offset).size - 1)
            matrix[e] = 0
            matrix[e, near] = np.linalg.pinv(np.vander(offset, degree + 1, increasing=True))[0]
    return matrix[np.ix_(used, used)]


def projector(basis: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Return the projection onto what the rows of the basis (c, e) look like at the energies in use."""
    seen = basis[:, used].T
    return seen @ np.linalg.pinv(seen, rcond=1e-8)


def frame_noise(frame: np.ndarray) -> float:
    """Return the standard deviation of the noise of a frame (y, x): from differences that a slope leaves at zero."""
    mixed = frame[1:, 1:] - frame[:-1, 1:] - frame[1:, :-1] + frame[:-1, :-1]
    mixed = mixed[np.isfinite(mixed)]
    return float(1.4826 * np.median(np.abs(mixed)) / 2) if mixed.size else 0.0


def filter_frame(
    frame: np.ndarray, variance: np.ndarray | None, smoother: Callable[[np.ndarray], np.ndarray], draws: int
) -> tuple[np.ndarray, np.ndarray]:
    """Filter a frame (y, x) that may have holes, and estimate the variance of what comes out.

    Holes are filled with their nearest neighbour for the filter and are holes again afterwards. The variance is
    that of filtered frames with noise of the given variance drawn anew on top of the filtered frame.
    """
    from scipy.ndimage import distance_transform_edt

    hole = ~np.isfinite(frame)
    spread = np.full_like(frame, np.nan) if variance is None else variance
    if hole.all():
        return frame, spread
    at = tuple(distance_transform_edt(hole, return_distances=False, return_indices=True)) if hole.any() else ...
    smooth = smoother(frame[at])
    if variance is not None:
        rng = np.random.default_rng(0)
        sigma = np.sqrt(variance[at])
        again = [smoother(smooth + sigma * rng.standard_normal(frame.shape).astype(frame.dtype)) for _ in range(draws)]
        spread = np.where(hole, variance, np.var(again, axis=0, ddof=1)).astype(variance.dtype)
    return np.where(hole, frame, smooth).astype(frame.dtype), spread
