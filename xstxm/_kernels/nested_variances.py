"""Variance of a quantity that is nested: pixels in particles in fields.

Index letters: p pixel, i particle, j field, r draw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KURTOSIS_OF = 30.0
"""Degrees of freedom at which the kurtosis of the particle means is believed by half, and that of a Gaussian by half."""


def lags_of(correlation, shape):
    """Yield lag, weight and the two ends of all pairs of pixels that are correlated, lags of either sign as one."""
    reach = [size // 2 for size in correlation.shape]
    for place in np.argwhere(correlation != 0):
        lag = tuple(place - reach)
        if lag >= (0, 0):
            here = tuple(slice(max(0, -d), n - max(0, d)) for d, n in zip(lag, shape, strict=True))
            there = tuple(slice(max(0, d), n - max(0, -d)) for d, n in zip(lag, shape, strict=True))
            yield lag, correlation[tuple(place)] * (1 if lag == (0, 0) else 2), here, there


def lagged_sums(field, label, n_labels, correlation):
    """Return sum_pq rho_pq f_p f_q over the pixels p and q of each particle 1 to n (i); field and label are (y, x)."""
    total = np.zeros(n_labels + 1)
    for _, weight, here, there in lags_of(correlation, field.shape):
        same = np.where(label[here] == label[there], label[here], 0)
        total += weight * np.bincount(same.ravel(), (field[here] * field[there]).ravel(), n_labels + 1)
    return total[1:]


@dataclass(frozen=True)
class Particles:
    """What is known of the particles (i) of all fields, in the order of the fields."""

    field: np.ndarray
    n_pixels: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    """Mean square deviation of the pixels from their mean, noise included."""
    spread_noise: np.ndarray
    """Part of the spread that is noise, on average."""
    spread_error: np.ndarray
    """Variance of the spread by noise."""
    mean_noise: np.ndarray
    """Variance of the mean by noise."""


def particles(value, noise, label, correlation, number):
    """Return the particles of one field from its pixels (y, x); value is finite where label is above 0, number is the field's."""
    kept = np.unique(label[label > 0])
    label = np.searchsorted(kept, label) * (label > 0) + (label > 0)
    n = len(kept)
    count, total, error = (np.bincount(label.ravel(), np.ravel(a), n + 1)[1:] for a in (label > 0, value, noise**2))
    mean = total / count
    deviation = np.where(label > 0, value - np.append(0, mean)[label], 0)
    spread = np.bincount(label.ravel(), (deviation**2).ravel(), n + 1)[1:] / count
    mean_noise = lagged_sums(noise, label, n, correlation) / count**2
    linear = 4 * lagged_sums(noise * deviation, label, n, correlation) / count**2
    square = 2 * lagged_sums(noise**2, label, n, correlation**2) / count**2
    return Particles(
        field=np.full(n, number),
        n_pixels=count,
        mean=mean,
        spread=spread,
        spread_noise=error / count - mean_noise,
        spread_error=by_noise(linear, square),
        mean_noise=mean_noise,
    )


def by_noise(linear, square):
    """Return the variance of a sum of squares by noise, from its linear part and that of the noise squared.

    The linear part holds the deviations that are seen, whose own noise counts twice in it.
    """
    return square + np.maximum(linear - 2 * square, 0)


def joined(fields):
    """Return the particles of several fields as one."""
    names = Particles.__dataclass_fields__
    return Particles(**{name: np.concatenate([getattr(field, name) for field in fields]) for name in names})


@dataclass(frozen=True)
class Split:
    """A variance at one scale."""

    raw: float
    """With everything in it."""
    noise: float
    sampling: float = 0.0
    """What members of the scale below, of which there are few, add."""
    error: float = np.nan
    """Variance of it by noise."""
    interval: tuple[float, float] = (np.nan, np.nan)

    @property
    def variance(self) -> float:
        """Return what is left."""
        return self.raw - self.noise - self.sampling


def within(found, weight, level):
    """Return the mean variance in a particle; the interval is that of the logarithm of a weighted mean."""
    from scipy.stats import t

    share = weight / weight.sum()
    raw, noise = share @ found.spread, share @ found.spread_noise
    error = share**2 @ found.spread_error
    members = 1 / (share**2).sum()
    if len(share) < 2 or raw <= 0:
        return Split(raw, noise, error=error)
    spread = np.sqrt((share**2 * ((found.spread - raw) / (1 - share)) ** 2).sum()) / raw
    factor = np.exp(t.ppf((1 + level) / 2, members - 1) * spread)
    return Split(raw, noise, error=error, interval=(raw / factor - noise, raw * factor - noise))


