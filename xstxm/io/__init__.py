"""Readers and writers, one room per file format."""

from xstxm.io.api import (
    formats,
    open_stack,
    read_electrochemistry,
    read_i0,
    read_references,
    read_shifts,
    write_nxstxm,
    write_scan_list,
    write_shifts,
    write_tiff,
)

__all__ = [
    "formats",
    "open_stack",
    "read_electrochemistry",
    "read_i0",
    "read_references",
    "read_shifts",
    "write_nxstxm",
    "write_scan_list",
    "write_shifts",
    "write_tiff",
]
