"""Athena projects, the spectra that Demeter and Larch save together in a .prj file."""

from xstxm.io.athena.reader import is_athena, read_project

__all__ = ["is_athena", "read_project"]
