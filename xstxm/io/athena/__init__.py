"""Athena projects, the spectra that Demeter and Larch save together in a .prj file."""

from xstxm.io.athena.reader import MeasuredSpectrum, is_athena, read_project

__all__ = ["MeasuredSpectrum", "is_athena", "read_project"]
