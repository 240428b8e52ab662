"""Means over regions of a map, and how far they are from the truth: in this field, and in the material it was cut from.

Index letters: p pixel (one to three spatial dims), g region, d lag between two pixels, r distance.
"""

from __future__ import annotations

import math

import numpy as np

_ROOM = 2**20
"""Lags that are sorted by distance at a time."""
LEAST_INDEPENDENT = 5.0
"""Independent patches of a region below which nothing is said about the material around it."""


def region_means(value, error, group, *, n_groups, step, correlation=None, hard=False, threads=1):
    """Return mean, stderr of this field, stderr of the material and independent pixels of each region, each (g).

    value and error are (p), group (p) is 1 to n_groups, 0 outside all regions. Pixels whose value is NaN are left out.
    step is the distance of two pixels along each dimension, correlation that of the noise at lags around 0. The
    values are `hard` where they are 0 or 1 by a decision: those of two pixels are correlated by 2 / pi arcsin(rho).
    """
    from scipy.ndimage import find_objects

    if not np.ndim(value):
        value, error, group, step = (np.reshape(item, 1) for item in (value, error, group, 1.0))
    found = np.full((4, n_groups), np.nan)
    if correlation is not None and hard:
        correlation = 2 / np.pi * np.arcsin(np.clip(correlation, -1, 1))
    for g, window in enumerate(find_objects(group, n_groups)):
        if window is None:
            continue
        inside = (group[window] == g + 1) & np.isfinite(value[window])
        if inside.any():
            values = value[window].astype(float)
            mean = values[inside].mean()
            noise = np.where(inside, error[window], 0).astype(float)
            deviation = np.where(inside, values - mean, 0)
            in_field = _of_this_field(noise, inside, correlation, threads)
            found[:, g] = mean, in_field, *_of_the_material(deviation, inside, step, threads)
    return tuple(found)


def region_counts(marks, group, *, n_groups):
    """Return how many pixels (p) of each region are marked (g)."""
    return np.bincount(np.ravel(group)[np.ravel(marks)], minlength=n_groups + 1)[1:]


def region_sums(value, group, *, n_groups):
    """Return number and sum (2, g) of the finite pixels (p) of each region."""
    inside = np.ravel(np.isfinite(value))
    where, values = np.ravel(group)[inside], np.ravel(value)[inside]
    sums = [np.bincount(where, weights, n_groups + 1)[1:] for weights in (None, values)]
    return np.array(sums, float)  # of no pixels all are whole numbers


def spectral_sums(value, group, *, n_groups):
    """Return number, sum and sum of squares of the known pixels of each region, (g, 3, e, 1, ...) of value (e, p)."""
    at = np.flatnonzero(group)
    where = np.ravel(group)[at] - 1
    found = np.empty((n_groups, 3, len(value)))
    for e, frame in enumerate(value):
        values = np.ravel(frame)[at].astype(float)
        known = ~np.isnan(values)
        values[~known] = 0
        for k, weights in enumerate((known, values, values**2)):
            found[:, k, e] = np.bincount(where, weights, n_groups)
    return found.reshape(*found.shape, *[1] * np.ndim(group))


def _of_this_field(noise, inside, correlation, threads):
    """Return the stderr of a mean from the stderr of its pixels: sum_d rho_d sum_p s_p s_(p + d) / n^2."""
    square = (noise**2).sum() if correlation is None else correlated_sum(noise, correlation, threads)
    return math.sqrt(max(square, 0)) / inside.sum() if np.isfinite(square) else np.nan


