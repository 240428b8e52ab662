"""Shifts of frames in text files: the alignments of aXis2000, and plain tables."""

from xstxm.io.shifts.reader import read_shifts
from xstxm.io.shifts.writer import write_shifts

__all__ = ["read_shifts", "write_shifts"]
