"""Time `xstxm.batch`, counts in files to maps in files, against a bare read of the same files: processor time here, time on workers.

python benchmarks/bench_batch.py [--side 512] [--files 8] [--workers 1 2] [--rounds 3] [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from distributed import Client, LocalCluster
from measuring import N_ENERGIES, facts, forget, in_turn, spread

import xstxm


def write_files(folder: Path, side: int, n: int) -> list[Path]:
    """Write stacks (120, side, side) of float32 counts."""
    energies = np.linspace(510, 545, N_ENERGIES)
    stack = xstxm.testing.simulate_stack(shape=(side, side), energies=energies, seed=0)[["intensity"]]
    return [xstxm.write_nxstxm(stack.astype("float32"), folder / f"stack{k}.hdf5") for k in range(n)]


def recipe_of(file: Path) -> xstxm.Recipe:
    references = xstxm.testing.simulate_references()
    maps = xstxm.phase_map(xstxm.open_stack(file), references, min_amount=0.1)
    return xstxm.Recipe.from_result(maps, {"references": references})


def read_all(files: list[Path]) -> None:
    """Read every array of the files."""

    def read(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            item[()]

    for path in files:
        with h5py.File(path) as file:
            file.visititems(read)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    print(facts())
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        files = write_files(folder, given.side, given.files)
        report_processor(files[0], given.rounds)
        for n in given.workers:
            with LocalCluster(n, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster) as client:
                report(files, n, client, given.rounds)


def report_processor(file: Path, rounds: int) -> None:
    """Print the processor time that a file takes on one thread, which other work on the machine stretches least."""
    recipe, folder = recipe_of(file), file.parent / "processor"

    def work(call: Callable[[], object]) -> float:
        start = time.process_time()
        call()
        return time.process_time() - start

    with xstxm.set_options(num_threads=1):
        calls = (
            lambda: read_all([file]),
            lambda: xstxm.batch(recipe, [file], folder, overwrite=True),
            lambda: xstxm.batch(recipe, [file], folder),
        )
        calls[1]()  # loads what is compiled
        read, maps, skipped = np.median([[work(call) for call in calls] for _ in range(rounds)], axis=0)
    size = file.stat().st_size / 1e9
    print(
        f"processor time of a file of {size:.3g} GB: read {read:.3g} s, mapped and written {maps:.3g} s "
        f"({size / maps:.2g} GB/s), skipped {skipped:.3g} s"
    )


def report(files: list[Path], n: int, client: Client, rounds: int) -> None:
    recipe, folder = recipe_of(files[0]), files[0].parent

    def mapped() -> None:
        table = xstxm.batch(recipe, files, folder / "maps", client=client, overwrite=True)
        assert (table["state"] == "written").all(), table["reason"]

    mapped()  # workers load what is compiled
    read, maps = in_turn(lambda: read_all(files), mapped, rounds=rounds, before=lambda: forget(folder))
    size = sum(file.stat().st_size for file in files) / 1e9
    print(
        f"{n} workers: {size / np.median(maps):.3g} GB/s, {spread(maps / read)} times a bare read by one process "
        f"({size / np.median(read):.3g} GB/s); {np.median(maps) / len(files):.3g} s a file of {size / len(files):.3g} GB"
    )


if __name__ == "__main__":
    main()
