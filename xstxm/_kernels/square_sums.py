"""The second moment of spectra, compiled: half of a symmetric product, in tiles whose sums stay in the registers.

BLAS reaches two thirds of this on matrices of a hundred rows. Index letters: e energy, p pixel.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit

from xstxm._kernels.chunk_loops import FAST, LINE
from xstxm._kernels.lanes import prefetch
from xstxm._kernels.pixel_ranges import RANGE
from xstxm._kernels.rows import flat
from xstxm._kernels.small_nnls import INNER, JIT

BLOCK = 256
"""Pixels that are held in float64 at once: a tile of their rows fits into the first cache, all into the second."""

TILE = 3
"""Rows and columns of a tile: nine sums and what makes them are the registers of AVX2."""

PARTS = 16
"""Parts of an array that threads can share; how many decides on the order of the sums, and so not the number of threads."""


@njit(**FAST)
def _load(values, row, first, keep, block, one):
    """Fill a block (e, p) with spectra in float64, above ones in the row `one`; zero where a pixel does not count."""
    n = min(BLOCK, keep.size - first)
    ones = block[one]
    for p in range(n):
        ones[p] = keep[first + p]
    for e in range(one):
        source, target = values[e * row + first : e * row + first + n], block[e]
        for p in range(n):
            x = np.float64(source[p])
            target[p] = x
            ones[p] += x - x  # NaN where x is not finite
    block[:, n:] = 0
    lost = 0
    for p in range(n):
        lost += ones[p] != 1
    if lost:
        for e in range(one + 1):
            for p in range(n):
                block[e, p] = block[e, p] if ones[p] == 1 else 0.0


@njit(**{**INNER, "fastmath": {"contract", "reassoc", "nsz"}})
def _add_square(block, moment, values, row, after, n_after):
    """Add the lower triangle of block @ block.T, and ask meanwhile for the pixels of the next block."""
    for i in range(0, block.shape[0], TILE):
        for e in range(i, min(i + TILE, block.shape[0] - TILE)):
            for p in range(0, n_after, LINE // values.itemsize):
                prefetch(values, e * row + after + p)
        a0, a1, a2 = block[i], block[i + 1], block[i + 2]
        for j in range(0, i + TILE, TILE):
            b0, b1, b2 = block[j], block[j + 1], block[j + 2]
            s00 = s01 = s02 = s10 = s11 = s12 = s20 = s21 = s22 = 0.0
            for p in range(BLOCK):
                x0, x1, x2 = a0[p], a1[p], a2[p]
                y0, y1, y2 = b0[p], b1[p], b2[p]
                s00 += x0 * y0
                s01 += x0 * y1
                s02 += x0 * y2
                s10 += x1 * y0
                s11 += x1 * y1
                s12 += x1 * y2
                s20 += x2 * y0
                s21 += x2 * y1
                s22 += x2 * y2
            m0, m1, m2 = moment[i], moment[i + 1], moment[i + 2]
            m0[j], m0[j + 1], m0[j + 2] = m0[j] + s00, m0[j + 1] + s01, m0[j + 2] + s02
            m1[j], m1[j + 1], m1[j + 2] = m1[j] + s10, m1[j + 1] + s11, m1[j + 2] + s12
            m2[j], m2[j + 1], m2[j + 2] = m2[j] + s20, m2[j + 1] + s21, m2[j + 2] + s22


@njit(**JIT)
def _add_moment(values, row, keep, block, one, moment):
    """Add the second moment of a range of pixels, whose energies are `row` apart, and the sums that a row of ones makes."""
    for first in range(0, keep.size, BLOCK):
        _load(values, row, first, keep, block, one)
        after = first + BLOCK
        _add_square(block, moment, values, row, after, max(min(BLOCK, keep.size - after), 0))


def second_moment(pixels: np.ndarray, keep: np.ndarray, threads: int) -> np.ndarray:
    """Return `moments.second_moment` of pixels (e, p) in the memory of the host; the same for every number of threads."""
    one, n_pixels = pixels.shape
    dtype = np.dtype(np.float32 if pixels.dtype == np.float32 else np.float64)
    padded = -(-(one + 1) // TILE) * TILE

    def of_part(part: slice) -> np.ndarray:
        block, moment = np.zeros((padded, BLOCK)), np.zeros((padded, padded))
        for first in range(part.start, part.stop, RANGE):
            at = slice(first, min(first + RANGE, part.stop))
            values, row = flat(pixels[:, at], dtype)
            _add_moment(values, row, keep[at], block, one, moment)
        return moment

    keep = np.ascontiguousarray(keep, bool)
    length = max(-(-n_pixels // PARTS), RANGE)
    parts = [slice(first, min(first + length, n_pixels)) for first in range(0, n_pixels, length)]
    if min(threads, len(parts)) <= 1:
        found = list(map(of_part, parts))
    else:
        with ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(of_part, parts))
    total = np.sum(found, axis=0) if found else np.zeros((padded, padded))
    return (np.tril(total) + np.tril(total, -1).T)[: one + 1, : one + 1]
