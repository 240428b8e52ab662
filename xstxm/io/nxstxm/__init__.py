"""NXstxm: NeXus HDF5 files of STXM scans, in the dialects of several beamlines."""

from xstxm.io.nxstxm.reader import is_nxstxm, open_nxstxm
from xstxm.io.nxstxm.writer import write_nxstxm

__all__ = ["is_nxstxm", "open_nxstxm", "write_nxstxm"]
