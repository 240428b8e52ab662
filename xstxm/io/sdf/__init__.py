"""SDF: text headers (.hdr) with one text file per frame (.xim) or spectrum (.xsp)."""

from xstxm.io.sdf.header import is_sdf
from xstxm.io.sdf.reader import open_sdf

__all__ = ["is_sdf", "open_sdf"]
