"""Folders and patterns: which files they hold, and one stack of files of one energy each."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xstxm.conventions import CONVENTIONS, ENERGY, SPECS
from xstxm.errors import FileFormatError, MissingDimensionError, OptionError, UnsupportedScanError
from xstxm.io import _base
from xstxm.io._format import Format, first_of
from xstxm.io.formats import FORMATS

_SIDECARS = {
    *(".xim", ".xsp", ".txt", ".csv", ".tsv", ".dat", ".json", ".xml", ".log", ".md", ".pdf", ".pfhdr"),
    ".aln",
}
_PICTURES = {".png", ".jpg", ".jpeg", ".gif", ".svg"}
_TOLERANCE = 0.01
"""Largest difference of positions that are the same, in pixels."""


def is_pattern(source: Any) -> bool:
    """Tell whether a path has wildcards and is no file of that name."""
    return isinstance(source, str) and any(mark in source for mark in "*?[") and not Path(source).expanduser().exists()


def is_many(source: Any) -> bool:
    """Tell whether a path stands for several files: a pattern, or a folder that is no store."""
    if is_pattern(source):
        return True
    plain = isinstance(source, str | os.PathLike) and Path(source).expanduser().is_dir()
    return plain and first_of(FORMATS, source, b"") is None


def natural(path: Path) -> tuple[Any, ...]:
    """Return a key that sorts names by the numbers in them, a9 before a10."""
    return tuple((int(part), "") if part.isdigit() else (-1, part.lower()) for part in re.split(r"(\d+)", path.name))


def scans_of(source: str | os.PathLike[str]) -> list[tuple[Path, Format]]:
    """Return the scans in a folder or behind a pattern, in natural order, each with its format.

    Files that belong to scans, and texts and pictures beside them, are passed over.

    Raises
    ------
    FileFormatError
        There is no scan, or a file that is neither a scan nor such a companion.
    """
    found = [(path, first_of(FORMATS, path, _base.head_or_nothing(path))) for path in _files(source)]
    scans = [(path, format) for path, format in found if format is not None]
    others = [
        path.name for path, format in found if format is None and path.suffix.lower() not in _SIDECARS | _PICTURES
    ]
    if not scans:
        inside = _base.listed([path.name for path, _ in found]) or "nothing"
        raise FileFormatError(str(source), "scans", inside, "give a folder or pattern with files of xstxm.formats()")
    if others:
        do = f"name those to open with a pattern, e.g. {Path(source).name}/*{scans[0][0].suffix}"
        raise FileFormatError(str(source), "scans", f"also {_base.listed(others)}", do)
    return scans


def _files(source: str | os.PathLike[str]) -> list[Path]:
    if is_pattern(source):
        pattern = Path(source).expanduser()
        fixed = next(place for place in pattern.parents if not any(mark in str(place) for mark in "*?["))
        found = list(fixed.glob(str(pattern.relative_to(fixed))))
    else:
        found = [path for path in Path(source).expanduser().iterdir() if path.is_file() or path.suffix == ".zarr"]
    return sorted((path for path in found if not path.name.startswith(".")), key=natural)


def open_folder(
    source: str | os.PathLike[str], *, chunks: Any, options: Mapping[str, Any], engine: str = "stxm"
) -> xr.Dataset:
    """Open the only scan of a folder, or all of them, one energy each, as one stack. Lazy.

    Raises
    ------
    FileFormatError
        The files are of several formats, or of another than was asked for; `UnsupportedScanError` where they hold
        several energies each, or lie on different grids.
    OptionError
        An option that the format does not know.
    """
    scans = scans_of(source)
    formats = {format.name: format for _, format in scans}
    if engine != "stxm" and set(formats) != {engine}:
        do = 'give a pattern that leaves the others out, or engine="stxm"'
        raise FileFormatError(str(source), f"files of the format {engine}", ", ".join(formats), do)
    if len(formats) > 1:
        names = [f"{path.name} ({format.name})" for path, format in scans]
        raise FileFormatError(
            str(source), "files of one format", _base.listed(names), "give a pattern, e.g. 'scans/*.hdr'"
        )
    (format,) = formats.values()
    unknown = [option for option in options if option not in format.options]
    if unknown:
        do = (format.refusals or {}).get(unknown[0], f"{format.title} has no such option: leave it out")
        raise OptionError(unknown[0], options[unknown[0]], do)
    paths = [path for path, _ in scans]
    if len(paths) == 1:
        return chunked(format.open(paths[0], **options), chunks)
    if format.assemble is not None:
        return chunked(format.assemble(paths, drop_variables=None, **options), chunks)
    return assemble({path: chunked(format.open(path, **options), chunks) for path in paths}, str(source), chunks)


def chunked(stack: xr.Dataset, chunks: Any) -> xr.Dataset:
    """Return a stack in chunks as `xarray.open_dataset` would: None for none, ``{}`` for those of its file."""
    small = {name: coord.load() for name, coord in stack.coords.items() if coord.ndim < 2}
    if chunks is None:
        return stack
    out = stack.chunk(_own_chunks(stack) if chunks == {} else chunks).assign_coords(small)
    out.set_close(stack.close)
    return out


def _own_chunks(stack: xr.Dataset) -> dict[Any, int]:
    """Return the chunks that a file wants to be read by."""
    return {
        dim: size
        for array in stack.variables.values()
        for dim, size in array.encoding.get("preferred_chunks", {}).items()
    }


def assemble(stacks: Mapping[Path, xr.Dataset], name: str, chunks: Any = None) -> xr.Dataset:
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
        raise UnsupportedScanError(name, "files of one energy on one grid", _base.listed(offenders), do)
    frames = [_frame(stack, first, path) for path, stack in stacks.items()]
    frames.sort(key=lambda frame: float(frame[ENERGY][0]))
    out = xr.concat(
        frames,
        ENERGY,
        data_vars="all",
        coords="different",
        compat="equals",
        join="override",
        combine_attrs="drop_conflicts",
    )
    _base.check_energies(np.asarray(out[ENERGY]), name)
    for variable in out.variables.values():
        variable.encoding = {}
    out.attrs["Conventions"] = CONVENTIONS
    out.set_close(_base.closing(stacks.values()))
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
    units = [(str(name), stack[name].attrs.get("units"), first[name].attrs.get("units")) for name in first.data_vars]
    other = [f"{variable} in {found}" for variable, found, wanted in units if found != wanted]
    return other[0] if other else _moved(stack, first)


def _moved(stack: xr.Dataset, first: xr.Dataset) -> str:
    for dim in (dim for dim in first.dims if dim != ENERGY and dim in first.coords):
        here, there = np.asarray(stack[dim], dtype=float), np.asarray(first[dim], dtype=float)
        step = np.abs(np.diff(there)).min() if there.size > 1 else 1.0
        if not np.allclose(here, there, rtol=0, atol=_TOLERANCE * step):
            return f"{dim} from {here[0]:g} to {here[-1]:g} um"
    return ""


def _frame(stack: xr.Dataset, first: xr.Dataset, path: Path) -> xr.Dataset:
    """Return a file as a frame on the positions of the first, with what it says of itself along the energy."""
    frame = stack.assign_coords({dim: first[dim] for dim in first.dims if dim != ENERGY and dim in first.coords})
    spec = SPECS["source_file"]
    names = xr.Variable((ENERGY,), [path.name], {"long_name": spec.long_name, "comment": spec.doc})
    alone = [name for name in ("dwell_time", "ring_current") if name in frame.coords and not frame[name].dims]
    along = {name: frame[name].variable.set_dims({ENERGY: 1}) for name in alone}
    return frame.assign_coords({"source_file": names, **along})
