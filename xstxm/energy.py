"""Verbs along the energy axis: select, interpolate, calibrate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import require_single_chunk
from xstxm._axes import format_range, match_energy
from xstxm._device import on_device
from xstxm.conventions import ENERGY, Stack, as_float, content_of, require_energy
from xstxm.errors import EnergyRangeError, OptionError, SchemaError, require_number
from xstxm.provenance import note, recorded
from xstxm.units import EnergyLike

Window: TypeAlias = tuple[EnergyLike, EnergyLike]


@recorded
@on_device
def sel_energy(stack: Stack, start: EnergyLike | None = None, stop: EnergyLike | None = None) -> Stack:
    """Keep the energies between two limits, both included, whatever the order of the axis.

    Parameters
    ----------
    stack
        Stack or array with an energy dimension.
    start, stop
        Limits: a float in the unit of the axis, a string with a unit (``"505 eV"``, ``"0.545 keV"``,
        ``"2.4 nm"``) or a pint quantity, in either order. None leaves that side open.

    Returns
    -------
    DataArray or Dataset
        As given, with fewer energies in their own order. Lazy.

    Raises
    ------
    EnergyRangeError
        No energy lies between the limits.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)
    >>> xstxm.sel_energy(stack, "515 eV", "0.520 keV").sizes["energy"] > 0
    True
    """
    stack = units.dequantify(stack)
    energy = require_energy(stack)
    limits = [None if end is None else units.to_magnitude(end, energy, "energy limit") for end in (start, stop)]
    low, high = (limits[0], limits[1]) if None in limits else sorted(limits)  # type: ignore[type-var]
    values = np.asarray(energy)
    keep = _between(values, low, high)
    if not keep.any():
        unit = units.units_of(energy)
        asked = f"up to {high:g} {unit}" if low is None else f"from {low:g} {unit} on"
        asked = asked if low is None or high is None else f"between {low:g} and {high:g} {unit}"
        raise EnergyRangeError(f"no energies {asked}: the stack covers {format_range(values, unit)}")
    return stack.isel({ENERGY: np.flatnonzero(keep)})


def _between(values: np.ndarray, low: float | None, high: float | None) -> np.ndarray:
    """Tell which energies lie between two limits, both included; None leaves a side open."""
    slack = 1e-9 * np.abs(values).max(initial=1.0)
    above = True if low is None else values >= low - slack
    below = True if high is None else values <= high + slack
    return np.full(values.shape, True) & above & below


def window_at(
    energy: xr.DataArray, window: Window, what: str, *, least: int = 1, relative_to: float | None = None
) -> np.ndarray:
    """Return the positions of the energies in a window, ascending in energy.

    Parameters
    ----------
    energy
        Energy coordinate, in any order.
    window
        The two limits, both included, in either order; distances where `relative_to` is given.
    what
        Name of the window, for the error message.
    least
        How many different energies are needed.
    relative_to
        Energy from which the limits count, in the unit of the axis.

    Raises
    ------
    OptionError
        The window is not a pair.
    EnergyRangeError
        Too few energies in the window; it says which are there.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)
    >>> xstxm.energy.window_at(stack.energy, ("508 eV", "509.4 eV"), "the window").tolist()
    [0, 1]
    """
    if not isinstance(window, tuple | list) or len(window) != 2:
        raise OptionError(what, window, "give the two limits, e.g. ('510 eV', '514 eV')")
    start, distance = (0.0, False) if relative_to is None else (relative_to, True)
    low, high = sorted(start + units.to_magnitude(end, energy, what, spectroscopy=not distance) for end in window)
    values = np.asarray(energy, dtype=float)
    found = np.flatnonzero(_between(values, low, high))
    found = found[np.argsort(values[found], kind="stable")]
    different = np.unique(values[found])
    if different.size < least:
        unit = units.units_of(energy)
        there = (
            f"{different.size} ({', '.join(f'{value:g}' for value in different)} {unit})" if different.size else "none"
        )
        counted = "; its limits count from the edge, because edge= is given" if distance else ""
        raise EnergyRangeError(
            f"{what} from {low:g} to {high:g} {unit} needs {least} or more different energies, found {there}: widen it, "
            f"the stack has {values.size} energies, {format_range(values, unit)}{counted}"
        )
    return found


@recorded
def interp_energy(stack: Stack, energies: Sequence[EnergyLike] | xr.DataArray) -> Stack:
    """Interpolate linearly onto other energies, never beyond the stack's own.

    Parameters
    ----------
    stack
        Stack or array with an energy dimension.
    energies
        The new axis: numbers in the unit of the old one, strings with units, or an array with units.

    Returns
    -------
    DataArray or Dataset
        As given, on the new axis; floats keep their dtype, integers become float32. With the weights w of its
        two neighbours, a variance ``<signal>_variance`` becomes ``sum w^2 var``, and the square of a standard
        error ``*_stderr`` likewise; marks, as `spike`, and bit flags are those of either neighbour. Lazy.

    Raises
    ------
    EnergyRangeError
        A new energy lies outside the stack, or an energy of the stack is there twice.
    SchemaError
        A variable of labels or words, which does not interpolate.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)
    >>> xstxm.interp_energy(stack, ["516 eV", "518.5 eV"]).energy.values
    array([516. , 518.5])
    """
    stack = units.dequantify(stack)
    energy = require_energy(stack)
    values = given_energies(energies, energy)
    _require_inside(values, energy)
    axis = xr.DataArray(values, dims=ENERGY, coords={ENERGY: (ENERGY, values, energy.attrs)})[ENERGY]
    if isinstance(stack, xr.DataArray):
        return _interp_array(stack, axis)
    along: list[Any] = [
        name for name, variable in stack.variables.items() if ENERGY in variable.dims and name != ENERGY
    ]
    moved = {name: _interp_array(stack[name].reset_coords(drop=True), axis).variable for name in along}
    coords = {name: moved.get(name, coord) for name, coord in stack.coords.variables.items()}
    data = {name: moved.get(name, stack.variables[name]) for name in stack.data_vars}
    return xr.Dataset(data, {**coords, ENERGY: axis.variable}, stack.attrs)


def given_energies(energies: Sequence[EnergyLike] | xr.DataArray, energy: xr.DataArray) -> np.ndarray:
    """Return a list of energies as numbers in the unit of an axis."""
    if isinstance(energies, xr.DataArray):
        values = np.asarray(units.to_units(energies.astype(float), units.units_of(energy)))
    elif isinstance(energies, str) or not np.iterable(energies):
        raise OptionError("energies", energies, "give a list of energies, e.g. ['515 eV', '518.5 eV']")
    else:
        values = np.array([units.to_magnitude(value, energy, "energy") for value in energies])
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise OptionError("energies", energies, "give a list of one or more finite energies")
    return values


def _require_inside(values: np.ndarray, energy: xr.DataArray) -> None:
    axis, unit = np.asarray(energy, dtype=float), units.units_of(energy)
    outside = np.unique(values[~_between(values, axis.min(), axis.max())])
    if outside.size:
        named = ", ".join(f"{value:g}" for value in outside[:5]) + (", ..." if outside.size > 5 else "")
        raise EnergyRangeError(
            f"{named} {unit} {'lie' if outside.size > 1 else 'lies'} outside the stack, which covers "
            f"{format_range(axis, unit)}: leave out what does, nothing is extrapolated"
        )


def _interp_array(array: xr.DataArray, axis: xr.DataArray) -> xr.DataArray:
    given = as_float(array) if content_of(array.name, array) in ("number", "variance", "stderr") else array
    given = require_single_chunk(given, "interp_energy")
    moved = match_energy(given, axis, tolerance=0.0, what="the stack")
    return moved.transpose(*array.dims).assign_attrs(array.attrs)


@recorded
@on_device
def calibrate_energy(
    stack: Stack,
    shift: EnergyLike = 0.0,
    *,
    scale: float = 1.0,
    about: EnergyLike | None = None,
    features: Mapping[EnergyLike, EnergyLike] | None = None,
    feature_errors: Sequence[EnergyLike] | None = None,
) -> Stack:
    """Move the energy axis: ``E' = about + scale * (E - about) + shift``; the data stay untouched.

    Parameters
    ----------
    stack
        Stack or array with an energy dimension.
    shift
        What is added to every energy.
    scale
        Stretch of the axis, above zero.
    about
        Energy that `scale` leaves in place; the axis' zero by default.
    features
        In place of shift, scale and about: where features were found on the axis, and where they are known
        to be, ``{measured: known}``. One gives a shift, two or more the straight line of least squares. To
        find a feature with its error, see `peak_map` and `edge_map`; both take a single spectrum too.
    feature_errors
        Standard errors of the measured energies, in the order of `features`: weights of 1 / error^2.

    Returns
    -------
    DataArray or Dataset
        As given, with new energies in the old unit. Lazy. After `features`, the attributes of `energy` and
        the history say how well they fit: `calibration_residual` (rms), `calibration_error` (standard error
        at the middle of the features) and `calibration_scale_error`, where the errors or three or more
        features determine them.

    Raises
    ------
    OptionError
        A shift as long as the axis; `scale` is not above zero; features that repeat each other, fold the axis, or come with a shift; or
        `feature_errors` without features; known energies far from the measured ones, as keV for eV.
    EnergyRangeError
        A feature measured outside the stack.
    SchemaError
        The Dataset holds reference spectra, which sit on absolute energies and must not move along.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)
    >>> moved = xstxm.calibrate_energy(stack, "-300 meV")
    >>> float((moved.energy[0].values - stack.energy[0].values).round(6))
    -0.3
    >>> moved = xstxm.calibrate_energy(stack, features={"518.1 eV": "518.4 eV", "529.0 eV": "529.2 eV"})
    >>> float(moved.energy[0].round(4))
    508.3927
    """
    scale = require_number("scale", scale, "a stretch of the energy axis", above=0)
    if feature_errors is not None and features is None:
        raise OptionError("feature_errors", feature_errors, "they belong to features=, and none are given")
    stack = units.dequantify(stack)
    energy = require_energy(stack)
    if isinstance(stack, xr.Dataset) and "reference_spectra" in stack:
        raise SchemaError(
            "the stack holds reference spectra, which would move along: calibrate_energy first, with_references after"
        )
    unit = units.units_of(energy)
    said: dict[str, float] = {}
    if features is not None:
        unmoved = isinstance(shift, int | float) and shift == 0
        if not unmoved or scale != 1 or about is not None:
            raise OptionError("features", features, "features give the shift and the scale: leave those out")
        line = _line_through(features, feature_errors, energy)
        centre, scale, offset, said = line.measured, line.scale, line.known - line.measured, line.quality
        told = "".join(f", {name.removeprefix('calibration_').replace('_', ' ')} {v:.2g}" for name, v in said.items())
        note(f"{len(features)} features: E' = {line.known:.8g} + {scale:.8g} * (E - {centre:.8g}) {unit}{told}")
    else:
        offset = units.to_magnitude(shift, unit, "shift", spectroscopy=False)
        _require_shift(offset, shift, energy)
        centre = 0.0 if about is None else units.to_magnitude(about, energy, "about")
    moved = centre + scale * (energy.astype(float) - centre) + offset
    kept = {name: value for name, value in energy.attrs.items() if not str(name).startswith("calibration_")}
    return stack.assign_coords({ENERGY: moved.drop_attrs(deep=False).assign_attrs({**kept, **said})})


def _require_shift(offset: float, asked: EnergyLike, energy: xr.DataArray) -> None:
    """Refuse an energy in place of a difference: a shift as long as the axis, and more than 1 % of the energies."""
    axis = np.asarray(energy, dtype=float)
    if axis.size and abs(offset) >= max(np.ptp(axis), 0.01 * np.abs(axis).max()):
        found = format_range(axis, units.units_of(energy))
        raise OptionError(
            "shift",
            asked,
            f"it is added to every energy, and is longer than the axis ({found}): give a difference, or "
            "features={measured: known}",
        )


class _Line(NamedTuple):
    """``E' = known + scale * (E - measured)``, and how well it fits its features."""

    measured: float
    known: float
    scale: float
    quality: dict[str, float]


