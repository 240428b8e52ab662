"""Stacks and results written as netCDF."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from xstxm.io import _stored
from xstxm.io._endings import require_ending
from xstxm.io._pixels_first import MEMORY, NUMBERS, bytes_of, encoding_of, in_blocks, room_for
from xstxm.io._replacing import replacing, require_room


def write_netcdf(
    obj: xr.Dataset | xr.DataArray | xr.DataTree,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    memory: str = "512 MiB",
) -> Path:
    """Write a stack or any result as netCDF; `open_result` returns the same, to the last bit and attribute.

    Every chunk holds whole spectra, so that a fit of the file reads it once. The file appears at once, when it is
    complete; lazy arrays are written block by block.

    Parameters
    ----------
    obj
        A Dataset, DataArray or DataTree.
    path
        The file to write, ``.nc`` by custom.
    overwrite
        Replace a file that is there.
    memory
        About how much memory to use for the numbers of lazy arrays, e.g. ``"2 GiB"``; a large stack
        may need a plain file beside the target, see `convert`.

    Returns
    -------
    Path
        The file. Eager.

    Raises
    ------
    FileExistsError
        There is such a file, and `overwrite` is off.
    OptionError
        A memory that is none.
    SchemaError
        Names, values or attributes that no file can hold.
    NoRoomError
        The disk is full; nothing of it is left.

    Examples
    --------
    >>> import tempfile, pathlib, xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = xstxm.write_netcdf(stack, pathlib.Path(folder) / "particle.nc")
    ...     with xstxm.open_result(path) as opened:
    ...         opened.identical(stack)
    True
    """
    return stream_netcdf(obj, path, overwrite=overwrite, memory=bytes_of(memory))


def stream_netcdf(
    obj: _stored.Stored,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    memory: int = MEMORY,
) -> Path:
    """Write netCDF within a memory in bytes."""
    require_ending(path, "netcdf")
    stored = _stored.to_tree(obj)
    with (
        replacing(path, overwrite, room_for(stored, memory)) as (target, part),
        in_blocks(stored, part, memory) as (tree, how),
    ):
        require_room(part, tree.nbytes)
        _write(tree, part, encoding_of(tree, "chunksizes", kinds=NUMBERS), how)
    return target


def _write(tree: xr.DataTree, part: Path, encoding: Mapping[str, Any], how: Mapping[str, Any]) -> None:
    """Write as `DataTree.to_netcdf` does, which takes the scheduler of all threads and leaves a file open that it could not complete."""
    from xarray.backends import H5NetCDFStore
    from xarray.backends.common import ArrayWriter
    from xarray.backends.locks import HDF5_LOCK

    later = ArrayWriter()
    store = H5NetCDFStore.open(part, mode="w", format="NETCDF4", autoclose=False, lock=HDF5_LOCK)
    try:
        for node in tree.subtree:
            group = store if node is tree else store.get_child_store(node.path)
            own = node.to_dataset(inherit=node is tree)
            own.dump_to_store(group, writer=later, encoding=encoding.get(node.path))
        later.sync(chunkmanager_store_kwargs=how)
    finally:
        store.close()
