"""Single values that stand out from their neighbours in the frame and in energy, and what is put in their place."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

MARGIN = 4
"""Pixels around a pixel that decide on it."""
_FEW = 100
"""Candidates in a frame up to which looking at each by itself is faster."""
_SOUND = 3
"""Finite neighbours below which a pixel is not judged."""
_MEAN_RESIDUAL = 0.725
"""Mean distance of a normal deviate from the median of 3 x 3 that it belongs to, in units of sigma."""
_AROUND = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]


class Pair(NamedTuple):
    """Two energies between which a third is interpolated: ``(1 - weight) * left + weight * right``."""

    left: int
    right: int
    weight: float


def energy_pairs(energy: np.ndarray):
    """Return for each energy two disjoint pairs to predict it from: the nearest on either side, and the next.

    Disjoint, so that one bad neighbour spoils one prediction only. Any order and spacing; four energies or more.
    """
    order = np.argsort(energy, kind="stable")
    last = len(order) - 1
    pairs: list[Any] = [None] * order.size
    for k, e in enumerate(order.tolist()):
        if k in (0, last):
            sides = [(abs(k - 1), abs(k - 1)), (abs(k - 2), abs(k - 2))]
        else:
            sides = [(k - 1, k + 1), (k - 2 if k > 1 else k + 2, k + 2 if k < last - 1 else k - 2)]
        pairs[e] = tuple(_pair(energy, e, order[left], order[right]) for left, right in sides)
    return pairs


def _pair(energy: np.ndarray, e: int, left: int, right: int):
    width = energy[right] - energy[left]
    return Pair(int(left), int(right), float((energy[e] - energy[left]) / width) if width else 0.5)


def find_spikes(frames: np.ndarray, pairs, *, spatial: bool, image: bool, threshold: float, noise: str):
    """Return where values stand out (e, y, x), or (e, p) without an image.

    A spike exceeds all but one of its neighbours by `threshold` times the local noise: in the frame where
    `spatial`; in the difference from what either of the `pairs` predicts where there are any.
    """
    # e = energy, p = pixel
    if not image:
        return _in_spectra(_stabilised(frames, noise), pairs, threshold, noise)
    spikes = np.zeros(frames.shape, dtype=bool)
    for e in range(len(frames)):
        steady = _stabilised(frames[e], noise)
        found = stands_out(steady, threshold, _floor(steady, noise)) if spatial else np.isfinite(steady)
        if pairs is not None and found.any():
            found = _confirmed(frames, e, pairs[e], found, threshold=threshold, noise=noise)
        spikes[e] = found
    return spikes


def _confirmed(frames: np.ndarray, e: int, pairs, found: np.ndarray, *, threshold: float, noise: str):
    """Return which candidates also stand out in energy: each in its own surroundings where they are few."""
    rows, columns = np.nonzero(found)
    if rows.size > _FEW:
        return found & _stand_out_in_energy(frames, e, pairs, threshold, noise)
    confirmed = np.zeros_like(found)
    for y, x in zip(rows.tolist(), columns.tolist(), strict=True):
        top, left = max(y - MARGIN, 0), max(x - MARGIN, 0)
        part = frames[:, top : y + MARGIN + 1, left : x + MARGIN + 1]
        confirmed[y, x] = _stand_out_in_energy(part, e, pairs, threshold, noise)[y - top, x - left]
    return confirmed


def _stand_out_in_energy(frames: np.ndarray, e: int, pairs, threshold: float, noise: str):
    steady = _stabilised(frames[e], noise)
    changes = [steady - _predicted(frames, pair, noise) for pair in pairs]
    return _agreed(changes, [stands_out(change, threshold, _floor(steady, noise)) for change in changes])


def _in_spectra(steady: np.ndarray, pairs, threshold: float, noise: str):
    """Return the spikes of spectra (e, ...) without an image around them: against their spread along energy."""
    changes = [np.stack([steady[e] - _between(steady, both[k]) for e, both in enumerate(pairs)]) for k in (0, 1)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        scales = [1.4826 * np.nanmedian(np.abs(change), axis=0) for change in changes]
    floor = _floor(steady, noise)
    return _agreed(
        changes,
        [np.abs(change) > threshold * np.maximum(scale, floor) for change, scale in zip(changes, scales, strict=True)],
    )


def _agreed(changes, found):
    """Return what every prediction says that can be made: one from an energy that is NaN says nothing."""
    unknown = [np.isnan(change) for change in changes]
    said = [spike | silent for spike, silent in zip(found, unknown, strict=True)]
    return np.all(said, axis=0) & ~np.all(unknown, axis=0)


def _stabilised(frame: np.ndarray, noise: str):
    """Return values whose noise does not depend on their size: Anscombe's root of counts."""
    if noise == "uniform":
        return frame
    return 2 * np.sqrt(np.maximum(frame + 0.375, 0), dtype=frame.dtype)


def _floor(steady: np.ndarray, noise: str):
    """Return the least noise: half of the counting noise, which is 1 in the scale of Anscombe; else rounding."""
    return 0.5 if noise == "counts" else 1e-5 * np.abs(steady)


def _between(frames, pair: Pair):
    return (1 - pair.weight) * frames[pair.left] + pair.weight * frames[pair.right]


def _predicted(frames: np.ndarray, pair: Pair, noise: str):
    """Return what two other energies say about a frame: structure that they share cancels."""
    ends = {e: _stabilised(frames[e], noise) for e in pair[:2]}
    return _between(ends, pair).astype(frames.dtype, copy=False)


