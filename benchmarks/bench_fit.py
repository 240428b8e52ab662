"""Time `xstxm.fit` against a loop over `scipy.optimize.nnls` and against reading the stack once, in turn within one process.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/bench_fit.py --size S --references 3 5 8 12 16 --weights

prints medians of the ratios of neighbouring runs, which survive a busy machine; the loop runs on a sample of
the pixels and is scaled up. With `--weights` every value has a variance, and the loop weights the rows of each pixel.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import scipy
import xarray as xr
from measuring import N_ENERGIES, SIDES, facts, in_turn, read_once, spread
from scipy.optimize import nnls

import xstxm

SAMPLE = 2048
NOISE = 0.016
CASES = [("nnls", "none"), ("nnls", "constant"), ("fcls", "constant"), ("lstsq", "constant")]


@dataclass(frozen=True)
class Comparison:
    """A fit, what it reads, and a loop over the sample that solves the same for scipy."""

    method: str
    background: str
    source: str
    fit: Callable[[], object] = field(repr=False)
    loop: Callable[[], None] = field(repr=False)
    arrays: list[xr.DataArray] = field(repr=False)

    def time(self, rounds: int, threads: int) -> Times:
        """Time the fit, a read and the loop in turn."""

        def read() -> None:
            for array in self.arrays:
                read_once(array.values.reshape(-1))

        read()
        with xstxm.set_options(num_threads=threads):
            ours, once, theirs = in_turn(self.fit, read, self.loop, rounds=rounds)
        n_pixels = self.arrays[0][0].size
        return Times(ours / n_pixels, once / n_pixels, theirs / min(SAMPLE, n_pixels) / threads)


@dataclass(frozen=True)
class Times:
    """Seconds a pixel of a fit, of one read and of scipy (round); the loop is shared out over the threads."""

    fit: np.ndarray
    read: np.ndarray
    loop: np.ndarray


def make_case(
    size: str, *, n_references: int = 5, dtype: str = "float32", seed: int = 0
) -> tuple[xr.DataArray, xr.Dataset]:
    """Return optical density (energy, y, x), four of ten amounts zero, noise of about 4000 counts, and its references."""
    n_energies, shape = N_ENERGIES, (SIDES[size],) * 2
    rng = np.random.default_rng(seed)
    energy = np.linspace(505, 545, n_energies)
    edge = 1 / (1 + np.exp(-(energy - 514) / 1.5))
    centres = np.linspace(515, 538, n_references)
    spectra = edge + np.exp(-(((energy - centres[:, None]) / 3) ** 2))
    amounts = rng.exponential(0.3, (n_references, *shape)) * (rng.random((n_references, *shape)) < 0.6)
    od = np.tensordot(spectra.T, amounts, 1).astype(dtype)
    for image in od:
        image += (rng.standard_normal(shape, dtype=np.float32) * NOISE).astype(dtype)
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
    """Return some pixels (pixel, energy or reference), float64."""
    flat = stack.values.reshape(len(stack), -1)
    return flat[:, :: max(1, flat.shape[1] // SAMPLE)][:, :SAMPLE].T.astype(float).copy()


def counted(od: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Return counts and I0 of an optical density."""
    i0 = xr.full_like(od.energy, 4000.0).rename("i0").assign_attrs(units="count")
    return (4000 * np.exp(-od)).rename("intensity").assign_attrs(units="count"), i0


def plain(size: str, n_references: int = 5) -> Iterator[Comparison]:
    """Yield the fits in which all values weigh alike, that of counts in one pass, and with the optical density made first."""
    od, references = make_case(size, n_references=n_references)
    counts = xr.merge(counted(od))
    for method, background in CASES:
        loop = scipy_loop(od, references, background)
        options = {"method": method, "background": background}

        def fit(options: dict[str, str] = options) -> xr.Dataset:
            return xstxm.fit(od, references, **options)

        def fit_counts(options: dict[str, str] = options) -> xr.Dataset:
            return xstxm.fit(counts, references, **options)

        def fit_twice(options: dict[str, str] = options) -> xr.Dataset:
            return xstxm.fit(xstxm.optical_density(counts), references, **options)

        yield Comparison(method, background, "OD", fit, loop, [od])
        if (method, background) == CASES[0]:
            yield Comparison(method, background, "counts", fit_counts, loop, [counts["intensity"]])
            yield Comparison(method, background, "two steps", fit_twice, loop, [counts["intensity"]])


def weighted(size: str, n_references: int = 5) -> Iterator[Comparison]:
    """Yield the fits with a variance, of each value and of the energies."""
    od, references = make_case(size, n_references=n_references)
    variance = (NOISE**2 * np.exp(0.5 * (od - od.mean()))).assign_attrs(units="1")
    stack = xr.Dataset({"optical_density": od, "optical_density_variance": variance})
    of_energies = variance.mean(("y", "x")).assign_attrs(units="1")
    loop = scipy_loop(od, references, "constant", variance)
    for source, noise, arrays in (("each", None, [od, variance]), ("energies", of_energies, [od])):

        def fit(noise: xr.DataArray | None = noise) -> xr.Dataset:
            return xstxm.fit(stack, references, noise=noise)

        yield Comparison("nnls", "constant", source, fit, loop, arrays)


def objective_above(od: xr.DataArray, references: xr.Dataset) -> float:
    """Return how far, relatively, the worst pixel of the sample lies above the objective that scipy reaches."""
    design = references["absorption"].values.T
    found = sample_of(xstxm.fit(od, references, background="none")["component_map"])
    spectra = sample_of(od)
    reached = ((spectra - found @ design.T) ** 2).sum(1)
    lowest = np.array([nnls(design, spectrum)[1] ** 2 for spectrum in spectra])
    return float((reached / lowest - 1).max())


def same_bits(od: xr.DataArray, references: xr.Dataset) -> bool:
    """Whether one thread, two threads and chunks give the same maps, bit by bit."""
    chunks = {"y": od.sizes["y"] // 3, "x": od.sizes["x"] // 2}
    with xstxm.set_options(num_threads=1):
        one = xstxm.fit(od, references)
        chunked = xstxm.fit(od.chunk(chunks), references).compute()
    with xstxm.set_options(num_threads=2):
        two = xstxm.fit(od, references)
    return one.equals(two) and one.equals(chunked)


def compare(size: str, rounds: int, threads: int, n_references: int, weights: bool) -> None:
    shape = f"{N_ENERGIES} x {SIDES[size]} x {SIDES[size]}"
    print(
        f"{size}: {shape} float32, {n_references} references, {threads} thread(s)\n"
        f"{'method':8}{'background':12}{'from':10}{'ns/pixel':>9}{'reads':>8}{'scipy us/pixel':>16}  ratio (lowest-highest)"
    )
    for comparison in [*plain(size, n_references), *(weighted(size, n_references) if weights else [])]:
        times = comparison.time(rounds, threads)
        print(
            f"{comparison.method:8}{comparison.background:12}{comparison.source:10}{np.median(times.fit) * 1e9:9.0f}"
            f"{np.median(times.fit / times.read):8.1f}{np.median(times.loop) * 1e6:16.2f}  {spread(times.loop / times.fit)}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIDES, default="S")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--weights", action="store_true")
    parser.add_argument("--references", type=int, nargs="+", default=[5])
    given = parser.parse_args()
    print(facts(scipy, xr))
    for n_references in given.references:
        compare(given.size, given.rounds, given.threads, n_references, given.weights)


if __name__ == "__main__":
    main()
