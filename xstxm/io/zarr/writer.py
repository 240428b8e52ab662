"""Stacks and results written as Zarr."""

from __future__ import annotations

import os
from pathlib import Path

import xarray as xr

from xstxm.io import _stored
from xstxm.io._endings import require_ending
from xstxm.io._pixels_first import MEMORY, Progress, encoding_of, told, whole_spectra
from xstxm.io._replacing import replacing
from xstxm.io.zarr.reader import quiet, require_zarr


def write_zarr(
    obj: xr.Dataset | xr.DataArray | xr.DataTree, path: str | os.PathLike[str], *, overwrite: bool = False
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

    Returns
    -------
    Path
        The folder. Eager.

    Raises
    ------
    FileExistsError
        There is such a store, and `overwrite` is off; or a folder that is none.
    SchemaError
        Names, values or attributes that no file can hold.
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
    return stream_zarr(obj, path, overwrite=overwrite)


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
    with (
        replacing(path, overwrite) as (target, part),
        whole_spectra(_stored.to_tree(obj), part, memory, progress) as (tree, rest),
    ):
        encoding = encoding_of(tree, "chunks")
        with dask.config.set(scheduler="synchronous"), told(rest), quiet():
            tree.to_zarr(part, encoding=encoding, consolidated=False)
    return target