def stands_out(image: np.ndarray, threshold: float, floor):
    """Return the pixels of an image (y, x) that exceed all but one of their eight neighbours by `threshold` x noise.

    All but one, not the median: on an edge, a corner or a line a pixel has two neighbours of its kind, so
    structure stays, whatever its contrast, and two spikes side by side do not hide each other. The noise is
    that of the surroundings, and at least `floor`.
    """
    distance, missing = _from_median(image)
    noise = np.maximum(local_noise(distance, missing), floor)
    out = (distance > threshold * noise) & ~missing
    rows, columns = np.nonzero(out)  # few: those far from the median
    around = np.sort(neighbours(image, rows, columns), axis=1)
    sound = np.isfinite(around).sum(1)
    highest = around[np.arange(rows.size), np.maximum(sound - 2, 0)]
    value = image[rows, columns]
    excess = np.fmax(value - highest, around[:, 1] - value)
    out[rows, columns] = (excess > threshold * noise[rows, columns]) & (sound >= _SOUND)
    return out


def local_noise(distance: np.ndarray, missing: np.ndarray):
    """Return the noise around each pixel (y, x): the mean distance from the median of 3 x 3, in a ring about it.

    Over 7 x 7 without the 3 x 3 inside, so that a spike does not raise its own measure; what lies beside a
    missing value is left out.
    """
    if not missing.any():
        return _ring_sum(distance) / (40 * _MEAN_RESIDUAL)
    from scipy import ndimage

    usable = (~ndimage.maximum_filter(missing, size=3)).astype(distance.dtype)
    number = _ring_sum(usable)
    number[number < 0.5] = np.nan
    return _ring_sum(distance * usable) / (number * _MEAN_RESIDUAL)


def _from_median(image: np.ndarray):
    """Return the distance of each pixel from the median of its 3 x 3, and where the image is not finite."""
    missing = ~np.isfinite(image)
    filled = np.where(missing, 0, image) if missing.any() else image
    return np.abs(filled - median_around(filled)), missing


def median_around(image: np.ndarray):
    """Return the median of the 3 x 3 about each pixel of an image (y, x) without NaN, mirrored at the border.

    That of nine is the middle of the highest low, the middle middle and the lowest high of three sorted columns: 18
    comparisons of whole images, a fifth of the time of scipy's filter, which sorts the nine of each pixel.
    """
    padded = np.pad(image, 1, mode="reflect")
    low, middle, high = (_beside(part) for part in _sorted(padded[:-2], padded[1:-1], padded[2:]))
    lowest_high = np.minimum(np.minimum(high[0], high[1]), high[2])
    highest_low = np.maximum(np.maximum(low[0], low[1]), low[2])
    return _sorted(highest_low, _sorted(*middle)[1], lowest_high)[1]


def _sorted(a, b, c):
    less, more = np.minimum(a, b), np.maximum(a, b)
    return np.minimum(less, c), np.maximum(less, np.minimum(more, c)), np.maximum(more, c)


def _beside(image):
    return image[:, :-2], image[:, 1:-1], image[:, 2:]


def _ring_sum(values: np.ndarray):
    from scipy import ndimage

    wide, narrow = (ndimage.uniform_filter(values, size, mode="mirror") for size in (7, 3))
    return np.maximum(49 * wide - 9 * narrow, 0)


def neighbours(image: np.ndarray, rows: np.ndarray, columns: np.ndarray):
    """Return the eight neighbours (n, 8) of pixels of an image, NaN outside."""
    around = np.full((rows.size, 8), np.nan, dtype=image.dtype)
    for k, (i, j) in enumerate(_AROUND):
        r, c = rows + i, columns + j
        inside = (r >= 0) & (r < image.shape[0]) & (c >= 0) & (c < image.shape[1])
        around[inside, k] = image[r[inside], c[inside]]
    return around


def fill_from_neighbours(frames: np.ndarray, gaps: np.ndarray, *, squared: bool = False):
    """Return frames (e, y, x) with the median of the eight neighbours in the gaps, NaN where there is none.

    `squared`: the frames are variances, and n neighbours leave pi / 2 of their mean / n.
    """
    filled = frames.copy()
    for e in np.flatnonzero(gaps.any((1, 2))):
        rows, columns = np.nonzero(gaps[e])
        around = neighbours(np.where(gaps[e], np.nan, frames[e]), rows, columns)
        n = np.isfinite(around).sum(1)
        put = np.full(rows.size, np.nan, dtype=frames.dtype)
        if squared:
            put[n > 0] = np.pi / 2 * np.nanmean(around[n > 0], axis=1) / n[n > 0]
        else:
            put[n > 0] = np.nanmedian(around[n > 0], axis=1)
        filled[e, rows, columns] = put
    return filled


def fill_from_energies(frames: np.ndarray, gaps: np.ndarray, pairs, *, squared: bool = False):
    """Return frames (e, ...) with the gaps interpolated between energies, NaN where all neighbours are gaps."""
    filled = frames.copy()
    for e in np.flatnonzero(gaps.any(tuple(range(1, gaps.ndim)))):
        here = gaps[e]
        put = np.full(int(here.sum()), np.nan, dtype=frames.dtype)
        for left, right, weight in pairs[e]:
            usable = np.isnan(put) & ~gaps[left][here] & ~gaps[right][here]
            one, other = (1 - weight, weight) if not squared or left == right else ((1 - weight) ** 2, weight**2)
            put[usable] = (one * frames[left][here] + other * frames[right][here])[usable]
        filled[e : e + 1][gaps[e : e + 1]] = put
    return filled
