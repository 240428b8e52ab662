"""What image formats leave out: energies, pixel sizes, and what the numbers are."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units as _units
from xstxm.errors import CorruptFileError, FileFormatError, OptionError, UnsupportedScanError, check_choice
from xstxm.io import _base
from xstxm.io._base import Source
from xstxm.io._raw import Kind
from xstxm.units import LengthLike

Energies: TypeAlias = "Sequence[float] | np.ndarray | xr.DataArray | str | os.PathLike[str]"

GIVE_ENERGIES = "pass energies=, a list in eV or the path of a text file with one in each line"
GIVE_PIXEL_SIZE = 'pass pixel_size=, e.g. pixel_size="50 nm"'
_BESIDE = (".txt", ".csv", ".dat")
# an underscore stands for a decimal point only between three digits or more and two or fewer, else a frame number is meant
_NUMBER = r"\d+\.\d+|\d{3,}_\d{1,2}|\d+"
_WITH_UNIT = re.compile(rf"(?<![\d.])({_NUMBER})[_ ]?(k?)eV(?![a-z])", re.IGNORECASE)
_BARE = re.compile(r"(?<![\d.])(\d{3,5}[._]\d{1,2})(?![\d.]\d|\d)")


def energy_of_name(name: str) -> float | None:
    """Return the energy in eV that a file name holds, as ``_0853.50eV_``, ``8353_0eV`` or ``853_50``; None where it is not clear."""
    stem = Path(name).stem if Path(name).suffix.lower() in (".tif", ".tiff", ".xrm", ".txrm") else name
    found = [(number, unit) for number, unit in _WITH_UNIT.findall(stem)] or [(one, "") for one in _BARE.findall(stem)]
    if len(found) != 1:
        return None
    number, unit = found[0]
    value = float(number.replace("_", "."))
    return float(_base.drop_noise(np.array(value * 1000))) if unit else value


def given_energies(energies: Energies, count: int, source: Source) -> np.ndarray:
    """Return the energies that the caller gives, in eV, one for each image.

    Raises
    ------
    OptionError
        There are more or fewer than images, or some are no energies.
    """
    if isinstance(energies, str | os.PathLike):
        values = read_energies(Path(energies).expanduser())
    elif isinstance(energies, xr.DataArray) and "units" in energies.attrs:
        values = np.asarray(_units.to_units(energies, "eV", "energies"), dtype=float).ravel()
    else:
        values = _numbers(energies)
    if len(values) != count:
        raise OptionError("energies", values, f"{_base.name_of(source)} holds {count} images: give one energy for each")
    if not (np.isfinite(values) & (values > 0)).all():
        raise OptionError("energies", values, "give finite energies above zero, in eV")
    return values


def _numbers(energies: Any) -> np.ndarray:
    try:
        return np.atleast_1d(np.asarray(energies, dtype=float)).ravel()
    except (TypeError, ValueError) as error:
        raise OptionError("energies", energies, "give numbers in eV, or the path of a text file") from error


def read_energies(path: Path) -> np.ndarray:
    """Read a list of energies in eV from text: one in each line, or after a running number or before other columns.

    Lines that start with ``*``, ``#``, ``%``, ``!`` or ``;`` are comments, and so is a row of names above the numbers;
    ``keV`` in either is the unit.

    Raises
    ------
    CorruptFileError
        No numbers, rows of unequal length, words between numbers, or energies that are none.
    """
    said, rows = [], []
    for number, line in enumerate(_base.read_text(path).splitlines(), start=1):
        cells = [cell for cell in re.split(r"[,;\s]+", line.strip()) if cell]
        try:
            row = [float(cell) for cell in cells] if line.strip()[:1] not in "*#%!;" else []
        except ValueError:
            row = []
        if row:
            rows.append(row)
        elif rows and cells and line.strip()[0] not in "*#%!;":
            raise CorruptFileError(path, "a list of energies", f"other words in line {number}", "correct the line")
        else:
            said.append(line)
    if not rows or len({len(row) for row in rows}) > 1:
        found = "rows of unequal length" if rows else "no numbers"
        raise CorruptFileError(path, "a list of energies", found, "write one energy into each line")
    table = np.array(rows)
    counted = table.shape[1] > 1 and any((table[:, 0] == np.arange(len(rows)) + first).all() for first in (0, 1))
    unit = "keV" if re.search(r"\bkeV\b", " ".join(said), re.IGNORECASE) else None
    return usable_energies(_base.energies_in_ev(table[:, int(counted)], unit, path), path)


def usable_energies(values: np.ndarray, source: Source) -> np.ndarray:
    """Return energies, or refuse those that are not finite and above zero."""
    if not (np.isfinite(values) & (values > 0)).all():
        name = _base.path_of(source) or _base.name_of(source)
        found = f"{int((~(np.isfinite(values) & (values > 0))).sum())} that are not"
        raise CorruptFileError(name, "finite energies above zero", found, GIVE_ENERGIES)
    return values


def energies_beside(source: Source) -> Path | None:
    """Return the list of energies that lies beside a file under the same name, None where there is none."""
    path = _base.path_of(source)
    if path is None:
        return None
    return next((beside for ending in _BESIDE if (beside := path.with_suffix(ending)).is_file()), None)


def signal_of(kind: Kind | None, found: str | None, dtype: np.dtype, source: Source) -> str:
    """Return what the numbers are: what the caller says, else the file, else intensity where they are whole numbers.

    Raises
    ------
    FileFormatError
        Nothing tells whether fractional numbers are counts or optical densities.
    """
    if kind is not None:
        check_choice("kind", kind, Kind)
        return kind
    if found is not None or dtype.kind in "iu":
        return found or "intensity"
    name = _base.path_of(source) or _base.name_of(source)
    do = 'pass kind="intensity" or kind="optical_density"'
    raise FileFormatError(name, "counts, which are whole numbers", f"{dtype.name} numbers that may be either", do)


def given_pixel_size(pixel_size: LengthLike | None) -> float | None:
    """Return the size of a pixel that the caller gives, in um.

    Raises
    ------
    OptionError
        It is no length above zero.
    """
    if pixel_size is None:
        return None
    size = _units.to_magnitude(pixel_size, "um", "pixel_size")
    if not (np.isfinite(size) and size > 0):
        raise OptionError("pixel_size", pixel_size, 'give a length above zero, e.g. "50 nm"')
    return float(size)


def pixel_positions(
    shape: tuple[int, int],
    pixel_size: LengthLike | None,
    found: tuple[float, float] | None,
    source: Source,
    first: tuple[float, float] = (0.0, 0.0),
) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Return the positions (um) of the pixels, from their size: that of the caller, else that of the file (y, x).

    Raises
    ------
    UnsupportedScanError
        Nobody says the size.
    """
    size = given_pixel_size(pixel_size)
    if size is not None:
        found = (size, size)
    if found is None:
        name = _base.path_of(source) or _base.name_of(source)
        raise UnsupportedScanError(name, "the size of a pixel", "none with a unit", GIVE_PIXEL_SIZE)
    axes = zip("yx", shape, found, first, strict=True)
    return {dim: ((dim,), _base.drop_noise(start + step * np.arange(size))) for dim, size, step, start in axes}
