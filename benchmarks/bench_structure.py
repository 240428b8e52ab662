"""Time `xstxm.pca` and the k-means of `xstxm.cluster` against other ways, in turn within one process, and show their memory.

    python benchmarks/bench_structure.py --size S M --gigabytes 10

prints medians of the ratios of neighbouring runs, which survive a busy machine. The memory of a lazy stack is measured in
a process of its own. Threads are those of the BLAS library: set OMP_NUM_THREADS and OPENBLAS_NUM_THREADS.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import dask
import dask.array as da
import numpy as np
import sklearn
import xarray as xr
from measuring import CHUNK, N_ENERGIES, SIDES, child, facts, forget, in_turn, seconds, side_of, spread
from resident import peak
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

import xstxm
from xstxm._partition import kmeans_centres
from xstxm.decomposition import eigenspectra, scores, second_moment

N_SIGNALS, N_SCORES, N_CLUSTERS = 5, 8, 6
ENERGY = np.linspace(510, 545, N_ENERGIES)
SPECTRA = 0.3 + np.exp(-(((ENERGY - np.linspace(516, 538, N_SIGNALS)[:, None]) / 4) ** 2))
Pair: TypeAlias = tuple[Callable[[], object], Callable[[], object]]
"""A call of xstxm and that of a peer."""


def make_stack(shape: tuple[int, int], chunks: int | None = None) -> xr.DataArray:
    """Return a synthetic optical density (energy, y, x), float32: five spectra, patches, noise of about 4000 counts."""

    def block(start: tuple[int, ...], size: tuple[int, ...]) -> np.ndarray:
        rng = np.random.default_rng(start)
        y, x = (np.arange(a, a + n) for a, n in zip(start, size, strict=True))
        waves = [np.sin(x / (9 + 4 * k) + k) + np.sin(y[:, None] / (11 + 3 * k) - k) for k in range(N_SIGNALS)]
        amounts = np.maximum(np.stack(waves), 0) * 0.25
        od = np.tensordot(SPECTRA.T, amounts, 1).astype("float32")
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
    axis = ("energy", ENERGY, {"units": "eV"})
    return xr.DataArray(data, dims=("energy", "y", "x"), coords={"energy": axis}, attrs={"units": "1"}, name="od")


def references() -> xr.Dataset:
    """Return the spectra of `make_stack` as a reference set."""
    coords = {"reference": [f"phase {k + 1}" for k in range(N_SIGNALS)], "energy": ("energy", ENERGY, {"units": "eV"})}
    return xr.Dataset({"absorption": (("reference", "energy"), SPECTRA, {"units": "1"})}, coords)


def row(name: str, pair: Pair, rounds: int, note: str = "") -> None:
    ours, theirs = in_turn(*pair, rounds=rounds)
    print(f"  {name:48}{np.median(ours):8.3f}{np.median(theirs):9.3f}  {spread(theirs / ours):16} {note}")


HEADER = f"  {'peer':48}{'xstxm s':>8}{'peer s':>9}  ratio"


def exact_eigenvalues(pixels: np.ndarray, center: bool = False) -> np.ndarray:
    """Return all eigenvalues in float64, the largest first, of pixels (energy, pixel)."""
    pixels = pixels.astype(float)
    moment = np.cov(pixels) if center else pixels @ pixels.T / pixels.shape[1]
    return np.linalg.eigvalsh(moment)[::-1]


def eigenvalue_error(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.abs(np.asarray(found) / exact[: len(found)] - 1).max())


def against_covariance(od: xr.DataArray, dtype: str) -> tuple[Pair, np.ndarray, np.ndarray]:
    """Return centred scores by xstxm and by scikit-learn, and the eigenvalues of both."""
    pixels = od.values.reshape(N_ENERGIES, -1)

    def theirs() -> np.ndarray:
        return PCA(N_SCORES, svd_solver="covariance_eigh").fit_transform(pixels.T.astype(dtype, copy=False))

    def ours() -> xr.Dataset:
        return xstxm.pca(od, N_SCORES, center=True)

    full = PCA(svd_solver="covariance_eigh").fit(pixels.T.astype(dtype, copy=False)).explained_variance_
    return (ours, theirs), ours()["scree"].values, full


def against_svd_compressed(od: xr.DataArray) -> tuple[Pair, np.ndarray, np.ndarray]:
    """Return lazy scores by xstxm and by dask, and the eigenvalues of both."""
    lazy, n_pixels = od.chunk(y=CHUNK, x=CHUNK), od[0].size
    flat = da.from_array(od.values.reshape(N_ENERGIES, -1), chunks=(N_ENERGIES, CHUNK * CHUNK))

    def theirs() -> np.ndarray:
        return np.asarray(dask.compute(*da.linalg.svd_compressed(flat, N_SCORES, n_power_iter=2, seed=0))[1])

    def ours() -> xr.Dataset:
        return xstxm.pca(lazy, N_SCORES).compute()

    return (ours, theirs), ours()["scree"].values, theirs() ** 2 / n_pixels


def compare_pca(size: str, rounds: int) -> None:
    od = make_stack((SIDES[size],) * 2)
    pixels = od.values.reshape(N_ENERGIES, -1)
    print(
        f"PCA, {size}: {od.shape} {od.dtype}, {N_SCORES} scores; largest relative error of the eigenvalues, xstxm / peer"
    )
    print(HEADER)
    centred, plain = exact_eigenvalues(pixels, center=True), exact_eigenvalues(pixels)
    for name, (pair, found, others), exact in (
        ("scikit-learn covariance_eigh, float32", against_covariance(od, "float32"), centred),
        ("scikit-learn covariance_eigh, float64", against_covariance(od, "float64"), centred),
        ("dask svd_compressed, 2 power iterations", against_svd_compressed(od), plain),
    ):
        row(name, pair, rounds, f"{eigenvalue_error(found, exact):.0e} / {eigenvalue_error(others, exact):.0e}")
    randomized = PCA(N_SCORES, svd_solver="randomized", random_state=0)
    row(
        "scikit-learn randomized",
        (lambda: xstxm.pca(od, N_SCORES), lambda: randomized.fit_transform(pixels.T)),
        rounds,
    )


def simulated(size: str, seed: int) -> xr.DataArray:
    stack = xstxm.testing.simulate_stack(shape=(SIDES[size],) * 2, seed=seed)
    return xstxm.optical_density(stack, stack["true_i0"])["optical_density"]


def inertia(points: np.ndarray, weight: np.ndarray, centres: np.ndarray) -> float:
    squares = np.min([((points - centre) ** 2).sum(1) for centre in centres.astype(float)], axis=0)
    return float(weight @ squares)


def plain_scores(od: xr.DataArray) -> np.ndarray:
    """Return scores (pixel, component) by numpy, without centring."""
    pixels = od.values.reshape(len(od), -1)
    return pixels.T @ np.linalg.eigh(pixels @ pixels.T)[1][:, -N_SIGNALS:]


def whole_clusters(od: xr.DataArray) -> tuple[Pair, float]:
    """Return `xstxm.cluster` of plain spectra, all pixels, and numpy with scikit-learn; and the inertia of the first over the second."""

    def ours() -> np.ndarray:
        options = {"normalize": "none", "background": "none", "min_amount": 0}
        return xstxm.cluster(od, N_CLUSTERS, n_components=N_SIGNALS, **options)["labels"].values.ravel()

    def theirs() -> np.ndarray:
        return KMeans(N_CLUSTERS, n_init=10, random_state=0).fit_predict(plain_scores(od))

    points = plain_scores(od).astype(float)

    def within(labels: np.ndarray) -> float:
        return sum(((part - part.mean(0)) ** 2).sum() for part in (points[labels == k] for k in np.unique(labels)))

    return (ours, theirs), within(ours()) / within(theirs())


def compare_kmeans(od: xr.DataArray, rounds: int) -> None:
    usable = xr.DataArray(np.ones(od.shape[1:], dtype=bool), dims=("y", "x"))
    basis = eigenspectra(second_moment(od, usable), usable.size, N_SIGNALS)
    values = np.asarray(scores(od, basis)[0]).reshape(N_SIGNALS, -1).T
    length = np.linalg.norm(values, axis=1)
    for name, points, weight in (
        ("by thickness", values / length[:, None], length**2),
        ("plain scores", values, np.ones_like(length)),
    ):
        rows = np.ascontiguousarray(points)

        def theirs(rows: np.ndarray = rows, weight: np.ndarray = weight) -> np.ndarray:
            return KMeans(N_CLUSTERS, n_init=10, random_state=0).fit(rows, sample_weight=weight).cluster_centers_

        def ours(points: np.ndarray = points, weight: np.ndarray = weight, seed: int = 0) -> np.ndarray:
            return kmeans_centres(points, weight, N_CLUSTERS, seed)

        other = inertia(points, weight, theirs())
        reached = [inertia(points, weight, ours(seed=start)) / other - 1 for start in range(5)]
        note = f"inertia 1 {min(reached):+.1e} to 1 {max(reached):+.1e} of theirs, seeds 0-4"
        row(f"scikit-learn n_init=10, {name}", (ours, theirs), rounds, note)


def compare_clusters(size: str, rounds: int, seed: int) -> None:
    od = simulated(size, seed)
    print(f"clusters, {size}, stack {seed}: {od[0].size} pixels, {N_SIGNALS} scores, {N_CLUSTERS} clusters")
    print(HEADER)
    compare_kmeans(od, rounds)
    pair, relative = whole_clusters(od)
    note = f"inertia 1 {relative - 1:+.1e} of theirs; xstxm: also memberships, spectra, silhouettes, stability"
    row("whole: xstxm.cluster; scores, then n_init=10", pair, rounds, note)


def generated(gigabytes: float) -> xr.DataArray:
    """Return a lazy stack that is made chunk by chunk."""
    side = side_of(gigabytes)
    return make_stack((side, side), CHUNK)


def write(folder: Path, gigabytes: float) -> Path:
    """Write such a stack into a folder, uncompressed, all energies of 256 x 256 pixels in a chunk."""
    path = folder / "od.zarr"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Consolidated metadata")
        encoding = {"optical_density": {"compressors": None}}
        generated(gigabytes).rename("optical_density").to_dataset().to_zarr(path, encoding=encoding)
    return path


def stored(path: Path) -> xr.DataArray:
    """Return a lazy stack of a store, dropped from the memory of the system."""
    forget(path)
    return xr.open_zarr(path)["optical_density"]


def lazy_pca(lazy: xr.DataArray) -> list[object]:
    found = xstxm.pca(lazy, N_SCORES)
    return [found.drop_vars("eigenimages"), found["eigenimages"].mean(("y", "x"))]


def lazy_cluster(lazy: xr.DataArray) -> list[object]:
    return [xstxm.cluster(lazy, N_CLUSTERS, n_components=N_SIGNALS)["labels"]]


def lazy_svd_compressed(lazy: xr.DataArray) -> list[object]:
    return list(da.linalg.svd_compressed(lazy.data.reshape(N_ENERGIES, -1), N_SCORES, n_power_iter=2, seed=0)[:2])


LAZY = {"pca": lazy_pca, "cluster": lazy_cluster, "svd_compressed": lazy_svd_compressed}


def measure(what: str, lazy: xr.DataArray, workers: int) -> None:
    """Decompose a lazy stack, and print seconds and peak memory of this process as JSON."""
    before = peak()
    with dask.config.set(scheduler="threads", num_workers=workers):
        taken = seconds(lambda: dask.compute(*LAZY[what](lazy)))
    print(json.dumps({"gigabytes": lazy.nbytes / 1e9, "seconds": taken, "peak": peak(), "before": before}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIDES, nargs="+", default=["S"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stacks", type=int, default=3, help="synthetic stacks to cluster")
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument(
        "--peers", action="store_true", help="also the memory of dask's svd_compressed, which needs all of it"
    )
    parser.add_argument("--workers", type=int, default=2, help="threads of lazy stacks")
    parser.add_argument("--stack", type=Path, help="a lazy stack that is there already, on zarr")
    parser.add_argument("--measure", choices=LAZY, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        lazy = stored(given.stack) if given.stack else generated(given.gigabytes)
        measure(given.measure, lazy, given.workers)
        return
    print(facts(sklearn, dask, xr))
    for what in ["pca", "cluster", *(["svd_compressed"] if given.peers else [])]:
        found = child(
            "bench_structure.py", "--measure", what, "--gigabytes", given.gigabytes, "--workers", given.workers
        )
        print(
            f"{what:18}{found['gigabytes']:6.1f} GB lazily, chunks of {CHUNK} x {CHUNK}: {found['seconds']:6.0f} s, "
            f"peak {found['peak']:.2f} GB ({found['before']:.2f} before)",
            flush=True,
        )
    for size in given.size:
        compare_pca(size, given.rounds)
        for seed in range(given.stacks):
            compare_clusters(size, given.rounds, seed)


if __name__ == "__main__":
    main()
