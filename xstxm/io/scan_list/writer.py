"""A scan list written as a table."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import xarray as xr

from xstxm import units
from xstxm.conventions import ENERGY, dwell_time_of, require_energy
from xstxm.errors import MissingCoordinateError, SchemaError
from xstxm.io._base import write_table


def write_scan_list(
    design: xr.DataArray | xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False
) -> Path:
    """Write energies and dwell times as a table (.csv), one line for each energy, in their order.

    Parameters
    ----------
    design
        A result of `design_energies` for which a time was given, or any stack with a `dwell_time` coordinate.
    path
        The file to write.
    overwrite
        Replace a file that is there.

    Returns
    -------
    Path
        The file: a row of names and units, ``energy (eV),dwell (ms)``, then the numbers, rounded to 0.1 meV and 0.1 us.
        It appears as a whole or not at all. Eager.

    Raises
    ------
    FileExistsError
        There is such a file, and `overwrite` is off.
    MissingCoordinateError
        No dwell time.
    SchemaError
        Dwell times that differ between pixels.

    Examples
    --------
    >>> import pathlib, tempfile, xstxm
    >>> refs = xstxm.testing.simulate_references()
    >>> design = xstxm.design_energies(refs, 6, criterion="a-optimal", dwell="2 ms")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = xstxm.write_scan_list(design, pathlib.Path(folder) / "scan.csv")
    ...     print(path.read_text().splitlines()[0])
    energy (eV),dwell (ms)
    """
    design = units.dequantify(design)
    energy = units.to_units(require_energy(design).astype(float), "eV", "the energy axis")
    dwell = dwell_time_of(design)
    if dwell is None:
        raise MissingCoordinateError("dwell_time", "design with dwell= or total_time=, or assign the coordinate")
    if not {*dwell.dims} <= {ENERGY}:
        raise SchemaError(f"'dwell_time' has dims {dwell.dims}, a scan list holds (energy): select along the others")
    rows = zip(np.asarray(energy), np.broadcast_to(np.asarray(dwell), energy.shape), strict=True)
    lines = ["energy (eV),dwell (ms)", *(f"{at:.4f},{time:.4f}" for at, time in rows)]
    return write_table(lines, path, overwrite=overwrite)
