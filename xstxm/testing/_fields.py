"""The synthetic sample: particles and their phases as functions of position, defined everywhere.

Nothing here is an image. A region of any size is evaluated from the same table of particles and the
same few waves, so neighbouring regions meet without a seam and none needs another.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np

_DOMAIN_WIDTH = 0.13
"""Width of the interface between two phases, in units of the composition range."""
_HARMONICS = np.arange(2, 6)
_REACH = 1.6
"""Outermost outline of a particle, in units of its longer half axis."""


@dataclass(frozen=True)
class Waves:
    """A smooth random field of unit variance: a sum of plane waves."""

    y: np.ndarray
    x: np.ndarray
    phase: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, length: float, shape: tuple[int, ...] = (48,)) -> Waves:
        """Draw waves whose sum varies over `length`: points d apart correlate as ``exp(-d^2 / (2 length^2))``.

        With leading dimensions it is as many fields, see `of`.
        """
        y, x = rng.normal(0, 1 / length, (2, *shape))
        return cls(y, x, rng.uniform(0, 2 * np.pi, shape))

    def of(self, index: int) -> Waves:
        """Return one field of several."""
        return Waves(self.y[index], self.x[index], self.phase[index])

    def at(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the field (y, x) at rows and columns: cos(a + b) as two products, one small matmul."""
        rows, columns = np.outer(y, self.y), np.outer(self.x, x) + self.phase[:, None]
        field = np.cos(rows) @ np.cos(columns) - np.sin(rows) @ np.sin(columns)
        return field * np.sqrt(2 / self.phase.size)


@dataclass(frozen=True)
class Grid:
    """Places on a square grid, each moved by chance: start and step in um, `jitter` in steps."""

    start: np.ndarray
    step: float
    counts: tuple[int, ...]
    jitter: float

    @classmethod
    def around(cls, extent: tuple[float, float], step: float, jitter: float) -> Grid:
        """Return a grid over a field of (y, x) um and a margin around it."""
        counts = tuple(int(np.ceil(length / step)) + 2 for length in extent)
        return cls((np.array(extent) - step * (np.array(counts) - 1)) / 2, step, counts, jitter)

    def __len__(self) -> int:
        return int(np.prod(self.counts))

    def scatter(self, rng: np.random.Generator) -> np.ndarray:
        """Return the places (n, 2)."""
        sites = np.stack(np.meshgrid(*map(np.arange, self.counts), indexing="ij"), axis=-1).reshape(-1, 2)
        return self.start + self.step * (sites + rng.uniform(-self.jitter, self.jitter, sites.shape))


