"""The energies and exposures of a scan that is to be measured, as a table."""

from xstxm.io.scan_list.writer import write_scan_list

__all__ = ["write_scan_list"]
