"""From a Stony Brook stack to a stack."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import xarray as xr

from xstxm.conventions import ENERGY
from xstxm.errors import CorruptFileError, FileFormatError, MetadataWarning, check_choice, warn
from xstxm.io import _base, _sources
from xstxm.io._base import FrameArray, Scan, Signal
from xstxm.io._raw import UNITS_OF, Kind, RawFrames, bytes_of, size_of
from xstxm.io._sources import COPY_AGAIN, Source

_SIZES = 12
"""Bytes of the three sizes that a file starts with."""
_MOST = 100_000


def sizes_of(head: bytes) -> tuple[int, int, int] | None:
    """Return (energies, rows, columns) of a file by its first bytes, None where they make no sense."""
    if len(head) < _SIZES:
        return None
    columns, rows, energies = (int(size) for size in np.frombuffer(head, ">i4", 3))
    sizes = energies, rows, columns
    return sizes if all(1 <= size <= _MOST for size in sizes) else None


def _bytes(sizes: tuple[int, int, int]) -> int:
    energies, rows, columns = sizes
    return _SIZES + 4 * (columns + rows + 2 * energies + energies * rows * columns)


def is_stk(source: Source, head: bytes) -> bool:
    """Tell whether a file has the very size that its first bytes claim."""
    sizes = sizes_of(head)
    return sizes is not None and size_of(source) == _bytes(sizes)


def open_stk(
    source: Source, *, kind: Kind | None = None, drop_variables: str | Iterable[str] | None = None
) -> xr.Dataset:
    """Open a Stony Brook stack.

    Parameters
    ----------
    source
        Path or binary file object.
    kind
        What the numbers are, which the file does not say: ``"intensity"``, the default, or ``"optical_density"``.
    drop_variables
        Variables to leave out.

    Returns
    -------
    Dataset
        A stack; frames are read when indexed.

    Raises
    ------
    FileFormatError, CorruptFileError
        See the classes; each names the file and what was expected of it.
    ChoiceError
        Another word as `kind`.
    """
    if kind is not None:
        check_choice("kind", kind, Kind)
    sizes = _checked_sizes(source)
    doubt = "this reader has met no real .stk: compare with another program"
    if kind is None:
        doubt += '; its numbers are taken to be counts: pass kind="optical_density", or kind="intensity"'
    warn(f"{_sources.name_of(source)}: {doubt}", MetadataWarning)
    count, rows, columns = sizes
    table = np.frombuffer(bytes_of(source, _SIZES, 4 * (columns + rows + 2 * count)), ">f4")
    x, y, energy, dwell = np.split(_decimals(table), np.cumsum([columns, rows, count]))
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise CorruptFileError(_name(source), "finite positions", "others", COPY_AGAIN)
    energy = _base.energies_in_ev(energy, None, source)
    _base.check_energies(energy, source)
    read = RawFrames(_sources.located(source), (rows, columns), ">f4", _bytes(sizes) - 4 * count * rows * columns)
    name = kind or "intensity"
    scan = Scan(
        dims=(ENERGY, "y", "x"),
        energy=energy,
        positions={"y": (("y",), y), "x": (("x",), x)},
        signals={name: Signal(FrameArray(sizes, read), UNITS_OF[name])},
        metadata={"source_file": _sources.source_file(_sources.name_of(source))},
        dwell_time=dwell if np.isfinite(dwell).all() and (dwell > 0).all() else None,
    )
    return _base.to_dataset(scan, drop_variables)


def _name(source: Source) -> object:
    return _sources.called(source)


def _checked_sizes(source: Source) -> tuple[int, int, int]:
    head = _sources.read_head(source)
    sizes, found = sizes_of(head), size_of(source)
    if sizes is None:
        expected = f"the sizes of a Stony Brook stack, from 1 to {_MOST}"
        do = "open it with engine='stxm', which looks at the content"
        raise FileFormatError(_name(source), expected, _sources.describe_content(head), do)
    if found != _bytes(sizes):
        expected = f"{_bytes(sizes)} bytes for {' x '.join(map(str, sizes))} numbers"
        raise CorruptFileError(_name(source), expected, f"{found}", COPY_AGAIN)
    return sizes


def _decimals(values: np.ndarray) -> np.ndarray:
    """Return single precision as the decimals that were meant: 700.1, not 700.0999756."""
    return values.astype("f4").astype(str).astype(float)
