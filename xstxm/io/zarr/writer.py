"""Stacks and results written as Zarr."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import xarray as xr

from xstxm.io import _stored
from xstxm.io._endings import require_ending
from xstxm.io._pixels_first import MEMORY, Progress, bytes_of, encoding_of, room_for, told, whole_spectra
from xstxm.io._replacing import replacing
from xstxm.io.zarr.reader import quiet, require_zarr


def write_zarr(
    obj: xr.Dataset | xr.DataArray | xr.DataTree,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    memory: str = "512 MiB",
) -> Path:
    """Write a stack or any result as a Zarr store; `open_result` returns the same, to the last bit and attribute.

    Every chunk holds whole spectra, so that a fit of the store reads it once, and several processes can. The folder
    appears at once, when it is complete; lazy arrays are written block by block.

    Parameters
    ----------
    obj
        A Dataset, DataArray or DataTree.
    path
        The folder to write, ``.zarr`` by custom.
    overwrite
        Replace a store that is there.
    memory
        About how much memory to use for the numbers of lazy arrays, e.g. ``"2 GiB"``; frames larger than a quarter of it
        go through a plain file beside the store, as `convert` says.

    Returns
    -------
    Path
        The folder. Eager.

    Raises
    ------
    FileExistsError
        There is such a store, and `overwrite` is off; or a folder that is none.
    OptionError
        A memory that is none.
    SchemaError
        Names, values or attributes that no file can hold.
    NoRoomError
        The disk is full; nothing of it is left.
    MissingDependencyError
        The package zarr is not installed.

    Examples
    --------
    >>> import tempfile, pathlib, xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = xstxm.write_zarr(stack, pathlib.Path(folder) / "particle.zarr")
    ...     xstxm.open_result(path).load().identical(stack)
    True
    """
    return stream_zarr(obj, path, overwrite=overwrite, memory=bytes_of(memory))


def stream_zarr(
    obj: _stored.Stored,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    memory: int = MEMORY,
    progress: Progress | None = None,
) -> Path:
    """Write Zarr within a memory in bytes, and tell how far it is."""
    import dask

    require_ending(path, "zarr")
    require_zarr("writing Zarr")
    from xstxm.io.zarr._folder import closed_on_error

    stored = _stored.to_tree(obj)
    with (
        replacing(path, overwrite, room_for(stored, memory)) as (target, part),
        whole_spectra(stored, part, memory, progress) as (tree, rest),
    ):
        encoding = _encoding(tree)
        with dask.config.set(scheduler="synchronous"), told(rest), quiet(), closed_on_error(part) as store:
            # chunks of nothing but the fill value too, so that one that is missing was lost; and all metadata in one place,
            # since https cannot list what there is
            tree.to_zarr(store, encoding=encoding, consolidated=True, write_empty_chunks=True)
    return target


def _encoding(tree: xr.DataTree) -> dict[str, dict[str, dict[str, Any]]]:
    """Return chunks of all variables, and the compression of those that hold numbers."""
    from zarr.codecs import BloscCodec

    encoding = encoding_of(tree, "chunks")
    # near the speed of none and the size of the slowest, see docs/formats/zarr.md
    packed = {"compressors": BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")}
    for path, names in encoding_of(tree, "chunks", kinds="biufc").items():
        for name in names:
            encoding[path][name] |= packed
    return encoding
