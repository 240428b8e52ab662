"""What a table of two labellings says of their agreement, and how far two maps differ.

Index letters: j class in the one, k class in the other.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from xstxm._kernels.region_means import region_means


def agreements(table):
    """Return agreement, shares of the one and of the other, overlap, kappa with its stderr, and the adjusted Rand index.

    table (j, k) counts pixels; the same classes, in the same order, along both axes.
    """
    table = np.asarray(table, dtype=float)
    number, both, one, other = table.sum(), np.diag(table), table.sum(1), table.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        kappa, spread = _kappa(table / number)
        shares = both / one, both / other, both / (one + other - both)
        return both.sum() / number, *shares, kappa, spread / np.sqrt(number), _adjusted_rand_index(table)


def _kappa(share):
    """Return Cohen's kappa of shares (j, k), and its standard error for a single pixel (Fleiss, Cohen and Everitt)."""
    one, other, same = share.sum(1), share.sum(0), np.diag(share)
    observed, chance = same.sum(), one @ other
    left = 1 - chance
    diagonal = (same * (left - (one + other) * (1 - observed)) ** 2).sum()
    off = ((share - np.diag(same)) * (other[:, None] + one) ** 2).sum() * (1 - observed) ** 2
    variance = diagonal + off - (observed * chance - 2 * chance + observed) ** 2
    return (observed - chance) / left, np.sqrt(np.maximum(variance, 0)) / left**2


def _adjusted_rand_index(table):
    """Return the adjusted Rand index of a table: 1 where both labellings are the same up to names, 0 on average by chance."""
    together, one, other, every = (_pairs(n).sum() for n in (table, table.sum(1), table.sum(0), table.sum()))
    chance = one * other / every
    most = (one + other) / 2
    # two labellings without any pair apart, or without any together, are the same
    return np.where((most == chance) & (every > 0), 1.0, (together - chance) / (most - chance))


def _pairs(number):
    return number * (number - 1) / 2


def differences(one, other, error_one, error_other, *, step, score, correlation=None):
    """Return bias, its two errors, spread, rms, error of the limits, correlation, share beyond and number of other minus one.

    All maps are (y, x), the errors of pixels may be NaN. `correlation` is that of the noise of `one`. The limits lie `score`
    spreads from the bias, and a share of the pixels differs by more than `score` joint errors. The error of the spread is that
    of the mean square, over twice the spread.
    """
    difference = np.where(np.isfinite(one) & np.isfinite(other), other - one, np.nan).astype(float)
    inside = np.isfinite(difference)
    n = int(inside.sum())
    if n < 2:
        return (*[np.nan] * 8, n)
    mean = partial(region_means, group=inside.astype(np.int32), n_groups=1, step=step)
    (bias,), (noise,), (sampling,), _ = mean(difference, error_one, correlation=correlation)
    _, (noise_other,), _, _ = mean(difference, error_other)
    _, _, (sampling_of_square,), _ = mean((difference - bias) ** 2, error_one)
    spread = difference[inside].std(ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        limits = np.hypot(sampling, score * sampling_of_square / (2 * spread))
        joint = np.hypot(error_one, error_other)[inside]
        known = np.isfinite(joint)
        beyond = np.mean(np.abs(difference[inside][known]) > score * joint[known]) if known.any() else np.nan
        alike = np.corrcoef(one[inside], other[inside])[0, 1]
    rms = np.sqrt(np.mean(difference[inside] ** 2))
    return bias, np.hypot(noise, noise_other), sampling, spread, rms, limits, alike, beyond, n
