"""Time `xstxm.fit` against a loop over `scipy.optimize.nnls` and against reading the stack once, in turn within one process.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/bench_fit.py --size S --references 3 5 8 12 16 --weights

prints medians of the ratios of neighbouring runs, which survive a busy machine; the loop runs on a sample of
the pixels and is scaled up. With `--weights` every value has a variance, and the loop weights the rows of each pixel. `asv run` times the same cases by themselves.
"""

from __future__ import annotations

import argparse
import functools
import os
import platform
import time
from collections.abc import Callable

import numba
import numpy as np
import scipy
import xarray as xr
from scipy.optimize import nnls

import xstxm

SIZES = {"S": (120, 256, 256), "M": (120, 1024, 1024)}
SAMPLE = 2048
CASES = [("nnls", "none"), ("nnls", "constant"), ("fcls", "constant"), ("lstsq", "constant")]


def make_case(
    size: str, *, n_references: int = 5, dtype: str = "float32", seed: int = 0
) -> tuple[xr.DataArray, xr.Dataset]:
    """Return optical density (energy, y, x), four of ten amounts zero, noise of about 4000 counts, and its references."""
    n_energies, *shape = SIZES[size]
    rng = np.random.default_rng(seed)
    energy = np.linspace(505, 545, n_energies)
    edge = 1 / (1 + np.exp(-(energy - 514) / 1.5))
    centres = np.linspace(515, 538, n_references)
    spectra = edge + np.exp(-(((energy - centres[:, None]) / 3) ** 2))
    amounts = rng.exponential(0.3, (n_references, *shape)) * (rng.random((n_references, *shape)) < 0.6)
    od = np.tensordot(spectra.T, amounts, 1).astype(dtype)
    for image in od:
        image += (rng.standard_normal(shape, dtype=np.float32) * 0.016).astype(dtype)
    axis = ("energy", energy, {"units": "eV"})
    names = [f"phase {k + 1}" for k in range(n_references)]
    references = xr.Dataset(
        {"absorption": (("reference", "energy"), spectra, {"units": "1"})}, coords={"reference": names, "energy": axis}
    )
    return xr.DataArray(od, dims=("energy", "y", "x"), coords={"energy": axis}, attrs={"units": "1"}), references


def scipy_loop(
    od: xr.DataArray, references: xr.Dataset, background: str, variance: xr.DataArray | None = None
) -> Callable[[], None]:
    """Return a loop over the sample, its data laid out for scipy beforehand; a free constant is two columns."""
    spectra = references["absorption"].values
    ones = np.ones((1, spectra.shape[1]))
    design = np.concatenate([spectra, ones, -ones] if background == "constant" else [spectra]).T.copy()
    sample = sample_of(od)

    def loop() -> None:
        for spectrum in sample:
            nnls(design, spectrum)

    if variance is None:
        return loop
    roots = 1 / np.sqrt(sample_of(variance))

    def weighted_loop() -> None:
        for spectrum, root in zip(sample, roots, strict=True):
            nnls(design * root[:, None], spectrum * root)

    return weighted_loop


