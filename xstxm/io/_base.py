"""What all readers share: lazy arrays, the way from a scan to a stack, units, energies and dates."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from xstxm import units as _units
from xstxm.conventions import CONVENTIONS, ENERGY, SPECS
from xstxm.errors import CorruptFileError, MetadataWarning, UnitsError, warn
from xstxm.io._endings import require_ending
from xstxm.io._replacing import replacing
from xstxm.io._sources import Source, called, name_of

_ANY_CASE = {"ev": "eV", "kev": "keV", "micron": "um", "microns": "um"}


class FrameArray(BackendArray):
    """Lazy (energy, ...) array whose frames are read one by one, when indexed."""

    def __init__(self, shape: tuple[int, ...], read_frame: Callable[[int], np.ndarray], dtype: str = "float32") -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._read_frame = read_frame

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        support = indexing.IndexingSupport.OUTER_1VECTOR
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        first, inside = key[0], key[1:]
        if isinstance(first, int | np.integer):
            return self._read_frame(int(first))[inside]
        wanted = np.arange(self.shape[0])[first]
        frames = [self._read_frame(int(index))[inside] for index in wanted]
        if not frames:
            return np.empty(self.shape, dtype=self.dtype)[(first, *inside)]
        return np.stack(frames)


class WholeArray(BackendArray):
    """Lazy array that is read as a whole, when indexed."""

    def __init__(self, shape: tuple[int, ...], read: Callable[[], np.ndarray]) -> None:
        self.shape = shape
        self.dtype = np.dtype("float32")
        self._read_all = read

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        support = indexing.IndexingSupport.OUTER_1VECTOR
        return indexing.explicit_indexing_adapter(key, self.shape, support, lambda inside: self._read_all()[inside])


@dataclass(frozen=True)
class Signal:
    """One detector: numbers or a lazy array, float32 or complex64, and what they are."""

    data: Any
    units: str | None
    detector: str | None = None
    dims: tuple[str, ...] | None = None
    """Dimensions where they are not those of the scan, as of an I0 that is a spectrum or an image."""


@dataclass(frozen=True)
class Scan:
    """One scan, as every reader hands it over: eV, um, ms and mA, in the order of measurement."""

    dims: tuple[str, ...]
    energy: np.ndarray
    positions: Mapping[str, tuple[tuple[str, ...], np.ndarray]]
    signals: Mapping[str, Signal]
    metadata: Mapping[str, str | None]
    dwell_time: np.ndarray | Signal | None = None
    ring_current: np.ndarray | Signal | None = None
    chunks: Mapping[str, int] = field(default_factory=lambda: {ENERGY: 1})
    """Chunks to read by, for ``chunks={}``."""


def to_dataset(scan: Scan, drop_variables: str | Iterable[str] | None = None) -> xr.Dataset:
    """Return the stack of a scan: the one place where readers get names, units and attributes."""
    coords = {ENERGY: _variable(ENERGY, (ENERGY,), scan.energy)}
    for name, (dims, values) in scan.positions.items():
        coords[name] = _variable(name, dims, values)
    if isinstance(scan.dwell_time, Signal):
        coords["dwell_time"] = _signal("dwell_time", scan.dims, scan.dwell_time)
    elif scan.dwell_time is not None:
        dwell = np.asarray(scan.dwell_time, dtype=float)
        coords["dwell_time"] = _variable("dwell_time", (ENERGY,)[: dwell.ndim], dwell)
    if isinstance(scan.ring_current, Signal):
        coords["ring_current"] = _signal("ring_current", scan.dims, scan.ring_current)
    elif scan.ring_current is not None and not np.isnan(scan.ring_current).all():
        coords["ring_current"] = _variable("ring_current", (ENERGY,), scan.ring_current)
    variables = {name: _signal(name, scan.dims, signal) for name, signal in scan.signals.items()}
    for variable in (*coords.values(), *variables.values()):
        # all alike: a Dataset whose variables disagree on their chunks cannot even be shown
        variable.encoding["preferred_chunks"] = {d: n for d, n in scan.chunks.items() if d in variable.dims}
    said = {name: value for name, value in scan.metadata.items() if value}
    attrs = {"scan_type": scan_type(scan.dims, scan.energy.size), **said, "Conventions": CONVENTIONS}
    dropped = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
    return xr.Dataset(variables, coords, attrs).drop_vars(dropped, errors="ignore")


def scan_type(dims: Collection[Hashable], energies: int) -> str:
    """Return what a scan of these dimensions is in the words of NXstxm, where its file does not say."""
    if "position" in dims:
        return "sample line spectrum"
    if len(dims) == 1:
        return "sample point spectrum"
    return "sample image stack" if energies > 1 else "sample image"


def _stamp(name: str, units: str | None) -> dict[str, str]:
    spec = SPECS.get(name)
    stamp = {"long_name": spec.long_name, "comment": spec.doc} if spec else {"long_name": name.replace("_", " ")}
    return stamp if units is None else {"units": units, **stamp}


def _variable(name: str, dims: tuple[str, ...], values: np.ndarray) -> xr.Variable:
    units = SPECS[name].units if name in SPECS else "um"
    return xr.Variable(dims, np.asarray(values, dtype=float), _stamp(name, units))


def _signal(name: str, dims: tuple[str, ...], signal: Signal) -> xr.Variable:
    lazy = isinstance(signal.data, BackendArray)
    data = indexing.LazilyIndexedArray(signal.data) if lazy else _single(signal.data)
    attrs = _stamp(name, signal.units)
    return xr.Variable(signal.dims or dims, data, {**attrs, "detector": signal.detector} if signal.detector else attrs)


def _single(values: Any) -> np.ndarray:
    """Return numbers in single precision, complex ones too."""
    values = np.asarray(values)
    return values.astype("complex64" if values.dtype.kind == "c" else "float32")


def variable_name(name: str, taken: Iterable[str]) -> str:
    """Return a detector's name as a variable name that is still free."""
    plain = re.sub(r"\W+", "_", name).strip("_") or "detector"
    taken = set(taken) | set(SPECS)
    while plain in taken:
        plain += "_"
    return plain


