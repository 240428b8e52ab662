"""CXI: HDF5 files of ptychographic reconstructions, one energy each."""

from xstxm.io._format import Format
from xstxm.io._sources import is_hdf5
from xstxm.io.cxi.reader import assemble_cxi, is_cxi, open_cxi

CXI = Format(
    name="cxi",
    title="a CXI file",
    files=".cxi",
    written_by="ptychography programs of ALS COSMIC and others",
    recognises=lambda source, head: is_hdf5(head) and is_cxi(source),
    open=open_cxi,
    options=("pixel_size",),
    assemble=assemble_cxi,
    experimental="all of it",
)

__all__ = ["CXI", "assemble_cxi", "is_cxi", "open_cxi"]
