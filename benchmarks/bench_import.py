"""Time `import xstxm` against `import xarray`, and the first fit of a new process, which must not compile.

python benchmarks/bench_import.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

import numpy as np
from measuring import child, facts, spread

CLOCK = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
IMPORTS = ("import xstxm", "import xarray")
FIRST_USE = "import xarray, xstxm; xarray.Dataset().stxm"


def time_imports(rounds: int, *more: str) -> np.ndarray:
    """Return seconds (xstxm, xarray, or more; round) of imports in fresh interpreters, in turn, their start not counted."""
    return np.array([[_time(code) for code in (*IMPORTS, *more)] for _ in range(rounds)]).T


def _time(code: str) -> float:
    done = subprocess.run([sys.executable, "-c", CLOCK.format(code)], check=True, capture_output=True, text=True)
    return float(done.stdout)


def measure() -> None:
    """Print seconds of the import, of the first fit and of the next, and what the first one compiled, as JSON."""
    clock = [time.perf_counter()]
    import xstxm

    clock.append(time.perf_counter())
    from numba.core import event

    stack = xstxm.testing.simulate_stack(shape=(64, 64), seed=0)
    counts, references = stack[["intensity"]], xstxm.testing.simulate_references()

    def fit() -> float:
        start = time.perf_counter()
        xstxm.fit(xstxm.optical_density(counts), references)
        return time.perf_counter() - start

    with event.install_recorder("numba:compile") as compiled:
        first = fit()
    print(
        json.dumps(
            {"import": clock[1] - clock[0], "first": first, "next": fit(), "compiled": len(compiled.buffer) // 2}
        )
    )


def first_fit() -> dict[str, float]:
    """Measure in a new process; once more where the first one had to fill the cache on disk."""
    found = child("bench_import.py", "--measure")
    return child("bench_import.py", "--measure") if found["compiled"] else found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure()
        return
    print(facts())
    ours, theirs, used = time_imports(given.rounds, FIRST_USE)
    print(
        f"import xstxm {np.median(ours):.2f} s, {spread(ours / theirs)} times import xarray ({np.median(theirs):.2f} s); "
        f"with the first accessor {spread(used / theirs)} times"
    )
    found = first_fit()
    print(f"first fit {found['first']:.2f} s, {found['compiled']} functions compiled; the next {found['next']:.3f} s")


if __name__ == "__main__":
    main()
