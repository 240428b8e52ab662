"""Reference spectra at the energies of a stack: as they are, or moved and broadened along the energy axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._axes import format_range, match_energy
from xstxm._kernels.energy_shift import REACH, Spectra, moved, spectra_from
from xstxm._unknowns import PART
from xstxm.conventions import ENERGY, REFERENCE, annotate, require_energy, require_variable
from xstxm.errors import (
    EnergyRangeError,
    IncompatibleUnitsError,
    MetadataWarning,
    OptionError,
    ReferenceSpectrumError,
    SchemaError,
    require_number,
    warn,
)
from xstxm.options import get_options
from xstxm.provenance import describe
from xstxm.units import EnergyLike


class Move(NamedTuple):
    """What is done to references, in the unit of the stack's energies."""

    lowest: float
    """Shift, or the lowest and the highest of a search."""
    highest: float
    width: float
    """Full width at half maximum of the Gaussian in the middle of the stack, or the largest of a search."""


def references_at(
    references: xr.Dataset,
    energy: xr.DataArray,
    *,
    extrapolate: bool = False,
    energy_shift: EnergyLike | None = None,
    broadening: EnergyLike | None = None,
    what: str = "the stack",
) -> xr.DataArray:
    """Return the references at the energies of a stack, interpolated linearly, never beyond their data.

    Parameters
    ----------
    references
        A reference set with `absorption` (reference, energy).
    energy
        Energy coordinate of the stack.
    extrapolate
        Hold end values beyond the data, with a warning, where refusing is the default.
    energy_shift, broadening
        Move the references by so much, and broaden them with a Gaussian of that full width at half maximum, see
        `estimate_energy_shift`; either of them makes the interpolation that of a cubic spline.
    what
        What has these energies, for messages.

    Returns
    -------
    DataArray
        `reference_spectra` (reference, energy) with the coordinates of the references. Eager.

    Raises
    ------
    ReferenceSpectrumError
        Names given twice, or a reference without data or constant over the stack's energies.
    OptionError
        Spectra of absorption alone for the energies of `join_phase_shift`.
    EnergyRangeError
        References that do not cover the stack, all of them named.

    Warns
    -----
    MetadataWarning
        The references are of several kinds, such as raw and edge-normalised.

    Examples
    --------
    >>> import xstxm
    >>> refs = xstxm.testing.simulate_references()
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)
    >>> xstxm.references.references_at(refs, stack.energy).dims
    ('reference', 'energy')
    """
    absorption = checked_absorption(references)
    _warn_of_kinds(absorption)
    if PART in energy.coords and PART not in absorption.coords:
        do = (
            "the stack holds phase shifts too, and the spectra that belong to it: leave it out, or join anew with these"
        )
        raise OptionError("references", describe(references), do)
    if energy_shift is None and broadening is None:
        if not extrapolate:
            require_coverage(absorption, energy, what=what)
        return _as_spectra(_interpolated(absorption, energy, extrapolate), absorption, energy)
    shift, width = moves(energy_shift, broadening, energy)
    require_coverage(absorption, energy, Move(shift, shift, width), what=what)
    values = moved(spectra_of(absorption, energy), np.asarray(energy, dtype=float), shift, width)
    plain = xr.DataArray(values, dims=(REFERENCE, ENERGY))
    return _as_spectra(plain, absorption, energy)


def moves(shift: EnergyLike | None, broadening: EnergyLike | None, energy: xr.DataArray) -> tuple[float, float]:
    """Return shift and width in the unit of an axis; those that are not given are zero."""
    found = energy_move(0.0 if shift is None else shift, energy, "energy_shift")
    return found, energy_move(0.0 if broadening is None else broadening, energy, "broadening", least=0.0)


def energy_move(value: EnergyLike, energy: xr.DataArray, option: str, *, least: float | None = None) -> float:
    """Return a difference of energies in the unit of an axis."""
    number = units.to_magnitude(value, units.units_of(energy), option, spectroscopy=False)
    return number if least is None else require_number(option, number, "an energy", least=least)


