"""Ranges of pixels that threads take one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

RANGE = 1 << 14
"""Pixels of one task of a thread."""

PARTS = 16
"""Parts of an array that threads can share; how many decides on the order of the sums, and so not the number of threads."""


def in_ranges(work: Callable[[Iterator[slice]], None], n_pixels: int, threads: int) -> None:
    """Call `work` once on each thread, of no more than there are ranges; it is given the next range that no thread has taken."""
    parts = [slice(first, min(first + RANGE, n_pixels)) for first in range(0, n_pixels, RANGE)]
    ranges, threads = iter(parts), min(threads, len(parts))
    if threads <= 1:
        work(ranges)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, ranges) for _ in range(threads)]:
            done.result()


def sum_of_parts(of_part: Callable[[Iterable[slice]], np.ndarray], n_pixels: int, threads: int) -> np.ndarray:
    """Return the sum of what `of_part` makes of each part of the pixels, given as ranges; the same for every number of threads."""
    length = max(-(-n_pixels // PARTS), RANGE)
    parts = [range(first, min(first + length, n_pixels), RANGE) for first in range(0, max(n_pixels, 1), length)]
    ranges = [[slice(first, min(first + RANGE, part.stop)) for first in part] for part in parts]
    if min(threads, len(parts)) <= 1:
        return np.sum(list(map(of_part, ranges)), axis=0)
    with ThreadPoolExecutor(threads) as pool:
        return np.sum(list(pool.map(of_part, ranges)), axis=0)