@dataclass(frozen=True)
class _Means:
    """Means of the particles (i), and how they lie around those of their fields (j)."""

    field: np.ndarray
    weight: np.ndarray
    share: np.ndarray
    """Of a particle in its field."""
    of_field: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, found, weight):
        """Return the means of particles."""
        of_field = np.bincount(found.field, weight)
        share = weight / of_field[found.field]
        mean = np.bincount(found.field, share * found.mean)
        return cls(found.field, weight, share, of_field, found.mean - mean[found.field])

    @property
    def free(self):
        """Weight of the particles, less what the means of the fields take."""
        return self.weight * (1 - self.share)

    def gaussian_variance(self):
        """Return the variance of sum(w d^2) / sum(free) of Gaussian means of unit variance.

        It is 2 sum_kl w_k w_l c_kl^2, with c_kl = delta_kl - p_k - p_l + sum(p^2) the covariance of two deviations in a field.
        """
        w, p = self.weight, self.share
        s, w0, w1, w2 = (np.bincount(self.field, a) for a in (p * p, w, w * p, w * p * p))
        pairs = (s**2 * w0**2 + 2 * w0 * w2 + 2 * w1**2 - 4 * s * w0 * w1).sum()
        alone = (w**2 * (1 + 2 * s[self.field] - 4 * p)).sum()
        return 2 * (pairs + alone) / self.free.sum() ** 2


def between_particles(found, weight, level):
    """Return the variance of particle means in a field, and its degrees of freedom (NaN where no field holds two)."""
    means = _Means.of(found, weight)
    free = means.free.sum()
    n_free = len(weight) - len(np.unique(found.field))
    if n_free < 1:
        return Split(np.nan, np.nan), np.nan
    raw = means.weight @ means.deviation**2 / free
    noise = means.free @ found.mean_noise / free
    linear = 4 * ((means.weight * means.deviation) ** 2 @ found.mean_noise) / free**2
    error = by_noise(linear, 2 * (means.free**2 @ found.mean_noise**2) / free**2)
    if raw <= 0:
        return Split(raw, noise, error=error), np.nan
    gaussian = means.gaussian_variance()
    # squares of deviations as they scatter, which few particles do not tell: then as those of a Gaussian do
    scatter = means.weight * means.deviation**2 - means.free * raw
    seen = scatter @ scatter / free**2 * len(weight) / n_free / raw**2
    trust = 1 / (1 + KURTOSIS_OF * gaussian / 2)
    freedom = 2 / (trust * seen + (1 - trust) * gaussian)
    return Split(raw, noise, error=error, interval=chi_square_interval(raw, noise, freedom, level)), freedom


def chi_square_interval(raw, noise, freedom, level):
    """Return the interval of raw - noise where freedom * raw / truth has a chi-square distribution."""
    from scipy.stats import chi2

    if np.isnan(freedom):
        return np.nan, np.nan
    low, high = freedom * raw / chi2.ppf([(1 + level) / 2, (1 - level) / 2], freedom)
    return low - noise, high - noise


def between_fields(found, weight, particles_split, freedom, level, n_resamples, seed):
    """Return the variance of field means; NaN where there is one field, or no field holds two particles."""
    means = _Means.of(found, weight)
    n_fields = len(means.of_field)
    if n_fields < 2 or np.isnan(freedom):
        return Split(np.nan, np.nan)
    mean = np.bincount(found.field, means.share * found.mean)
    noise = np.bincount(found.field, means.share**2 * found.mean_noise)
    finite = np.bincount(found.field, means.share**2)
    share = means.of_field / means.of_field.sum()
    free = share * (1 - share)
    deviation = mean - share @ mean
    linear = 4 * ((share * deviation) ** 2 @ noise) / free.sum() ** 2
    error = by_noise(linear, 2 * (free**2 @ noise**2) / free.sum() ** 2)
    taken = free @ finite / free.sum()
    rng = np.random.default_rng(seed)
    drawn = particles_split.raw * freedom / rng.chisquare(freedom, n_resamples) - particles_split.noise
    known = finite[:, None] * np.maximum(drawn, 0) + noise[:, None]
    pivots = _excess(mean, known, rng.chisquare(n_fields - 1, n_resamples))
    return Split(
        raw=share @ deviation**2 / free.sum(),
        noise=free @ noise / free.sum(),
        sampling=taken * particles_split.variance,
        error=error + taken**2 * particles_split.error,
        interval=tuple(np.maximum(np.quantile(pivots, [(1 - level) / 2, (1 + level) / 2]), 0)),
    )


def _excess(mean, known, chi_square):
    """Return the variance T (r) of fields at which sum_j (m_j - m)^2 / (T + c_j) is a given chi-square (r), by bisection.

    mean is (j), the variance c that is known (j, r), and m the mean with the weights 1 / (T + c).
    """
    low = -known.min(axis=0)
    high = ((mean - mean.mean()) ** 2).sum() / chi_square
    high = np.maximum(high, low)
    for _ in range(60):
        middle = (low + high) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            weight = 1 / np.maximum(middle + known, 1e-300)
        around = (weight * mean[:, None]).sum(0) / weight.sum(0)
        more = (weight * (mean[:, None] - around) ** 2).sum(0) > chi_square
        low, high = np.where(more, middle, low), np.where(more, high, middle)
    return (low + high) / 2
