"""Backends of `xarray.open_dataset`: ``engine="stxm"``, ``"sdf"`` and ``"nxstxm"``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import xarray as xr
from xarray.backends import BackendEntrypoint

from xstxm.errors import FileFormatError, OptionError, StxmError
from xstxm.io import _base
from xstxm.io.nxstxm import is_nxstxm, open_nxstxm
from xstxm.io.sdf import is_sdf, open_sdf

_DOCS = "docs/formats/"


def _head(source: Any) -> bytes:
    """Return the first bytes of what xarray was given, none where it is no file."""
    try:
        return _base.read_head(source)
    except (OSError, AttributeError, TypeError, ValueError, StxmError):
        return b""


class SdfBackendEntrypoint(BackendEntrypoint):
    """Opens SDF scans: a text header (.hdr) with .xim or .xsp files beside it."""

    description: ClassVar[str] = "STXM scans in SDF (.hdr with .xim or .xsp)"
    url: ClassVar[str] = f"{_DOCS}sdf.md"

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Tell by the content whether this is an SDF header."""
        return is_sdf(_head(filename_or_obj))

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        region: int | None = None,
        detector: str | None = None,
    ) -> xr.Dataset:
        """Open the scan, see `xstxm.open_stack`."""
        return open_sdf(filename_or_obj, region=region, detector=detector, drop_variables=drop_variables)


class NxstxmBackendEntrypoint(BackendEntrypoint):
    """Opens NXstxm files (NeXus HDF5) of several beamlines."""

    description: ClassVar[str] = "STXM scans in NXstxm (NeXus HDF5)"
    url: ClassVar[str] = f"{_DOCS}nxstxm.md"

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Tell by the content whether this is an NXstxm file."""
        return _base.is_hdf5(_head(filename_or_obj)) and is_nxstxm(filename_or_obj)

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        entry: str | None = None,
        detector: str | None = None,
    ) -> xr.Dataset:
        """Open the scan, see `xstxm.open_stack`."""
        return open_nxstxm(filename_or_obj, entry=entry, detector=detector, drop_variables=drop_variables)


class StxmBackendEntrypoint(BackendEntrypoint):
    """Opens every format of this package, told apart by content."""

    description: ClassVar[str] = "STXM scans of every format that xstxm reads"
    url: ClassVar[str] = f"{_DOCS}index.md"

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Tell by the content whether any reader of this package can open the file."""
        return (
            SdfBackendEntrypoint().guess_can_open(filename_or_obj)
            or NxstxmBackendEntrypoint().guess_can_open(filename_or_obj)
        )  # fmt: skip

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        region: int | None = None,
        entry: str | None = None,
        detector: str | None = None,
    ) -> xr.Dataset:
        """Open the scan, see `xstxm.open_stack`."""
        head = _base.read_head(filename_or_obj)
        if is_sdf(head):
            if entry is not None:
                raise OptionError("entry", entry, "an SDF scan has regions, use region=")
            return open_sdf(filename_or_obj, region=region, detector=detector, drop_variables=drop_variables)
        if _base.is_hdf5(head):
            if region is not None:
                raise OptionError("region", region, "an NXstxm file has entries, use entry=")
            return open_nxstxm(filename_or_obj, entry=entry, detector=detector, drop_variables=drop_variables)
        name = _base.path_of(filename_or_obj) or _base.name_of(filename_or_obj)
        found, do = _base.describe_content(head), _base.advise(_base.name_of(filename_or_obj), head)
        raise FileFormatError(name, "an SDF header or an NXstxm file", found, do)
