"""Sums of the spectra of each label, and of their squares, compiled: one look at each value, whatever its label.

Index letters: e energy, p pixel, k label.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numba import njit

from xstxm._kernels.chunk_loops import AHEAD, LINE
from xstxm._kernels.lanes import prefetch
from xstxm._kernels.pixel_ranges import sum_of_parts
from xstxm._kernels.rows import flat
from xstxm._kernels.small_nnls import INNER, JIT

BLOCK = 512
"""Pixels whose values and labels are held in float64 at once: those of some labels fit into the first cache."""


@njit(**{**INNER, "fastmath": {"contract", "reassoc", "nsz"}})
def _add_run(member, present, n_present, x, squares, e, sums):
    """Add a run of values of one energy, and their squares, to those of the labels that are present."""
    for j in range(n_present):
        k = present[j]
        ones = member[k]
        total = square = 0.0
        for p in range(BLOCK):
            total += ones[p] * x[p]
            square += ones[p] * squares[p]
        sums[0, k, e] += total
        sums[1, k, e] += square


@njit(**JIT)
def _add_labels(values, row, labels, sums):
    """Add the spectra of pixels, whose energies are `row` apart, and their squares to sums (2, k, e); labels are 1, 2, ..."""
    _, n_labels, n_energies = sums.shape
    member, present = np.zeros((n_labels, BLOCK)), np.zeros(n_labels, np.int64)
    x, squares = np.zeros(BLOCK), np.zeros(BLOCK)
    for first in range(0, labels.size, BLOCK):
        n, n_present = min(BLOCK, labels.size - first), 0
        own = labels[first : first + n]
        x[n:] = squares[n:] = 0
        for k in range(n_labels):
            number = 0
            ones = member[k]
            for p in range(n):
                ones[p] = own[p] == k + 1
                number += own[p] == k + 1
            if number:
                present[n_present] = k
                n_present += 1
        for e in range(n_energies if n_present else 0):
            for p in range(0, n, LINE // values.itemsize):
                prefetch(values, (e + AHEAD) * row + first + p)
            run = values[e * row + first : e * row + first + n]
            for p in range(n):
                x[p] = run[p] if own[p] > 0 else 0.0  # those without a label may be NaN
                squares[p] = x[p] * x[p]
            _add_run(member, present, n_present, x, squares, e, sums)


def label_sums(pixels: np.ndarray, labels: np.ndarray, n_labels: int, threads: int) -> np.ndarray:
    """Return `moments.label_sums` of pixels (e, p) in the memory of the host; the same for every number of threads."""
    dtype = np.dtype(np.float32 if pixels.dtype == np.float32 else np.float64)
    labels = np.ascontiguousarray(labels)

    def of_part(ranges: Iterable[slice]) -> np.ndarray:
        sums = np.zeros((2, n_labels, len(pixels)))
        for at in ranges:
            _add_labels(*flat(pixels[:, at], dtype), labels[at], sums)
        return sums

    return sum_of_parts(of_part, pixels.shape[1], threads)
