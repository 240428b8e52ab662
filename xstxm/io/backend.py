"""Engines of `xarray.open_dataset`: ``engine="stxm"``, which goes by the content, and one for each format."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

import xarray as xr
from xarray.backends import BackendEntrypoint

from xstxm.errors import FileFormatError
from xstxm.io import _sources
from xstxm.io._format import Format, first_of
from xstxm.io._remote import fetched
from xstxm.io.cxi import CXI
from xstxm.io.exchange import EXCHANGE
from xstxm.io.formats import FORMATS, OPTIONS, format_of, recognised
from xstxm.io.ncb import NCB
from xstxm.io.netcdf import NETCDF
from xstxm.io.nxstxm import NXSTXM
from xstxm.io.sdf import SDF
from xstxm.io.stk import STK
from xstxm.io.tiff import TIFF
from xstxm.io.xrm import XRM
from xstxm.io.zarr import ZARR


class _FormatEngine(BackendEntrypoint):
    """Opens the files of one format."""

    format: ClassVar[Format]

    def __init_subclass__(cls) -> None:
        cls.description = f"STXM scans: {cls.format.files} ({cls.format.written_by})"
        cls.url = cls.format.page
        cls.open_dataset_parameters = ("filename_or_obj", "drop_variables", *cls.format.options)

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Tell by the content whether this is a file of the format."""
        return self.format.recognises(filename_or_obj, _sources.head_or_nothing(filename_or_obj))

    def open_dataset(
        self, filename_or_obj: Any, *, drop_variables: str | Iterable[str] | None = None, **options: Any
    ) -> xr.Dataset:
        """Open the scan, see `xstxm.open_stack`."""
        source = fetched(filename_or_obj)
        self._refuse_others(source)
        return self.format.open(source, drop_variables=drop_variables, **options)

    def _refuse_others(self, source: Any) -> None:
        """Refuse a sound file of another format, before the reader calls it broken."""
        head = _sources.head_or_nothing(source)
        found = None if self.format.recognises(source, head) else first_of(FORMATS, source, head)
        if found is not None:
            do = f'leave engine= out, or pass engine="{found.name}"'
            raise FileFormatError(_sources.called(source), self.format.title, found.title, do)


class SdfBackendEntrypoint(_FormatEngine):
    """Opens SDF scans."""

    format = SDF


class NxstxmBackendEntrypoint(_FormatEngine):
    """Opens NXstxm files."""

    format = NXSTXM


class NetcdfBackendEntrypoint(_FormatEngine):
    """Opens netCDF files of this package."""

    format = NETCDF


class ZarrBackendEntrypoint(_FormatEngine):
    """Opens Zarr stores of this package."""

    format = ZARR


class CxiBackendEntrypoint(_FormatEngine):
    """Opens CXI files."""

    format = CXI


class ExchangeBackendEntrypoint(_FormatEngine):
    """Opens Data Exchange files."""

    format = EXCHANGE


class NcbBackendEntrypoint(_FormatEngine):
    """Opens aXis2000 stacks."""

    format = NCB


class StkBackendEntrypoint(_FormatEngine):
    """Opens Stony Brook stacks."""

    format = STK


class TiffBackendEntrypoint(_FormatEngine):
    """Opens TIFF images."""

    format = TIFF


class XrmBackendEntrypoint(_FormatEngine):
    """Opens Zeiss X-ray microscope files."""

    format = XRM


class StxmBackendEntrypoint(BackendEntrypoint):
    """Opens every format of this package, told apart by content."""

    description: ClassVar[str] = "STXM scans of every format that xstxm reads"
    url: ClassVar[str] = "docs/formats/index.md"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", *OPTIONS)

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Tell by the content whether any reader of this package can open the file."""
        return recognised(filename_or_obj)

    def open_dataset(
        self, filename_or_obj: Any, *, drop_variables: str | Iterable[str] | None = None, **options: Any
    ) -> xr.Dataset:
        """Open the scan, see `xstxm.open_stack`."""
        source = fetched(filename_or_obj)
        found = format_of(source)
        found.check_options(options)
        return found.open(source, drop_variables=drop_variables, **options)


ENGINES: dict[str, type[BackendEntrypoint]] = {
    "stxm": StxmBackendEntrypoint,
    **{engine.format.name: engine for engine in _FormatEngine.__subclasses__()},
}
