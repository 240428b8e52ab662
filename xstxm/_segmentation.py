"""A mask becomes particles: where pieces that touch are parted, which specks are none, which holes are filled. Arrays only.

Index letters: y and x pixels, b basins of the distance to the outline.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from xstxm._kernels.particles import pair_keys, unlike_neighbours


def segmented(
    mask: np.ndarray, spacing: tuple[float, float], *, max_neck: float, least: int, fill_holes: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of the particle of each pixel (y, x), int32, the largest first, and the sizes of dropped specks.

    `least` is the smallest number of pixels of a particle.
    """
    if fill_holes:
        mask = mask | _specks(~mask, least)
    label = _parted(mask, spacing, max_neck, least)
    if fill_holes:
        _fill_own_holes(label)
    size = np.bincount(label.ravel())
    size[0] = 0
    order = np.argsort(-size, kind="stable")
    kept = order[: int((size >= least).sum())]
    number = np.zeros(size.size, dtype=np.int32)
    number[kept] = np.arange(1, kept.size + 1)
    dropped = size[order[kept.size :]]
    return number[label], dropped[dropped > 0]


def _specks(mask: np.ndarray, least: int) -> np.ndarray:
    """Return the pieces (y, x) of less than so many pixels that do not go on beyond the image."""
    label, _ = ndimage.label(mask)
    size = np.bincount(label.ravel())
    small = size < least
    small[_at_edge(label)] = False
    small[0] = False
    found: np.ndarray = small[label]
    return found


def _at_edge(label: np.ndarray) -> np.ndarray:
    """Return the labels at the edge of an image."""
    return np.unique(np.concatenate([label[0], label[-1], label[:, 0], label[:, -1]]))


def _parted(mask: np.ndarray, spacing: tuple[float, float], max_neck: float, least: int) -> np.ndarray:
    """Return parts of a mask (y, x): each pixel belongs to the maximum of the distance to the outline that it leads to."""
    from skimage.morphology import local_maxima
    from skimage.segmentation import watershed

    if mask.all() or not mask.any():
        return mask.astype(np.int32)
    depth = ndimage.distance_transform_edt(mask, sampling=spacing).astype(np.float32)
    tops, n_basins = ndimage.label(local_maxima(depth, connectivity=1) & mask)
    basin = watershed(-depth, tops, mask=mask)
    height = np.zeros(n_basins + 1)
    height[tops] = depth
    part = _united(*_saddles(basin, depth), height, np.bincount(basin.ravel(), minlength=n_basins + 1), max_neck, least)
    return part[basin]


def _saddles(basin: np.ndarray, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which two basins meet, and the greatest depth at which they do, deepest first."""
    here, there = unlike_neighbours(basin)
    one, other = basin.ravel()[here], basin.ravel()[there]
    height = np.where((one > 0) & (other > 0), np.minimum(depth.ravel()[here], depth.ravel()[there]), 0)
    order = np.argsort(-height, kind="stable")[: np.count_nonzero(height)]
    _, first = np.unique(pair_keys(one, other, basin.max() + 1)[order], return_index=True)
    first = order[np.sort(first)]
    return one[first], other[first], height[first]


def _united(
    one: np.ndarray,
    other: np.ndarray,
    saddle: np.ndarray,
    height: np.ndarray,
    size: np.ndarray,
    max_neck: float,
    least: int,
) -> np.ndarray:
    """Return the part (b) that each basin belongs to, where basins with a wide neck between them are one part.

    From the deepest neck to the shallowest, two parts become one where the neck is at least `max_neck` times as wide as
    the lower maximum, or where one of them is less than a particle.
    """
    root = np.arange(height.size, dtype=np.int32)

    def part_of(b: int) -> int:
        while root[b] != b:
            root[b] = root[root[b]]
            b = root[b]
        return b

    for a, b, neck in zip(one.tolist(), other.tolist(), saddle.tolist(), strict=True):
        low, high = sorted((part_of(a), part_of(b)), key=height.__getitem__)
        if low != high and (neck >= max_neck * height[low] or min(size[low], size[high]) < least):
            root[low] = high
            size[high] += size[low]
    return np.array([part_of(b) for b in range(root.size)], dtype=np.int32)


def _fill_own_holes(label: np.ndarray) -> None:
    """Fill, in place, the holes (y, x) that a single particle surrounds; one that several surround is a pore."""
    hole, n_holes = ndimage.label(label == 0)
    here, there = unlike_neighbours(hole)
    inner, outer = np.concatenate([here, there]), np.concatenate([there, here])
    inner, outer = (side[hole.ravel()[inner] > 0] for side in (inner, outer))
    around = label.ravel()[outer]
    lowest = np.full(n_holes + 1, label.max() + 1, dtype=label.dtype)
    highest = np.zeros_like(lowest)
    np.minimum.at(lowest, hole.ravel()[inner], around)
    np.maximum.at(highest, hole.ravel()[inner], around)
    owner = np.where(lowest == highest, lowest, 0)
    owner[_at_edge(hole)] = 0
    label += owner[hole]
