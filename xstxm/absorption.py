"""From counts to optical density: incident intensity and the Beer-Lambert law."""

from __future__ import annotations

import functools
import operator
from collections.abc import Hashable
from typing import Any, Literal, TypeAlias, overload

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import is_lazy, match_energy, match_pixels
from xstxm._densities import CountVariance, densities
from xstxm.conventions import (
    ENERGY,
    annotate,
    as_float,
    pixel_dims,
    quality_bits,
    quality_of,
    replace_signal,
    require_dwell_time,
    require_energy,
    signal_of,
    used_pixels,
    variance_of,
)
from xstxm.errors import (
    IncompatibleUnitsError,
    MetadataWarning,
    MissingUnitsError,
    MissingVariableError,
    NonPositiveIntensityWarning,
    OptionError,
    SchemaError,
    check_choice,
    require_number,
    warn,
)
from xstxm.noise import (
    check_noise,
    checked_variance,
    given_variance,
    photons_of_count,
    require_no_gain,
    variance_of_counts,
)
from xstxm.provenance import describe, note, recorded
from xstxm.roi import Region, used_region

AutoRegion: TypeAlias = Literal["brightest"]
Noise: TypeAlias = Literal["poisson", "residual"]


@recorded
def estimate_i0(
    stack: xr.DataArray | xr.Dataset,
    region: AutoRegion | Region = "brightest",
    *,
    fraction: float = 0.1,
    signal: str = "intensity",
) -> xr.Dataset:
    """Estimate the incident intensity from the empty pixels of a stack: their mean at each energy.

    Parameters
    ----------
    stack
        Stack, or the array of counts.
    region
        ``"brightest"``: the `fraction` of the pixels with the highest mean counts, of themselves and those next to
        them, at every other energy; or a mask, a box, a polygon or a point where the beam misses the sample, see
        `spectrum`.
    fraction
        Share of the pixels that ``"brightest"`` takes, in (0, 1].
    signal
        Variable of a Dataset that holds the counts.

    Returns
    -------
    Dataset
        `i0` and `i0_stderr` (energy) in the units of the counts, `mask` (pixel dims) of the empty pixels used at some
        energy, their number and the method in attrs. The standard error is that of the mean, from the scatter of the
        pixels; one pixel has none, and the square root of the variance of its counts in its place where the Dataset
        holds it, else NaN. Eager on two images for ``"brightest"``, the means of every other energy; lazy otherwise.

    Raises
    ------
    MissingVariableError, MissingUnitsError
        The Dataset has no such signal, or the counts have no units.
    OptionError
        `fraction` is not in (0, 1], or the region holds no pixel.

    Notes
    -----
    Pixels that were chosen by the counts that are averaged would be those whose noise is highest, and I0 too high by
    many of its standard errors. So the 1st, 3rd, ... energy are averaged over the pixels that are brightest at the 2nd,
    4th, ..., and the other way round. What chooses the pixels of a single energy are their neighbours; as they choose each
    other, the standard error is there some 1.3 times too small. Noise that neighbouring energies share, as in a
    denoised stack, undoes this, and so does noise that neighbouring pixels share at a single energy.

    The empty area has to be larger than `fraction`. A stack without empty area has no I0 to estimate: give one.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> xstxm.estimate_i0(stack).i0.dims
    ('energy',)
    """
    fraction = require_number("fraction", fraction, "a share of the pixels", above=0, most=1)
    stack = units.dequantify(stack)
    counts = used_pixels(as_float(signal_of(stack, signal)), stack)
    require_energy(counts)
    unit = _counting_units(counts, "the intensity")
    dims = pixel_dims(counts)
    if not dims:
        raise SchemaError("a single spectrum has no empty pixels: pass an I0 spectrum instead, see xstxm.read_i0")
    if isinstance(region, str):
        check_choice("region", region, AutoRegion)
        masks = _brightest(counts, fraction)
    else:
        masks = [used_region(counts, stack, region)]
    variance = variance_of(stack, signal)
    found = _interleaved(
        counts,
        [
            _mean_of(_every(len(masks), k, counts), mask, None if variance is None else _every(len(masks), k, variance))
            for k, mask in enumerate(masks)
        ],
    )
    mask = annotate(functools.reduce(operator.or_, masks), "mask")
    stamped = {name: annotate(array, str(name), units=unit) for name, array in found.items()}
    used = {} if is_lazy(mask) else {"n_pixels": int(mask.sum())}
    result = xr.Dataset({**stamped, "mask": mask})
    return result.assign_attrs(method=region if isinstance(region, str) else "region", **used)