def _line_through(
    features: Mapping[EnergyLike, EnergyLike], errors: Sequence[EnergyLike] | None, energy: xr.DataArray
) -> _Line:
    """Return the (weighted) least-squares line from measured to known energies; of one feature a shift."""
    if not isinstance(features, Mapping) or not features:
        raise OptionError("features", features, "give {measured: known}, e.g. {'518.1 eV': '518.4 eV'}")
    measured = np.array([units.to_magnitude(value, energy, "measured energy") for value in features])
    known = np.array([units.to_magnitude(value, energy, "known energy") for value in features.values()])
    axis, unit = np.asarray(energy, dtype=float), units.units_of(energy)
    slack = 0.05 * np.ptp(axis)
    outside = [f"{value:g}" for value in measured if not axis.min() - slack <= value <= axis.max() + slack]
    if outside:
        raise EnergyRangeError(
            f"no feature can have been measured at {', '.join(outside)} {unit}: the stack covers {format_range(axis, unit)}"
        )
    if not np.all(np.abs(known - measured) < np.abs(measured) / 2):
        raise OptionError(
            "features",
            features,
            f"known energies far from the measured ones: are they in {unit}?",
        )
    weight = _weights(errors, energy, measured.size)
    middle, goal = np.average(measured, weights=weight), np.average(known, weights=weight)
    spread = float(np.sum(weight * (measured - middle) ** 2))
    if np.unique(measured).size < measured.size:
        raise OptionError("features", features, "two features were measured at one energy: keep one of them")
    scale = float(np.sum(weight * (measured - middle) * (known - goal)) / spread) if measured.size > 1 else 1.0
    if not scale > 0:
        raise OptionError(
            "features", features, "their order is reversed: give {measured: known}, not known to measured"
        )
    residual = known - goal - scale * (measured - middle)
    free = measured.size - 2
    quality = {"calibration_residual": float(np.sqrt(np.mean(residual**2)))} if free > 0 else {}
    if errors is not None or free > 0:
        variance = scale**2 if errors is not None else float(residual @ residual) / free
        quality["calibration_error"] = float(np.sqrt(variance / weight.sum()))
        quality |= {"calibration_scale_error": float(np.sqrt(variance / spread))} if measured.size > 1 else {}
    return _Line(float(middle), float(goal), scale, quality)


def _weights(errors: Sequence[EnergyLike] | None, energy: xr.DataArray, n_features: int) -> np.ndarray:
    if errors is None:
        return np.ones(n_features)
    if isinstance(errors, str) or len(errors) != n_features:
        raise OptionError("feature_errors", errors, f"give one error for each of the {n_features} features")
    unit = units.units_of(energy)
    sigma = np.array([units.to_magnitude(error, unit, "feature error", spectroscopy=False) for error in errors])
    if not (sigma > 0).all():
        raise OptionError("feature_errors", errors, "a standard error is above zero")
    return 1 / sigma**2
