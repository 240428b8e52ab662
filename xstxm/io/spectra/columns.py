"""Which columns of a table are the energy and the spectra, and what the file says of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from xstxm.conventions import AbsorptionKind
from xstxm.errors import FileFormatError, UnitsError
from xstxm.io._base import convert, unit_of_energies
from xstxm.io._sources import Source, called, listed, name_of
from xstxm.io.spectra.table import Table, is_energy_name, read_table
from xstxm.provenance import note
from xstxm.references import require_unique

_COLUMN = re.compile(r"Column\.(\d+)\s*:\s*(.*)", re.IGNORECASE)
_LABEL = re.compile(r"(?:Common name|Label)\s*:\s*(.+)", re.IGNORECASE)
_UNIT = re.compile(
    r"(.*?)[\s_(\[]+(eV|keV|counts?|counts?/s|Hz|A|nA|mm|um|degrees?|degree|s|ms|1)[)\]]?$", re.IGNORECASE
)

ABSORPTION = ("mutrans", "xmu", "mu", "norm", "normtrans", "flat", "mufluor", "normfluor", "absorption")
ERRORS = ("_stderr", "_std")
"""Endings of the columns that are errors of others, and no spectra."""
INCIDENT = ("i0", "io", "izero")
TRANSMITTED = ("itrans", "i1", "it", "itransmission")
FLUORESCENCE = ("ifluor", "if", "iff", "fluor")
PLAIN = ("absorption", "od", "optical_density", "optical density", "intensity", "value", "values", "y", "counts")
NORMALIZED = ("norm", "normtrans", "normfluor", "flat")
DENSITY = ("od", "optical_density", "optical density")

_FILETYPE = re.compile(r".*output_filetype\s*:\s*(.+)", re.IGNORECASE)
"""What Demeter says that all columns of a file are."""


@dataclass(frozen=True)
class Column:
    """A spectrum of a file: values, how they were made, and their kind where the file says it."""

    values: np.ndarray
    origin: str = ""
    kind: AbsorptionKind | Literal[""] = ""


@dataclass(frozen=True)
class Columns:
    """The spectra of a file: energies in eV, and the columns by name."""

    energy: np.ndarray
    spectra: Mapping[str, Column]


@dataclass(frozen=True)
class _Named:
    table: Table
    names: tuple[str, ...]
    units: tuple[str, ...]
    energy: int

    def find(self, wanted: tuple[str, ...]) -> int | None:
        lower = [name.strip().lower() for name in self.names]
        return next((lower.index(word) for word in wanted if word in lower), None)


def read_columns(source: Source, *, energy_units: str | None = None, incident: bool = False) -> Columns:
    """Read the spectra of a text file.

    A column of absorption is taken as it is; else ``ln(i0/itrans)`` or ``ifluor/i0`` are formed where
    the columns have such names; else every column is a spectrum.

    Parameters
    ----------
    source
        The file.
    energy_units
        Units of the energies, whatever the file says or leaves open.
    incident
        Look for the incident intensity instead.

    Raises
    ------
    FileFormatError
        The file is no table of energies and values, or holds several spectra besides the incident intensity.
    ReferenceSpectrumError
        Two columns have the same name.
    """
    table = read_table(source)
    named = _name(table, source)
    energy = _energy(named, source, energy_units, incident)
    spectra = _incident(named, source) if incident else _absorption(named)
    if not spectra:
        spectra = _every(named, Path(name_of(source)).stem)
    keep = _first_of_repeats(energy, np.array([_finite(column.values) for column in spectra.values()]))
    kept = {name: replace(column, values=_finite(column.values)[keep]) for name, column in spectra.items()}
    return Columns(energy[keep], kept)


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)


def _name(table: Table, source: Source) -> _Named:
    """Give each column its name and unit: of ``Column.N`` lines first, they are never split on blanks."""
    width = table.values.shape[1]
    names = list(table.names) or [""] * width
    for comment in table.comments:
        match = _COLUMN.fullmatch(comment)
        if match and 1 <= int(match[1]) <= width:
            names[int(match[1]) - 1] = match[2].split("||")[0].strip()
    pairs = [_UNIT.fullmatch(name) for name in names]
    pairs = [pair if pair and _is_known(pair[1]) else None for pair in pairs]
    units = tuple(pair[2] if pair else "" for pair in pairs)
    plain = tuple(pair[1].strip() if pair else name for name, pair in zip(names, pairs, strict=True))
    found = [index for index, name in enumerate(plain) if is_energy_name(name)]
    if not found and any(name.lower() == "angle" for name in plain):
        raise FileFormatError(called(source), "a column of energies", "angles", "convert them to energies first")
    return _Named(table, plain, units, found[0] if found else 0)


def _is_known(name: str) -> bool:
    """Tell whether a unit may follow a name: the last word of another, as in ``Fe foil 1``, belongs to it."""
    known = {*ABSORPTION, *INCIDENT, *TRANSMITTED, *FLUORESCENCE, *PLAIN, "angle"}
    return is_energy_name(name) or name.strip().lower() in known


def _energy(named: _Named, source: Source, asked: str | None, incident: bool) -> np.ndarray:
    """Return the energies in eV: in the unit asked for, the unit of the file, or keV where they are below 100."""
    values = named.table.values[:, named.energy]
    usable = np.isfinite(values) & (values > 0)
    if not usable.all():
        found, do = f"{int((~usable).sum())} that are not", "correct or remove those lines"
        raise FileFormatError(called(source), "finite energies above zero", found, do)
    units = asked or named.units[named.energy]
    if not units and named.names[named.energy].lower() in ("ev", "kev"):
        units = named.names[named.energy]
    do = "pass energy_units='keV' or energy_units='eV'"
    if incident:
        do = "if they are eV, use calibrate_energy(i0, scale=0.001)"
    if values.size > 1 and values[0] > values[-1]:
        note(f"energies descend in {name_of(source)}")
    try:
        unit = unit_of_energies(values, units, source, do)
        if unit.lower() != "ev":
            note(f"energies of {name_of(source)} are converted from {unit}")
        return convert(values, unit, "eV", "the energy axis")
    except UnitsError as error:
        raise UnitsError(f"{name_of(source)}: {error}") from None


def _absorption(named: _Named) -> dict[str, Column]:
    """Return the absorption where the names of the columns say how to get it, under the empty name."""
    values = named.table.values
    ready, i0 = named.find(ABSORPTION), named.find(INCIDENT)
    transmitted, fluorescence = named.find(TRANSMITTED), named.find(FLUORESCENCE)
    with np.errstate(divide="ignore", invalid="ignore"):
        if ready is not None and (values.shape[1] > 2 or named.names[ready].lower() not in PLAIN):
            name = named.names[ready]
            return {"": Column(values[:, ready], f"column {name}", _kind_of(name))}
        if i0 is not None and transmitted is not None:
            made = np.log(values[:, i0] / values[:, transmitted])
            return {"": Column(made, f"ln({named.names[i0]}/{named.names[transmitted]})", "raw")}
        if i0 is not None and fluorescence is not None:
            made = values[:, fluorescence] / values[:, i0]
            return {"": Column(made, f"{named.names[fluorescence]}/{named.names[i0]}", "raw")}
    return {}


def _kind_of(name: str) -> AbsorptionKind | Literal[""]:
    """Return the kind of absorption that the name of a column stands for."""
    word = name.strip().lower()
    if word in DENSITY:
        return "optical_density"
    if word in NORMALIZED:
        return "normalized_absorption"
    return "raw" if word in ABSORPTION and word not in PLAIN else ""


def _kind_of_all(comments: Iterable[str]) -> AbsorptionKind | Literal[""]:
    """Return the kind of absorption that Demeter says all columns are of."""
    types = [match[1].lower() for match in map(_FILETYPE.fullmatch, comments) if match]
    said = types[-1] if types else ""
    if "mu(e)" not in said or "deriv" in said:
        return ""
    return "normalized_absorption" if "normal" in said or "flat" in said else "raw"


def _incident(named: _Named, source: Source) -> dict[str, Column]:
    """Return the column of the incident intensity, or none where there is only one column to take."""
    i0 = named.find(INCIDENT)
    if i0 is not None:
        return {"": Column(named.table.values[:, i0], f"column {named.names[i0]}")}
    names = [name for _, name in _spectrum_columns(named, Path(name_of(source)).stem)]
    if len(names) > 1:
        found = f"{len(names)} ({listed([repr(name) for name in names])})"
        do = "save the one to use by itself, or name its column i0"
        raise FileFormatError(called(source), "one spectrum", found, do)
    return {}


def _every(named: _Named, stem: str) -> dict[str, Column]:
    """Return every column as a spectrum, under the name of the column or of the file."""
    columns = _spectrum_columns(named, stem)
    require_unique([name for _, name in columns])
    of_all = _kind_of_all(named.table.comments)
    return {
        name: Column(named.table.values[:, index], kind=of_all or _kind_of(named.names[index]))
        for index, name in columns
    }


def _spectrum_columns(named: _Named, stem: str) -> list[tuple[int, str]]:
    """Return place and name of the columns but the energy; those without a name are numbered after the file."""
    columns = [(index, name.strip()) for index, name in enumerate(named.names) if index != named.energy]
    errors = {f"{name}{ending}" for _, name in columns if name for ending in ERRORS}
    columns = [(index, name) for index, name in columns if name not in errors]
    labels = [match[1].strip() for match in map(_LABEL.fullmatch, named.table.comments) if match]
    if len(columns) == 1 and columns[0][1].lower() in ("", *PLAIN):
        return [(columns[0][0], labels[-1] if labels else stem)]
    return [(index, name or f"{stem}_{number}") for number, (index, name) in enumerate(columns, start=1)]


def _first_of_repeats(energy: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the rows to keep: a row that repeats another one exactly says nothing new."""
    rows = np.column_stack([energy, values.T])
    _, first = np.unique(np.nan_to_num(rows, nan=np.inf), axis=0, return_index=True)
    return np.sort(first)


def say(names: Iterable[str]) -> str:
    """Return the names of spectra for a message."""
    return listed([repr(name) for name in names])
