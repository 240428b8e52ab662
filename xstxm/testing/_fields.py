"""The synthetic sample: particles and their phases as functions of position, defined everywhere.

Nothing here is an image. A region of any size is evaluated from the same table of particles and the
same few waves, so neighbouring regions meet without a seam and none needs another.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    def draw(cls, rng: np.random.Generator, length: float, n: int = 48) -> Waves:
        """Draw waves whose sum varies over `length`."""
        y, x = rng.normal(0, 1 / length, (2, n))
        return cls(y, x, rng.uniform(0, 2 * np.pi, n))

    def at(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the field (y, x) at rows and columns: cos(a + b) as two products, one small matmul."""
        rows, columns = np.outer(y, self.y), np.outer(self.x, x) + self.phase[:, None]
        field = np.cos(rows) @ np.cos(columns) - np.sin(rows) @ np.sin(columns)
        return field * np.sqrt(2 / self.phase.size)


@dataclass(frozen=True)
class Particles:
    """A table of particles, one row each. Lengths in um, thickness in nm."""

    centre: np.ndarray
    half_axes: np.ndarray
    angle: np.ndarray
    squareness: np.ndarray
    lobes: np.ndarray
    """Amplitude and phase of the outline's harmonics: (particle, 2, harmonic)."""
    thickness: np.ndarray
    lithiation: np.ndarray
    """Mean state in the range of compositions, 0 to 1."""
    shell: np.ndarray
    """State of the surface minus that of the core."""
    polymorph: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, extent: tuple[float, float], size: float) -> Particles:
        """Scatter particles of about `size` um over a field and a margin around it, loosely packed."""
        spacing = 1.13 * size
        counts = [int(np.ceil(length / spacing)) + 2 for length in extent]
        sites = np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), axis=-1).reshape(-1, 2)
        start = (np.array(extent) - spacing * (np.array(counts) - 1)) / 2
        n = len(sites)
        occupied = rng.random(n) < 0.84
        longer = 0.5 * size * rng.uniform(0.65, 1.35, n)
        table = cls(
            centre=start + spacing * (sites + rng.uniform(-0.38, 0.38, (n, 2))),
            half_axes=np.stack([longer, longer * rng.uniform(0.55, 0.95, n)], axis=1),
            angle=rng.uniform(0, np.pi, n),
            squareness=rng.uniform(2.0, 4.0, n),
            lobes=np.stack(
                [
                    rng.normal(0, 1, (n, _HARMONICS.size)) * 0.13 / (_HARMONICS - 0.6),
                    rng.uniform(0, 2 * np.pi, (n, _HARMONICS.size)),
                ],
                axis=1,
            ),
            thickness=rng.uniform(70, 135, n),
            lithiation=rng.uniform(0.08, 0.92, n),
            shell=rng.uniform(-0.15, 0.7, n),
            polymorph=rng.uniform(-0.35, 1.35, n),
        )
        return table.take(np.flatnonzero(occupied))

    def take(self, index: np.ndarray) -> Particles:
        """Return some of the particles."""
        return Particles(**{name: values[index] for name, values in vars(self).items()})

    def near(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the indices of the particles that may reach into a region."""
        reach = _REACH * self.half_axes[:, 0]
        inside = (self.centre[:, 0] > y.min() - reach) & (self.centre[:, 0] < y.max() + reach)
        inside &= (self.centre[:, 1] > x.min() - reach) & (self.centre[:, 1] < x.max() + reach)
        return np.flatnonzero(inside)


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
            Particles.draw(rng, extent, size),
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
        centre, reach = self.particles.centre[index], _REACH * self.particles.half_axes[index, 0]
        rows = slice(*np.searchsorted(y, [centre[0] - reach, centre[0] + reach]))
        columns = slice(*np.searchsorted(x, [centre[1] - reach, centre[1] + reach]))
        y, x = y[rows], x[columns]
        if not y.size or not x.size:
            return
        depth = self._depth(index, y, x)
        relief = 1 + 0.10 * self.relief.at(y, x)
        body = self.particles.thickness[index] * _smooth_step(depth / 0.35) * relief
        total[:, rows, columns] += body * self._fractions(index, depth, y, x)

    def _depth(self, index: int, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return how deep a point lies inside a particle: 1 at the centre, 0 at the outline, below outside."""
        particle = self.particles
        dy, dx = y[:, None] - particle.centre[index, 0], x - particle.centre[index, 1]
        cos, sin = np.cos(particle.angle[index]), np.sin(particle.angle[index])
        along = (cos * dx + sin * dy) / particle.half_axes[index, 0]
        across = (cos * dy - sin * dx) / particle.half_axes[index, 1]
        power = particle.squareness[index]
        radius = (np.abs(along) ** power + np.abs(across) ** power) ** (1 / power)
        azimuth = np.arctan2(across, along)
        amplitude, phase = particle.lobes[index]
        outline = np.ones_like(radius)
        for order, height, start in zip(_HARMONICS, amplitude, phase, strict=True):
            outline += height * np.cos(order * azimuth + start)
        return 1 - radius / np.clip(outline, 0.6, 1.25)

    def _fractions(self, index: int, depth: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the share of each phase (phase, y, x): domains, mixed where two meet."""
        particle = self.particles
        core = _smooth_step(depth / 0.6)
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


def _smooth_step(value: np.ndarray) -> np.ndarray:
    """Rise from 0 at 0 to 1 at 1 with flat ends."""
    clipped = np.clip(value, 0, 1)
    rise: np.ndarray = clipped * clipped * (3 - 2 * clipped)
    return rise
