"""Measure every goal of speed and memory through the public API, beside the peers, and print one table.

    python benchmarks/bench_table.py --size S [--rounds 5] [--gigabytes 1] [--peers /path/to/another/python]

Ratios are medians over runs that take turns in one process, the lowest and highest in brackets. All that is in memory runs
on one thread, peers too; lazy stacks on `--workers` threads, one by default for each CPU. Peers of size M see a sample: scipy's
loop over pixels 2048 of them, scikit-image every 8th frame, `ndimage.shift` 4 frames; their times are scaled up.
`--peers` names an interpreter that has pystackreg, HyperSpy or MANTiS, whose shifts are then compared as well.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import bench_alignment as alignment
import bench_density as density
import bench_fit as fits
import bench_import as imports
import bench_memory as memory
import bench_structure as structure
import dask
import numpy as np
import scipy
import skimage
import sklearn
import xarray as xr
import zarr
from drifting_stacks import drifting_stack
from llvmlite import binding
from measuring import SIDES, facts, in_turn, spread
from threadpoolctl import threadpool_limits

import xstxm

GIGABYTES = {"XS": 0.02, "S": 1.0, "M": 10.0}


@dataclass(frozen=True)
class Row:
    """A goal and what was found; `held` is None where the goal says nothing about this size."""

    what: str
    goal: str
    measured: str
    held: bool | None

    def __str__(self) -> str:
        held = {True: "yes", False: "**no**", None: "not judged"}[self.held]
        return f"| {self.what} | {self.goal} | {self.measured} | {held} |"


def at_least(what: str, peer: str, goal: float, ratios: np.ndarray, note: str = "", judged: bool = True) -> Row:
    """Return the row of a goal that is a speed over that of a peer."""
    held = bool(np.median(ratios) >= goal) if judged else None
    return Row(what, f"{goal:g} x {peer}", f"{spread(ratios)} x{note}", held)


def at_most(what: str, bound: str, goal: float, ratios: np.ndarray, note: str = "") -> Row:
    """Return the row of a goal that is a time over a bound."""
    return Row(what, f"within {goal:g} x {bound}", f"{spread(ratios)} x{note}", bool(np.median(ratios) <= goal))


def density_rows(given: argparse.Namespace) -> Iterator[Row]:
    ours, numpy, copy = in_turn(*density.calls(given.size), rounds=given.rounds)
    large, note = given.size == "M", f"; {np.median(ours) * 1e3:.0f} ms"
    yield at_least("optical density", "numpy float32, at 0.5 GB", 2.5, numpy / ours, note, judged=large)
    yield at_most("", "one read and one write", 1.5, ours / copy)
    extra = density.memory(given.size)
    yield Row("", "no float64 temporary", f"{extra:.2f} stacks of memory beyond the result", extra < 2)


def fit_rows(given: argparse.Namespace) -> Iterator[Row]:
    reads = 6.0 if binding.get_host_cpu_features().get("avx512f") else 9.0
    for case in fits.plain(given.size):
        if (case.method, case.background) == fits.CASES[0] and case.source != "two steps":
            times = case.time(given.rounds, 1)
            what, note = f"NNLS, all maps, from {case.source}", f"; {np.median(times.fit) * 1e9:.0f} ns/pixel"
            yield at_least(what, "scipy nnls loop", 80, times.loop / times.fit, note)
            yield at_most("", "one read of the stack", reads, times.fit / times.read)
    yield from exactness_rows(given)
    yield from method_rows(given)
    times = next(fits.weighted(given.size)).time(given.rounds, 1)
    note = f"; {np.median(times.fit) * 1e9:.0f} ns/pixel"
    yield at_least("a variance in every pixel", "weighted scipy loop", 40, times.loop / times.fit, note)


def exactness_rows(given: argparse.Namespace) -> Iterator[Row]:
    for dtype in ("float32", "float64"):
        above = fits.objective_above(*fits.make_case(given.size, dtype=dtype))
        yield Row(
            f"NNLS objective, {dtype}", "within 1e-8 of scipy", f"{above:.0e} above, worst sampled pixel", above <= 1e-8
        )
    same = fits.same_bits(*fits.make_case(given.size))
    yield Row("maps on 1 or 2 threads, in chunks", "the same bits", "the same" if same else "they differ", same)


def method_rows(given: argparse.Namespace) -> Iterator[Row]:
    od, references = fits.make_case(given.size)

    def fit(method: str, background: str) -> Callable[[], xr.Dataset]:
        return lambda: xstxm.fit(od, references, method=method, background=background)

    fcls, nnls = in_turn(fit("fcls", "constant"), fit("nnls", "constant"), rounds=given.rounds)
    yield at_most("FCLS", "the time of NNLS", 1.1, fcls / nnls)
    pixels = od.values.reshape(len(od), -1)
    inverse = np.linalg.pinv(references["absorption"].values.T).astype(od.dtype)
    full, bare = in_turn(fit("lstsq", "none"), lambda: inverse @ pixels, rounds=given.rounds)
    yield at_most("all maps and statistics, lstsq", "bare amounts by `pinv(A) @ OD`", 1.25, full / bare)


def zarr_rows(given: argparse.Namespace) -> Iterator[Row]:
    small, found = (
        memory.maps_from_zarr(size, given.workers, rounds, given.folder)
        for size, rounds in ((given.gigabytes / 4, given.rounds), (given.gigabytes, min(given.rounds, 3)))
    )
    disk, cached = (found[source][0] / found[source][1] for source in ("disk", "memory"))
    what, speed = f"{found['stack']:.2g} GB of counts on zarr to maps", found["stack"] / np.median(found["disk"][1])
    yield at_most(what, "a bare read", 1.3, disk, f" from disk ({speed:.1f} GB/s), {spread(cached)} x from memory")
    over = found["peak"] - found["result"]
    yield Row("", "peak of the result + 1 GB", f"the result ({found['result']:.2f} GB) + {over:.2f} GB", over <= 1)
    per_byte = [np.median(one["memory"][0]) / one["stack"] for one in (found, small)]
    growth = per_byte[0] / per_byte[1]
    yield Row("", "linear in size", f"{growth:.2f} x the time per byte of a quarter, from memory", growth <= 1.2)


def pca_rows(given: argparse.Namespace) -> Iterator[Row]:
    od = structure.make_stack((SIDES[given.size],) * 2)
    pixels = od.values.reshape(len(od), -1)
    centred = structure.exact_eigenvalues(pixels, center=True)
    for dtype in ("float32", "float64"):
        pair, ours, theirs = structure.against_covariance(od, dtype)
        mine, other = in_turn(*pair, rounds=given.rounds)
        note = f"; its eigenvalues are off by {structure.eigenvalue_error(theirs, centred):.0e}"
        yield at_least("PCA, 8 scores", f"scikit-learn covariance PCA, {dtype}", 1, other / mine, note)
    off = structure.eigenvalue_error(ours, centred)
    yield Row("", "eigenvalues to 1e-6", f"{off:.0e}, all {len(ours)}", off <= 1e-6)
    pair, _, theirs = structure.against_svd_compressed(od)
    with dask.config.set(num_workers=given.workers):
        mine, other = in_turn(*pair, rounds=given.rounds)
    off = structure.eigenvalue_error(theirs, structure.exact_eigenvalues(pixels))
    yield at_least("PCA, lazily", "dask `svd_compressed`", 3, other / mine, f"; its eigenvalues are off by {off:.0e}")
    gigabytes = min(given.gigabytes, 4.0)  # the peer holds it all
    ours, theirs = (structure.lazily(what, gigabytes) for what in ("pca", "svd_compressed"))
    share = (ours["peak"] - ours["before"]) / (theirs["peak"] - theirs["before"])
    measured = f"{share:.2f} of it at {ours['gigabytes']:.2g} GB, {ours['peak']:.2f} and {theirs['peak']:.2f} GB at their peaks"
    yield Row("", "an eighth of its memory", measured, share <= 1 / 8)


def cluster_rows(given: argparse.Namespace) -> Iterator[Row]:
    pair, relative = structure.whole_clusters(structure.simulated(given.size, seed=0))
    ours, theirs = in_turn(*pair, rounds=given.rounds)
    yield at_least(
        "clusters, 10 starts, with memberships and stability",
        "scores, then scikit-learn `n_init=10`",
        10,
        theirs / ours,
    )
    yield Row("", "inertia the same or lower", f"1 {relative - 1:+.0e} of theirs", relative <= 1 + 1e-6)


def shift_rows(given: argparse.Namespace) -> Iterator[Row]:
    alignment.warm_up()
    for dose, counts in alignment.DOSES.items():
        made = drifting_stack(SIDES[given.size], counts=counts, seed=0)
        yield from one_dose(given, made, f"shifts, {dose} dose")


def one_dose(given: argparse.Namespace, made: alignment.Drifting, what: str) -> Iterator[Row]:
    others = alignment.peers(given.size, 8, given.peers)
    (name, (method, thin)), *rest = others.items()
    ours = alignment.ours("model")
    rounds = [(alignment.find(ours, made), alignment.find(method, made, thin, (1, -1))) for _ in range(given.rounds)]
    found, other = rounds[-1]
    ratios = np.array([theirs.seconds / mine.seconds for mine, theirs in rounds])
    yield at_least(what, "scikit-image, at M", 3, ratios, f"; {found.seconds:.2f} s", judged=given.size == "M")
    bound = found.rms / made.bound
    yield Row("", "error within 1.5 x the Cramer-Rao bound", f"{bound:.2f} x ({found.rms:.4f} pixels)", bound <= 1.5)
    errors = {name: other.rms} | {name: run.rms for name, run in available(rest, made)}
    listed = ", ".join(f"{name} {rms:.3f}" for name, rms in errors.items())
    yield Row("", "the lowest error", f"{found.rms:.4f}; {listed}", found.rms < min(errors.values()))


def available(
    others: list[tuple[str, tuple[alignment.Method, int]]], made: alignment.Drifting
) -> Iterator[tuple[str, alignment.Found]]:
    """Run the peers of another interpreter, those that are installed there."""
    for name, (method, thin) in others:
        try:
            yield name, alignment.find(method, made, thin, (1, -1))
        except subprocess.CalledProcessError as problem:
            print(f"{name}: not run, {problem.stderr.strip().splitlines()[-1]}", file=sys.stderr)


def moving_rows(given: argparse.Namespace) -> Iterator[Row]:
    ours, theirs = alignment.time_apply(given.size, given.rounds)
    note = f"; {np.median(ours) * 1e3:.2g} ms a frame"
    yield at_least("apply shifts", "`ndimage.shift` of order 3", 30, theirs / ours, note)


def import_rows(given: argparse.Namespace) -> Iterator[Row]:
    ours, theirs = imports.time_imports(given.rounds)
    yield at_most("`import xstxm`", "`import xarray`", 1.2, ours / theirs, f"; {np.median(ours):.2f} s")
    found = imports.first_fit()
    measured = f"{found['compiled']:.0f} functions compiled; {found['first']:.2f} s, the next {found['next']:.3f} s"
    yield Row("first fit of a process", "nothing is compiled", measured, found["compiled"] == 0)


TOPICS = {
    "density": density_rows,
    "fit": fit_rows,
    "zarr": zarr_rows,
    "pca": pca_rows,
    "clusters": cluster_rows,
    "shifts": shift_rows,
    "moving": moving_rows,
    "import": import_rows,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIDES, default="S")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gigabytes", type=float, help="lazy stacks; by default 1 at S, 10 at M")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="threads of lazy stacks")
    parser.add_argument("--folder", help="where the stack on zarr is written; by default that of temporary files")
    parser.add_argument("--peers", help="an interpreter that has pystackreg, HyperSpy, MANTiS")
    parser.add_argument("--topics", nargs="+", choices=TOPICS, default=list(TOPICS))
    given = parser.parse_args()
    given.gigabytes = given.gigabytes or GIGABYTES[given.size]
    print(facts(scipy, sklearn, skimage, dask, zarr, xr))
    print(f"size {given.size}: 120 x {SIDES[given.size]} x {SIDES[given.size]} float32, {given.rounds} rounds\n")
    print("| what | goal | measured | held |\n|---|---|---|---|", flush=True)
    with threadpool_limits(1), xstxm.set_options(num_threads=1), dask.config.set(scheduler="threads"):
        for topic in given.topics:
            for row in TOPICS[topic](given):
                print(row, flush=True)


if __name__ == "__main__":
    main()
