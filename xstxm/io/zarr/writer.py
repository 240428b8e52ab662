"""Stacks and results written as Zarr."""

from __future__ import annotations

import math
import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import xarray as xr

from xstxm.errors import OptionError
from xstxm.io import _stored
from xstxm.io._endings import require_ending
from xstxm.io._pixels_first import MEMORY, NUMBERS, bytes_of, chunks_of, encoding_of, in_blocks, is_unread, room_for
from xstxm.io._replacing import replacing
from xstxm.io._sources import listed, short
from xstxm.io.zarr.reader import quiet, require_zarr

Encoding: TypeAlias = Mapping[str, Mapping[str, Any]]

_CHOICES = ("chunks", "shards", "compressors")


def write_zarr(
    obj: xr.Dataset | xr.DataArray | xr.DataTree,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    memory: str = "512 MiB",
    encoding: Encoding | None = None,
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
        Replace a store that is there. Other lazy objects that read it will read the new one.
    memory
        About how much memory to use for the numbers of lazy arrays, e.g. ``"2 GiB"``; a large stack
        may need a plain file beside the store, see `convert`.
    encoding
        Other `chunks`, `shards` or `compressors` of variables than it chooses, as `xarray.Dataset.to_zarr` takes them, e.g.
        ``{"intensity": {"chunks": (120, 64, 64), "shards": (120, 512, 512)}}``; of a tree those of that name in every node.
        Shards are written one by one and have to fit a quarter of `memory`; where a chunk does not hold all energies a fit reads several.

    Returns
    -------
    Path
        The folder. Eager.

    Raises
    ------
    FileExistsError
        There is such a store, and `overwrite` is off; or a folder that is none.
    OptionError
        A memory that is none, an encoding that Zarr or the memory does not allow, or a store that the object reads, as `open_stack` opened it.
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
    return stream_zarr(obj, path, overwrite=overwrite, memory=bytes_of(memory), encoding=encoding)


def stream_zarr(
    obj: _stored.Stored,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    memory: int = MEMORY,
    encoding: Encoding | None = None,
) -> Path:
    """Write Zarr within a memory in bytes."""
    require_ending(path, "zarr")
    require_zarr("writing Zarr")
    from xstxm.io.zarr._folder import closed_on_error

    stored, asked = _stored.to_tree(obj), encoding or {}
    _check(stored, asked, memory)
    if overwrite:
        _require_other_source(stored, path)

    def unit_of(name: Hashable, variable: xr.Variable) -> tuple[int, ...]:
        return _unit(variable, asked.get(str(name), {}))

    with (
        replacing(path, overwrite, room_for(stored, memory, unit_of)) as (target, part),
        in_blocks(stored, part, memory, unit_of) as (tree, how),
    ):
        made = _encoding(tree, asked)
        with quiet(), closed_on_error(part) as store:
            # chunks of nothing but the fill value too, so that one that is missing was lost; and all metadata in one place,
            # since https cannot list what there is
            tree.to_zarr(
                store, encoding=made, consolidated=True, write_empty_chunks=True, chunkmanager_store_kwargs=how
            )
    return target


def _require_other_source(tree: xr.DataTree, path: str | os.PathLike[str]) -> None:
    """Refuse to replace the store that the numbers come from, whatever was made of them: later they would be read from the new one.

    Raises
    ------
    OptionError
        The tree is lazy and reads that store.
    """
    target = Path(path).expanduser()
    if not target.exists():
        return
    read = {
        file for node in tree.subtree for variable in node.variables.values() for file in _stored.files_of(variable)
    }
    if target.resolve() in {Path(file).resolve() for file in read if isinstance(file, str | os.PathLike)}:
        do = "what you write is lazy and reads this store: give another name, or bring it into memory first, xstxm.compute(...)"
        raise OptionError("path", str(path), do)


def _check(tree: xr.DataTree, asked: Encoding, memory: int) -> None:
    """Refuse, before anything is written, what cannot be stored as it was asked.

    Raises
    ------
    OptionError
        There is no such variable of numbers, or it cannot.
    """
    found = {
        (path, name): tree[path].variables[name]
        for path, variables in _encoding(tree, {}).items()
        for name, made in variables.items()
        if "compressors" in made  # which only numbers have
    }
    names = dict.fromkeys(name for _, name in found)
    if missing := [name for name in asked if name not in names]:
        raise OptionError("encoding", missing, f"no such variables of numbers, there are: {listed([*names])}")
    for (_, name), variable in found.items():
        if name in asked:
            _check_variable(name, variable, asked[name], memory)


def _check_variable(name: str, variable: xr.Variable, asked: Mapping[str, Any], memory: int) -> None:
    """Refuse what Zarr, the memory or the promise that every bit is kept does not allow."""
    import zarr

    if others := sorted(set(asked) - set(_CHOICES)):
        raise OptionError("encoding", others, f"{name!r} is stored to the bit: choose {', '.join(_CHOICES)}")
    for word in ("chunks", "shards"):
        size = asked.get(word, variable.shape)
        if not isinstance(size, tuple | list) or len(size) != variable.ndim:
            dims = ", ".join(map(str, variable.dims))
            raise OptionError("encoding", {word: size}, f"give {name!r} a size along each of its dimensions, {dims}")
    try:
        cut = {"chunks": chunks_of(variable), **asked}
        zarr.create_array({}, shape=variable.shape, dtype=variable.dtype, **cut)
    except (TypeError, ValueError, KeyError) as error:
        raise OptionError("encoding", dict(asked), f"zarr does not store {name!r} so, {short(error)}") from error
    unit = math.prod(map(min, _unit(variable, asked), variable.shape)) * variable.dtype.itemsize
    if is_unread(variable) and unit > memory // 4:
        do = f'{name!r} is written by shards, or chunks: give smaller ones, or memory="{4 * unit // 2**20 + 1} MiB"'
        raise OptionError("encoding", dict(asked), do)


def _unit(variable: xr.Variable, asked: Mapping[str, Any]) -> tuple[int, ...]:
    """Return what is written at once."""
    return tuple(asked.get("shards") or asked.get("chunks") or chunks_of(variable))


def _encoding(tree: xr.DataTree, asked: Encoding) -> dict[str, dict[str, dict[str, Any]]]:
    """Return chunks of all variables, and the compression of those that hold numbers, or what was asked in their place."""
    from zarr.codecs import BloscCodec

    encoding = encoding_of(tree, "chunks")
    # near the speed of none and the size of the slowest, see docs/formats/zarr.md
    packed = {"compressors": BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")}
    for path, names in encoding_of(tree, "chunks", kinds=NUMBERS).items():
        for name in names:
            encoding[path][name] |= packed | dict(asked.get(name, {}))
    return encoding
