"""From an NXstxm file to a stack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from xstxm import units as _units
from xstxm.conventions import ENERGY, SPECS
from xstxm.errors import CorruptFileError, MetadataWarning, StxmError, UnitsError, warn
from xstxm.io import _base, _sources
from xstxm.io._base import FrameArray, Scan, Signal, in_units
from xstxm.io._hdf5 import Store, StoredArray, attribute, field_text, inside, member, preferred_chunks, tells
from xstxm.io._sources import Source
from xstxm.io.nxstxm import dialects, layout
from xstxm.io.nxstxm.layout import Detector
from xstxm.io.nxstxm.points import Line, PointLine, points_of
from xstxm.io.nxstxm.record import read_record

if TYPE_CHECKING:
    import h5py

_WORDS = (
    "sample point spectrum",
    "sample line spectrum",
    "sample image",
    "sample image stack",
    "osa image",
    "detector image",
    "generic scan",
)
_OD = "optical_density"
_COORDINATES = (ENERGY, "y", "x", "position", "dwell_time", "ring_current")
_SAMPLE = ("sample/name", "sample/sample_name", "sample/description", "sample_description")
_DIMS = {1: (ENERGY,), 2: (ENERGY, "position"), 3: (ENERGY, "y", "x")}


def is_nxstxm(source: Source) -> bool:
    """Tell whether an HDF5 file says that it is NXstxm, or is laid out like it."""
    return tells(source, layout.is_layout)


def scans_of(source: Source) -> dict[str, dict[str, str]]:
    """Return the entries of a file that hold a scan, each with the option that opens it."""
    store = Store(source)
    try:
        with store.guarded():
            return {name: {"entry": name} for name in layout.filled_entries(store)}
    finally:
        store.close()


def open_nxstxm(
    source: Source,
    *,
    entry: str | None = None,
    detector: str | None = None,
    drop_variables: str | Iterable[str] | None = None,
) -> xr.Dataset:
    """Open an NXstxm file.

    Parameters
    ----------
    source
        Path or binary file object.
    entry
        Which entry; without it the first that holds a scan, with a warning if there are more.
    detector
        Which detector becomes `intensity`; the file's default, else the first, by default.
    drop_variables
        Variables to leave out.

    Returns
    -------
    Dataset
        A stack; numbers are read when indexed. Closing it closes the file.

    Raises
    ------
    FileFormatError, CorruptFileError, UnsupportedScanError
        See the classes; each names the file and what was expected of it.
    """
    store = Store(source)
    try:
        with store.guarded():
            stack = _base.to_dataset(_read(store, source, entry, detector), drop_variables)
    except BaseException:
        store.close()
        raise
    stack.set_close(store.close)
    return stack


def _read(store: Store, source: Source, asked_entry: str | None, asked_detector: str | None) -> Scan:
    entry_name = layout.choose_entry(store, asked_entry)
    entry = store.file[entry_name]
    names = layout.choose_detector(store, entry_name, asked_detector)
    group = entry[names[0]]
    energy = _energy(store, entry, group)
    main = layout.detector(store, entry_name, names[0], energy.size)
    _tell_source(store, entry, group, main)
    store.check_written(store.file[main.signal])
    for place in main.measured or ():
        store.check_claim(store.file[place])
    dims, axes, shape = _dims(main), _axes(main), _shape(store, main)
    chunks = {ENERGY: 1} if main.measured else preferred_chunks(store.file[main.signal], dims, axes)
    return Scan(
        dims=dims,
        energy=energy,
        positions=_positions(store, main, dict(zip(dims, shape, strict=True))),
        signals=_signals(store, entry_name, names, energy.size, main),
        metadata=_metadata(store, entry, group),
        dwell_time=_dwell(store, entry, group, energy.size, main),
        ring_current=_ring_current(store, entry, energy.size, main),
        chunks=chunks,
    )


def _signals(store: Store, entry_name: str, names: list[str], energies: int, main: Detector) -> dict[str, Signal]:
    """Return the detectors on one grid, the main one first, and the maps that this package wrote beside them."""
    entry = store.file[entry_name]
    own = dialects.wrote("xstxm", entry)
    signals = {names[0] if own and names[0] == _OD else "intensity": _signal(store, main)}
    for name in names[1:]:
        other = _other(store, entry_name, name, energies, main)
        if other is not None:
            signals[_name(name, signals, own)] = _signal(store, other)
    for name, item in layout.maps_of(entry).items():
        if "x" in _dims(main) and item.shape == _shape(store, main)[1:]:
            signals[_name(name, signals, own)] = _map(store, item, name)
    return signals


def _name(name: str, taken: Mapping[str, Signal], own: bool) -> str:
    """Return the name of a variable; in our own files it is the one that it was written from."""
    if own and name == "counter0" and "intensity" not in taken:
        return "intensity"
    if own and name in SPECS and name not in (*taken, *_COORDINATES):
        return name
    return _base.variable_name(name, taken)


def _map(store: Store, item: h5py.Dataset, name: str) -> Signal:
    store.check_written(item)
    units = _base.intensity_units(attribute(item, "units"), name, store.name)
    return Signal(StoredArray(store, item.name, (0, 1), item.shape), units, dims=("y", "x"))


def _tell_source(store: Store, entry: h5py.Group, group: h5py.Group, main: Detector) -> None:
    """Warn of what is not sure about a scan, or not read of it."""
    program = dialects.unverified(entry)
    if program:
        said = f"the layout of {program} was met in no real file: compare with another program"
        warn(f"{store.name}: {said}", MetadataWarning)
    if main.measured:
        said = "its raw points become the mean in each requested pixel"
        warn(f"{store.name}: {group.name} is not on a grid: {said}", MetadataWarning)
    if "ptychography" in layout.scan_words(entry, group):
        said = "the counter of a ptychography scan is read, its camera frames are not"
        warn(f"{store.name}: {said}", MetadataWarning)


def _dims(main: Detector) -> tuple[str, ...]:
    if "position" in main.dims:
        return _DIMS[2]
    return _DIMS[3] if "y" in main.dims or "x" in main.dims else _DIMS[1]


def _axes(main: Detector) -> tuple[int | None, ...]:
    return tuple(main.dims.index(dim) if dim in main.dims else None for dim in _dims(main))


def _shape(store: Store, main: Detector) -> tuple[int, ...]:
    """Return the shape of a detector in the stack."""
    stored = store.file[main.signal].shape
    shape = tuple(1 if axis is None else stored[axis] for axis in _axes(main))
    if main.measured is None:
        return shape
    grid = store.file[main.grid]
    return (*shape[:-1], int(grid[layout.fields_of(grid)["x"]].size))


def _signal(store: Store, main: Detector) -> Signal:
    units = _base.intensity_units(attribute(store.file[main.signal], "units"), main.name, store.name)
    return Signal(_array(store, main, main.signal), units, main.name)


def _array(store: Store, main: Detector, path: str) -> FrameArray | StoredArray:
    """Return numbers with the axes of a detector, read when indexed."""
    shape = _shape(store, main)
    if main.measured is not None:
        points = points_of(store, path, main.measured, _asked_for(store, main), layout.ONE in main.dims)
        return FrameArray(shape, PointLine(points) if layout.ONE in main.dims else points)
    if layout.ONE in main.dims:
        return FrameArray(shape, Line(store, path))
    return StoredArray(store, path, _axes(main), shape)


def _asked_for(store: Store, main: Detector) -> tuple[np.ndarray, np.ndarray]:
    """Return the requested y and x in the unit of the measured ones."""
    grid, found = store.file[main.grid], []
    assert main.measured is not None
    for dim, place in zip(("y", "x"), main.measured, strict=True):
        item, units = grid[layout.fields_of(grid)[dim]], attribute(store.file[place], "units")
        said = attribute(item, "units") or units
        found.append(in_units(store.read(item.name), said, units or said or "um", item.name, store.name))
    return found[0], found[1]


def _other(store: Store, entry: str, name: str, energies: int, main: Detector) -> Detector | None:
    """Return a further detector on the same grid; one on another grid is left out, with a warning."""
    try:
        found = layout.detector(store, entry, name, energies)
    except StxmError:
        found = None
    if found is None or found.dims != main.dims or _shape(store, found) != _shape(store, main):
        warn(
            f"{store.name}: detector {name!r} has another grid than {main.name!r}: it is left out, "
            f"pass detector={name!r} for it",
            MetadataWarning,
        )
        return None
    return found


def _energy(store: Store, entry: h5py.Group, group: h5py.Group) -> np.ndarray:
    """Return the energies in eV: those beside the numbers, or those of the monochromator where only they fit."""
    places = [(group, name) for name in layout.ENERGY_NAMES]
    places += [(entry, f"instrument/monochromator/{name}") for name in layout.ENERGY_NAMES]
    items = (member(place, name) for place, name in places)
    items = (item for item in items if hasattr(item, "dtype") and item.dtype.kind in "iuf" and item.size)
    first = next(items, None)
    if first is None:
        do = "add it to the file as a field energy with its units"
        raise CorruptFileError(store.path, f"the photon energy in {group.name}", "none", do)
    signal = layout.signal_of(group)
    sizes = {1, *(signal.shape if signal is not None else ())}
    item = first if first.size in sizes else next((item for item in items if item.size in sizes), first)
    values = np.atleast_1d(store.read(item.name)).ravel()
    energy = _base.energies_in_ev(values, attribute(item, "units"), store.name)
    _base.check_energies(energy, store.name)
    return energy


def _positions(store: Store, main: Detector, sizes: dict[str, int]) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    group = store.file[main.grid]
    fields = layout.fields_of(group)
    beside = attribute(store.file[main.measured[1]], "units") if main.measured else None
    found: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    for dim in ("position", "y", "x"):
        if dim not in fields:
            continue
        item = group[fields[dim]]
        values = _in_um(store.read(item.name), attribute(item, "units") or beside, item.name, store.name)
        if dim in sizes:
            found |= _along(store, dim, values, sizes, main)
        elif "position" in sizes and values.size == sizes["position"]:
            found[dim] = (("position",), values.ravel())
    if "position" in sizes and "position" not in found:
        found["position"] = (("position",), _distance(found, sizes["position"]))
    return found


def _along(
    store: Store, dim: str, values: np.ndarray, sizes: dict[str, int], main: Detector
) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Return the coordinate of a dimension; of positions measured at every point the means, and themselves."""
    if values.ndim <= 1 and values.size == sizes[dim]:
        return {dim: ((dim,), _finite(store, dim, values.ravel()))}
    stored = [name for name in main.dims if name in ("y", "x")]
    frame = tuple(sizes[name] for name in stored)
    if len(stored) != 2 or not values.size or values.size % (frame[0] * frame[1]):
        return {}
    measured = _mean(values.reshape(-1, *frame), 0)
    measured = measured if stored == ["y", "x"] else measured.T
    mean = _finite(store, dim, _mean(measured, 1 if dim == "y" else 0))
    return {dim: ((dim,), mean), f"{dim}_measured": (("y", "x"), measured)}


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean along an axis of the numbers that there are, NaN where there is none."""
    known = np.isfinite(values)
    number = known.sum(axis)
    total = np.where(known, values, 0).sum(axis)
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)


def _finite(store: Store, dim: str, values: np.ndarray) -> np.ndarray:
    lost = int((~np.isfinite(values)).sum())
    if lost:
        do = "correct them in the file, or read the arrays with h5py"
        raise CorruptFileError(store.path, f"finite positions along {dim}", f"{lost} that are not", do)
    return values


def _distance(places: dict[str, tuple[tuple[str, ...], np.ndarray]], size: int) -> np.ndarray:
    """Return the way along a line from its first point, by x and y where the file has them."""
    steps = [np.diff(values, prepend=values[:1]) for _, values in places.values()]
    if not steps:
        return np.arange(size, dtype=float)
    return np.cumsum(np.sqrt(sum(step**2 for step in steps)))


def _in_um(values: np.ndarray, units: str | None, field: str, name: str) -> np.ndarray:
    """Return positions in um; without a unit they are um, unless steps below 1e-3 say mm."""
    values = np.asarray(values, dtype=float)
    if units:
        return in_units(values, units, "um", field, name)
    steps = np.abs(np.diff(values.ravel()))
    if steps.size and 0 < np.median(steps) < 1e-3:
        warn(
            f"{name}: {field} has no unit and steps of {np.median(steps):g}: taken to be mm",
            MetadataWarning,
        )
        return _base.drop_noise(values * 1000)
    return values


def _dwell(
    store: Store, entry: h5py.Group, group: h5py.Group, energies: int, main: Detector
) -> np.ndarray | Signal | None:
    """Return the dwell time in ms, one or one per energy; lazily per pixel where this package wrote it."""
    for place, name in ((group, "count_time"), (entry, f"instrument/{main.name}/count_time")):
        item = member(place, name)
        if item is not None and hasattr(item, "dtype") and item.dtype.kind in "iuf" and item.size:
            break
    else:
        return None
    times = _first_of_each(store, item, energies, main)
    if times is None:
        found = f"{item.name} of the shape {item.shape} is neither per energy nor per pixel"
        warn(f"{store.name}: {found}: dwell times are left out", MetadataWarning)
        return None
    if item.size > times.size:
        if dialects.wrote("xstxm", entry) and attribute(item, "units") == "ms":
            return Signal(_array(store, main, item.name), "ms")
        _warn_of_others(store, item, times, main)
    units = _unit_of_dwell(store, entry, times, attribute(item, "units"), main)
    dwell = in_units(times, units, "ms", "count_time", store.name)
    return dwell if np.isfinite(dwell).all() and (dwell > 0).all() else None


def _unit_of_dwell(store: Store, entry: h5py.Group, times: np.ndarray, units: str | None, main: Detector) -> str:
    """Return the unit of ``count_time``: s by the definition, but for pystxmcontrol, which calls its ms s."""
    if dialects.pystxmcontrol(entry) is not None and units in (None, "s"):
        said = "no unit" if units is None else f"the unit {units!r}"
        warn(
            f"{store.name}: count_time has {said}: taken to be ms, which pystxmcontrol writes",
            MetadataWarning,
        )
        return "ms"
    if not units and np.nanmax(times) >= 1 and "position" not in main.dims and len(main.dims) > 1:
        warn(
            f"{store.name}: count_time has no unit and is {np.nanmax(times):g} in an image: taken to be ms",
            MetadataWarning,
        )
        return "ms"
    return units or "s"


def _first_of_each(store: Store, item: h5py.Dataset, energies: int, main: Detector) -> np.ndarray | None:
    """Return a number, or one per energy: of a number per pixel, that of the first pixel."""
    if item.size == 1:
        return np.asarray(store.read(item.name)).reshape(())
    if item.size == energies:
        return store.read(item.name).ravel()
    if item.shape != store.file[main.signal].shape:
        return None
    key = tuple(slice(None) if dim == ENERGY else 0 for dim in main.dims)
    return np.atleast_1d(store.read(item.name, key))


def _warn_of_others(store: Store, item: h5py.Dataset, first: np.ndarray, main: Detector) -> None:
    """Warn where numbers per pixel, of which the first is taken, are others at the last one by more than a per cent."""
    last = np.atleast_1d(store.read(item.name, tuple(slice(None) if dim == ENERGY else -1 for dim in main.dims)))
    if (np.abs(last - first) > 0.01 * np.abs(first)).any():
        warn(
            f"{store.name}: {item.name} differs between pixels: that of the first of each energy is taken",
            MetadataWarning,
        )


def _ring_current(store: Store, entry: h5py.Group, energies: int, main: Detector) -> np.ndarray | Signal | None:
    """Return the stored beam in mA, where ``control`` holds it: per energy, or lazily per pixel."""
    item = inside(entry, "control/data")
    units = attribute(item, "units") if item is not None else None
    if item is None or units is None or item.dtype.kind not in "iuf" or dialects.pystxmcontrol(entry) is not None:
        return None  # pystxmcontrol always writes zeros
    try:
        if not _units.same_kind(units, "mA"):
            return None
    except UnitsError:
        return None
    if item.size == energies:
        current = in_units(store.read(item.name).ravel(), units, "mA", "ring current", store.name)
        return np.where(current > 0, current, np.nan)
    if item.shape == store.file[main.signal].shape and _units.normalize(units) == "mA":
        return Signal(_array(store, main, item.name), "mA")
    found = f"{item.name} in {units} of the shape {item.shape} is neither per energy nor, in mA, per pixel"
    warn(f"{store.name}: the ring current {found}: it is left out", MetadataWarning)
    return None


def _metadata(store: Store, entry: h5py.Group, group: h5py.Group) -> dict[str, str | None]:
    said = layout.scan_words(entry, group)
    # Pixelator writes "Swiss Light Source" wherever it runs
    source = None if dialects.wrote("pixelator", entry) else field_text(entry, "instrument/source/name")
    return {
        "title": field_text(entry, "title"),
        "sample": next(filter(None, (field_text(entry, place) for place in _SAMPLE)), None),
        "facility": source,
        "beamline": field_text(entry, "collection/beamline") or field_text(entry, "instrument/beamline"),
        "scan_type": said if said in _WORDS else None,
        "start_time": _base.iso_time(field_text(entry, "start_time"), store.name),
        "source_file": _sources.source_file(store.name),
        **read_record(store, entry),
    }
