"""The best subset of references of each size, for a block of small problems: every subset is tried.

A subset counts where all its amounts are above zero: one with an amount below zero is never better, under the bounds, than
the smaller subset without it. Index letters: k size of a subset, i reference, p pixel.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from numba import njit

from xstxm._kernels.batched_nnls import solve_supports
from xstxm._kernels.chunk_loops import FAST
from xstxm._kernels.fit_plan import FCLS, LSTSQ
from xstxm._kernels.small_nnls import INNER


class Search(NamedTuple):
    """The best subsets of one block."""

    gain: np.ndarray
    """(k, p) by how much the best subset of a size lessens the sum of squares, minus infinity where there is none."""
    chosen: np.ndarray
    """(k, p) its bit mask."""
    this: np.ndarray


def subsets_up_to(n: int, most: int) -> np.ndarray:
    """Return the bit masks of all subsets of n references with at most that many members, small ones first."""
    sizes = (itertools.combinations(range(n), k) for k in range(most + 1))
    return np.array([sum(1 << i for i in chosen) for size in sizes for chosen in size], np.int64)


@njit(**INNER)
def search(most, n_pixels):
    """Return room for a search."""
    return Search(np.empty((most + 1, n_pixels)), np.zeros((most + 1, n_pixels), np.int64), np.empty(n_pixels))


@njit(**FAST)
def find_best(method, subsets, small, found):
    """Fill the best subset of each size."""
    n, n_pixels = small.mask.shape
    found.gain[:] = -np.inf
    found.chosen[:] = 0
    for subset in subsets:
        size = 0
        for i in range(n):
            bit = (subset >> i) & 1
            size += bit
            small.mask[i, :] = float(bit)
        if size == 0:
            if method != FCLS:
                found.gain[0, :] = 0.0
            continue
        solve_supports(small, method == FCLS, n_pixels)
        gain = found.this
        for p in range(n_pixels):
            gain[p] = -small.shared[p]
        for i in range(n):
            if (subset >> i) & 1:
                for p in range(n_pixels):
                    gain[p] += small.right[i, p] * small.amount[i, p]
                if method != LSTSQ:
                    for p in range(n_pixels):
                        gain[p] = gain[p] if small.amount[i, p] > 0 else -np.inf
        best, chosen = found.gain[size], found.chosen[size]
        for p in range(n_pixels):
            better = gain[p] > best[p]
            chosen[p] = subset if better else chosen[p]
            best[p] = gain[p] if better else best[p]


@njit(**INNER)
def choose(total, n_energy, wanted, known, small, found):
    """Set the supports of a block: the best subset of a wanted size (p), or, where that is -1, of least BIC.

    With the variance known ``BIC = chi2 + k ln n``, else ``n ln(chi2) + k ln n``, of n values.
    """
    n = small.mask.shape[0]
    for p in range(wanted.size):
        best, least, n_values = 0, np.inf, np.float64(n_energy[p])
        for k in range(found.gain.shape[0]):
            if found.gain[k, p] == -np.inf or (wanted[p] >= 0 and k > wanted[p]):
                continue
            chi2 = max(total[p] - found.gain[k, p], 1e-300)
            penalty = k * np.log(max(n_values, 1.0))
            cost = -k if wanted[p] >= 0 else penalty + (chi2 if known else n_values * np.log(chi2))
            if cost < least:
                best, least = k, cost
        for i in range(n):
            small.mask[i, p] = float((found.chosen[best, p] >> i) & 1)
