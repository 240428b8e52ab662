"""Spectra and tables written as text."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from xstxm import units as _units
from xstxm.conventions import ENERGY, REFERENCE, require_energy, require_variable
from xstxm.errors import SchemaError
from xstxm.io._base import write_table
from xstxm.io._sources import listed
from xstxm.io._writing import warn_of_loss
from xstxm.io.spectra.columns import ERRORS
from xstxm.io.spectra.table import COMMENTS
from xstxm.io.spectra.written import MARK, OWN_ENERGIES

if TYPE_CHECKING:
    import pandas as pd

N_PIXELS = "n_pixels"
_PARTING = ",;\t\r\n\"'"


def write_csv(
    obj: xr.DataArray | xr.Dataset | pd.DataFrame,
    path: str | os.PathLike[str],
    *,
    signal: str | None = None,
    overwrite: bool = False,
) -> Path:
    r"""Write spectra, or a table, as text (.csv): a column for each, their standard errors beside.

    Parameters
    ----------
    obj
        References, or a result with spectra: of regions, clusters, components, I0. An array (energy) or (name, energy). Or a
        table, as of `xstxm.particle_table`, `xstxm.history`, ``result.to_dataframe()``.
    path
        The file to write.
    signal
        Which spectra of a Dataset; its only ones by default.
    overwrite
        Replace a file that is there.

    Returns
    -------
    Path
        The file, every digit of the numbers in it. Of spectra a line ``# spectra of xstxm, values in 1/nm``, a row of names,
        ``energy (eV),V2O5,V2O5_stderr``, and a row for each energy, ``nan`` where a reference has no data; of a region
        also how many pixels it has; `xstxm.read_references` and `xstxm.read_i0` return the same
        values and units. Other variables, and coordinates as a composition, are named in a warning. It appears as a
        whole or not at all. Eager.

    Raises
    ------
    FileExistsError
        There is such a file, and `overwrite` is off.
    SchemaError
        No spectra, several kinds of them and no `signal`, or names that a table cannot hold.
    MissingUnitsError
        The energies have no units.

    Examples
    --------
    >>> import pathlib, tempfile, xstxm
    >>> clusters = xstxm.cluster(xstxm.optical_density(xstxm.testing.simulate_stack(shape=(24, 32), seed=0)), 2, seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = xstxm.write_csv(clusters, pathlib.Path(folder) / "clusters.csv", signal="cluster_spectra")
    ...     print(*path.read_text().splitlines()[:2], sep="\n")
    # spectra of xstxm, values in 1
    energy (eV),1,1_std,2,2_std
    """
    if not isinstance(obj, xr.DataArray | xr.Dataset):
        return write_table([_text_of(obj)], path, overwrite=overwrite)
    obj = _units.dequantify(obj)
    spectra = _spectra(obj, signal)
    beside = {} if isinstance(obj, xr.DataArray) else {end: obj[f"{spectra.name}{end}"] for end in _ends(obj, spectra)}
    number = _pixels(obj, spectra)
    every = obj.variables if isinstance(obj, xr.Dataset) and signal is None else spectra.coords
    kept = {*spectra.dims, spectra.name, *(array.name for array in beside.values()), *([N_PIXELS] if number else [])}
    warn_of_loss("a table of spectra holds one kind", every, kept)
    return write_table(_lines(spectra, beside, number), path, overwrite=overwrite)


def _lines(spectra: xr.DataArray, beside: Mapping[str, xr.DataArray], comments: Sequence[str]) -> list[str]:
    """Return the units, what else there is to say, the names of the columns, and a row for each energy."""
    energy = require_energy(spectra)
    values = {
        end: np.atleast_2d(np.asarray(array.transpose(..., ENERGY), dtype=float))
        for end, array in {"": spectra, **beside}.items()
    }
    columns = {f"{name}{end}": values[end][row] for row, name in enumerate(_names(spectra, values)) for end in values}
    rows = np.column_stack([np.asarray(energy, dtype=float), *columns.values()])
    own = [OWN_ENERGIES] if REFERENCE in spectra.dims and np.isnan(rows).any() else []
    return [
        f"{MARK}{spectra.attrs.get('units', 'unknown units')}",
        *own,
        *(f"# {comment}" for comment in comments),
        ",".join([f"{ENERGY} ({_units.units_of(energy)})", *columns]),
        *(",".join(repr(float(value)) for value in row) for row in rows),
    ]


def _text_of(table: object) -> str:
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        raise SchemaError(
            f"CSV holds spectra or a table, found a {type(table).__name__}: give xarray or pandas objects"
        )
    return table.to_csv(lineterminator="\n").removesuffix("\n")


def _spectra(obj: xr.DataArray | xr.Dataset, signal: str | None) -> xr.DataArray:
    """Return the spectra to write, (energy) or (name, energy)."""
    if isinstance(obj, xr.Dataset):
        found = [str(name) for name, array in obj.data_vars.items() if _is_spectral(array)]
        of_others = {f"{name}{end}" for name in found for end in (*ERRORS, "_variance")} | {N_PIXELS}
        found = [name for name in found if name not in of_others]
        if signal is None and len(found) != 1:
            held = f"spectra: {', '.join(found)}): pass signal=" if found else "none): take the mean of a region first"
            raise SchemaError(f"CSV holds one kind of spectra (found {held}, or write a table, e.g. .to_dataframe()")
        obj = require_variable(obj, signal or found[0], "pass signal= with the name of a variable")
    if not _is_spectral(obj):
        raise SchemaError(
            f"CSV holds spectra (energy) or (name, energy), found {obj.dtype} of dims {obj.dims}: take the mean of a region "
            "first, e.g. .stxm.spectrum(region)"
        )
    return obj.transpose(..., ENERGY)


def _pixels(obj: xr.DataArray | xr.Dataset, spectra: xr.DataArray) -> list[str]:
    """Return how many pixels a spectrum is the mean of, in words; nothing where it is not the mean of a region."""
    if isinstance(obj, xr.DataArray) or N_PIXELS not in obj or obj[N_PIXELS].dims != (ENERGY,) or spectra.ndim > 1:
        return []
    number = np.asarray(obj[N_PIXELS])
    low, high = int(number.min()), int(number.max())
    return [f"mean of {low} pixels" if low == high else f"mean of {low} to {high} pixels"]


def _is_spectral(array: xr.DataArray) -> bool:
    others = {*array.dims} - {ENERGY, "y", "x", "position"}
    return ENERGY in array.dims and len(others) == array.ndim - 1 <= 1 and array.dtype.kind in "iuf"


def _ends(obj: xr.Dataset, spectra: xr.DataArray) -> list[str]:
    """Return the endings of the variables that are errors of the spectra."""
    return [end for end in ERRORS if f"{spectra.name}{end}" in obj]


def _names(spectra: xr.DataArray, ends: Iterable[str]) -> Sequence[str]:
    """Return the names of spectra, which the file has to keep apart, also with the endings of their errors."""
    if spectra.ndim == 1:
        return [str(spectra.name or "value")]
    names = [str(name) for name in np.asarray(spectra[spectra.dims[0]])]
    wrong = [name for name in names if not _can_stand(name)]
    columns = [f"{name}{end}" for end in ends for name in names]
    if wrong or len({*columns}) < len(columns):
        raise SchemaError(
            f"{listed([repr(name) for name in wrong or names])} cannot be told apart in a table: rename them first, "
            "without commas, semicolons, quotes and blanks at the ends"
        )
    return names


def _can_stand(name: str) -> bool:
    return bool(name) and name == name.strip() and name[0] not in COMMENTS and not {*name} & {*_PARTING}
