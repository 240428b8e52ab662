"""Where an NXstxm file keeps its scan: entries, detectors, and which stored axis is which."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xstxm.conventions import ENERGY
from xstxm.errors import ChoiceError, CorruptFileError, FileFormatError, MetadataWarning, UnsupportedScanError, warn
from xstxm.io._hdf5 import Store, attribute, field_text, inside, member, words
from xstxm.io._sources import listed
from xstxm.io.nxstxm import dialects

if TYPE_CHECKING:
    import h5py

ENERGY_NAMES = ("energy", "photon_energy")
_POSITION = re.compile(r"(?:^|_)([xy])$")
_NO_DETECTOR = re.compile(
    r"(?:^|_)[xyz]$|position|energy|control|(?:ring|beam).?current|^current|^time|^(?:requested|binned)_values$",
    re.IGNORECASE,
)
_OF_MAPS = ["sample_y", "sample_x"]
ONE = "one"
"""A stored axis of length one that is no dimension of the stack: that of the lines in a line scan."""


@dataclass(frozen=True)
class Detector:
    """A detector of an entry: its numbers, their dimensions as stored, and the group with the positions of its grid."""

    name: str
    signal: str
    dims: tuple[str, ...]
    grid: str
    measured: tuple[str, str] | None = None
    """Where the measured y and x are, of raw points that are still to be brought on the grid."""


def nexus_group(parent: h5py.Group, name: str, nexus_class: str) -> h5py.Group:
    """Return a new group of a NeXus class."""
    group = parent.create_group(name)
    group.attrs["NX_class"] = nexus_class
    return group


def children(group: Any) -> dict[str, h5py.Group]:
    """Return the groups inside a group; broken links and those to other files left out."""
    found = {name: inside(group, name) for name in group}
    return {name: item for name, item in found.items() if hasattr(item, "keys")}


def entries_of(file: h5py.File) -> list[str]:
    """Return the names of the entries: groups of that class, and those of that name which have none."""
    classes = {name: attribute(group, "NX_class") for name, group in children(file).items()}
    return [name for name, said in classes.items() if (said or _class_by_name(name)) == "NXentry"]


def _class_by_name(name: str) -> str:
    return "NXentry" if name.lower().startswith("entry") else ""


def _data_groups(entry: h5py.Group) -> dict[str, h5py.Group]:
    groups = children(entry)
    marked = {name: group for name, group in groups.items() if attribute(group, "NX_class") == "NXdata"}
    if marked:
        return marked
    return {
        name: group
        for name, group in groups.items()
        if "data" in group and any(energy in group for energy in ENERGY_NAMES)
    }


def signal_of(group: h5py.Group) -> h5py.Dataset | None:
    """Return the dataset that a group names as its signal."""
    for name in (attribute(group, "signal") or "data", "data"):
        item = member(group, name)
        if item is not None and hasattr(item, "dtype"):
            return item
    return None


def detectors_of(entry: h5py.Group) -> dict[str, h5py.Group]:
    """Return the detector groups of an entry that hold arrays of numbers, the preferred one first."""
    found = {}
    for name, group in _data_groups(entry).items():
        signal = signal_of(group)
        if signal is not None and signal.ndim > 0 and signal.dtype.kind in "iuf":
            found[name] = group
    own, maps, counters = dialects.wrote("xstxm", entry), maps_of(entry), _photon_counters(entry)
    found = {name: group for name, group in found.items() if name not in maps}
    real = {name: group for name, group in found.items() if own or not _NO_DETECTOR.search(name)}
    photon = {name: group for name, group in real.items() if name in counters}
    default = attribute(entry, "default") or "default"
    return dict(sorted((photon or real or found).items(), key=lambda item: _rank(item[0], default)))


def _rank(name: str, default: str) -> tuple[bool, bool]:
    """Return what sorts detectors: the default first, and the drain current of the sample after the counters."""
    return name != default, "current" in name.lower()


def _photon_counters(entry: h5py.Group) -> list[str]:
    """Return the devices of the instrument that the file says count photons."""
    instrument = inside(entry, "instrument")
    if not hasattr(instrument, "keys"):
        return []
    return [name for name, group in children(instrument).items() if attribute(group, "type") == "photon"]


def maps_of(entry: h5py.Group) -> dict[str, h5py.Dataset]:
    """Return the maps that `write_nxstxm` put beside the detectors: images without an energy, by name."""
    if not dialects.wrote("xstxm", entry):
        return {}
    groups = {name: group for name, group in _data_groups(entry).items() if words(group, "axes") == _OF_MAPS}
    signals = {name: signal_of(group) for name, group in groups.items() if "energy" not in group}
    return {name: item for name, item in signals.items() if item is not None and _is_image(item)}


def _is_image(item: h5py.Dataset) -> bool:
    return item.ndim == 2 and item.dtype.kind in "iuf"


def is_layout(file: h5py.File) -> bool:
    """Tell whether a file says that it is NXstxm, or is laid out like it."""
    for name in entries_of(file):
        entry = file[name]
        if field_text(entry, "definition") == "NXstxm":
            return True
        groups = _data_groups(entry).values()
        if any("stxm_scan_type" in group for group in groups):
            return True
        if any(signal_of(group) is not None and any(e in group for e in ENERGY_NAMES) for group in groups):
            return True
    return False


def filled_entries(store: Store) -> list[str]:
    """Return the names of the entries that hold an array."""
    return [name for name in entries_of(store.file) if detectors_of(store.file[name])]


def choose_entry(store: Store, asked: str | None) -> str:
    """Return the entry to read: the one asked for, or the first that holds an array."""
    names = entries_of(store.file)
    if not names:
        found = f"groups {listed(list(store.file))}" if len(store.file) else "nothing"
        raise FileFormatError(store.path, "an NXentry", found, "give the NXstxm file of a scan")
    if asked is not None:
        if asked not in names:
            raise ChoiceError("entry", asked, names)
        _require_detector(store, asked)
        return asked
    filled = filled_entries(store)
    if not filled:
        _require_detector(store, names[0])
    if len(filled) > 1:
        warn(
            f"{store.name}: entries {', '.join(filled)} hold a scan each: {filled[0]!r} is read, "
            "pass entry= for another",
            MetadataWarning,
        )
    return filled[0]


def _require_detector(store: Store, name: str) -> None:
    """Raise the error that says why an entry holds no scan."""
    entry = store.file[name]
    if detectors_of(entry):
        return
    if any("exp" in group and "dark" in group for group in children(entry).values()):
        raise UnsupportedScanError(
            store.path, "an image", "camera frames of a ptychography scan", "reconstruct it first"
        )
    signals = [signal_of(group) for group in _data_groups(entry).values()]
    if any(signal is not None and signal.ndim == 0 for signal in signals):
        found, do = "data that are scalars: an empty skeleton of the format", "give the file that holds the data"
        raise FileFormatError(store.path, "arrays of a scan", found, do)
    definition = field_text(entry, "definition")
    found = f"a file of definition {definition!r} without one" if definition else "none"
    do = "give the NXstxm file of a scan, or read the arrays with h5py"
    raise FileFormatError(store.path, f"an NXdata group with an array in {name!r}", found, do)


def choose_detector(store: Store, entry: str, asked: str | None) -> list[str]:
    """Return the names of the detectors, the one that becomes the intensity first."""
    names = list(detectors_of(store.file[entry]))
    if asked is None:
        return names
    if asked not in names:
        raise ChoiceError("detector", asked, names)
    return [asked, *[name for name in names if name != asked]]


def scan_words(entry: h5py.Group, group: h5py.Group) -> str:
    """Return the scan type as the file words it, lower case, or nothing."""
    for place, name in ((group, "stxm_scan_type"), (group, "scan_type"), (entry, "scan_type")):
        said = field_text(place, name)
        if said:
            return " ".join(said.lower().replace("_", " ").split())
    return ""


def fields_of(group: h5py.Group) -> dict[str, str]:
    """Return dimension -> field of a detector group: energy, y, x, position."""
    found: dict[str, str] = {}
    for name in sorted(group, key=lambda name: not name.startswith("sample")):
        dim = dim_of(name)
        item = None if dim is None else inside(group, name)
        if dim is not None and item is not None and hasattr(item, "dtype") and item.dtype.kind in "iuf":
            found.setdefault(dim, name)
    return found


def dim_of(name: str) -> str | None:
    """Return the dimension that a field's name stands for."""
    if name in ENERGY_NAMES:
        return ENERGY
    if name == "line_position":
        return "position"
    match = _POSITION.search(name)
    return match[1] if match else None


