"""From counts to optical density: incident intensity and the Beer-Lambert law."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, overload

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import is_lazy
from xstxm._axes import match_energy, match_pixels
from xstxm._densities import CountVariance, Light, densities
from xstxm._device import on_device, on_host
from xstxm._kernels import devices
from xstxm.conventions import (
    ENERGY,
    annotate,
    as_float,
    has_pixels,
    pixel_dims,
    quality_bits,
    quality_of,
    replace_signal,
    require_dwell_time,
    require_energy,
    require_variable,
    signal_of,
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
    UnitsError,
    require_number,
    warn,
)
from xstxm.incident import counting_units, estimate_i0
from xstxm.noise import (
    check_noise,
    checked_variance,
    given_variance,
    photons_of_count,
    require_no_gain,
    variance_of_counts,
)
from xstxm.provenance import describe, note, recorded

_ALIKE = 0.02
"""Difference of optical densities, root mean square over energy, below which they are taken to be the same."""

Noise: TypeAlias = Literal["poisson", "residual"]


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
@on_device
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
        Most pixels are brighter than I0; the clearest tenth would have no density were I0 a rate in place of counts, or
        counts in place of a rate; or the error of I0 is NaN and with it the variance.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> od = xstxm.optical_density(stack)
    >>> od.optical_density.attrs["units"]
    '1'
    """
    stack = units.dequantify(stack)
    light = light_of(stack, i0, dark=dark, noise=noise, gain=gain, signal=signal, thick=thick, saturation=saturation)
    found = densities(light)
    warn_of_counts(light, found.flags, found.brighter, stack)
    od = annotate(found.od, "optical_density")
    if isinstance(stack, xr.DataArray):
        return od
    of_od = None if found.variance is None else annotate(found.variance, "optical_density_variance")
    quality = quality_bits(found.flags, quality_of(stack), lasting=())
    before = stack.drop_vars("optical_density_variance", errors="ignore")
    return replace_signal(before, "optical_density", od, of_od, quality=quality)


def light_of(
    stack: xr.DataArray | xr.Dataset,
    i0: xr.DataArray | xr.Dataset | None = None,
    *,
    dark: float | str | xr.DataArray | None = None,
    noise: Noise | xr.DataArray | None = None,
    gain: float = 1.0,
    signal: str = "intensity",
    thick: float = 2.2,
    saturation: float | None = None,
) -> Light:
    """Return the counts and what `optical_density` makes its values of, checked, in one unit, at the energies of the counts."""
    thick = require_number("thick", thick, "an optical density", finite=False)
    if saturation is not None:
        saturation = require_number("saturation", saturation, "a number of counts", finite=False)
    counts = signal_of(stack, signal)
    variance = _variance(stack, counts, noise, gain, signal)
    energy = require_energy(counts)
    source = _incident(stack, counts, i0, signal)
    incident = _at_energies(source["i0"], energy, counts)
    of_i0: xr.DataArray | float = 0.0
    if variance is not None and isinstance(stack, xr.Dataset):
        of_i0 = _incident_variance(source, stack, counts, gain if isinstance(noise, str) else None)
    scale, level = _counting_scale(counts, incident, stack), placed_dark(dark, counts)
    return Light(counts, incident, scale, 0.0 if level is None else level, variance, of_i0, thick, saturation)


def warn_of_counts(
    light: Light, flags: Mapping[str, xr.DataArray], brighter: xr.DataArray, stack: xr.DataArray | xr.Dataset
) -> None:
    """Warn where counts in memory do not look like what they are said to be."""
    if not is_lazy(light.counts):
        _warn_nonpositive(flags["nonpositive_counts"])
        _warn_dark_i0(brighter)
        _warn_other_units(light, stack)


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
                f"I0 is of type {type(i0).__name__}: read it with xstxm.read_i0(path, units=...), or make it an array with units, e.g. xarray.DataArray(values, "
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
    placed = match_pixels(array if has_pixels(array) else on_host(array), counts, "I0")
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
    note("where the variance of I0 is not known, it is that of its counts")
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
    found, given = counting_units(counts, "the intensity"), counting_units(incident, "I0")
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
    pixels = int(nonpositive.sum().data)
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
    if brighter.size and float(brighter.mean().data) > 0.5:
        warn(
            "more than half of the pixels are brighter than I0 at every energy: check the units of I0, the dwell time "
            "and where I0 was taken",
            MetadataWarning,
        )


