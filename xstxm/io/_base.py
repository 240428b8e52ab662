"""What all readers share: sources of bytes, lazy arrays, and the way from a scan to a stack."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from xstxm import units as _units
from xstxm.conventions import CONVENTIONS, ENERGY, SPECS
from xstxm.errors import CorruptFileError, FileFormatError, MetadataWarning, OptionError, StxmError, UnitsError, warn
from xstxm.io._endings import require_ending
from xstxm.io._replacing import replacing

Source: TypeAlias = "str | os.PathLike[str] | BinaryIO"

SNIFF = 64 * 1024
NO_NAME = "the given file"
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
COPY_AGAIN = "copy the file again from where it was measured, it may be cut short"
LARGE = 2**27
"""Bytes that are worth a look at whether a file can hold them."""
PACKING = 2000
"""Beyond what any filter saves: deflate reaches 1032 to 1 on zeros."""
BROKEN = (ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError)
"""What the libraries below raise where a file is broken."""
_ANY_CASE = {"ev": "eV", "kev": "keV", "micron": "um", "microns": "um"}


def path_of(source: Source) -> Path | None:
    """Return the path behind a source, absolute, None for a file-like object that has none on disk."""
    place = located(source)
    if isinstance(place, Path):
        return place
    name = getattr(source, "name", None)
    return Path(name).absolute() if isinstance(name, str) and Path(name).is_file() else None


def located(source: Source) -> Path | BinaryIO:
    """Return the absolute path of a file, so that its frames are found from any folder; a file-like object as it is."""
    if isinstance(source, str | os.PathLike):
        return Path(os.fspath(source)).expanduser().absolute()
    return source


def name_of(source: Source) -> str:
    """Return the base name of a source; a general word where it has none."""
    path = path_of(source)
    if path is not None:
        return path.name
    name = getattr(source, "name", None)
    return Path(name).name if isinstance(name, str) and name else NO_NAME


def source_file(name: str) -> str | None:
    """Return the name of a source as its stack keeps it, None where it has none."""
    return None if name == NO_NAME else name


def read_head(source: Source, size: int = SNIFF) -> bytes:
    """Return the first bytes of a source; a file-like object is rewound.

    Raises
    ------
    FileFormatError
        The source is a folder.
    FileNotFoundError
        There is no such file.
    OptionError
        It is neither a path nor a file opened for bytes.
    """
    place = located(source)
    if isinstance(place, Path):
        require_file(place)
        with place.open("rb") as file:
            return file.read(size)
    if isinstance(place, io.TextIOBase) or not hasattr(place, "read"):
        raise OptionError("path", source, "give a path, or a file opened with 'rb'")
    place.seek(0)
    head = place.read(size)
    place.seek(0)
    return head


def head_or_nothing(source: Any) -> bytes:
    """Return the first bytes of whatever was given, none where it is no file."""
    try:
        return read_head(source)
    except (OSError, AttributeError, TypeError, ValueError, StxmError):
        return b""


def read_bytes(source: Source) -> bytes:
    """Return all bytes of a source; a file-like object is rewound."""
    return read_head(source, -1)


def read_text(source: Source) -> str:
    """Return a text whatever its encoding: byte order marks first, then UTF-8, then Latin-1."""
    data = read_bytes(source)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError:
            name = path_of(source) or name_of(source)
            raise CorruptFileError(name, "a text in UTF-16", "bytes that are none", COPY_AGAIN) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def require_there(path: Path) -> None:
    """Refuse a path at which there is nothing, in words: the system's own error has a number.

    Raises
    ------
    FileNotFoundError
        There is nothing.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no file {str(path)!r}")


def require_file(path: Path) -> None:
    """Refuse a path at which there is nothing, and a folder, whose header the error names.

    Raises
    ------
    FileNotFoundError, FileFormatError
        There is nothing, or a folder.
    """
    require_there(path)
    if not path.is_dir():
        return
    headers = sorted(entry.name for entry in path.iterdir() if entry.suffix.lower() == ".hdr")
    inside = f"the header inside: {', '.join(headers[:3])}" if headers else "a file inside"
    raise FileFormatError(path, "a file", "a folder", f"give {inside}")


@contextlib.contextmanager
def guarded(path: object, expected: str) -> Iterator[None]:
    """Tell whatever a library raises on a broken file as one error.

    Raises
    ------
    CorruptFileError
        The file is broken.
    """
    try:
        yield
    except StxmError:
        raise
    except BROKEN as error:
        raise CorruptFileError(path, expected, short(error), COPY_AGAIN) from None


def short(error: Exception) -> str:
    """Return the first line of an error."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def is_hdf5(head: bytes) -> bool:
    """Tell whether the bytes open an HDF5 file, with a user block or without."""
    return any(head[at : at + 8] == HDF5_MAGIC for at in (0, 512, 1024, 2048, 4096))


def advise(name: str, head: bytes) -> str:
    """Say what to do instead of opening a file that is no scan, nothing where its content does not tell."""
    if head.lstrip().startswith(b"ENVI"):
        return "give the .hdr of an SDF scan, the text that says ScanDefinition"
    suffix = name.lower().rpartition(".")[2]
    if suffix == "xim":
        return "give the .hdr file that belongs to it"
    if suffix in ("csv", "tsv", "txt", "dat", "xsp", "xas", "xdi", "nor", "xmu"):
        return "a spectrum is read with xstxm.read_references or xstxm.read_i0"
    return ""


def describe_content(head: bytes) -> str:
    """Say in words what a file seems to be, for an error message."""
    if not head:
        return "an empty file"
    if is_hdf5(head):
        return "an HDF5 file"
    if head.lstrip().startswith(b"ENVI"):
        return "an ENVI header"
    if head.startswith((b"II*\0", b"MM\0*")):
        return "a TIFF image"
    if head.startswith(b"\x1f\x8b"):
        return "a gzip archive"
    if head.startswith(b"\xd0\xcf\x11\xe0"):
        return "a compound file, as Office and Windows write"
    if b"\0" in head[:1024]:
        return "a binary file"
    first = next((line for line in head.splitlines() if line.strip()), b"")
    return f"a text that starts with {first[:40].decode('latin-1').strip()!r}"


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
    dwell_time: np.ndarray | None = None
    ring_current: np.ndarray | Signal | None = None
    chunks: Mapping[str, int] = field(default_factory=lambda: {ENERGY: 1})
    """Chunks to read by, for ``chunks={}``."""


def to_dataset(scan: Scan, drop_variables: str | Iterable[str] | None = None) -> xr.Dataset:
    """Return the stack of a scan: the one place where readers get names, units and attributes."""
    coords = {ENERGY: _variable(ENERGY, (ENERGY,), scan.energy)}
    for name, (dims, values) in scan.positions.items():
        coords[name] = _variable(name, dims, values)
    if scan.dwell_time is not None:
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
        raise CorruptFileError(path_of(source) or name_of(source), f"{what} in {wanted}", repr(units), do) from error


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


def listed(names: Sequence[object], limit: int = 5) -> str:
    """Return the first names of a list in words."""
    shown = ", ".join(str(name) for name in names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")


def closing(opened: Iterable[Any]) -> Callable[[], None]:
    """Return a function, which can be pickled, that closes several stacks or files."""
    return partial(_close, list(opened))


def _close(opened: Sequence[Any]) -> None:
    for one in opened:
        one.close()


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
