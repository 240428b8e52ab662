"""Spectra in text files: references and incident intensities."""

from xstxm.io.spectra.reader import read_i0, read_references

__all__ = ["read_i0", "read_references"]
