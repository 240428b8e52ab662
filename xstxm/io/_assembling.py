"""One stack of files of one energy each."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from xarray.core import indexing

from xstxm.conventions import CONVENTIONS, ENERGY, SPECS
from xstxm.errors import MetadataWarning, MissingDimensionError, UnsupportedScanError, warn
from xstxm.io import _base, _sources
from xstxm.io._base import FrameArray

_OF_A_FRAME = ("dwell_time", "ring_current")
_TOLERANCE = 0.01
"""Largest difference of positions that are the same, in pixels."""


def assemble(stacks: Mapping[Path, xr.Dataset], name: str) -> xr.Dataset:
    """Return files of one energy each as one stack, sorted by energy, with `source_file` (energy). Lazy.

    Raises
    ------
    UnsupportedScanError
        A file holds several energies, or differs from the first in variables, shape or positions: all are named.
    """
    first = next(iter(stacks.values()))
    problems = {path.name: _difference(stack, first) for path, stack in stacks.items()}
    offenders = [f"{file} ({problem})" for file, problem in problems.items() if problem]
    if offenders:
        do = "give a pattern that leaves them out, or open each with xstxm.open_tree"
        raise UnsupportedScanError(name, "files of one energy on one grid", _sources.listed(offenders), do)
    unknown = _unknown(stacks, name)
    frames = [_frame(stack, first, path, unknown) for path, stack in stacks.items()]
    frames.sort(key=lambda frame: float(frame[ENERGY][0]))
    unread = [str(name) for name, array in first.data_vars.items() if not (array.chunks or array.variable._in_memory)]
    out = xr.concat(
        [frame.drop_vars(unread) for frame in frames],
        ENERGY,
        data_vars="all",
        coords="different",
        compat="equals",
        join="override",
        combine_attrs="drop_conflicts",
    )
    out = out.assign({variable: _joined([frame.variables[variable] for frame in frames]) for variable in unread})
    _base.check_energies(np.asarray(out[ENERGY]), name)
    for variable in out.variables.values():
        variable.encoding = {"preferred_chunks": {ENERGY: 1}} if ENERGY in variable.dims else {}
    out.attrs["Conventions"] = CONVENTIONS
    if out.attrs.get("scan_type") == _base.scan_type(out.dims, 1):
        out.attrs["scan_type"] = _base.scan_type(out.dims, out.sizes[ENERGY])
    out.set_close(_sources.closing(stacks.values()))
    return out


def _difference(stack: xr.Dataset, first: xr.Dataset) -> str:
    """Say why a file cannot stand beside the first one; nothing where it can."""
    if ENERGY not in stack.dims:
        raise MissingDimensionError(ENERGY, stack.dims, "store each energy with its dimension")
    if stack.sizes[ENERGY] != 1:
        return f"{stack.sizes[ENERGY]} energies"
    if {**stack.sizes} != {**first.sizes}:
        return "shape " + " x ".join(str(size) for dim, size in stack.sizes.items() if dim != ENERGY)
    if {*stack.data_vars} != {*first.data_vars}:
        return f"variables {', '.join(map(str, stack.data_vars))}"
    if _shared(stack) != _shared(first):
        return f"coordinates {', '.join(map(str, stack.coords))}"
    units = [(str(name), stack[name].attrs.get("units"), first[name].attrs.get("units")) for name in first.data_vars]
    other = [f"{variable} in {found}" for variable, found, wanted in units if found != wanted]
    return other[0] if other else _moved(stack, first)


def _is_of_a_frame(name: Hashable, coord: xr.DataArray) -> bool:
    """Tell whether a coordinate is one number that belongs to the frame, and may be missing in some files."""
    return name in _OF_A_FRAME and coord.size == 1


def _shared(stack: xr.Dataset) -> set[Hashable]:
    """Return the coordinates that all files have to have."""
    return {name for name, coord in stack.coords.items() if not _is_of_a_frame(name, coord)}


def _moved(stack: xr.Dataset, first: xr.Dataset) -> str:
    for dim in (dim for dim in first.dims if dim != ENERGY and dim in first.coords):
        here, there = np.asarray(stack[dim], dtype=float), np.asarray(first[dim], dtype=float)
        step = np.abs(np.diff(there)).min() if there.size > 1 else 1.0
        if not np.allclose(here, there, rtol=0, atol=_TOLERANCE * step):
            return f"{dim} from {here[0]:g} to {here[-1]:g} um"
    return ""


def source_files(names: Sequence[str]) -> xr.Variable:
    """Return the coordinate that says which file each energy came from."""
    spec = SPECS["source_file"]
    return xr.Variable((ENERGY,), list(names), {"long_name": spec.long_name, "comment": spec.doc})


def _unknown(stacks: Mapping[Path, xr.Dataset], name: str) -> dict[str, xr.Variable]:
    """Return NaN for each coordinate of a frame that only some of the files say, with a warning where one is silent."""
    unknown = {}
    for coord in _OF_A_FRAME:
        found = [stack[coord] for stack in stacks.values() if coord in stack.coords]
        saying = [array for array in found if _is_of_a_frame(coord, array)]
        if saying:
            unknown[coord] = xr.Variable((), np.nan, saying[0].attrs)
        silent = [path.name for path, stack in stacks.items() if saying and coord not in stack.coords]
        if silent:
            said = f"{_sources.listed(silent)} without a {coord}, which is NaN there"
            warn(f"{_sources.name_of(name)}: {said}", MetadataWarning)
    return unknown


def _frame(stack: xr.Dataset, first: xr.Dataset, path: Path, unknown: Mapping[str, xr.Variable]) -> xr.Dataset:
    """Return a file as a frame on the positions of the first, with what it says of itself along the energy."""
    places = {dim: first[dim].variable for dim in first.dims if dim != ENERGY and dim in first.coords}
    frame = stack.assign_coords(places)
    along = {name: frame.variables.get(name, nan).set_dims({ENERGY: 1}) for name, nan in unknown.items()}
    return frame.assign_coords({"source_file": source_files([path.name]), **along})


@dataclass(frozen=True)
class _Files:
    """Reads the frame of one file."""

    variables: Sequence[xr.Variable]

    def __call__(self, index: int) -> np.ndarray:
        return np.asarray(self.variables[index].isel({ENERGY: 0}, missing_dims="ignore"))


def _joined(variables: Sequence[xr.Variable]) -> xr.Variable:
    """Return arrays that wait to be read, images among them, as one that does too; `xarray.concat` would read them all."""
    first = variables[0].isel({ENERGY: 0}, missing_dims="ignore")
    whole = FrameArray((len(variables), *first.shape), _Files(variables), first.dtype.str)
    return xr.Variable((ENERGY, *first.dims), indexing.LazilyIndexedArray(whole), first.attrs)
