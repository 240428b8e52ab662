"""The public functions of the readers and writers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import xarray as xr

from xstxm.conventions import ENERGY
from xstxm.errors import ChoiceError, FileFormatError, OptionError
from xstxm.io import _sources
from xstxm.io._images import Energies, Kind
from xstxm.io._remote import is_url
from xstxm.io._sources import Source
from xstxm.io.chunking import chunk_report, warn_of_frames
from xstxm.io.converting import convert
from xstxm.io.electrochemistry import read_electrochemistry
from xstxm.io.folders import is_many, open_folder, require_chunks, require_dims
from xstxm.io.formats import formats
from xstxm.io.hyperspy import to_hyperspy
from xstxm.io.library import join_references, write_references
from xstxm.io.ncb.writer import write_ncb
from xstxm.io.netcdf import write_netcdf
from xstxm.io.nxstxm.writer import write_nxstxm
from xstxm.io.results import open_result
from xstxm.io.scan_list import write_scan_list
from xstxm.io.sdf import write_sdf
from xstxm.io.shifts import read_shifts, write_shifts
from xstxm.io.spectra.reader import read_i0, read_references
from xstxm.io.spectra.writer import write_csv
from xstxm.io.tiff import write_tiff
from xstxm.io.trees import open_nodes
from xstxm.io.zarr import write_zarr
from xstxm.provenance import recorded
from xstxm.units import LengthLike

__all__ = [
    "chunk_report",
    "convert",
    "formats",
    "join_references",
    "open_result",
    "open_stack",
    "open_tree",
    "read_electrochemistry",
    "read_i0",
    "read_references",
    "read_shifts",
    "to_hyperspy",
    "write_csv",
    "write_ncb",
    "write_netcdf",
    "write_nxstxm",
    "write_references",
    "write_scan_list",
    "write_sdf",
    "write_shifts",
    "write_tiff",
    "write_zarr",
]


@recorded
def open_stack(
    path: Source | Sequence[str | os.PathLike[str]],
    *,
    engine: str = "stxm",
    chunks: int | Mapping[Any, Any] | Literal["auto"] | None = None,
    region: int | None = None,
    entry: str | None = None,
    detector: str | None = None,
    pixel_size: LengthLike | None = None,
    kind: Kind | None = None,
    energies: Energies | None = None,
    axes: str | None = None,
) -> xr.Dataset:
    """Open a scan as a stack; `xarray.open_dataset` with the engines of this package does the same.

    Parameters
    ----------
    path
        The file: the ``.hdr`` of an SDF scan, an NXstxm file, a ``.nc`` or ``.zarr`` that xstxm wrote, or a binary file
        object. A folder, a pattern as ``"night/*.hdr"``, or a list, of the only scan in it, or of files of one energy each,
        which become one stack, sorted by energy, with the coordinate `source_file`. Or a URL of a file or a Zarr store, as
        ``"s3://bucket/night.zarr"``, ``"gs://..."`` or ``"https://..."``, which fsspec opens.
    engine
        ``"stxm"`` looks at the content; the name of a format, see `xstxm.formats`, insists on that.
    chunks
        Chunks of the dask arrays; ``{}`` for the file's own, which are frames as a rule. Without it
        frames are read when used, and kept.
    region
        Which region of a multi-region SDF scan, from 0.
    entry
        Which entry of an NXstxm file, e.g. ``"entry1"``.
    detector
        Name of the detector or channel that becomes `intensity`.
    pixel_size
        Size of a pixel, e.g. ``"10 nm"``; a number is in um, and below 1. Of images and reconstructions that do not say theirs.
    kind
        What the numbers are, ``"intensity"`` or ``"optical_density"``, where files do not say: aXis2000, Data Exchange, Stony
        Brook, TIFF.
    energies
        Energies of images that do not say theirs: one in eV for each, in keV, with a warning, where all are below 100; or the
        path of a text file.
    axes
        Names of the stored axes in their order, e.g. ``"x:y:energy"``, of a Data Exchange file that does not tell it.

    Returns
    -------
    Dataset
        `intensity` (energy, y, x), (energy, position) or (energy), float32, in the order of measurement;
        further detectors as further variables; energies in eV, positions in um, `dwell_time` in ms and
        `ring_current` in mA where the file has them. Lazy. Closable.

    Raises
    ------
    FileFormatError
        The file is of none of these formats; `UnsupportedScanError` and `CorruptFileError` for a scan
        that cannot become a stack and for a broken file.
    OptionError, ChoiceError
        A region, entry, detector or dimension of chunks that does not exist, or an option of another format; chunks that are none; a URL
        that cannot be opened.
    MissingDependencyError
        The package for such a URL is not installed.

    Examples
    --------
    >>> import tempfile, pathlib, xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)[["intensity"]]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = xstxm.write_nxstxm(stack, pathlib.Path(folder) / "particle.hdf5")
    ...     with xstxm.open_stack(path, chunks={}) as opened:
    ...         opened.intensity.dims
    ('energy', 'y', 'x')
    """
    from xstxm.io.backend import ENGINES

    if engine not in ENGINES:
        raise ChoiceError("engine", engine, list(ENGINES))
    asked = {
        "region": region,
        "entry": entry,
        "detector": detector,
        "energies": energies,
        "kind": kind,
        "pixel_size": pixel_size,
        "axes": axes,
    }
    options = {name: value for name, value in asked.items() if value is not None}
    require_chunks(chunks)
    local = isinstance(path, str | os.PathLike) and not is_url(path)
    source: Any = Path(path).expanduser() if local else path  # type: ignore[arg-type]
    if is_many(path):
        stack = open_folder(source, chunks=chunks, options=options, engine=engine)
    else:
        stack = _opened(source, ENGINES[engine], chunks, options)
    if ENERGY not in stack.coords:
        stack.close()
        found, do = _sources.listed([str(name) for name in stack.data_vars]), "open a result with xstxm.open_result"
        raise FileFormatError(_sources.name_of(source), "a stack, with energies", found, do)
    require_dims(stack, chunks)
    for name in stack.coords:
        if stack[name].ndim < 2:
            stack.variables[name].load()
    warn_of_frames(stack, source if isinstance(source, Path) and not is_many(path) else None)
    return stack


def _opened(source: Any, engine: Any, chunks: Any, options: Mapping[str, Any]) -> xr.Dataset:
    """Open a file with its reader, and say in one sentence where sizes of chunks are not those of the stack."""
    try:
        return xr.open_dataset(source, engine=engine, chunks=chunks, **options)
    except ValueError as error:
        if not str(error).startswith("Chunks do not add up"):
            raise
        raise OptionError(
            "chunks", chunks, "sizes do not add up to those of the stack: open it without, and see its sizes"
        ) from error


@recorded
def open_tree(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | Mapping[str, str | os.PathLike[str]],
    *,
    chunks: int | Mapping[Any, Any] | Literal["auto"] | None = None,
) -> xr.DataTree:
    """Open several scans as a tree with a stack in each node.

    Parameters
    ----------
    paths
        A file with several scans, a stored tree, a folder, a pattern as ``"night/*.hdr"``, a list of files, or a mapping
        from names to files.
    chunks
        Chunks of the dask arrays, as in `open_stack`.

    Returns
    -------
    DataTree
        A node for each scan: the name of its file without ending, or that and the name of its region, entry or node,
        as ``particle/entry2``. Each is what `open_stack` returns. Lazy. Closable.

    Raises
    ------
    FileFormatError
        Files that cannot be opened: all of them are named, with their reasons, and none is opened.
    OptionError
        Two files of the same name: give a mapping; or chunks that are none.

    Examples
    --------
    >>> import tempfile, pathlib, xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)[["intensity"]]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("charged", "discharged"):
    ...         path = xstxm.write_nxstxm(stack, pathlib.Path(folder) / f"{name}.hdf5")
    ...     list(xstxm.open_tree(folder).children)
    ['charged', 'discharged']
    """
    require_chunks(chunks)
    return open_nodes(paths, chunks)
