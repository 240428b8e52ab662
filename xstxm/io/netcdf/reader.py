"""netCDF files that this package wrote."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import xarray as xr

from xstxm.errors import CorruptFileError
from xstxm.io import _sources, _stored
from xstxm.io._hdf5 import Store, tells
from xstxm.io._sources import Source


def is_netcdf(source: Source) -> bool:
    """Tell whether an HDF5 file is a netCDF file of this package; never an error."""
    return tells(source, lambda file: _stored.is_ours(file.attrs))


def open_netcdf_stack(source: Source, *, drop_variables: str | Iterable[str] | None = None) -> xr.Dataset:
    """Open the stack in a netCDF file. Lazy."""
    name = _sources.called(source)
    return _stored.dropped(_stored.only_dataset(open_netcdf(source), name), drop_variables)


def open_netcdf(source: Source) -> _stored.Stored:
    """Open what `write_netcdf` wrote: a Dataset, a DataArray or a DataTree. Lazy.

    Raises
    ------
    CorruptFileError
        The file is torn, links to others, or claims more numbers than it can hold.
    """
    name = _sources.called(source)
    given: Any = Path(source).expanduser() if isinstance(source, str | os.PathLike) else source
    _sources.read_head(source, 8)
    _check(source, name)
    return _stored.opened(name, "a readable netCDF file", lambda: xr.open_datatree(given, engine="h5netcdf"))


def _check(source: Source, name: object) -> None:
    """Refuse what `write_netcdf` never writes: links, numbers in other files, and more numbers than bytes."""
    import h5py

    store = Store(source)
    try:
        with store.guarded():
            for path in _datasets(store.file, name):
                item = store.file[path]
                if isinstance(item, h5py.Dataset):
                    store.check_claim(item)
    finally:
        store.close()


def _datasets(file: Any, name: object) -> list[str]:
    import h5py

    found: list[str] = []
    links: list[str] = []
    file.visititems_links(lambda path, link: (found if isinstance(link, h5py.HardLink) else links).append(path))
    if links:
        what = f"{_sources.listed(links)} in the file"
        raise CorruptFileError(name, what, "a link to another place", "write the file again without links")
    return found
