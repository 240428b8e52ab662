"""One energy axis for the stacks of a tree: the same within a tolerance, what they share, or interpolated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._axes import equal_within, format_range, match_energy
from xstxm._nodes import attempt, require_stacks, tree_of
from xstxm.conventions import ENERGY, require_energy
from xstxm.energy import given_energies, interp_energy
from xstxm.errors import EnergyRangeError, OptionError, check_choice
from xstxm.provenance import recorded
from xstxm.units import EnergyLike

MatchNodes: TypeAlias = Literal["exact", "common", "interp"]
Energies: TypeAlias = "str | Sequence[EnergyLike] | xr.DataArray"
Shared: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]


@recorded
def match_energies(
    tree: xr.DataTree,
    energies: Energies | None = None,
    *,
    how: MatchNodes = "exact",
    tolerance: float | str | None = None,
) -> xr.DataTree:
    """Bring all stacks of a tree onto one energy axis.

    Parameters
    ----------
    tree
        Stacks whose energy axes may differ, also in their units.
    energies
        The axis: the name of a node that has it, or a list of energies as for `interp_energy`; by default that of the
        first stack.
    how
        ``"exact"``: every stack has this axis, within `tolerance`. ``"common"``: the energies of it that all stacks have,
        within `tolerance`, in its order; the others go. ``"interp"``: every stack is interpolated linearly onto it, never
        beyond its own energies: onto those energies of a node that lie within all stacks, or onto all of a list.
    tolerance
        Largest difference of equal energies, ``"10 meV"`` by default (option `energy_tolerance`).

    Returns
    -------
    DataTree
        The same nodes, all with the numbers and the unit of this axis. A stack that shares none of its energies with
        those before it, or does not fit as `how` asks, is left out. Lazy.

    Raises
    ------
    NoStacksError
        No stack has an energy axis that fits.
    OptionError
        There is no node of this name.
    ChoiceError
        Unknown `how`.

    Warns
    -----
    LeftOutWarning
        The nodes left out, each with the reason; for ``"exact"`` the first energies that differ.

    Examples
    --------
    >>> import xarray as xr, xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)
    >>> tree = xr.DataTree.from_dict({"all": stack, "few": stack.isel(energy=slice(0, None, 8))})
    >>> matched = xstxm.trees.match_energies(tree, how="common")
    >>> matched["all"].sizes["energy"] == matched["few"].sizes["energy"]
    True
    """
    reasons: dict[str, str] = {}
    matched = on_one_axis(require_stacks(tree), reasons, energies, how=how, tolerance=tolerance)
    return tree_of(tree, matched, reasons)


def on_one_axis(
    stacks: Mapping[str, xr.Dataset],
    reasons: dict[str, str],
    energies: Energies | None = None,
    *,
    how: MatchNodes = "exact",
    tolerance: float | str | None = None,
) -> dict[str, xr.Dataset]:
    """Return stacks on one energy axis; `reasons` takes those that do not fit."""
    check_choice("how", how, MatchNodes)
    kept = attempt(stacks, lambda _, stack: _with_axis(stack, how), reasons, "energies")
    if not kept:
        return {}
    axis, whose = _axis(kept, energies)
    limit = equal_within(tolerance, units.units_of(axis))
    kept = {path: _in_unit(stack, units.units_of(axis)) for path, stack in kept.items()}
    if how == "common":
        axis = _narrowed(kept, axis, whose, reasons, lambda found, wanted: _nearest(found, wanted, limit) >= 0)
    elif how == "interp" and (energies is None or isinstance(energies, str)):
        axis = _narrowed(kept, axis, whose, reasons, lambda found, wanted: _within(found, wanted, limit))
    fitting = {path: stack for path, stack in kept.items() if path not in reasons}

    def placed(path: str, stack: xr.Dataset) -> xr.Dataset:
        found, wanted = np.asarray(stack[ENERGY]), np.asarray(axis)
        if how == "interp":
            held = np.where(_within(found, wanted, limit), np.clip(wanted, found.min(), found.max()), wanted)
            return interp_energy(stack, held.tolist()).assign_coords({ENERGY: axis.variable})
        if how == "common":
            stack = stack.isel({ENERGY: _nearest(found, wanted, limit)})
        match_energy(stack[ENERGY], axis, how="exact", tolerance=limit, what=f"node {path!r}", whose=whose)
        return stack.assign_coords({ENERGY: axis.variable})

    return attempt(fitting, placed, reasons, "energies")


def _with_axis(stack: xr.Dataset, how: MatchNodes) -> xr.Dataset:
    """Return a stack that has an energy axis; to be picked from, or interpolated, each energy must be there once."""
    plain = units.dequantify(stack)
    energy = require_energy(plain)
    if how != "exact" and np.unique(energy).size < energy.size:
        do = "average them with xstxm.merge_stacks([...]), or keep the first with .drop_duplicates('energy')"
        raise EnergyRangeError(f"the stack holds an energy twice: {do}")
    return plain


def _in_unit(stack: xr.Dataset, unit: str) -> xr.Dataset:
    """Return a stack whose energies are in a unit; as it is where they are."""
    energy = require_energy(stack)
    if units.units_of(energy) == unit:
        return stack
    moved = units.to_units(energy.astype(float), unit)
    return stack.assign_coords({ENERGY: (ENERGY, np.asarray(moved), moved.attrs)})


def _axis(stacks: Mapping[str, xr.Dataset], energies: Energies | None) -> tuple[xr.DataArray, str]:
    """Return the axis that is asked for, and whose it is."""
    first = next(iter(stacks))
    if energies is None or isinstance(energies, str):
        name = first if energies is None else energies
        if name not in stacks:
            raise OptionError("energies", name, f"give a list of energies, or one of the nodes {', '.join(stacks)}")
        return require_energy(stacks[name]).astype(float), f"node {name!r}"
    like = require_energy(stacks[first])
    values, attrs = given_energies(energies, like), like.attrs
    return xr.DataArray(values, dims=ENERGY, coords={ENERGY: (ENERGY, values, attrs)})[ENERGY], "the energies given"


def _narrowed(
    stacks: Mapping[str, xr.Dataset], axis: xr.DataArray, whose: str, reasons: dict[str, str], shared: Shared
) -> xr.DataArray:
    """Return the energies of an axis that every stack shares; one that shares none with those before it goes."""
    unit = units.units_of(axis)
    for path, stack in stacks.items():
        found, wanted = np.asarray(stack[ENERGY], dtype=float), np.asarray(axis)
        marked = shared(found, wanted)
        if marked.any():
            axis = axis.isel({ENERGY: np.flatnonzero(marked)})
        else:
            reasons[path] = (
                f"no energy in common: it covers {format_range(found, unit)}, {whose} and the nodes before have "
                f"{format_range(wanted, unit)}"
            )
    return axis


def _within(found: np.ndarray, wanted: np.ndarray, limit: float) -> np.ndarray:
    """Tell which of the wanted energies lie in the range of those found."""
    return np.asarray((wanted >= found.min() - limit) & (wanted <= found.max() + limit))


def _nearest(found: np.ndarray, wanted: np.ndarray, limit: float) -> np.ndarray:
    """Return where each of the wanted energies is among those found, -1 where it is not within the limit."""
    apart = np.abs(found - wanted[:, None])
    at = np.where(apart.min(1) <= limit, apart.argmin(1), -1)
    if np.unique(at[at >= 0]).size < (at >= 0).sum():
        raise OptionError("tolerance", limit, "two energies of a stack are as near to each other: give a smaller one")
    return at
