"""Phase maps of a tree of lazy stacks: time and peak memory against the number of stacks, each number in a process of its own."""

from __future__ import annotations

import argparse
import json
import time

import dask
import dask.array as da
import numpy as np
import xarray as xr
from measuring import child
from resident import peak

import xstxm

N_ENERGIES, CHUNK = 100, 128


def references() -> xr.Dataset:
    return xstxm.testing.simulate_references(energies=np.linspace(508, 548, N_ENERGIES), units="1")


def stack(side: int, seed: int, found: xr.Dataset) -> xr.Dataset:
    """Return an optical density whose chunks are made when they are asked for: mixtures of the references, with noise."""
    spectra = found["absorption"].values.astype("float32")

    def made(block_id: tuple[int, ...]) -> np.ndarray:
        rng = np.random.default_rng((seed, *block_id))
        amounts = rng.random((len(spectra), CHUNK, CHUNK), dtype="float32") / 2
        amounts[:, : CHUNK // 3] = 0
        od = np.tensordot(spectra, amounts, (0, 0))
        return od + 0.02 * rng.standard_normal(od.shape, dtype="float32")

    chunks = ((N_ENERGIES,), *[(CHUNK,) * (side // CHUNK)] * 2)
    data = da.map_blocks(made, chunks=chunks, dtype="float32", meta=np.empty((0, 0, 0), "float32"))
    coords = {dim: (dim, 0.03 * np.arange(side), {"units": "um"}) for dim in ("y", "x")}
    coords["energy"] = found["energy"]
    density = xr.DataArray(data, dims=("energy", "y", "x"), coords=coords, attrs={"units": "1"})
    return density.to_dataset(name="optical_density")


def measure(number: int, side: int, threads: int) -> dict[str, float]:
    found = references()
    tree = xr.DataTree.from_dict({f"field {k}": stack(side, k, found) for k in range(number)})
    with dask.config.set(scheduler="threads", num_workers=threads):
        warm = xr.DataTree.from_dict({"warm": stack(CHUNK, 0, found)})
        warm.stxm.phase_map(found).stxm.compute()
        start = time.perf_counter()
        maps = tree.stxm.phase_map(found)
        planned = time.perf_counter() - start
        done = maps.stxm.compute()
        took = time.perf_counter() - start
        table = done.stxm.summary()
    assert not bool(table["sample_composition"].isnull().any())
    held = sum(one.nbytes for one in done.stxm.stacks.values()) / 1e9
    return {"planned": planned, "seconds": took, "peak": peak(), "result": held}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--numbers", type=int, nargs="+", default=[10, 20, 30])
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure, given.side, given.threads)))
        return
    print(f"stacks of {N_ENERGIES} x {given.side} x {given.side}, float32, {given.threads} threads")
    print("| stacks | s | s / stack | to plan, s | maps, GB | peak, GB |\n|---|---|---|---|---|---|")
    for n in given.numbers:
        found = child("bench_tree.py", "--measure", n, "--side", given.side, "--threads", given.threads)
        row = [found["seconds"], found["seconds"] / n, found["planned"], found["result"], found["peak"]]
        print(f"| {n} | " + " | ".join(f"{value:.3g}" for value in row) + " |")


if __name__ == "__main__":
    main()
