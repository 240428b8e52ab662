"""From Zeiss X-ray microscope files to a stack."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr

from xstxm.conventions import ENERGY
from xstxm.errors import CorruptFileError, MetadataWarning, UnsupportedScanError, warn
from xstxm.io import _base, _images, _sources
from xstxm.io._assembling import source_files
from xstxm.io._base import Scan, Signal
from xstxm.io._images import Energies, Kind
from xstxm.io._raw import UNITS_OF
from xstxm.io._sources import Source
from xstxm.io.xrm import shots
from xstxm.io.xrm.container import MAGIC, Container, Facts, Stored, holds_images
from xstxm.io.xrm.shots import Shot, averages
from xstxm.units import LengthLike

_REFERENCE_NAME = re.compile(r"(?<![a-z])ref(erence)?(?![a-z])", re.IGNORECASE)
_ALONE = "open the files one by one"


def is_xrm(source: Source, head: bytes) -> bool:
    """Tell whether a file is a compound file with images of these microscopes."""
    return head.startswith(MAGIC) and holds_images(source)


def open_xrm(
    source: Source,
    *,
    energies: Energies | None = None,
    kind: Kind | None = None,
    pixel_size: LengthLike | None = None,
    drop_variables: str | Iterable[str] | None = None,
) -> xr.Dataset:
    """Open a .xrm image or a .txrm stack of a Zeiss (Xradia) microscope.

    Parameters
    ----------
    source
        Path or binary file object; the latter is read at once.
    energies
        One in eV for each image; else those of the header, or for a single image that of the file name.
    kind
        Whether the numbers are counts or optical densities; whole numbers are counts.
    pixel_size
        Size of a pixel, e.g. ``"50 nm"``; else that of the header.
    drop_variables
        Variables to leave out.

    Returns
    -------
    Dataset
        `intensity` or `optical_density` (energy, y, x), read by the image, in the order of the file, and `i0` (y, x)
        or (energy, y, x) where references are stored; `dwell_time` in ms.

    Raises
    ------
    FileFormatError, CorruptFileError, UnsupportedScanError
        No such file; a torn one; a tomography; energies, kind or size of a pixel that nobody says.
    MissingDependencyError
        olefile is not installed.
    """
    file = _opened(source, energies)
    groups = [[shot] for shot in file.shots]
    found = "intensity" if file.references else None
    name = _images.signal_of(kind, found, np.dtype(file.facts.images[0].dtype), source)
    signals = {name: Signal(averages(groups), UNITS_OF[name])}
    i0 = shots.stored_incident(groups, file.references, _sources.name_of(source)) if name == "intensity" else None
    if i0 is not None:
        signals["i0"] = i0
    scan = _scan(groups, signals, file.facts, pixel_size, source)
    named = {"source_file": _sources.source_file(_sources.name_of(source))}
    return _base.to_dataset(replace(scan, metadata=named), drop_variables)


@dataclass(frozen=True)
class _File:
    """One file, its images and the references inside it, the latter without energies where it says none."""

    facts: Facts
    shots: tuple[Shot, ...]
    references: tuple[Shot, ...]

    @property
    def is_reference(self) -> bool:
        """Whether its name says that it is one."""
        return bool(_REFERENCE_NAME.search(Path(self.shots[0].file).stem))


def _opened(source: Source, energies: Energies | None) -> _File:
    container = Container.of(source)
    facts = container.facts()
    count = len(facts.images)
    if facts.claimed != count:
        said = f"{_sources.name_of(source)}: {facts.claimed} images were taken and {count} are stored"
        warn(f"{said}: those are read", MetadataWarning)
    energy = _own_energies(facts, source) if energies is None else _images.given_energies(energies, count, source)
    if facts.angles is not None and np.ptp(energy) == 0 and np.ptp(facts.angles) > 0.01:
        found = f"{count} angles from {facts.angles.min():g} to {facts.angles.max():g} degrees at one energy"
        raise UnsupportedScanError(container.name, "an image for each energy", found, "open a scan of energies")
    return _File(facts, _shots(container, facts, facts.images, energy), _references(container, facts, source))


def _shots(container: Container, facts: Facts, stored: Sequence[Stored], energy: np.ndarray) -> tuple[Shot, ...]:
    return tuple(Shot(container, facts.shape, one, float(at)) for one, at in zip(stored, energy, strict=True))


def _references(container: Container, facts: Facts, source: Source) -> tuple[Shot, ...]:
    """Return the references inside a file, their energies NaN unless all say theirs."""
    said = [one.energy for one in facts.references if one.energy is not None]
    energy = np.full(len(facts.references), np.nan)
    if said and len(said) == energy.size:
        energy = _base.energies_in_ev(np.array(said), None, source)
    return _shots(container, facts, facts.references, energy)


def _own_energies(facts: Facts, source: Source) -> np.ndarray:
    """Return the energies in eV that the header or, for a single image, the file name says."""
    name = _sources.called(source)
    count = len(facts.images)
    known = np.array([one.energy for one in facts.images if one.energy is not None])
    if known.size == count:
        return _base.energies_in_ev(known, None, source)
    if known.size:
        found = f"{count - known.size} that are not"
        raise CorruptFileError(name, "finite energies above zero", found, _images.GIVE_ENERGIES)
    named = _images.energies_of_names([_sources.name_of(source)]) if count == 1 else None
    if named is None:
        found = f"{count} images and no energies in the header or the name"
        raise UnsupportedScanError(name, "an energy for each image", found, _images.GIVE_ENERGIES)
    return _images.usable_energies(named, source)


def _square(size: float | None) -> tuple[float, float] | None:
    return None if size is None else (size, size)


def _dwell_times(groups: Sequence[Sequence[Shot]]) -> np.ndarray | None:
    """Return exposures in ms, None where one is unknown."""
    exposures = shots.exposures(groups)
    return None if exposures is None else _base.drop_noise(exposures * 1000)


def assemble_xrm(
    paths: Sequence[Path],
    *,
    energies: Energies | None = None,
    kind: Kind | None = None,
    pixel_size: LengthLike | None = None,
    drop_variables: str | Iterable[str] | None = None,
) -> xr.Dataset:
    """Open .xrm files as one stack, sorted by energy: repetitions averaged, files with ``ref`` in the name as `i0`.

    `energies` are in the order of the paths, references included. `source_file` names the images of each energy.
    """
    folder = paths[0].parent
    each = [None] * len(paths) if energies is None else _images.given_energies(energies, len(paths), folder)
    files = [_opened(path, None if at is None else [at]) for path, at in zip(paths, each, strict=True)]
    _check_alike(files, paths)
    samples = [file for file in files if not file.is_reference]
    if not samples:
        raise UnsupportedScanError(folder, "images of a sample", "references only", _ALONE)
    groups = shots.by_energy([file.shots[0] for file in samples], folder.name)
    references = shots.by_energy([file.shots[0] for file in files if file.is_reference], folder.name)
    first = min(samples, key=lambda file: file.shots[0].energy).facts
    name = _images.signal_of(kind, "intensity" if references else None, np.dtype(first.images[0].dtype), paths[0])
    signals = {name: Signal(averages(groups), UNITS_OF[name])}
    i0 = shots.paired(groups, references, folder.name) if references else None
    if i0 is not None and name == "intensity":
        signals["i0"] = shots.incident(groups, i0, folder.name)
    stack = _base.to_dataset(_scan(groups, signals, first, pixel_size, paths[0]), drop_variables)
    return stack.assign_coords(source_file=source_files([", ".join(shot.file for shot in group) for group in groups]))


def _scan(
    groups: Sequence[Sequence[Shot]],
    signals: dict[str, Signal],
    facts: Facts,
    pixel_size: LengthLike | None,
    source: Source,
) -> Scan:
    energy = np.array([group[0].energy for group in groups])
    _base.check_energies(energy, source)
    return Scan(
        dims=(ENERGY, "y", "x"),
        energy=energy,
        positions=_images.pixel_positions(facts.shape, pixel_size, _square(facts.pixel_size), source),
        signals=signals,
        metadata={},
        dwell_time=_dwell_times(groups),
    )


def _check_alike(files: Sequence[_File], paths: Sequence[Path]) -> None:
    """Refuse files of several images or unequal shapes; tell of stored references and pixel sizes that change."""
    first = files[0].facts
    for file, path in zip(files, paths, strict=True):
        if len(file.shots) != 1 or file.facts.shape != first.shape:
            found = f"{len(file.shots)} of {file.facts.shape}"
            raise CorruptFileError(path, f"one image of {first.shape} as in {paths[0].name}", found, _ALONE)
    sizes = sorted({file.facts.pixel_size for file in files if file.facts.pixel_size is not None})
    if sizes and sizes[-1] > sizes[0] * (1 + 1e-6):
        do = "that of the lowest energy is taken for all, and nothing is resampled"
        warn(f"{paths[0].parent.name}: pixels from {sizes[0]:g} to {sizes[-1]:g} um: {do}", MetadataWarning)
    if any(file.references for file in files):
        do = "are left out: open the files one by one to use them"
        warn(f"{paths[0].parent.name}: references stored inside the files {do}", MetadataWarning)
