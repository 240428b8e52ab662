"""The phase shift of references from their absorption, which the Kramers-Kronig relation ties it to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._kernels.kramers_kronig import phase_per_length
from xstxm._references_at import checked_absorption
from xstxm.conventions import ENERGY, REFERENCE, annotate
from xstxm.errors import (
    IncompatibleUnitsError,
    MetadataWarning,
    OptionError,
    ReferenceSpectrumError,
    warn,
)
from xstxm.provenance import describe, recorded
from xstxm.tables import DensityLike, atoms_of, grams_of, mass_absorption

TABLE_RANGE = (11.0, 4.3e5)
"""Energies in eV between which the table stands for what was not measured."""
N_TABLE = 6000
DISAGREES = 0.1
"""Difference of a reference from the table at an end of its data, of the larger of them, that is worth a warning."""
_ELECTRON_RADIUS = 2.8179403e-6
"""In nm."""
_HC = 1239.841984
"""In eV nm."""
_AVOGADRO = 602.214076
"""Per mol, in units of cm**3/nm**3."""


@recorded
def phase_references(
    references: xr.Dataset,
    formula: str | Mapping[str, str],
    density: DensityLike | Mapping[str, DensityLike],
) -> xr.Dataset:
    """Add to references the phase shift per length that belongs to their absorption.

    ``p(E) = E / pi P int mu(F) / (F^2 - E^2) dF - (r h c n - 1 / pi int mu(F) dF) / E``, with mu the reference inside its data and
    the table of free atoms (Chantler) outside. The second term, of n electrons per volume of classical radius r, is
    what the sum of all absorption lacks, that of energies below the table's: it follows ``1 / E``.

    Parameters
    ----------
    references
        Reference set whose `absorption` is linear, e.g. in 1/nm, on the scale of the table at both ends.
    formula
        Chemical formula, e.g. ``"V2O5"``; of each reference, or one for all of them.
    density
        In g/cm**3, or with a unit; of each reference, or one for all of them.

    Returns
    -------
    Dataset
        The references with `phase_shift` (reference, energy), in rad over the length of the absorption: ``-k delta`` of
        the refractive index ``1 - delta + i beta``, NaN where a reference has no data. Eager.

    Raises
    ------
    OptionError
        A formula that is none, a density that is not above zero, or a reference without one of them.
    IncompatibleUnitsError
        The absorption is not linear.

    Warns
    -----
    MetadataWarning
        A reference is not on the scale of the table at an end of its data: the step between them bends the phase near it.

    Notes
    -----
    Of the table itself it gives the tabulated phase of V2O5 to 0.3 % away from the edges. Within a few steps of the ends of
    the data it depends on how the reference meets the table: take references that reach beyond the stack.

    Examples
    --------
    >>> import xstxm
    >>> refs = xstxm.testing.simulate_references()
    >>> both = xstxm.phase_references(refs.sel(reference=["alpha-V2O5"]), "V2O5", "3.36 g/cm**3")
    >>> both.phase_shift.attrs["units"]
    'rad/nm'
    """
    references = units.dequantify(references)
    absorption = checked_absorption(references)
    unit = units.units_of(absorption)
    if not units.same_kind(unit, "1/nm"):
        do = "the table has an absolute scale: give references per length, in 1/nm"
        raise IncompatibleUnitsError("the reference set", unit, "1/nm", do)
    energy = np.asarray(units.to_units(absorption[ENERGY].astype(float), "eV"))
    per_nm = np.asarray(units.to_units(absorption, "1/nm"), dtype=float)
    names = [str(name) for name in np.asarray(absorption[REFERENCE])]
    formulas, densities = (
        _of_each(option, given, names) for option, given in (("formula", formula), ("density", density))
    )
    rows = [
        _phase(name, energy, row, formulas[name], grams_of(densities[name]))
        for name, row in zip(names, per_nm, strict=True)
    ]
    phase = absorption.copy(data=np.array(rows) * units.factor("1/nm", unit))
    label = {"long_name": "Phase shift per length", "comment": "-k delta, from the absorption by Kramers and Kronig."}
    return references.assign(phase_shift=annotate(phase, "phase_shift", units.derive("rad", unit, "*"), **label))


def _of_each(option: str, given: Any, names: list[str]) -> dict[str, Any]:
    """Return what belongs to each reference."""
    if not isinstance(given, Mapping):
        return dict.fromkeys(names, given)
    if {*given} != {*names}:
        raise OptionError(option, describe(given), f"give one for each of {', '.join(map(repr, names))}, and no other")
    return {str(name): value for name, value in given.items()}


def _phase(name: str, energy: np.ndarray, per_nm: np.ndarray, formula: str, grams: float) -> np.ndarray:
    """Return the phase shift in rad/nm (energy) of one reference, NaN where it has no data."""
    from scipy.integrate import trapezoid

    order = np.argsort(energy)
    order = order[np.isfinite(per_nm[order])]
    inside, measured = energy[order], per_nm[order]
    if (np.diff(inside) == 0).any():
        raise ReferenceSpectrumError(f"reference {name!r} has energies twice: average the repeats first", [name])
    atoms = atoms_of(formula)
    grid = np.geomspace(*TABLE_RANGE, N_TABLE)
    grid = grid[(grid < inside[0]) | (grid > inside[-1])]
    ends = mass_absorption(atoms, inside[[0, -1]], "chantler") * grams * 1e-7
    _compare_ends(name, inside[[0, -1]], measured[[0, -1]], ends)
    outside = mass_absorption(atoms, grid, "chantler") * grams * 1e-7
    place = np.searchsorted(grid, inside[0])
    axis, values = (np.insert(a, place, b) for a, b in ((grid, inside), (outside, measured)))
    lacking = _ELECTRON_RADIUS * _HC * _electrons(atoms, grams) - trapezoid(values, axis) / np.pi
    found = np.full(energy.shape, np.nan)
    found[order] = phase_per_length(inside, axis, values) - lacking / inside
    return found


def _electrons(atoms: Mapping[str, float], grams: float) -> float:
    """Return the number of electrons in a nm**3."""
    import xraydb

    mass = sum(number * xraydb.atomic_mass(element) for element, number in atoms.items())
    return grams / mass * _AVOGADRO * sum(number * xraydb.atomic_number(element) for element, number in atoms.items())


def _compare_ends(name: str, energy: np.ndarray, measured: np.ndarray, table: np.ndarray) -> None:
    off = np.abs(measured - table) > DISAGREES * np.maximum(measured, table)
    if off.any():
        told = " and ".join(
            f"{a:.3g} at {e:g} eV, where the table has {b:.3g}"
            for e, a, b in zip(energy[off], measured[off], table[off], strict=True)
        )
        warn(
            f"the absorption of reference {name!r} in 1/nm is {told}: its phase is wrong near that end; give it on the scale of "
            "the table, or over a wider range of energies",
            MetadataWarning,
        )
