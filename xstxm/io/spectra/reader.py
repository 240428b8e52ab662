"""Reference spectra and incident intensities from files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from xstxm import units as _units
from xstxm._references_at import require_unique, told_apart
from xstxm.conventions import ENERGY, SPECS, UNITS_OF_KIND, annotate
from xstxm.errors import (
    FileFormatError,
    MetadataWarning,
    OptionError,
    ReferenceSpectrumError,
    UnsupportedScanError,
    shown,
    warn,
)
from xstxm.io._base import check_energies
from xstxm.io._sources import Source, called, name_of, read_head
from xstxm.io.athena import MeasuredSpectrum, is_athena, read_project
from xstxm.io.folders import files_of, is_pattern
from xstxm.io.library import is_library, read_libraries
from xstxm.io.sdf import is_sdf, open_sdf
from xstxm.io.spectra.columns import read_columns, say
from xstxm.io.spectra.written import common_units, has_own_energies, units_said
from xstxm.provenance import recorded
from xstxm.references import Kinds, Spectrum, reference_set


@recorded
def read_references(
    path_or_mapping: Source | Sequence[Source] | Mapping[str, Source],
    *,
    composition: Mapping[str, float] | None = None,
    composition_name: str | None = None,
    phase: Mapping[str, str] | None = None,
    color: Mapping[str, str] | None = None,
    units: str | None = None,
    energy_units: str | None = None,
    kind: Kinds | None = None,
) -> xr.Dataset:
    r"""Read reference spectra from files into one reference set.

    Columns of text (.txt, .csv, .tsv, .xsp, .t, .r, aXis, Mantis), XDI, Athena exports (.nor, .xmu) and
    Athena projects (.prj) are read, and libraries that `write_references` wrote. Where the columns have the names of XDI, a column of absorption is taken
    as it is, else ``ln(i0/itrans)`` or ``ifluor/i0`` is formed, and `source` says which.

    Parameters
    ----------
    path_or_mapping
        A file with one spectrum or several, named by its header or else by the file; a mapping of names to files with one
        spectrum each; or a list of files, or a pattern as ``"oxides/*.xdi"``: a single spectrum in one of them is named by the
        file without its ending, several by the header. A library, or several, say all of their references themselves and take no option.
    composition
        Composition of each reference, by name; all of them or none.
    composition_name
        What the composition is, for labels, e.g. ``"x in LixV2O5"``.
    phase, color
        Phase name and drawing colour of references, by name.
    units
        Units of the values, ``"1"`` (optical density), ``"1/nm"`` or ``"cm**2/g"``; by default those that a file of
        `xstxm.write_csv` says, else ``"1"``.
    energy_units
        Units of the energies, e.g. ``"keV"``; by default those of the file, else eV, or keV with a warning
        where all are below 100.
    kind
        What the values are, by name or of all, see `xstxm.reference_set`; by default what the file says, or `units`.

    Returns
    -------
    Dataset
        `absorption` (reference, energy), float64, see `xstxm.reference_set`. Eager.

    Raises
    ------
    FileFormatError, CorruptFileError
        A file is neither a table of numbers nor an Athena project.
    ReferenceSpectrumError
        A name is given twice, a file of the mapping holds several spectra, an energy occurs twice with different values, or
        `composition`, `phase`, `color` or `kind` name no reference.
    OptionError
        An option for a library: change what it says with ``assign_coords``.

    Warns
    -----
    MetadataWarning
        A name is in two files of a list: both are called ``"V2O5 (file)"``. Energies are taken to be keV.

    Examples
    --------
    >>> import io, xstxm
    >>> text = b"energy,V2O5,LiV2O5\n515,0.1,0.1\n518,1.0,0.7\n521,0.3,0.4\n"
    >>> references = xstxm.read_references(io.BytesIO(text), composition={"V2O5": 0, "LiV2O5": 1})
    >>> references.reference.values.tolist()
    ['V2O5', 'LiV2O5']
    """
    files = _files(path_or_mapping)
    if not isinstance(path_or_mapping, Mapping) and all(is_library(read_head(file)) for _, file in files):
        given = {"composition": composition, "composition_name": composition_name, "phase": phase, "color": color}
        _refuse_options({**given, "units": units, "energy_units": energy_units, "kind": kind}, files[0][1])
        return read_libraries([file for _, file in files])
    units = units or common_units([file for _, file in files])
    several = not isinstance(path_or_mapping, Mapping)
    rows = [row for name, file in files for row in _rows(name, file, energy_units, several=several)]
    names = told_apart([row.name for row in rows], [Path(name_of(row.file)).stem for row in rows])
    spectra: dict[str, Spectrum] = {}
    source: dict[str, str] = {}
    kinds: dict[str, str] = {}
    for name, row in zip(names, rows, strict=True):
        spectra[name] = _on_energies(row.measured.energy, row.measured.values)
        source[name] = ", ".join(part for part in (name_of(row.file), row.measured.origin) if part)
        kinds[name] = row.measured.kind
    return reference_set(
        spectra,
        units=units or "1",
        phase=phase,
        composition=composition,
        composition_name=composition_name,
        color=color,
        source=source,
        kind=_kinds(kinds, kind, units or "1"),
    )


class _Row(NamedTuple):
    name: str
    file: Source
    measured: MeasuredSpectrum


def _rows(name: str | None, file: Source, energy_units: str | None, *, several: bool) -> list[_Row]:
    """Return the spectra of a file, one of them under the name that the file has; more where `several` may be in it."""
    found = _spectra_of(file, energy_units)
    if name is not None and len(found) > 1 and not several:
        raise ReferenceSpectrumError(
            f"{name_of(file)} for reference {name!r} holds {len(found)} spectra "
            f"({say(found)}): read it by itself, read_references({name_of(file)!r}), "
            "then select with .sel(reference=[...])",
            [name],
        )
    own = name if len(found) == 1 else None
    stem = Path(name_of(file)).stem
    return [_Row(own or label or stem, file, measured) for label, measured in found.items()]


def _refuse_options(given: Mapping[str, Any], source: Source) -> None:
    """Refuse options for a library, which says all of it."""
    for name, value in given.items():
        if value is not None:
            do = f"{name_of(source)} is a library and says it: change it with .assign_coords, then write_references"
            raise OptionError(name, shown(value), do)


def _spectra_of(file: Source, energy_units: str | None) -> dict[str, MeasuredSpectrum]:
    """Return the spectra of a file by label."""
    if is_library(read_head(file)):
        found, do = "a library", f"read it by itself, read_references({name_of(file)!r}), then .sel(reference=[...])"
        raise FileFormatError(called(file), "a file of one spectrum", found, do)
    if is_athena(read_head(file), name_of(file)):
        return read_project(file, energy_units=energy_units)
    columns = read_columns(file, energy_units=energy_units)
    own = has_own_energies(file)
    spectra = {}
    for label, column in columns.spectra.items():
        kept = ~np.isnan(column.values) if own else slice(None)
        spectra[label] = MeasuredSpectrum(columns.energy[kept], column.values[kept], column.origin, column.kind)
    return spectra


def _kinds(found: dict[str, str], given: Kinds | None, units: str) -> Any:
    """Return the kind of each reference: what the caller says, else the units, else the file; none where nothing does."""
    if isinstance(given, str):
        return given
    of_units = [kind for kind, unit in UNITS_OF_KIND.items() if _units.same_kind(units, unit)]
    said = dict.fromkeys(found, of_units[0]) if of_units else found
    kinds = {**said, **(given or {})}
    return kinds if any(kinds.values()) else None


def _on_energies(energy: np.ndarray, values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values, coords={ENERGY: (ENERGY, energy, {"units": "eV"})}, dims=ENERGY)


def _files(given: Any) -> Sequence[tuple[str | None, Source]]:
    """Return the files with the names of their references; without one where the file itself says it."""
    if not isinstance(given, Mapping | list | tuple) and not is_pattern(given):
        return [(None, given)]
    if isinstance(given, Mapping):
        files = [(str(name), file) for name, file in given.items()]
    else:
        several = files_of(given) if is_pattern(given) else given
        files = [(Path(name_of(file)).stem, file) for file in several]
    if not files:
        found = f"behind {str(given)!r}" if is_pattern(given) else "given"
        raise ReferenceSpectrumError(f"no reference files {found}: pass a list of files, or {{'name': path, ...}}")
    require_unique([name for name, _ in files])
    return files


@recorded
def read_i0(path: Source, *, units: str | None = None) -> xr.DataArray:
    r"""Read an incident intensity from a text file or an SDF point scan.

    Parameters
    ----------
    path
        Columns of text, XDI (its ``i0`` column), or the ``.hdr`` of a point scan.
    units
        ``"count"`` for counts per pixel in the dwell time of the stack, ``"count/ms"`` for a rate. Text files
        do not say which, and the two differ by the dwell time. A point scan does: its counts are divided by
        its own dwell time, which makes a rate, unless `units` is given.

    Returns
    -------
    DataArray
        `i0` (energy), float64, in the order of the file; energies in eV. Without units where neither the file
        nor the caller gives them, with a warning: `optical_density` will refuse it. Eager.

    Raises
    ------
    FileFormatError, CorruptFileError
        The file is no spectrum, or holds several.
    UnsupportedScanError
        The scan is an image or a line.

    Examples
    --------
    >>> import io, xstxm
    >>> i0 = xstxm.read_i0(io.BytesIO(b"515 2000\n518 1990\n521 1985\n"), units="count/ms")
    >>> i0.sizes["energy"], i0.attrs["units"]
    (3, 'count/ms')
    """
    if is_sdf(read_head(path)):
        energy, values, found = _from_scan(path, as_rate=units is None)
    else:
        columns = read_columns(path, incident=True)
        energy, values, found = columns.energy, next(iter(columns.spectra.values())).values, None
    check_energies(energy, path)
    units = units or units_said(path)
    unit = _units.normalize(units) if units is not None else found
    if unit is None:
        warn(
            f"{name_of(path)}: the file does not say whether I0 is counts or a rate: pass units='count' or "
            "units='count/ms'",
            MetadataWarning,
        )
    return _array(energy, values, unit, name_of(path))


def _from_scan(path: Source, *, as_rate: bool) -> tuple[np.ndarray, np.ndarray, str | None]:
    """Return energies, values and units of an SDF point scan; counts become a rate by its dwell time."""
    with open_sdf(path) as scan:
        if scan["intensity"].dims != (ENERGY,):
            raise UnsupportedScanError(
                called(path),
                "a point scan",
                f"a {scan.attrs['scan_type']!r}",
                "open it with open_stack and use spectrum or estimate_i0",
            )
        values = np.asarray(scan["intensity"], dtype=float)
        unit = scan["intensity"].attrs.get("units")
        if as_rate and unit == "count" and "dwell_time" in scan.coords:
            values, unit = values / np.asarray(scan["dwell_time"]), "count/ms"
        return np.asarray(scan[ENERGY]), values, unit


def _array(energy: np.ndarray, values: np.ndarray, unit: str | None, name: str) -> xr.DataArray:
    spec = SPECS[ENERGY]
    axis = (ENERGY, energy, {"units": spec.units, "long_name": spec.long_name})
    i0 = annotate(xr.DataArray(values, coords={ENERGY: axis}, dims=ENERGY), "i0", units=unit, source_file=name)
    if unit is None:
        del i0.attrs["units"]
    return i0
