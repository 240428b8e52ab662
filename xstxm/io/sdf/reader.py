"""From an SDF header and its data files to a stack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import xarray as xr

from xstxm import units as _units
from xstxm.conventions import ENERGY
from xstxm.errors import (
    ChoiceError,
    CorruptFileError,
    FileFormatError,
    IncompleteWarning,
    MetadataWarning,
    OptionError,
    UnitsError,
    UnsupportedScanError,
    warn,
)
from xstxm.io import _base, _sources
from xstxm.io._base import FrameArray, Scan, Signal, WholeArray, in_units
from xstxm.io._sources import Source
from xstxm.io.sdf import frames, spectra
from xstxm.io.sdf.header import Axis, Channel, Header, Region, read_header, scan_type

Layout: TypeAlias = Literal["image", "line", "point"]
READBACK_LIMIT = 0.5
"""A read-back energy further than this (eV) from the axis is not believed."""


_DENSITY = "optical_density"
"""Channel that `write_sdf` makes of that variable."""


@dataclass(frozen=True)
class _Scan:
    """What the assembly of one region needs at hand."""

    path: Path
    header: Header
    region: int
    intensity: Channel

    @property
    def axes(self) -> Region:
        """The axes of the region."""
        return self.header.regions[self.region]


def open_sdf(
    source: Source,
    *,
    region: int | None = None,
    detector: str | None = None,
    drop_variables: str | Iterable[str] | None = None,
) -> xr.Dataset:
    """Open an SDF scan by its header.

    Parameters
    ----------
    source
        Path of the ``.hdr`` file, or a file object opened from there; the data files lie beside it.
    region
        Which region of a multi-region scan; without it the first, with a warning if there are more.
    detector
        Name of the channel that becomes `intensity`; the first in counts or Hz by default.
    drop_variables
        Variables to leave out.

    Returns
    -------
    Dataset
        A stack; frames are read when indexed.

    Raises
    ------
    FileFormatError, CorruptFileError, UnsupportedScanError
        See the classes; each names the file and what was expected of it.
    """
    path = _sources.path_of(source)
    if path is None:
        raise FileFormatError(
            _sources.name_of(source), "a path", "a stream", "an SDF scan is several files: give the path of the .hdr"
        )
    header = read_header(path)
    chosen = _choose_region(header, region, path)
    scan = _Scan(path, header, chosen, _choose_channel(header, detector, path))
    kind = scan_type(header, path)
    layout = _layout(scan)
    read = {"image": _image, "line": _line, "point": _point}[layout]
    metadata = {
        "title": path.stem,
        "scan_type": _said(kind, layout),
        "start_time": _base.iso_time(header.time, path),
        "source_file": path.name,
    }
    return _base.to_dataset(read(scan, metadata), drop_variables)


def scans_of(source: Source) -> dict[str, dict[str, Any]]:
    """Return the regions of a scan by name, each with the option that opens it.

    Raises
    ------
    FileFormatError, CorruptFileError
        The file is no SDF header, or a broken one.
    """
    return {f"region{index}": {"region": index} for index in range(len(read_header(source).regions))}


def _said(kind: str, layout: Layout) -> str:
    """Let the axes decide between image and spectrum, where the type of the scan says otherwise."""
    if layout == "image":
        return kind if not kind.endswith("spectrum") else "sample image stack"
    return f"sample {layout} spectrum"


def _choose_region(header: Header, region: int | None, path: Path) -> int:
    count = len(header.regions)
    exist = f"the scan has regions {_sources.listed(range(count), 12)}" if count > 1 else "the scan has region 0 only"
    if region is None:
        if count > 1:
            warn(f"{path.name}: {exist}: the first is read, pass region= for another", MetadataWarning)
        return 0
    if isinstance(region, bool) or not isinstance(region, int | np.integer) or not 0 <= region < count:
        raise OptionError("region", region, exist)
    return int(region)


def _kind_of(channel: Channel) -> str:
    """Return 'count', 'current' or 'other'."""
    try:
        found = _units.normalize(channel.unit or "count")
    except UnitsError:
        return "other"
    if any(_units.same_kind(found, wanted) for wanted in ("count", "count/s")):
        return "count"
    return "current" if _units.same_kind(found, "mA") else "other"


def _choose_channel(header: Header, detector: str | None, path: Path) -> Channel:
    names = [channel.name for channel in header.channels]
    if detector is not None:
        if detector not in names:
            raise ChoiceError("detector", detector, names)
        return header.channels[names.index(detector)]
    for wanted in ("count", "other"):
        for channel in header.channels:
            if _kind_of(channel) == wanted:
                return channel
    found = ", ".join(f"{channel.name} [{channel.unit}]" for channel in header.channels)
    raise UnsupportedScanError(path, "a channel in counts or Hz", found, "pass detector= to take one of them")


def _layout(scan: _Scan) -> Layout:
    p, q = scan.axes.p, scan.axes.q
    if q is None:
        if p.is_energy:
            return "point"
        raise UnsupportedScanError(
            scan.path,
            "a scan of energy or of two positions",
            f"a scan of {p.name} alone",
            "it cannot become a stack, give one that can",
        )
    return "line" if p.is_energy or q.is_energy else "image"


def _image(scan: _Scan, metadata: dict[str, str | None]) -> Scan:
    header, p, q = scan.header, scan.axes.p, scan.axes.q
    assert q is not None
    shape = (q.points.size, p.points.size)
    axis = _energy_axis(scan)
    files = frames.files_beside(scan.path, ".xim")
    numbers, positions = _kept(scan, files, shape, axis)
    energy = _read_back(scan, axis[positions], numbers)
    turned = _is_turned(scan.axes)
    y, x = (p, q) if turned else (q, p)
    lengths = (energy.size, y.points.size, x.points.size)
    signals = {}
    for name, channel in _named_channels(scan):
        paths = frames.frames_of(files, channel.letter, scan.region, header, scan.path)
        if not set(numbers) <= set(paths):
            warn(f"{scan.path.name}: files of channel {channel.name!r} are missing: it is left out", MetadataWarning)
            continue
        reader = frames.TextFrames(tuple(paths[number] for number in numbers), shape, turned)
        signals[name] = _signal(scan, channel, FrameArray(lengths, reader))
    return Scan(
        dims=(ENERGY, "y", "x"),
        energy=energy,
        positions={
            "y": (("y",), in_units(y.points, y.unit, "um", y.name, scan.path)),
            "x": (("x",), in_units(x.points, x.unit, "um", x.name, scan.path)),
        },
        signals=signals,
        metadata=metadata,
        dwell_time=_dwell(header, axis.size, positions),
        ring_current=_ring_current(scan, numbers),
    )


def _kept(
    scan: _Scan, files: Mapping[str, Path], shape: tuple[int, int], axis: np.ndarray
) -> tuple[list[int], list[int]]:
    """Return the numbers of the frames that are whole, and their positions on the energy axis."""
    found = frames.frames_of(files, scan.intensity.letter, scan.region, scan.header, scan.path)
    if not found:
        raise _no_data(scan, scan.intensity, ".xim")
    numbers = sorted(found)
    positions = frames.pair(found, scan.region, scan.header, axis, scan.path)
    kept = frames.drop_incomplete([found[number] for number in numbers], shape, axis[positions], scan.path)
    return numbers[:kept], positions[:kept]


def _is_turned(axes: Region) -> bool:
    """Tell whether the fast axis is y: the names of the axes decide."""
    p, q = axes.p.name.strip().lower(), (axes.q.name.strip().lower() if axes.q else "")
    return p.endswith("y") and q.endswith("x")


def _line(scan: _Scan, metadata: dict[str, str | None]) -> Scan:
    p, asked = scan.axes.p, scan.axes.q
    assert asked is not None
    files = frames.files_beside(scan.path, ".xim")
    q = _written(scan, files, asked)
    energy_axis, along = (p, q) if p.is_energy else (q, p)
    energy = _base.energies_in_ev(energy_axis.points, energy_axis.unit, scan.path)
    _base.check_energies(energy, scan.path)
    place = in_units(along.points, along.unit, "um", along.name, scan.path)
    positions = {"position": (("position",), place)}
    for name in ("x", "y"):
        if along.name.strip().lower().endswith(name):
            positions[name] = (("position",), place)
    shape, aborted = (q.points.size, p.points.size), q is not asked
    signals = {}
    for name, channel in _named_channels(scan):
        paths = frames.frames_of(files, channel.letter, scan.region, scan.header, scan.path)
        if not paths:
            warn(f"{scan.path.name}: files of channel {channel.name!r} are missing: it is left out", MetadataWarning)
            continue
        reader = frames.TextFrames((paths[min(paths)],), shape, turned=p.is_energy, aborted=aborted)
        signals[name] = _signal(scan, channel, WholeArray((energy.size, place.size), reader))
    announced = p.points.size if p.is_energy else asked.points.size
    dwell = _dwell(scan.header, announced, list(range(energy.size)))
    return Scan((ENERGY, "position"), energy, positions, signals, metadata, dwell_time=dwell)


def _written(scan: _Scan, files: Mapping[str, Path], axis: Axis) -> Axis:
    """Return the slow axis of a line scan as far as it was measured, with a warning where that is not to its end.

    Raises
    ------
    CorruptFileError
        There is no row, or no file.
    """
    paths = frames.frames_of(files, scan.intensity.letter, scan.region, scan.header, scan.path)
    if not paths:
        raise _no_data(scan, scan.intensity, ".xim")
    path, announced, columns = paths[min(paths)], axis.points.size, scan.axes.p.points.size
    rows = frames.complete_rows(path, (announced, columns))
    if rows >= announced:
        return axis
    if not rows:
        expected, do = f"{announced} rows of {columns} numbers", "the scan was aborted in its first row, give another"
        raise CorruptFileError(path, expected, "none", do)
    said = f"{path.name} ends after {rows} of {announced} rows along {axis.name}, the scan was aborted"
    warn(f"{scan.path.name}: {said}: the others are left out", IncompleteWarning)
    return replace(axis, points=axis.points[:rows])


def _point(scan: _Scan, metadata: dict[str, str | None]) -> Scan:
    files = frames.files_beside(scan.path, ".xsp")
    path = files.get(str(scan.region)) or (files.get("") if scan.region == 0 else None)
    if path is None:
        raise _no_data(scan, scan.intensity, ".xsp")
    table = spectra.read_columns(path, len(scan.header.channels))
    announced = scan.axes.p.points
    if len(table) != announced.size:
        aborted = len(table) < announced.size
        do, category = ("the scan was aborted", IncompleteWarning) if aborted else ("all are kept", MetadataWarning)
        warn(f"{scan.path.name}: {path.name} holds {len(table)} of {announced.size} energies: {do}", category)
    energy = _base.energies_in_ev(table[:, 0], scan.axes.p.unit, scan.path)
    _base.check_energies(energy, scan.path)
    columns = {channel: index for index, channel in enumerate(scan.header.channels, start=1)}
    signals = {name: _signal(scan, channel, table[:, columns[channel]]) for name, channel in _named_channels(scan)}
    dwell = _dwell(scan.header, max(announced.size, energy.size), list(range(energy.size)))
    return Scan((ENERGY,), energy, {}, signals, metadata, dwell_time=dwell)


def _named_channels(scan: _Scan) -> list[tuple[str, Channel]]:
    named = [("intensity", scan.intensity)]
    for channel in scan.header.channels:
        if channel is not scan.intensity:
            taken = [name for name, _ in named]
            is_density = (channel.name, channel.unit) == (_DENSITY, "1") and _DENSITY not in taken
            name = _DENSITY if is_density else _base.variable_name(channel.name, taken)
            named.append((name, channel))
    return named


def _signal(scan: _Scan, channel: Channel, data: object) -> Signal:
    return Signal(data, _base.intensity_units(channel.unit, channel.name, scan.path), channel.name)


def _no_data(scan: _Scan, channel: Channel, suffix: str) -> CorruptFileError:
    stem = scan.path.stem
    if suffix == ".xsp":
        first = f"{stem}_{scan.region}.xsp"
    else:
        first = f"{stem}_{channel.letter}{'000' if 'stack' in scan.header.flags else ''}.xim"
    there = f"open {scan.path.resolve()}, to which the link leads"
    do = there if scan.path.is_symlink() else "copy the data files there"
    return CorruptFileError(scan.path, f"its data beside it, {first} first", "none", do)


def _energy_axis(scan: _Scan) -> np.ndarray:
    """Return the energies that the header announces, in eV."""
    stack, header = scan.header.stack, scan.header
    if stack is not None and not stack.is_energy and stack.points.size > 1:
        do = "it has no spectra, read its .xim files with numpy.loadtxt"
        raise UnsupportedScanError(scan.path, "a stack over energy", f"a stack over {stack.name}", do)
    if stack is not None and stack.is_energy and stack.points.any():
        return _base.energies_in_ev(stack.points, stack.unit, scan.path)
    record = header.records.get(scan.region, {}).get(0)
    if record is not None and record.energy:
        return np.array([record.energy])
    if header.monochromator:
        warn(
            f"{scan.path.name}: no energy axis: {header.monochromator:g} eV, the last position of the "
            "monochromator, is taken",
            MetadataWarning,
        )
        return np.array([header.monochromator])
    warn(
        f"{scan.path.name}: the photon energy is not recorded: it is NaN, "
        "set it with stack.assign_coords(energy=('energy', [...], {'units': 'eV'}))",
        MetadataWarning,
    )
    return np.array([np.nan])


def _read_back(scan: _Scan, energy: np.ndarray, numbers: list[int]) -> np.ndarray:
    """Return the energies that were read back, where every frame has one near the announced one."""
    records = scan.header.records.get(scan.region, {})
    found = [records[number].energy if number in records else None for number in numbers]
    if all(found):
        measured = np.array(found, dtype=float)
        worst = int(np.argmax(np.abs(measured - energy)))
        if abs(measured[worst] - energy[worst]) < READBACK_LIMIT:
            energy = measured
        else:
            warn(
                f"{scan.path.name}: the energy read back, {measured[worst]:g} eV, is not the one of the axis, "
                f"{energy[worst]:g} eV: the axis is used",
                MetadataWarning,
            )
    if not np.isnan(energy).all():
        _base.check_energies(energy, scan.path)
    return energy


def _dwell(header: Header, count: int, positions: list[int]) -> np.ndarray | None:
    """Return the dwell time in ms: one for all, or one per energy where the regions asked for several."""
    numbers, dwells = [number for number, _ in header.requested], [dwell for _, dwell in header.requested]
    if sum(numbers) == count and len(set(dwells)) > 1:
        return np.repeat(dwells, numbers)[positions]
    return None if header.dwell is None else np.asarray(header.dwell)


def _ring_current(scan: _Scan, numbers: list[int]) -> np.ndarray | None:
    records = scan.header.records.get(scan.region, {})
    if not records:
        first = scan.header.ring_current
        return np.array([first]) if first and len(numbers) == 1 else None
    found = [records[number].ring_current if number in records else None for number in numbers]
    return np.array([np.nan if current is None else current for current in found])
