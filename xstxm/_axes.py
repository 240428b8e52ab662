"""Where two axes meet, and nowhere else: energies of two arrays, pixels of two images."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import over_energy
from xstxm.conventions import ENERGY, content_of, require_energy
from xstxm.errors import EnergyRangeError, ExtrapolationWarning, SchemaError, check_choice, warn
from xstxm.options import get_options

MatchHow: TypeAlias = Literal["exact", "interp"]


def equal_within(tolerance: float | str | None, unit: str) -> float:
    """Return the largest difference of equal energies in the unit of an axis; by default that of the options."""
    if tolerance is None:
        return get_options().energy_tolerance * units.factor("eV", unit)
    return units.to_magnitude(tolerance, unit, "tolerance", spectroscopy=False)


def match_energy(
    other: xr.DataArray,
    energy: xr.DataArray,
    *,
    how: MatchHow = "interp",
    tolerance: float | str | None = None,
    what: str = "the spectrum",
    whose: str = "the stack",
    extrapolate: bool = False,
) -> xr.DataArray:
    """Return `other` on the stack's energies: the one place where two energy axes meet.

    Equal within `tolerance`, the values are taken as they are and get the stack's own coordinate.
    Otherwise ``how="interp"`` interpolates linearly onto the stack's energies, in any order of
    either axis, and ``how="exact"`` refuses. A variance or standard error is that of the interpolated value, marks
    and bit flags are those of both neighbours (a `mask` is True where both are).

    Parameters
    ----------
    other
        Array with an energy dimension; eager, small.
    energy
        Energy coordinate of the stack.
    how
        Interpolate, or insist on equal axes.
    tolerance
        Largest difference of equal energies, ``"10 meV"`` by default (option `energy_tolerance`).
    what
        Name of `other` for messages.
    whose
        What has the energies, for messages.
    extrapolate
        Hold the end values beyond the data, with a warning, where refusing is the default.

    Raises
    ------
    EnergyRangeError
        The axes differ with ``how="exact"``, or `other` does not cover the stack.
    SchemaError
        Labels or words, which do not interpolate.
    """
    check_choice("how", how, MatchHow)
    unit = units.units_of(energy)
    source = _in_units(require_energy(other), unit)
    target = np.asarray(energy, dtype=float)
    limit = equal_within(tolerance, unit)
    if source.size == target.size and bool(np.all(np.abs(source - target) <= limit)):
        return other.assign_coords({ENERGY: energy.variable})
    if how == "exact":
        raise EnergyRangeError(_first_difference(source, target, limit, unit, what, whose))
    order = np.argsort(source, kind="stable")
    ascending = other.isel({ENERGY: order})
    grid = source[order]
    if np.any(np.diff(grid) == 0):
        do = "average them with xstxm.merge_stacks([...]), or keep the first with .drop_duplicates('energy')"
        raise EnergyRangeError(f"{what} holds an energy twice: {do}")
    low, high = grid[0] - limit, grid[-1] + limit
    outside = (target < low) | (target > high)
    if outside.any() and not extrapolate:
        raise EnergyRangeError(_not_covered(grid, target, outside, limit, unit, what, whose))
    if outside.any():
        warn(f"{what} is held constant at {int(outside.sum())} energies beyond its data", ExtrapolationWarning)
    held = np.clip(target, grid[0], grid[-1])
    if content_of(other.name, other) != "number":
        return _between(ascending, grid, held).assign_coords({ENERGY: energy.variable})
    return _interpolated(ascending, grid, held, what).assign_coords({ENERGY: energy.variable})


def _not_covered(
    grid: np.ndarray, target: np.ndarray, outside: np.ndarray, limit: float, unit: str, what: str, whose: str
) -> str:
    """Return what to do about a spectrum on ascending energies that ends before the stack does."""
    found = f"{what} covers {format_range(grid, unit)}, {whose} {format_range(target, unit)}"
    if outside.all():
        return f"{found}: give one that was measured at these energies"
    if whose != "the stack":
        return f"{found}: give {what} over the whole range, or energies from {grid[0]:.10g} to {grid[-1]:.10g} {unit}"
    do = f"use sel_energy({grid[0]:.10g}, {grid[-1]:.10g}) on the stack first"
    moved = np.sort(target) - grid if target.size == grid.size else None
    if moved is not None and np.ptp(moved) <= limit:
        return (
            f"{found}: the same energies moved by {moved[0]:.6g} {unit}. If the stack was calibrated, calibrate {what} "
            f"alike, or bring the two together before calibrate_energy; else {do}"
        )
    return f"{found}: {do}"


def _neighbours(grid: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the places below and above each target on an ascending grid, and the share of the second."""
    place = np.interp(target, grid, np.arange(grid.size))
    whole = np.rint(place)
    place = np.where(np.abs(place - whole) < 1e-9, whole, place)  # an energy that is there has one neighbour
    before = np.floor(place).astype(int)
    return before, np.ceil(place).astype(int), place - before