def _warn_other_units(light: Light, stack: xr.DataArray | xr.Dataset) -> None:
    """Warn where I0 as a rate in place of counts, or as counts in place of a rate, makes the clearest pixels those of no sample.

    A support whose density is at all energies by chance the logarithm of the dwell time looks the same.
    """
    unit, counts = units.units_of(light.i0, "I0"), light.counts
    is_counts, is_rate = units.same_kind(unit, "count"), units.same_kind(unit, "count/ms")
    if "dwell_time" not in stack.coords or not (is_counts or is_rate) or not pixel_dims(counts) or not counts.size:
        return
    try:
        dwell = units.to_units(stack["dwell_time"].astype(float), "ms", "dwell_time")
    except UnitsError:  # nothing here needs it
        return
    if {*dwell.dims} - {ENERGY} or not bool((dwell > 0).all()):
        return
    above = np.asarray(-np.log(dwell) if is_counts else np.log(dwell))
    clear = _clearest(light)
    if above.min() > 5 * _ALIKE and np.mean((clear - above) ** 2) ** 0.5 < _ALIKE:
        other = "a rate, units='count/ms'," if is_counts else "counts, units='count',"
        warn(
            f"the clearest tenth of the pixels has an optical density of {clear.mean():.3f} at every energy, which is the "
            f"logarithm of the dwell time: were I0 {other} it would be none; check the units of I0",
            MetadataWarning,
        )


def _clearest(light: Light) -> np.ndarray:
    """Return the mean optical density (energy) of the tenth that is least dense of some 16 000 pixels of counts in memory."""
    dims, counts = pixel_dims(light.counts), light.counts
    step = max(round((counts.size / counts.sizes[ENERGY] / 2**14) ** (1 / len(dims))), 1)
    od = densities(light.isel(dict.fromkeys(dims, slice(None, None, step)))).od
    some = od.transpose(ENERGY, ...).data.astype(float)
    some = some.reshape(len(some), -1)
    some = some[:, np.isfinite(some).all(0)]
    if not some.size:
        return np.full(len(some), np.nan)
    mean = some.mean(0)
    return devices.on_host(some[:, mean <= np.quantile(mean, 0.1)].mean(1))


def holds_counts(stack: xr.DataArray | xr.Dataset, signal: str) -> bool:
    """Tell whether a Dataset holds counts, and not the optical density that is asked for."""
    return (
        isinstance(stack, xr.Dataset) and signal == "optical_density" and signal not in stack and "intensity" in stack
    )


def with_density(stack: xr.DataArray | xr.Dataset, signal: str) -> xr.DataArray | xr.Dataset:
    """Return a stack that holds optical density, made from counts where it is missing. Lazy."""
    stack = units.dequantify(stack)
    if isinstance(stack, xr.Dataset) and signal == "optical_density" and signal not in stack:
        require_variable(stack, "intensity", "give optical density, or the counts to make it from as 'intensity'")
        return optical_density(stack)
    return stack


def with_incident(stack: xr.DataArray | xr.Dataset) -> xr.DataArray | xr.Dataset:
    """Return counts with their I0, which is estimated where a Dataset has none."""
    if isinstance(stack, xr.DataArray) or "i0" in stack:
        return stack
    return stack.assign(i0=_incident(stack, signal_of(stack, "intensity"), None, "intensity")["i0"])
