"""Images with their energies and exposures: repetitions, and the references that belong to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from xstxm.errors import MetadataWarning, UnsupportedScanError, warn
from xstxm.io import _base, _sources
from xstxm.io._base import FrameArray, Signal, WholeArray
from xstxm.io._raw import UNITS_OF
from xstxm.io.xrm.container import Container, Stored

SAME_ENERGY = 0.05
"""Largest difference in eV of images that belong to the same energy."""
_SAME_EXPOSURE = 1e-3


@dataclass(frozen=True)
class Shot:
    """One image of a file, with its energy in eV."""

    container: Container
    shape: tuple[int, int]
    stored: Stored
    energy: float

    @property
    def file(self) -> str:
        """Name of the file."""
        return Path(str(self.container.name)).name

    @property
    def counted(self) -> bool:
        """Whether the numbers are whole, and so counts in an exposure."""
        return np.dtype(self.stored.dtype).kind in "iu"

    def read(self) -> np.ndarray:
        """Return the numbers (y, x)."""
        return self.container.frame(self.stored, self.shape)


@dataclass(frozen=True)
class _Averages:
    """Reads the mean of the images of one energy, times a number."""

    groups: Sequence[Sequence[Shot]]
    scales: Sequence[float]

    def __call__(self, index: int) -> np.ndarray:
        frames = [shot.read() for shot in self.groups[index]]
        mean = frames[0] if len(frames) == 1 else np.mean(frames, axis=0, dtype=float)
        return (mean * self.scales[index]).astype("float32")


def averages(groups: Sequence[Sequence[Shot]], scales: Sequence[float] | None = None) -> FrameArray:
    """Return the mean image of each group, lazily."""
    read = _Averages(groups, [1.0] * len(groups) if scales is None else scales)
    return FrameArray((len(groups), *groups[0][0].shape), read)


def by_energy(shots: Sequence[Shot], name: str) -> list[list[Shot]]:
    """Return images by energy, those of the same energy together, and say how many are averaged."""
    groups: list[list[Shot]] = []
    for shot in sorted(shots, key=lambda shot: shot.energy):
        if groups and shot.energy - groups[-1][0].energy <= SAME_ENERGY:
            groups[-1].append(shot)
        else:
            groups.append([shot])
    most = max((len(group) for group in groups), default=1)
    if most > 1:
        warn(f"{name}: up to {most} images of the same energy are averaged", MetadataWarning)
    return groups


def _nearest(groups: list[list[Shot]], references: list[list[Shot]]) -> tuple[np.ndarray, np.ndarray]:
    """Return which references belong to each energy, and the energies (eV) to which none do."""
    at = np.array([group[0].energy for group in references])
    wanted = np.array([group[0].energy for group in groups])
    nearest = np.abs(at[:, None] - wanted).argmin(axis=0)
    return nearest, wanted[np.abs(at[nearest] - wanted) > SAME_ENERGY]


def paired(groups: list[list[Shot]], references: list[list[Shot]], name: str) -> list[list[Shot]]:
    """Return the references of each energy.

    Raises
    ------
    UnsupportedScanError
        An energy without references.
    """
    nearest, alone = _nearest(groups, references)
    if alone.size:
        found = f"none for {_sources.listed([f'{value:g} eV' for value in alone])}"
        do = "add the references, or open the images without any by a pattern"
        raise UnsupportedScanError(name, "a reference for each energy", found, do)
    unused = sorted(set(range(len(references))) - set(nearest.tolist()))
    if unused:
        shown = _sources.listed([f"{references[index][0].energy:g} eV" for index in unused])
        warn(f"{name}: references without an image are left out: {shown}", MetadataWarning)
    return [references[index] for index in nearest]


def stored_incident(groups: list[list[Shot]], references: Sequence[Shot], name: str) -> Signal | None:
    """Return the I0 of the references inside a file, None with a warning where it is not clear which belongs where."""
    if not references:
        return None
    at = np.array([shot.energy for shot in references])
    wanted = np.array([group[0].energy for group in groups])
    if len(references) == 1 or np.ptp(wanted) <= SAME_ENERGY:
        if len(references) > 1:
            warn(f"{name}: i0 is the mean of {len(references)} stored references", MetadataWarning)
        return incident(groups, [list(references)] * len(groups), name)
    if np.isfinite(at).all() and not _nearest(groups, [[shot] for shot in references])[1].size:
        return incident(groups, paired(groups, by_energy(references, name), name), name)
    do = "read them as images of their own, or estimate_i0"
    found = f"{len(references)} references are stored that do not say an energy for each image"
    warn(f"{name}: {found}: they are left out, {do}", MetadataWarning)
    return None


def incident(groups: Sequence[Sequence[Shot]], references: Sequence[Sequence[Shot]], name: str) -> Signal:
    """Return I0 from the references of each energy, scaled to the exposures: (y, x) where one serves all."""
    scales = _scales(groups, references, name)
    if all(group is references[0] for group in references) and len(set(scales)) == 1:
        read = _Averages(references[:1], scales[:1])
        return Signal(WholeArray(references[0][0].shape, partial(read, 0)), UNITS_OF["intensity"], dims=("y", "x"))
    return Signal(averages(references, scales), UNITS_OF["intensity"])


def _scales(groups: Sequence[Sequence[Shot]], references: Sequence[Sequence[Shot]], name: str) -> list[float]:
    """Return what turns counts of the references into those of the exposures of the images, and say so."""
    sample, reference = exposures(groups), exposures(references)
    same = [1.0] * len(groups)
    if sample is None or reference is None or np.allclose(sample, reference, rtol=_SAME_EXPOSURE):
        return same
    said = f"{name}: images and references were not exposed alike"
    if not all(shot.counted for group in (*groups, *references) for shot in group):
        do = "where they are counts, scale i0 by the ratio of the exposures before optical_density"
        warn(f"{said}, and fractional numbers may be rates: {do}", MetadataWarning)
        return same
    ratio = sample / reference
    shown = f"{ratio.min():.4g}" + (f" to {ratio.max():.4g}" if np.ptp(ratio) > _SAME_EXPOSURE * ratio.min() else "")
    warn(f"{said}: i0 is the counts of the references times the ratio of the exposures, {shown}", MetadataWarning)
    return [float(value) for value in ratio]


def exposures(groups: Sequence[Sequence[Shot]]) -> np.ndarray | None:
    """Return the exposure in s of each group, None where one is unknown: the mean, to which the mean of counts belongs.

    Raises
    ------
    UnsupportedScanError
        Repetitions of one energy that were exposed for different times, and may not be counts.
    """
    times = [[shot.stored.exposure for shot in group] for group in groups]
    known = [[time for time in group if time is not None] for group in times]
    if any(len(some) < len(group) for some, group in zip(known, times, strict=True)):
        return None
    for group, some in zip(groups, known, strict=True):
        if not np.allclose(some, some[0], rtol=_SAME_EXPOSURE) and not all(shot.counted for shot in group):
            found = f"{_sources.listed(some)} s at {group[0].energy:g} eV"
            do = "open the files one by one, or leave out those of another exposure"
            raise UnsupportedScanError(group[0].container.name, "repetitions of one exposure", found, do)
    return _base.drop_noise(np.array([np.mean(some) for some in known]))
