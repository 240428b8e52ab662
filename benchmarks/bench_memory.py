"""Stacks larger than the limit: peak memory of a phase map, and maps of counts on zarr against a bare read.

    python benchmarks/bench_memory.py [--gigabytes 3] [--threads N] [--rounds 3] [--folder /tmp]

Each is a process of its own. The first stack is generated chunk by chunk as it is mapped; the second is written to `--folder`
and removed afterwards, and read and mapped in turn, with the same threads, by default two more than CPUs, as `compute` takes:
from the disk first, dropped from memory before each run, then from memory.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import numpy as np
import xarray as xr
import zarr
from bench_fit import counted
from bench_structure import make_stack, references
from measuring import CHUNK, N_ENERGIES, child, facts, forget, in_turn, seconds, side_of, spread
from resident import peak

import xstxm
from xstxm._sums import n_workers


def generated(gigabytes: float, threads: int) -> dict[str, float]:
    """Map a stack that is made chunk by chunk."""
    found = xstxm.testing.simulate_references()
    side = side_of(gigabytes)
    stack = xstxm.testing.simulate_stack(shape=(side, side), chunks={"y": CHUNK, "x": CHUNK}, seed=0)
    before = peak()
    maps = xr.Dataset()

    def map_phases() -> None:
        nonlocal maps
        od = xstxm.optical_density(stack[["intensity"]], stack["true_i0"])
        maps = xstxm.compute(xstxm.phase_map(od, found))

    with dask.config.set(scheduler="threads", num_workers=threads):
        taken = seconds(map_phases)
    sizes = {"stack": stack["intensity"].nbytes / 1e9, "result": maps.nbytes / 1e9}
    return {**sizes, "seconds": taken, "before": before, "peak": peak()}


def write(path: Path, gigabytes: float, threads: int) -> None:
    """Write counts (energy, y, x) and I0, uncompressed, all energies of 256 x 256 pixels in a chunk."""
    side = side_of(gigabytes)
    counts, i0 = counted(make_stack((side, side), CHUNK))
    with dask.config.set(scheduler="threads", num_workers=threads), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata")
        xr.Dataset({"intensity": counts, "i0": i0}).to_zarr(path, encoding={"intensity": {"compressors": None}})


def from_zarr(path: Path, threads: int, rounds: int) -> dict[str, object]:
    """Read all chunks, and go from counts to all maps of a fit, in turn."""
    stored = zarr.open_group(path, mode="r")["intensity"]
    corners = np.ndindex(*(n // CHUNK for n in stored.shape[1:]))
    tiles = [tuple(slice(CHUNK * k, CHUNK * (k + 1)) for k in corner) for corner in corners]
    n_bytes = 0

    def read_tile(tile: tuple[slice, ...]) -> None:
        stored[:, *tile]

    def read() -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(read_tile, tiles))

    def lazy_fit() -> xr.Dataset:
        return xstxm.fit(xr.open_zarr(path), references())

    def fit() -> None:
        nonlocal n_bytes
        n_bytes = xstxm.compute(lazy_fit()).nbytes

    with dask.config.set(scheduler="threads", num_workers=threads):
        disk = in_turn(fit, read, rounds=rounds, before=lambda: forget(path))
        memory = in_turn(fit, read, rounds=rounds)
    sizes = {"stack": stored.nbytes / 1e9, "result": n_bytes / 1e9, "peak": peak()}
    sizes["tasks"] = len(dict(lazy_fit().__dask_graph__()))
    return {**sizes, "disk": disk.tolist(), "memory": memory.tolist()}


def maps_from_zarr(sizes: list[float], threads: int, rounds: int, folder: str | None = None) -> list[dict[str, object]]:
    """Return what `from_zarr` finds for stacks of so many gigabytes, written for it, in one process of its own."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        paths = [Path(place) / f"{k}.zarr" for k in range(len(sizes))]
        for path, gigabytes in zip(paths, sizes, strict=True):
            write(path, gigabytes, threads)
        options = ["--threads", threads, "--rounds", rounds]
        stacks = child("bench_memory.py", "--measure", *paths, *options)["stacks"]
    return [found | {source: np.array(found[source]) for source in ("disk", "memory")} for found in stacks]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=n_workers())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where the stack is written; by default that of temporary files")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        if given.measure == ["generated"]:
            record = generated(given.gigabytes, given.threads)
        else:
            record = {"stacks": [from_zarr(Path(path), given.threads, given.rounds) for path in given.measure]}
        print(json.dumps(record))
        return
    print(facts(dask, zarr, xr))
    found = child(
        "bench_memory.py", "--measure", "generated", "--gigabytes", given.gigabytes, "--threads", given.threads
    )
    print(
        f"phase map of {found['stack']:.2f} GB, generated: {found['result'] * 1e3:.0f} MB in {found['seconds']:.0f} s, the generation "
        f"included; peak resident memory {found['peak']:.2f} GB ({found['before']:.2f} GB before)"
    )
    (found,) = maps_from_zarr([given.gigabytes], given.threads, given.rounds, given.folder)
    print(
        f"maps of {found['stack']:.2f} GB of counts on zarr, {N_ENERGIES} energies: result {found['result'] * 1e3:.0f} MB, "
        f"peak resident memory {found['peak']:.2f} GB"
    )
    for source in ("disk", "memory"):
        fit, read = found[source]
        print(
            f"from {source}: {np.median(fit):.1f} s, {spread(fit / read)} times a bare read ({np.median(read):.1f} s)"
        )


if __name__ == "__main__":
    main()
