"""Variance of the means of blocks of a map, at every position that a block can have.

Index letters: p pixel (y, x), b position of a block (y, x).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xstxm._kernels.nested_variances import by_noise, lags_of
from xstxm._kernels.region_means import LEAST_INDEPENDENT, correlated_sum, radial_sums, reach_of, variance_of_mean


def window_sums(field, block):
    """Return the sums over the block at every position (b) of a field (p)."""
    height, width = block
    total = np.pad(field.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    return total[height:, width:] - total[:-height, width:] - total[height:, :-width] + total[:-height, :-width]


def noise_sums(noise, block, correlation):
    """Return sum_pq rho_pq s_p s_q over the pixels p and q of the block at every position (b)."""
    total = 0.0
    for lag, weight, here, there in lags_of(correlation, noise.shape):
        rest = tuple(side - abs(d) for side, d in zip(block, lag, strict=True))
        if min(rest) > 0:
            total = total + weight * window_sums(noise[here] * noise[there], rest)
    return total


@dataclass(frozen=True)
class Sample:
    """A map, and what is known of it as a whole. Arrays are (p), zero where there is no sample."""

    weight: np.ndarray
    """At most 1, and 1 everywhere where every area counts alike."""
    deviation: np.ndarray
    """Weight times the deviation from the mean of the field."""
    noise: np.ndarray
    """Weight times the standard error of the value."""
    correlation: np.ndarray
    """Of the noise, against lags around 0."""
    step: tuple[float, float]
    mean_noise: float
    """Variance of the mean by noise."""
    mean_variance: float
    """Of the mean of such fields, noise included; NaN where the field is too small to tell."""

    @classmethod
    def of(cls, value, noise, weight, correlation, step):
        """Return the sample of a map (p) that is NaN outside, without the margins that hold none."""
        from scipy.ndimage import find_objects

        (window,) = find_objects(np.isfinite(value).astype(int))
        value, noise, weight = (np.broadcast_to(array, value.shape)[window] for array in (value, noise, weight))
        inside = np.isfinite(value)
        weight = np.where(inside, weight, 0)
        weight = weight / weight.max()
        total = weight.sum()
        value = np.where(inside, value, 0)
        deviation = weight * (value - (weight * value).sum() / total)
        error = weight * np.where(inside, noise, 0)
        of_mean = correlated_sum(error, correlation) / total**2
        variance, independent = variance_of_mean(*radial_sums(deviation, weight, step))
        known = variance if independent >= LEAST_INDEPENDENT else np.nan
        return cls(weight, deviation, error, correlation, step, of_mean, known)

    @property
    def added(self):
        """Return what the variance around the mean of this field lacks: at least the noise of that mean."""
        return self.mean_noise if np.isnan(self.mean_variance) else self.mean_variance

    def pixel_variance(self):
        """Return the variance of the pixels without noise."""
        with np.errstate(invalid="ignore", divide="ignore"):
            squares = np.where(self.weight > 0, (self.deviation**2 - self.noise**2) / self.weight, 0)
        return squares.sum() / self.weight.sum() + self.added


@dataclass(frozen=True)
class BlockVariance:
    """The variance of block means at a length."""

    raw: float
    """With the noise in it."""
    noise: float
    mixed: float
    """Of the same pixels without noise, mixed at random."""
    n_blocks: float
    error: float
    """Variance of it by noise."""
    freedom: float


def block_variance(sample, block, min_coverage):
    """Return the variance of the means of blocks of which at least a share is sample; None where there are none."""
    weight = window_sums(sample.weight, block)
    covered = window_sums((sample.weight > 0).astype(float), block) >= min_coverage * np.prod(block) - 1e-6
    used = covered & (weight > 1e-9 * np.prod(block))
    if not used.any():
        return None
    weight = np.where(used, weight, 0)
    over = np.divide(1, weight, out=np.zeros_like(weight), where=used)
    deviation = window_sums(sample.deviation, block) * used
    total = weight.sum()
    around = (deviation**2 * over).sum() / total
    noise = (noise_sums(sample.noise, block, sample.correlation) * over).sum() / total
    spread = (window_sums(sample.weight**2, block) * over).sum() / total
    return BlockVariance(
        raw=around + sample.added,
        noise=noise,
        mixed=sample.pixel_variance() * spread,
        n_blocks=sample.weight.sum() * used.sum() / total,
        error=_error(sample, block, deviation * over / total, noise, used.sum()),
        freedom=_freedom(sample, deviation, weight, deviation**2 * over - around * weight, around + sample.added),
    )


def _error(sample, block, slope, noise, n_positions):
    """Return the variance by noise of a variance: of its slope along each pixel, and of the noise squared."""
    height, width = block
    along = 2 * window_sums(np.pad(slope, ((height - 1,) * 2, (width - 1,) * 2)), block)
    linear = correlated_sum(along * sample.noise, sample.correlation)
    square = 2 * noise**2 * _shared(block, sample.correlation) / n_positions
    return by_noise(linear, square)


def _shared(block, correlation):
    """Return how many positions hold the same noise: the sum over lags of its squared correlation between two blocks."""
    from scipy.signal import fftconvolve

    ramps = [side - np.abs(np.arange(1 - side, side)) for side in block]
    shape = fftconvolve(np.multiply.outer(*ramps).astype(float), correlation)
    return (shape**2).sum() / shape.max() ** 2


def _freedom(sample, deviation, weight, squares, variance):
    """Return the degrees of freedom of the variance of block means; NaN where the field is too small to tell.

    The fewer of those of a Gaussian field, V^2 / sum_d N_d C_d^2, and of those that the squared deviations show.
    """
    if np.isnan(sample.mean_variance) or not variance > 0:
        return np.nan
    scale = weight.max()
    sums, pairs = radial_sums(deviation / scale, weight / scale, sample.step)
    end = reach_of(sums, pairs)
    covariance = sums[:end] / pairs[:end] + sample.mean_variance
    gaussian = 2 * (pairs[:end] * covariance**2).sum() / pairs.sum()
    seen, independent = variance_of_mean(*radial_sums(squares / scale, weight / scale, sample.step))
    if not independent >= LEAST_INDEPENDENT:
        return np.nan
    return 2 * variance**2 / max(gaussian, seen)
