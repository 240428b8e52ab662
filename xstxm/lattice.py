"""Cells of phases: a table of defaults that says how far it can be trusted, and the cell of each phase of a map."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units
from xstxm.conventions import REFERENCE, composition_number
from xstxm.errors import (
    ChoiceError,
    OptionError,
    ReferenceSpectrumError,
    SchemaError,
    require_number,
    require_whole,
)

LatticeAxis: TypeAlias = Literal["chain", "rung", "stacking"]

AXES: tuple[LatticeAxis, ...] = ("chain", "rung", "stacking")
"""Axes of a cell by their role in the structure; letters differ between sources."""
LENGTHS = tuple(f"cell_{axis}" for axis in AXES)

_UNITS = {**dict.fromkeys(LENGTHS, "angstrom"), "cell_volume": "angstrom**3"}
_COMPOSITIONS = ("composition", "phase_composition", "lowest_composition", "highest_composition")
_WORDS = ("phase", "framework", "space_group")
_NUMBERS = ("composition", "lowest_composition", "highest_composition", *_UNITS, "formula_units", "layers")
_QUANTITIES = (*_WORDS, *_NUMBERS)

_ROWS: dict[str, tuple[Any, ...]] = {
    "alpha-V2O5": ("alpha", "layered", "Pmmn", 0.0, 0.0, 0.1, 3.56, 11.51, 4.37, np.nan, 2, 1),
    "alpha-Li0.1V2O5": ("alpha", "layered", "Pmmn", 0.1, 0.0, 0.1, 3.56, 11.51, 4.37, 179.5, 2, 1),
    "epsilon-Li0.4V2O5": ("epsilon", "layered", "Pmmn", 0.4, 0.32, 0.80, 3.57, 11.40, 4.50, 183.0, 2, 1),
    "delta-LiV2O5": ("delta", "layered", "Cmcm", 1.0, 0.9, 1.0, 3.605, 11.248, 9.916, np.nan, 4, 2),
    "gamma-LiV2O5": ("gamma", "layered", "Pnma", 1.0, 1.0, 1.0, 3.61, 9.70, 10.67, np.nan, 4, 2),
    "zeta-V2O5": ("zeta", "tunnel", "C2/m", 0.0, 0.0, 0.6, 3.60, 15.25, 10.1, 521.0, 6, 1),
}
"""States of LixV2O5, in the order of `_QUANTITIES`; without a volume it is the product of the lengths."""
_VERIFIED: dict[str, set[str]] = {
    "alpha-V2O5": {*_WORDS, "composition", "lowest_composition", *LENGTHS, "formula_units", "layers"},
    "alpha-Li0.1V2O5": {*_WORDS, "lowest_composition"},
    "epsilon-Li0.4V2O5": {*_WORDS, "lowest_composition", "highest_composition"},
    "delta-LiV2O5": {*_WORDS},
    "gamma-LiV2O5": {*_WORDS},
    "zeta-V2O5": {"phase", "framework"},
}
"""What was read in a source; the rest is recalled."""
_SOURCES: dict[str, str] = {
    "alpha-V2O5": "published structure of V2O5; upper end of the range from memory",
    "alpha-Li0.1V2O5": "lengths of V2O5; volume from memory",
    "epsilon-Li0.4V2O5": "group and range: Phase Transitions 59, 91 (1996); cell from memory",
    "delta-LiV2O5": "group: Galy et al., J. Solid State Chem. (1999); cell from memory",
    "gamma-LiV2O5": "published group; cell from memory",
    "zeta-V2O5": "polymorph: Marley et al., Chem. Sci. 6, 1712 (2015); cell from memory, its angle near 110 degrees",
}


@dataclass(frozen=True)
class Cell:
    """Cell of a phase at one composition; lengths in angstrom along `AXES`, the last for one layer."""

    name: str
    phase: str
    composition: float
    range: tuple[float, float]
    lengths: np.ndarray
    volume: float
    """Volume of one layer of the cell in angstrom**3."""
    stated: bool
    """The volume was stated; else it is the product of the lengths."""
    formula_units: float
    """Formula units in one layer, NaN where their number is not known."""
    framework: str = ""
    status: Mapping[str, str] = field(default_factory=dict)
    """Status of the quantities that a phase table knows of this cell."""
    source: str = ""

    @property
    def formula_volume(self) -> float:
        """Volume of one formula unit in angstrom**3."""
        return self.volume / self.formula_units

    def trust(self, quantities: Iterable[str]) -> str:
        """Return the status of some quantities together, e.g. ``given/recalled``."""
        said = {word for key in quantities for word in self.status.get(key, "").split("/")} - {""}
        return "/".join(sorted(said)) or "given"


def phase_table(changes: Mapping[str, Mapping[str, Any]] | None = None) -> xr.Dataset:
    """Return the cells of the phases of LixV2O5: defaults to override, each value with its status.

    Parameters
    ----------
    changes
        State to values that replace or complete those of the table, e.g.
        ``{"epsilon-Li0.4V2O5": {"cell_rung": "1.139 nm"}}``; a new name makes a new state, with at least
        its `composition` and the three lengths. Numbers are in the units of the table.

    Returns
    -------
    Dataset
        Along `state`: `phase`, `framework` (``layered`` or ``tunnel``: no strain leads from one to the other),
        `space_group`, `composition` (x in LixV2O5), `lowest_composition` and `highest_composition` of the phase,
        `cell_chain`, `cell_rung`, `cell_stacking` in angstrom, `cell_volume` in angstrom**3 (NaN: the product of the
        lengths), `formula_units` per cell, `layers` that `cell_stacking` holds, and `source`; `status`
        (quantity, state) is ``verified`` where the value was read in a source, ``recalled`` where it comes
        from memory of the literature, ``given`` where you changed it. Eager.

    Raises
    ------
    ChoiceError
        A quantity that the table does not have.
    OptionError, UnitsError
        A new state without composition or lengths, a composition outside its range, a value that is no number above zero
        (of formula units and layers no whole one), or in another kind of unit.

    Notes
    -----
    A recalled value is a default to replace by that of your own diffraction, not a reference to cite. A length
    that changes takes the stored volume away, unless a volume is given too.

    Examples
    --------
    >>> import xstxm
    >>> table = xstxm.phase_table({"epsilon-Li0.4V2O5": {"cell_rung": 11.39}})
    >>> table.status.sel(quantity="cell_rung").to_series().to_dict()["epsilon-Li0.4V2O5"]
    'given'
    """
    rows = {name: dict(zip(_QUANTITIES, values, strict=True)) for name, values in _ROWS.items()}
    status = {n: {key: "verified" if key in _VERIFIED[n] else "recalled" for key in _QUANTITIES} for n in rows}
    sources = dict(_SOURCES)
    for name, values in (changes or {}).items():
        unknown = [key for key in values if key not in _QUANTITIES]
        if unknown:
            raise ChoiceError(f"quantity of {name!r}", unknown[0], _QUANTITIES)
        given = {key: _checked(key, value) for key, value in values.items()}
        row = rows.setdefault(name, {"phase": name, "layers": 1.0})
        if given.keys() & {*LENGTHS}:
            row["cell_volume"] = np.nan
        row.update(given)
        status.setdefault(name, {}).update(dict.fromkeys(given, "given"))
        sources[name] = f"{sources[name]}; changed by the user" if name in sources else "the user"
        _require_state(name, row, rows)
    return _as_dataset(rows, status, sources)


def _require_state(name: str, row: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a state that is not whole, or whose composition lies outside its range."""
    missing = [key for key in ("composition", *LENGTHS) if key not in row]
    if missing:
        others = [other for other in rows if other != name]
        meant = [other for other in others if rows[other]["phase"] == name] or get_close_matches(name, others, n=1)
        hint = f" (did you mean {' or '.join(map(repr, meant))}?)" if meant else ""
        raise OptionError("changes", name, f"a new state needs {', '.join(missing)} too{hint}")
    x = row["composition"]
    low, high = row.get("lowest_composition", x), row.get("highest_composition", x)
    if not low <= x <= high:
        raise OptionError(
            "changes",
            name,
            f"composition {x:g} lies outside the range from {low:g} to {high:g}: give lowest_composition and "
            "highest_composition on either side of it",
        )


