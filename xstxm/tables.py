"""Absolute thickness and mass from tabulated absorption, away from the edges, where tables hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm._apply import over_energy
from xstxm._axes import format_range
from xstxm._kernels import scaling
from xstxm.conventions import (
    ENERGY,
    annotate,
    as_float,
    density_of,
    quality_bits,
    quality_of,
    require_energy,
    variance_of,
)
from xstxm.errors import EnergyRangeError, OptionError, SchemaError, check_choice, require_number
from xstxm.provenance import note, recorded
from xstxm.units import EnergyLike

DensityLike: TypeAlias = EnergyLike
ThicknessBackground: TypeAlias = Literal["none", "constant"]
NearEdge: TypeAlias = Mapping[str, tuple[float, float]]

NEAR_EDGE: NearEdge = {
    "": (16.0, 16.5),
    "L3": (5.0, 16.5),
    "L2": (5.0, 16.5),
    "V L3": (2.5, 16.5),
    "V L2": (2.5, 16.5),
}
"""How far the region reaches below and above each tabulated edge in eV, where tables are not used; "" any other edge.

The edges of the tables are shifted against the features of a solid, both ways: K edges of light elements lie above
them, O K by 13 eV, L edges of 3d metals at or below them, V L3 by 6 eV.
"""
_LOWEST_ENERGY = 100.0


def tabulated_absorption(
    formula: str,
    density: DensityLike,
    energies: Sequence[EnergyLike] | xr.DataArray,
    *,
    near_edge: NearEdge | None = None,
) -> xr.Dataset:
    """Return the linear absorption of a compound as tabulated for free atoms (Elam), and where not to trust it.

    Parameters
    ----------
    formula
        Chemical formula, e.g. ``"V2O5"`` or ``"Li0.4V2O5"``.
    density
        In g/cm**3, or with a unit.
    energies
        Photon energies: numbers in eV, strings with a unit, or an energy coordinate.
    near_edge
        Edge to the width of the region below and above it in eV where tables are not used, e.g.
        ``{"V L3": (2.5, 20)}``; ``"L3"`` stands for that edge of every element, ``""`` for every edge that is not
        named. What is not given stays as in `tables.NEAR_EDGE`.

    Returns
    -------
    Dataset
        `linear_absorption` (energy) in 1/nm, `near_edge` (energy), True where the table must not be used for a
        scale, and `table_disagreement` (energy), Chantler's table over Elam's minus one. Eager.

    Raises
    ------
    OptionError
        A formula that is none, a density that is not above zero, an edge that no element of the formula has.
    EnergyRangeError
        An energy below 100 eV, where the tables do not hold.

    References
    ----------
    .. [1] W. T. Elam, B. D. Ravel, J. R. Sieber, Radiat. Phys. Chem. 63, 121 (2002),
       https://doi.org/10.1016/S0969-806X(01)00227-4
    .. [2] C. T. Chantler, J. Phys. Chem. Ref. Data 29, 597 (2000), https://doi.org/10.1063/1.1321055

    Examples
    --------
    >>> import xstxm
    >>> table = xstxm.tabulated_absorption("V2O5", "3.36 g/cm**3", [505, 518, 560])
    >>> (1000 * table.linear_absorption).round(2).values, table.near_edge.values  # per um
    (array([0.75, 2.47, 6.35]), array([False,  True, False]))
    """
    atoms, grams = atoms_of(formula), grams_of(density)
    energy = _energies(energies)
    found = {table: mass_absorption(atoms, energy, table) for table in ("elam", "chantler")}
    coords = {ENERGY: (ENERGY, energy, {"units": "eV", "long_name": "Photon energy"})}
    per_nm = found["elam"] * grams * 1e-7
    near = np.zeros(energy.shape, dtype=bool)
    for low, high in _regions(atoms, near_edge).values():
        near |= (energy > low) & (energy < high)
    table = xr.Dataset(
        {
            "linear_absorption": (ENERGY, per_nm),
            "near_edge": (ENERGY, near),
            "table_disagreement": (ENERGY, found["chantler"] / found["elam"] - 1),
        },
        coords,
    )
    stamped = {str(name): annotate(array, str(name)) for name, array in table.data_vars.items()}
    return table.assign(stamped).assign_attrs(formula=formula, density=f"{grams:g} g/cm**3")


@recorded
def thickness(
    stack: xr.DataArray | xr.Dataset,
    formula: str,
    density: DensityLike,
    *,
    background: ThicknessBackground = "none",
    near_edge: NearEdge | None = None,
    signal: str = "optical_density",
) -> xr.Dataset:
    """Map the absolute thickness t: the tabulated absorption fitted to the optical density away from the edges.

    ``od(E) = t mu(E) + b`` by least squares over the energies of the stack where tables hold; b is zero, or free.

    Parameters
    ----------
    stack
        Stack with optical density, or that array.
    formula
        Chemical formula of the sample, e.g. ``"V2O5"``.
    density
        Mass density in g/cm**3, or with a unit.
    background
        ``"none"``: the optical density is that of the sample alone. ``"constant"``: what is the same at all
        energies, as a wrong I0, is left out; then energies on both sides of an edge are needed.
    near_edge
        Where tables are not used, see `tabulated_absorption`.
    signal
        Variable of a Dataset that holds the optical density.

    Returns
    -------
    Dataset
        `thickness` and `thickness_stderr` (pixel dims) in nm, `areal_mass` and `areal_mass_stderr` in ug/cm**2, which
        does not depend on the density, `quality` (pixel dims): pixels without enough finite energies are
        NaN and `not_measured`. Attributes name the formula, the density, the number of energies, and
        `table_disagreement`, the largest relative difference between two tables at these. Lazy.

    Raises
    ------
    EnergyRangeError
        No energies away from the edges, or too few for what is asked.
    OptionError
        A formula that is none, a density that is not above zero, an edge that no element of the formula has.
    MissingVariableError, IncompatibleUnitsError
        The stack has no optical density.

    Notes
    -----
    Standard errors come from the variance of the optical density where the Dataset holds one, else from the residual
    (NaN where no energy is left over). They do not contain the tables' own error, a few per cent
    away from the edges: look at `table_disagreement`.

    Examples
    --------
    >>> import xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)
    >>> found = xstxm.thickness(xstxm.optical_density(stack), "V2O5", "3.36 g/cm**3")
    >>> found.thickness.attrs["units"], found.areal_mass.attrs["units"]
    ('nm', 'ug/cm**2')
    """
    check_choice("background", background, ThicknessBackground)
    stack = units.dequantify(stack)
    od = as_float(density_of(stack, signal))
    energy = require_energy(od)
    ev = units.to_units(energy.astype(float), "eV", "the energy axis")
    table = tabulated_absorption(formula, density, ev, near_edge=near_edge)
    usable = np.flatnonzero(~np.asarray(table["near_edge"]))
    _require_energies(usable, table, background, formula, near_edge)
    outside = od.isel({ENERGY: usable})
    variance = variance_of(stack, signal)
    spread = xr.full_like(outside, np.nan) if variance is None else variance.isel({ENERGY: usable})
    mu = np.asarray(table["linear_absorption"])[usable]
    scale, stderr = over_energy(
        scaling.scale,
        outside.chunk({ENERGY: -1}) if outside.chunks is not None else outside,
        spread.chunk({ENERGY: -1}) if spread.chunks is not None else spread,
        verb="thickness",
        output_dims=[(), ()],
        kwargs={"spectrum": mu, "constant": background == "constant", "known": variance is not None},
    )
    grams = grams_of(density)
    per_area = grams * 0.1  # ug/cm^2 of one nm
    found = {
        "thickness": scale,
        "thickness_stderr": stderr,
        "areal_mass": scale * per_area,
        "areal_mass_stderr": stderr * per_area,
    }
    doubt = float(abs(table["table_disagreement"][usable]).max())
    note(f"{usable.size} energies away from the edges; tables differ by up to {100 * doubt:.0f} % there")
    dtype = od.dtype
    result = xr.Dataset({name: annotate(values.astype(dtype), name) for name, values in found.items()})
    result["quality"] = quality_bits({"not_measured": scale.isnull()}, quality_of(stack))
    return result.assign_attrs(
        formula=formula, density=f"{grams:g} g/cm**3", n_energies=int(usable.size), table_disagreement=round(doubt, 4)
    )


def _require_energies(
    usable: np.ndarray, table: xr.Dataset, background: str, formula: str, near_edge: NearEdge | None
) -> None:
    """Refuse a stack without energies at which tables hold."""
    energy, needed = np.asarray(table[ENERGY]), 2 if background == "constant" else 1
    mu = np.asarray(table["linear_absorption"])[usable]
    regions = _regions(atoms_of(formula), near_edge)
    near = {name: ends for name, ends in regions.items() if ends[1] > energy.min() - 50 and ends[0] < energy.max() + 50}
    near = dict(sorted(near.items(), key=lambda item: item[1]))
    told = ", ".join(f"{low:g}-{high:g} ({name})" for name, (low, high) in near.items())
    where = (
        f"the stack covers {format_range(energy, 'eV')}, and tables are not used near the edges of {formula}: {told} eV"
    )
    if usable.size < needed:
        raise EnergyRangeError(
            f"{usable.size} energies away from the edges, {needed} needed: {where}: measure some outside, or narrow a "
            f"region with near_edge={{{next(iter(near), '')!r}: (below, above)}}"
        )
    if background == "constant" and np.ptp(mu) < 0.05 * mu.max():
        raise EnergyRangeError(
            f"the absorption at the {usable.size} energies away from the edges differs by less than 5 %, too little to tell "
            f"the sample from a constant: {where}: measure on both sides of an edge, or pass background='none'"
        )


def _regions(atoms: Mapping[str, float], near_edge: NearEdge | None) -> dict[str, tuple[float, float]]:
    """Return the energies in eV, first and last, around each edge where tables are not used."""
    import xraydb

    edges = {
        f"{element} {name}": float(edge.energy)
        for element in atoms
        for name, edge in xraydb.xray_edges(element).items()
        if edge.energy > _LOWEST_ENERGY / 2
    }
    given = dict(near_edge or {})
    known = {"", *edges, *(name.split()[1] for name in edges)}
    for name, pair in given.items():
        if name not in known:
            raise OptionError("near_edge", name, f"no edge of the formula (edges: {', '.join(edges)})")
        if np.shape(pair) != (2,) or not np.all(np.asarray(pair, dtype=float) >= 0):
            raise OptionError(
                "near_edge", {name: pair}, "give two widths in eV of zero or more, below and above the edge"
            )
    widths = {**NEAR_EDGE, **given}
    regions = {}
    for name, energy in edges.items():
        below, above = widths.get(name, widths.get(name.split()[1], widths[""]))
        regions[name] = (energy - below, energy + above)
    return regions


def atoms_of(formula: str) -> dict[str, float]:
    """Return the number of atoms of each element in a formula."""
    import xraydb

    try:
        atoms: dict[str, float] = xraydb.chemparse(formula)
    except (ValueError, TypeError, AttributeError) as error:
        raise OptionError("formula", formula, "write a chemical formula as 'V2O5' or 'Li0.4V2O5'") from error
    if not atoms:
        raise OptionError("formula", formula, "write a chemical formula as 'V2O5' or 'Li0.4V2O5'")
    return atoms


def grams_of(density: DensityLike) -> float:
    """Return a density in g/cm**3."""
    grams = units.to_magnitude(density, "g/cm**3", "density", spectroscopy=False)
    return require_number("density", grams, "a density in g/cm**3", above=0)


def _energies(energies: Sequence[Any] | xr.DataArray) -> np.ndarray:
    if isinstance(energies, xr.DataArray):
        array = units.dequantify(energies).astype(float)
        grid = np.asarray(units.to_units(array, "eV", "the energies"))
    else:
        grid = np.array([units.to_magnitude(energy, "eV", "the energies") for energy in energies])
    if grid.ndim != 1 or not grid.size:
        raise SchemaError(f"the energies have shape {grid.shape}: give one or more along one dimension")
    if (grid < _LOWEST_ENERGY).any():
        raise EnergyRangeError(f"the tables begin at {_LOWEST_ENERGY:g} eV, found {grid.min():g} eV")
    return grid


def mass_absorption(atoms: Mapping[str, float], energy: np.ndarray, table: Literal["elam", "chantler"]) -> np.ndarray:
    """Return the mass absorption in cm**2/g."""
    import xraydb

    lookup = xraydb.mu_elam if table == "elam" else xraydb.mu_chantler
    masses = {element: number * xraydb.atomic_mass(element) for element, number in atoms.items()}
    total = sum(mass * np.asarray(lookup(element, energy), dtype=float) for element, mass in masses.items())
    absorption: np.ndarray = total / sum(masses.values())
    return absorption
