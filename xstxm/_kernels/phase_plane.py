"""The wave that passes an empty region: amplitude, plane phase, and noise of a complex image.

Index letters: p pixel of the region, t term of the plane (1, row, column).
"""

from __future__ import annotations

import numpy as np

ROUNDS = 50
"""Most steps of the robust fit, of which it needs some ten."""
CONVERGED = 1e-9
"""Change of the phase of any pixel, in rad, that is none."""
REJECTED = 4.685
"""Residual in standard deviations from which a pixel has no weight (Tukey's biweight, efficient to 95 % for Gaussian noise)."""
N_TERMS = 3
CANDIDATES = 64
BETWEEN = 0.5
"""What is left of a peak that lies between the points of the transform, at worst: of pixels in the corners only."""


def empty_wave(frame, inside, *, ramp):
    """Return the wave ``a exp(i sum_t plane_t term_t)`` of the pixels inside, and how far they scatter around it.

    frame is complex (y, x), inside bool (y, x). Returned are the plane (t), its covariance for unit noise (t, t), the
    amplitude a, the standard deviations of the pixels over a, along and across the wave, and the variance of the mean
    of as many pixels. Without `ramp` the plane is a constant. All are NaN where the usable pixels inside show no plane.
    """
    used = inside & np.isfinite(frame) & (frame != 0)
    rows, columns = np.nonzero(used)
    if not shows_plane(rows, columns, ramp=ramp):
        return np.full(N_TERMS, np.nan), np.full((N_TERMS, N_TERMS), np.nan), np.nan, np.nan, np.nan, np.nan
    wave = frame[rows, columns].astype(np.complex128)
    terms = np.stack([np.ones(rows.size), rows, columns])
    plane = np.zeros(N_TERMS)
    if ramp:
        plane[1:] = _carrier(wave, rows, columns)
    n_free = N_TERMS if ramp else 1
    plane, kept = _robust_plane(wave, terms, plane, n_free)
    flat = (wave * np.exp(-1j * (plane @ terms)))[kept]
    amplitude = flat.real.mean()
    along, across = (
        flat.real.std(ddof=min(1, flat.size - 1)),
        np.sqrt((flat.imag**2).sum() / max(flat.size - n_free, 1)),
    )
    covariance = np.zeros((N_TERMS, N_TERMS))
    free = terms[:n_free, kept]
    covariance[:n_free, :n_free] = np.linalg.pinv(free @ free.T)
    return plane, covariance, amplitude, along / amplitude, across / amplitude, 1 / flat.size


def shows_plane(rows, columns, *, ramp):
    """Return whether pixels determine the plane, and some are left over to show how far they scatter."""
    if not ramp:
        return rows.size > 1
    return rows.size > N_TERMS and np.linalg.matrix_rank(np.stack([np.ones(rows.size), rows, columns])) == N_TERMS


def _carrier(wave, rows, columns):
    """Return the steps of phase from row to row and column to column: the highest peak of the spectrum.

    A phase cannot be unwrapped across the gaps of a region; the peak of the spectrum does not need it. Its side peaks are
    nearly as high where the region is far-off pieces, so that every peak of the transform is looked at more closely.
    """
    from scipy import fft

    image = np.zeros((np.ptp(rows) + 1, np.ptp(columns) + 1), np.complex128)
    image[rows - rows.min(), columns - columns.min()] = wave / np.abs(wave)
    shape = [fft.next_fast_len(2 * size) for size in image.shape]
    spectrum = np.abs(fft.fft2(image, shape)).ravel()
    highest = np.argsort(spectrum)[: -CANDIDATES - 1 : -1]
    highest = highest[spectrum[highest] >= BETWEEN * spectrum[highest[0]]]
    around = [_peak_near(image, shape, at) for at in zip(*np.unravel_index(highest, shape), strict=True)]
    return max(around, key=lambda found: found[0])[1]


def _peak_near(image, shape, at):
    """Return height and place of the largest value of the spectrum within half a point of its transform."""
    inside = np.linspace(-0.5, 0.5, 9)
    steps = [2 * np.pi * (k + inside) / size for k, size in zip(at, shape, strict=True)]
    by_row, by_column = (np.exp(-1j * np.outer(k, np.arange(n))) for k, n in zip(steps, image.shape, strict=True))
    fine = np.abs(by_row @ image @ by_column.T)
    peak = np.unravel_index(fine.argmax(), fine.shape)
    return fine[peak], np.array([k[i] for k, i in zip(steps, peak, strict=True)])


def _robust_plane(wave, terms, plane, n_free):
    """Return the plane (t) by reweighted least squares, and which pixels have a weight in it."""
    plane = plane.copy()
    plane[0] = np.angle((wave * np.exp(-1j * (plane @ terms))).sum())
    free = terms[:n_free]
    for _ in range(ROUNDS):
        left = np.angle(wave * np.exp(-1j * (plane @ terms)))
        scale = REJECTED * 1.4826 * np.median(np.abs(left))
        weight = np.clip(1 - (left / scale) ** 2, 0, None) ** 2 if scale > 0 else (left == 0).astype(float)
        root = np.sqrt(weight)
        step = np.linalg.lstsq((free * root).T, left * root, rcond=None)[0]
        plane[:n_free] += step
        if np.abs(step @ free).max() < CONVERGED:
            break
    return plane, weight > 0