def _interpolated(ascending: xr.DataArray, grid: np.ndarray, target: np.ndarray, what: str) -> xr.DataArray:
    """Return numbers, linearly interpolated; floats keep their dtype. Lazy."""
    before, after, share = _neighbours(grid, target)
    dtype = ascending.dtype.newbyteorder("=") if ascending.dtype.kind in "fc" else np.dtype(float)
    moved = over_energy(
        _interpolated_block,
        ascending.drop_vars(ENERGY),
        verb=f"the interpolation of {what}",
        output_dims=[["target"]],
        output_sizes={"target": target.size},
        output_dtypes=[dtype],
        kwargs={"before": before, "after": after, "share": share.astype(dtype)},
    )
    return moved.rename(target=ENERGY).transpose(*ascending.dims)


def _interpolated_block(spectra: np.ndarray, before: np.ndarray, after: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Interpolate an array with energy last, whole images at once."""
    images = np.moveaxis(spectra, -1, 0)
    moved = images[after].astype(share.dtype, copy=False)
    left = images[before]
    moved -= left
    moved *= share.reshape(-1, *(1,) * (images.ndim - 1))
    moved += left
    return np.moveaxis(moved, 0, -1)


def _between(ascending: xr.DataArray, grid: np.ndarray, target: np.ndarray) -> xr.DataArray:
    """Return what belongs to linearly interpolated numbers: their variance, standard error, marks or bit flags."""
    content = content_of(ascending.name, ascending)
    if content == "labels":
        raise SchemaError(
            f"{str(ascending.name)!r} holds labels or words, which do not interpolate: drop_vars it first"
        )
    before, after, share = _neighbours(grid, target)
    plain = ascending.drop_vars(ENERGY)
    left, right = (plain.isel({ENERGY: at}) for at in (before, after))
    if content in ("marks", "flags"):
        return left & right if ascending.name == "mask" else left | right
    weight = xr.DataArray(share, dims=ENERGY).astype(plain.dtype)
    power = 2 if content == "stderr" else 1
    return ((1 - weight) ** 2 * left**power + weight**2 * right**power) ** (1 / power)


def match_pixels(other: xr.DataArray, stack: xr.DataArray | xr.Dataset, what: str) -> xr.DataArray:
    """Return `other` with the pixel coordinates of the stack: the one place where two images meet.

    Dimensions of the same size whose coordinates differ by less than a hundredth of a pixel are the same.

    Raises
    ------
    SchemaError
        A dimension that the stack lacks, another size, or other positions.
    """
    for dim in other.dims:
        if dim not in stack.dims:
            raise SchemaError(f"{what} has a dimension {dim!r} that the stack lacks (stack: {tuple(stack.dims)})")
        if dim == ENERGY:
            continue
        if other.sizes[dim] != stack.sizes[dim]:
            raise SchemaError(f"{what} has {other.sizes[dim]} pixels along {dim!r}, the stack {stack.sizes[dim]}")
        if dim in other.coords and dim in stack.coords and not _same_positions(other[dim], stack[dim]):
            raise SchemaError(f"{what} and the stack differ along {dim!r}: bring them onto one grid first")
    own = [name for name, coord in other.coords.items() if ENERGY not in coord.dims and name != ENERGY]
    plain = other.drop_vars(own)
    return plain.assign_coords({d: stack[d].variable for d in other.dims if d != ENERGY and d in stack.coords})


def _same_positions(found: xr.DataArray, wanted: xr.DataArray) -> bool:
    a, b = np.asarray(found), np.asarray(wanted)
    if a.dtype.kind not in "fiu" or b.dtype.kind not in "fiu":
        return bool(np.array_equal(a, b))
    step = np.abs(np.diff(b)).min(initial=np.inf)
    slack = 0.01 * step if np.isfinite(step) else 1e-9 * np.abs(b).max(initial=1.0)
    return bool(np.all(np.abs(a - b) <= slack))


def _in_units(energy: xr.DataArray, unit: str) -> np.ndarray:
    return np.asarray(units.to_units(energy.astype(float), unit, "the energy axis"), dtype=float)


def format_range(energies: np.ndarray, unit: str) -> str:
    """Return ``510-532 eV`` of an energy axis in any order."""
    return f"{float(np.min(energies)):.6g}-{float(np.max(energies)):.6g} {unit}"


def _first_difference(source: np.ndarray, target: np.ndarray, limit: float, unit: str, what: str, whose: str) -> str:
    if source.size != target.size:
        found = f"{what} has {source.size} energies, {whose} {target.size}"
    else:
        at = int(np.argmax(np.abs(source - target) > limit))
        found = f"{what} and {whose} differ first at point {at}: {source[at]:g} and {target[at]:g} {unit}"
    do = "bring it onto these energies first, .stxm.interp_energy(stack.energy)"
    if whose != "the stack":
        do = 'keep the energies that both have, how="common", or interpolate, how="interp"'
    return f"{found} (tolerance {limit:g} {unit}): {do}"
