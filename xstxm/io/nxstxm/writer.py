"""Stacks written as NXstxm."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from xstxm import units as _units
from xstxm.conventions import ENERGY, pixel_dims, require_energy, require_variable
from xstxm.errors import MissingCoordinateError, SchemaError
from xstxm.io import _base
from xstxm.io._endings import require_ending
from xstxm.io._pixels_first import store_frames
from xstxm.io._replacing import replacing, require_room
from xstxm.io._writing import warn_of_loss
from xstxm.io.nxstxm.layout import nexus_group
from xstxm.io.nxstxm.record import write_record
from xstxm.steps import stage

if TYPE_CHECKING:
    import h5py

DEFINITION_VERSION = "1.1"
_FIELDS = {"energy": "energy", "y": "sample_y", "x": "sample_x", "position": "line_position"}
_RESERVED = {
    *("title", "start_time", "end_time", "definition", "program_name", "counter0"),
    *("instrument", "sample", "control", "notes"),
}
_STEP = re.compile(r"process(_\d+)?")
_SCAN_TYPES = ("sample point spectrum", "sample line spectrum", "sample image", "sample image stack")


def write_nxstxm(stack: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a stack as an NXstxm file (NeXus HDF5).

    `intensity` becomes the detector ``counter0``, further variables on the same grid detectors of their
    own name, such as `optical_density`, and maps (y, x) groups of their own name; energies, positions, `dwell_time`,
    `ring_current`, title and times go where the definition wants them. Every recorded step becomes an ``NXprocess``.
    `xstxm.open_stack` returns the same numbers, as float32, and the same record. The file appears at once, when it is
    complete.

    Parameters
    ----------
    stack
        A stack, line scan or point spectrum with `intensity` or `optical_density`. Lazy stacks are written chunk by
        chunk.
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
    MissingVariableError, MissingCoordinateError, SchemaError
        The object is no stack, or a variable has a name that the format keeps for itself.
    MissingUnitsError
        A coordinate or variable to be written has no units.

    Examples
    --------
    >>> import tempfile, pathlib, xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)[["intensity"]]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     xstxm.write_nxstxm(stack, pathlib.Path(folder) / "particle.hdf5").name
    'particle.hdf5'
    """
    require_ending(path, "nxstxm")
    stack = _checked(stack)
    with replacing(path, overwrite, stack.nbytes) as (target, part):
        require_room(part, stack.nbytes)
        import h5py

        with h5py.File(part, "w") as file:
            _write(file, stack)
    return target


def _checked(stack: xr.Dataset) -> xr.Dataset:
    """Return the stack with its dimensions in the order of the definition, and its units canonical."""
    if not isinstance(stack, xr.Dataset):
        raise SchemaError("NXstxm holds a Dataset with 'intensity': call .to_dataset(name='intensity') first")
    stack = _units.dequantify(stack)
    main = _main(stack)
    require_energy(main)
    dims = pixel_dims(main)
    if set(dims) not in (set(), {"position"}, {"y", "x"}):
        raise SchemaError(
            f"{main.name} has dims {main.dims}: NXstxm holds (energy, y, x), (energy, position) or (energy): "
            "select along the others first, e.g. stack.isel(theta=0)"
        )
    for dim in dims:
        if dim not in stack.coords and dim != "position":
            raise MissingCoordinateError(str(dim))
    order = [dim for dim in (ENERGY, "y", "x", "position") if dim in main.dims]
    stack = stack.transpose(*order, ...)
    _check_names(stack, _main(stack))
    return stack


def _main(stack: xr.Dataset) -> xr.DataArray:
    """Return the variable that the file is about: the counts, or the optical density where there are none."""
    name = "optical_density" if "intensity" not in stack and "optical_density" in stack else "intensity"
    return require_variable(stack, name, "NXstxm holds scans; use write_netcdf or write_zarr for results")


def _write(file: h5py.File, stack: xr.Dataset) -> None:
    from xstxm import __version__

    main = _main(stack)
    first = "counter0" if main.name == "intensity" else str(main.name)
    file.attrs.update({"NX_class": "NXroot", "default": "entry1", "creator": "xstxm"})
    entry = nexus_group(file, "entry1", "NXentry")
    entry.attrs["default"] = first
    for name in ("title", "start_time", "end_time"):
        if stack.attrs.get(name):
            entry[name] = str(stack.attrs[name])
    for name, said, version in (
        ("definition", "NXstxm", DEFINITION_VERSION),
        ("program_name", "xstxm", __version__),
    ):
        entry[name] = said
        entry[name].attrs["version"] = version
    others = {str(name): array for name, array in stack.data_vars.items() if name != main.name}
    detectors = {first: main} | {name: array for name, array in others.items() if _is_detector(array, main)}
    maps = {name: array for name, array in others.items() if _is_map(array, main)}
    kept = {*detectors, *maps, *(name for name in stack.coords if _is_kept(str(name), stack))}
    warn_of_loss("NXstxm holds images on one grid", [*others, *stack.coords], kept)
    arrays = detectors | maps
    exposures = (stack[name] for name in ("dwell_time", "ring_current") if name in stack.coords)
    of_pixels = [array.name for array in exposures if array.dims == main.dims and array.ndim > 1]
    stages = len(arrays) + len(of_pixels)
    for number, (name, array) in enumerate(arrays.items(), 1):
        with stage(number, stages):
            _write_data(nexus_group(entry, name, "NXdata"), array, stack)
    if "dwell_time" in of_pixels:
        with stage(len(arrays) + 1, stages):
            _write_dwell_of_pixels(entry, stack, list(detectors))
    _write_instrument(entry, stack, list(detectors))
    _write_sample(entry, stack)
    with stage(stages, stages):
        _write_control(entry, stack)
    write_record(entry, stack)


