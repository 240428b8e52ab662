"""Ranges of pixels that threads take one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

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
