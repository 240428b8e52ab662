"""Zarr: stacks and results of this package in a folder, chunk by chunk."""

from xstxm.io._format import Format
from xstxm.io.zarr.reader import holds_zarr, is_zarr, open_zarr_stack, open_zarr_store
from xstxm.io.zarr.writer import write_zarr

ZARR = Format(
    name="zarr",
    title="a Zarr store of xstxm",
    files=".zarr",
    written_by="xstxm",
    recognises=lambda source, head: is_zarr(source),
    open=open_zarr_stack,
    writer="write_zarr",
)

__all__ = ["ZARR", "holds_zarr", "is_zarr", "open_zarr_stack", "open_zarr_store", "write_zarr"]