def _every(step: int, start: int, array: xr.DataArray) -> xr.DataArray:
    return array.isel({ENERGY: slice(start, None, step)})


def _interleaved(counts: xr.DataArray, parts: list[xr.Dataset]) -> xr.Dataset:
    """Return what was found of every so manieth energy in the order of all of them, and in chunks as the counts are."""
    joined = xr.concat(parts, ENERGY, coords="minimal", compat="override", join="override")
    n = joined.sizes[ENERGY]
    place = np.concatenate([np.arange(k, n, len(parts)) for k in range(len(parts))])
    ordered = joined.isel({ENERGY: np.argsort(place)})
    return ordered.chunk({ENERGY: counts.chunksizes[ENERGY]}) if is_lazy(counts) else ordered


def _mean_of(counts: xr.DataArray, mask: xr.DataArray, variance: xr.DataArray | None) -> xr.Dataset:
    """Return `i0` and `i0_stderr`, from the spread; of one pixel, which has none, from its own variance."""
    inside, dims = _pixels_of(counts, mask)
    i0 = inside.mean(dims, skipna=True, dtype=float)
    if is_lazy(mask) or int(mask.sum()) > 1:
        freedom = inside.count(dims) - 1
        spread = inside.std(dims, skipna=True, dtype=float)
        return xr.Dataset({"i0": i0, "i0_stderr": spread / np.sqrt(freedom.where(freedom > 0))})
    if variance is None:
        return xr.Dataset({"i0": i0, "i0_stderr": xr.full_like(i0, np.nan)})
    held, per_square = checked_variance(variance, counts, str(variance.name))
    own = _pixels_of(held, mask)[0].mean(dims, dtype=float) / per_square
    return xr.Dataset({"i0": i0, "i0_stderr": np.sqrt(own)})


def _pixels_of(array: xr.DataArray, mask: xr.DataArray) -> tuple[xr.DataArray, tuple[Hashable, ...]]:
    """Return the pixels of a mask, and the dimensions they lie along; of an array in memory no others."""
    if is_lazy(array) or is_lazy(mask):
        return array.where(mask), mask.dims
    places = np.nonzero(np.asarray(mask))
    at = {dim: xr.Variable("place", place) for dim, place in zip(mask.dims, places, strict=True)}
    return array.isel(at).drop_vars(mask.dims, errors="ignore"), ("place",)


def _counting_units(array: xr.DataArray, what: str) -> str:
    """Return the units of an intensity: counts, a rate, a current, a voltage or a mere number."""
    found = units.units_of(array, what)
    if not any(units.same_kind(found, kind) for kind in ("count", "count/ms", "mA", "V", "1")):
        raise IncompatibleUnitsError(what, found, "count", "an intensity is in 'count' or 'count/ms'")
    return found


def _brightest(counts: xr.DataArray, fraction: float) -> list[xr.DataArray]:
    """Mask the pixels to average at every other energy, and those at the energies between. Eager on two images.

    Each half is that of the brightest pixels of the other: chosen by its own counts, it would be that of the pixels with
    the luckiest noise. What chooses the pixels of a single energy are their neighbours.
    """
    alone = counts.sizes[ENERGY] == 1
    means = {str(k): _every(2, k, counts).mean(ENERGY, skipna=False) for k in ([0] if alone else [1, 0])}
    judged: list[xr.DataArray] = [
        _around(image, itself=not alone) for image in xr.Dataset(means).compute().data_vars.values()
    ]
    usable = functools.reduce(operator.and_, [image.notnull() for image in judged])
    if not bool(usable.any()):
        raise OptionError(
            "region",
            "brightest",
            "no pixel is finite at every energy, or of one energy has neighbours: give a mask or a box",
        )
    thresholds = (image.where(usable).quantile(1 - fraction, skipna=True).drop_vars("quantile") for image in judged)
    return [usable & (image >= least) for image, least in zip(judged, thresholds, strict=True)]


def _around(image: xr.DataArray, *, itself: bool) -> xr.DataArray:
    """Return the mean of each pixel and those next to it, or of those alone; NaN where the pixel is NaN."""
    there = abs(image) < np.inf
    values = image.astype(float).where(there, 0.0)
    total, number = (_sum_around(item) - (0.0 if itself else item) for item in (values, there.astype(float)))
    return (total / number.where(number > 0)).where(there)


