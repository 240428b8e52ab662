"""Time `xstxm.pca` and the k-means of `xstxm.cluster` against other ways, in turn within one process, and show their memory.

    python benchmarks/bench_structure.py --size S M --gigabytes 10

prints medians of the ratios of neighbouring runs, which survive a busy machine. The memory of a lazy stack is measured in
a process of its own. Threads are those of the BLAS library: set OMP_NUM_THREADS and OPENBLAS_NUM_THREADS.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import dask
import dask.array as da
import numpy as np
import sklearn
import xarray as xr
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

import xstxm
from xstxm._partition import kmeans_centres
from xstxm.decomposition import eigenspectra, scores, second_moment

SIZES = {"S": (256, 256), "M": (1024, 1024)}
N_ENERGIES, N_SIGNALS, N_SCORES, N_CLUSTERS = 120, 5, 8, 6
CHUNK = 256


def make_stack(shape: tuple[int, int], chunks: int | None = None) -> xr.DataArray:
    """Return a synthetic optical density (energy, y, x), float32: five spectra, patches, noise of about 4000 counts."""
    energy = np.linspace(510, 545, N_ENERGIES)
    centres = np.linspace(516, 538, N_SIGNALS)
    spectra = 0.3 + np.exp(-(((energy - centres[:, None]) / 4) ** 2))

    def block(start: tuple[int, ...], size: tuple[int, ...]) -> np.ndarray:
        rng = np.random.default_rng(start)
        y, x = (np.arange(a, a + n) for a, n in zip(start, size, strict=True))
        waves = [np.sin(x / (9 + 4 * k) + k) + np.sin(y[:, None] / (11 + 3 * k) - k) for k in range(N_SIGNALS)]
        amounts = np.maximum(np.stack(waves), 0) * 0.25
        od = np.tensordot(spectra.T, amounts, 1).astype("float32")
        return od + 0.016 * rng.standard_normal(od.shape, dtype="float32")

    if chunks is None:
        data = block((0, 0), shape)
    else:
        grid = tuple((chunks,) * (n // chunks) for n in shape)
        data = da.map_blocks(
            lambda block_info=None: block(
                tuple(a for a, _ in block_info[None]["array-location"][1:]), block_info[None]["chunk-shape"][1:]
            ),
            chunks=((N_ENERGIES,), *grid),
            dtype="float32",
            meta=np.empty((0, 0, 0), "float32"),
        )
    axis = ("energy", energy, {"units": "eV"})
    return xr.DataArray(data, dims=("energy", "y", "x"), coords={"energy": axis}, attrs={"units": "1"}, name="od")


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_turn(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> np.ndarray:
    """Return the seconds of both (round, 2)."""
    return np.array([(seconds(ours), seconds(theirs)) for _ in range(rounds)])


def row(name: str, pairs: np.ndarray, note: str = "") -> None:
    ratio = pairs[:, 1] / pairs[:, 0]
    ours, theirs = np.median(pairs, axis=0)
    print(f"  {name:44}{ours:8.3f}{theirs:9.3f}{np.median(ratio):8.2f} ({ratio.min():.2f}-{ratio.max():.2f})  {note}")


def compare_pca(size: str, rounds: int) -> None:
    od = make_stack(SIZES[size])
    pixels = od.values.reshape(N_ENERGIES, -1)
    exact = np.linalg.eigvalsh(pixels.astype(float) @ pixels.T.astype(float))[::-1] / pixels.shape[1]
    print(f"PCA, {size}: {od.shape} {od.dtype}, {N_SCORES} scores; eigenvalues against float64 over all {N_ENERGIES}")
    print(f"  {'peer':44}{'xstxm s':>8}{'peer s':>9}{'ratio':>8}")
    found = xstxm.pca(od, N_SCORES)

    def apart(values: np.ndarray, from_: np.ndarray = exact) -> str:
        return f"largest relative error {np.abs(values / from_[: len(values)] - 1).max():.0e}"

    print(f"  xstxm: {apart(found['scree'].values)}")
    centred = np.linalg.eigvalsh(np.cov(pixels.astype(float)))[::-1]
    for dtype in ("float32", "float64"):

        def peer(dtype: str = dtype) -> PCA:
            return PCA(N_SCORES, svd_solver="covariance_eigh").fit(pixels.T.astype(dtype, copy=False))

        def transformed(dtype: str = dtype) -> np.ndarray:
            return PCA(N_SCORES, svd_solver="covariance_eigh").fit_transform(pixels.T.astype(dtype, copy=False))

        full = PCA(svd_solver="covariance_eigh").fit(pixels.T.astype(dtype, copy=False)).explained_variance_
        row(
            f"scikit-learn covariance_eigh, {dtype}",
            in_turn(lambda: xstxm.pca(od, N_SCORES, center=True), transformed, rounds),
            apart(full, centred),
        )
    randomized = PCA(N_SCORES, svd_solver="randomized", random_state=0)
    row(
        "scikit-learn randomized",
        in_turn(lambda: xstxm.pca(od, N_SCORES), lambda: randomized.fit_transform(pixels.T), rounds),
    )
    lazy = od.chunk(y=CHUNK, x=CHUNK)
    flat = da.from_array(pixels, chunks=(N_ENERGIES, CHUNK * CHUNK))

    def compressed() -> np.ndarray:
        return np.asarray(dask.compute(*da.linalg.svd_compressed(flat, N_SCORES, n_power_iter=2, seed=0))[1])

    values = compressed() ** 2 / pixels.shape[1]
    row(
        "dask svd_compressed, 2 power iterations",
        in_turn(lambda: xstxm.pca(lazy, N_SCORES).compute(), compressed, rounds),
        apart(values),
    )


def inertia(points: np.ndarray, weight: np.ndarray, centres: np.ndarray) -> float:
    squares = np.min([((points - centre) ** 2).sum(1) for centre in centres.astype(float)], axis=0)
    return float(weight @ squares)


def compare_clusters(size: str, rounds: int, seed: int) -> None:
    stack = xstxm.testing.simulate_stack(shape=SIZES[size], seed=seed)
    od = xstxm.optical_density(stack, stack["true_i0"])["optical_density"]
    usable = xr.DataArray(np.ones(od.shape[1:], dtype=bool), dims=("y", "x"))
    basis = eigenspectra(second_moment(od, usable), usable.size, N_SIGNALS)
    values = np.asarray(scores(od, basis)[0]).reshape(N_SIGNALS, -1).T
    length = np.linalg.norm(values, axis=1)
    print(f"k-means, {size}, stack {seed}: {len(values)} pixels, {N_SIGNALS} scores, {N_CLUSTERS} clusters")
    print(f"  {'peer':44}{'xstxm s':>8}{'peer s':>9}{'ratio':>8}")
    for name, points, weight in (
        ("by thickness", values / length[:, None], length**2),
        ("plain scores", values, np.ones_like(length)),
    ):
        rows = np.ascontiguousarray(points)

        def peer(rows: np.ndarray = rows, weight: np.ndarray = weight) -> np.ndarray:
            return KMeans(N_CLUSTERS, n_init=10, random_state=0).fit(rows, sample_weight=weight).cluster_centers_

        def ours(points: np.ndarray = points, weight: np.ndarray = weight, seed: int = 0) -> np.ndarray:
            return kmeans_centres(points, weight, N_CLUSTERS, seed)

        other = inertia(points, weight, peer())
        reached = [inertia(points, weight, ours(seed=start)) / other - 1 for start in range(5)]
        row(
            f"scikit-learn n_init=10, {name}",
            in_turn(ours, peer, rounds),
            f"inertia 1 {min(reached):+.1e} to 1 {max(reached):+.1e} of theirs, seeds 0-4",
        )

    def pipeline() -> np.ndarray:
        pixels = od.values.reshape(od.sizes["energy"], -1).T
        values = PCA(N_SIGNALS, svd_solver="covariance_eigh").fit_transform(pixels)
        return KMeans(N_CLUSTERS, n_init=10, random_state=0).fit_predict(values)

    row(
        "scikit-learn PCA, then n_init=10; xstxm.cluster",
        in_turn(lambda: xstxm.cluster(od, N_CLUSTERS, n_components=N_SIGNALS, min_amount=0), pipeline, rounds),
        "labels only; xstxm: memberships, spectra, silhouettes, stability",
    )


def measure(what: str, gigabytes: float) -> None:
    """Decompose a lazy stack that is made chunk by chunk, and print seconds and peak memory of this process."""
    side = int(np.sqrt(gigabytes * 1e9 / 4 / N_ENERGIES) // CHUNK + 1) * CHUNK
    lazy = make_stack((side, side), CHUNK)
    before = peak()
    start = time.perf_counter()
    with dask.config.set(scheduler="threads", num_workers=2):
        if what == "pca":
            found = xstxm.pca(lazy, N_SCORES)
            dask.compute(found.drop_vars("eigenimages"), found["eigenimages"].mean(("y", "x")))
        elif what == "cluster":
            dask.compute(xstxm.cluster(lazy, N_CLUSTERS, n_components=N_SIGNALS)["labels"])
        else:
            flat = lazy.data.reshape(N_ENERGIES, -1)
            dask.compute(*da.linalg.svd_compressed(flat, N_SCORES, n_power_iter=2, seed=0)[:2])
    print(
        f"  {what:18}{lazy.nbytes / 1e9:6.1f} GB lazily, chunks of {CHUNK} x {CHUNK}: {time.perf_counter() - start:6.0f} s, "
        f"peak {peak():.2f} GB ({before:.2f} before)"
    )


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def facts() -> str:
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    packages = ", ".join(f"{module.__name__} {module.__version__}" for module in (xstxm, np, sklearn, dask, xr))
    return f"{packages}; Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} CPUs{load}"


class Structure:
    """For asv: seconds of the decomposition and of clusters."""

    def setup(self) -> None:
        self.od = make_stack(SIZES["S"])

    def time_pca(self) -> None:
        xstxm.pca(self.od, N_SCORES)

    def time_cluster(self) -> None:
        xstxm.cluster(self.od, N_CLUSTERS, n_components=N_SIGNALS)

    def peakmem_pca(self) -> None:
        xstxm.pca(self.od, N_SCORES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, nargs="+", default=["S"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stacks", type=int, default=3, help="synthetic stacks to cluster")
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument(
        "--peers", action="store_true", help="also the memory of dask's svd_compressed, which needs all of it"
    )
    parser.add_argument("--measure", choices=["pca", "cluster", "svd_compressed"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.measure, given.gigabytes)
        return
    print(facts())
    # first: a child starts with the peak of its parent
    print("memory", flush=True)
    for what in ["pca", "cluster", *(["svd_compressed"] if given.peers else [])]:
        subprocess.run([sys.executable, __file__, "--measure", what, "--gigabytes", str(given.gigabytes)], check=True)
    for size in given.size:
        compare_pca(size, given.rounds)
        for seed in range(given.stacks):
            compare_clusters(size, given.rounds, seed)


if __name__ == "__main__":
    main()
