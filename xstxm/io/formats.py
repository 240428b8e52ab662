"""The formats of stacks, one of each room, in the order in which a file is tried."""

from __future__ import annotations

import pandas as pd

from xstxm.errors import FileFormatError
from xstxm.io import _sources
from xstxm.io._format import Format, first_of
from xstxm.io._sources import Source
from xstxm.io.cxi import CXI
from xstxm.io.exchange import EXCHANGE
from xstxm.io.ncb import NCB
from xstxm.io.netcdf import NETCDF
from xstxm.io.nxstxm import NXSTXM
from xstxm.io.sdf import SDF
from xstxm.io.stk import STK
from xstxm.io.tiff import TIFF
from xstxm.io.xrm import XRM
from xstxm.io.zarr import ZARR, holds_zarr

FORMATS: tuple[Format, ...] = (SDF, NETCDF, NXSTXM, ZARR, CXI, EXCHANGE, NCB, STK, TIFF, XRM)
OPTIONS: tuple[str, ...] = tuple(dict.fromkeys(option for one in FORMATS for option in one.options))


def format_of(source: Source) -> Format:
    """Return the format of a file, told by its content.

    Raises
    ------
    FileFormatError
        No reader of this package knows it.
    """
    found = first_of(FORMATS, source, _sources.head_or_nothing(source))
    if found is not None:
        return found
    if holds_zarr(source):
        do = "open it with xarray.open_zarr; xstxm.write_zarr makes one of xstxm of it"
        raise FileFormatError(_sources.called(source), "a stack of xstxm", "a Zarr store of another program", do)
    head = _sources.read_head(source)  # not before: it refuses folders, and a Zarr store is one
    if _sources.is_hdf5(head):
        # its reader says better what is missing in the file
        return NXSTXM
    name = _sources.called(source)
    do = _sources.advise(_sources.name_of(source), head) or "xstxm.formats() lists the formats that are read"
    raise FileFormatError(name, "a scan in a format that xstxm reads", _sources.describe_content(head), do)


def recognised(source: Source) -> bool:
    """Tell whether any reader of this package knows a file; never an error."""
    return first_of(FORMATS, source, _sources.head_or_nothing(source)) is not None


def formats() -> pd.DataFrame:
    """Return the formats of stacks as a table: what is read and written, and which readers are experimental.

    Returns
    -------
    DataFrame
        A row for each format, by the name of its engine: `files`, `written_by`, `options` of `xstxm.open_stack`,
        `writer`, and `experimental`, what has met no real file yet.

    Examples
    --------
    >>> import xstxm
    >>> xstxm.formats().loc["sdf", "files"]
    '.hdr with .xim or .xsp'
    """
    rows = {
        one.name: {
            "files": one.files,
            "written_by": one.written_by,
            "options": ", ".join(one.options),
            "writer": one.writer,
            "experimental": one.experimental,
        }
        for one in FORMATS
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("format")