def _sum_around(image: xr.DataArray) -> xr.DataArray:
    """Return the sum of each pixel and those next to it, in the image or along the line."""
    for dim in [dim for dim in ("y", "x") if dim in image.dims] or image.dims[-1:]:
        image = image + image.shift({dim: 1}, fill_value=0.0) + image.shift({dim: -1}, fill_value=0.0)
    return image


@overload
def optical_density(
    stack: xr.DataArray,
    i0: xr.DataArray | xr.Dataset | None = ...,
    *,
    dark: float | str | xr.DataArray | None = ...,
    noise: Noise | xr.DataArray | None = ...,
    gain: float = ...,
    signal: str = ...,
    thick: float = ...,
    saturation: float | None = ...,
) -> xr.DataArray: ...
@overload
def optical_density(
    stack: xr.Dataset,
    i0: xr.DataArray | xr.Dataset | None = ...,
    *,
    dark: float | str | xr.DataArray | None = ...,
    noise: Noise | xr.DataArray | None = ...,
    gain: float = ...,
    signal: str = ...,
    thick: float = ...,
    saturation: float | None = ...,
) -> xr.Dataset: ...
@recorded
def optical_density(
    stack: xr.DataArray | xr.Dataset,
    i0: xr.DataArray | xr.Dataset | None = None,
    *,
    dark: float | str | xr.DataArray | None = None,
    noise: Noise | xr.DataArray | None = None,
    gain: float = 1.0,
    signal: str = "intensity",
    thick: float = 2.2,
    saturation: float | None = None,
) -> xr.DataArray | xr.Dataset:
    """Return the optical density ``OD = -ln((I - dark) / (I0 - dark))``, natural logarithm.

    Parameters
    ----------
    stack
        Stack with `intensity`, or the array of counts.
    i0
        Incident intensity (energy), (energy, y, x) or (y, x), or a result of `estimate_i0`. By default
        the `i0` of the Dataset, or else an estimate from the brightest tenth of the pixels; the history
        says which. Another energy grid is interpolated onto the stack's, never beyond its data.
    dark
        Counts without light: a number in the units of the stack, a string with a unit, or an array.
    noise
        Where `optical_density_variance` comes from: ``"poisson"``, ``var(I) = I / gain`` of the counts with their dark; an
        array with the variance of the counts; ``"residual"``, none, so that a fit takes it from what it leaves.
        By default the variance that the Dataset holds, e.g. `intensity_variance`, else ``"residual"``.
    gain
        Photons for one count, see `with_variance`; with ``noise="poisson"`` only.
    signal
        Variable of a Dataset that holds the counts.
    thick
        Pixels whose optical density exceeds this at any energy are flagged `too_thick`; values stay.
    saturation
        Counts at or above this are flagged `saturated`; values stay. None checks nothing.

    Returns
    -------
    DataArray or Dataset
        Of a DataArray its `optical_density`, dtype kept (integers become float32); of a Dataset the
        Dataset with `optical_density` and `quality` (pixel dims) added. Counts or I0 of zero or less
        give NaN and the flag `nonpositive_counts`, counts that are NaN the flag `not_measured`. With a variance of the
        counts also `optical_density_variance`, ``var(I) / (I - dark)^2 + var(I0) / (I0 - dark)^2``, with `i0_variance`
        or the square of `i0_stderr` from where I0 comes from, or, for ``"poisson"`` and an I0 image or an I0 of one
        pixel, whose `i0_stderr` is NaN, ``I0 / gain``.
        Without any of these, and for the dark, nothing is added, and for I0 the history says so. Lazy, unless I0
        has to be estimated first.

    Raises
    ------
    MissingUnitsError
        The counts or I0 have no units: counts per dwell against counts per ms would shift every value.
    IncompatibleUnitsError
        I0 is in units of another kind; a rate and counts meet through `dwell_time`.
    OptionError
        `thick`, `saturation` or `gain` is no number, a gain is of no use, an array is to hold a variance, or a variance is
        below zero or nowhere above.
    EnergyRangeError
        I0 does not cover the stack.

    Warns
    -----
    NonPositiveIntensityWarning
        Counts or I0 of zero or less, of arrays in memory.
    MetadataWarning
        Most pixels are brighter than I0, or the error of I0 is NaN and with it the variance.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> od = xstxm.optical_density(stack)
    >>> od.optical_density.attrs["units"]
    '1'
    """
    thick = require_number("thick", thick, "an optical density", finite=False)
    if saturation is not None:
        saturation = require_number("saturation", saturation, "a number of counts", finite=False)
    stack = units.dequantify(stack)
    counts = signal_of(stack, signal)
    variance = _variance(stack, counts, noise, gain, signal)
    energy = require_energy(counts)
    source = _incident(stack, counts, i0, signal)
    incident = _at_energies(source["i0"], energy, counts)
    of_i0: xr.DataArray | float = 0.0
    if variance is not None and isinstance(stack, xr.Dataset):
        of_i0 = _incident_variance(source, stack, counts, gain if isinstance(noise, str) else None)
    scale, level = _counting_scale(counts, incident, stack), placed_dark(dark, counts)
    found = densities(counts, incident, scale, level, variance, of_i0, thick=thick, saturation=saturation)
    if not is_lazy(counts):
        _warn_nonpositive(found.flags["nonpositive_counts"])
        _warn_dark_i0(found.brighter)
    od = annotate(found.od, "optical_density")
    if isinstance(stack, xr.DataArray):
        return od
    of_od = None if found.variance is None else annotate(found.variance, "optical_density_variance")
    quality = quality_bits(found.flags, quality_of(stack), lasting=())
    before = stack.drop_vars("optical_density_variance", errors="ignore")
    return replace_signal(before, "optical_density", od, of_od, quality=quality)


