"""Peak memory of a phase map of a stack larger than the limit: generated lazily, mapped, reduced.

python benchmarks/bench_memory.py [--gigabytes 3] [--threads 2]
"""

from __future__ import annotations

import argparse
import resource
import time

import dask
import numpy as np

import xstxm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()

    references = xstxm.testing.simulate_references()
    side = int(np.sqrt(arguments.gigabytes * 1e9 / 4 / references.sizes["energy"]) // 256 + 1) * 256
    stack = xstxm.testing.simulate_stack(shape=(side, side), chunks={"y": 256, "x": 256}, seed=0)
    before = _peak()
    start = time.perf_counter()
    with dask.config.set(scheduler="threads", num_workers=arguments.threads):
        od = xstxm.optical_density(stack[["intensity"]], stack["true_i0"])
        phases = xstxm.phase_map(od, references).compute()
    seconds = time.perf_counter() - start
    print(
        f"stack {stack['intensity'].nbytes / 1e9:.2f} GB, {stack['intensity'].shape}, float32, in chunks of 256 x 256"
    )
    print(f"phase map {phases.nbytes / 1e6:.0f} MB in {seconds:.0f} s, generating the stack included")
    print(f"peak resident memory {_peak():.2f} GB ({before:.2f} GB before)")


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main()