def detector(store: Store, entry: str, name: str, energies: int) -> Detector:
    """Return a detector with the dimensions of its stored axes.

    The sources in turn: the group's ``axes``, its ``<field>_indices``, the ``axis`` of each field, and
    the lengths; whatever the words say, the lengths have to fit. Of points and of what the program that wrote them
    brought on a grid, that on the grid is taken; of points alone the requested grid.

    Raises
    ------
    UnsupportedScanError
        The scan is neither image nor spectrum.
    CorruptFileError
        No assignment of axes fits the shape.
    """
    place, group = store.file[entry], store.file[entry][name]
    kind = scan_words(place, group)
    gridded = _gridded(place, name) or group
    signal = signal_of(gridded)
    assert signal is not None
    if signal.ndim > 3 or "focus" in kind:
        found = f"a {kind!r} scan" if "focus" in kind else f"an array with {signal.ndim} axes"
        do = "it cannot become a stack, read the array with h5py"
        raise UnsupportedScanError(store.path, "an image, a stack, a line or a point scan", found, do)
    raw = _raw_points(store, place, group, energies) if gridded == group else None
    if raw is not None:
        return raw
    lengths = _lengths(gridded, energies)
    said = (_from_axes(gridded), _from_indices(gridded), _from_fields(gridded))
    for dims in (*_one_line(signal, kind), *said, *_by_rank(signal.ndim, kind, energies)):
        if dims is not None and _fits(dims, signal.shape, lengths):
            return Detector(name, signal.name, dims, gridded.name)
    raise _no_fit(store, name, signal, lengths)