def _incident(
    stack: xr.DataArray | xr.Dataset, counts: xr.DataArray, i0: xr.DataArray | xr.Dataset | None, signal: str
) -> xr.Dataset:
    """Return what holds `i0`: the one given, the stack, or an estimate, which the record tells."""
    if isinstance(i0, xr.Dataset):
        if "i0" not in i0:
            raise MissingVariableError("i0", i0.data_vars, "pass the result of estimate_i0, or an array")
        return units.dequantify(i0)
    if i0 is not None:
        if not isinstance(i0, xr.DataArray):
            raise SchemaError(
                f"I0 is a {type(i0).__name__}: read it with xstxm.read_i0(path, units=...), or make it an array with units, e.g. xarray.DataArray(values, "
                "dims='energy', coords={'energy': stack.energy}, attrs={'units': 'count'})"
            )
        return units.dequantify(i0).to_dataset(name="i0")
    if isinstance(stack, xr.Dataset) and "i0" in stack:
        return stack
    if not pixel_dims(counts):
        raise MissingVariableError("i0", [signal], "pass i0=..., a single spectrum has no empty pixels")
    note("i0 estimated from the brightest 10 % of the pixels")
    return estimate_i0(stack, signal=signal)


def _at_energies(incident: xr.DataArray, energy: xr.DataArray, counts: xr.DataArray) -> xr.DataArray:
    if "units" not in incident.attrs:
        raise MissingUnitsError(
            "I0",
            "say whether it is counts per pixel or a rate: xstxm.read_i0(path, units='count/ms'), or "
            "i0.attrs['units'] = 'count'",
        )
    return _placed(incident, energy, counts)


def _placed(array: xr.DataArray, energy: xr.DataArray, counts: xr.DataArray) -> xr.DataArray:
    """Return what belongs to I0 on the pixels and at the energies of the counts."""
    placed = match_pixels(array, counts, "I0")
    if ENERGY in placed.dims:
        placed = match_energy(placed, energy, what="I0")
    return placed.assign_attrs(array.attrs)


def _variance(
    stack: xr.DataArray | xr.Dataset,
    counts: xr.DataArray,
    noise: Noise | xr.DataArray | None,
    gain: float,
    signal: str,
) -> CountVariance | None:
    """Return the variance of the counts where there is one."""
    named = None if noise is None else check_noise(noise, Noise, counts)
    if named != "poisson":
        require_no_gain(gain)
    if noise is None:
        held = variance_of(stack, signal)
        return None if held is None else CountVariance(*checked_variance(held, counts, f"{signal}_variance"), -np.inf)
    if named == "residual":
        return None
    if isinstance(stack, xr.DataArray):
        raise OptionError("noise", describe(noise), "an array has no room for its variance, give a Dataset")
    if not isinstance(noise, xr.DataArray):
        return CountVariance(counts, photons_of_count(stack, counts, gain), 0.0)
    return CountVariance(given_variance(noise, counts), 1.0, -np.inf)