def sample_of(stack: xr.DataArray) -> np.ndarray:
    """Return some spectra (pixel, energy), float64."""
    flat = stack.values.reshape(stack.sizes["energy"], -1)
    return flat[:, :: max(1, flat.shape[1] // SAMPLE)][:, :SAMPLE].T.astype(float).copy()


@numba.njit(fastmath=True)
def read_once(flat: np.ndarray) -> float:
    """Add up an array: the least that anything which looks at every value can cost."""
    total = flat[0]
    for p in range(1, flat.size):
        total += flat[p]
    return total


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare(size: str, rounds: int, threads: int, n_references: int, weights: bool) -> None:
    od, references = make_case(size, n_references=n_references)
    n_pixels = od.size // od.sizes["energy"]
    counts = (4000 * np.exp(-od)).assign_attrs(units="count")
    i0 = xr.full_like(od.energy, 4000.0).rename("i0").assign_attrs(units="count")
    print(
        f"{size}: {' x '.join(map(str, od.shape))} {od.dtype}, {n_references} references, {threads} thread(s)\n"
        f"{'method':8}{'background':12}{'from':9}{'fit s':>8}{'ns/pixel':>10}{'reads':>8}{'scipy us/pixel':>16}{'ratio':>8}"
        f"{'lowest':>8}{'highest':>9}"
    )
    with xstxm.set_options(num_threads=threads):
        for method, background in CASES:
            loop = scipy_loop(od, references, background)
            options = {"method": method, "background": background}
            calls = {"OD": lambda options=options: xstxm.fit(od, references, **options)}
            if (method, background) == CASES[0]:
                calls["counts"] = lambda options=options: xstxm.fit(
                    xstxm.optical_density(counts, i0), references, **options
                )
            for source, call in calls.items():
                report(method, background, source, call, loop, [od], rounds, threads, n_pixels)
        if weights:
            variance = (0.016**2 * np.exp(0.5 * (od - od.mean()))).assign_attrs(units="1")
            stack = xr.Dataset({"optical_density": od, "optical_density_variance": variance})
            of_energies = variance.mean(("y", "x")).assign_attrs(units="1")
            loop = scipy_loop(od, references, "constant", variance)
            for source, noise, arrays in (("each", None, [od, variance]), ("energies", of_energies, [od])):
                fit = functools.partial(xstxm.fit, stack, references, noise=noise)
                report("nnls", "constant", source, fit, loop, arrays, rounds, threads, n_pixels)


def report(
    method: str,
    background: str,
    source: str,
    call: Callable[[], object],
    loop: Callable[[], None],
    arrays: list[xr.DataArray],
    rounds: int,
    threads: int,
    n_pixels: int,
) -> None:
    """Time a call, the loop and a read of the arrays in turn, and print a line."""

    def read() -> None:
        for array in arrays:
            read_once(array.values.reshape(-1))

    call(), read()
    times = [(seconds(call), seconds(read), seconds(loop)) for _ in range(rounds)]
    ours, read, theirs = np.array(times).T
    ratios = theirs * n_pixels / SAMPLE / threads / ours
    print(
        f"{method:8}{background:12}{source:9}{np.median(ours):8.3f}{np.median(ours) / n_pixels * 1e9:10.0f}"
        f"{np.median(ours / read):8.1f}{np.median(theirs) / SAMPLE * 1e6:16.2f}{np.median(ratios):8.0f}"
        f"{ratios.min():8.0f}{ratios.max():9.0f}"
    )


def facts() -> str:
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    packages = ", ".join(f"{module.__name__} {module.__version__}" for module in (xstxm, np, scipy, numba, xr))
    return f"{packages}; Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} CPUs{load}"


class Fit:
    """For asv: seconds and peak memory of a fit."""

    params = (["S"], ["lstsq", "nnls", "fcls"], ["float32", "float64"])
    param_names = ("size", "method", "dtype")

    def setup(self, size: str, method: str, dtype: str) -> None:
        self.od, self.references = make_case(size, dtype=dtype)
        self.time_fit(size, method, dtype)

    def time_fit(self, size: str, method: str, dtype: str) -> None:
        xstxm.fit(self.od, self.references, method=method)

    def time_fit_lazily(self, size: str, method: str, dtype: str) -> None:
        xstxm.fit(self.od.chunk(y=64), self.references, method=method).compute()

    def peakmem_fit(self, size: str, method: str, dtype: str) -> None:
        xstxm.fit(self.od, self.references, method=method)


class References:
    """For asv: how the time grows with the number of references."""

    params = ([2, 4, 6, 8, 10, 12, 16],)
    param_names = ("references",)

    def setup(self, n: int) -> None:
        self.od, self.references = make_case("S", n_references=n)
        self.time_nnls(n)

    def time_nnls(self, n: int) -> None:
        xstxm.fit(self.od, self.references)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="S")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--weights", action="store_true")
    parser.add_argument("--references", type=int, nargs="+", default=[5])
    given = parser.parse_args()
    print(facts())
    for n_references in given.references:
        compare(given.size, given.rounds, given.threads, n_references, given.weights)


if __name__ == "__main__":
    main()
