"""How noisy the counts of a stack are."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import is_lazy
from xstxm._axes import match_energy, match_pixels
from xstxm._frame_grid import MOVES
from xstxm.conventions import (
    ENERGY,
    REFERENCE_CURRENT,
    as_float,
    measure_of,
    require_dwell_time,
    require_energy,
    signal_of,
)
from xstxm.errors import (
    IncompatibleUnitsError,
    MetadataWarning,
    OptionError,
    SchemaError,
    check_choice,
    require_number,
    warn,
)
from xstxm.provenance import recorded

CountingNoise: TypeAlias = Literal["poisson"]


@recorded
def with_variance(
    stack: xr.Dataset, noise: CountingNoise | xr.DataArray = "poisson", *, gain: float = 1.0, signal: str = "intensity"
) -> xr.Dataset:
    """Return a stack with the variance of its counts, ``I / gain`` where they are counted one by one.

    What is done to the counts afterwards carries the variance along: `align` with the squares of its weights, `despike`,
    `subtract_dark`, `optical_density`. So it has its place right behind reading a stack, while counts are still raw.

    Parameters
    ----------
    stack
        Stack.
    noise
        ``"poisson"``, or an array with the variance, in the square of the units of the counts, along any of their
        dimensions.
    gain
        Photons for one count: detectors that count photons have 1. Of n photons the variance is n, so of
        ``I = n / gain`` it is ``I / gain``; of a rate with the exposure t, ``I / (gain t)`` with `dwell_time`. With
        ``noise="poisson"`` only.
    signal
        Variable that holds the counts.

    Returns
    -------
    Dataset
        With `<signal>_variance` (dims of the counts, dtype of the counts as floats), NaN where counts are below zero.
        Lazy.

    Raises
    ------
    MissingVariableError, MissingCoordinateError
        There is no such signal, or a rate without `dwell_time`.
    IncompatibleUnitsError
        ``"poisson"`` for anything but counts and rates, or a variance in other units than the square.
    SchemaError, OptionError
        A variance of another shape, below zero or nowhere above, a `gain` that is not above zero or of no use.

    Warns
    -----
    MetadataWarning
        Poisson noise of counts that were interpolated or scaled before.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.with_variance(xstxm.testing.simulate_stack(shape=(24, 32), seed=0))
    >>> stack.intensity_variance.attrs["units"]
    'count**2'
    >>> "optical_density_variance" in xstxm.optical_density(stack)
    True
    """
    stack = units.dequantify(stack)
    if not isinstance(stack, xr.Dataset):
        raise SchemaError(
            "an array has no room for its variance: make it a Dataset, array.to_dataset(name='intensity'), first"
        )
    counts = signal_of(stack, signal)
    variance = variance_of_counts(stack, counts, noise, gain)
    squared = units.derive(units.units_of(counts), units.units_of(counts), "*")
    label = f"Variance of {counts.attrs.get('long_name', signal)}"
    stamped = variance.rename(f"{signal}_variance").assign_attrs(units=squared, long_name=label)
    return stack.assign({f"{signal}_variance": stamped})


def variance_of_counts(
    stack: xr.DataArray | xr.Dataset, counts: xr.DataArray, noise: CountingNoise | xr.DataArray, gain: float
) -> xr.DataArray:
    """Return the variance of counts, on their pixels and at their energies, without attributes."""
    if isinstance(noise, xr.DataArray):
        require_no_gain(gain)
        placed = given_variance(noise, counts).drop_attrs(deep=False)
        return placed.broadcast_like(counts).transpose(*counts.dims)
    check_noise(noise, CountingNoise, counts)
    photons = photons_of_count(stack, counts, gain)
    value = as_float(counts).drop_attrs(deep=False)
    return (value.where(value >= 0) / photons).astype(value.dtype).transpose(*counts.dims)


def photons_of_count(stack: xr.DataArray | xr.Dataset, counts: xr.DataArray, gain: float) -> Any:
    """Return how many photons one unit of the counts stands for, where they are counted one by one."""
    per_count = require_number("gain", gain, "photons for one count", above=0)
    measure = measure_of(counts)
    if measure not in ("counts", "rate"):
        found = units.units_of(counts, "the intensity")
        raise IncompatibleUnitsError(
            "the intensity", found, "count", "Poisson noise is that of counts or rates, pass the variance as an array"
        )
    _warn_not_raw(stack, counts)
    return per_count * _exposure(stack, counts) if measure == "rate" else per_count


def _exposure(stack: xr.DataArray | xr.Dataset, counts: xr.DataArray) -> xr.DataArray:
    """Return the exposure in the unit of time of a rate."""
    dwell = require_dwell_time(stack, "how many photons a rate stands for depends on the exposure")
    return dwell * units.factor(units.derive(units.units_of(counts), "ms", "*"), "count")


def _warn_not_raw(stack: xr.DataArray | xr.Dataset, counts: xr.DataArray) -> None:
    moved = [name for name in MOVES if name in counts.coords]
    done = [
        *(["moved between pixels (coordinate shift_y), which lessens their noise"] if moved else []),
        *(["scaled to one ring current"] if REFERENCE_CURRENT in counts.attrs else []),
    ]
    if done:
        warn(
            f"the counts were {' and '.join(done)}: call .stxm.with_variance() on the raw counts, before that",
            MetadataWarning,
        )


def check_noise(noise: object, words: Any, values: xr.DataArray) -> str | None:
    """Return the word for the noise of values, None for an array, or raise `OptionError` or `ChoiceError`."""
    if isinstance(noise, xr.DataArray):
        return None
    if not isinstance(noise, str):
        unit = units.derive(units.units_of(values), units.units_of(values), "*")
        dims = tuple(map(str, values.dims[-noise.ndim :])) if isinstance(noise, np.ndarray) and noise.ndim else ()
        what = f"values, coords=[stack[dim] for dim in {dims}]" if dims else "number"
        recipe = f"xarray.DataArray({what}, attrs={{'units': {unit!r}}})"
        raise OptionError("noise", noise, f"give a variance as an array with units, e.g. {recipe}")
    if noise == "poisson" and noise not in get_args(words):
        do = "call .stxm.with_variance() on them, or .stxm.optical_density(noise='poisson'), first"
        raise OptionError("noise", noise, f"it is that of counts: {do}; then their variance is used by itself")
    check_choice("noise", noise, words)
    return noise


def require_no_gain(gain: object) -> None:
    """Refuse photons for one count where these are not counted."""
    if gain != 1:
        raise OptionError("gain", gain, "photons for one count make a variance with noise='poisson' only: pass both")


def given_variance(
    variance: xr.DataArray, values: xr.DataArray, what: str = "the variance", *, zero: bool = False
) -> xr.DataArray:
    """Return a variance on the pixels and at the energies of what it belongs to, in the square of its units.

    It keeps its own dimensions, in the order of the values'. With `zero` it may be zero everywhere.

    Raises
    ------
    SchemaError, EnergyRangeError
        Other pixels or energies.
    UnitsError
        Other units than the square.
    OptionError
        Numbers below zero, or none above.
    """
    variance = units.dequantify(variance)
    unit = units.units_of(values)
    variance = units.to_units(as_float(variance), units.derive(unit, unit, "*"), what)
    placed = match_pixels(variance, values, what)
    if ENERGY in placed.dims:
        placed = match_energy(placed, require_energy(values), how="exact", what=what)
    if not is_lazy(placed):
        _require_values(placed, what, zero=zero)
    return placed.astype(as_float(values).dtype, copy=False).transpose(
        *(dim for dim in values.dims if dim in placed.dims)
    )


def checked_variance(held: xr.DataArray, values: xr.DataArray, what: str) -> tuple[xr.DataArray, float]:
    """Return a variance that is held beside values, and how many of its units make one of theirs squared."""
    unit = units.units_of(values)
    squared = units.derive(unit, unit, "*")
    if not is_lazy(held):
        _require_values(held, what)
    return held, 1 / units.factor(units.units_of(held, what, squared), squared, what)


def _require_values(variance: xr.DataArray, what: str, *, zero: bool = False) -> None:
    """Refuse a variance in memory with a number below zero, or with none above: nothing could be weighed by it."""
    if not variance.size:
        return
    least = float(variance.min().data)
    if least < 0:
        raise OptionError(_option(what), f"an array down to {least:g}", "a variance is not below zero")
    frames = variance.transpose(ENERGY, ...) if ENERGY in variance.dims else variance.expand_dims(ENERGY)
    if not zero and not any(bool((frame > 0).any().data) for frame in frames):
        do = "values without one are left out, which leaves none: give the variance, or none"
        raise OptionError(_option(what), variance, f"no variance is above zero, and {do}")


def _option(what: str) -> str:
    """Return the option or the variable that holds a variance."""
    return "noise" if what == "the variance" else what
