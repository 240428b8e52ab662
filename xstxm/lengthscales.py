"""At which length a map varies: variance within particles, between them and between fields; variance of blocks of any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._kernels import blocks
from xstxm._kernels import nested_variances as nested
from xstxm._noisy_maps import (
    Maps,
    NoisyMap,
    Particles,
    noise_lags,
    noisy_maps,
    over_fields,
    tell_overlaps,
    with_level,
)
from xstxm.conventions import SCHEMAS, annotate
from xstxm.errors import OptionError, check_choice, require_number, require_whole
from xstxm.provenance import note, recorded
from xstxm.units import LengthLike

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
        a single one. Leave out what shows them once more, overview and details, ``tree.match("field *")``: it is not
        noticed. Lengths and compositions in other units convert.
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
    MetadataWarning
        Fields that lie on each other by their positions.
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
    tell_overlaps(fields)
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
    made["total_variance"] = annotate(xr.DataArray(total), "total_variance", squared)
    return xr.Dataset(with_level(made, level), coords={"scale": list(SCALES)})


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


@recorded
def coarse_grain(
    maps: Maps,
    lengths: LengthLike | Sequence[LengthLike] | None = None,
    *,
    signal: str = "composition",
    weight: str | None = None,
    min_coverage: float = 0.5,
    noise_correlation: xr.DataArray | None = None,
    confidence_level: float = 0.95,
) -> xr.Dataset:
    """Return the variance of a map seen with larger and larger pixels: of the means of its blocks, noise taken off.

    ``V(L) = E[(mean of q in a block of side L - mean of q)^2]``. It falls where the length of the block passes the lengths
    over which the map varies.

    Parameters
    ----------
    maps
        A result that holds the map, as of `phase_map`; or several, in a DataTree or a dict.
    lengths
        Side of the blocks in um, or with a unit, or several; each is rounded to whole pixels of the map, once if two give the
        same. By default from the pixel to a quarter of the field, each the root of two longer.
    signal
        Variable that holds the map. Its noise is read from ``<signal>_stderr``.
    weight
        Variable by which pixels count in the mean of a block: "total_amount" gives the composition that an instrument with
        such pixels would see. By default areas count alike.
    min_coverage
        Least share of a block that is sample.
    noise_correlation
        Of the noise of two pixels against their lag, as for `phase_summary`. By default the pixels are independent.
    confidence_level
        Of the intervals.

    Returns
    -------
    Dataset
        Over `length`, the side of a block in um: `variance` in the units of the map squared, `variance_stderr`, of this
        field, by the noise of its pixels, `variance_lower` and `variance_upper`, of the material. `noise_variance`, which was
        taken off, is that of a map of nothing but this noise; `mixed_variance` that of the same pixels, without noise, mixed at
        random. `n_blocks`, side by side. Fields of several add `node`; lengths that one does not have are NaN there. Eager.

        NaN where no block is covered; ends of intervals where the field holds less than five independent patches. An
        estimate may be below zero by chance, it is not clipped; an interval ends at zero.

    Raises
    ------
    MissingVariableError, SchemaError
        No map in a field, no sample, labels instead of numbers, several images, weights that are not above zero.
    OptionError
        Lengths below the pixel or beyond the field of every map.
    MissingDimensionError, MissingCoordinateError, UnitsError
        No image, no positions or units, or units that do not convert.

    Warns
    -----
    NoiseWarning
        A field without standard errors: its noise stays in.

    Notes
    -----
    Blocks are taken at every position, which is the mean over all grids of them, and weigh as much as they hold of the
    sample. The mean that is subtracted is that of the same field; its own variance, which `phase_summary` finds from
    the autocovariance, is added, so that curves of fields of different size agree. Where the field is too small to tell that
    variance, the curve is that within the field.

    The interval is that of a chi-square distribution with the degrees of freedom of a Gaussian field of the
    autocovariance that is seen [1]_, or fewer where the squared deviations scatter more. It is
    too narrow where the map varies over lengths of more than a tenth of the field.

    References
    ----------
    .. [1] C. Lantuejoul, Geostatistical Simulation (Springer, 2002), chapter 4, https://doi.org/10.1007/978-3-662-04808-5

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> phases = xstxm.phase_map(stack, xstxm.testing.simulate_references())
    >>> xstxm.coarse_grain(phases, ["60 nm", 0.12]).length.values.tolist()
    [0.06, 0.12]
    """
    level = require_number("confidence_level", confidence_level, "a probability", above=0, below=1)
    min_coverage = require_number("min_coverage", min_coverage, "a share", above=0, most=1)
    fields, unit = noisy_maps(maps, signal, weight=weight)
    lags = noise_lags(noise_correlation)
    asked = None if lengths is None else _asked(lengths, fields)

    def curve(field: NoisyMap) -> xr.Dataset:
        sample = blocks.Sample.of(field.value, field.noise, field.weight, lags, field.step)
        sides = _sides(field, asked)
        found = [blocks.block_variance(sample, (height, width), min_coverage) for height, width in sides]
        made = _curve([_block_row(one, level) for one in found], unit, level)
        made["variance_stderr"] = made["variance_stderr"].where(field.stderr is not None)
        length = np.round(np.sqrt(sides.prod(axis=1) * np.prod(field.step)), 9)
        return made.assign_coords(length=("length", length, {"units": "um", "long_name": "Side of a block"}))

    return over_fields(fields, curve).assign_attrs(signal=signal, weight=weight or "area", min_coverage=min_coverage)


def _asked(lengths: LengthLike | Sequence[LengthLike], fields: list[NoisyMap]) -> np.ndarray:
    """Return lengths in um, each of which at least one field has."""
    lengths = [lengths] if isinstance(lengths, str) or not np.iterable(lengths) else lengths
    asked = np.array([units.to_magnitude(length, "um", "a length") for length in lengths])
    low = min(min(field.step) for field in fields)
    high = max(min(np.multiply(field.value.shape, field.step)) for field in fields)
    outside = [f"{length:g}" for length in asked if not low * 0.999 <= length <= high * 1.001]
    if outside or not asked.size:
        expected = f"give lengths from the pixel, {low:.4g} um, to the shorter side of the field, {high:.4g} um"
        raise OptionError("lengths", ", ".join(outside), expected)
    return asked


def _sides(field: NoisyMap, asked: np.ndarray | None) -> np.ndarray:
    """Return the sides of blocks (length, 2) in whole pixels that a field has, each once."""
    pixel = max(field.step)
    side = min(np.multiply(field.value.shape, field.step))
    if asked is None:
        number = int(np.log2(max(side / 4 / pixel, 1)) * 2 + 1e-6) + 1
        asked = pixel * 2 ** (np.arange(number) / 2)
    fits = asked[(asked >= pixel * 0.999) & (asked <= side * 1.001)]
    return np.unique(np.maximum(np.rint(fits[:, None] / field.step).astype(int), 1), axis=0)


def _block_row(found: blocks.BlockVariance | None, level: float) -> dict[str, float]:
    if found is None:
        return {"variance": np.nan, "n_blocks": 0.0}
    low, high = nested.chi_square_interval(found.raw, found.noise, found.freedom, level)
    return {
        "variance": found.raw - found.noise,
        "variance_stderr": found.error**0.5,
        "variance_lower": max(low, 0),
        "variance_upper": max(high, 0),
        "noise_variance": found.noise,
        "mixed_variance": found.mixed,
        "n_blocks": found.n_blocks,
    }


def _curve(rows: list[dict[str, float]], unit: str, level: float) -> xr.Dataset:
    squared = units.derive(unit, unit, "*")
    made = {}
    for name in SCHEMAS["coarse_grain"]:
        values = xr.DataArray([row.get(name, np.nan) for row in rows], dims="length")
        made[name] = annotate(values, name, None if name == "n_blocks" else squared)
    return xr.Dataset(with_level(made, level))