def _checked(key: str, value: Any) -> Any:
    if key in _WORDS:
        return str(value)
    if key in _UNITS:
        value = units.to_magnitude(value, _UNITS[key], key, spectroscopy=False)
    if "composition" in key:
        return require_number(key, value, "a composition", least=0)
    if key in ("formula_units", "layers"):
        return float(require_whole(key, value))
    return require_number(key, value, "a number", above=0)


def _as_dataset(
    rows: Mapping[str, dict[str, Any]], status: Mapping[str, dict[str, str]], sources: Mapping[str, str]
) -> xr.Dataset:
    table = xr.Dataset(coords={"state": list(rows)}, attrs={"title": "Cells of LixV2O5 phases"})
    for key in _QUANTITIES:
        nothing: Any = "" if key in _WORDS else np.nan
        attrs = {"units": _UNITS.get(key, "1")} if key in _NUMBERS else {}
        table[key] = ("state", [row.get(key, nothing) for row in rows.values()], attrs)
    for end in ("lowest_composition", "highest_composition"):
        table[end] = table[end].fillna(table["composition"])
    said = [
        [status[name].get(key, "") if _known(row.get(key)) else "" for name, row in rows.items()] for key in _QUANTITIES
    ]
    return table.assign_coords(quantity=list(_QUANTITIES)).assign(
        status=(("quantity", "state"), said), source=("state", [sources[name] for name in rows])
    )


