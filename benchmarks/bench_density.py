"""Time `xstxm.optical_density` against numpy in float32 and against one read and one write, in turn, and show its memory.

python benchmarks/bench_density.py --size S M
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import xarray as xr
from bench_fit import counted, make_case
from measuring import SIDES, facts, in_turn, spread
from resident import beyond

import xstxm


def calls(size: str) -> tuple[Callable[[], object], Callable[[], object], Callable[[], object]]:
    """Return xstxm, numpy and a copy into memory that is there already."""
    counts, i0 = counted(make_case(size)[0])
    plain, incident = counts.values, i0.values.astype("float32")[:, None, None]
    into = np.ones_like(plain)

    def numpy() -> np.ndarray:
        return -np.log(plain / incident)

    return lambda: xstxm.optical_density(counts, i0), numpy, lambda: np.copyto(into, plain)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIDES, nargs="+", default=["S"])
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(facts(xr))
    for size in given.size:
        timed = calls(size)
        ours, numpy, copy = in_turn(*timed, rounds=given.rounds)
        print(
            f"{size}: {np.median(ours):.3f} s, numpy float32 takes {spread(numpy / ours)} of that, {spread(ours / copy)} times "
            f"a read and a write; {beyond(timed[0]):.2f} GB of memory"
        )


if __name__ == "__main__":
    main()