def _incident_variance(
    source: xr.Dataset, stack: xr.Dataset, counts: xr.DataArray, gain: float | None
) -> xr.DataArray | float:
    """Return the variance of I0 in its own units, where what holds it knows one or, with a gain, counts every pixel.

    The record tells where there is none, and it is left out.
    """
    i0, held = source["i0"], _held_variance(source)
    if held is None and (gain is None or not {*i0.dims} & {*pixel_dims(counts)}):
        note("the variance of I0 is not known and left out")
        return 0.0
    if held is None or is_lazy(held) or bool((held.isnull() & i0.notnull()).any()):
        held = _completed(held, i0, stack, gain)
    return _placed(held.astype(float), counts[ENERGY], counts)


def _completed(held: xr.DataArray | None, i0: xr.DataArray, stack: xr.Dataset, gain: float | None) -> xr.DataArray:
    """Return the variance of I0 with that of its counts where none is known; without a gain it stays NaN, and is said."""
    if held is not None and gain is None:
        if not is_lazy(held):
            _warn_no_spread(held, i0)
        return held
    counted = variance_of_counts(stack, i0.astype(float), "poisson", 1.0 if gain is None else gain).rename(
        "i0_variance"
    )
    if held is None:
        return counted
    note("where I0 is of one pixel, its variance is that of its counts")
    return held.fillna(counted)


def _held_variance(source: xr.Dataset) -> xr.DataArray | None:
    """Return the variance of I0 that is held beside it, in the square of its units."""
    i0 = source["i0"]
    if "i0_variance" in source:
        return given_variance(source["i0_variance"], i0, "i0_variance", zero=True)
    if "i0_stderr" in source:
        stderr = units.to_units(as_float(source["i0_stderr"]), units.units_of(i0, "I0"), "i0_stderr")
        return (stderr.astype(float) ** 2).rename("i0_variance")
    return None


def _counting_scale(counts: xr.DataArray, incident: xr.DataArray, stack: xr.DataArray | xr.Dataset) -> Any:
    """Return what brings I0 to the units of the counts; a rate meets counts through the dwell time."""
    found, given = _counting_units(counts, "the intensity"), _counting_units(incident, "I0")
    per_dwell = units.derive(found, "ms", "/"), units.derive(given, "ms", "/")
    if units.same_kind(found, given):
        return units.factor(given, found, "I0")
    if units.same_kind(per_dwell[0], given):
        return units.factor(given, per_dwell[0]) * _dwell(stack)
    if units.same_kind(found, per_dwell[1]):
        return units.factor(per_dwell[1], found) / _dwell(stack)
    raise IncompatibleUnitsError("I0", given, found, "give both as counts ('count') or as rates ('count/ms')")


def _dwell(stack: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Return the dwell time in ms, where counts and a rate have to meet."""
    return require_dwell_time(stack, "one of I and I0 is a rate, the other counts")


def placed_dark(dark: float | str | xr.DataArray | None, counts: xr.DataArray) -> xr.DataArray | float | None:
    """Return the dark in the units of the counts: a number, or an array on their pixels and energies."""
    if dark is None or not isinstance(dark, xr.DataArray):
        return dark if dark is None else units.to_magnitude(dark, counts, "dark")
    placed = match_pixels(dark, counts, "dark")
    if ENERGY in placed.dims:
        placed = match_energy(placed, counts[ENERGY], what="dark")
    placed = placed.assign_attrs(dark.attrs)
    return units.to_units(placed, units.units_of(counts), "dark") if "units" in dark.attrs else placed


def _warn_nonpositive(nonpositive: xr.DataArray) -> None:
    pixels = int(nonpositive.sum())
    if pixels:
        warn(
            f"counts of zero or less in {pixels} pixels became NaN, flagged nonpositive_counts in 'quality'",
            NonPositiveIntensityWarning,
        )


def _warn_no_spread(variance: xr.DataArray, i0: xr.DataArray) -> None:
    unknown = int((variance.isnull() & i0.notnull()).sum())
    warn(
        f"the error of I0 is NaN in {unknown} of {variance.size} values, and the variance of the optical density with it: an "
        "I0 of one pixel shows no spread; estimate it from more pixels, or from stack.stxm.with_variance(), or drop its "
        "error to take it as known",
        MetadataWarning,
    )


def _warn_dark_i0(brighter: xr.DataArray) -> None:
    """Warn where most pixels are brighter than I0 at every energy, which no sample is."""
    if float(brighter.mean()) > 0.5:
        warn(
            "more than half of the pixels are brighter than I0 at every energy: check the units of I0, the dwell time "
            "and where I0 was taken",
            MetadataWarning,
        )
