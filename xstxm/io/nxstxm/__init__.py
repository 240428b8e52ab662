"""NXstxm: NeXus HDF5 files of STXM scans, in the dialects of several beamlines."""

from xstxm.io._format import Format
from xstxm.io._sources import is_hdf5
from xstxm.io.nxstxm.reader import is_nxstxm, open_nxstxm, scans_of
from xstxm.io.nxstxm.writer import write_nxstxm

NXSTXM = Format(
    name="nxstxm",
    title="an NXstxm file",
    files=".hdf5, .nxs, .stxm, .h5",
    written_by="Pixelator, PolLux, Diamond I08, SOLEIL HERMES, CLS, ALS, xstxm",
    recognises=lambda source, head: is_hdf5(head) and is_nxstxm(source),
    open=open_nxstxm,
    options=("entry", "detector"),
    refusals={"region": "an NXstxm file has entries, use entry="},
    experimental="the layouts of ALS pystxmcontrol, SOLEIL HERMES and CLS pyStxm",
    scans=scans_of,
    writer="write_nxstxm",
)

__all__ = ["NXSTXM", "is_nxstxm", "open_nxstxm", "write_nxstxm"]