def _known(value: Any) -> bool:
    return value not in (None, "") and not (isinstance(value, float) and np.isnan(value))


@dataclass(frozen=True)
class Cells:
    """The cells of each phase of a map, or the one cell of each reference, and all cells that are known."""

    groups: list[list[Cell]]
    known: list[Cell]

    @property
    def used(self) -> list[Cell]:
        """All cells that a result is made of."""
        return [cell for group in self.groups for cell in group]


def cells_in(table: xr.Dataset | xr.DataArray, formula_units: float | None = None) -> list[Cell]:
    """Return the cells that a phase table, a reference set or the coordinates of a result hold."""
    held = table.variables if isinstance(table, xr.Dataset) else table.coords
    missing = [name for name in LENGTHS if name not in held]
    if missing:
        raise SchemaError(
            f"the cells have no {', '.join(map(repr, missing))} (found: {', '.join(sorted(map(str, held)))}): name the "
            "axes by their role in the structure, see xstxm.phase_table()"
        )
    dims = {held[name].dims for name in LENGTHS}
    if len(dims) > 1 or len(held[LENGTHS[0]].dims) != 1:
        raise SchemaError(f"the cell lengths have dims {sorted(map(str, dims))}, wanted one dimension, e.g. ('state',)")
    (dim,) = held[LENGTHS[0]].dims
    rows = [_cell(table, dim, at, formula_units) for at in range(table.sizes[dim])]
    return [cell for cell in rows if np.isfinite(cell.lengths).all()]


def _cell(table: xr.Dataset | xr.DataArray, dim: Hashable, at: int, formula_units: float | None) -> Cell:
    held = table.variables if isinstance(table, xr.Dataset) else table.coords

    def value(key: str, default: Any) -> Any:
        if key not in held or table[key].dims != (dim,):
            return default
        column = table[key]
        if key in _UNITS:
            column = units.to_units(column.astype(float), _UNITS[key])
        elif key in _COMPOSITIONS:
            column = composition_number(column)
        return column[at].item()

    name = str(value(str(dim), at))
    x = float(value("composition", value("phase_composition", np.nan)))
    lengths = np.array([value(key, np.nan) for key in LENGTHS])
    if (lengths <= 0).any():
        raise SchemaError(f"the cell of {name!r} has lengths of zero or less: {lengths.tolist()} angstrom")
    layers, volume = float(value("layers", 1.0)), float(value("cell_volume", np.nan))
    per_cell, status = float(value("formula_units", np.nan)), _status(table, dim, name)
    if np.isnan(per_cell) and formula_units is not None:
        per_cell, status["formula_units"] = formula_units, "given"
    return Cell(
        name=name,
        phase=str(value("phase", "") or name),
        composition=x,
        range=(float(value("lowest_composition", x)), float(value("highest_composition", x))),
        lengths=lengths / [1, 1, layers],
        volume=float(np.prod(lengths) if np.isnan(volume) else volume) / layers,
        stated=not np.isnan(volume),
        formula_units=per_cell / layers,
        framework=str(value("framework", "")),
        status=status,
        source=str(value("source", "")),
    )


def _status(table: xr.Dataset | xr.DataArray, dim: Hashable, name: str) -> dict[str, str]:
    held = table.variables if isinstance(table, xr.Dataset) else table.coords
    if "status" not in held or "quantity" not in table["status"].dims:
        return {}
    words = table["status"].sel({dim: name})
    return dict(zip(map(str, np.asarray(words["quantity"])), map(str, np.asarray(words)), strict=True))


def cells_of(
    result: xr.DataArray,
    dim: Literal["phase", "reference"],
    cells: xr.Dataset | None,
    formula_units: float | None = None,
) -> Cells:
    """Return the cells behind a dimension of a result.

    They are those in `cells`; else those in the coordinates of the result, and for the rest the phase table.
    """
    own = cells_in(result, formula_units) if cells is None and any(name in result.coords for name in LENGTHS) else []
    table = cells_in(phase_table()) if cells is None else cells_in(units.dequantify(cells), formula_units)
    known = [*own, *(cell for cell in table if cell.phase not in {mine.phase for mine in own})]
    names = [str(name) for name in np.asarray(result[dim])]
    groups = [_group(result, dim, at, name, own, known) for at, name in enumerate(names)]
    without = [name for name, group in zip(names, groups, strict=True) if not group]
    if without:
        raise SchemaError(
            f"no cell for {', '.join(map(repr, without))} (cells are known of: "
            f"{', '.join(dict.fromkeys(cell.phase for cell in known))}): pass cells=..., a Dataset with phase, "
            "composition, cell_chain, cell_rung and cell_stacking, see xstxm.phase_table()"
        )
    return Cells(groups, known)


