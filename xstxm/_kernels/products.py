"""Spectra on a few basis spectra: a product that reads the pixels once, where BLAS packs them anew for a few rows.

Index letters: u row of the product, e energy, p pixel.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numba import njit

from xstxm._kernels.chunk_loops import CHUNK, copy, multiply, sum_residuals
from xstxm._kernels.devices import on_device
from xstxm._kernels.fit_plan import aligned
from xstxm._kernels.pixel_ranges import in_ranges
from xstxm._kernels.rows import flat
from xstxm._kernels.small_nnls import JIT

FEW = 16
"""Rows up to which this is the faster way; with more, what BLAS packs pays."""

TILES = 2
"""Chunks that are copied from memory at a time, in runs long enough for it."""


def suits(matrix: np.ndarray, pixels: np.ndarray) -> bool:
    """Tell whether `product` and `project` are for a matrix (u, e) and pixels (e, p)."""
    return not on_device(pixels) and 0 < len(matrix) <= FEW and pixels.dtype in (np.float32, np.float64)


def product(matrix: np.ndarray, pixels: np.ndarray, threads: int) -> np.ndarray:
    """Return matrix (u, e) @ pixels (e, p) in the dtype of the pixels; the same for every number of threads."""
    if not suits(matrix, pixels):
        return matrix.astype(pixels.dtype) @ pixels
    return _multiply(matrix, pixels, threads, np.empty(0, pixels.dtype))


def project(basis: np.ndarray, pixels: np.ndarray, threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `moments.project` of a basis and pixels that it `suits`; the same for every number of threads."""
    rss = np.empty(pixels.shape[1], pixels.dtype)
    return _multiply(basis, pixels, threads, rss), rss


def _multiply(matrix: np.ndarray, pixels: np.ndarray, threads: int, rss: np.ndarray) -> np.ndarray:
    """Return matrix @ pixels, and fill what that of an orthonormal matrix leaves of the squares, unless `rss` is empty."""
    dtype = pixels.dtype
    n_rows, n_energies = matrix.shape
    padded = np.zeros((-(-n_rows // 2) * 2, -(-n_energies // 4) * 4), dtype)  # what `multiply` takes
    padded[:n_rows, :n_energies] = matrix
    out = np.empty((n_rows, pixels.shape[1]), dtype)

    def work(ranges: Iterator[slice]) -> None:
        tiles, rows = aligned((TILES, padded.shape[1] * CHUNK), dtype), aligned((len(padded) * CHUNK,), dtype)
        sums = aligned((CHUNK,), dtype)
        for part in ranges:
            values, row = flat(pixels[:, part], dtype)
            _multiply_range(padded, n_energies, values, row, part.start, part.stop, tiles, rows, sums, out, rss)

    in_ranges(work, pixels.shape[1], threads)
    return out


@njit(**JIT)
def _multiply_range(matrix, n_energies, values, row, start, stop, tiles, rows, sums, out, rss):
    """Fill out[:, start:stop], and that part of rss, from the pixels of that range, whose energies are `row` apart."""
    size = tiles.shape[0] * CHUNK
    for first in range(start, stop, size):
        n = min(size, stop - first)
        copy(values, row, first - start, n, n_energies, tiles)
        for c in range(0, n, CHUNK):
            tile, m, at = tiles[c // CHUNK], min(CHUNK, n - c), first + c
            multiply(matrix, tile, rows)
            for u in range(out.shape[0]):
                source, target = rows[u * CHUNK : u * CHUNK + m], out[u, at : at + m]
                for p in range(m):
                    target[p] = source[p]
            if rss.size:
                sums[:] = 0
                sum_residuals(tile, matrix, rows, sums, sums)
                for p in range(m):
                    rss[at + p] = sums[p]
