"""netCDF: stacks and results of this package in one file."""

from xstxm.io._format import Format
from xstxm.io._sources import is_hdf5
from xstxm.io.netcdf.reader import is_netcdf, open_netcdf, open_netcdf_stack
from xstxm.io.netcdf.writer import write_netcdf

NETCDF = Format(
    name="netcdf",
    title="a netCDF file of xstxm",
    files=".nc",
    written_by="xstxm",
    recognises=lambda source, head: is_hdf5(head) and is_netcdf(source),
    open=open_netcdf_stack,
    writer="write_netcdf",
)

__all__ = ["NETCDF", "is_netcdf", "open_netcdf", "open_netcdf_stack", "write_netcdf"]
