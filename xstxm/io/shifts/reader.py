"""Shifts of the frames of a stack, found elsewhere."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units as _units
from xstxm._axes import equal_within
from xstxm._frame_grid import Grid
from xstxm.conventions import ENERGY, annotate, require_energy
from xstxm.errors import CorruptFileError, EnergyRangeError, FileFormatError, SchemaError, UnitsError, check_choice
from xstxm.io._sources import Source, called, listed, name_of, read_text
from xstxm.io.spectra.table import is_energy_name, read_table
from xstxm.provenance import recorded

Meaning: TypeAlias = Literal["correction", "displacement"]

PIXEL = "pixel"
_BEGIN = re.compile(r"\s*PLOTIT\s*\(\s*(\d+)\b.*", re.IGNORECASE)
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][-+]?\d+)?"
_FRAME = re.compile(
    rf"\s*(?P<name>\S.*?)[\s:]\s*(?P<energy>{_NUMBER})\s*(?:eV)?[\s,]\s*{_NUMBER}\s*(?:ms|msec)?\s*"
    rf",\s*(?P<x>{_NUMBER})\s*,\s*(?P<y>{_NUMBER})\s*\)?\s*",
    re.IGNORECASE,
)
_SHIFT = re.compile(r"(?:shift[ _]?([xy])|([xy])[ _]?shift|d([xy]))", re.IGNORECASE)
_UNIT = re.compile(r"(.*?)[\s_]*[(\[]\s*([^)\]]+?)\s*[)\]]")
_PIXELS = {"px", "pix", "pixel", "pixels"}


@dataclass(frozen=True)
class _Moves:
    """What a file says of each frame: energies, numbers along y and x, and their units, None where it names none."""

    energy: np.ndarray
    along: dict[str, np.ndarray]
    units: dict[str, str | None]
    energy_unit: str | None


@recorded
def read_shifts(
    path: Source,
    stack: xr.DataArray | xr.Dataset,
    *,
    units: str | None = None,
    meaning: Meaning = "correction",
    tolerance: float | str | None = None,
) -> xr.Dataset:
    r"""Read the shifts of the frames of a stack from a file, for `apply_shifts`.

    An alignment of aXis2000 (.aln), or a table with the columns ``energy``, ``dx`` and ``dy`` (``shift_x``, ``x_shift``),
    as `write_shifts` makes. A number of pixels d becomes ``d * step``, with the signed step of the coordinate:
    positive d goes towards later columns and rows of the array.

    Parameters
    ----------
    path
        The file.
    stack
        The stack that the shifts belong to: its energies are compared with those of the file, frame by frame, and the
        distance of its pixels turns pixels into lengths.
    units
        Units of the shifts, ``"pixel"`` or those of a length as ``"nm"``; by default those that the header of a table
        gives, as in ``dx (nm)``, else pixels.
    meaning
        ``"correction"``: added to the positions of a frame the numbers move it onto the others, as in aXis2000.
        ``"displacement"``: the numbers say where the frame has gone, and their negatives are the shifts.
    tolerance
        Largest difference of equal energies; a number is in the unit of the axis. By default that of the options,
        10 meV.

    Returns
    -------
    Dataset
        `shift_y`, `shift_x` (energy) in the units of the coordinates y and x, with the energies of the stack. NaN
        where a table has no number. Eager.

    Raises
    ------
    FileFormatError, CorruptFileError
        The file holds no shifts, or is broken.
    EnergyRangeError
        The file is of other frames, or has them in another order.
    SchemaError, UnitsError, ChoiceError
        A stack without evenly spaced images, a unit that is no length, or an unknown meaning.

    Examples
    --------
    >>> import io, xstxm
    >>> stack = xstxm.testing.simulate_stack(shape=(24, 32), energies=[515, 518, 521], seed=0)
    >>> table = io.BytesIO(b"energy,dx,dy\n515,0,0\n518,1.5,-0.5\n521,2.0,-1.0\n")
    >>> shifts = xstxm.read_shifts(table, stack)
    >>> shifts.shift_x.values.round(3).tolist(), shifts.shift_x.attrs["units"]
    ([0.0, 0.045, 0.06], 'um')
    >>> moved = xstxm.apply_shifts(stack, shifts)
    """
    check_choice("meaning", meaning, Meaning)
    stack = _units.dequantify(stack)
    energy = require_energy(stack)
    grid = Grid.of(_frames_of(stack))
    text = read_text(path)
    found = _alignment(text, path) if _is_alignment(text) else _table(path)
    _require_same_frames(found, energy, equal_within(tolerance, _units.units_of(energy)), path)
    sign = 1.0 if meaning == "correction" else -1.0
    shifts = {}
    for axis, step, unit in zip(("y", "x"), grid.steps, grid.units, strict=True):
        size = _size(units or found.units[axis] or PIXEL, step, unit, f"shift_{axis}")
        values = sign * found.along[axis] * size + 0.0
        array = xr.DataArray(values, dims=ENERGY, coords={ENERGY: energy.variable})
        shifts[f"shift_{axis}"] = annotate(array, f"shift_{axis}", units=unit)
    return xr.Dataset(shifts, attrs={"source_file": name_of(path)})


def _frames_of(stack: xr.DataArray | xr.Dataset) -> xr.DataArray:
    if isinstance(stack, xr.DataArray):
        return stack
    for array in stack.data_vars.values():
        if {ENERGY, "y", "x"} <= {*array.dims}:
            return array
    raise SchemaError(
        f"no variable of the stack has frames with y and x (found: {', '.join(map(str, stack.data_vars)) or 'none'})"
    )


def _is_alignment(text: str) -> bool:
    return any(_BEGIN.fullmatch(line) for line in text.splitlines())


def _alignment(text: str, source: Source) -> _Moves:
    """Return the moves of an aXis2000 alignment: a line for each frame after ``PLOTIT(n,``."""
    name = called(source)
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1)]
    begin = next(k for k, (_, line) in enumerate(lines) if _BEGIN.fullmatch(line))
    count = int(_BEGIN.fullmatch(lines[begin][1])[1])  # type: ignore[index]
    rows = [(number, line) for number, line in lines[begin + 1 :] if line.strip(" \t)") and line.lstrip()[0] != "!"]
    frames = []
    for number, line in rows:
        frame = _FRAME.fullmatch(line)
        if frame is None:
            found = f"{line.strip()[:40]!r} in line {number}"
            raise CorruptFileError(name, "a line 'name energy dwell,dx,dy' for each frame", found, "correct the line")
        frames.append([_to_float(frame[key]) for key in ("energy", "y", "x")])
    if len(frames) != count:
        do = "save the alignment again, it may be cut short"
        raise CorruptFileError(name, f"{count} frames, as PLOTIT({count} says", str(len(frames)), do)
    energy, y, x = np.array(frames, dtype=float).reshape(-1, 3).T
    return _Moves(energy, {"y": y, "x": x}, {"y": None, "x": None}, "eV")


def _to_float(number: str) -> float:
    return float(number.lower().replace("d", "e"))


def _table(source: Source) -> _Moves:
    """Return the moves of a table, its columns found by their names."""
    table = read_table(source)
    columns: dict[str, int] = {}
    units: dict[str, str | None] = {}
    for k, head in enumerate(table.names):
        pair = _UNIT.fullmatch(head.strip())
        plain, unit = (pair[1], pair[2]) if pair else (head.strip(), None)
        shift = _SHIFT.fullmatch(plain)
        key = next(letter.lower() for letter in shift.groups() if letter) if shift else ""
        key = key or (ENERGY if is_energy_name(plain) and plain.lower() != "x" else "")
        if key and key not in columns:
            columns[key], units[key] = k, unit
    if set(columns) != {ENERGY, "y", "x"}:
        shown = listed([repr(name) for name in table.names]) or "no names"
        raise FileFormatError(
            called(source),
            "columns named energy, dx and dy",
            shown,
            "write a first line such as 'energy,dx,dy', or 'energy (eV),dx (nm),dy (nm)'",
        )
    values = {key: table.values[:, k] for key, k in columns.items()}
    return _Moves(values.pop(ENERGY), values, units, units.pop(ENERGY))


def _require_same_frames(found: _Moves, energy: xr.DataArray, within: float, source: Source) -> None:
    """Compare the energies of the file with those of the stack, in order."""
    name, unit = name_of(source), _units.units_of(energy)
    wanted = np.asarray(energy, dtype=float)
    if found.energy.size != wanted.size:
        raise EnergyRangeError(
            f"{name} has shifts for {found.energy.size} frames, the stack has {wanted.size}: select the frames that "
            "the file is of, e.g. with sel_energy"
        )
    given = found.energy * (_units.factor(found.energy_unit, unit, "the energy column") if found.energy_unit else 1.0)
    off = ~(np.abs(given - wanted) <= within)
    if not off.any():
        return
    at = int(off.argmax())
    same = np.allclose(np.sort(given), np.sort(wanted), rtol=0, atol=within)
    do = (
        "bring both into one order, e.g. stack.sortby('energy')"
        if same
        else "give the file of this stack, or pass tolerance= if the energies were calibrated since"
    )
    raise EnergyRangeError(
        f"{name} is of {'these energies in another order' if same else 'other energies'}, first at frame {at}: "
        f"{given[at]:g}, the stack {wanted[at]:g} {unit}: {do}"
    )


def _size(units: str, step: float, wanted: str, what: str) -> float:
    """Return the length of one unit of a shift: that of a pixel, with its sign, or of a unit of length."""
    if units.strip().lower() in _PIXELS:
        return step
    try:
        return _units.factor(units.strip(), wanted, what)
    except UnitsError as error:
        raise UnitsError(f"{error} (shifts are in 'pixel', or in a length as 'nm')") from error
