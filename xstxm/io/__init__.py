"""Readers and writers, one room per file format."""

from xstxm.io.api import open_stack, read_i0, read_references, write_nxstxm

__all__ = ["open_stack", "read_i0", "read_references", "write_nxstxm"]
