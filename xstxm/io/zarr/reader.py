"""Zarr stores that this package wrote."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xstxm.errors import CorruptFileError, FileFormatError, IncompleteWarning, MissingDependencyError, warn
from xstxm.io import _sources, _stored
from xstxm.io._remote import RemoteStore
from xstxm.io._sources import Source

_COUNTED = 20_000
"""Chunks of an array that are counted when it is opened."""


def is_zarr(source: Source) -> bool:
    """Tell whether a folder is a Zarr store of this package; never an error."""
    try:
        return _stored.is_ours(_root_attrs(source))
    except (OSError, ValueError, AttributeError, TypeError):
        return False


def holds_zarr(source: Any) -> bool:
    """Tell whether a source is a Zarr store of any version, whoever wrote it."""
    if isinstance(source, RemoteStore):
        return True
    folder = _sources.path_of(source)
    return folder is not None and any((folder / name).is_file() for name in ("zarr.json", ".zgroup", ".zattrs"))


def _root_attrs(source: Any) -> dict[str, Any]:
    """Return the attributes of the root as its JSON says them, without the package zarr."""
    if isinstance(source, RemoteStore):
        text = source.root()
    else:
        folder = _sources.path_of(source)
        if folder is None or not folder.is_dir():
            return {}
        text = (folder / "zarr.json").read_text(encoding="utf-8")
    found = json.loads(text)
    return dict(found["attributes"]) if "attributes" in found else {}


def open_zarr_stack(source: Source, *, drop_variables: str | Iterable[str] | None = None) -> xr.Dataset:
    """Open the stack in a Zarr store. Lazy."""
    opened = open_zarr_store(source)
    return _stored.dropped(_stored.only_dataset(opened, _sources.called(source)), drop_variables)


def open_zarr_store(source: Source) -> _stored.Stored:
    """Open what `write_zarr` wrote: a Dataset, a DataArray or a DataTree. Lazy.

    Raises
    ------
    FileFormatError
        The folder is no Zarr store of this package.
    CorruptFileError
        Its metadata are torn.
    """
    path = _sources.path_of(source)
    if path is not None:
        _sources.require_there(path)
    if not is_zarr(source):
        do = "give a .zarr that xstxm wrote, or open it with xarray.open_zarr"
        raise FileFormatError(_sources.called(source), "a Zarr store of xstxm", "another thing", do)
    require_zarr("a Zarr store")
    if isinstance(source, RemoteStore):
        opened = _stored.opened(source.url, "a readable Zarr store", lambda: _open(source.url, consolidated=None))
        _check_keys(source)
        return opened
    assert path is not None  # is_zarr says so
    _check_chunks(path)
    return _stored.opened(path, "a readable Zarr store", lambda: _open(path, consolidated=False))


def _open(place: Path | str, consolidated: bool | None) -> xr.DataTree:
    with quiet():
        return xr.open_datatree(place, engine="zarr", consolidated=consolidated)


def _check_chunks(path: Path) -> None:
    """Refuse a store of which an array claims far more numbers than its chunks can hold, and tell of missing chunks.

    Raises
    ------
    CorruptFileError
        There is such an array, or metadata that cannot be read.
    """
    import zarr

    with _sources.guarded(path, "a readable Zarr store"), quiet():
        arrays = [
            (n, a) for n, a in zarr.open_group(path, mode="r").members(max_depth=None) if isinstance(a, zarr.Array)
        ]
        for name, array in arrays:
            if array.nbytes > _sources.LARGE and not _holds(path / name, array.nbytes):
                found = f"the shape {array.shape} and too few bytes for it"
                raise CorruptFileError(path, f"the numbers of {name}", found, _sources.COPY_AGAIN)
        for name, array in arrays:
            if _n_chunks(array) <= _COUNTED:
                there = {file.relative_to(path / name).as_posix() for file in (path / name).rglob("*")}
                _tell_missing(path.name, name, array, there)


def _check_keys(store: RemoteStore) -> None:
    """Tell of missing chunks of a store at a URL, where what there is can be listed at once."""
    import zarr

    with _sources.guarded(store.url, "a readable Zarr store"), quiet():
        members = zarr.open_group(store.url, mode="r").members(max_depth=None)
        arrays = {name: member for name, member in members if isinstance(member, zarr.Array)}
        if sum(map(_n_chunks, arrays.values())) > _COUNTED or not (keys := store.keys()):
            return
        for name, array in arrays.items():
            there = {key.removeprefix(f"{name}/") for key in keys if key.startswith(f"{name}/")}
            _tell_missing(Path(store.url).name, name, array, there)


def _grid(array: Any) -> list[int]:
    """Return the number of chunks, or shards, along each dimension."""
    return [-(-size // max(1, n)) for size, n in zip(array.shape, array.shards or array.chunks, strict=True)]


def _n_chunks(array: Any) -> int:
    return math.prod(_grid(array))


def _tell_missing(called: str, name: str, array: Any, there: set[str]) -> None:
    """Warn of chunks that are not there, which Zarr fills: `write_zarr` leaves none out."""
    keys = (array.metadata.encode_chunk_key(place) for place in np.ndindex(*_grid(array)))
    missing = [key for key in keys if key not in there]
    if missing:
        warn(
            f"{called}: {len(missing)} of {_n_chunks(array)} chunks of {name!r} are missing, the first is {name}/{missing[0]}: they read "
            f"as {array.fill_value}. Copy the store again, it may be cut short; only a store that another program wrote "
            "may lack chunks on purpose",
            IncompleteWarning,
        )


def _holds(folder: Path, size: int) -> bool:
    """Tell whether the files in a folder can hold so many bytes, packed as densely as can be; looks at no more than needed."""
    held = 0
    for file in folder.rglob("*"):
        held += file.stat().st_size
        if held * _sources.PACKING > size:
            return True
    return False


def require_zarr(purpose: str) -> None:
    """Raise `MissingDependencyError` where the package zarr is not installed."""
    if find_spec("zarr") is None:
        raise MissingDependencyError(purpose, "zarr", "zarr")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep zarr from warning of words and of metadata in one place, which version 3 has not settled.

    Both sides here are the same library.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        warnings.filterwarnings("ignore", message=".*does not have a Zarr V3 specification.*")
        yield
