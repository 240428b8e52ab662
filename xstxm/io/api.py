"""The public functions of the readers and writers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import xarray as xr

from xstxm.errors import ChoiceError
from xstxm.io._base import Source
from xstxm.io._images import Energies, Kind
from xstxm.io.electrochemistry import read_electrochemistry
from xstxm.io.formats import formats
from xstxm.io.nxstxm.writer import write_nxstxm
from xstxm.io.scan_list import write_scan_list
from xstxm.io.shifts import read_shifts, write_shifts
from xstxm.io.spectra.reader import read_i0, read_references
from xstxm.io.tiff import write_tiff
from xstxm.provenance import recorded

__all__ = [
    "formats",
    "open_stack",
    "read_electrochemistry",
    "read_i0",
    "read_references",
    "read_shifts",
    "write_nxstxm",
    "write_scan_list",
    "write_shifts",
    "write_tiff",
]


@recorded
def open_stack(
    path: Source,
    *,
    engine: str = "stxm",
    chunks: int | Mapping[Any, Any] | Literal["auto"] | None = None,
    region: int | None = None,
    entry: str | None = None,
    detector: str | None = None,
    energies: Energies | None = None,
    kind: Kind | None = None,
    pixel_size: float | str | None = None,
) -> xr.Dataset:
    """Open a scan as a stack; `xarray.open_dataset` with the engines of this package does the same.

    Parameters
    ----------
    path
        The file: the ``.hdr`` of an SDF scan, an NXstxm file, or a binary file object.
    engine
        ``"stxm"`` looks at the content; the name of a format, see `xstxm.formats`, insists on that.
    chunks
        Chunks of the dask arrays; ``{}`` for the file's own, which are frames as a rule. Without it
        frames are read when used, and kept.
    region
        Which region of a multi-region SDF scan, from 0.
    entry
        Which entry of an NXstxm file, e.g. ``"entry1"``.
    detector
        Name of the detector or channel that becomes `intensity`.
    energies
        Energies of images that do not say theirs: one in eV for each, or the path of a text file.
    kind
        What the numbers of images are, where their file does not say.
    pixel_size
        Size of a pixel of images that do not say theirs, e.g. ``"50 nm"``.

    Returns
    -------
    Dataset
        `intensity` (energy, y, x), (energy, position) or (energy), float32, in the order of measurement;
        further detectors as further variables; energies in eV, positions in um, `dwell_time` in ms and
        `ring_current` in mA where the file has them. Lazy. Closable.

    Raises
    ------
    FileFormatError
        The file is of none of these formats; `UnsupportedScanError` and `CorruptFileError` for a scan
        that cannot become a stack and for a broken file.
    OptionError, ChoiceError
        A region, entry or detector that does not exist, or an option of the other format.

    Examples
    --------
    >>> import tempfile, pathlib, xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(8, 6), seed=0)[["intensity"]]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = xstxm.write_nxstxm(stack, pathlib.Path(folder) / "particle.hdf5")
    ...     with xstxm.open_stack(path, chunks={}) as opened:
    ...         opened.intensity.dims
    ('energy', 'y', 'x')
    """
    from xstxm.io.backend import ENGINES

    if engine not in ENGINES:
        raise ChoiceError("engine", engine, list(ENGINES))
    asked = {
        "region": region,
        "entry": entry,
        "detector": detector,
        "energies": energies,
        "kind": kind,
        "pixel_size": pixel_size,
    }
    options = {name: value for name, value in asked.items() if value is not None}
    source: Any = Path(path).expanduser() if isinstance(path, str | os.PathLike) else path
    stack = xr.open_dataset(source, engine=ENGINES[engine], chunks=chunks, **options)  # type: ignore[arg-type]
    for name in stack.coords:
        if stack[name].ndim < 2:
            stack.variables[name].load()
    return stack
