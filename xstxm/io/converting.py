"""Files of any format rewritten as one that suits analysis, however large they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

from xstxm.errors import ChoiceError, OptionError, PerformanceWarning, heard, require_free, warn
from xstxm.io import _stored
from xstxm.io._endings import ENDINGS
from xstxm.io._pixels_first import bytes_of, stored_in_own_chunks
from xstxm.io._remote import fetched
from xstxm.io.folders import is_many
from xstxm.io.ncb.writer import write_ncb
from xstxm.io.netcdf import is_netcdf
from xstxm.io.netcdf.writer import stream_netcdf
from xstxm.io.nxstxm.writer import write_nxstxm
from xstxm.io.sdf import write_sdf
from xstxm.io.tiff import write_tiff
from xstxm.io.zarr import is_zarr
from xstxm.io.zarr.writer import Encoding, stream_zarr
from xstxm.steps import report_progress


def _by_frames(write: Callable[..., Path]) -> Callable[..., Path]:
    """Return a writer that holds a frame or a block of the source, whatever the memory."""

    def write_frames(stack: Any, path: Path, *, overwrite: bool, memory: int) -> Path:
        return write(stack, path, overwrite=overwrite)

    return write_frames


WRITERS: Mapping[str, Callable[..., Path]] = {
    "zarr": stream_zarr,
    "netcdf": stream_netcdf,
    "nxstxm": _by_frames(write_nxstxm),
    "ncb": _by_frames(write_ncb),
    "sdf": _by_frames(write_sdf),
    "tiff": _by_frames(write_tiff),
}


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    to: str | None = None,
    overwrite: bool = False,
    memory: str = "512 MiB",
    encoding: Encoding | None = None,
    reader: Mapping[str, Any] | None = None,
    progress: Callable[[float | None], object] | None = None,
) -> Path:
    """Rewrite a scan, of any size, in another format.

    Zarr and netCDF hold whole spectra in each chunk, so that a fit reads the file once. Each chunk of the source is read once:
    where those that lie under a chunk of the target take more than a quarter of the memory, as frames of a large stack do, the
    stack goes through a plain file beside the target, as large as itself, which is removed in all cases. NXstxm, aXis2000, SDF and TIFF hold frames and are written frame by frame; for SDF and
    TIFF, spectra in one block go through such a file.

    Parameters
    ----------
    source
        Whatever `open_stack` opens, or what `open_result` does.
    target
        The file or folder to write; its ending says the format: ``.zarr``, ``.nc``, ``.hdf5``, ``.dat``, ``.hdr``, ``.tif``.
    to
        ``"zarr"``, ``"netcdf"``, ``"nxstxm"``, ``"ncb"``, ``"sdf"`` or ``"tiff"``, where the ending does not say it.
    overwrite
        Replace what is there.
    memory
        About how much memory to use for the numbers, e.g. ``"2 GiB"``.
    encoding
        Other chunks, shards or compressors of a Zarr store, see `write_zarr`.
    reader
        Options of `open_stack` for the source, e.g. ``{"pixel_size": "50 nm"}``.
    progress
        Called again and again with the share that is done, from 0 to 1, as by `report_progress`.

    Returns
    -------
    Path
        The target. Eager.

    Raises
    ------
    FileExistsError
        There is such a target, and `overwrite` is off.
    ChoiceError, OptionError
        An ending without a format, a memory that is none, a target that is the source, or an encoding that cannot be.
    FileFormatError
        The source is no scan.

    Examples
    --------
    >>> import tempfile, pathlib, xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)[["intensity"]]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = xstxm.write_nxstxm(stack, pathlib.Path(folder) / "particle.hdf5")
    ...     xstxm.convert(path, pathlib.Path(folder) / "particle.nc").name
    'particle.nc'
    """
    if progress is not None and not callable(progress):
        raise OptionError(
            "progress", progress, "give a function, which is called with the share that is done, e.g. print"
        )
    path = Path(target).expanduser()
    name = _format_of(path, to)
    write = WRITERS[name]
    if encoding is not None:
        if name != "zarr":
            raise OptionError("encoding", dict(encoding), f"Zarr stores have one, {name} has not: leave it out")
        write = partial(write, encoding=encoding)
    limit = bytes_of(memory)
    if path.exists() and path.resolve() == Path(source).expanduser().resolve():
        raise OptionError("target", str(target), "that is the source: give another name")
    require_free([path], overwrite)
    with heard() as told:
        opened = open_any(source, chunks={}, reader=reader)
    for warning in told:
        if not isinstance(warning, PerformanceWarning):  # which advises what is being done
            warn(str(warning), type(warning))
    try:
        with nullcontext() if progress is None else report_progress(progress):
            return write(opened, path, overwrite=overwrite, memory=limit)
    finally:
        opened.close()


def open_any(
    source: str | os.PathLike[str], *, chunks: Any = None, reader: Mapping[str, Any] | None = None
) -> _stored.Stored:
    """Open a result of this package, or else a scan, which may need options. Lazy."""
    from xstxm.io.api import open_stack
    from xstxm.io.results import open_result

    source = fetched(source)
    stored = not is_many(source) and (is_zarr(source) or is_netcdf(source))
    options = [name for name in signature(open_stack).parameters if name not in ("path", "chunks")]
    if unknown := [name for name in reader or {} if name not in options]:
        raise ChoiceError("option of open_stack", unknown[0], options)
    if reader or not stored:
        return open_stack(source, chunks=chunks, **(reader or {}))
    return open_result(source) if chunks is None else stored_in_own_chunks(open_result(source))


def _format_of(target: Path, to: str | None) -> str:
    """Return the format to write, by its name or the ending of the target."""
    if to is not None:
        if to not in WRITERS:
            raise ChoiceError("format", to, list(WRITERS))
        return to
    if target.suffix.lower() not in ENDINGS:
        raise OptionError("target", str(target), f"end it in {', '.join(ENDINGS)}, or pass to='zarr'")
    return ENDINGS[target.suffix.lower()]
