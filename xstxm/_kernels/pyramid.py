"""Frames made ready for registration: minus the logarithm of counts, at half the size as often as wanted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from xstxm._kernels.resample import INNER

BRIGHTER, DARKER = 1.0, 2.0
"""How far beyond all but half a per cent of a frame a value of -ln(counts) is followed: hot and dead pixels end there."""
LEAST_COUNTS = 5.0
"""Mean counts from which half a count is added before the logarithm."""
KNOWN = 0.3
"""Share of a smaller pixel that has to be known for it to stand by itself."""
BINOMIAL = tuple(np.array([1, 5, 10, 10, 5, 1], np.float32) / np.float32(32))
"""Low-pass filter before every second pixel is dropped."""


@dataclass(frozen=True)
class Scale:
    """What turns the values of each frame (e,) into comparable images; from a sample of its pixels."""

    mean: np.ndarray
    """Mean of the values; NaN of a frame without any that are finite."""
    missing: np.ndarray
    """Share of the values that are not finite."""
    offset: np.ndarray
    """Added to counts before the logarithm."""
    low: np.ndarray
    high: np.ndarray
    """Ends that the images are held between."""
    centre: np.ndarray
    logarithmic: bool

    def images(self, frames: np.ndarray, first: int) -> np.ndarray:
        """Return -ln(counts), or the density, of frames from number `first` on, float32, about zero.

        The logarithm comes before any smoothing, because only then is a stack of low rank. Counts get one half more,
        which removes the bias of the logarithm of a Poisson number to first order. NaN becomes the mean, infinity ends
        where hot pixels do.
        """
        out = np.empty(frames.shape, np.float32)
        for k, frame in enumerate(frames):
            out[k] = self.image(frame, first + k)
        return out

    def image(self, frame: np.ndarray, e: int) -> np.ndarray:
        """Return the image of one frame."""
        sign, centre = (-1, -self.centre[e]) if self.logarithmic else (1, self.centre[e])
        low, high = sorted((sign * self.low[e], sign * self.high[e]))
        values = np.add(frame, np.float32(self.offset[e]), dtype=np.float32)
        if self.logarithmic:
            with np.errstate(divide="ignore", invalid="ignore"):
                np.log(values, out=values)
        np.clip(values, np.float32(low), np.float32(high), out=values)
        np.subtract(values, np.float32(centre), out=values)
        if sign < 0:
            np.negative(values, out=values)
        if np.isnan(values.sum()):
            values[np.isnan(values)] = 0
        return values

    def at_an_end(self, images: np.ndarray, first: int) -> np.ndarray:
        """Return where images lie at the ends, as those of hot and dead pixels do."""
        at = slice(first, first + len(images))
        low, high = ((end - self.centre)[at, None, None] for end in (self.low, self.high))
        return (images <= low + 0.01) | (images >= high - 0.01)


def scale_of(sample: np.ndarray, *, logarithmic: bool, counting: bool) -> Scale:
    """Return the scale of frames from some pixels of each, (e, pixel)."""
    finite = np.where(np.isfinite(sample), sample, np.nan).astype(float)
    known = np.isfinite(finite).any(1)
    safe = np.where(known[:, None], finite, 1.0)
    mean = np.nanmean(safe, axis=1)
    offset = np.where(counting & (mean > LEAST_COUNTS), 0.5, 0.0)
    if logarithmic:
        least = np.maximum(1e-3 * np.abs(mean), 1e-6)[:, None]
        safe = -np.log(np.maximum(safe + offset[:, None], least))
    low, high = np.nanquantile(safe, (0.005, 0.995), axis=1)
    centre = np.nanmean(safe, axis=1)
    missing = np.isnan(finite).mean(1)
    return Scale(np.where(known, mean, np.nan), missing, offset, low - BRIGHTER, high + DARKER, centre, logarithmic)


def reduced(images: np.ndarray, known: np.ndarray, level: int) -> np.ndarray:
    """Return images halved `level` times; each smaller pixel is the mean of the known pixels under it."""
    whole = bool(known.all())
    share = None if whole else _halved(known.astype(np.float32), level)
    small = [_halved(image if whole else image * known, level) for image in images]
    return np.stack(small) if share is None else np.stack(small) / np.maximum(share, np.float32(1e-3))


def reduced_mask(mask: np.ndarray, level: int) -> np.ndarray:
    """Return a mask at the size of `reduced` images: True where enough of a pixel is."""
    return _halved(mask.astype(np.float32), level) > KNOWN


def filled(image: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """Return an image with the mean of what lies around in place of unknown pixels."""
    from scipy.ndimage import gaussian_filter

    known = (~unknown).astype(np.float32)
    around = gaussian_filter(image * known, 1.5) / np.maximum(gaussian_filter(known, 1.5), 1e-3)
    return np.where(unknown, around, image)


def _halved(image: np.ndarray, times: int) -> np.ndarray:
    for _ in range(times):
        image = halve(image)
    return image


def overlap(level: int) -> int:
    """Return how many pixels beyond its own a block needs to be halved `level` times."""
    return 5 * (2**level - 1)


@njit(**INNER)
def halve(image):
    """Return an image of half the size, (n - 4) // 2 pixels along each axis: binomial filter, every second pixel."""
    height, width = (image.shape[0] - 4) // 2, (image.shape[1] - 4) // 2
    out = np.empty((height, width), np.float32)
    row = np.empty(image.shape[1], np.float32)
    for y in range(height):
        rows = image[2 * y : 2 * y + 6]
        for x in range(row.size):
            value = BINOMIAL[0] * rows[0, x]
            for q in range(1, 6):
                value += BINOMIAL[q] * rows[q, x]
            row[x] = value
        target = out[y]
        for x in range(width):
            value = BINOMIAL[0] * row[2 * x]
            for q in range(1, 6):
                value += BINOMIAL[q] * row[2 * x + q]
            target[x] = value
    return out
