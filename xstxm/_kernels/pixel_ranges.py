"""Ranges of pixels that threads take one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

RANGE = 1 << 14
"""Pixels of one task of a thread."""


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
