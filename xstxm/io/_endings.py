"""Endings of names, and what files of them are taken to be."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from xstxm.errors import OptionError

ENDINGS: Mapping[str, str] = {
    ".zarr": "zarr",
    ".nc": "netcdf",
    ".hdf5": "nxstxm",
    ".h5": "nxstxm",
    ".nxs": "nxstxm",
    ".stxm": "nxstxm",
    ".dat": "ncb",
    ".ncb": "ncb",
    ".hdr": "sdf",
    ".tif": "tiff",
    ".tiff": "tiff",
}
"""The format that each ending stands for, of those that hold stacks and are written."""
_TITLES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "zarr": ("a Zarr store", ()),
    "netcdf": ("netCDF, which is HDF5,", (".h5", ".hdf5")),
    "nxstxm": ("NXstxm", ()),
    "ncb": ("an aXis2000 stack", ()),
    "sdf": ("an SDF header", ()),
    "tiff": ("TIFF", ()),
    "text": ("a table", (".csv", ".tsv", ".txt", ".dat")),
    "toml": ("TOML", (".toml",)),
}
"""What each writer writes, and endings that it may have beside those of `ENDINGS`."""
_OTHERS = {".cxi", ".stk", ".xrm", ".txrm", ".xim", ".xsp", ".json", ".xml", ".zip", ".png", ".jpg", ".jpeg", ".gif"}
_OTHERS |= {".svg", ".pdf", ".html", ".md", ".py", ".xlsx"}
_KNOWN = _OTHERS.union(ENDINGS, *(also for _, also in _TITLES.values()))


def require_ending(path: str | os.PathLike[str], writer: str) -> None:
    """Refuse a name that ends as files of another format do; any other ending, and none, may be.

    Raises
    ------
    OptionError
        It does.
    """
    title, also = _TITLES[writer]
    own = [*(ending for ending, format in ENDINGS.items() if format == writer), *also]
    ending = Path(path).suffix.lower()
    if ending in _KNOWN and ending not in own:
        raise OptionError(
            "path", str(path), f"{title} is written, and {ending} is the ending of another format: use {own[0]}"
        )
