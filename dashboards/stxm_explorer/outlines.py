"""Lines around the particles of a map."""

from __future__ import annotations

import contourpy
import numpy as np
import xarray as xr


def outlines(labels: xr.DataArray) -> dict[int, list[tuple[float, float]]]:
    """Return the outer line (x, y) around each particle of an image of labels (y, x), by its number."""
    padded = labels.transpose("y", "x").pad(y=1, x=1, constant_values=0)
    image = np.asarray(padded)
    y, x = (_positions(np.asarray(labels[dim])) for dim in ("y", "x"))
    return {int(number): _outline(image == number, x, y) for number in np.unique(image[image > 0])}


def _outline(inside: np.ndarray, x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    """Return the longest line around a particle, which lies half a pixel outside its pixels' centres."""
    rows, columns = (slice(max(where.min() - 1, 0), where.max() + 2) for where in np.nonzero(inside))
    made = contourpy.contour_generator(x[columns], y[rows], inside[rows, columns].astype(float))
    lines = made.lines(0.5)
    longest = max((np.asarray(line) for line in lines), key=len)
    return [(float(px), float(py)) for px, py in longest]


def _positions(centres: np.ndarray) -> np.ndarray:
    """Return positions with one more at each end."""
    first, last = (centres[1] - centres[0], centres[-1] - centres[-2]) if len(centres) > 1 else (1.0, 1.0)
    return np.concatenate([[centres[0] - first], centres, [centres[-1] + last]])