def _is_detector(array: xr.DataArray, main: xr.DataArray) -> bool:
    """Tell whether a variable is an array of numbers on the grid of the scan."""
    return array.dims == main.dims and array.dtype.kind in "iuf"


def _is_map(array: xr.DataArray, main: xr.DataArray) -> bool:
    """Tell whether a variable is an image of numbers with units, on the pixels of the scan."""
    return array.dims == ("y", "x") == pixel_dims(main) and array.dtype.kind in "iuf" and "units" in array.attrs


def _check_names(stack: xr.Dataset, main: xr.DataArray) -> None:
    """Refuse names of detectors that the file uses for something else, or cannot tell apart."""
    every = [str(name) for name in stack.data_vars]
    twice = sorted({name for name in every if every.count(name) > 1})
    if twice:
        raise SchemaError(f"variable names given twice: {', '.join(map(repr, twice))}: rename them first")
    groups = [name for name, array in stack.data_vars.items() if _is_detector(array, main) or _is_map(array, main)]
    for name in map(str, groups):
        if name in _RESERVED or _STEP.fullmatch(name) or "/" in name or not name.strip("."):
            raise SchemaError(f"no detector can be called {name!r} in NXstxm: rename it first")


def _is_kept(name: str, stack: xr.Dataset) -> bool:
    """Tell whether a coordinate has a place in the file."""
    if name in ("dwell_time", "ring_current"):
        one = ((),) if name == "dwell_time" else ()
        return name in stack.coords and stack[name].dims in (*one, (ENERGY,), _main(stack).dims)
    return name == ENERGY or (name in ("y", "x", "position") and stack[name].ndim == 1)


def _field(group: h5py.Group, name: str, array: xr.DataArray, wanted: str) -> None:
    group[name] = _base.convert(np.asarray(array, dtype=float), _units.units_of(array), wanted, str(array.name))
    group[name].attrs["units"] = wanted


def _write_data(group: h5py.Group, array: xr.DataArray, stack: xr.Dataset) -> None:
    group.attrs["signal"] = "data"
    group.attrs["axes"] = [_FIELDS[str(dim)] for dim in array.dims]
    if ENERGY in array.dims:
        _write_scan(group, stack)
    for name in ("y", "x", "position"):
        if name in stack.coords and stack[name].ndim == 1:
            _field(group, _FIELDS[name], stack[name], "um")
    if "position" in array.dims and "position" not in stack.coords:
        group["line_position"] = np.arange(stack.sizes["position"], dtype=float)
    store_frames(array, group.create_dataset("data", array.shape, array.dtype))
    group["data"].attrs["units"] = _units.units_of(array)


def _write_scan(group: h5py.Group, stack: xr.Dataset) -> None:
    """Write what a detector has and a map has not."""
    group["stxm_scan_type"] = _scan_type(stack)
    _field(group, "energy", stack[ENERGY], "eV")
    if "dwell_time" in stack.coords and {*stack["dwell_time"].dims} <= {ENERGY}:
        _field(group, "count_time", stack["dwell_time"], "s")


def _write_dwell_of_pixels(entry: h5py.Group, stack: xr.Dataset, detectors: list[str]) -> None:
    """Write it once, in ms, for all detectors."""
    import h5py

    first, *others = detectors
    dwell = _units.to_units(stack["dwell_time"], "ms")
    store_frames(dwell, entry[first].create_dataset("count_time", dwell.shape, dwell.dtype))
    entry[first]["count_time"].attrs["units"] = "ms"
    for name in others:
        entry[name]["count_time"] = h5py.SoftLink(f"{entry.name}/{first}/count_time")


def _scan_type(stack: xr.Dataset) -> str:
    """Return what the dimensions say, which a selection has changed; or what a stack says it is beside these."""
    said = stack.attrs.get("scan_type")
    if said and said not in _SCAN_TYPES:
        return str(said)
    pixels = len(pixel_dims(_main(stack)))
    return _SCAN_TYPES[pixels + (pixels == 2 and stack.sizes[ENERGY] > 1)]


def _write_instrument(entry: h5py.Group, stack: xr.Dataset, detectors: list[str]) -> None:
    import h5py

    instrument = nexus_group(entry, "instrument", "NXinstrument")
    source = nexus_group(instrument, "source", "NXsource")
    source["type"], source["probe"] = "Synchrotron X-ray Source", "x-ray"
    if stack.attrs.get("facility"):
        source["name"] = str(stack.attrs["facility"])
    if stack.attrs.get("beamline"):
        instrument["beamline"] = str(stack.attrs["beamline"])
    _field(nexus_group(instrument, "monochromator", "NXmonochromator"), "energy", stack[ENERGY], "eV")
    for name in detectors:
        nexus_group(instrument, f"detector_{name}", "NXdetector")["data"] = h5py.SoftLink(f"{entry.name}/{name}/data")


def _write_sample(entry: h5py.Group, stack: xr.Dataset) -> None:
    sample = nexus_group(entry, "sample", "NXsample")
    sample["rotation_angle"] = 0.0
    if stack.attrs.get("sample"):
        sample["name"] = str(stack.attrs["sample"])


def _write_control(entry: h5py.Group, stack: xr.Dataset) -> None:
    """Write the ring current, where there is one, as the monitor of the flux."""
    if "ring_current" not in stack.coords:
        return
    control, current = nexus_group(entry, "control", "NXmonitor"), stack["ring_current"]
    if current.dims == (ENERGY,):
        _field(control, "data", current, "mA")
    elif current.dims == _main(stack).dims:
        current = _units.to_units(current, "mA")
        store_frames(current, control.create_dataset("data", current.shape, current.dtype))
        control["data"].attrs["units"] = "mA"
