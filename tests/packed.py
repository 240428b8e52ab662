"""Images of irregular particles that touch, with the number of the particle of every pixel."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

ORDERS = np.arange(2, 6)


def outline(rng: np.random.Generator, irregular: float = 0.13):
    """Radius over azimuth of an irregular outline, about 1."""
    height, start = rng.normal(0, irregular, 4) / (ORDERS - 0.6), rng.uniform(0, 2 * np.pi, 4)
    flat, angle = rng.uniform(0.65, 1), rng.uniform(0, np.pi)

    def radius(azimuth):
        ellipse = 1 / np.hypot(np.cos(azimuth - angle), np.sin(azimuth - angle) / flat)
        waves = (height * np.cos(ORDERS * np.asarray(azimuth)[..., None] + start)).sum(-1)
        return ellipse * np.clip(1 + waves, 0.6, 1.4)

    return radius


def touching(seed: int, size: int = 400, radius: float = 20, most: int = 3, overlap: float = 0.05) -> np.ndarray:
    """Numbers of particles (y, x) in groups of up to `most`, each of which touches the one before."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((size, size), dtype=int)
    for _ in range(200):
        group = _group(rng, radius, rng.integers(1, most + 1), overlap)
        rows, columns = (slice(at, at + side) for at, side in zip(rng.integers(0, size, 2), group.shape, strict=True))
        place = truth[rows, columns]
        group = group[: place.shape[0], : place.shape[1]]
        if not place[ndimage.binary_dilation(group > 0, iterations=3)].any():
            place[group > 0] = (group + truth.max())[group > 0]
    sizes = np.bincount(truth.ravel())
    kept = np.flatnonzero(sizes > radius**2 / 2)
    return np.where(sizes[truth] > radius**2 / 2, np.searchsorted(kept, truth), 0)


def _group(rng, radius, number, overlap):
    """Numbers of touching particles (y, x) in an image that is just large enough."""
    side = int(7 * radius)
    y, x = np.mgrid[:side, :side]
    found = np.zeros((side, side), dtype=int)
    centre, own, reach = np.array([side / 2, side / 2]), None, 0.0
    for k in range(number):
        shape, scale = outline(rng), radius * rng.uniform(0.6, 1.4)
        if own is not None:
            towards = rng.uniform(0, 2 * np.pi)
            apart = (reach * own(towards) + scale * shape(towards + np.pi)) * rng.uniform(1 - overlap, 1)
            centre = centre + apart * np.array([np.sin(towards), np.cos(towards)])
        dy, dx = y - centre[0], x - centre[1]
        inside = np.hypot(dy, dx) < scale * shape(np.arctan2(dy, dx))
        if not inside.any() or (found[inside] > 0).mean() > overlap:
            continue
        found[inside & (found == 0)] = k + 1
        own, reach = shape, scale
    return found[ndimage.find_objects((found > 0).astype(int))[0]]


def matched(truth: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Overlap over union of each true particle with the one found that it shares most with, and the ratio of areas."""
    n_true, n_found = truth.max() + 1, found.max() + 1
    both = np.bincount((truth * n_found + found).ravel(), minlength=n_true * n_found).reshape(n_true, n_found)
    true_area, area = both.sum(1)[1:], both.sum(0)[1:]
    shared = both[1:, 1:] / (true_area[:, None] + area - both[1:, 1:])
    best = shared.argmax(1)
    return shared.max(1), area[best] / true_area