def checked_absorption(references: xr.Dataset) -> xr.DataArray:
    """Return the absorption (reference, energy) of a reference set, or say what is wrong with it."""
    if not isinstance(references, xr.Dataset):
        raise SchemaError(
            f"the references are a {type(references).__name__}: pass a reference set, see xstxm.read_references"
        )
    absorption = units.dequantify(
        require_variable(references, "absorption", "build the set with xstxm.reference_set or xstxm.read_references")
    )
    if set(absorption.dims) != {REFERENCE, ENERGY}:
        raise SchemaError(f"absorption has dims {absorption.dims}, wanted ('reference', 'energy')")
    if REFERENCE not in absorption.coords:
        raise SchemaError("the references have no names: assign_coords(reference=[...]) first")
    absorption = absorption.transpose(REFERENCE, ENERGY)
    names = _names(absorption)
    require_unique(names)
    require_energy(absorption)
    require_absorption(units.units_of(absorption, "the reference set", "1/nm"))
    values = np.asarray(absorption)
    broken = [name for name, row in zip(names, values, strict=True) if np.isinf(row).any()]
    if broken:
        raise ReferenceSpectrumError(
            f"references {', '.join(map(repr, broken))} hold infinite values: repair them", broken
        )
    empty = [name for name, row in zip(names, values, strict=True) if not np.isfinite(row).any()]
    if empty:
        raise ReferenceSpectrumError(f"references {', '.join(map(repr, empty))} hold no finite values", empty)
    return absorption


def _names(absorption: xr.DataArray) -> list[str]:
    return [str(name) for name in np.asarray(absorption[REFERENCE])]


def _warn_of_kinds(absorption: xr.DataArray) -> None:
    """Warn where references are known to be on several scales: amounts of them do not compare."""
    if "kind" not in absorption.coords:
        return
    kinds = np.asarray(absorption["kind"]).astype(str)
    known = [str(kind) for kind in dict.fromkeys(kinds[kinds != ""])]
    if len(known) > 1:
        names = np.asarray(absorption[REFERENCE])
        said = ", ".join(f"{str(names[kinds == kind][0])!r} is {kind}" for kind in known)
        warn(
            f"the references are of several kinds ({said}): their amounts are not on one scale; take those of one kind, "
            f"references.sel(reference=references.kind == {known[0]!r})",
            MetadataWarning,
        )


def require_absorption(unit: str) -> None:
    """Refuse units that no absorption has."""
    if not any(units.same_kind(unit, kind) for kind in ("1", "1/nm", "cm**2/g")):
        do = "references are in '1' (optical density), '1/nm' or 'cm**2/g'"
        raise IncompatibleUnitsError("the reference set", unit, "1/nm", do)


def require_unique(names: Sequence[str]) -> None:
    """Refuse names of references that are given twice, in a set or in the files it is read from."""
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated:
        raise ReferenceSpectrumError(
            f"reference names given twice: {', '.join(map(repr, repeated))}: give each a name of its own",
            repeated,
        )


def told_apart(names: Sequence[str], whose: Sequence[str]) -> list[str]:
    """Return names of references of several files or sets; one that is in two of them says in brackets whose it is, with a warning."""
    owners: dict[str, list[str]] = {}
    for name, of in zip(names, whose, strict=True):
        owners.setdefault(name, []).append(of)
    told = [f"{name} ({of})" if len(owners[name]) > 1 else name for name, of in zip(names, whose, strict=True)]
    if renamed := [new for name, new in zip(names, told, strict=True) if new != name]:
        said = "; ".join(f"{name!r} is in {', '.join(all_of)}" for name, all_of in owners.items() if len(all_of) > 1)
        warn(f"{said}: each is called after where it is from, e.g. {renamed[0]!r}", MetadataWarning)
    require_unique(told)
    return told


def require_varying(absorption: xr.DataArray) -> None:
    """Refuse references that are the same at every energy."""
    if absorption.sizes[ENERGY] < 2:
        return
    values = np.asarray(absorption.transpose(REFERENCE, ENERGY))
    spread = np.fmax.reduce(values, axis=1) - np.fmin.reduce(values, axis=1)
    names = np.asarray(absorption[REFERENCE])
    flat = [str(name) for name in names[spread == 0]]
    if not flat:
        return
    who = f"references {', '.join(map(repr, flat))} are"
    if not np.nan_to_num(values[spread == 0]).any():
        window = format_range(np.asarray(absorption[ENERGY], dtype=float), units.units_of(absorption[ENERGY]))
        raise ReferenceSpectrumError(
            f"{who} zero at all energies from {window}: leave them out, or take energies at which they absorb", flat
        )
    raise ReferenceSpectrumError(
        f"{who} constant over energy: a constant belongs in background='constant', not among the references", flat
    )


