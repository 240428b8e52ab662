"""Images between their pixels: quintic splines for registration, cubic convolution for moving stacks.

All take two-dimensional arrays, splines float32 and the others float64 too, and release the interpreter lock.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

POLES = (-0.430575347099973791851, -0.0430962882032646953)
GAIN = float(np.prod([(1 - pole) * (1 - 1 / pole) for pole in POLES]))
"""Poles and gain of the quintic B-spline (Unser, Aldroubi and Eden, IEEE Trans. Signal Process. 41, 821, 1993)."""
WHOLE = 1e-6
"""Fraction of a pixel below which a position is that of a pixel."""

INNER: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": {"contract", "reassoc", "nsz", "arcp"}}


@njit(**INNER)
def _filter_rows(image):
    """Quintic prefilter along the first axis, in place, mirrored ends; every column at once."""
    n, width = image.shape
    gain = np.float32(GAIN)
    for pole in POLES:
        z = np.float32(pole)
        reach = min(n - 1, 24)
        for j in range(width):
            power, first = gain, np.float32(0)
            for i in range(reach + 1):
                first += power * image[i, j]
                power *= z
            image[0, j] = first
        for i in range(1, n):
            above, row = image[i - 1], image[i]
            for j in range(width):
                row[j] = gain * row[j] + z * above[j]
        scale = np.float32(pole / (pole * pole - 1))
        above, row = image[n - 2], image[n - 1]
        for j in range(width):
            row[j] = scale * (row[j] + z * above[j])
        for i in range(n - 2, -1, -1):
            row, below = image[i], image[i + 1]
            for j in range(width):
                row[j] = z * (below[j] - row[j])
        gain = np.float32(1)


def spline_coefficients(image: np.ndarray) -> np.ndarray:
    """Return the quintic spline coefficients of an image (y, x) of 24 pixels or more along each axis."""
    coefficients = np.array(image, dtype=np.float32)
    _filter_rows(coefficients)
    turned = np.ascontiguousarray(coefficients.T)
    _filter_rows(turned)
    return np.ascontiguousarray(turned.T)


def quintic_weights(fraction: float) -> tuple[np.float32, ...]:
    """Return the weights of the six coefficients around a position between two pixels, fraction in [0, 1)."""
    distance = np.abs(np.arange(-2, 4) - fraction)
    powers = [np.clip(k - distance, 0, None) ** 5 for k in (3, 2, 1)]
    return tuple(((powers[0] - 6 * powers[1] + 15 * powers[2]) / 120).astype(np.float32))


@njit(**INNER)
def _keys(f):
    """Return the weights of the four pixels around a position, cubic convolution (Keys, 1981), f in [0, 1)."""
    return (
        ((-f / 2 + 1) * f - 0.5) * f,
        (1.5 * f - 2.5) * f * f + 1,
        ((2 - 1.5 * f) * f + 0.5) * f,
        (f - 1) * f * f / 2,
    )


def cubic_weights(fraction: float, dtype: Any = np.float32) -> tuple[np.floating, ...]:
    """Return the weights of the four pixels around a position, cubic convolution (Keys, 1981), fraction in [0, 1)."""
    return tuple(np.array(_keys(float(fraction)), dtype))


@njit(**INNER)
def separable(image, top, left, weights_y, weights_x, out):
    """Write the separable interpolation of an image into `out`; weights are tuples, so that their loops unroll.

    The pixel (0, 0) of `out` reads the rows from `top` and the columns from `left` on.
    """
    height, width = out.shape
    row = np.empty(width + len(weights_x) - 1, out.dtype)
    part = image[top : top + height + len(weights_y) - 1, left : left + row.size]
    for y in range(height):
        rows = part[y : y + len(weights_y)]
        for x in range(row.size):
            value = weights_y[0] * rows[0, x]
            for q in range(1, len(weights_y)):
                value += weights_y[q] * rows[q, x]
            row[x] = value
        target = out[y]
        for x in range(width):
            value = weights_x[0] * row[x]
            for q in range(1, len(weights_x)):
                value += weights_x[q] * row[x + q]
            target[x] = value


@njit(**INNER)
def gather(image, matrix, offset, squared, out):
    """Write the cubic convolution of an image at ``matrix @ (y, x) + offset`` into `out`, NaN where it lacks a pixel.

    With `squared` weights are squared, as for a variance. A weight of zero needs no pixel.
    """
    rows, columns = image.shape
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            row, weights_y = _around(matrix[0, 0] * y + matrix[0, 1] * x + offset[0], squared)
            column, weights_x = _around(matrix[1, 0] * y + matrix[1, 1] * x + offset[1], squared)
            value = 0.0
            for j in range(4):
                for i in range(4):
                    weight = weights_y[j] * weights_x[i]
                    if weight == 0:
                        continue
                    if 0 <= row + j < rows and 0 <= column + i < columns:
                        value += weight * image[row + j, column + i]
                    else:
                        value = np.nan
            out[y, x] = value


@njit(**INNER)
def _around(position, squared):
    """Return the first of the four pixels around a position, and their weights."""
    nearest = np.rint(position)
    if abs(position - nearest) < WHOLE:
        position = nearest
    first = np.floor(position)
    a, b, c, d = _keys(position - first)
    if squared:
        a, b, c, d = a * a, b * b, c * c, d * d
    return int(first) - 1, (a, b, c, d)
