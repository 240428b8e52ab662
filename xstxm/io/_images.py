"""What image formats leave out: energies, pixel sizes, and what the numbers are."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units as _units
from xstxm.errors import (
    CorruptFileError,
    FileFormatError,
    MetadataWarning,
    OptionError,
    UnitsError,
    UnsupportedScanError,
    check_choice,
    warn,
)
from xstxm.io import _base, _sources
from xstxm.io._raw import UNITS_OF, Kind
from xstxm.io._sources import Source
from xstxm.units import LengthLike

Energies: TypeAlias = "Sequence[float] | np.ndarray | xr.DataArray | str | os.PathLike[str]"

GIVE_ENERGIES = "pass energies=, a list in eV or the path of a text file with one in each line"
NAME_ENERGIES = f"{GIVE_ENERGIES}; or name each file with it, as a_0853.50eV.tif"
GIVE_PIXEL_SIZE = 'pass pixel_size=, e.g. pixel_size="50 nm"'
_MEANT_IN_NM = 1.0
"""The size of a pixel from which on a number without a unit, which is in um, is not believed."""
_BESIDE = (".txt", ".csv", ".dat")
_NUMBER = r"\d+\.\d+|\d{3,}_\d{1,2}|\d+"
_WITH_UNIT = re.compile(rf"(?<![\d.])({_NUMBER})[_ ]?(k?)eV(?![a-z])", re.IGNORECASE)
_WITH_POINT = re.compile(r"(?<![\d.])\d{3,5}\.\d+(?![\d.])")
_WITH_UNDERSCORE = re.compile(r"(?<!\d)(\d{3,5})_(\d{1,2})(?!\d)")
_SAID = re.compile(r"xstxm (intensity|optical_density)(?: \[(.+)\])?")
_ENDINGS = (".tif", ".tiff", ".xrm", ".txrm")


def energies_of_names(names: Sequence[str]) -> np.ndarray | None:
    """Return the energies in eV that the names of files with one image each say, None where it is not clear.

    A number with its unit is taken, as ``_0853.50eV_``, ``8353_0eV`` or ``8.353keV``; an underscore is a decimal point between
    three digits or more and two or fewer. One without a unit is taken with a warning: with a point, as ``853.50``, or of several
    names, as ``853_50``, where they differ in nothing else and in more than the digits behind the underscore.
    """
    stems = [Path(name).stem if Path(name).suffix.lower() in _ENDINGS else name for name in names]
    said = [_WITH_UNIT.findall(stem) for stem in stems]
    if all(len(found) == 1 for found in said):
        return np.array([_in_ev(number, unit) for [(number, unit)] in said])
    if any(said):
        return None
    bare = _with_point(stems) or _with_underscore(stems)
    if bare is None:
        return None
    shown = _sources.listed([f"{energy:g}" for energy in bare])
    warn(
        f"{_sources.listed(list(names))}: the energies {shown} eV are taken from names that do not say eV: pass energies= if "
        "the numbers are something else",
        MetadataWarning,
    )
    return np.array(bare)


def _in_ev(number: str, kilo: str) -> float:
    value = float(number.replace("_", "."))
    return float(_base.drop_noise(np.array(value * 1000))) if kilo else value


def _with_point(stems: Sequence[str]) -> list[float] | None:
    found = [_WITH_POINT.findall(stem) for stem in stems]
    energies = [float(numbers[0]) for numbers in found if len(numbers) == 1]
    return energies if len({*energies}) == len(stems) else None


def _with_underscore(stems: Sequence[str]) -> list[float] | None:
    """Return ``853_50`` of several names as 853.5: a frame or sample number would vary by itself, or beside it."""
    found = [[*_WITH_UNDERSCORE.finditer(stem)] for stem in stems]
    if len(stems) < 2 or any(len(numbers) != 1 for numbers in found):
        return None
    around = {(stem[: one.start()], stem[one.end() :]) for stem, [one] in zip(stems, found, strict=True)}
    energies = [float(f"{one[1]}.{one[2]}") for [one] in found]
    clear = len(around) == 1 and len({one[1] for [one] in found}) > 1 and len({*energies}) == len(stems)
    return energies if clear else None


def given_energies(energies: Energies, count: int, source: Source) -> np.ndarray:
    """Return the energies that the caller gives, in eV, one for each image.

    Raises
    ------
    OptionError
        There are more or fewer than images, or some are no energies.

    Warns
    -----
    MetadataWarning
        Numbers below 100, without a unit, are taken to be keV.
    """
    if isinstance(energies, str | os.PathLike):
        values = read_energies(Path(energies).expanduser())
    elif isinstance(energies, xr.DataArray) and "units" in energies.attrs:
        values = np.asarray(_units.to_units(energies, "eV", "energies"), dtype=float).ravel()
    else:
        values = _numbers(energies)
        do = "if they are eV, give an array that says so, xr.DataArray(energies, attrs={'units': 'eV'})"
        values = _base.convert(values, _base.unit_of_energies(values, None, source, do), "eV", "energies")
    if len(values) != count:
        raise OptionError(
            "energies", values, f"{_sources.name_of(source)} holds {count} images: give one energy for each"
        )
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
    for number, line in enumerate(_sources.read_text(path).splitlines(), start=1):
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
        name = _sources.called(source)
        found = f"{int((~(np.isfinite(values) & (values > 0))).sum())} that are not"
        raise CorruptFileError(name, "finite energies above zero", found, GIVE_ENERGIES)
    return values


def energies_beside(source: Source) -> Path | None:
    """Return the list of energies that lies beside a file under the same name, None where there is none."""
    path = _sources.path_of(source)
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
    name = _sources.called(source)
    do = 'pass kind="intensity" or kind="optical_density"'
    raise FileFormatError(name, "counts, which are whole numbers", f"{dtype.name} numbers that may be either", do)


def kind_or_counts(kind: Kind | None, doubt: str, source: Source) -> Kind:
    """Return what the caller says that the numbers are, else counts, with a warning that says why this is in doubt, if it is."""
    if kind is not None:
        check_choice("kind", kind, Kind)
        return kind
    if doubt:
        do = 'pass kind="optical_density", or kind="intensity"'
        warn(f"{_sources.name_of(source)}: {doubt} and are taken to be counts: {do}", MetadataWarning)
    return "intensity"


def saying(array: xr.DataArray) -> str:
    """Return a line for files whose format has no word for it: what the numbers are, and their units unless these are the usual ones."""
    name, units = str(array.name), " ".join(str(array.attrs.get("units", "")).split())
    with contextlib.suppress(UnitsError):
        units = _units.normalize(units) if units else ""
    line = f"xstxm {name}" if name in UNITS_OF else name
    return f"{line} [{units}]" if units and units != UNITS_OF.get(name) else line


def said(line: str) -> tuple[Kind | None, str | None]:
    """Return the kind and the units that a line of `saying` tells; None for what it does not."""
    found = _SAID.fullmatch(line.strip())
    if found is None:
        return None, None
    kind: Kind = "intensity" if found[1] == "intensity" else "optical_density"
    try:
        return kind, _units.normalize(found[2]) if found[2] else UNITS_OF[kind]
    except UnitsError:
        return kind, UNITS_OF[kind]


def given_pixel_size(pixel_size: LengthLike | None) -> float | None:
    """Return the size of a pixel that the caller gives, in um.

    Raises
    ------
    OptionError
        It is no length above zero, or a number without a unit that is meant in nm.
    """
    if pixel_size is None:
        return None
    size = _units.to_magnitude(pixel_size, "um", "pixel_size")
    if not (np.isfinite(size) and size > 0):
        raise OptionError("pixel_size", pixel_size, 'give a length above zero, e.g. "50 nm"')
    if size >= _MEANT_IN_NM and isinstance(pixel_size, int | float | np.number):
        do = f'a number is in um, and pixels are smaller: write "{size:g} nm", or "{size:g} um" if it is that'
        raise OptionError("pixel_size", pixel_size, do)
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
        name = _sources.called(source)
        raise UnsupportedScanError(name, "the size of a pixel", "none with a unit", GIVE_PIXEL_SIZE)
    axes = zip("yx", shape, found, first, strict=True)
    return {dim: ((dim,), _base.drop_noise(start + step * np.arange(size))) for dim, size, step, start in axes}