@dataclass(frozen=True)
class Outlines:
    """Irregular outlines, one row each: rounded boxes whose border is wavy. Lengths in um."""

    centre: np.ndarray
    half_axes: np.ndarray
    angle: np.ndarray
    squareness: np.ndarray
    lobes: np.ndarray
    """Amplitude and phase of the outline's harmonics: (particle, 2, harmonic)."""

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        grid: Grid,
        size: float,
        longer: tuple[float, float],
        aspect: tuple[float, float],
    ) -> Outlines:
        """Draw outlines of about `size` um, one for each place of a grid; their axes vary within two ranges."""
        n = len(grid)
        half_axis = 0.5 * size * rng.uniform(*longer, n)
        return Outlines(
            centre=grid.scatter(rng),
            half_axes=np.stack([half_axis, half_axis * rng.uniform(*aspect, n)], axis=1),
            angle=rng.uniform(0, np.pi, n),
            squareness=rng.uniform(2.0, 4.0, n),
            lobes=np.stack(
                [
                    rng.normal(0, 1, (n, _HARMONICS.size)) * 0.13 / (_HARMONICS - 0.6),
                    rng.uniform(0, 2 * np.pi, (n, _HARMONICS.size)),
                ],
                axis=1,
            ),
        )

    def apart(self, overlap: float) -> Self:
        """Return them shrunk, so that no two overlap by more than `overlap` um on the line between their centres."""
        from scipy.spatial import cKDTree

        shrunk = np.ones(len(self.angle))
        for one, other in cKDTree(self.centre).query_pairs(2 * _REACH * self.half_axes.max()):
            distance = float(np.hypot(*(self.centre[one] - self.centre[other])))
            most = (distance + overlap) / (self._radius(one, other, distance) + self._radius(other, one, distance))
            shrunk[[one, other]] = np.minimum(shrunk[[one, other]], most)
        return replace(self, half_axes=self.half_axes * shrunk[:, None])

    def _radius(self, index: int, towards: int, distance: float) -> float:
        """Return how far the outline of one is from its centre towards that of another."""
        y, x = self.centre[towards, :, None]
        return distance / (1 - float(self.depth(index, y, x)[0, 0]))

    def take(self, index: np.ndarray) -> Self:
        """Return some of them."""
        return replace(self, **{field.name: getattr(self, field.name)[index] for field in fields(self)})

    def near(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the indices of those that may reach into a region."""
        reach = _REACH * self.half_axes[:, 0]
        inside = (self.centre[:, 0] > y.min() - reach) & (self.centre[:, 0] < y.max() + reach)
        inside &= (self.centre[:, 1] > x.min() - reach) & (self.centre[:, 1] < x.max() + reach)
        return np.flatnonzero(inside)

    def window(self, index: int, y: np.ndarray, x: np.ndarray) -> tuple[slice, slice]:
        """Return the rows and columns that one of them may reach."""
        reach = _REACH * self.half_axes[index, 0]
        rows, columns = (
            slice(*np.searchsorted(place, [centre - reach, centre + reach]))
            for place, centre in zip((y, x), self.centre[index], strict=True)
        )
        return rows, columns

    def depth(self, index: int, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return how deep a point (y, x) lies inside one: 1 at the centre, 0 at the outline, below outside."""
        dy, dx = y[:, None] - self.centre[index, 0], x - self.centre[index, 1]
        cos, sin = np.cos(self.angle[index]), np.sin(self.angle[index])
        along = (cos * dx + sin * dy) / self.half_axes[index, 0]
        across = (cos * dy - sin * dx) / self.half_axes[index, 1]
        power = self.squareness[index]
        radius = (np.abs(along) ** power + np.abs(across) ** power) ** (1 / power)
        azimuth = np.arctan2(across, along)
        amplitude, phase = self.lobes[index]
        outline = np.ones_like(radius)
        for order, height, start in zip(_HARMONICS, amplitude, phase, strict=True):
            outline += height * np.cos(order * azimuth + start)
        return 1 - radius / np.clip(outline, 0.6, 1.25)


@dataclass(frozen=True)
class Particles(Outlines):
    """A table of particles, one row each. Lengths in um, thickness in nm."""

    thickness: np.ndarray
    lithiation: np.ndarray
    """Mean state in the range of compositions, 0 to 1."""
    shell: np.ndarray
    """State of the surface minus that of the core."""
    polymorph: np.ndarray

    @classmethod
    def scatter(cls, rng: np.random.Generator, extent: tuple[float, float], size: float) -> Particles:
        """Scatter particles of about `size` um over a field and a margin around it, loosely packed."""
        grid = Grid.around(extent, 1.13 * size, 0.38)
        n = len(grid)
        occupied = rng.random(n) < 0.84
        outlines = Outlines.draw(rng, grid, size, (0.65, 1.35), (0.55, 0.95))
        table = cls(
            **vars(outlines),
            thickness=rng.uniform(70, 135, n),
            lithiation=rng.uniform(0.08, 0.92, n),
            shell=rng.uniform(-0.15, 0.7, n),
            polymorph=rng.uniform(-0.35, 1.35, n),
        )
        return table.take(np.flatnonzero(occupied))


@dataclass(frozen=True)
class Sample:
    """Particles, the smooth fields that vary inside them, and the phases that they are made of."""

    particles: Particles
    relief: Waves
    state: Waves
    polymorph: Waves
    states: np.ndarray
    """Position of each phase in the range of compositions, 0 to 1."""

    @classmethod
    def draw(cls, seed: int, extent: tuple[float, float], size: float, composition: np.ndarray) -> Sample:
        """Draw a sample of a field of (y, x) um with particles of about `size` um."""
        rng = np.random.default_rng([seed, 1])
        spread = float(np.ptp(composition)) or 1.0
        return cls(
            Particles.scatter(rng, extent, size),
            relief=Waves.draw(rng, 0.16 * size),
            state=Waves.draw(rng, 0.22 * size),
            polymorph=Waves.draw(rng, 0.35 * size),
            states=(composition - composition.min()) / spread,
        )

    def thickness(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the thickness of each phase in nm, float32 (phase, y, x), at pixel centres in um."""
        total = np.zeros((self.states.size, y.size, x.size), dtype=np.float32)
        for index in self.particles.near(y, x):
            self._add(int(index), y, x, total)
        return total

    def _add(self, index: int, y: np.ndarray, x: np.ndarray, total: np.ndarray) -> None:
        """Add one particle where it is."""
        rows, columns = self.particles.window(index, y, x)
        y, x = y[rows], x[columns]
        if not y.size or not x.size:
            return
        depth = self.particles.depth(index, y, x)
        relief = 1 + 0.10 * self.relief.at(y, x)
        body = self.particles.thickness[index] * smooth_step(depth / 0.35) * relief
        total[:, rows, columns] += body * self._fractions(index, depth, y, x)

    def _fractions(self, index: int, depth: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the share of each phase (phase, y, x): domains, mixed where two meet."""
        particle = self.particles
        core = smooth_step(depth / 0.6)
        state = particle.lithiation[index] + particle.shell[index] * (0.5 - core)
        state = np.clip(state + 0.2 * self.state.at(y, x), 0, 1)
        polymorph = particle.polymorph[index] + 0.25 * self.polymorph.at(y, x)
        share = np.empty((self.states.size, y.size, x.size))
        for value in np.unique(self.states):
            same = np.flatnonzero(self.states == value)
            weight = np.exp(-0.5 * ((state - value) / _DOMAIN_WIDTH) ** 2) + 1e-12
            share[same] = weight * _partition(polymorph, same.size)
        return _purify(share / share.sum(axis=0))


def _partition(field: np.ndarray, n: int) -> np.ndarray:
    """Share a place among n phases of one composition by a field that runs from 0 to 1."""
    if n == 1:
        return np.ones((1, *field.shape))
    centres = np.linspace(0, 1, n)[:, None, None]
    weight = np.exp(-0.5 * ((np.clip(field, 0, 1) - centres) / (0.2 / (n - 1))) ** 2)
    share: np.ndarray = weight / weight.sum(axis=0)
    return share


def _purify(share: np.ndarray) -> np.ndarray:
    """Take traces below 3 % away, so that the inside of a domain is one phase exactly."""
    kept = np.maximum(share - min(0.03, 0.5 / len(share)), 0)
    pure: np.ndarray = kept / kept.sum(axis=0)
    return pure


def smooth_step(value: np.ndarray) -> np.ndarray:
    """Rise from 0 at 0 to 1 at 1 with flat ends."""
    clipped = np.clip(value, 0, 1)
    rise: np.ndarray = clipped * clipped * (3 - 2 * clipped)
    return rise
