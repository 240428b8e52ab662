"""Where an NXstxm file keeps its scan: entries, detectors, and which stored axis is which."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xstxm.conventions import ENERGY
from xstxm.errors import ChoiceError, CorruptFileError, FileFormatError, MetadataWarning, UnsupportedScanError, warn
from xstxm.io._base import listed
from xstxm.io._hdf5 import Store, attribute, field_text, is_inside, member, words

if TYPE_CHECKING:
    import h5py

ENERGY_NAMES = ("energy", "photon_energy")
_POSITION = re.compile(r"(?:^|_)([xy])$")
_NO_DETECTOR = re.compile(r"(?:^|_)[xyz]$|position|energy|control|current|^time", re.IGNORECASE)


@dataclass(frozen=True)
class Detector:
    """A detector of an entry: its NXdata group, the dataset in it, and the dimensions as stored."""

    name: str
    group: str
    signal: str
    dims: tuple[str, ...]


def children(group: Any) -> dict[str, h5py.Group]:
    """Return the groups inside a group; broken links and those to other files left out."""
    found = {name: member(group, name) for name in group if is_inside(group, name)}
    return {name: item for name, item in found.items() if hasattr(item, "keys")}


def entries_of(file: h5py.File) -> list[str]:
    """Return the names of the entries."""
    groups = children(file)
    marked = [name for name, group in groups.items() if attribute(group, "NX_class") == "NXentry"]
    return marked or [name for name in groups if name.lower().startswith("entry")]


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
    real = {name: group for name, group in found.items() if not _NO_DETECTOR.search(name)}
    default = attribute(entry, "default")
    return dict(sorted((real or found).items(), key=lambda item: item[0] != default))


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
        item = member(group, name) if dim is not None and is_inside(group, name) else None
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
    the lengths; whatever the words say, the lengths have to fit.

    Raises
    ------
    UnsupportedScanError
        The scan is neither image nor spectrum.
    CorruptFileError
        No assignment of axes fits the shape.
    """
    group = store.file[entry][name]
    signal = signal_of(group)
    assert signal is not None
    kind = scan_words(store.file[entry], group)
    if signal.ndim > 3 or "focus" in kind:
        found = f"a {kind!r} scan" if "focus" in kind else f"an array with {signal.ndim} axes"
        do = "it cannot become a stack, read the array with h5py"
        raise UnsupportedScanError(store.path, "an image, a stack, a line or a point scan", found, do)
    lengths = _lengths(group, energies)
    for dims in (_from_axes(group), _from_indices(group), _from_fields(group), *_by_rank(signal.ndim, kind, energies)):
        if dims is not None and _fits(dims, signal.shape, lengths):
            return Detector(name, group.name, signal.name, dims)
    raise _no_fit(store, name, signal, lengths)


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
