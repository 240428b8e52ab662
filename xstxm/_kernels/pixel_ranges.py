"""Ranges of pixels that threads fit one after the other, and their data as compiled code takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

RANGE = 1 << 14
"""Pixels of one task of a thread."""


def in_ranges(work: Callable[[Iterator[slice]], None], n_pixels: int, threads: int) -> None:
    """Call `work` once on each thread; what it is given yields the next range that no thread has taken."""
    ranges = iter([slice(first, min(first + RANGE, n_pixels)) for first in range(0, n_pixels, RANGE)])
    if threads == 1:
        work(ranges)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, ranges) for _ in range(threads)]:
            done.result()


def flat(tile: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, int]:
    """Return a flat read-only view and the distance of energies in it, so that one compiled signature serves all."""
    if (
        tile.dtype != dtype
        or tile.strides[1] != dtype.itemsize
        or tile.strides[0] % dtype.itemsize
        or tile.strides[0] < 0
    ):
        tile = np.ascontiguousarray(tile, dtype=dtype)
    row = tile.strides[0] // dtype.itemsize
    size = (tile.shape[0] - 1) * row + tile.shape[1]
    return np.lib.stride_tricks.as_strided(tile, (size,), (dtype.itemsize,), writeable=False), row
