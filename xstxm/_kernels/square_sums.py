"""The second moment of spectra, compiled: half of a symmetric product, in tiles whose sums stay in the registers.

Index letters: e energy, p pixel, i row and j column of the product.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numba import njit

from xstxm._kernels.chunk_loops import FAST, LINE
from xstxm._kernels.lanes import prefetch
from xstxm._kernels.pixel_ranges import sum_of_parts
from xstxm._kernels.rows import flat
from xstxm._kernels.small_nnls import INNER, JIT
from xstxm._kernels.tiles import TILE, add_tile

BLOCK = 256
"""Pixels that are held in float64 at once: a tile of their rows fits into the first cache, all into the second."""

GROUP = 12
"""Rows that stay in the first cache while all columns pass by: whole tiles of either kind."""


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


@njit(**INNER)
def _add_square(block, one, moment, values, row, after, n_after):
    """Add the lower triangle of block @ block.T up to the row `one`, and ask meanwhile for the pixels of the next block.

    Rows of zeros fill the last group: code that was compiled for tiles of the other size stays within them too.
    """
    for group in range(0, one + 1, GROUP):
        stop = min(group + GROUP, one + 1)
        for j in range(0, stop, TILE):
            for i in range(max(group, j), stop, TILE):
                for e in range(i, min(i + TILE, one) if j == 0 else i):
                    for p in range(0, n_after, LINE // values.itemsize):
                        prefetch(values, e * row + after + p)
                add_tile(block, i, j, moment)


@njit(**JIT)
def _add_moment(values, row, keep, block, one, moment):
    """Add the second moment of a range of pixels, whose energies are `row` apart, and the sums that a row of ones makes."""
    for first in range(0, keep.size, BLOCK):
        _load(values, row, first, keep, block, one)
        after = first + BLOCK
        _add_square(block, one, moment, values, row, after, max(min(BLOCK, keep.size - after), 0))


def _aligned(n_rows: int, n: int) -> np.ndarray:
    """Return zeros (row, place) that begin where a line of memory does: vectors that lie in two take twice as long."""
    room = np.zeros(n_rows * n + LINE)
    first = -room.ctypes.data % LINE // room.itemsize
    return room[first : first + n_rows * n].reshape(n_rows, n)


def second_moment(pixels: np.ndarray, keep: np.ndarray, threads: int) -> np.ndarray:
    """Return `moments.second_moment` of pixels (e, p) in the memory of the host; the same for every number of threads."""
    one, n_pixels = pixels.shape
    dtype = np.dtype(np.float32 if pixels.dtype == np.float32 else np.float64)
    padded = -(-(one + 1) // GROUP) * GROUP
    keep = np.ascontiguousarray(keep, bool)

    def of_part(ranges: Iterable[slice]) -> np.ndarray:
        block, moment = _aligned(padded, BLOCK), np.zeros((padded, padded))
        for at in ranges:
            _add_moment(*flat(pixels[:, at], dtype), keep[at], block, one, moment)
        return moment

    total = sum_of_parts(of_part, n_pixels, threads)
    return (np.tril(total) + np.tril(total, -1).T)[: one + 1, : one + 1]