def _gridded(entry: h5py.Group, name: str) -> h5py.Group | None:
    """Return the group in which pystxmcontrol 2.1 keeps on a grid what ``counter0`` holds as points."""
    group = inside(entry, "binned_values")
    if name != "counter0" or not hasattr(group, "keys"):
        return None
    signal = signal_of(group)
    return group if signal is not None and signal.ndim and signal.dtype.kind in "iuf" else None


def _raw_points(store: Store, entry: h5py.Group, group: h5py.Group, energies: int) -> Detector | None:
    """Return a detector of raw points, more in a line than were requested (pystxmcontrol 2); None where it is none.

    Raises
    ------
    CorruptFileError
        Counts, measured and requested positions do not belong together.
    """
    grid = _requested(entry, group)
    signal, fields = signal_of(group), fields_of(group)
    if grid is None or signal is None or signal.ndim != 3 or not {"y", "x"} <= set(fields):
        return None
    wanted = {dim: int(grid[name].size) for dim, name in fields_of(grid).items()}
    is_line = "line" in scan_words(entry, group) and signal.shape[1] == 1
    if wanted["x"] == signal.shape[2]:
        return None
    measured = [group[fields[dim]] for dim in ("y", "x")]
    lines = wanted["x"] if is_line else signal.shape[1]
    sound = 0 < wanted["x"] < signal.shape[2] and wanted["y"] == lines and signal.shape[0] == energies
    if not sound or any(item.shape not in (signal.shape, signal.shape[1:]) for item in measured):
        expected = f"points of {group.name} for {energies} energies and {wanted['y']} x {wanted['x']} requested pixels"
        found = f"counts of shape {signal.shape}, positions of shapes {measured[0].shape} and {measured[1].shape}"
        raise CorruptFileError(store.path, expected, found, "correct the file, or read the arrays with h5py")
    dims = (ENERGY, ONE, "position") if is_line else (ENERGY, "y", "x")
    return Detector(group.name.split("/")[-1], signal.name, dims, grid.name, (measured[0].name, measured[1].name))