def correlated_sum(noise, correlation, threads=1):
    """Return sum_d rho_d sum_p s_p s_(p + d), with lag 0 in the middle of the correlation."""
    reach = [min(size // 2, k - 1) for size, k in zip(correlation.shape, noise.shape, strict=True)]
    near = tuple(slice(size // 2 - r, size // 2 + r + 1) for size, r in zip(correlation.shape, reach, strict=True))
    pairs = pair_sums(noise, threads)[np.ix_(*(np.arange(-r, r + 1) for r in reach))]
    return (correlation[near] * pairs).sum()


def _of_the_material(deviation, inside, step, threads):
    """Return the stderr of a mean as one of many such fields, and the number of pixels that would be as good if independent.

    With the deviations e from the mean, S_d = sum_p e_p e_(p + d) and N_d pairs at lag d, summed over the lags up to
    the distance at which the covariance first vanishes,

        V = (sum_d S_d / n^2) / (1 - sum_d N_d / n^2).

    The denominator makes up for the mean, which is that of the same pixels and takes V off every covariance.
    """
    variance, independent = variance_of_mean(*radial_sums(deviation, inside.astype(float), step, threads))
    return (math.sqrt(variance), independent) if independent >= LEAST_INDEPENDENT else (np.nan, np.nan)


def radial_sums(deviation, weight, step, threads=1):
    """Return sum_p e_p e_(p + d) and sum_p w_p w_(p + d) over all lags d of a distance (r), in steps of the finest dimension."""
    sums, pairs = (_by_distance(pair_sums(field, threads), step) for field in (deviation, weight))
    return sums, np.where(pairs > 1e-9 * pairs[0], pairs, 0)


def _by_distance(products, step):
    """Return sums of products (lags) at each distance, a part of the lags after the other."""
    shape = products.shape
    sums = np.zeros(int(distances(shape, step, [n // 2 for n in shape])[0]) + 1)
    rows = max(1, _ROOM * shape[0] // products.size)
    for start in range(0, shape[0], rows):
        stop = min(start + rows, shape[0])
        at = distances(shape, step, [np.arange(start, stop), *map(np.arange, shape[1:])])
        sums += np.bincount(at, products[start:stop].ravel(), len(sums))
    return sums


def reach_of(sums, pairs):
    """Return the distance at which the covariance first vanishes."""
    ends = (sums <= 0) | (pairs == 0)
    return int(np.argmax(ends)) if ends.any() else len(sums)


def variance_of_mean(sums, pairs):
    """Return the variance of a mean from sums of products at each distance (r), and the number of independent pixels.

    NaN where nothing varies, or the covariance nowhere vanishes.
    """
    square = pairs.sum()
    end = reach_of(sums, pairs)
    share = pairs[:end].sum() / square
    if not sums[0] > 0 or share >= 1:
        return np.nan, np.nan
    variance = sums[:end].sum() / square / (1 - share)
    return variance, (sums[0] / pairs[0] + variance) / variance


def pair_shape(shape):
    """Return the size of the transform in which no lag meets another."""
    from scipy import fft

    return tuple(fft.next_fast_len(2 * size - 1, real=True) for size in shape)


def pair_sums(field, threads=1):
    """Return sum_p f_p f_(p + d) for all lags d, those below zero at the end, as of a Fourier transform."""
    from scipy import fft

    shape = pair_shape(field.shape)
    spectrum = fft.rfftn(field, shape, workers=threads)
    real, imaginary = spectrum.real, spectrum.imag
    real *= real  # in place: the power of a large field takes gigabytes
    imaginary *= imaginary
    real += imaginary
    imaginary[...] = 0
    return fft.irfftn(spectrum, shape, overwrite_x=True, workers=threads)


def distances(shape, step, lags=None):
    """Return the length of each lag, or of some along each dimension, flat, in whole steps of the finest dimension."""
    unit = min(step)
    square = 0.0
    for axis, (size, along) in enumerate(zip(shape, step, strict=True)):
        places = np.arange(size) if lags is None else np.asarray(lags[axis])
        lag = np.minimum(places, size - places) * (along / unit)
        square = square + lag.reshape([-1 if k == axis else 1 for k in range(len(shape))]) ** 2
    return np.rint(np.sqrt(square)).astype(np.int64).ravel()


def lagged_products(frame, *, reach):
    """Return sums of products and numbers of pairs of the finite pixels (p) at lags -reach to reach along each dim, stacked."""
    inside = np.isfinite(frame)
    mean = frame[inside].mean() if inside.any() else 0.0
    around = np.ix_(*(np.arange(-r, r + 1) for r in reach))
    fields = np.where(inside, frame - mean, 0).astype(float), inside.astype(float)
    return np.stack([pair_sums(field)[around] for field in fields])
