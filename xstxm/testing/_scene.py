"""Counts of a synthetic stack, tile by tile.

The image is cut into fixed tiles, each with a random generator of its own. Whoever wants a region, a
chunk or the whole image, gets the tiles that it touches: the numbers depend neither on the chunks nor
on the order in which they are computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

TILE = 128
_SPLINE_MARGIN = 10
"""Pixels after which the end of a cubic spline is forgotten, to about one in a million."""


class Ground(Protocol):
    """What lies in the beam: thicknesses as functions of position."""

    def thickness(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the thickness of each phase in nm (phase, y, x) at pixel centres in um."""


@dataclass(frozen=True)
class Scene:
    """Everything that the counts follow from. Energies first, lengths in pixels unless said."""

    sample: Ground
    shape: tuple[int, int]
    pixel_size: float
    """In um."""
    i0: np.ndarray
    absorption: np.ndarray
    """In 1/nm (energy, phase)."""
    shifts: np.ndarray
    """Added to an image's positions, they move it onto the first image (energy, 2)."""
    blur: float
    """Standard deviation of the point-spread function."""
    dead: np.ndarray
    """Flat indices of the dead pixels, ascending."""
    stuck: np.ndarray
    """The count that each dead pixel shows at every energy."""
    seed: int
    noise: bool
    origin: tuple[float, float] = (0.0, 0.0)
    """Centre of the first pixel (y, x) in um."""
    samples: int = 1
    """Points along each side of a pixel over which light is averaged."""

    def positions(self, axis: int, start: int, stop: int, samples: int = 1) -> np.ndarray:
        """Return pixel centres in um along y (0) or x (1), or those of so many parts of each pixel."""
        parts = (np.arange(start * samples, stop * samples) + 0.5) / samples - 0.5
        return self.origin[axis] + parts * self.pixel_size

    def thickness(self, rows: tuple[int, int], columns: tuple[int, int], samples: int = 1) -> np.ndarray:
        """Return the thickness of each phase in a region in nm (phase, y, x)."""
        return self.sample.thickness(self.positions(0, *rows, samples), self.positions(1, *columns, samples))

    def dead_mask(self, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
        """Return where the dead pixels of a region are (y, x)."""
        mask = np.zeros((rows[1] - rows[0], columns[1] - columns[0]), dtype=bool)
        y, x, _ = self._dead_in(rows, columns)
        mask[y, x] = True
        return mask

    def counts(self, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
        """Return the counts of a region, float32 (energy, y, x)."""
        out = np.empty((self.i0.size, rows[1] - rows[0], columns[1] - columns[0]), dtype=np.float32)
        for tile_rows in _tiles(rows, self.shape[0]):
            for tile_columns in _tiles(columns, self.shape[1]):
                self._fill(out, rows, columns, tile_rows, tile_columns)
        y, x, stuck = self._dead_in(rows, columns)
        out[:, y, x] = stuck
        return out

    def _fill(
        self,
        out: np.ndarray,
        rows: tuple[int, int],
        columns: tuple[int, int],
        tile_rows: tuple[int, int],
        tile_columns: tuple[int, int],
    ) -> None:
        """Write the part of one tile that a region wants."""
        top, bottom = max(rows[0], tile_rows[0]), min(rows[1], tile_rows[1])
        left, right = max(columns[0], tile_columns[0]), min(columns[1], tile_columns[1])
        inside = (
            slice(top - tile_rows[0], bottom - tile_rows[0]),
            slice(left - tile_columns[0], right - tile_columns[0]),
        )
        target = out[:, top - rows[0] : bottom - rows[0], left - columns[0] : right - columns[0]]
        rng = np.random.default_rng([self.seed, 2, tile_rows[0], tile_columns[0]])
        for image, expected in zip(target, self._expected(tile_rows, tile_columns), strict=True):
            image[...] = (rng.poisson(expected) if self.noise else expected)[inside]

    def _expected(self, rows: tuple[int, int], columns: tuple[int, int]) -> Iterator[np.ndarray]:
        """Yield the expected counts of a tile, an image (y, x) per energy."""
        from scipy import ndimage

        margin, parts = self._margin(), self.samples
        around, beside = ((start - margin, stop + margin) for start, stop in (rows, columns))
        thickness = self.thickness(around, beside, parts)
        moves = bool(self.shifts.any())
        if moves:
            thickness = np.stack([ndimage.spline_filter(image, output=np.float32) for image in thickness])
        crop = slice(margin * parts, -margin * parts or None)
        for spectrum, shift, incident in zip(self.absorption, self.shifts, self.i0, strict=True):
            image = np.tensordot(spectrum, thickness, axes=1)
            if moves:
                image = _sample_spline(image, shift * parts)
            np.exp(np.negative(image, out=image), out=image)
            if self.blur:
                # The instrument blurs light: a thin and a thick half pixel transmit more than their mean.
                image = ndimage.gaussian_filter(image, self.blur * parts)
            yield _means(image[crop, crop], parts) * np.float32(incident)

    def _margin(self) -> int:
        """Return the pixels around a tile that its counts depend on."""
        reach = int(np.ceil(4 * self.blur)) + 1 if self.blur else 0
        travel = int(np.ceil(np.abs(self.shifts).max(initial=0)))
        return reach + (travel + _SPLINE_MARGIN if travel else 0)

    def _dead_in(self, rows: tuple[int, int], columns: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        width = self.shape[1]
        among = slice(*np.searchsorted(self.dead, [rows[0] * width, rows[1] * width]))
        y, x = np.divmod(self.dead[among], width)
        here = (x >= columns[0]) & (x < columns[1])
        return y[here] - rows[0], x[here] - columns[0], self.stuck[among][here]


def _tiles(span: tuple[int, int], size: int) -> Iterator[tuple[int, int]]:
    """Yield the tiles of an axis that a span touches."""
    for start in range(span[0] // TILE * TILE, span[1], TILE):
        yield start, min(start + TILE, size)


def _means(image: np.ndarray, parts: int) -> np.ndarray:
    """Return the means of squares of parts x parts points."""
    if parts == 1:
        return image
    rows, columns = (size // parts for size in image.shape)
    means: np.ndarray = image.reshape(rows, parts, columns, parts).mean((1, 3))
    return means


def _sample_spline(coefficients: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Return the image of a cubic B-spline at positions moved by a shift: four taps along each axis."""
    from scipy import ndimage

    for axis, distance in enumerate(shift):
        whole = int(np.floor(distance))
        weights = _cubic_weights(float(distance) - whole)
        taps = np.zeros(2 * (abs(whole) + 2) + 1)
        middle = taps.size // 2 + whole
        taps[middle - 1 : middle + 3] = weights
        coefficients = ndimage.correlate1d(coefficients, taps, axis=axis, mode="mirror")
    return coefficients


def _cubic_weights(t: float) -> np.ndarray:
    """Return the cubic B-spline at -1, 0, 1, 2 as seen from t in [0, 1)."""
    return np.array([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
