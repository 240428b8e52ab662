"""Shifts of images by correlation: pairs of frames, their peaks, and the graph that joins many pairs.

A displacement is where the content of an image has moved to, in pixels (y, x).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.fft

GRAIN = 50.0
"""Pixels for one independent value of an edge image, which was smoothed by a Gaussian of two pixels."""
Pair = tuple[int, int]

UNCLEAR = 5.5
"""Height of a correlation peak over the spread of the correlation below which it may be chance."""


def edge_window(n: int, width: int) -> np.ndarray:
    """Return a window of `n` pixels that rises from 0 to 1 over `width` pixels at either end."""
    width = max(min(width, n // 2), 1)
    ramp = np.sin(np.pi / 2 * (np.arange(width) + 0.5) / width) ** 2
    window = np.ones(n, np.float32)
    window[:width], window[n - width :] = ramp, ramp[::-1]
    return window


def window_of(shape: tuple[int, int], share: float = 0.15) -> np.ndarray:
    """Return the window (y, x) that takes the borders of an image off before it is transformed."""
    rows, columns = (edge_window(n, max(2, int(share * n))) for n in shape)
    return rows[:, None] * columns[None]


def edges_of(image: np.ndarray, sigma: float) -> np.ndarray:
    """Return the magnitude of the gradient, which does not know the sign of the contrast.

    Across an absorption edge contrast can invert; the correlation of an image with its negative peaks in a side lobe.
    """
    from scipy.ndimage import gaussian_gradient_magnitude

    return gaussian_gradient_magnitude(image, sigma)


def spectrum(image: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Return the transform of an image under a window, its mean taken off, of unit power; zeros of a flat image."""
    centred = (image - float((image * window).sum() / window.sum())) * window
    power = float(np.linalg.norm(centred)) * np.sqrt(centred.size)
    scale = 1 / power if power > 1e-6 * max(float(np.abs(image).max()), 1e-30) * centred.size else 0.0
    return scipy.fft.rfft2(centred * np.float32(scale))


def peak(
    cross: np.ndarray, shape: tuple[int, int], reach: tuple[float, float], *, exact: bool = True
) -> tuple[float, float, float, float]:
    """Return displacement (y, x) and height of the correlation peak of a cross spectrum, and the height over that of chance.

    By chance correlations spread as their surface does, or by what the number of independent values allows: a surface
    that is broad because the images are alike is not one of chance.

    The peak is sought among whole pixels no farther than `reach`, then between them: by Newton steps on the
    correlation's own trigonometric polynomial, or, not `exact`, from a paraboloid through nine pixels.
    """
    surface = scipy.fft.irfft2(cross, s=shape) * (shape[0] * shape[1])
    near = [np.abs(scipy.fft.fftfreq(n, 1 / n)) <= limit for n, limit in zip(shape, reach, strict=True)]
    allowed = surface if all(rows.all() for rows in near) else np.where(near[0][:, None] & near[1], surface, -np.inf)
    at = tuple(int(k) for k in np.unravel_index(int(allowed.argmax()), shape))
    whole = np.array([k - n if k > n // 2 else k for k, n in zip(at, shape, strict=True)], float)
    if exact:
        best, height = _climb(cross, shape, whole)
    else:
        best, height = whole + _summit(surface, at), float(surface[at])
    chance = min(float(surface.std()), (GRAIN / surface.size) ** 0.5)
    return float(best[0]), float(best[1]), height, height / max(chance, 1e-12)


def _summit(surface: np.ndarray, at: tuple[int, ...]) -> np.ndarray:
    """Return the summit of a paraboloid through the pixels around a maximum, relative to it."""
    t = surface[np.ix_(*((k + np.arange(-1, 2)) % n for k, n in zip(at, surface.shape, strict=True)))]
    slope = np.array([t[2, 1] - t[0, 1], t[1, 2] - t[1, 0]]) / 2
    mixed = (t[2, 2] - t[2, 0] - t[0, 2] + t[0, 0]) / 4
    bend = np.array([[t[2, 1] - 2 * t[1, 1] + t[0, 1], mixed], [mixed, t[1, 2] - 2 * t[1, 1] + t[1, 0]]])
    if not (bend[0, 0] < 0 and np.linalg.det(bend) > 0):
        return np.zeros(2)
    return np.clip(-np.linalg.solve(bend, slope), -1, 1)


def _climb(cross: np.ndarray, shape: tuple[int, int], start: np.ndarray) -> tuple[np.ndarray, float]:
    rows, columns = 2 * np.pi * scipy.fft.fftfreq(shape[0]), 2 * np.pi * scipy.fft.rfftfreq(shape[1])
    twice = np.full(columns.size, 2.0)
    twice[0] = 1
    if shape[1] % 2 == 0:
        twice[-1] = 1
    at, height = start.copy(), 0.0
    for _ in range(8):
        turned = cross * np.exp(1j * rows * at[0])[:, None] * (np.exp(1j * columns * at[1]) * twice)[None]
        real, imaginary = turned.real, turned.imag
        height = float(real.sum())
        slope = -np.array([rows @ imaginary.sum(1), imaginary.sum(0) @ columns])
        mixed = -rows @ (real @ columns)
        bend = np.array([[-(rows**2) @ real.sum(1), mixed], [mixed, -(real.sum(0) @ columns**2)]])
        if not (bend[0, 0] < 0 and np.linalg.det(bend) > 0):
            break
        step = -np.linalg.solve(bend, slope)
        at = at + step * min(1.0, 0.5 / max(np.abs(step).max(), 1e-12))
        if np.abs(at - start).max() > 1.5:
            return start, height
        if np.abs(step).max() < 1e-4:
            break
    return at, height


def neighbours(n: int, distances: Sequence[int] = (1, 2, 3, 5)) -> list[Pair]:
    """Return the pairs of frames that lie these distances apart."""
    return [(i, i + distance) for distance in distances for i in range(n - distance)]


def join(pairs: Sequence[Pair], moved: np.ndarray, height: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return displacements (frame, 2), mean zero, from those between pairs, and the misfit of each pair.

    Least squares on the graph of the pairs with the weights of Geman and McClure: errors do not add up along the
    stack, and bad pairs are outvoted. A frame without a usable pair goes where the rest lies on average.
    """
    first, second = np.array(pairs, int).reshape(-1, 2).T
    trust = np.clip(height, 0, 1) ** 2 + 1e-9
    weight, place, misfit = trust.copy(), np.zeros((n, 2)), np.zeros(len(trust))
    for _ in range(12):
        laplacian, right = np.zeros((n, n)), np.zeros((n, 2))
        for a, b, sign in ((first, first, 1), (second, second, 1), (first, second, -1), (second, first, -1)):
            np.add.at(laplacian, (a, b), sign * weight)
        np.add.at(right, second, weight[:, None] * moved)
        np.add.at(right, first, -weight[:, None] * moved)
        gauge = weight.mean() * (1 / n + 1e-9 * np.eye(n))
        place = np.linalg.solve(laplacian + gauge, right)
        misfit = np.hypot(*(place[second] - place[first] - moved).T)
        scale = max(3 * 1.4826 * float(np.median(misfit)), 0.05)
        weight = trust / (1 + (misfit / scale) ** 2) ** 2
    return place - place.mean(0), misfit
