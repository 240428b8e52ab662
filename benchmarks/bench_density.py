"""Time `xstxm.optical_density` against numpy in float32 and against one read and one write, in turn, and show its memory.

    python benchmarks/bench_density.py --size S M

Memory is what a process of its own needs beyond the result.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import numpy as np
import xarray as xr
from bench_fit import counted, make_case
from measuring import SIDES, child, facts, in_turn, peak, restart_peak, spread

import xstxm


def calls(size: str) -> tuple[Callable[[], object], Callable[[], object], Callable[[], object]]:
    """Return xstxm, numpy and a copy into memory that is there already."""
    counts, i0 = counted(make_case(size)[0])
    plain, incident = counts.values, i0.values.astype("float32")[:, None, None]
    into = np.ones_like(plain)

    def numpy() -> np.ndarray:
        return -np.log(plain / incident)

    return lambda: xstxm.optical_density(counts, i0), numpy, lambda: np.copyto(into, plain)


def measure(size: str) -> None:
    """Print the bytes beyond the result that the optical density needs, in stacks of its size, as JSON."""
    counts, i0 = counted(make_case(size)[0])
    xstxm.optical_density(counts[:, :8, :8], i0)
    restart_peak()
    before = peak()
    found = xstxm.optical_density(counts, i0)
    print(json.dumps({"stacks": (peak() - before) * 1e9 / found.nbytes - 1}))


def memory(size: str) -> float:
    """Return the memory beyond the result, in stacks."""
    # memory that was freed before must not serve again unseen
    return child("bench_density.py", "--measure", size, MALLOC_MMAP_THRESHOLD_="65536")["stacks"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIDES, nargs="+", default=["S"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", choices=SIDES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.measure)
        return
    print(facts(xr))
    for size in given.size:
        ours, numpy, copy = in_turn(*calls(size), rounds=given.rounds)
        print(
            f"{size}: {np.median(ours):.3f} s, numpy float32 takes {spread(numpy / ours)} of that, {spread(ours / copy)} times "
            f"a read and a write; {memory(size):.2f} stacks of memory beyond the result"
        )


if __name__ == "__main__":
    main()
