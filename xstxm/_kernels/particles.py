"""Sums over the particles of a labelled image: outlines, shapes, depths below the surface, and noise.

Index letters: y and x pixels, p pixel, g group of pixels (from 1; 0 is none), l lag between two pixels.
"""

from __future__ import annotations

import numpy as np

from xstxm._kernels.interfaces import interfaces, line_weights


def unlike_neighbours(image):
    """Return the flat indices of pixels and of their next ones, along y and along x, that hold another number."""
    down = np.flatnonzero(image[:-1] != image[1:])
    right = np.ravel_multi_index(np.nonzero(image[:, :-1] != image[:, 1:]), image.shape)
    return np.concatenate([down, right]), np.concatenate([down + image.shape[1], right + 1])


def boundaries(label, spacing):
    """Return which two labels meet, the smaller first, and the length of their boundary in an image (y, x).

    From the changes of label along rows, columns and diagonals, by Cauchy and Crofton's formula.
    """
    down, along, slanting = line_weights(spacing)
    steps = (
        (np.s_[:-1, :], np.s_[1:, :], down),
        (np.s_[:, :-1], np.s_[:, 1:], along),
        (np.s_[:-1, :-1], np.s_[1:, 1:], slanting),
        (np.s_[:-1, 1:], np.s_[1:, :-1], slanting),
    )
    base = int(label.max(initial=0)) + 1
    pairs, lengths = [], []
    for before, after, weight in steps:
        changed = label[before] != label[after]
        pair, count = np.unique(pair_keys(label[before][changed], label[after][changed], base), return_counts=True)
        pairs.append(pair)
        lengths.append(weight * count)
    pair, place = np.unique(np.concatenate(pairs), return_inverse=True)
    length = np.bincount(place, np.concatenate(lengths), pair.size).astype(float)
    return pair // base, pair % base, length


def pair_keys(one, other, base):
    """Return one number for each pair of labels below `base`, in either order: smaller * base + larger."""
    return np.minimum(one, other).astype(np.int64) * base + np.maximum(one, other)


def ellipses(group, y, x, spacing, n_groups):
    """Return centre y and x, ratio of the axes, and angle of the longer one, of the ellipse with the same moments (g).

    group, y and x are (p), those inside a group. A pixel is no point: its own second moment is spacing^2 / 12.
    """
    size = np.bincount(group, minlength=n_groups + 1)[1:]
    centre = [np.bincount(group, at, n_groups + 1)[1:] / size for at in (y, x)]
    dy, dx = (at - mean[group - 1] for at, mean in zip((y, x), centre, strict=True))
    yy, xx, xy = (np.bincount(group, a * b, n_groups + 1)[1:] / size for a, b in ((dy, dy), (dx, dx), (dx, dy)))
    yy, xx = (moment + step**2 / 12 for moment, step in zip((yy, xx), spacing, strict=True))
    middle, half = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    angle = np.degrees(np.arctan2(2 * xy, xx - yy)) / 2
    return *centre, np.sqrt((middle + half) / (middle - half)), angle


def windows(label):
    """Yield the number of each label of an image, its window one pixel larger all around, and the pixels of it there."""
    from scipy.ndimage import find_objects

    for g, tight in enumerate(find_objects(label)):
        window = tuple(slice(max(along.start - 1, 0), along.stop + 1) for along in tight)
        yield g + 1, window, label[window] == g + 1


def depths(label, spacing, *, free):
    """Return how far each pixel (y, x) of a label lies below its outline, NaN outside labels and where there is none.

    The outline runs half a pixel before the nearest centre outside. It is no outline where the image ends, nor, with
    `free`, where another label begins.
    """
    from scipy.ndimage import distance_transform_edt

    depth = np.full(label.shape, np.nan, dtype=np.float32)
    half = np.sqrt(spacing[0] * spacing[1]) / 2
    if free:
        if not label.all():
            depth = distance_transform_edt(label, sampling=spacing).astype(np.float32) - np.float32(half)
            depth[label == 0] = np.nan
        return depth
    for _, window, inside in windows(label):
        if not inside.all():
            depth[window][inside] = distance_transform_edt(inside, sampling=spacing)[inside] - half
    return depth


def interface_lengths(label, phase, spacing, *, n_phases, max_gap, no_sample, undecided):
    """Return the length of the interfaces between phases inside each label of an image (g)."""
    length = np.zeros(label.max(initial=0))
    for g, window, inside in windows(label):
        own = np.where(inside, phase[window], no_sample)
        decided = own[own >= 0]
        if decided.size and decided.min() != decided.max():
            options = {"spacing": spacing, "n_phases": n_phases, "max_gap": max_gap, "undecided": undecided}
            length[g - 1] = interfaces(own, **options)[1].sum() / 2
    return length


def noise_squares(field, group, n_groups, correlation):
    """Return sum_pq rho_pq f_p f_q over the pixels of each group (g).

    field and group are images (y, x); correlation holds rho at the lags around 0, or is None where it is 0 but for those.
    """
    if correlation is None:
        at = np.flatnonzero(group)
        return np.bincount(group.ravel()[at], field.ravel()[at].astype(float) ** 2, n_groups + 1)[1:]
    from xstxm._kernels.noise_sums import correlated_squares

    return correlated_squares(field, group, n_groups, correlation)


def slopes(value, error, group, spacing, correlation):
    """Yield for y and x: squared slopes between the two neighbours of a pixel, their variances, and the groups (p).

    Only where all three pixels belong to one group.
    """
    for axis, step in enumerate(spacing):
        v, e, g = (np.moveaxis(image, axis, 0) for image in (value, error, group))
        one = (g[1:-1] > 0) & (g[:-2] == g[1:-1]) & (g[2:] == g[1:-1])
        slope = (v[2:][one].astype(float) - v[:-2][one]) / (2 * step)
        before, after = e[:-2][one].astype(float), e[2:][one].astype(float)
        shared = 2 * _two_apart(correlation, axis) * before * after
        yield slope**2, (before**2 + after**2 - shared) / (2 * step) ** 2, g[1:-1][one]


def _two_apart(correlation, axis):
    """Return the correlation of the noise of two pixels that have one between them."""
    if correlation is None or correlation.shape[axis] < 5:
        return 0.0
    middle = [size // 2 for size in correlation.shape]
    middle[axis] += 2
    return correlation[tuple(middle)]
