"""Text tables of numbers, whoever wrote them: comments, names of columns, and the columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from xstxm.errors import CorruptFileError, FileFormatError
from xstxm.io import _sources
from xstxm.io._sources import Source

COMMENTS = "#%*!;"
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][-+]?\d+)?|[-+]?(?:nan|inf)", re.IGNORECASE)
_COMMA_NUMBER = re.compile(r"[-+]?\d+(?:,\d+)?(?:[eEdD][-+]?\d+)?")
_ENERGY_NAME = re.compile(r"(?:photon[ _]?)?energy\b.*|energies\b.*|e|ev|kev|hv|x|en", re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """A table: comments without their mark, names of columns (may be none), numbers (row, column)."""

    comments: tuple[str, ...]
    names: tuple[str, ...]
    values: np.ndarray


def read_table(source: Source) -> Table:
    """Read a table of numbers from text.

    Blanks, tabs, commas or semicolons part the columns; lines that start with ``#``, ``%``, ``*``,
    ``!`` or ``;`` are comments; a line of names may stand above the numbers; decimal commas are
    understood where something else parts the columns.

    Raises
    ------
    FileFormatError
        The file is no text with numbers.
    CorruptFileError
        A row is not like the others.
    """
    name = _sources.called(source)
    _refuse_other_formats(source)
    lines = re.split(r"\r\n|\n|\r", _sources.read_text(source))
    comments, rows = [], []
    for number, line in enumerate(lines, start=1):
        stripped = line.strip().strip("\ufeff")
        if stripped[:1] and stripped[0] in COMMENTS:
            comments.append(stripped.lstrip(COMMENTS).strip())
        elif stripped:
            rows.append((number, stripped))
    with_commas = _has_decimal_commas([line for _, line in rows])
    cells = [(number, _split(line, with_commas)) for number, line in rows]
    heads = [(number, row) for number, row in cells if not _is_numeric(row)]
    numeric = [(number, row) for number, row in cells if _is_numeric(row)]
    if not numeric:
        found = _sources.describe_content(_sources.read_head(source))
        raise FileFormatError(name, "columns of numbers", found, "give a text with an energy and a value per row")
    late = [number for number, _ in heads if number > numeric[0][0]]
    if late:
        found, do = f"other words in line {late[0]}", "put a # before them, or correct the line"
        raise CorruptFileError(name, "rows of numbers", found, do)
    numeric = _without_count(numeric)
    width = len(numeric[-1][1])
    ragged = [number for number, row in numeric if len(row) != width]
    if ragged:
        found, do = f"another number of them in line {ragged[0]}", "complete or remove the line"
        raise CorruptFileError(name, f"{width} numbers in each row", found, do)
    if width < 2:
        do = "add the energies as the first column"
        raise FileFormatError(name, "an energy and at least one value per row", "one column", do)
    values = np.array([[_to_float(cell) for cell in row] for _, row in numeric], dtype=float)
    return Table(tuple(comments), _names(heads, comments, width), values)


def _refuse_other_formats(source: Source) -> None:
    head = _sources.read_head(source)
    name = _sources.called(source)
    found = _sources.describe_content(head)
    if b"Athena project" in head[:200]:
        do = "save the spectra from Athena as text (.nor), or as XDI"
        raise FileFormatError(name, "a text table", "an Athena project", do)
    if found == "a binary file" and _sources.name_of(source).lower().endswith(".prj"):
        raise CorruptFileError(name, "an Athena project, text or a gzip archive", found, _sources.COPY_AGAIN)
    if found == "a gzip archive" or (b"\0" in head[:1024] and not head.startswith((b"\xff\xfe", b"\xfe\xff"))):
        do = "a scan is opened with open_stack" if _sources.is_hdf5(head) else "save the spectrum as text"
        raise FileFormatError(name, "a text table", found, do)


def _has_decimal_commas(lines: Sequence[str]) -> bool:
    """Tell whether commas are decimal marks: something else parts the columns, and no point occurs."""
    data = [line for line in lines if line[:1] in "+-.0123456789"]
    parted = [re.split(r"\s*;\s*|\s+", line.rstrip(";")) for line in data]
    return (
        any("," in line for line in data)
        and not any("." in line for line in data)
        and all(len(cells) > 1 and all(_COMMA_NUMBER.fullmatch(cell) for cell in cells) for cells in parted)
    )


def _split(line: str, decimal_commas: bool) -> list[str]:
    if ";" in line:
        cells = line.rstrip(";").split(";")
    elif "," in line and not decimal_commas:
        cells = line.rstrip(",").split(",") if _is_closed(line) else line.split(",")
    elif "\t" in line:
        cells = line.split("\t")
    else:
        cells = line.split()
    if decimal_commas:
        cells = [cell.replace(",", ".") if _COMMA_NUMBER.fullmatch(cell.strip()) else cell for cell in cells]
    plain = [cell.strip().strip('"').strip("'") for cell in cells]
    if len(plain) == 1 or any(" " in cell and _is_numeric(cell.split()) for cell in plain):
        return " ".join(plain).split()
    return plain


def _is_closed(line: str) -> bool:
    """Tell whether a row of numbers ends with a delimiter that opens no further column."""
    return line.rstrip().endswith(",") and all(
        _NUMBER.fullmatch(c.strip()) for c in line.rstrip().rstrip(",").split(",")
    )


def _is_numeric(row: Sequence[str]) -> bool:
    return bool(row and _NUMBER.fullmatch(row[0])) and all(not cell or _NUMBER.fullmatch(cell) for cell in row)


def _to_float(cell: str) -> float:
    return float(cell.lower().replace("d", "e")) if cell else float("nan")


def _without_count(numeric: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """Drop a lone number above the rows that only says how many they are."""
    first = numeric[0][1]
    if len(first) == 1 and len(numeric) > 1 and len(numeric[1][1]) > 1 and _to_float(first[0]) == len(numeric) - 1:
        return numeric[1:]
    return numeric


def _names(heads: Sequence[tuple[int, list[str]]], comments: Sequence[str], width: int) -> tuple[str, ...]:
    """Return the names of the columns: from a row of names, else from the last comment that lists them."""
    for _, row in reversed(heads):
        if len(row) == width:
            return tuple(row)
    listed = [_split(comment, False) for comment in comments]
    for row in reversed(listed):
        if len(row) == width and _ENERGY_NAME.fullmatch(row[0]) and not _is_numeric(row):
            return tuple(row)
    return ()


def is_energy_name(name: str) -> bool:
    """Tell whether a column's name stands for the photon energy."""
    return bool(_ENERGY_NAME.fullmatch(name.strip()))
