"""Libraries of references: one TOML file with names, compositions, cells, colours, sources and spectra."""

from xstxm.io.library.joining import join_references
from xstxm.io.library.reader import is_library, read_libraries
from xstxm.io.library.writer import write_references

__all__ = ["is_library", "join_references", "read_libraries", "write_references"]
