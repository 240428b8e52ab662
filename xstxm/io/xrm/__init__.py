"""Zeiss (Xradia) X-ray microscope files: .xrm images of one energy each, and .txrm stacks."""

from xstxm.io._format import Format
from xstxm.io.xrm.reader import assemble_xrm, is_xrm, open_xrm

XRM = Format(
    name="xrm",
    title="a Zeiss X-ray microscope file",
    files=".xrm, .txrm",
    written_by="full-field microscopes of Zeiss (Xradia)",
    recognises=is_xrm,
    open=open_xrm,
    options=("energies", "kind", "pixel_size"),
    assemble=assemble_xrm,
    experimental="all of it",
)

__all__ = ["XRM", "assemble_xrm", "is_xrm", "open_xrm"]
