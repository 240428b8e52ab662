"""Images on the common grid of a registration: illumination, derivatives, noise, and what stands out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import scipy.fft

BANDS = 24
"""Bands of rows whose scores are compared: their scatter is the error of the displacements."""


def bands(shape: tuple[int, int]) -> list[slice]:
    edges = np.linspace(0, shape[0], min(BANDS, shape[0]) + 1).astype(int) * shape[1]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def polynomials(shape: tuple[int, int]) -> np.ndarray:
    """Return the terms to second order that illumination may add to a frame, (term, p)."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij")
    return np.stack([np.ones_like(y), y, x, y * y, x * x, y * x]).reshape(6, -1)


def orthonormal(rows: np.ndarray) -> np.ndarray:
    """Return orthonormal rows with the span of a few given ones, fewer where these depend on each other."""
    values, vectors = np.linalg.eigh((rows @ rows.T).astype(float))
    sure = values > 1e-6 * values[-1]
    return ((vectors[:, sure] / np.sqrt(values[sure])).T @ rows).astype(np.float32)


def derivatives(maps: np.ndarray, size: Sequence[int], box: tuple[int, int, int, int], modes: int) -> np.ndarray:
    """Return the change of the maps (c, y, x) with each displacement mode, (a, c, y, x), by five-point differences."""
    along = []
    for axis in (1, 2):
        change = np.zeros_like(maps)
        inner = [slice(None)] * 3
        inner[axis] = slice(2, -2)
        at = [np.moveaxis(maps, axis, 0)[k : maps.shape[axis] - 4 + k] for k in range(5)]
        change[tuple(inner)] = np.moveaxis((at[0] - at[4]) / 12 + (at[3] - at[1]) * np.float32(2 / 3), 0, axis)
        along.append(change)
    if modes == 2:
        return np.stack(along)
    radius = min(size) / 2
    y = ((np.arange(box[0], box[1]) - (size[0] - 1) / 2) / radius).astype(np.float32)[:, None]
    x = ((np.arange(box[2], box[3]) - (size[1] - 1) / 2) / radius).astype(np.float32)
    return np.stack([*along, y * along[0] + x * along[1], x * along[0] - y * along[1]])


def wiener(image: np.ndarray, noise: float) -> np.ndarray:
    """Return an image less its noise: Wiener filter of its radial power spectrum, which may only fall."""
    transform = scipy.fft.dctn(image, norm="ortho")
    rows, columns = (np.arange(n) / n for n in image.shape)
    ring = (np.hypot(rows[:, None], columns) * min(image.shape)).astype(np.int32)
    power = np.bincount(ring.ravel(), np.square(transform, dtype=float).ravel()) / np.maximum(
        np.bincount(ring.ravel()), 1
    )
    smooth = np.convolve(np.pad(power, 3, mode="edge"), np.full(7, 1 / 7), "valid")
    gain = np.clip(1 - noise / np.maximum(np.minimum.accumulate(smooth), 1e-30), 0, 1).astype(np.float32)
    return scipy.fft.idctn(transform * gain[ring], norm="ortho")


def lines(pattern: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return the rows and columns (y, x) that stand out sharply from those beside them."""
    from scipy.ndimage import median_filter

    found = np.zeros(pattern.shape, bool)
    for axis in (0, 1):
        profile = pattern.sum(1 - axis) / np.maximum(seen.sum(1 - axis), 1)
        sharp = profile - median_filter(profile, 7, mode="nearest")
        out = np.abs(sharp) > max(8 * 1.4826 * float(np.median(np.abs(sharp))), 0.02)
        found |= np.expand_dims(out, 1 - axis)
    return found
