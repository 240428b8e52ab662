"""Results read back from the files that this package wrote."""

from __future__ import annotations

import xarray as xr

from xstxm.errors import FileFormatError
from xstxm.io import _sources
from xstxm.io._remote import fetched
from xstxm.io._sources import Source
from xstxm.io.netcdf import is_netcdf, open_netcdf
from xstxm.io.zarr import is_zarr, open_zarr_store


def open_result(path: Source) -> xr.Dataset | xr.DataArray | xr.DataTree:
    """Open what `write_netcdf` or `write_zarr` wrote: the same object, with the same values, types and attributes.

    Parameters
    ----------
    path
        The netCDF file or the Zarr folder, or a URL of either.

    Returns
    -------
    Dataset, DataArray or DataTree
        What was written. Lazy; ``.chunk(y=256, x=256)`` makes dask arrays. Closable.

    Raises
    ------
    FileFormatError
        Neither of the two wrote it; `CorruptFileError` where it is broken.

    Examples
    --------
    >>> import tempfile, pathlib, xstxm
    >>> image = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)["intensity"].mean("energy")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with xstxm.open_result(xstxm.write_netcdf(image, pathlib.Path(folder) / "mean.nc")) as opened:
    ...         opened.dims
    ('y', 'x')
    """
    source = fetched(path)
    if is_zarr(source):
        return open_zarr_store(source)
    head = _sources.read_head(source)
    if _sources.is_hdf5(head) and is_netcdf(source):
        return open_netcdf(source)
    name = _sources.called(source)
    found = _sources.describe_content(head)
    raise FileFormatError(
        name, "a file of write_netcdf or write_zarr", found, "open scans with xstxm.open_stack or xstxm.open_tree"
    )
