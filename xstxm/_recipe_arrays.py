"""Arrays in a recipe: small ones as plain lists of a TOML file, exact; large ones as netCDF beside it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from xstxm.errors import CorruptFileError, FileFormatError, RecipeError, shown
from xstxm.io._toml import plain, unplain
from xstxm.io.netcdf import is_netcdf, open_netcdf_stack, write_netcdf

Given: TypeAlias = xr.DataArray | xr.Dataset | np.ndarray

LISTED = 20_000
"""Most numbers of an input that stand in the recipe itself."""
_TYPES = {f"{word}{bits}" for word in ("int", "uint", "float") for bits in (8, 16, 32, 64)} - {"float8"} | {
    "bool",
    "str",
}


def is_listed(array: Given) -> bool:
    """Tell whether an input is small and plain enough to stand in the recipe itself."""
    parts = list(as_labelled(array).variables.values())
    return sum(part.size for part in parts) <= LISTED and all(_type_of(part) in _TYPES for part in parts)


def as_labelled(array: Given) -> xr.Dataset:
    """Return an input as a Dataset; the array of an unlabelled or unnamed one is `data`."""
    if isinstance(array, xr.Dataset):
        return array
    labelled = xr.DataArray(array) if isinstance(array, np.ndarray) else array
    return labelled.to_dataset(name="data")


def as_kind(labelled: xr.Dataset, kind: str, name: str | None) -> Given:
    """Return what `as_labelled` was given."""
    if kind == "Dataset":
        return labelled
    array = labelled["data"].rename(name)
    return np.asarray(array) if kind == "ndarray" else array


def listed(array: Given) -> dict[str, Any]:
    """Return an input as plain lists and words."""
    labelled = as_labelled(array)
    return {
        "attrs": plain(labelled.attrs),
        "coords": {str(name): _listed(coord.variable) for name, coord in labelled.coords.items()},
        "data": {str(name): _listed(item.variable) for name, item in labelled.data_vars.items()},
    }


def unlisted(table: Mapping[str, Any], path: Path, what: str) -> xr.Dataset:
    """Return the Dataset that `listed` wrote, or raise `CorruptFileError`."""
    try:
        coords, data = ({name: _variable(item) for name, item in table[part].items()} for part in ("coords", "data"))
        return xr.Dataset(data, coords, attrs=unplain(table["attrs"]))
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        do = "restore the file, or save the recipe again"
        raise CorruptFileError(path, f"arrays of equal lengths in {what}", shown(str(error)), do) from error


def _type_of(variable: xr.Variable) -> str:
    if variable.dtype.kind in "US" or (
        variable.dtype.kind in "OT" and all(isinstance(item, str) for item in np.asarray(variable).flat)
    ):
        return "str"
    return variable.dtype.newbyteorder("=").name


def _listed(variable: xr.Variable) -> dict[str, Any]:
    values = np.asarray(variable)
    return {
        "dims": [str(dim) for dim in variable.dims],
        "type": _type_of(variable),
        "attrs": plain(variable.attrs),
        "values": values.tolist(),
    }


def _variable(table: Mapping[str, Any]) -> xr.Variable:
    if table["type"] not in _TYPES:
        raise ValueError(f"unknown type {shown(table['type'])}")
    return xr.Variable(table["dims"], np.array(table["values"], dtype=table["type"]), unplain(table["attrs"]))


def write_beside(array: Given, path: Path) -> None:
    """Write a large input as netCDF, in one step or not at all."""
    try:
        write_netcdf(as_labelled(array), path, overwrite=True)
    except (TypeError, ValueError) as error:
        do = "leave it out of inputs, and pass it again when the recipe is applied"
        raise RecipeError(f"{path.name} cannot hold this input ({shown(str(error))}): {do}") from error


def read_beside(path: Path) -> xr.Dataset:
    """Return what is in a netCDF file, in memory. Eager."""
    if not path.is_file():
        raise FileFormatError(
            path, "a netCDF file beside the recipe", "no such file", "put it there, or pass it as input"
        )
    if is_netcdf(path):
        with closing(open_netcdf_stack(path)) as opened:
            return opened.load()
    try:
        return xr.load_dataset(path, engine="h5netcdf")
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        do = "restore the file, or save the recipe again"
        raise CorruptFileError(path, "a netCDF file", shown(str(error)), do) from error
