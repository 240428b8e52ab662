"""The synthetic electrode: touching particles whose composition varies at three lengths, known as a function of position."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from xstxm.errors import OptionError
from xstxm.testing._fields import Grid, Outlines, Waves, smooth_step

_BOUND = 2.5
"""Standard deviations at which the states of fields and particles end, so that no composition leaves its range."""
_REACH = 3.5
"""Standard deviations of the composition that have to lie in its range."""
_MARGIN = 0.02
"""Distance from the ends of the range that the places of a check keep, because it is not everywhere."""
_STEP = 0.97
"""Distance of particles in units of their size: about every third pair of neighbours touches."""
_EDGE = 0.12
"""Depth over which a particle becomes as thick as inside; at its outline it is half as thick."""
_OVERLAP = 0.06
"""Most that two outlines overlap, in units of the size."""


@dataclass(frozen=True)
class Model:
    """Share of the second phase, 0 to 1: its mean, and the standard deviation that each length adds."""

    mean: float
    between_fields: float
    between_particles: float
    within_particles: float
    length: float
    """In um: points d apart in a particle correlate as ``exp(-(d / length)^2)``."""

    def __post_init__(self) -> None:
        spread = float(np.hypot(np.hypot(self.between_fields, self.between_particles), self.within_particles))
        if not _REACH * spread <= self.mean <= 1 - _REACH * spread:
            raise OptionError(
                "mean_composition",
                f"{self.mean:.3g} of the range, with a standard deviation of {spread:.3g} in all",
                f"{_REACH} standard deviations around the mean lie inside the range of the references: make between_fields, "
                "between_particles or within_particles smaller, or the mean nearer to the middle",
            )


@dataclass(frozen=True)
class Layout:
    """Square patches side by side, a field in the middle of each, and an empty margin around them. Lengths in um."""

    rows: int
    columns: int
    pitch: float
    margin: float

    @classmethod
    def of(cls, n_fields: int, field_size: float, particle_size: float) -> Layout:
        """Return patches for so many fields: what lies in a field has its centre in the same patch."""
        columns = int(np.ceil(np.sqrt(n_fields)))
        return cls(int(np.ceil(n_fields / columns)), columns, field_size + 2 * particle_size, 1.5 * particle_size)

    @property
    def extent(self) -> tuple[float, float]:
        """Height and width with the margin."""
        return self.rows * self.pitch + 2 * self.margin, self.columns * self.pitch + 2 * self.margin

    def centre(self, patch: int) -> tuple[float, float]:
        """Return the middle (y, x) of a patch."""
        row, column = divmod(patch, self.columns)
        return self.margin + (row + 0.5) * self.pitch, self.margin + (column + 0.5) * self.pitch

    def patch(self, places: np.ndarray) -> np.ndarray:
        """Return the patch of each place (n, 2), for those in the margin the nearest."""
        row, column = (
            np.clip(np.floor((along - self.margin) / self.pitch).astype(int), 0, n - 1)
            for along, n in zip(places.T, (self.rows, self.columns), strict=True)
        )
        return row * self.columns + column


@dataclass(frozen=True)
class Electrode:
    """Particles of two phases that touch and do not overlap: where outlines do, a point is the particle's in which it lies deeper."""

    outlines: Outlines
    flat: np.ndarray
    """Thickness of each particle inside, in nm."""
    state: np.ndarray
    """Mean share of the second phase of each particle before what varies in it: that of the model, its field and its own."""
    patch_state: np.ndarray
    """The same of each patch."""
    waves: Waves
    """What varies in each particle, of unit variance (particle, wave)."""
    spread: float
    """Standard deviation of what varies in a particle."""

    @classmethod
    def draw(cls, rng: np.random.Generator, layout: Layout, size: float, model: Model) -> Electrode:
        """Draw the particles of about `size` um of all patches, and their composition."""
        step = _STEP * size
        counts = tuple(int((length - 2 * layout.margin) / step) for length in layout.extent)
        start = (np.array(layout.extent) - step * (np.array(counts) - 1)) / 2
        outlines = Outlines.draw(rng, Grid(start, step, counts, 0.16), size, (0.8, 1.15), (0.7, 0.95))
        outlines = outlines.take(np.flatnonzero(rng.random(len(outlines.angle)) < 0.85)).apart(_OVERLAP * size)
        flat = rng.uniform(50, 90, len(outlines.angle))
        patch_state = model.mean + _bounded(rng, model.between_fields, layout.rows * layout.columns)
        drawn = [
            _draw_inside(rng, place, reach, base, model)
            for place, reach, base in zip(
                outlines.centre, outlines.half_axes[:, 0], patch_state[layout.patch(outlines.centre)], strict=True
            )
        ]
        waves = Waves(*(np.stack([getattr(wave, name) for _, wave in drawn]) for name in ("y", "x", "phase")))
        state = np.array([state for state, _ in drawn])
        return cls(outlines, flat, state, patch_state, waves, model.within_particles)

    def thickness(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the thickness of each phase in nm, float32 (phase, y, x), at pixel centres in um."""
        thickness = np.zeros((2, y.size, x.size), dtype=np.float32)
        owner, depth = self._owners(y, x, -_EDGE / 2)
        for index, rows, columns in self._windows(y, x):
            own = owner[rows, columns] == index + 1
            body = self.flat[index] * smooth_step(depth[rows, columns] / _EDGE + 0.5)
            share = self.state[index] + self.spread * self.waves.of(index).at(y[rows], x[columns])
            thickness[:, rows, columns][:, own] = (body * np.stack([1 - share, share]))[:, own]
        return thickness

    def particle(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the number of the particle of each pixel, int32 (y, x), from 1; 0 in none."""
        return self._owners(y, x, 0.0)[0]

    def _owners(self, y: np.ndarray, x: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the particle that each point lies deepest in, deeper than `least`, and how deep."""
        owner, deepest = np.zeros((y.size, x.size), dtype=np.int32), np.full((y.size, x.size), least)
        for index, rows, columns in self._windows(y, x):
            depth = self.outlines.depth(index, y[rows], x[columns])
            deeper = depth > deepest[rows, columns]
            owner[rows, columns][deeper] = index + 1
            deepest[rows, columns][deeper] = depth[deeper]
        return owner, deepest

    def _windows(self, y: np.ndarray, x: np.ndarray) -> Iterator[tuple[int, slice, slice]]:
        """Yield each particle that may reach into a region, and where."""
        for index in map(int, self.outlines.near(y, x)):
            rows, columns = self.outlines.window(index, y, x)
            if rows.start < rows.stop and columns.start < columns.stop:
                yield index, rows, columns


def _bounded(rng: np.random.Generator, deviation: float, n: int) -> np.ndarray:
    """Draw from a normal distribution cut off at 2.5 standard deviations, and widened to have the wanted one again."""
    from scipy.special import ndtr, ndtri

    outside = ndtr(-_BOUND)
    density = np.exp(-0.5 * _BOUND**2) / np.sqrt(2 * np.pi)
    kept = np.sqrt(1 - 2 * _BOUND * density / (1 - 2 * outside))
    drawn: np.ndarray = ndtri(rng.uniform(outside, 1 - outside, n)) * (deviation / kept)
    return drawn


def _draw_inside(
    rng: np.random.Generator, place: np.ndarray, reach: float, base: float, model: Model
) -> tuple[float, Waves]:
    """Draw the state of a particle, and what varies in it, until the composition is in its range all over."""
    y, x = (along + np.linspace(-1.25, 1.25, 15) * reach for along in place)
    for _ in range(1000):
        state = base + float(_bounded(rng, model.between_particles, 1)[0])
        waves = Waves.draw(rng, model.length / np.sqrt(2))
        share = state + model.within_particles * waves.at(y, x)
        if share.min() >= _MARGIN and share.max() <= 1 - _MARGIN:
            return state, waves
    raise OptionError("within_particles", model.within_particles, "no composition of a particle stays inside the range")
