"""Reference sets read from a library."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from xstxm._references_at import checked_absorption, require_unique
from xstxm.conventions import ENERGY, REFERENCE, SPECS
from xstxm.errors import CorruptFileError, ReferenceSpectrumError, shown
from xstxm.io._base import convert, unit_of_energies
from xstxm.io._sources import Source, called
from xstxm.io._toml import read_toml, unplain
from xstxm.io.library.writer import MARK, NAME, VERSION, tables_of

_MARKED = re.compile(rb"^\s*(" + MARK.encode() + rb"\s*=|\[\[\s*references\s*\]\])", re.MULTILINE)
_DO = "correct the file by hand, or write it again with write_references"


def is_library(head: bytes) -> bool:
    """Tell whether the first bytes are those of a library of references, whose mark may have been forgotten."""
    return bool(_MARKED.search(head))


def read_library(source: Source) -> xr.Dataset:
    """Read the reference set that `write_references` wrote, or a hand did: numbers are float64. Eager.

    Raises
    ------
    FileFormatError
        It is no library.
    CorruptFileError
        A table is not that of a reference: energies as many as values, each once; plain words and numbers.
    ReferenceSpectrumError
        See `checked_absorption`.
    """
    table = read_toml(source, MARK, VERSION, what="a library of references", do=_DO)
    try:
        references = _in_ev(_set_of(table), source)
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        name = called(source)
        raise CorruptFileError(name, "a table for each reference", shown(str(error)), _DO) from error
    checked_absorption(references)
    return references


def read_libraries(sources: Sequence[Source]) -> xr.Dataset:
    """Read one library, or several as one reference set, in their order. Eager.

    What is along `reference` in some of them only is empty or NaN in the others; attributes of the set, and those of
    variables that differ, are left out.

    Raises
    ------
    ReferenceSpectrumError
        A name occurs twice, or a variable has other units or another long_name in one of them.
    """
    sets = [read_library(source) for source in sources]
    return sets[0] if len(sets) == 1 else joined(sets)


def joined(sets: Sequence[xr.Dataset]) -> xr.Dataset:
    """Return several reference sets as one; see `read_libraries`."""
    require_unique([str(name) for one in sets for name in np.asarray(one[REFERENCE])])
    names = dict.fromkeys(str(name) for one in sets for name in one.variables)
    attrs = {name: _agreed_attrs(name, [one[name].attrs for one in sets if name in one.variables]) for name in names}
    return _set_of({"references": [table for one in sets for table in tables_of(one)], "variables": attrs})


def _agreed_attrs(name: str, attrs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the attributes of a variable that are the same in all sets that have it."""
    for key in ("units", "long_name"):
        said = dict.fromkeys(str(one.get(key, "none")) for one in attrs)
        if len(said) > 1:
            raise ReferenceSpectrumError(
                f"{key} of {name!r} differ between the sets ({', '.join(map(repr, said))}): bring them to one first, or use each by itself"
            )
    return {key: value for key, value in attrs[0].items() if all(one.get(key) == value for one in attrs)}


def _set_of(table: Mapping[str, Any]) -> xr.Dataset:
    tables: list[Mapping[str, Any]] = table["references"]
    grids = [_numbers(entry, ENERGY) for entry in tables]
    energy = np.unique(np.concatenate(grids))
    if not np.isfinite(energy).all():
        raise ValueError("energies that are no finite numbers")
    keys = dict.fromkeys(key for entry in tables for key in entry if key not in (ENERGY, NAME))
    if REFERENCE in keys:
        raise ValueError(f"a key {REFERENCE!r}, which is called {NAME!r} here")
    spectra = [key for key in keys if any(isinstance(entry.get(key), list) for entry in tables)]
    attrs = {name: unplain(item) for name, item in table.get("variables", {}).items()}
    coords = {key: xr.Variable(REFERENCE, _along(tables, key), attrs.get(key)) for key in keys if key not in spectra}
    coords[REFERENCE] = xr.Variable(REFERENCE, _along(tables, NAME), attrs.get(REFERENCE))
    coords[ENERGY] = xr.Variable(ENERGY, energy, attrs.get(ENERGY))
    data = {key: xr.Variable((REFERENCE, ENERGY), _rows(tables, key, grids, energy), attrs.get(key)) for key in spectra}
    if "units" not in data["absorption"].attrs:
        data["absorption"].attrs["units"] = "1"
    return xr.Dataset(data, coords, attrs=unplain(table.get("attrs", {})))


def _in_ev(references: xr.Dataset, source: Source) -> xr.Dataset:
    """Return a set whose energies have a unit: the one in the file, else eV, converted from keV where they are below 100."""
    energy = references[ENERGY]
    if "units" in energy.attrs:
        return references
    do = "if they are eV, add [variables.energy] with units = 'eV' to the file"
    values = np.asarray(energy, dtype=float)
    values = convert(values, unit_of_energies(values, None, source, do), "eV", "energy")
    spec = SPECS[ENERGY]
    default = {"units": str(spec.units), "long_name": spec.long_name}
    return references.assign_coords({ENERGY: (ENERGY, values, {**default, **energy.attrs})})


def _rows(tables: Sequence[Mapping[str, Any]], key: str, grids: Sequence[np.ndarray], energy: np.ndarray) -> np.ndarray:
    """Return spectra (reference, energy), NaN where a reference has no data."""
    rows = np.full((len(tables), energy.size), np.nan)
    for row, entry, grid in zip(rows, tables, grids, strict=True):
        values = _numbers(entry, key) if key in entry else np.full(grid.size, np.nan)
        if np.unique(grid).size != grid.size or values.size != grid.size:
            raise ValueError(f"{entry.get(NAME)!r} has {grid.size} energies, some twice, or {values.size} of {key!r}")
        row[np.searchsorted(energy, grid)] = values
    return rows


def _numbers(entry: Mapping[str, Any], key: str) -> np.ndarray:
    values = entry[key]
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        raise TypeError(f"{key!r} of {entry.get(NAME)!r} is no list of numbers")
    return np.array(values, dtype=float)


def _along(tables: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    """Return what is along `reference`: words, none where a table has none; or numbers, NaN where one has none."""
    values = [entry.get(key) for entry in tables]
    types = {type(value) for value in values if value is not None}
    missing = None in values
    if key == NAME and missing:
        raise KeyError("a reference without a name")
    if types == {str}:
        return np.array([value or "" for value in values])
    if types == {bool} and not missing:
        return np.array(values)
    if types <= {int, float} and types:
        return np.array([np.nan if value is None else value for value in values])
    raise TypeError(f"{key!r} is neither all words nor all numbers")
