"""TIFF: images of one energy each, in one file or many."""

from xstxm.io._format import Format
from xstxm.io.tiff.reader import assemble_tiff, is_tiff, open_tiff
from xstxm.io.tiff.writer import write_tiff

TIFF = Format(
    name="tiff",
    title="a TIFF image",
    files=".tif, .tiff",
    written_by="TXM and PEEM microscopes, ImageJ, aXis2000, xstxm",
    recognises=lambda source, head: is_tiff(head),
    open=open_tiff,
    options=("energies", "kind", "pixel_size"),
    assemble=assemble_tiff,
    experimental="all of it",
    writer="write_tiff",
)

__all__ = ["TIFF", "assemble_tiff", "is_tiff", "open_tiff", "write_tiff"]