def require_coverage(
    absorption: xr.DataArray, energy: xr.DataArray, move: Move | None = None, *, what: str = "the stack"
) -> None:
    """Raise one error for all references that end before some energies do, or before what a move of them needs."""
    unit = units.units_of(energy)
    stack = np.asarray(energy, dtype=float)
    slack = get_options().energy_tolerance * units.factor("eV", unit)
    below, above = _margins(stack, move or Move(0.0, 0.0, 0.0))
    grid = np.asarray(units.to_units(absorption[ENERGY].astype(float), unit))
    rows = zip(_names(absorption), np.isfinite(np.asarray(absorption)), strict=True)
    ends = {name: (grid[row].min(), grid[row].max()) for name, row in rows}
    short = {
        name: (low, high)
        for name, (low, high) in ends.items()
        if low + below > stack.min() + slack or high - above < stack.max() - slack
    }
    if not short:
        return
    low, high = max(low for low, _ in ends.values()) + below, min(high for _, high in ends.values()) - above
    covered = _covered({name: format_range(np.array(limits), unit) for name, limits in short.items()})
    if low > stack.max() or high < stack.min() or low >= high:
        do = "no energy is common to all: check the energy units, or take references measured there"
    elif what == "the stack":
        do = f'use sel_energy("{low:.7g} {unit}", "{high:.7g} {unit}") first'
    else:
        do = f"take those from {low:.7g} to {high:.7g} {unit}"
    why = "" if move is None else f"; {_said(move, unit)} needs them to reach further"
    raise EnergyRangeError(f"references cover {covered}, {what} {format_range(stack, unit)}{why}: {do}")


def _covered(ranges: Mapping[str, str]) -> str:
    """Return the first ranges in words, those of many references together."""
    named: dict[str, list[str]] = {}
    for name, range_ in ranges.items():
        named.setdefault(range_, []).append(repr(name))
    said = [f"{_shortened(names)} {range_}" for range_, names in named.items()]
    return _shortened(said)


def _shortened(said: Sequence[str]) -> str:
    """Return the first few, and how many more there are."""
    more = f" and {len(said) - 4} more" if len(said) > 4 else ""
    return ", ".join(said[:4]) + more


def _margins(stack: np.ndarray, move: Move) -> tuple[float, float]:
    """Return how far references have to reach below and above the stack, for all shifts of a move."""
    wide = REACH * move.width / (stack.min() + stack.max()) * 2
    return move.highest + wide * stack.min(), wide * stack.max() - move.lowest


def _said(move: Move, unit: str) -> str:
    single = move.lowest == move.highest
    shift = f"a shift of {move.lowest:g} {unit}" if single else f"a shift of up to {move.highest:g} {unit}"
    return shift + (f" and a broadening of {'' if single else 'up to '}{move.width:g} {unit}" if move.width else "")


def spectra_of(absorption: xr.DataArray, energy: xr.DataArray) -> Spectra:
    """Return references as splines over the energies of a stack, each on its own range."""
    grid = np.asarray(units.to_units(absorption[ENERGY].astype(float), units.units_of(energy)))
    if np.unique(grid).size < grid.size:
        raise EnergyRangeError(
            "the references hold an energy twice: keep the first with .drop_duplicates('energy'), or average them"
        )
    order = np.argsort(grid)
    return spectra_from(grid[order], np.asarray(absorption, dtype=float)[:, order])


def _interpolated(absorption: xr.DataArray, energy: xr.DataArray, extrapolate: bool) -> xr.DataArray:
    plain, finite = absorption.reset_coords(drop=True), np.isfinite(np.asarray(absorption))
    parts = [plain]
    if not finite.all():  # each on its own range
        parts = [plain.isel({REFERENCE: [k], ENERGY: np.flatnonzero(row)}) for k, row in enumerate(finite)]
    matched = [match_energy(part, energy, what="the references", extrapolate=extrapolate) for part in parts]
    return matched[0] if len(matched) == 1 else xr.concat(matched, dim=REFERENCE)


def _as_spectra(plain: xr.DataArray, absorption: xr.DataArray, energy: xr.DataArray) -> xr.DataArray:
    """Return values under the coordinates of the references and the name of spectra of a stack."""
    along = {name: coord for name, coord in absorption.coords.items() if coord.dims == (REFERENCE,)}
    along |= {PART: energy[PART]} if PART in energy.coords else {}
    spectra = xr.DataArray(plain.data, dims=(REFERENCE, ENERGY), coords={**along, ENERGY: energy.variable})
    spectra = annotate(spectra, "reference_spectra", units=units.units_of(absorption, "the reference set", "1/nm"))
    require_varying(spectra)
    return spectra
