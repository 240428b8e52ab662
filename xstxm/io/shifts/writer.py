"""Shifts written as a table."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import xarray as xr

from xstxm import units
from xstxm.conventions import ENERGY, require_energy, require_variable
from xstxm.errors import SchemaError
from xstxm.io._base import write_table


def write_shifts(shifts: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write the shifts of the frames of a stack as a table (.csv) that `read_shifts` reads.

    Energies and shifts only, to the last digit; standard errors and flags go to netCDF with `write_netcdf`.

    Parameters
    ----------
    shifts
        `shift_y` and `shift_x` (energy): a result of `estimate_shifts` or `read_shifts`, or an aligned stack.
    path
        The file to write.
    overwrite
        Replace a file that is there.

    Returns
    -------
    Path
        The file. Eager.

    Raises
    ------
    FileExistsError
        There is such a file, and `overwrite` is off.
    MissingVariableError, MissingUnitsError
        No shifts, or shifts without units.
    SchemaError
        Frames along more than energy, or shifts that come with a magnification and rotation.

    Examples
    --------
    >>> import pathlib, tempfile, xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(48, 56), drift="60 nm", seed=0).isel(energy=slice(60, 80))
    >>> shifts = xstxm.estimate_shifts(stack)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = xstxm.write_shifts(shifts, pathlib.Path(folder) / "shifts.csv")
    ...     again = xstxm.read_shifts(path, stack)
    >>> bool((again.shift_x == shifts.shift_x).all())
    True
    """
    shifts = units.dequantify(shifts)
    columns = [require_energy(shifts), *(_checked(shifts, f"shift_{axis}") for axis in ("x", "y"))]
    head = ",".join(f"{array.name} ({units.units_of(array)})" for array in columns)
    rows = np.stack([np.asarray(array, dtype=float) for array in columns], axis=1)
    lines = [
        "# added to the positions of a frame, these shifts move it onto the others",
        head,
        *(",".join(repr(float(value)) for value in row) for row in rows),
    ]
    return write_table(lines, path, overwrite=overwrite)


def _checked(shifts: xr.Dataset, name: str) -> xr.DataArray:
    found = require_variable(shifts, name, "pass a result of estimate_shifts or read_shifts")
    if found.dims != (ENERGY,):
        raise SchemaError(
            f"{name!r} has dims {found.dims}, a table holds (energy): select along the others, or use write_netcdf"
        )
    lost = [key for key in ("magnification", "rotation") if key in shifts]
    if lost:
        raise SchemaError(f"a table of shifts holds no {' and '.join(lost)}: use write_netcdf")
    return found