def _requested(entry: h5py.Group, group: h5py.Group) -> h5py.Group | None:
    """Return the group with the requested positions."""
    for place in (entry, group):
        found = inside(place, "requested_values")
        if hasattr(found, "keys") and {"y", "x"} <= set(fields_of(found)):
            return found
    return None


def _one_line(signal: h5py.Dataset, kind: str) -> list[tuple[str, ...]]:
    """Return the dimensions of a line scan that is stored as images of one line."""
    return [(ENERGY, ONE, "position")] if signal.ndim == 3 and signal.shape[1] == 1 and "line" in kind else []


def _no_fit(store: Store, name: str, signal: h5py.Dataset, lengths: dict[str, set[int]]) -> FileFormatError:
    said = ", ".join(f"{dim} {' or '.join(map(str, sorted(sizes)))}" for dim, sizes in lengths.items())
    entry = signal.parent.parent
    if any(raw in place for place in (entry, signal.parent) for raw in ("requested_values", "binned_values")):
        return UnsupportedScanError(
            store.path, "gridded data", f"raw points in {name!r}", "grid them with the program that wrote the file"
        )
    expected, found = f"{name!r} with axes of the lengths {said}", f"the shape {signal.shape}"
    return CorruptFileError(store.path, expected, found, "correct the axes in the file, or read the array with h5py")


def _lengths(group: h5py.Group, energies: int) -> dict[str, set[int]]:
    """Return the lengths that each dimension may have; a field of another rank allows any."""
    fields = fields_of(group)
    found = {ENERGY: {energies}}
    for dim in ("y", "x", "position"):
        if dim in fields and group[fields[dim]].ndim == 1:
            found[dim] = {int(group[fields[dim]].size)}
    if "position" not in found:
        found["position"] = found.get("y", set()) | found.get("x", set())
    return found


def _fits(dims: tuple[str, ...], shape: tuple[int, ...], lengths: dict[str, set[int]]) -> bool:
    if len(dims) != len(shape) or len(set(dims)) != len(dims):
        return False
    if ENERGY not in dims and lengths[ENERGY] != {1}:
        return False
    points = shape[dims.index("y")] * shape[dims.index("x")] if {"x", "y"} <= set(dims) else 0
    return all(
        not lengths.get(dim) or size in lengths[dim] or (dim in ("x", "y") and points in lengths[dim])
        for dim, size in zip(dims, shape, strict=True)
    )


def _complete(dims: list[str | None]) -> tuple[str, ...] | None:
    """Return dimensions without a gap; energy with one position is a line."""
    if not dims or None in dims:
        return None
    known = [str(dim) for dim in dims]
    if len(known) == 2 and ENERGY in known:
        known = [dim if dim == ENERGY else "position" for dim in known]
    return tuple(known)


def _from_axes(group: h5py.Group) -> tuple[str, ...] | None:
    return _complete([dim_of(name) for name in words(group, "axes")])


def _from_indices(group: h5py.Group) -> tuple[str, ...] | None:
    places: dict[int, str | None] = {}
    for name in group.attrs:
        if name.endswith("_indices"):
            numbers = [int(number) for number in words(group, name) if number.isdigit()]
            if len(numbers) == 1:
                places.setdefault(numbers[0], dim_of(name.removesuffix("_indices")))
    return _complete([places.get(index) for index in range(len(places))])


def _from_fields(group: h5py.Group) -> tuple[str, ...] | None:
    places: dict[int, str] = {}
    for dim, name in fields_of(group).items():
        said = attribute(group[name], "axis")
        if said and said.isdigit():
            places[int(said) - 1] = dim
    return _complete([places.get(index) for index in range(len(places))])


def _by_rank(rank: int, kind: str, energies: int) -> list[tuple[str, ...]]:
    """Return the assignments to try by length, the usual one first."""
    images = list(itertools.permutations(("y", "x")))
    lines = list(itertools.permutations((ENERGY, "position")))
    if rank == 1:
        return [(ENERGY,)]
    if rank == 2:
        is_line = "line" in kind or ("image" not in kind and energies > 1)
        return [*lines, *images] if is_line else [*images, *lines]
    return list(itertools.permutations((ENERGY, "y", "x")))
