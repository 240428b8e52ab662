"""The table of a log: a line of column names, numbers under it, and times that may be dates."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from xstxm._dates import in_utc, zone_of
from xstxm.errors import CorruptFileError, FileFormatError, OptionError
from xstxm.io._sources import Source, called, describe_content, read_head, read_text

COMMENTS = "#%!*"
_NAMES = {
    "time": r"(elapsed|test|total)?[ _]?time|date[ _]?time|date|time[ _]?stamp|t",
    "voltage": r"<?(ewe|ecell|voltage|potential|cell[ _]?voltage|e|u|v)>?",
    "current": r"<?(current|i)>?",
    "charge": r"\(?q([- ]?q0|-qo)?\)?|charge|capacity",
}
_HEAD = re.compile(r"(?P<name>.+?)\s*(?:/\s*(?P<over>[^/]+?)|[(\[]\s*(?P<inside>[^)\]]+?)\s*[)\]])?\s*")


@dataclass(frozen=True)
class Column:
    """A column: its head as the file writes it, the unit in there, and the cells."""

    head: str
    unit: str | None
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Log:
    """The columns of a log by what they are, the heads of the others, and the line of each row in the file."""

    columns: Mapping[str, Column]
    others: tuple[str, ...]
    lines: tuple[int, ...]


def read_log(source: Source, chosen: Mapping[str, str] | None) -> Log:
    """Read the table of a log; `chosen` names columns that are not to be found by their heads.

    Raises
    ------
    FileFormatError, CorruptFileError
        There is no line of names, two columns are the same quantity, or a row has another number of cells.
    OptionError
        `chosen` names a column that is not there, or a quantity that no log has.
    """
    chosen = dict(chosen or {})
    unknown = [quantity for quantity in chosen if quantity not in _NAMES]
    if unknown:
        raise OptionError("columns", chosen, f"{unknown[0]!r} is no quantity of a log: name {', '.join(_NAMES)}")
    lines = [(k, line.strip("\ufeff\n")) for k, line in enumerate(re.split(r"\r\n|\n|\r", read_text(source)), start=1)]
    at, delimiter, heads = _heads(lines, chosen, source)
    place = _places(heads, chosen, source)
    rows = [
        (number, _cells(line, delimiter))
        for number, line in lines[at + 1 :]
        if line.strip() and line.lstrip()[0] not in COMMENTS
    ]
    _require_even(rows, len(heads), source)
    columns = {
        quantity: Column(heads[k], _parted(heads[k])[1], tuple(cells[k] for _, cells in rows))
        for quantity, k in place.items()
    }
    others = tuple(head for k, head in enumerate(heads) if k not in place.values() and head)
    return Log(columns, others, tuple(number for number, _ in rows))


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))]


def _parted(head: str) -> tuple[str, str | None]:
    """Return the name and the unit of ``Ewe/V``, ``time (s)`` or ``voltage [V]``."""
    found = _HEAD.fullmatch(head)
    return (found["name"], found["over"] or found["inside"]) if found else (head, None)


def _quantity(head: str) -> str | None:
    name = _parted(head)[0]
    return next((what for what, pattern in _NAMES.items() if re.fullmatch(pattern, name, re.IGNORECASE)), None)


def _heads(lines: list[tuple[int, str]], chosen: Mapping[str, str], source: Source) -> tuple[int, str, list[str]]:
    """Return where the line of names is, what parts its columns, and the names: of a time and of something else."""
    for at, (_, line) in enumerate(lines):
        plain = line.lstrip(COMMENTS + " ")
        for delimiter in "\t;,":
            heads = _cells(plain, delimiter) if plain else []
            found = {_quantity(head) for head in heads} | {what for what, head in chosen.items() if head in heads}
            if "time" in found and len(found - {None}) > 1:
                return at, delimiter, heads
    raise FileFormatError(
        called(source),
        "a line of column names, with a time and a voltage, current or charge",
        describe_content(read_head(source)),
        "name the columns as in 'time (s),Ewe (V),I (mA)', or pass columns={'time': <name>, 'voltage': <name>}",
    )


def _places(heads: list[str], chosen: Mapping[str, str], source: Source) -> dict[str, int]:
    """Return the column of each quantity."""
    absent = [head for head in chosen.values() if head not in heads]
    if absent:
        raise OptionError("columns", dict(chosen), f"{absent[0]!r} is no column (columns: {', '.join(heads)})")
    place = {}
    for quantity in _NAMES:
        wanted = chosen.get(quantity)
        found = [k for k, head in enumerate(heads) if (head == wanted if wanted else _quantity(head) == quantity)]
        if len(found) > 1:
            named = " and ".join(repr(heads[k]) for k in found)
            do = f"say which, columns={{{quantity!r}: {heads[found[0]]!r}}}"
            raise FileFormatError(called(source), f"one column for the {quantity}", named, do)
        if found:
            place[quantity] = found[0]
    return place


def _require_even(rows: list[tuple[int, list[str]]], width: int, source: Source) -> None:
    """Refuse rows of another number of cells; an empty one at the end opens no column."""
    name = called(source)
    if not rows:
        raise CorruptFileError(name, "rows of numbers under the names", "none", "give the whole log")
    for number, cells in rows:
        if len(cells) == width + 1 and not cells[-1]:
            cells.pop()
        if len(cells) != width:
            found = f"{len(cells)} in line {number}"
            raise CorruptFileError(name, f"{width} columns in each row", found, "complete or remove the line")


def numbers(column: Column, lines: tuple[int, ...], source: Source) -> np.ndarray:
    """Return the numbers of a column, NaN where a cell is empty; a comma may be the decimal mark."""
    return np.array([_number(cell, column, line, source) for cell, line in zip(column.cells, lines, strict=True)])


def _number(cell: str, column: Column, line: int, source: Source) -> float:
    if not cell:
        return float("nan")
    try:
        return float(cell.replace(",", "."))
    except ValueError as error:
        found = f"{cell[:40]!r} in line {line}"
        expected = f"a number in column {column.head!r}"
        do = "correct the line; dates are written as 2026-03-01T10:00:00"
        raise CorruptFileError(called(source), expected, found, do) from error


def dates(column: Column, lines: tuple[int, ...], source: Source) -> tuple[np.ndarray, dict[str, str]] | None:
    """Return the dates of a column, in UTC where they name a zone, and an attribute that says so; None where it holds numbers."""
    if _date(column.cells[0]) is None:
        return None
    found = [_date(cell) for cell in column.cells]
    for cell, date, line in zip(column.cells, found, lines, strict=True):
        if date is None or (date.tzinfo is None) != (found[0].tzinfo is None):  # type: ignore[union-attr]
            do = "write all dates alike, as 2026-03-01T10:00:00"
            raise CorruptFileError(called(source), "a date in ISO 8601", f"{cell[:40]!r} in line {line}", do)
    known = [date for date in found if date]
    return np.array([in_utc(date) for date in known]), zone_of(known[0])


def _date(cell: str) -> datetime | None:
    """Return a date in ISO 8601, None for what is none; a mere number is seconds, not a year."""
    if re.fullmatch(r"[-+\d.,eE]*", cell) and not re.fullmatch(r"\d{4}-\d\d-\d\d", cell):
        return None
    try:
        return datetime.fromisoformat(cell)
    except ValueError:
        return None
