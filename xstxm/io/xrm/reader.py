"""From Zeiss X-ray microscope files to a stack."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from xstxm.conventions import ENERGY
from xstxm.errors import CorruptFileError, MetadataWarning, UnsupportedScanError, warn
from xstxm.io import _base, _images
from xstxm.io._base import FrameArray, Scan, Signal, Source
from xstxm.io._images import Energies, Kind
from xstxm.io._raw import UNITS_OF
from xstxm.io.xrm.container import MAGIC, REFERENCE, Container, Facts, image
from xstxm.units import LengthLike

_REFERENCE_NAME = re.compile(r"(?<![a-z])ref(erence)?(?![a-z])", re.IGNORECASE)
_SAME_ENERGY = 0.05
"""Largest difference in eV of images that belong to the same energy."""
_ALONE = "open the files one by one"


def is_xrm(head: bytes) -> bool:
    """Tell whether the bytes open a compound file, of which this package knows no other kind."""
    return head.startswith(MAGIC)


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
        where a reference is stored; `dwell_time` in ms.

    Raises
    ------
    FileFormatError, CorruptFileError, UnsupportedScanError
        No such file; a torn one; a tomography; energies, kind or size of a pixel that nobody says.
    MissingDependencyError
        olefile is not installed.
    """
    file = _opened(source, energies)
    facts = file.facts
    _base.check_energies(file.energy, source)
    stored = [_Image(file.container, image(number + 1), facts.shape, facts.dtype) for number in range(facts.count)]
    found = "intensity" if facts.reference else None
    name = _images.signal_of(kind, found, np.dtype(facts.dtype), source)
    signals = {name: Signal(_averages([[one] for one in stored]), UNITS_OF[name])}
    if file.reference is not None and name == "intensity":
        _compare_exposures(facts.exposures, facts.reference_exposure, source)
        signals["i0"] = Signal(file.reference(0), UNITS_OF[name], dims=("y", "x"))
    scan = Scan(
        dims=(ENERGY, "y", "x"),
        energy=file.energy,
        positions=_images.pixel_positions(facts.shape, pixel_size, _square(facts.pixel_size), source),
        signals=signals,
        metadata={
            "source_file": _base.source_file(_base.name_of(source)),
            "scan_type": "sample image stack" if facts.count > 1 else "sample image",
        },
        dwell_time=_dwell_times(facts.exposures),
    )
    return _base.to_dataset(scan, drop_variables)


@dataclass(frozen=True)
class _Image:
    """Reads the image of one stream."""

    container: Container
    stream: str
    shape: tuple[int, int]
    dtype: str

    def __call__(self, index: int) -> np.ndarray:
        return self.container.frame(self.stream, self.shape, self.dtype)


@dataclass(frozen=True)
class _File:
    """One file with its energies in eV, one for each image."""

    container: Container
    facts: Facts
    energy: np.ndarray

    @property
    def reference(self) -> _Image | None:
        if self.facts.reference is None:
            return None
        return _Image(self.container, REFERENCE, self.facts.shape, self.facts.reference)

    @property
    def first(self) -> _Image:
        return _Image(self.container, image(1), self.facts.shape, self.facts.dtype)


def _opened(source: Source, energies: Energies | None) -> _File:
    container = Container.of(source)
    facts = container.facts()
    if facts.claimed != facts.count:
        said = f"{_base.name_of(source)}: {facts.claimed} images were taken and {facts.count} are stored"
        warn(f"{said}: those are read", MetadataWarning)
    energy = _own_energies(facts, source) if energies is None else _images.given_energies(energies, facts.count, source)
    if facts.angles is not None and np.ptp(energy) == 0 and np.ptp(facts.angles) > 0.01:
        found = f"{facts.count} angles from {facts.angles.min():g} to {facts.angles.max():g} degrees at one energy"
        raise UnsupportedScanError(container.name, "an image for each energy", found, "open a scan of energies")
    return _File(container, facts, energy)


