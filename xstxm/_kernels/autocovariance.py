"""Autocovariance of a map against the distance of two pixels, from their differences, which need no mean.

Index letters: p pixel (y, x), d lag between two pixels, r distance in whole steps of the finest dimension, k part of the pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from xstxm._kernels.nested_variances import lags_of
from xstxm._kernels.region_means import distances, pair_shape

TILES = 4
"""Parts of a map along each dimension, for the jackknife."""

MOST_PAIRS = 0.5
"""Share of the pairs over which an autocovariance reaches at most: the others tell the sill."""

MOST_LENGTHS = 4.0
"""Correlation lengths over which an autocovariance is integrated at most: what is beyond is noise of the estimate."""


@dataclass(frozen=True)
class Region:
    """Pixels of which pairs are made, cut out of a map (p)."""

    value: np.ndarray
    noise: np.ndarray | None
    """Standard errors, zero outside; None where they do not matter."""
    inside: np.ndarray
    first: list[np.ndarray]
    """Marks the first pixels of the pairs of each part."""


def regions_of(value, noise=None, label=None, tiles=TILES):
    """Return the particles of a map (p), or the whole of it in tiles; value is NaN outside the sample, noise zero."""
    from scipy.ndimage import find_objects

    if label is None:
        inside = np.isfinite(value)
        return [Region(value, noise, inside, tiles_of(inside, tiles))]
    found = []
    for g, window in enumerate(find_objects(label)):
        if window is None:
            continue
        inside = (label[window] == g + 1) & np.isfinite(value[window])
        if inside.any():
            own = None if noise is None else np.where(inside, noise[window], 0)
            found.append(Region(value[window], own, inside, [inside]))
    return found


def tiles_of(inside, tiles=TILES):
    """Return the parts of a region (p) that lie in the tiles of its image, of those that hold any."""
    place = [np.arange(n) * tiles // n for n in inside.shape]
    tile = np.add.outer(place[0] * tiles, place[1])
    parts = (inside & (tile == k) for k in range(tiles**2))
    return [part for part in parts if part.any()]


def bins_of(shapes, step):
    """Return how many distances the pairs of pixels of images have."""
    unit = min(step)
    return max(round(math.hypot(*(n * s for n, s in zip(shape, step, strict=True))) / unit) for shape in shapes)


@dataclass(frozen=True)
class Pairs:
    """Sums over pairs of pixels in one region, both ways, by their distance: (k, r), or (r) over all parts."""

    number: np.ndarray
    products: np.ndarray
    """Of deviations from the mean of the region."""
    differences: np.ndarray
    """Half of them squared."""
    share: np.ndarray
    """Number over the pixels of the region."""
    noise: np.ndarray
    """Of products of the noise, on average."""
    noise_squares: np.ndarray
    """Half of the squares of the noise of both, on average."""

    def summed(self, without=None):
        """Return the sums over all parts, or all but one."""
        every = (getattr(self, name) for name in Pairs.__dataclass_fields__)
        return Pairs(*(array.sum(axis=0) - (0 if without is None else array[without]) for array in every))

    def added(self):
        """Return what noise adds to the autocovariance (r): to the sill, less to half the squared differences.

        Pixels that are far apart lie at the rim of particles, which is thin and has more noise than the rest.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.noise_squares[0] / self.number[0] + (self.noise - self.noise_squares) / self.number


def pairs_of(regions, step, correlation=None):
    """Return the pairs of pixels of regions, part by part; correlation is that of their noise at lags around 0."""
    n_bins = bins_of([region.inside.shape for region in regions], step)
    rows = [row for region in regions for row in _parts(region, step, n_bins, correlation)]
    return Pairs(*(np.array(column) for column in zip(*rows, strict=True)))


def _parts(region, step, n_bins, correlation):
    """Yield what `Pairs` holds (r) of each part of a region."""
    from scipy import fft

    shape = pair_shape(region.inside.shape)
    lags = distances(shape, step)
    n_pixels = region.inside.sum()
    deviation = np.where(region.inside, region.value - region.value[region.inside].mean(), 0)
    both, all_, all_squares = (fft.rfftn(f, shape) for f in (region.inside * 1.0, deviation, deviation**2))
    all_noise = None if region.noise is None else fft.rfftn(region.noise**2, shape)

    def binned(power):
        return np.bincount(lags, fft.irfftn(power, shape).ravel(), n_bins)[:n_bins]

    for first in region.first:
        one, here, squares = (np.conj(fft.rfftn(first * f, shape)) for f in (1.0, deviation, deviation**2))
        number = binned(one * both)
        products = binned(here * all_)
        differences = binned(squares * both + one * all_squares) / 2 - products
        sums = [number, products, differences, number / n_pixels, *np.zeros((2, n_bins))]
        if all_noise is not None:
            own = np.conj(fft.rfftn(first * region.noise**2, shape))
            sums[-2] = noise_products(region.noise, first, correlation, step, n_bins)
            sums[-1] = binned(own * both + one * all_noise) / 2
        kept = number > 1e-9 * number.sum()
        yield [np.where(kept, each, 0) for each in sums]


