"""From an aXis2000 stack to a stack."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import xarray as xr

from xstxm.conventions import ENERGY
from xstxm.errors import CorruptFileError
from xstxm.io import _base
from xstxm.io._base import FrameArray, Scan, Signal
from xstxm.io._images import kind_or_counts
from xstxm.io._raw import UNITS_OF, Kind, RawFrames, size_of
from xstxm.io._sources import COPY_AGAIN, Source
from xstxm.io.ncb.header import Header, partners, read_header


def open_ncb(
    source: Source, *, kind: Kind | None = None, drop_variables: str | Iterable[str] | None = None
) -> xr.Dataset:
    """Open an aXis2000 stack by its text or by its numbers.

    Parameters
    ----------
    source
        Path of the ``.dat`` or of the ``.ncb``; the other lies beside it.
    kind
        What the numbers are, ``"intensity"`` or ``"optical_density"``; else what `write_ncb` said, else counts, with a warning
        where they are no whole numbers.
    drop_variables
        Variables to leave out.

    Returns
    -------
    Dataset
        A stack, y and x ascending; frames are read when indexed.

    Raises
    ------
    FileFormatError, CorruptFileError
        See the classes; each names the file and what was expected of it.
    ChoiceError
        Another word as `kind`.
    """
    text, numbers = partners(source)
    header = read_header(text)
    _check_size(header, numbers)
    energy = _base.energies_in_ev(header.energy, "eV" if header.kind else None, text)
    _base.check_energies(energy, text)
    name = kind_or_counts(header.kind if kind is None else kind, _doubt(header.scale), text)
    return _base.to_dataset(_scan(header, numbers, energy, name, text), drop_variables)


def _doubt(scale: float) -> str:
    """Say why numbers may be no counts; nothing where they are whole."""
    if scale < 0:
        return "float32 numbers may be optical densities"
    return f"numbers in steps of 1/{scale:g} look like optical densities" if scale > 1 else ""


def _scan(header: Header, numbers: Path, energy: np.ndarray, name: str, text: Path) -> Scan:
    flips = (_direction(header.y), _direction(header.x))
    read = RawFrames(numbers, header.shape[1:], header.dtype, scale=max(header.scale, 0) or 1, flips=flips)
    return Scan(
        dims=(ENERGY, "y", "x"),
        energy=energy,
        positions={"y": (("y",), header.y[:: flips[0]]), "x": (("x",), header.x[:: flips[1]])},
        signals={name: Signal(FrameArray(header.shape, read), header.units if name == header.kind else UNITS_OF[name])},
        metadata={"title": text.stem, "source_file": text.name},
        dwell_time=header.dwell,
    )


def _direction(axis: np.ndarray) -> int:
    return -1 if axis[0] > axis[-1] else 1


def _check_size(header: Header, path: Path) -> None:
    """Refuse numbers that are not as many as the text says."""
    count, found = math.prod(header.shape), size_of(path)
    size = np.dtype(header.dtype).itemsize * count
    if found == size:
        return
    expected = f"{size} bytes ({' x '.join(map(str, header.shape))} of {header.dtype[1:]})"
    other = 4 if header.scale > 0 else 2
    do = COPY_AGAIN
    if found == other * count:
        right = "-1, if they are floats" if other == 4 else "1, or what the integers were multiplied with"
        do = f"each has {other} bytes: correct the scale in line 1 of the .dat to {right}"
    raise CorruptFileError(path, expected, f"{found}", do)
