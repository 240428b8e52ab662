"""SDF: text headers (.hdr) with one text file per frame (.xim) or spectrum (.xsp)."""

from xstxm.io._format import Format
from xstxm.io.sdf.frames import files_of
from xstxm.io.sdf.header import is_sdf
from xstxm.io.sdf.reader import open_sdf, scans_of
from xstxm.io.sdf.writer import write_sdf

SDF = Format(
    name="sdf",
    title="an SDF header",
    files=".hdr with .xim or .xsp",
    written_by="ALS, MAX IV, Photon Factory, UVSOR, old PolLux and MAXYMUS",
    recognises=lambda source, head: is_sdf(head),
    open=open_sdf,
    options=("region", "detector"),
    refusals={"entry": "an SDF scan has regions, use region="},
    scans=scans_of,
    parts=files_of,
    experimental="multi-region scans, line scans, point scans with data, several channels",
    writer="write_sdf",
)

__all__ = ["SDF", "is_sdf", "open_sdf", "write_sdf"]
