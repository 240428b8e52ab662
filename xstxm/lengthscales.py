"""At which length a map varies: variance within particles, between them and between fields; variance of blocks of any size."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._kernels import nested_variances as nested
from xstxm._noisy_maps import Maps, NoisyMap, Particles, noise_lags, noisy_maps
from xstxm.conventions import annotate
from xstxm.errors import check_choice, require_number, require_whole
from xstxm.provenance import note, recorded

Weights: TypeAlias = Literal["area", "particle"]

SCALES = ("within particles", "between particles", "between fields")
"""The coordinate `scale` of `heterogeneity`."""


@recorded
def heterogeneity(
    maps: Maps,
    particles: Particles | None = None,
    *,
    signal: str = "composition",
    weights: Weights = "area",
    noise_correlation: xr.DataArray | None = None,
    confidence_level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> xr.Dataset:
    """Split the variance of a map into parts within particles, between particles and between fields.

    Nested, by the law of total variance, and free of noise:
    ``Var(q) = E[Var(q | particle)] + E[Var(particle mean | field)] + Var(field mean)``.

    Parameters
    ----------
    maps
        Results that hold the map, as of `phase_map`: fields of one material that do not overlap, in a DataTree or a dict; or
        a single one. Lengths and compositions in other units convert.
    particles
        Images of labels, 0 outside, by the names of the fields where there are several, or the results that hold them as
        `particle_label`; or the name of a variable. By default `particle_label` of every field.
    signal
        Variable that holds the map. Its noise is read from ``<signal>_stderr``.
    weights
        Every ``"area"`` the same, or every ``"particle"`` the same whatever its size.
    noise_correlation
        Of the noise of two pixels against their lag, as for `phase_summary`. By default the pixels are independent.
    confidence_level
        Of the intervals.
    n_resamples, seed
        Draws for the interval between fields, and their seed.

    Returns
    -------
    Dataset
        `variance` (scale) in the units of the map squared, `scale` being "within particles", "between particles", "between
        fields"; `variance_stderr`, of these very fields, by the noise of their pixels; `variance_lower` and
        `variance_upper`, of the material; `standard_deviation`, `variance_share` of the `total_variance`. What was
        taken off: `noise_variance`, and `sampling_variance`, what few particles add to the variance of field means. `n_members`
        are pixels, particles and fields. Eager.

        An estimate may be below zero by chance, where there is less than can be told from none: it is not clipped, and has no
        standard deviation. An interval ends at zero. NaN between fields of one field, and between particles where no field
        holds two; the attribute `undetermined` says so, and the total is that of the scales that are known.

    Raises
    ------
    MissingVariableError, OptionError
        No map or no particles in a field, or no particles given for it.
    SchemaError
        No sample, no particle, labels instead of numbers, several images, or pixels whose error is not known.
    MissingDimensionError, MissingCoordinateError, UnitsError
        No image, no positions or units, or compositions that do not convert.

    Warns
    -----
    NoiseWarning
        A field without standard errors: its noise stays in.

    Notes
    -----
    Particles are sampled from their field, and fields from the material, independently: estimators are those of the
    analysis of variance with weights, unbiased where all particles, and all fields, vary alike. A field varies within
    particles over lengths below their size, but also makes their means differ: of a random field in a particle,
    the mean correlation of two of its points is that share of the variance which is between particles.

    Intervals of the material: within particles, Student's of the logarithm of the mean. Between particles, chi-square with
    the degrees of freedom of Satterthwaite [1]_, from the scatter of squared deviations, or that of Gaussian means where
    particles are few. Between fields a generalised pivotal quantity [2]_ of their Q statistic [3]_, exact for Gaussian
    fields however few, where resampling is not. Particles or fields that are mostly alike, with rare others far off, make
    all of these too narrow.

    References
    ----------
    .. [1] F. E. Satterthwaite, Biometrics Bull. 2, 110 (1946), https://doi.org/10.2307/3002019
    .. [2] S. Weerahandi, J. Am. Stat. Assoc. 88, 899 (1993), https://doi.org/10.1080/01621459.1993.10476355
    .. [3] W. Viechtbauer, Stat. Med. 26, 37 (2007), https://doi.org/10.1002/sim.2514

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> phases = xstxm.phase_map(stack, xstxm.testing.simulate_references())
    >>> phases["particle_label"] = (phases.y * 0 + phases.x > 0.5) + 1
    >>> fields = {"upper": phases.isel(y=slice(12)), "lower": phases.isel(y=slice(12, None))}
    >>> xstxm.heterogeneity(fields).n_members.values.tolist()[1:]
    [4, 2]
    """
    check_choice("weights", weights, Weights)
    level = require_number("confidence_level", confidence_level, "a probability", above=0, below=1)
    n_resamples = require_whole("n_resamples", n_resamples, 100)
    fields, unit = noisy_maps(maps, signal, particles="particle_label" if particles is None else particles)
    lags = noise_lags(noise_correlation)
    found = nested.joined([_particles(field, number, lags) for number, field in enumerate(fields)])
    weight = np.ones(len(found.mean))
    if weights == "area":
        weight = found.n_pixels * np.array([np.prod(field.step) for field in fields])[found.field]
    inner = nested.within(found, weight, level)
    between, freedom = nested.between_particles(found, weight, level)
    outer = nested.between_fields(found, weight, between, freedom, level, n_resamples, seed)
    numbers = [int(found.n_pixels.sum()), len(found.mean), len(fields)]
    split = _split((inner, between, outer), numbers, unit, level)
    if any(field.stderr is None for field in fields):
        split["variance_stderr"] *= np.nan
    return split.assign_attrs(signal=signal, weights=weights, **_undetermined(numbers, freedom))


def _particles(field: NoisyMap, number: int, lags: np.ndarray) -> nested.Particles:
    """Return the particles of a field, of pixels that hold sample."""
    label = field.labels
    return nested.particles(
        np.where(label > 0, field.value, 0), np.where(label > 0, field.noise, 0), label, lags, number
    )


def _split(scales: tuple[nested.Split, ...], numbers: list[int], unit: str, level: float) -> xr.Dataset:
    """Return the variance at each scale, and what is known of it."""
    variance = np.array([scale.variance for scale in scales])
    total = np.nansum(variance)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = {
            "variance": variance,
            "variance_stderr": np.sqrt([scale.error for scale in scales]),
            "variance_lower": np.maximum([scale.interval[0] for scale in scales], 0),
            "variance_upper": np.maximum([scale.interval[1] for scale in scales], 0),
            "variance_share": variance / total,
            "standard_deviation": np.sqrt(variance),
            "noise_variance": np.array([scale.noise for scale in scales]),
            "sampling_variance": np.array([scale.sampling for scale in scales]),
            "n_members": np.array(numbers),
        }
    squared = units.derive(unit, unit, "*")
    own = {"variance_share": None, "n_members": None, "standard_deviation": unit}
    made = {
        name: annotate(xr.DataArray(values, dims="scale"), name, own.get(name, squared))
        for name, values in found.items()
    }
    for name in ("variance_lower", "variance_upper"):
        made[name].attrs["confidence_level"] = level
    made["total_variance"] = annotate(xr.DataArray(total), "total_variance", squared)
    return xr.Dataset(made, coords={"scale": list(SCALES)})


def _undetermined(numbers: list[int], freedom: float) -> dict[str, str]:
    """Return which scales are not known, and why, as an attribute and in the record."""
    reasons = []
    if np.isnan(freedom):
        reasons.append("between particles and between fields: no field holds two particles that differ")
    elif numbers[2] < 2:
        reasons.append("between fields: there is one field only, give several in a DataTree or a dict")
    for reason in reasons:
        note(f"not determined {reason}")
    return {"undetermined": reasons[0]} if reasons else {}
