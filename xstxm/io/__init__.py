"""Readers and writers, one room per file format."""

from xstxm.io.api import (
    convert,
    formats,
    open_result,
    open_stack,
    open_tree,
    read_electrochemistry,
    read_i0,
    read_references,
    read_shifts,
    write_netcdf,
    write_nxstxm,
    write_scan_list,
    write_sdf,
    write_shifts,
    write_zarr,
)

__all__ = [
    "convert",
    "formats",
    "open_result",
    "open_stack",
    "open_tree",
    "read_electrochemistry",
    "read_i0",
    "read_references",
    "read_shifts",
    "write_netcdf",
    "write_nxstxm",
    "write_scan_list",
    "write_sdf",
    "write_shifts",
    "write_zarr",
]