def _own_energies(facts: Facts, source: Source) -> np.ndarray:
    """Return the energies in eV that the header or, for a single image, the file name says."""
    if facts.energies is not None and facts.energies.any():
        known = _images.usable_energies(facts.energies, source)
        return _base.energies_in_ev(known, None, source)
    named = _images.energies_of_names([_base.name_of(source)]) if facts.count == 1 else None
    if named is None:
        name = _base.path_of(source) or _base.name_of(source)
        found = f"{facts.count} images and no energies in the header or the name"
        raise UnsupportedScanError(name, "an energy for each image", found, _images.GIVE_ENERGIES)
    return _images.usable_energies(named, source)


def _square(size: float | None) -> tuple[float, float] | None:
    return None if size is None else (size, size)


def _dwell_times(exposures: np.ndarray | None) -> np.ndarray | None:
    """Return exposures in ms, None where one is not above zero."""
    if exposures is None or not (np.isfinite(exposures) & (exposures > 0)).all():
        return None
    return _base.drop_noise(exposures * 1000)


def _compare_exposures(sample: np.ndarray | None, reference: float | np.ndarray | None, source: Source | str) -> None:
    """Warn where image and reference were not exposed alike, which an optical density takes for granted."""
    if sample is None or reference is None or np.allclose(sample, reference, rtol=1e-3, equal_nan=True):
        return
    name = source if isinstance(source, str) else _base.name_of(source)
    do = "scale i0 by the ratio of the exposures before optical_density"
    warn(f"{name}: images and references were not exposed alike: {do}", MetadataWarning)


@dataclass(frozen=True)
class _Averages:
    """Reads the mean of the images of one energy."""

    groups: Sequence[Sequence[_Image]]

    def __call__(self, index: int) -> np.ndarray:
        frames = [read(0) for read in self.groups[index]]
        return frames[0] if len(frames) == 1 else np.mean(frames, axis=0, dtype=float).astype("float32")


def _averages(groups: Sequence[Sequence[_Image]]) -> FrameArray:
    return FrameArray((len(groups), *groups[0][0].shape), _Averages(groups))


def assemble_xrm(
    paths: Sequence[Path],
    *,
    energies: Energies | None = None,
    kind: Kind | None = None,
    pixel_size: LengthLike | None = None,
    drop_variables: str | Iterable[str] | None = None,
) -> xr.Dataset:
    """Open .xrm files as one stack, sorted by energy: repetitions averaged, files with ``ref`` in the name as `i0`.

    `energies` are in the order of the paths, references included.
    """
    each = [None] * len(paths) if energies is None else _images.given_energies(energies, len(paths), paths[0].parent)
    files = [_opened(path, None if at is None else [at]) for path, at in zip(paths, each, strict=True)]
    _check_alike(files, paths)
    named = [bool(_REFERENCE_NAME.search(path.stem)) for path in paths]
    samples = _by_energy([file for file, is_reference in zip(files, named, strict=True) if not is_reference])
    references = _by_energy([file for file, is_reference in zip(files, named, strict=True) if is_reference])
    if not samples:
        raise UnsupportedScanError(paths[0].parent, "images of a sample", "references only", _ALONE)
    energy = np.array([group[0].energy[0] for group in samples])
    _base.check_energies(energy, str(paths[0].parent))
    said = "intensity" if references else None
    facts = samples[0][0].facts
    name = _images.signal_of(kind, said, np.dtype(facts.dtype), paths[0])
    signals = {name: Signal(_averages([[file.first for file in group] for group in samples]), UNITS_OF[name])}
    i0 = _paired(samples, references, paths[0].parent) if references else None
    if i0 is not None and name == "intensity":
        signals["i0"] = Signal(_averages([[file.first for file in group] for group in i0]), UNITS_OF[name])
    scan = Scan(
        dims=(ENERGY, "y", "x"),
        energy=energy,
        positions=_images.pixel_positions(facts.shape, pixel_size, _square(facts.pixel_size), paths[0]),
        signals=signals,
        metadata={"scan_type": "sample image stack", "source_file": paths[0].parent.name},
        dwell_time=_dwell_times(_exposures(samples)),
    )
    return _base.to_dataset(scan, drop_variables)


