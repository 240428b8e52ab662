"""Run every lazy verb on a stack larger than memory: counts on zarr, under a limit of memory, each in a process of its own.

    python benchmarks/bench_scale.py [--gigabytes 10] [--limit 2] [--workers 2] [--schedulers threads cluster]
                                     [--verbs fit pca] [--folder /tmp]

The stack is simulated chunk by chunk into `--folder` and removed afterwards. Results are computed in full and dropped block
by block, as if they were written to an infinitely fast disk: what is measured is the verb, with the reading and the verbs
before it, from the counts on. On threads the limit is that of the process (RLIMIT_DATA, on Linux), so that a verb which
needs more fails; a cluster shares it out among its workers.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import tempfile
import time
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import xarray as xr
import zarr
from lazy_verbs import CHUNK, VERBS, Stored, write_counts
from measuring import child, facts, seconds
from resident import peak

N_ENERGIES = 121


def arrays_of(result: object) -> list[da.Array]:
    """Return the lazy arrays of a result."""
    if isinstance(result, xr.DataTree):
        return [array for node in result.subtree for array in arrays_of(node.to_dataset())]
    parts = [result] if isinstance(result, xr.DataArray) else list(result.data_vars.values())
    return [part.data for part in parts if part.chunks is not None]


def drain(arrays: list[da.Array]) -> dict[str, float]:
    """Compute arrays, block by block, keep none, and return the seconds and the sum of all bits."""
    sums = [array.map_blocks(bits, chunks=tuple((1,) * n for n in array.numblocks), dtype="u8") for array in arrays]
    start = time.perf_counter()
    total = sum(int(each.sum()) for each in dask.compute(*sums))
    return {"seconds": time.perf_counter() - start, "bits": total % 2**64}


def bits(block: np.ndarray) -> np.ndarray:
    """Return the bits of a block, added up as whole numbers."""
    words = block.ravel().view(f"u{min(block.itemsize, 8)}")
    return words.sum(dtype="u8").reshape((1,) * block.ndim)


def n_tasks(arrays: list[da.Array]) -> int:
    """Return the number of tasks that a scheduler is given."""
    optimized = dask.optimize(*arrays)
    return len({key for array in optimized for key in dict(array.__dask_graph__())})


def measured(path: Path, verb: str, workers: int, limit: float, scheduler: str) -> dict[str, float]:
    """Read all chunks, then do what a verb does, and return seconds, peak memory in GB and tasks for each chunk."""
    stored = Stored(path)
    counts = stored.counts["intensity"].data
    if scheduler == "cluster":
        return on_cluster(stored, verb, workers, limit)
    with dask.config.set(scheduler="threads", num_workers=workers):
        read = drain([counts])["seconds"]
        arrays: list[da.Array] = []
        built = seconds(lambda: arrays.extend(arrays_of(VERBS[verb](stored))))
        if limit:
            resource.setrlimit(resource.RLIMIT_DATA, (int(limit * 1e9),) * 2)
        done = drain(arrays)
    sizes = {"stack": counts.nbytes / 1e9, "tasks": n_tasks(arrays) / counts.npartitions}
    return {**sizes, "read": read, "built": built, **done, "peak": peak()}


def on_cluster(stored: Stored, verb: str, workers: int, limit: float) -> dict[str, float]:
    """Do the same on processes that share the limit; the peak is that of all of them together."""
    from distributed import Client, LocalCluster

    share = f"{limit / workers:.3f}GB" if limit else 0
    options = {"n_workers": workers, "threads_per_worker": 1, "memory_limit": share, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        counts = stored.counts["intensity"].data
        read = drain([counts])["seconds"]
        arrays: list[da.Array] = []
        built = seconds(lambda: arrays.extend(arrays_of(VERBS[verb](stored))))
        done = drain(arrays)
        highest = sum(client.run(peak).values())
    sizes = {"stack": counts.nbytes / 1e9, "tasks": n_tasks(arrays) / counts.npartitions}
    return {**sizes, "read": read, "built": built, **done, "peak": highest}


def row(verb: str, found: dict[str, float], limit: float) -> str:
    held = "yes" if not limit or found["peak"] <= limit else "**no**"
    taken = found["built"] + found["seconds"]
    return (
        f"| {verb} | {taken:.1f} | {found['stack'] / taken:.2f} | {taken / found['read']:.1f} | {found['peak']:.2f} "
        f"| {found['tasks']:.0f} | {held} | {found['bits']:016x} |"
    )


def shape_of(gigabytes: float) -> tuple[int, int]:
    """Return whole chunks along y and x, about as many, that hold at least so many gigabytes."""
    chunks = gigabytes * 1e9 / 4 / N_ENERGIES / CHUNK**2
    rows = max(math.floor(math.sqrt(chunks)), 1)
    return CHUNK * rows, CHUNK * math.ceil(chunks / rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=10.0)
    parser.add_argument("--limit", type=float, default=2.0, help="gigabytes of memory; 0 for none")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--schedulers", nargs="+", choices=["threads", "cluster"], default=["threads", "cluster"])
    parser.add_argument("--verbs", nargs="+", choices=VERBS, default=list(VERBS), metavar="VERB")
    parser.add_argument("--folder", help="where the stack is written; by default that of temporary files")
    parser.add_argument("--stack", type=Path, help="counts that are there already, in place of simulated ones")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        found = measured(given.stack, given.measure, given.workers, given.limit, given.schedulers[0])
        print(json.dumps(found))
        return
    print(facts(dask, zarr, xr))
    with tempfile.TemporaryDirectory(dir=given.folder) as place, dask.config.set(num_workers=given.workers):
        path = given.stack or Path(place) / "counts.zarr"
        if not given.stack:
            write_counts(path, shape_of(given.gigabytes))
        for scheduler in given.schedulers:
            table(path, scheduler, given)


def table(path: Path, scheduler: str, given: argparse.Namespace) -> None:
    """Print a row for each verb."""
    print(f"\n{scheduler}, {given.workers} workers, {given.limit:g} GB of memory\n")
    print(
        "| verb | s | GB/s | times a bare read | peak, GB | tasks for each chunk | held | bits |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for verb in given.verbs:
        options = ["--stack", path, "--workers", given.workers, "--limit", given.limit, "--schedulers", scheduler]
        try:
            print(row(verb, child("bench_scale.py", "--measure", verb, *options), given.limit), flush=True)
        except subprocess.CalledProcessError as problem:
            print(f"| {verb} | ended with {problem.returncode} | | | | | **no** | |", flush=True)


if __name__ == "__main__":
    main()
