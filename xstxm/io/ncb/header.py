"""The text of an aXis2000 stack: its sizes, axes, energies and dwell times."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xstxm.errors import CorruptFileError, FileFormatError, MetadataWarning, warn
from xstxm.io._images import Kind, said
from xstxm.io._sources import COPY_AGAIN, Source, head_or_nothing, path_of, read_head, require_file

_LARGEST = 8 * 1024 * 1024
"""Bytes of the text; that of 1000 energies has 50 kB."""
_MOST = 10**6
"""Columns, rows or energies."""
_MEND = "correct the .dat in a text editor"


@dataclass(frozen=True)
class Header:
    """What the text says, in um, eV and ms."""

    scale: float
    y: np.ndarray
    x: np.ndarray
    energy: np.ndarray
    dwell: np.ndarray | None
    kind: Kind | None
    units: str | None
    """What the numbers are, where `write_ncb` said it."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Energies, rows, columns."""
        return self.energy.size, self.y.size, self.x.size

    @property
    def dtype(self) -> str:
        """How the numbers are stored: a scale below zero says that they are floats."""
        return "<i2" if self.scale > 0 else "<f4"


def partners(source: Source) -> tuple[Path, Path]:
    """Return the text and the numbers of a stack, given one of them.

    Raises
    ------
    FileFormatError
        The source is neither, or the other is not beside it.
    """
    path = path_of(source)
    do = "an aXis2000 stack is two files of one name: give the path of either, with the other beside it"
    if path is None:
        raise FileFormatError("the given file", "the path of a .dat or .ncb", "a stream", do)
    require_file(path)
    wanted = {".dat": ".ncb", ".ncb": ".dat"}.get(path.suffix.lower())
    if wanted is None:
        raise FileFormatError(path, "a .dat or .ncb", f"the ending {path.suffix!r}", do)
    other = _beside(path, wanted)
    if other is None:
        raise FileFormatError(path, f"its {wanted} beside it", "none", do)
    return (path, other) if wanted == ".ncb" else (other, path)


def _beside(path: Path, suffix: str) -> Path | None:
    """Return the file of the same name with another ending, in the same case or else in any."""
    exact = path.with_suffix(suffix)
    if exact.is_file():
        return exact
    name = exact.name.lower()
    found = sorted(entry for entry in path.parent.iterdir() if entry.name.lower() == name and entry.is_file())
    return found[0] if found else None


def is_ncb(source: Source, head: bytes) -> bool:
    """Tell whether a file is one of the two of a stack: the first lines of the text decide, numbers without one by their name.

    Of a file that was left without the other one the reader says so.
    """
    path = path_of(source)
    if path is None or path.suffix.lower() not in (".dat", ".ncb") or not path.is_file():
        return False
    text = path if path.suffix.lower() == ".dat" else _beside(path, ".dat")
    if text is None:
        return True
    lines = head_or_nothing(text).decode("latin-1").splitlines()[:4]
    numbers = [_numbers(line) for line in lines]
    return [len(found) for found in numbers] == [3, 2, 2, 1] and min(*numbers[0][:2], *numbers[3]) >= 1


def _numbers(line: str) -> list[float]:
    """Return the finite numbers of a line, none where there is anything else."""
    try:
        found = [float(word) for word in line.split()]
    except ValueError:
        return []
    return found if all(map(math.isfinite, found)) else []


def read_header(path: Path) -> Header:
    """Read and check the text.

    Raises
    ------
    CorruptFileError
        It does not say what the numbers are.
    """
    text = read_head(path, _LARGEST + 1)
    if len(text) > _LARGEST:
        raise CorruptFileError(path, "a small text", f"more than {_LARGEST // 1024**2} MB", COPY_AGAIN)
    lines = [line for line in text.decode("latin-1").splitlines() if line.strip()]
    columns, rows, scale = _line(path, lines, 0, 3, "columns, rows and scale")
    if not scale:
        raise CorruptFileError(path, "a scale in line 1", "0", "write 1 for counts, -1 for floats")
    x_ends = _line(path, lines, 1, 2, "first and last x")
    y_ends = _line(path, lines, 2, 2, "first and last y")
    (energies,) = _line(path, lines, 3, 1, "the number of energies")
    count = _count(path, energies, "energies")
    kind, units = said(lines[-1])
    if kind is not None:
        del lines[-1]
    listed = [value for line in lines[4 : 4 + count] for value in _numbers(line)]
    if len(listed) != count or len(lines) < 4 + count:
        raise CorruptFileError(path, f"{count} energies, one on each line", f"{len(listed)}", COPY_AGAIN)
    return Header(
        scale=scale,
        y=_axis(path, "y", y_ends, _count(path, rows, "rows")),
        x=_axis(path, "x", x_ends, _count(path, columns, "columns")),
        energy=np.array(listed),
        dwell=_dwell(path, lines[4 + count :], count),
        kind=kind,
        units=units,
    )


def _line(path: Path, lines: list[str], index: int, count: int, what: str) -> list[float]:
    found = _numbers(lines[index]) if index < len(lines) else []
    if len(found) != count:
        said = repr(lines[index][:40]) if index < len(lines) else "the end of the file"
        raise CorruptFileError(path, f"{what} in line {index + 1}", said, _MEND)
    return found


def _count(path: Path, value: float, what: str) -> int:
    if value != int(value) or not 1 <= value <= _MOST:
        raise CorruptFileError(path, f"a number of {what} from 1 to {_MOST}", f"{value:g}", _MEND)
    return int(value)


def _axis(path: Path, name: str, ends: list[float], count: int) -> np.ndarray:
    """Return positions from the centre of the first pixel to that of the last."""
    first, last = ends
    if count > 1 and first == last:
        raise CorruptFileError(path, f"a first and a last {name} for {count} pixels", f"{first:g} twice", _MEND)
    return np.linspace(first, last, count)


def _dwell(path: Path, lines: list[str], count: int) -> np.ndarray | None:
    """Return the dwell times of the lines of name, energy and dwell; none where they do not make sense."""
    if not lines:
        return None
    words = [line.split()[-1:] for line in lines[:count]]
    dwells = np.array([value for word in words for value in _numbers(" ".join(word))])
    if dwells.size != count or len(lines) != count:
        warn(
            f"{path.name}: {len(lines)} lines of name, energy and dwell for {count} energies: "
            "the dwell times are left out",
            MetadataWarning,
        )
        return None
    if not (dwells > 0).all():
        return None
    return dwells if np.unique(dwells).size > 1 else dwells[0].reshape(())
