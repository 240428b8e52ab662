"""Where labels of an image change, and how long the boundary is.

Index letters: y and x pixels, k and j phases.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def interfaces(
    label: np.ndarray, *, spacing: tuple[float, float], n_phases: int, max_gap: int, undecided: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels (y, x) at an interface, and its length (k, j) between two phases, of one labelled image.

    A crossing is where a row, a column or a diagonal leaves one phase (labels from 0) and enters another, with nothing
    between but undecided pixels of a `gap`. The length follows from the numbers of crossings by Cauchy and Crofton's
    formula, L = 1/2 sum(angle * distance of lines * crossings) over the four directions.
    """
    between = gap(label, n_phases, max_gap, undecided)
    marked = np.zeros(label.shape, dtype=bool)
    length = np.zeros((n_phases, n_phases))
    down, along_row, slanting = line_weights(spacing)
    for turned, weight in ((False, down), (True, along_row)):
        image, open_ = (array.T if turned else array for array in (label, between))
        start, row, column = _crossings(image, open_)
        length += weight * _pairs(image[start, column], image[row, column], n_phases)
        along = _spans(start, row, column, image.shape)
        marked |= along.T if turned else along
    for image, open_ in _slanting(label, between):
        start, row, column = _crossings(image, open_)
        length += slanting * _pairs(image[start, column], image[row, column], n_phases)
    return marked, length + length.T


def line_weights(spacing: tuple[float, float]) -> tuple[float, float, float]:
    """Return the length that a crossing stands for of a line down a column, along a row, and along a diagonal."""
    dy, dx = spacing
    diagonal = np.arctan2(dy, dx)
    return (np.pi / 2 - diagonal) * dx / 2, diagonal * dy / 2, np.pi / 8 * dx * dy / np.hypot(dx, dy)


def gap(label: np.ndarray, n_phases: int, max_gap: int, undecided: int) -> np.ndarray:
    """Return which undecided pixels (y, x) lie in a gap between two phases of at most `max_gap` pixels.

    Such a gap is as wide as the way from one phase through the pixel to another, whatever its direction: of a slanting
    one a line along the grid may see many more pixels.
    """
    from scipy.ndimage import distance_transform_edt

    present = [k for k in range(n_phases) if (label == k).any()]
    open_ = label == undecided
    if not max_gap or len(present) < 2 or not open_.any():
        return np.zeros(label.shape, dtype=bool)
    nearest, second = np.full((2, *label.shape), np.inf)
    for k in present:
        far = distance_transform_edt(label != k)
        nearest, second = np.minimum(nearest, far), np.minimum(second, np.maximum(nearest, far))
    # centres are one pixel further apart than the gap is wide, in a slanting gap less than another
    found: np.ndarray = open_ & (nearest + second < max_gap + 2)
    return found


def _crossings(image: np.ndarray, between: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return first row, last row and column of each change from a phase to another down the columns of an image."""
    rows = np.arange(len(image))[:, None]
    last = np.maximum.accumulate(np.where(between, 0, rows), axis=0)
    first = np.vstack([np.zeros_like(last[:1]), last[:-1]])
    before = np.take_along_axis(image, first, axis=0)
    changed = ~between & (image >= 0) & (before >= 0) & (before != image)
    row, column = np.nonzero(changed)
    return first[changed], row, column


def _pairs(one: np.ndarray, other: np.ndarray, n_phases: int) -> np.ndarray:
    """Return how often two labels meet (k, j)."""
    places = one.astype(np.intp) * n_phases + other
    return np.bincount(places, minlength=n_phases**2).reshape(n_phases, n_phases)


def _spans(start: np.ndarray, stop: np.ndarray, column: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the pixels (y, x) from start to stop, both included, in their columns."""
    steps = np.zeros((shape[0] + 1, shape[1]), dtype=np.int32)
    np.add.at(steps, (start, column), 1)
    np.add.at(steps, (stop + 1, column), -1)
    return np.asarray(steps[:-1].cumsum(axis=0) > 0)


def _slanting(label: np.ndarray, between: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield images whose columns are the diagonals of one, in either direction, with no sample around."""
    for step in (1, -1):
        yield _sheared(label[:, ::step], -1), _sheared(between[:, ::step], False)


def _sheared(image: np.ndarray, fill: int) -> np.ndarray:
    """Return an image whose row r lies r pixels further right."""
    rows, columns = image.shape
    padded = np.pad(image, [(0, 0), (0, rows)], constant_values=fill)
    return padded.ravel()[: rows * (rows + columns - 1)].reshape(rows, rows + columns - 1)