def _group(result: xr.DataArray, dim: str, at: int, name: str, own: list[Cell], known: list[Cell]) -> list[Cell]:
    """Return the cells of one phase in the order of composition, or the one of a reference; none where none is known."""
    mine = [cell for cell in own if cell.name == name]
    if mine:
        return mine
    label = str(result.coords["phase"][at].item()) if dim == REFERENCE and "phase" in result.coords else name
    same = [cell for cell in known if cell.phase == (label or name)] or [cell for cell in known if cell.name == name]
    same = sorted(same, key=lambda cell: cell.composition)
    if dim != REFERENCE or not same:
        return same
    held = "composition" in result.coords
    return [at_composition(same, float(composition_number(result.coords["composition"])[at]) if held else np.nan)]


def at_composition(cells: Sequence[Cell], x: float) -> Cell:
    """Return the cell of one phase at a composition, linear between its states and constant beyond them."""
    if len(cells) == 1 and (np.isnan(x) or np.isnan(cells[0].composition)):
        return cells[0]
    phase = cells[0].phase
    if np.isnan(x):
        raise ReferenceSpectrumError(
            f"no composition for a reference of {phase!r}, whose cell depends on it: give every reference one, see "
            "xstxm.reference_set"
        )
    low, high = min(cell.range[0] for cell in cells), max(cell.range[1] for cell in cells)
    if not low - 1e-9 <= x <= high + 1e-9:
        raise ReferenceSpectrumError(
            f"composition {x:g} for {phase!r}, whose range is {low:g} to {high:g}: correct the composition or the phase "
            "of the reference, or pass cells=... with another range"
        )
    grid = [cell.composition for cell in cells]
    lengths = np.array([np.interp(x, grid, row) for row in np.array([cell.lengths for cell in cells]).T])
    volume, formula_units = (
        float(np.interp(x, grid, [getattr(cell, name) for cell in cells])) for name in ("volume", "formula_units")
    )
    nearest = min(cells, key=lambda cell: abs(cell.composition - x))
    made_of = [cell for cell in cells if cell.composition == x] or [
        *[cell for cell in cells if cell.composition < x][-1:],
        *[cell for cell in cells if cell.composition > x][:1],
    ]
    keys = {key for cell in made_of for key in cell.status}
    status = {key: "/".join({cell.trust([key]) for cell in made_of if cell.status.get(key)}) for key in keys}
    stated = all(cell.stated for cell in cells)
    made = replace(nearest, composition=x, lengths=lengths, volume=volume, stated=stated, status=status)
    return replace(made, formula_units=formula_units)


def reference_cell(cells: Cells, relative_to: str | float | None) -> Cell:
    """Return the cell that strains are relative to: by name, at a composition, or that of the lowest composition."""
    if relative_to is None:
        return min(cells.used, key=_by_composition)
    if isinstance(relative_to, str):
        named = [cell for cell in cells.known if relative_to == cell.name]
        named = named or [cell for cell in cells.known if relative_to == cell.phase]
        if not named:
            choices = [cell.phase for cell in cells.known] + [cell.name for cell in cells.known]
            raise ChoiceError("relative_to", relative_to, list(dict.fromkeys(choices)))
        return min(named, key=_by_composition)
    x = require_number("relative_to", relative_to, "a phase, a state, or a composition", least=0)
    phases = {cell.phase for cell in cells.used}
    same = {phase: sorted((c for c in cells.known if c.phase == phase), key=_by_composition) for phase in phases}
    ranges = {phase: (min(c.range[0] for c in group), max(c.range[1] for c in group)) for phase, group in same.items()}
    inside = [phase for phase, (low, high) in ranges.items() if low - 1e-9 <= x <= high + 1e-9]
    if len(inside) != 1:
        told = ", ".join(f"{phase} {low:g} to {high:g}" for phase, (low, high) in sorted(ranges.items()))
        why = f"lies in the ranges of {' and '.join(sorted(inside))}" if inside else "lies in the range of no phase"
        raise OptionError("relative_to", x, f"{why} ({told}): name a phase or a state of the table")
    return at_composition(same[inside[0]], x)


def _by_composition(cell: Cell) -> float:
    return np.inf if np.isnan(cell.composition) else cell.composition