def pairs_of_classes(classes, step):
    """Return how many pairs of pixels are of class i and j (k, i, j, r), both ways, tile by tile; classes are (i, y, x)."""
    from scipy import fft

    shape = pair_shape(classes.shape[1:])
    lags = distances(shape, step)
    inside = classes.any(axis=0)
    n_bins = bins_of([inside.shape], step)
    every = fft.rfftn(classes.astype(float), shape, axes=(1, 2))
    tiles = tiles_of(inside)
    number = np.zeros((len(tiles), len(classes), len(classes), n_bins))
    for k, tile in enumerate(tiles):
        here = np.conj(fft.rfftn((classes & tile).astype(float), shape, axes=(1, 2)))
        for i, j in np.ndindex(len(classes), len(classes)):
            pairs = fft.irfftn(here[i] * every[j], shape).ravel()
            number[k, i, j] = np.rint(np.bincount(lags, pairs, n_bins)[:n_bins])
    return number + number.swapaxes(1, 2)


def noise_products(noise, first, correlation, step, n_bins):
    """Return sum_pq rho_pq s_p s_q by distance (r), over the pixels p that are marked and all q; noise is zero outside."""
    total = np.zeros(n_bins)
    for lag, weight, here, there in lags_of(correlation, noise.shape):
        place = round(math.hypot(*(d * s for d, s in zip(lag, step, strict=True))) / min(step))
        if place < n_bins:
            ends = first[here].astype(float) + first[there]
            total[place] += weight / 2 * (ends * noise[here] * noise[there]).sum()
    return total


@dataclass(frozen=True)
class Lags:
    """Lags of each distance (r) in a plane of pixels."""

    number: np.ndarray
    length: np.ndarray
    """Mean of them, in the unit of the steps."""

    @classmethod
    def of(cls, step, n_bins):
        """Return the lags of distances below a number of bins."""
        reach = (math.ceil(n_bins * min(step) / s) for s in step)
        lags = np.hypot(
            *np.meshgrid(*(np.arange(-n, n + 1) * s for n, s in zip(reach, step, strict=True)), indexing="ij")
        )
        place = np.rint(lags / min(step)).astype(int).ravel()
        number, length = (np.bincount(place, weight, n_bins)[:n_bins] for weight in (None, lags.ravel()))
        return cls(number, length / number)


def autocovariance(pairs, noise, lags):
    """Return the autocovariance (r), the distance over which it falls and the integral range in pixels.

    From sums over pairs and what noise adds (r). The sill, from which half the squared differences are taken, is the
    variance around the means of the regions and the variance V of these means. With s the share of pairs up to the
    distance at which the covariance vanishes, and D half their mean squared difference, V = s (variance - D) + s V: it is
    known once that distance is, which is the first at which the covariance that V leaves is not above zero.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        share = pairs.share / pairs.share.sum()
        near = share.cumsum()
        around = pairs.products[0] / pairs.number[0] - pairs.differences / pairs.number - noise
        noise_of_means = np.nansum(share * noise)
        of_means = (np.cumsum(share * np.nan_to_num(around)) + noise_of_means) / (1 - near)
    ends = ~(around[1:] + of_means[:-1] > 0) | (near[:-1] > MOST_PAIRS)
    end = int(np.argmax(ends)) + 1 if ends.any() else len(around)
    value = around + of_means[end - 1]
    if not value[0] > 0:
        return value, np.nan, np.nan
    length = _decay(value, lags.length)
    end = min(end, np.searchsorted(lags.length, MOST_LENGTHS * length))
    return value, length, (lags.number * value)[:end].sum() / value[0]


def _decay(value, distance):
    """Return the distance at which a curve (r) falls to 1 / e of its start; NaN where it does not.

    On the monotone cubic through the logarithm of the points around: a straight line cuts the shoulder of a Gaussian.
    """
    from scipy.interpolate import PchipInterpolator

    k = int(np.argmax(value < value[0] / np.e))
    if k == 0:
        return np.nan
    at = np.arange(max(k - 2, 0), min(k + 2, len(value)))
    at = at[(value[at] > 0) | (at == k)]
    share = value[at] / value[0]
    above = np.log(share) + 1 if (share > 0).all() else share - 1 / np.e
    roots = PchipInterpolator(distance[at], above).solve(0.0, extrapolate=False)
    return roots[(roots >= distance[k - 1]) & (roots <= distance[k])].min(initial=distance[k])


def jackknife(found, rows):
    """Return the standard error of numbers (n) from what they are without each part (k, n); NaN of less than two parts."""
    n_parts = len(rows)
    if n_parts < 2:
        return np.full(len(found), np.nan)
    return np.sqrt((n_parts - 1) * ((rows - rows.mean(axis=0)) ** 2).mean(axis=0))


def jackknifed_share(counts, totals):
    """Return sum(counts) / sum(totals) over parts (k, ...) and its standard error; NaN of no total."""
    with np.errstate(invalid="ignore", divide="ignore"):
        found = counts.sum(axis=0) / totals.sum(axis=0)
        rows = (counts.sum(axis=0) - counts) / (totals.sum(axis=0) - totals)
    return found, jackknife(found, rows)


def by_drawn_noise(statistic, draw, n_draws):
    """Return the standard errors (n) of the numbers of a statistic by the noise of maps, from as much noise once more.

    It is added with both signs: half the difference knows nothing of what the mean square of the noise adds.
    """
    noises = (draw() for _ in range(n_draws))
    halves = [(statistic(noise, 1) - statistic(noise, -1)) / 2 for noise in noises]
    return np.sqrt(np.mean(np.square(halves), axis=0))
