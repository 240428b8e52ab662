"""Verbs along the energy axis: select, interpolate, calibrate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import format_range, match_energy, require_single_chunk
from xstxm.conventions import ENERGY, require_energy
from xstxm.errors import EnergyRangeError, OptionError, SchemaError
from xstxm.provenance import recorded
from xstxm.units import EnergyLike

Stack = TypeVar("Stack", xr.DataArray, xr.Dataset)


@recorded
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
    keep = np.ones(energy.size, dtype=bool)
    values = np.asarray(energy)
    slack = 1e-9 * np.abs(values).max(initial=1.0)
    if low is not None:
        keep &= values >= low - slack
    if high is not None:
        keep &= values <= high + slack
    if not keep.any():
        unit = units.units_of(energy)
        asked = f"between {_limit(low)} and {_limit(high)} {unit}"
        raise EnergyRangeError(f"no energies {asked}: the stack covers {format_range(values, unit)}")
    return stack.isel({ENERGY: np.flatnonzero(keep)})


def _limit(value: float | None) -> str:
    return "the end" if value is None else f"{value:g}"


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
        As given, on the new axis; floats keep their dtype, integers become float32. Lazy.

    Raises
    ------
    EnergyRangeError
        A new energy lies outside the stack, or an energy of the stack is there twice.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)
    >>> xstxm.interp_energy(stack, ["516 eV", "518.5 eV"]).energy.values
    array([516. , 518.5])
    """
    stack = units.dequantify(stack)
    energy = require_energy(stack)
    values = _given_energies(energies, energy)
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


def _given_energies(energies: Sequence[EnergyLike] | xr.DataArray, energy: xr.DataArray) -> np.ndarray:
    if isinstance(energies, xr.DataArray):
        values = np.asarray(units.to_units(energies.astype(float), units.units_of(energy)))
    elif isinstance(energies, str) or not np.iterable(energies):
        raise OptionError("energies", energies, "give a list of energies, e.g. ['515 eV', '518.5 eV']")
    else:
        values = np.array([units.to_magnitude(value, energy, "energy") for value in energies])
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise OptionError("energies", values.tolist(), "give a list of one or more finite energies")
    return values


def _interp_array(array: xr.DataArray, axis: xr.DataArray) -> xr.DataArray:
    if array.dtype.kind not in "fiu":
        raise SchemaError(f"{str(array.name)!r} is {array.dtype}, which does not interpolate: drop_vars it first")
    floats = array if array.dtype.kind == "f" else array.astype("float32")
    floats = require_single_chunk(floats, "interp_energy")
    moved = match_energy(floats, axis, tolerance=0.0, what="the stack")
    return moved.transpose(*array.dims).assign_attrs(array.attrs)


@recorded
def calibrate_energy(
    stack: Stack, shift: EnergyLike = 0.0, *, scale: float = 1.0, about: EnergyLike | None = None
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

    Returns
    -------
    DataArray or Dataset
        As given, with new energies in the old unit. Lazy.

    Raises
    ------
    OptionError
        `scale` is not above zero.
    SchemaError
        The Dataset holds reference spectra, which sit on absolute energies and must not move along.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)
    >>> moved = xstxm.calibrate_energy(stack, "-300 meV")
    >>> float((moved.energy[0].values - stack.energy[0].values).round(6))
    -0.3
    """
    if not scale > 0:
        raise OptionError("scale", scale, "the stretch of the energy axis must be above zero")
    stack = units.dequantify(stack)
    energy = require_energy(stack)
    if isinstance(stack, xr.Dataset) and "reference_spectra" in stack:
        raise SchemaError(
            "the stack holds reference spectra, which would move along: calibrate_energy first, with_references after"
        )
    unit = units.units_of(energy)
    offset = units.to_magnitude(shift, unit, "shift", spectroscopy=False)
    centre = 0.0 if about is None else units.to_magnitude(about, energy, "about")
    moved = centre + scale * (energy.astype(float) - centre) + offset
    return stack.assign_coords({ENERGY: moved.assign_attrs(energy.attrs)})
