"""Numbers that lie in a file as raw points, or with an axis too many: read by the frame as the pixels of a stack."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xstxm.errors import CorruptFileError, MetadataWarning, warn
from xstxm.io._hdf5 import Store


@dataclass(frozen=True)
class Line:
    """Reads the lines of an array (energy, 1, position)."""

    store: Store
    signal: str

    def __call__(self, index: int) -> np.ndarray:
        """Return one line, float32."""
        return self.store.read(self.signal, (index, 0)).astype("float32")


@dataclass(frozen=True)
class Points:
    r"""Reads raw points as frames (y, x): each pixel is the mean of the points in it.

    A point belongs to the line that it was measured in, and along it to the pixel whose requested position is the
    nearest, by its measured one: :math:`\bar I_{yx} = \sum_i I_{yi} / n_{yx}` over the :math:`n_{yx}` points between the
    borders of the pixel. Points beyond the ends of the line, where the stage turned, belong to none. A pixel without
    points is NaN, and so told.
    """

    store: Store
    signal: str
    measured: tuple[str, str]
    """Where the measured positions y and x are, each (energy, y, point) or (y, point)."""
    start: tuple[float, float]
    """Where a line starts, y and x; for images only x matters."""
    direction: tuple[float, float]
    """The unit vector along a line, y and x."""
    borders: np.ndarray
    """Borders of the pixels along a line, one more than pixels, ascending."""

    def __call__(self, index: int) -> np.ndarray:
        """Return one frame, float32."""
        counts = self.store.read(self.signal, (index,)).astype(float)
        along = np.zeros(counts.shape)
        for path, start, part in zip(self.measured, self.start, self.direction, strict=True):
            if part:
                along += part * (self._positions(path, index) - start)
        return self._binned(counts, along, index).astype("float32")

    def _positions(self, path: str, index: int) -> np.ndarray:
        key = (index,) if self.store.file[path].ndim == 3 else ()
        return self.store.read(path, key).astype(float)

    def _binned(self, counts: np.ndarray, along: np.ndarray, index: int) -> np.ndarray:
        lines, pixels = len(counts), self.borders.size - 1
        column = np.searchsorted(self.borders, along, side="right") - 1
        known = np.isfinite(along)
        inside = known & (column >= 0) & (column < pixels)
        place = (np.arange(lines)[:, None] * pixels + column)[inside]
        number = np.bincount(place, minlength=lines * pixels)
        total = np.bincount(place, weights=counts[inside], minlength=lines * pixels)
        self._tell(index, int((~known).sum()), int((number == 0).sum()), number.size)
        mean = np.full(number.size, np.nan)
        np.divide(total, number, out=mean, where=number > 0)
        return mean.reshape(lines, pixels)

    def _tell(self, index: int, lost: int, empty: int, pixels: int) -> None:
        if lost:
            said = f"{lost} points of frame {index} have no measured position: they are left out"
            warn(f"{self.store.name}: {said}", MetadataWarning)
        if empty:
            said = f"{empty} of {pixels} pixels of frame {index} hold no measured point: they are NaN"
            warn(f"{self.store.name}: {said}", MetadataWarning)


@dataclass(frozen=True)
class PointLine:
    """Reads raw points of a line scan as lines (position)."""

    points: Points

    def __call__(self, index: int) -> np.ndarray:
        """Return one line, float32."""
        return self.points(index)[0]


def points_of(
    store: Store, signal: str, measured: tuple[str, str], requested: tuple[np.ndarray, np.ndarray], is_line: bool
) -> Points:
    """Return the reader of raw points for the requested y and x of a line, or of the lines of an image.

    Raises
    ------
    CorruptFileError
        The requested positions are not in order along a line.
    """
    y, x = (np.asarray(values, dtype=float).ravel() for values in requested)
    steps = (y[-1] - y[0] if is_line else 0.0, x[-1] - x[0])
    length = float(np.hypot(*steps))
    direction = (steps[0] / length, steps[1] / length) if length > 0 else (0.0, 1.0)
    along = direction[1] * (x - x[0]) + (direction[0] * (y - y[0]) if is_line else 0.0)
    if not np.isfinite(along).all() or (np.diff(along) <= 0).any():
        found, do = "some that are repeated, turn back or are no numbers", "correct requested_values in the file"
        raise CorruptFileError(store.path, f"requested positions in order for {signal}", found, do)
    return Points(store, signal, measured, (float(y[0]), float(x[0])), direction, _borders(along))


def _borders(along: np.ndarray) -> np.ndarray:
    """Return the middles between positions, and as far beyond the outer ones; one position takes every point."""
    if along.size == 1:
        return np.array([-np.inf, np.inf])
    middles = (along[1:] + along[:-1]) / 2
    return np.concatenate([[2 * along[0] - middles[0]], middles, [2 * along[-1] - middles[-1]]])
