"""Reference sets written as a library."""

from __future__ import annotations

import os
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xstxm import units as _units
from xstxm._references_at import checked_absorption
from xstxm.conventions import ENERGY, REFERENCE
from xstxm.errors import SchemaError
from xstxm.io._toml import plain, write_toml

MARK = "xstxm_references"
VERSION = 1
NAME = "name"
"""Key of the name of a reference in the file."""


def write_references(references: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a reference set as a library, a text that `read_references` reads back exactly.

    The file is TOML: for each reference a table with its name, what is along `reference` (phase, composition, colour,
    source, kind, cell), and its energies and values, each on its own grid, to the last bit.

    Parameters
    ----------
    references
        A reference set with ascending energies.
    path
        The file to write, ``.toml`` by custom.
    overwrite
        Replace a file that is there.

    Returns
    -------
    Path
        The file, which appears at once when it is complete. Eager.

    Raises
    ------
    FileExistsError
        There is such a file, and `overwrite` is off.
    ReferenceSpectrumError, SchemaError
        It is no reference set, or holds what such a file cannot: `write_netcdf` can.

    Examples
    --------
    >>> import tempfile, pathlib, xstxm
    >>> references = xstxm.testing.simulate_references()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = xstxm.write_references(references, pathlib.Path(folder) / "vanadates.toml")
    ...     xstxm.read_references(path).equals(references)
    True
    """
    references = _units.dequantify(references)
    checked_absorption(references)
    require_plain(references)
    table = {
        MARK: VERSION,
        "attrs": plain(references.attrs),
        "variables": {str(name): plain(item.attrs) for name, item in references.variables.items() if item.attrs},
        "references": tables_of(references),
    }
    return write_toml(table, path, overwrite=overwrite)


def require_plain(references: xr.Dataset) -> None:
    """Refuse what a library cannot hold, all of it at once."""
    energy = np.asarray(references[ENERGY], dtype=float)
    if not (np.diff(energy) > 0).all():
        raise SchemaError("the energies of a library ascend, each once: references.sortby('energy') first")
    refused = [str(name) for name in references.variables if not _is_held(references, name)]
    if refused:
        raise SchemaError(
            f"a library cannot hold {', '.join(map(repr, refused))}, only numbers (reference, energy), and coordinates of "
            "plain words and numbers along reference: .drop_vars them first, or use write_netcdf"
        )


def _is_held(references: xr.Dataset, name: Hashable) -> bool:
    array = references[name]
    if name == ENERGY:
        return True
    if name in references.data_vars:
        return {*array.dims} == {REFERENCE, ENERGY} and array.dtype.kind in "fiu"
    plain_words = array.dtype.kind != "O" or all(isinstance(item, str) for item in np.asarray(array))
    return array.dims == (REFERENCE,) and array.dtype.kind in "biufUTO" and plain_words and name != NAME


def tables_of(references: xr.Dataset) -> list[dict[str, Any]]:
    """Return a table for each reference, with the energies at which it has data.

    Energies at which none has, as a selection leaves them, stay with the first, as ``nan``.
    """
    energy = np.asarray(references[ENERGY], dtype=float)
    spectra = {str(name): _rows(array) for name, array in references.data_vars.items()}
    along = {str(name): _plain_values(coord) for name, coord in references.coords.items() if name != ENERGY}
    there = np.any([~np.isnan(rows) for rows in spectra.values()], axis=0)
    there[0] |= ~there.any(axis=0)
    return [
        {
            NAME: along[REFERENCE][k],
            **{name: values[k] for name, values in along.items() if name != REFERENCE},
            ENERGY: energy[here].tolist(),
            **{name: rows[k, here].tolist() for name, rows in spectra.items()},
        }
        for k, here in enumerate(there)
    ]


def _rows(array: xr.DataArray) -> np.ndarray:
    return np.asarray(array.transpose(REFERENCE, ENERGY), dtype=float)


def _plain_values(coord: xr.DataArray) -> list[Any]:
    values = np.asarray(coord)
    return [str(item) for item in values] if values.dtype.kind in "UTO" else values.tolist()
