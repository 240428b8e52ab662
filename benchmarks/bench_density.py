"""Time `xstxm.optical_density` against numpy and a copy, and fits from lazy counts against fits in memory, in turn.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/bench_density.py --size M --rounds 5

prints processor time of one thread, which other programs disturb less than the clock, and medians of the ratios of
neighbouring runs. The lazy counts lie in zarr, uncompressed, in chunks of 256 x 256 pixels.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import dask
import numpy as np
import xarray as xr
from bench_fit import SIZES, facts, make_case

import xstxm


def make_counts(size: str) -> tuple[xr.DataArray, xr.DataArray, xr.Dataset]:
    """Return counts (energy, y, x) of about 4000 where there is no sample, their I0, and the references in them."""
    od, references = make_case(size)
    counts = (4000 * np.exp(-od)).assign_attrs(units="count").rename("intensity")
    i0 = xr.DataArray(np.full(od.sizes["energy"], 4000.0), coords={"energy": od["energy"]}, attrs={"units": "count"})
    return counts, i0, references


def density_cases(counts: xr.DataArray, i0: xr.DataArray) -> dict[str, Callable[[], object]]:
    stack = counts.to_dataset()
    values, incident = counts.values, i0.values.astype(counts.dtype)[:, None, None]
    return {
        "numpy -log(I / I0)": lambda: -np.log(values / incident),
        "a copy": values.copy,
        "optical_density": lambda: xstxm.optical_density(stack, i0),
        "optical_density, poisson": lambda: xstxm.optical_density(stack, i0, noise="poisson"),
    }


def fit_cases(
    counts: xr.DataArray, i0: xr.DataArray, references: xr.Dataset, folder: Path
) -> dict[str, Callable[[], object]]:
    def fit(source: Callable[[], xr.DataArray]) -> Callable[[], object]:
        return lambda: xstxm.fit(xstxm.optical_density(source(), i0), references, background="none").compute()

    cases = {"fit, in memory": fit(lambda: counts)}
    for parts in (1, 4):
        path = folder / f"{parts}.zarr"
        chunks = {"energy": counts.sizes["energy"] // parts, "y": 256, "x": 256}
        encoding = {"intensity": {"compressors": None}}
        counts.to_dataset().chunk(chunks).to_zarr(path, encoding=encoding, consolidated=False)

        def lazy(path: Path = path) -> xr.DataArray:
            return xr.open_zarr(path, consolidated=False)["intensity"]

        cases[f"read of zarr, {parts} chunk(s) in energy"] = lambda lazy=lazy: lazy().data.max().compute()
        cases[f"fit, {parts} chunk(s) in energy"] = fit(lazy)
    return cases


def report(cases: dict[str, Callable[[], object]], against: str, rounds: int, n_pixels: int) -> None:
    """Time the cases in turn, and print a line for each."""
    for call in cases.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, call in cases.items():
            start = time.thread_time()
            call()
            times[name].append(time.thread_time() - start)
    print(f"{'':34}{'ns/pixel':>10}{against + ' / this':>30}{'lowest':>8}{'highest':>9}")
    for name, taken in times.items():
        ratios = np.divide(times[against], taken)
        middle = np.median(taken) / n_pixels * 1e9
        print(f"{name:34}{middle:10.0f}{np.median(ratios):30.2f}{ratios.min():8.2f}{ratios.max():9.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="S")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(facts())
    counts, i0, references = make_counts(given.size)
    n_pixels = counts[0].size
    print(f"{given.size}: {' x '.join(map(str, counts.shape))} {counts.dtype}, 1 thread")
    with xstxm.set_options(num_threads=1), dask.config.set(scheduler="sync"), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore", xstxm.errors.PerformanceWarning)
        report(density_cases(counts, i0), "numpy -log(I / I0)", given.rounds, n_pixels)
        report(fit_cases(counts, i0, references, Path(folder)), "fit, in memory", given.rounds, n_pixels)


if __name__ == "__main__":
    main()
