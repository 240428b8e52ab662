"""Voltage, current and charge against time, from the log of a potentiostat or a cycler."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from xstxm import units as _units
from xstxm._dates import date_of
from xstxm.conventions import SPECS, annotate
from xstxm.errors import CorruptFileError, MissingUnitsError, OptionError
from xstxm.io._sources import Source, called, name_of
from xstxm.io.electrochemistry.log import Column, Log, dates, numbers, read_log
from xstxm.provenance import note, recorded

QUANTITIES = ("voltage", "current", "charge")


@recorded
def read_electrochemistry(
    path: Source,
    *,
    columns: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    start_time: str | None = None,
) -> xr.Dataset:
    r"""Read the log of an electrochemical experiment: a text table of time, voltage, current and charge.

    Parameters
    ----------
    path
        A text file: a line of names, ``time (s),Ewe (V),I (mA)`` or ``time/s;Ewe/V;<I>/mA;(Q-Qo)/mA.h``, and the rows below.
        Commas, semicolons or tabs part the columns; a comma may be the decimal mark where it does not. What stands above
        the names, and lines that start with ``#``, are left out.
    columns
        Which column is what, e.g. ``{"voltage": "Ece/V"}``, for names that are not understood or not unique: of ``"time"``,
        ``"voltage"``, ``"current"``, ``"charge"``.
    units
        Units of columns whose names give none, e.g. ``{"time": "h"}``.
    start_time
        Date of the time zero in ISO 8601, for a time in seconds or hours that is to become a date.

    Returns
    -------
    Dataset
        `voltage` [V], `current` [mA] and `charge` [mAh] (time), as far as the file has them; a charge that it has not is the
        integral of the current, zero at first. `time` is a date (UTC where the file names a time zone) or a number of s.
        Columns that are none of these are left out, and the history names them. Eager.

    Raises
    ------
    FileFormatError, CorruptFileError
        The file is no such table; a row of it is broken, or goes back in time, with the number of its line.
    MissingUnitsError, IncompatibleUnitsError
        A column without units, or in units of another kind.
    OptionError
        `columns` or `units` name what is not there, units of a column that gives its own, or a start time where the file
        has dates.

    Examples
    --------
    >>> import io, xstxm
    >>> text = b"time (min),voltage [V],I (uA)\n0,3.4,-20\n30,3.3,-20\n60,3.1,-20\n"
    >>> log = xstxm.read_electrochemistry(io.BytesIO(text))
    >>> log.charge.values.tolist(), log.charge.attrs["units"]
    ([0.0, -0.01, -0.02], 'mAh')
    """
    log = read_log(path, columns)
    given = dict(units or {})
    _require_needed(given, log)
    time, attrs = _time(log, given, start_time, path)
    _require_order(time, log.lines, path)
    coords = {"time": ("time", time, {**attrs, "long_name": "Time"})}
    found = {
        quantity: _column(quantity, log.columns[quantity], log.lines, given, path)
        for quantity in QUANTITIES
        if quantity in log.columns
    }
    if "charge" not in found and "current" in found:
        found["charge"] = _integral(time, found["current"])
        note("charge integrated from the current")
    if log.others:
        note(f"columns left out: {', '.join(log.others)}")
    stamped = {name: annotate(xr.DataArray(values, coords, "time"), name) for name, values in found.items()}
    return xr.Dataset(stamped, attrs={"source_file": name_of(path)})


def _require_needed(units: Mapping[str, str], log: Log) -> None:
    """Refuse units of what is no column, or of one whose name gives its own."""
    for quantity in units:
        if quantity not in log.columns:
            do = f"{quantity!r} is no column that was found (found: {', '.join(log.columns)})"
            raise OptionError("units", dict(units), do)
        if log.columns[quantity].unit is not None:
            do = f"column {log.columns[quantity].head!r} gives its own: leave {quantity!r} out, or correct the name in the file"
            raise OptionError("units", dict(units), do)


def _time(log: Log, units: dict[str, str], start_time: str | None, source: Source) -> tuple[np.ndarray, dict[str, str]]:
    """Return dates, or numbers in s, and what tells them."""
    column = log.columns["time"]
    found = dates(column, log.lines, source)
    if found is not None:
        if start_time is not None:
            raise OptionError("start_time", start_time, f"column {column.head!r} holds dates: leave it out")
        return found
    seconds = _column("time", column, log.lines, units, source)
    if not np.isfinite(seconds).all():
        line = log.lines[int(np.argmin(np.isfinite(seconds)))]
        raise CorruptFileError(called(source), "a time in each row", f"none in line {line}", "complete or remove it")
    if start_time is None:
        return seconds, {"units": "s"}
    start, zone = date_of(start_time)
    return start + np.round(seconds * 1e9).astype("timedelta64[ns]"), zone


def _column(quantity: str, column: Column, lines: tuple[int, ...], units: dict[str, str], source: Source) -> np.ndarray:
    """Return a column in its conventional unit."""
    values, found = numbers(column, lines, source), column.unit or units.get(quantity)
    if found is None:
        do = f"name it {quantity} ({_unit(quantity)}), or pass units={{{quantity!r}: {_unit(quantity)!r}}}"
        raise MissingUnitsError(f"column {column.head!r} of {name_of(source)}", do)
    scale = _units.factor(found, _unit(quantity), f"column {column.head!r} of {name_of(source)}")
    return values * scale


def _unit(quantity: str) -> str:
    return "s" if quantity == "time" else str(SPECS[quantity].units)


def _require_order(time: np.ndarray, lines: tuple[int, ...], source: Source) -> None:
    """Refuse times that go back; equal ones, as where a step begins, are kept."""
    back = np.flatnonzero(np.diff(time) < np.zeros(1, np.diff(time).dtype))
    if back.size:
        raise CorruptFileError(
            called(source),
            "times that do not go back",
            f"an earlier one in line {lines[back[0] + 1]}",
            "sort the rows, or give the parts of a log that was restarted one by one",
        )


def _integral(time: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Return the charge in mAh, zero at first, by the trapezoidal rule."""
    from scipy.integrate import cumulative_trapezoid

    seconds = (time - time[0]) / np.timedelta64(1, "s") if time.dtype.kind == "M" else time
    charge: np.ndarray = cumulative_trapezoid(current, seconds / 3600, initial=0)
    return charge