def _check_alike(files: Sequence[_File], paths: Sequence[Path]) -> None:
    """Refuse files of several images or unequal shapes; tell of stored references and pixel sizes that change."""
    first = files[0].facts
    for file, path in zip(files, paths, strict=True):
        if file.facts.count != 1 or file.facts.shape != first.shape:
            found = f"{file.facts.count} of {file.facts.shape}"
            raise CorruptFileError(path, f"one image of {first.shape} as in {paths[0].name}", found, _ALONE)
    sizes = sorted({file.facts.pixel_size for file in files if file.facts.pixel_size is not None})
    if sizes and sizes[-1] > sizes[0] * (1 + 1e-6):
        do = "that of the lowest energy is taken for all, and nothing is resampled"
        warn(f"{paths[0].parent.name}: pixels from {sizes[0]:g} to {sizes[-1]:g} um: {do}", MetadataWarning)
    if any(file.facts.reference for file in files):
        do = "are left out: open the files one by one to use them"
        warn(f"{paths[0].parent.name}: references stored inside the files {do}", MetadataWarning)


def _by_energy(files: Sequence[_File]) -> list[list[_File]]:
    """Return files by energy, those of the same energy together, and say how many are averaged."""
    groups: list[list[_File]] = []
    for file in sorted(files, key=lambda file: float(file.energy[0])):
        if groups and file.energy[0] - groups[-1][0].energy[0] <= _SAME_ENERGY:
            groups[-1].append(file)
        else:
            groups.append([file])
    most = max((len(group) for group in groups), default=1)
    if most > 1:
        name = Path(str(groups[0][0].container.name)).parent.name
        warn(f"{name}: up to {most} images of the same energy are averaged", MetadataWarning)
    return groups


def _paired(samples: list[list[_File]], references: list[list[_File]], folder: Path) -> list[list[_File]]:
    """Return the references of each sample energy, or refuse where one lacks them."""
    at = np.array([group[0].energy[0] for group in references])
    wanted = np.array([group[0].energy[0] for group in samples])
    nearest = np.abs(at[:, None] - wanted).argmin(axis=0)
    alone = wanted[np.abs(at[nearest] - wanted) > _SAME_ENERGY]
    if alone.size:
        found = f"none for {_base.listed([f'{value:g} eV' for value in alone])}"
        do = "add the references, or open the images without any by a pattern"
        raise UnsupportedScanError(folder, "a reference for each energy", found, do)
    unused = set(range(len(at))) - set(nearest.tolist())
    if unused:
        shown = _base.listed([f"{at[index]:g} eV" for index in sorted(unused)])
        warn(f"{folder.name}: references without an image are left out: {shown}", MetadataWarning)
    paired = [references[index] for index in nearest]
    _compare_exposures(_exposures(samples), _exposures(paired), folder.name)
    return paired


def _exposures(groups: Sequence[Sequence[_File]]) -> np.ndarray | None:
    """Return the exposure in s of each energy, None where one is unknown; unequal ones are not averaged.

    Raises
    ------
    UnsupportedScanError
        Repetitions of one energy that were exposed for different times.
    """
    times = [[file.facts.exposures for file in group] for group in groups]
    if any(time is None for group in times for time in group):
        return None
    known = [[float(time[0]) for time in group if time is not None] for group in times]
    for group, exposures in zip(groups, known, strict=True):
        if not np.allclose(exposures, exposures[0], rtol=1e-3, equal_nan=True):
            found = f"{_base.listed(exposures)} s at {group[0].energy[0]:g} eV"
            raise UnsupportedScanError(group[0].container.name, "repetitions of one exposure", found, _ALONE)
    return np.array([exposures[0] for exposures in known])
