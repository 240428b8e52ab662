"""Over which distance pixels of a map resemble each other: its autocovariance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._kernels import autocovariance as kernel
from xstxm._noisy_maps import (
    Maps,
    NoisyMap,
    Particles,
    lag_axis,
    noise_lags,
    noisy_maps,
    over_fields,
    require_lag,
    tell_overlaps,
    with_level,
)
from xstxm.conventions import annotate
from xstxm.errors import OptionError, check_choice, require_number, require_whole
from xstxm.provenance import recorded
from xstxm.units import LengthLike

Fields: TypeAlias = Literal["each", "together"]

MOST_OF_REGION = 1 / 3
"""Of the size of a particle, or of the field: a correlation length beyond has no interval, its sill is out of reach."""


@recorded
def correlation_length(
    maps: Maps,
    *,
    signal: str = "composition",
    max_lag: LengthLike | None = None,
    particles: Particles | None = None,
    fields: Fields = "each",
    noise_correlation: xr.DataArray | None = None,
    confidence_level: float = 0.95,
    n_resamples: int = 16,
    seed: int = 0,
) -> xr.Dataset:
    """Return the autocovariance of a map, noise taken off, and the distance over which it falls.

    ``C(h) = Cov(q(r), q(r + h))``, averaged over directions, of pixels of the sample; or only of those in one particle.

    Parameters
    ----------
    maps
        A result that holds the map, as of `phase_map`; or several, in a DataTree or a dict.
    signal
        Variable that holds the map. Its noise is read from ``<signal>_stderr``.
    max_lag
        Largest distance of the curve in um, or with a unit. By default half the shorter side of the field, or of the
        largest particle. Lengths come from all distances, and may be beyond it.
    particles
        Where two pixels have to lie in the same particle: an image of labels, 0 outside, or the result that holds it as
        `particle_label`, by the names of the fields where there are several; or the name of a variable of the maps.
    fields
        Of several, ``"each"`` for itself, or pairs of pixels in all of them ``"together"``: one curve and one length of the
        material, the surer the more particles there are. The pixels have one size then.
    noise_correlation
        Of the noise of two pixels against their lag, as for `phase_summary`. By default the pixels are independent.
    confidence_level
        Of the intervals.
    n_resamples, seed
        Draws of noise for the errors of this field, and their seed.

    Returns
    -------
    Dataset
        Over `lag` in um, one pixel apart: `autocovariance` in the units of the map squared, `autocovariance_stderr`, of this
        field, and `autocovariance_sampling_stderr`, of the material; `n_pairs` of pixels. `correlation_length` in um, at which
        it is 1 / e of that at lag 0, the variance; and `integral_range` in um^2, its integral over the plane over the
        variance: the area of a patch. Of both, ``*_stderr``, of this field; of the material `correlation_length_lower` and
        `correlation_length_upper`, and `integral_range_sampling_stderr`. Fields of several add `node`, unless they are taken together. Eager.

        NaN where no two pixels have the distance; lengths where there is no variance beyond the noise, or the
        autocovariance does not fall so far; the interval where the length is more than a third of the particles' or the
        field's.

    Raises
    ------
    MissingVariableError, SchemaError
        No map or no particles in a field, no sample, labels instead of numbers, or several images.
    OptionError
        `max_lag` below a pixel or beyond the field, no particles given for a field, or fields together whose pixels differ.
    MissingDimensionError, MissingCoordinateError, UnitsError
        No image, no positions or units, or units that do not convert.

    Warns
    -----
    MetadataWarning
        Fields taken together that lie on each other by their positions.
    NoiseWarning
        A field without standard errors: its noise is part of the variance.

    Notes
    -----
    It is the sill less half the mean square difference of two pixels, which knows nothing of a mean and is free of the bias
    that subtracting the mean of a particle brings [1]_. The sill is the variance around that mean and the variance of the
    mean, which follows from the autocovariance up to the distance at which it first vanishes, at most that of half of the
    pairs. So what varies over lengths well beyond a particle, or the field, is not seen, and an autocovariance with a long
    tail is found too short: by a tenth in simulated particles five lengths wide where it is exponential, by less than 2 %
    where it is Gaussian.

    Errors of this field are those of as much noise once more, up to 1.4 times too large where noise is all there is.
    Errors of the material are those of a jackknife over particles, or over 16 tiles of a whole field, for the correlation
    length of its logarithm. They are too small of a field that is less than ten correlation lengths wide. The integral range
    ends where the autocovariance first vanishes, at most at four correlation lengths. It is the less certain of the two, has
    an error that is often too small, and is a tenth too large itself, in the median over simulated Gaussian fields that are 5
    to 20 lengths wide, more in the mean.

    References
    ----------
    .. [1] N. Cressie, Statistics for Spatial Data (Wiley, 1993), chapter 2, https://doi.org/10.1002/9781119115151

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> phases = xstxm.phase_map(stack, xstxm.testing.simulate_references())
    >>> found = xstxm.correlation_length(phases)
    >>> found.autocovariance.dims, found.correlation_length.attrs["units"]
    (('lag',), 'um')
    """
    level = require_number("confidence_level", confidence_level, "a probability", above=0, below=1)
    n_resamples = require_whole("n_resamples", n_resamples, 4)
    check_choice("fields", fields, Fields)
    read, unit = noisy_maps(maps, signal, particles=particles)
    lags = noise_lags(noise_correlation)
    longest = None if max_lag is None else require_lag(max_lag, [(field.value.shape, field.step) for field in read])

    def curve(some: Sequence[NoisyMap]) -> xr.Dataset:
        found = _Correlations.of(some, lags, longest)
        numbers = found.numbers()
        error = np.full(len(numbers), np.nan)
        if all(field.stderr is not None for field in some):
            error = kernel.by_drawn_noise(found.noisier, _drawn_noise(some, lags, seed), n_resamples)
        return _stamped(found, numbers, error, unit, level)

    if fields == "together":
        _require_one_step(read)
        tell_overlaps(read)
        return curve(read).assign_attrs(signal=signal)
    return over_fields(read, lambda field: curve([field])).assign_attrs(signal=signal)


def _require_one_step(fields: Sequence[NoisyMap]) -> None:
    """Refuse fields whose pairs of pixels do not have the same distances."""
    first = fields[0].step
    others = [field for field in fields if not np.allclose(field.step, first, rtol=1e-3)]
    if others:
        steps = ", ".join(
            f"{field.name!r} {field.step[0]:.4g} x {field.step[1]:.4g} um" for field in (fields[0], *others)
        )
        raise OptionError("fields", "together", f"the pixels have different sizes ({steps}): use fields='each'")


def _drawn_noise(fields: Sequence[NoisyMap], lags: np.ndarray, seed: int) -> Callable[[], list[np.ndarray]]:
    """Return a function that draws noise of each field."""
    draws = [field.drawn_noise(lags, seed + k) for k, field in enumerate(fields)]
    return lambda: [draw() for draw in draws]


@dataclass(frozen=True)
class _Correlations:
    """Maps whose pairs of pixels are compared, each within itself, and the noise of these pairs."""

    fields: Sequence[NoisyMap]
    labels: Sequence[np.ndarray | None]
    """Numbers of the particles (y, x), or None for pairs anywhere in the field."""
    pairs: kernel.Pairs
    """Part by part."""
    lags: kernel.Lags
    n_lags: int

    @classmethod
    def of(cls, fields: Sequence[NoisyMap], correlation: np.ndarray, longest: float | None) -> _Correlations:
        """Return the pairs of maps with pixels of one size, up to a distance in um."""
        step = fields[0].step
        labels = [None if field.particle is None else field.labels for field in fields]
        both = zip(fields, labels, strict=True)
        regions = [region for field, label in both for region in kernel.regions_of(field.value, field.noise, label)]
        pairs = kernel.pairs_of(regions, step, correlation)
        n_bins = pairs.number.shape[1]
        half = max(min(np.multiply(region.inside.shape, step)) for region in regions) / 2
        n_lags = min(int((half if longest is None else longest) / min(step) * 1.000001) + 1, n_bins)
        return cls(fields, labels, pairs, kernel.Lags.of(step, n_bins), n_lags)

    def numbers(self) -> np.ndarray:
        """Return lengths and autocovariance in one row."""
        pairs = self.pairs.summed()
        return self._row(pairs, pairs.added())

    def noisier(self, noise: Sequence[np.ndarray], sign: int) -> np.ndarray:
        """Return the same of the maps with as much noise again."""
        regions = [
            region
            for field, label, more in zip(self.fields, self.labels, noise, strict=True)
            for region in kernel.regions_of(field.value + sign * more, label=label, tiles=1)
        ]
        pairs = kernel.pairs_of(regions, self.fields[0].step).summed()
        return self._row(pairs, 2 * self.pairs.summed().added())

    def without_parts(self) -> np.ndarray:
        """Return the same without each part."""
        others = (self.pairs.summed(without=part) for part in range(len(self.pairs.number)))
        return np.array([self._row(pairs, pairs.added()) for pairs in others])

    def interval(self, length: float, rows: np.ndarray, level: float) -> tuple[float, float]:
        """Return the interval of a length, from that without each part; NaN of one that a particle hardly holds."""
        from scipy.stats import t

        both = zip(self.fields, self.labels, strict=True)
        pixels = np.concatenate([np.bincount(_whole(field, label).ravel())[1:] for field, label in both])
        areas = pixels * np.prod(self.fields[0].step)
        size = np.sqrt((areas**2).sum() / areas.sum())
        if len(rows) < 2 or not length < size * MOST_OF_REGION:
            return np.nan, np.nan
        spread = kernel.jackknife(np.log([length]), np.log(rows[:, None]))[0]
        factor = float(np.exp(t.ppf((1 + level) / 2, len(rows) - 1) * spread))
        return length / factor, length * factor

    def _row(self, pairs: kernel.Pairs, noise: np.ndarray) -> np.ndarray:
        value, length, patch = kernel.autocovariance(pairs, noise, self.lags)
        return np.array([length, patch * np.prod(self.fields[0].step), *value[: self.n_lags]])


def _whole(field: NoisyMap, label: np.ndarray | None) -> np.ndarray:
    """Return the numbers of the particles (y, x), or all of the sample as one."""
    return field.inside.astype(int) if label is None else label


def _stamped(found: _Correlations, numbers: np.ndarray, error: np.ndarray, unit: str, level: float) -> xr.Dataset:
    """Return the autocovariance of a map with its errors, and its lengths with intervals."""
    rows = found.without_parts()
    sampling = kernel.jackknife(numbers, rows)
    squared = units.derive(unit, unit, "*")
    n_pairs = found.pairs.number.sum(axis=0)[: found.n_lags] / 2
    n_pairs[0] *= 2
    made = {
        "autocovariance": numbers[2:],
        "autocovariance_stderr": error[2:],
        "autocovariance_sampling_stderr": sampling[2:],
        "n_pairs": np.rint(n_pairs),
    }
    curves = {
        name: annotate(xr.DataArray(values, dims="lag"), name, None if name == "n_pairs" else squared)
        for name, values in made.items()
    }
    numbered = {"correlation_length": 0, "integral_range": 1}
    for name, k in numbered.items():
        curves[name] = annotate(xr.DataArray(numbers[k]), name)
        curves[f"{name}_stderr"] = annotate(xr.DataArray(error[k]), f"{name}_stderr")
    low, high = found.interval(numbers[0], rows[:, 0], level)
    curves["correlation_length_lower"] = annotate(xr.DataArray(low), "correlation_length_lower")
    curves["correlation_length_upper"] = annotate(xr.DataArray(high), "correlation_length_upper")
    curves["integral_range_sampling_stderr"] = annotate(xr.DataArray(sampling[1]), "integral_range_sampling_stderr")
    return xr.Dataset(with_level(curves, level)).assign_coords(lag=lag_axis(found.n_lags, found.fields[0].step))