def intensity_units(units: str | None, what: str, source: Source) -> str | None:
    """Return the canonical units of a detector, None with a warning where they make no sense."""
    if not units:
        return "count"
    try:
        return _units.normalize(units)
    except UnitsError:
        warn(
            f"{name_of(source)}: cannot understand the unit {units!r} of {what!r}: it is left out",
            MetadataWarning,
        )
        return None


def in_units(values: np.ndarray, units: str | None, wanted: str, what: str, source: Source) -> np.ndarray:
    """Return values in the wanted unit, taken to be in that unit where the file names none."""
    try:
        return convert(values, units or wanted, wanted, what)
    except UnitsError as error:
        do = f"correct the unit in the file, {wanted} or one that converts to it"
        raise CorruptFileError(called(source), f"{what} in {wanted}", repr(units), do) from error


def convert(values: np.ndarray, units: str, wanted: str, what: str) -> np.ndarray:
    """Return values in the wanted unit, untouched where they have it by any spelling."""
    values = np.asarray(values, dtype=float)
    units = _ANY_CASE.get(units.strip().lower(), units)
    if units == wanted or _units.normalize(units) == wanted:
        return values
    return drop_noise(values * _units.factor(units, wanted, what))


def drop_noise(values: np.ndarray) -> np.ndarray:
    """Drop the last bits that a conversion adds to an array, so that 0.000433 s is 0.433 ms exactly."""
    flat = [_units.drop_noise(value) for value in np.ravel(values)]
    return np.array(flat, dtype=float).reshape(np.shape(values))


def unit_of_energies(values: np.ndarray, units: str | None, source: Source, do: str = "") -> str:
    """Return the unit of energies: that of the file, else eV, or keV with a warning where all are below 100."""
    if units:
        return units
    if not values.size or not 0 < values.max() < 100:
        return "eV"
    do = do or "if they are eV, use calibrate_energy(stack, scale=0.001)"
    warn(f"{name_of(source)}: energies below 100 without a unit are taken to be keV: {do}", MetadataWarning)
    return "keV"


def energies_in_ev(values: np.ndarray, units: str | None, source: Source) -> np.ndarray:
    """Return the energies of a scan in eV."""
    return in_units(values, unit_of_energies(values, units, source), "eV", "energy", source)


def check_energies(energy: np.ndarray, source: Source) -> None:
    """Refuse energies that are no numbers above zero; warn of repeats and of what looks like keV."""
    name = name_of(source)
    if not np.isfinite(energy).all():
        found, do = f"{int((~np.isfinite(energy)).sum())} that are not", "correct or remove them in the file"
        raise CorruptFileError(name, "finite energies", found, do)
    if (energy <= 0).any():
        found, do = f"{int((energy <= 0).sum())} of {energy.size} that are not", "correct or remove them in the file"
        raise CorruptFileError(name, "energies above zero", found, do)
    repeated = np.unique(energy[np.isin(energy, _twice(energy))])
    if repeated.size:
        shown = ", ".join(f"{value:g}" for value in repeated[:5])
        warn(f"{name}: {repeated.size} energies were measured twice ({shown} eV): all are kept", MetadataWarning)
    if energy.size and energy.max() < 100:
        do = "if they are, use calibrate_energy(stack, scale=1000)"
        warn(f"{name}: energies below 100 eV look like keV: {do}", MetadataWarning)


def _twice(values: np.ndarray) -> np.ndarray:
    unique, counts = np.unique(values, return_counts=True)
    return unique[counts > 1]


_TIME = re.compile(r"(\d{4})\s*([A-Za-z]{3})[A-Za-z]*\s*(\d{1,2})[\sT]+(\d{1,2}:\d{2}:\d{2})")
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]


def iso_time(text: str | None, source: Source) -> str | None:
    """Return a date of any known spelling in ISO 8601, None with a warning where it is not understood."""
    if not text or not text.strip():
        return None
    try:
        return datetime.fromisoformat(text.strip()).isoformat()
    except ValueError:
        pass
    match = _TIME.fullmatch(text.strip())
    if match and match[2].lower() in MONTHS:
        month = MONTHS.index(match[2].lower()) + 1
        try:
            return datetime.strptime(f"{match[1]}-{month}-{match[3]} {match[4]}", "%Y-%m-%d %H:%M:%S").isoformat()
        except ValueError:
            pass
    warn(f"{name_of(source)}: cannot understand the start time {text!r}: it is left out", MetadataWarning)
    return None


def write_table(lines: Iterable[str], path: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """Write lines as a text file that is there as a whole or not at all.

    Raises
    ------
    FileExistsError
        There is such a file, and `overwrite` is off.
    """
    require_ending(path, "text")
    with replacing(path, overwrite) as (target, part):
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return target
