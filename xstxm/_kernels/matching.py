"""Maps of one instrument as another would show them, and where a small map lies in a large one.

Index letters: f fine pixel, c coarse pixel, along one axis; values are (..., y, x).
"""

from __future__ import annotations

import numpy as np

LEAST_SHARE = 0.5
"""Share of the smaller map that has to lie on the other one where the two are correlated."""


BETWEEN = 1.0
"""Pixels along either axis by which a place between pixels may differ from the whole pixel that is best."""


def pixel_weights(fine, coarse, fine_pixel, coarse_pixel, deviation):
    """Return what each fine pixel adds to each coarse one (c, f): a Gaussian, averaged over both pixels.

    The weights of a coarse pixel add up to one where the fine map goes on beyond the reach of the Gaussian.
    """
    half, reach = coarse_pixel / 2, fine_pixel / 2
    distance = np.subtract.outer(coarse, fine)
    ends = ((half + reach, 1), (half - reach, -1), (reach - half, -1), (-half - reach, 1))
    return sum(sign * _ramp(distance + end, deviation) for end, sign in ends) / coarse_pixel


def _ramp(distance, deviation):
    """Return max(distance, 0), blurred by a Gaussian."""
    from scipy.special import ndtr

    if deviation == 0:
        return np.maximum(distance, 0)
    score = distance / deviation
    return distance * ndtr(score) + deviation * np.exp(-0.5 * score**2) / np.sqrt(2 * np.pi)


def spread(values, rows, columns):
    """Return values (..., y, x) summed with weights along both axes (..., c, c)."""
    return (rows @ values @ columns.T).astype(values.dtype)


def weighted_mean(values, rows, columns, least):
    """Return the weighted mean of values (y, x) that are finite; NaN where less than a share of the weights is on those."""
    inside = np.isfinite(values)
    share = spread(inside.astype(float), rows, columns)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(share >= least, spread(np.where(inside, values, 0), rows, columns) / share, np.nan)


def noise_correlation(weights, reach=3):
    """Return how the noise of coarse pixels is correlated at lags -reach to reach along an axis (2 reach + 1)."""
    middle = len(weights) // 2
    reach = min(reach, middle, len(weights) - 1 - middle)
    shared = weights[middle - reach : middle + reach + 1] @ weights[middle]
    return shared / shared[reach]


def correlations(template, image):
    """Return the correlation coefficient of a template laid on an image at all offsets, those of NaN pixels left out.

    The offset of the first entry is one minus the size of the template. NaN where too little of the template is used.
    """
    from scipy.signal import correlate

    inside, there = np.isfinite(template), np.isfinite(image)
    # what is subtracted keeps the sums of squares from cancelling
    t = np.where(inside, template - template[inside].mean(), 0)
    i = np.where(there, image - image[there].mean(), 0)
    on, under = inside.astype(float), there.astype(float)
    pairs = ((under, on), (under, t), (i, on), (under, t**2), (i**2, on), (i, t))
    n, sum_t, sum_i, square_t, square_i, both = (correlate(a, b, mode="full", method="fft") for a, b in pairs)
    n = np.where(n >= LEAST_SHARE * inside.sum(), n, np.nan)
    spread_t, spread_i = square_t - sum_t**2 / n, square_i - sum_i**2 / n
    flat = (spread_t <= 1e-9 * square_t.max()) | (spread_i <= 1e-9 * square_i.max())
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(flat, np.nan, (both - sum_i * sum_t / n) / np.sqrt(spread_t * spread_i))


def highest_peaks(surface, least_distance):
    """Return the place (y, x) of the highest value of a surface, and the highest other local maximum, 0 without any."""
    from scipy.ndimage import maximum_filter

    filled = np.where(np.isfinite(surface), surface, -np.inf)
    best = np.unravel_index(int(filled.argmax()), filled.shape)
    peak = (filled == maximum_filter(filled, 3, mode="constant", cval=-np.inf)) & np.isfinite(filled)
    rows, columns = np.indices(filled.shape)
    others = filled[peak & (np.hypot(rows - best[0], columns - best[1]) > least_distance)]
    return best, float(others.max()) if others.size else 0.0


def fitted_shift(model, image, inside, start):
    """Return the shift (2) at which a model is most like an image up to gain and offset, its stderr (2), and the correlation.

    model(shift) is an image, of which the pixels inside are used, which have a value at all shifts that are tried. The
    errors are those of residuals that go together in each of 5 x 5 parts of the image, and are independent from part to part.
    """
    from scipy.optimize import least_squares

    target = image[inside]

    def fitted(shift):
        design = np.stack([np.ones(target.size), model(shift)[inside]], axis=1)
        return design @ np.linalg.lstsq(design, target, rcond=None)[0]

    start = np.asarray(start, dtype=float)
    found = least_squares(
        lambda shift: target - fitted(shift),
        start,
        bounds=(start - BETWEEN, start + BETWEEN),
        diff_step=1e-3,
        xtol=1e-6,
    )
    normal = found.jac.T @ found.jac
    free = not found.active_mask.any() and np.linalg.cond(normal) < 1e12
    error = _clustered(found.jac, found.fun, normal, _parts(inside)) if free else np.full(2, np.nan)
    return found.x, error, float(np.corrcoef(fitted(found.x), target)[0, 1])


def _parts(inside, n=5):
    """Return the part (p) of n x n parts that each pixel inside lies in."""
    rows, columns = np.nonzero(inside)
    own = [(n * (at - at.min())) // (np.ptp(at) + 1) for at in (rows, columns)]
    return np.unique(own[0] * n + own[1], return_inverse=True)[1]


def _clustered(slope, residual, normal, part):
    """Return the stderr of a least-squares fit from its slopes (p, 2) and residuals (p), which go together in each part."""
    score = np.stack([np.bincount(part, along * residual) for along in slope.T], axis=1)
    n = len(score)
    inverse = np.linalg.inv(normal)
    return np.sqrt(np.diag(inverse @ (score.T @ score) @ inverse) * n / max(n - 1, 1))


def least_confidence(fraction, error):
    """Return the least probability (p) that the largest of the fractions (p, k) is, whatever the correlation of their errors.

    The error of a difference is at most the sum of both, which it is for two fractions that add up to one; the
    probabilities that another is larger add up at most.
    """
    from scipy.special import ndtr

    largest = np.argmax(np.where(np.isnan(fraction), -np.inf, fraction), -1)[..., None]
    best, own = (np.take_along_axis(values, largest, -1) for values in (fraction, error))
    with np.errstate(divide="ignore", invalid="ignore"):
        doubt = ndtr((fraction - best) / (error + own))
    np.put_along_axis(doubt, largest, 0, -1)
    return np.maximum(1 - doubt.sum(-1), 0).astype(fraction.dtype)
