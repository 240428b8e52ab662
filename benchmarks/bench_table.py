"""Measure every goal of speed and memory through the public API, beside the peers, and print one table.

    python benchmarks/bench_table.py --size M --rounds 3 --peers PYTHON [--plot FILE.svg]
    python benchmarks/bench_table.py --size L --rounds 3 [--folder DISK]

Ratios are medians over runs that take turns in one process, the lowest and highest in brackets. All that is in memory runs
on one thread, peers too; lazy stacks on `--workers` threads, by default two more than CPUs, as `compute` takes. Peers of size M see a sample: scipy's
and pymcr's loops over pixels 2048 of them, programs that find shifts every 8th frame, `ndimage.shift` 4 frames; their times are scaled up.
Size L is that of the goal for stacks larger than memory, 10 GB on zarr: 13 GB of `--folder` are needed, and 12 GB of memory for dask's PCA.
`--peers` names an interpreter that has HyperSpy, MANTiS, pymcr or pystackreg. Seconds and memory stand as xstxm / the other, memory at the
peak, beyond what was resident before; tasks are those of the graph.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import bench_alignment as alignment
import bench_density as density
import bench_fit as fits
import bench_import as imports
import bench_memory as memory
import bench_structure as structure
import dask
import numpy as np
import peers
import scipy
import skimage
import sklearn
import xarray as xr
import zarr
from drifting_stacks import drifting_stack
from llvmlite import binding
from measuring import SIDES, child, facts, in_turn, spread
from resident import beyond
from rows import HEADER, Ratios, Row, at_least, at_most, plot
from threadpoolctl import threadpool_limits

import xstxm
from xstxm._sums import n_workers

GIGABYTES = {"XS": 0.02, "S": 1.0, "M": 4.0, "L": 10.0}
SMALL = ("XS", "S")
ON_GPU = 8.0
"""Gigabytes of counts that are mapped on a GPU, of size M."""


def because(given: argparse.Namespace, always: str = "", *, small: str = "", large: str = "") -> str:
    """Return why a goal is not held by stacks of this size."""
    parts = always, small if given.size in SMALL else large
    return "; ".join(part for part in parts if part) or "not explained at this size"


def beside(
    what: str,
    topic: dict[str, str],
    ours: Callable[[], object],
    given: argparse.Namespace,
    *,
    scale: float = 1,
    goals: dict[str, float] | None = None,
    why: str = "",
    **arrays: np.ndarray | int,
) -> Iterator[Row]:
    """Yield a row for each program of another interpreter, which runs after xstxm, its time scaled up."""
    (mine,), held = in_turn(ours, rounds=given.rounds), beyond(ours)
    for name, code in topic.items():
        goal = (goals or {}).get(name)
        wanted = f"{goal:g} x {name}" if goal else f"beside {name}"
        try:
            ran = peers.run(code, given.peers, given.rounds, **arrays)
        except peers.NotRun as problem:
            yield Row(what, wanted, "not run", None, str(problem))
            continue
        found = Ratios(scale * ran.seconds / np.median(mine), goal, True, name)
        seconds = (np.median(mine), scale * np.median(ran.seconds))
        reason = why if goal else "no goal"
        yield Row(what, wanted, f"{spread(found.values)} x", found.held, reason, found, seconds, (held, ran.memory))


def density_rows(given: argparse.Namespace) -> Iterator[Row]:
    counts, i0 = fits.counted(fits.make_case(given.size)[0])
    calls = density.calls(given.size)
    ours, numpy, copy = in_turn(*calls, rounds=given.rounds)
    held = [beyond(call) for call in calls[:2]]
    what = "optical density"
    why = "it writes into new memory, checks every count and makes flags"
    yield at_least(what, "numpy float32, at 0.5 GB", 2.5, ours, numpy, why, judged=given.size == "M", memory=held)
    why = because(given, "the copy goes into memory that is there already", small="a small stack fits into the cache")
    yield at_most(what, "one read and one write", 1.5, ours, copy, why)
    extra = held[0] * 1e9 / counts.nbytes - 1
    why = "something of the size of the stack is held beside the result"
    yield Row(what, "no float64 temporary", f"{extra:.2f} stacks of memory beyond the result", extra < 2, why)
    arrays = {"counts": counts.values, "i0": i0.values, "energy": counts.energy.values}
    yield from beside(what, peers.DENSITY, calls[0], given, **arrays)


def fit_rows(given: argparse.Namespace) -> Iterator[Row]:
    reads = 6.0 if binding.get_host_cpu_features().get("avx512f") else 9.0
    pixels = SIDES[given.size] ** 2
    for case in fits.plain(given.size):
        if (case.method, case.background) == fits.CASES[0] and case.source != "two steps":
            times = case.time(given.rounds, 1)
            ours, loop, read = times.fit * pixels, times.loop * pixels, times.read * pixels
            what, note = f"NNLS, all maps, from {case.source}", f"; {np.median(times.fit) * 1e9:.0f} ns/pixel"
            cost = "a small stack pays the fixed cost of a call"
            why = because(given, "statistics and standard errors are part of it", small=cost)
            yield at_least(what, "scipy nnls loop", 80, ours, loop, why, note=note, memory=[beyond(case.fit)])
            cache = "a small stack is read from the cache"
            why = because(given, "the arithmetic of a pixel costs more than its read", small=cache)
            yield at_most(what, "one read of the stack", reads, ours, read, why)
            last = case
    od, references = fits.make_case(given.size)
    spectra = fits.sample_of(od)
    arrays = {"design": references["absorption"].values.T, "spectra": spectra}
    yield from beside(what, peers.FITS, last.fit, given, scale=pixels / len(spectra), **arrays)
    yield from exactness_rows(given)
    yield from method_rows(given)
    case = next(fits.weighted(given.size))
    times = case.time(given.rounds, 1)
    ours, loop, note = times.fit * pixels, times.loop * pixels, f"; {np.median(times.fit) * 1e9:.0f} ns/pixel"
    why = "each pixel has a matrix of its own, and its sums over energies take most of the time"
    held = [beyond(case.fit)]
    yield at_least("a variance in every pixel", "weighted scipy loop", 40, ours, loop, why, note=note, memory=held)


def exactness_rows(given: argparse.Namespace) -> Iterator[Row]:
    for dtype in ("float32", "float64"):
        above = fits.objective_above(*fits.make_case(given.size, dtype=dtype))
        what, found = f"NNLS objective, {dtype}", f"{above:.0e} above, worst sampled pixel"
        yield Row(what, "within 1e-8 of scipy", found, above <= 1e-8, "the fit missed the optimum: a defect")
    same = fits.same_bits(*fits.make_case(given.size))
    found = "the same" if same else "they differ"
    yield Row("maps on 1 or 2 threads, in chunks", "the same bits", found, same, "sums depend on the cut: a defect")


def method_rows(given: argparse.Namespace) -> Iterator[Row]:
    od, references = fits.make_case(given.size)

    def fit(method: str, background: str) -> Callable[[], xr.Dataset]:
        return lambda: xstxm.fit(od, references, method=method, background=background)

    fcls, nnls = in_turn(fit("fcls", "constant"), fit("nnls", "constant"), rounds=given.rounds)
    yield at_most("FCLS", "the time of NNLS", 1.1, fcls, nnls, "its rounds of exchange are more")
    pixels = od.values.reshape(len(od), -1)
    inverse = np.linalg.pinv(references["absorption"].values.T).astype(od.dtype)
    calls = fit("lstsq", "none"), lambda: inverse @ pixels
    full, bare = in_turn(*calls, rounds=given.rounds)
    why = "standard errors, R-factor and residuals look at each value once more than the bare product"
    held = [beyond(call) for call in calls]
    yield at_most(
        "all maps and statistics, lstsq", "bare amounts by `pinv(A) @ OD`", 1.25, full, bare, why, memory=held
    )


def zarr_rows(given: argparse.Namespace) -> Iterator[Row]:
    sizes, rounds = [given.gigabytes / 4, given.gigabytes], min(given.rounds, 3)
    small, found = memory.maps_from_zarr(sizes, given.workers, rounds, given.folder)
    what = f"{found['stack']:.2g} GB of counts on zarr to maps"
    note = f"; {found['stack'] / np.median(found['disk'][1]):.1f} GB/s read"
    why = "the fit of a chunk takes longer than its read, on the same threads"
    for source in ("disk", "memory"):
        bound = "a bare read" + ", from memory" * (source == "memory")
        yield at_most(what, bound, 1.3, *found[source], why, note=note, tasks=found["tasks"])
        note = ""
    over, measured = found["peak"] - found["result"], f"the result ({found['result']:.2f} GB)"
    why = "more chunks are held at once than the threads work on"
    yield Row(what, "peak of the result + 1 GB", f"{measured} + {over:.2f} GB", over <= 1, why)
    per_byte = [np.median(one["memory"][0]) / one["stack"] for one in (found, small)]
    growth = per_byte[0] / per_byte[1]
    measured = f"{growth:.2f} x the time per byte of a quarter, from memory"
    yield Row(
        what,
        "linear in size",
        measured,
        growth <= 1.2,
        "each chunk is the same work, but memory that the machine has to get first takes longer: see above",
    )


def pca_rows(given: argparse.Namespace) -> Iterator[Row]:
    od = structure.make_stack((SIDES[given.size],) * 2)
    centred = structure.exact_eigenvalues(od.values.reshape(len(od), -1), center=True)
    what = "PCA, 8 scores"
    for dtype in ("float32", "float64"):
        pair, ours, theirs = structure.against_covariance(od, dtype)
        mine, other = in_turn(*pair, rounds=given.rounds)
        note = f"; its eigenvalues are off by {structure.eigenvalue_error(theirs, centred):.0e}"
        peer = f"scikit-learn covariance PCA, {dtype}"
        why = "xstxm sums in float64, which takes longer and makes the small eigenvalues right"
        held = [beyond(call) for call in pair]
        yield at_least(what, peer, 1, mine, other, why, note=note, memory=held)
    off = structure.eigenvalue_error(ours, centred)
    yield Row(what, "eigenvalues to 1e-6", f"{off:.0e}, all {len(ours)}", off <= 1e-6, "sums are too short: a defect")
    goals, why = {"MANTiS calculate_pca": 25.0}, "both sum in float64, and that takes most of the time"
    arrays = {"od": od.values, "energy": od.energy.values}
    yield from beside(what, peers.PCA, pair[0], given, goals=goals, why=why, **arrays)


def lazy_rows(given: argparse.Namespace) -> Iterator[Row]:
    if given.size == "L":
        yield from stored_rows(given)
        return
    what, gigabytes = "PCA, lazily", min(given.gigabytes, 4.0)  # the peer holds it all
    lazy = structure.generated(gigabytes)
    with dask.config.set(num_workers=given.workers):
        od = structure.make_stack((SIDES[given.size],) * 2)
        pair, _, theirs = structure.against_svd_compressed(od)
        mine, other = in_turn(*pair, rounds=given.rounds)
        off = structure.eigenvalue_error(theirs, structure.exact_eigenvalues(od.values.reshape(len(od), -1)))
        note, why = f"; its eigenvalues are off by {off:.0e}", "the moment is summed in float64"
        held = [beyond(call) for call in pair]
        yield at_least(what, "dask `svd_compressed`", 3, mine, other, why, note=note, memory=held)
        calls = [structure.LAZY[name](lazy) for name in ("pca", "svd_compressed")]
        ours, theirs = (beyond(lambda call=call: dask.compute(*call)) for call in calls)
    measured = f"{ours / theirs:.2f} of it at {lazy.nbytes / 1e9:.2g} GB"
    why = because(given, small="a small stack is not much larger than the chunks in work")
    tasks = len(dict(calls[0][0].__dask_graph__()))
    held = (ours, theirs)
    yield Row(what, "an eighth of its memory", measured, ours <= theirs / 8, why, memory=held, tasks=tasks)


def stored_rows(given: argparse.Namespace) -> Iterator[Row]:
    """Yield the same of a stack on zarr, in a process of its own for each run; the peer needs a memory of its size."""
    names = ("pca", "svd_compressed")
    with tempfile.TemporaryDirectory(dir=given.folder) as folder, dask.config.set(num_workers=given.workers):
        options = ["--stack", structure.write(Path(folder), given.gigabytes), "--workers", given.workers]
        runs = [
            [child("bench_structure.py", "--measure", name, *options) for name in names] for _ in range(given.rounds)
        ]
    what = f"PCA of {runs[0][0]['gigabytes']:.2g} GB on zarr"
    mine, other = np.array([[run["seconds"] for run in pair] for pair in runs]).T
    yield at_least(what, "dask `svd_compressed`", 3, mine, other, "it reads the store twice, the peer once")
    held = ours, theirs = tuple(
        np.median([run["peak"] - run["before"] for run in found]) for found in zip(*runs, strict=True)
    )
    why = "eigenimages and chunks in work are held"
    yield Row(what, "an eighth of its memory", f"{ours / theirs:.2f} of it", ours <= theirs / 8, why, memory=held)


def cluster_rows(given: argparse.Namespace) -> Iterator[Row]:
    od = structure.simulated(given.size, seed=0)
    pair, relative = structure.whole_clusters(od)
    ours, theirs = in_turn(*pair, rounds=given.rounds)
    what, peer = "clusters, 10 starts", "scores, then scikit-learn `n_init=10`"
    why = "memberships, spectra, silhouettes and ten bootstrap partitions are part of it; the k-means alone holds"
    yield at_least(what, peer, 10, ours, theirs, why, memory=[beyond(call) for call in pair])
    measured = f"1 {relative - 1:+.0e} of theirs"
    yield Row(what, "inertia the same or lower", measured, relative <= 1 + 1e-6, "a start was missed: a defect")
    arrays = {"od": od.values, "energy": od.energy.values, "n_clusters": structure.N_CLUSTERS}
    yield from beside(what, peers.CLUSTERS, pair[0], given, **arrays)


def shift_rows(given: argparse.Namespace) -> Iterator[Row]:
    alignment.warm_up()
    for dose, counts in alignment.DOSES.items():
        made = drifting_stack(SIDES[given.size], counts=counts, seed=0)
        yield from one_dose(given, made, f"shifts, {dose} dose")
        yield from detector_rows(given, made, f"shifts, {dose} dose")


def one_dose(given: argparse.Namespace, made: alignment.Drifting, what: str) -> Iterator[Row]:
    (name, (method, thin)), *rest = alignment.peers(given.size, 8, given.peers).items()
    ours = alignment.ours("model")
    rounds = [(alignment.find(ours, made), alignment.find(method, made, thin, (1, -1))) for _ in range(given.rounds)]
    found, other = rounds[-1]
    mine, theirs = np.array([[run.seconds for run in pair] for pair in rounds]).T
    why = "a model of all frames is fitted, not one frame to another"
    held = [beyond(lambda: ours(made, made.intensity.values))]
    yield at_least(what, "scikit-image, at M", 3, mine, theirs, why, judged=given.size == "M", memory=held)
    bound = found.rms / made.bound
    large = "frames are read at about 512 pixels"
    why = because(given, small="small frames tell little of what they show", large=large)
    yield Row(what, "error within 1.5 x the Cramer-Rao bound", f"{bound:.2f} x ({found.rms:.4f} px)", bound <= 1.5, why)
    errors = {name: other.rms}
    for name, (method, thin) in rest:
        try:
            run = alignment.find(method, made, thin, (1, -1))
        except peers.NotRun as problem:
            yield Row(what, f"beside {name}", "not run", None, str(problem))
            continue
        errors[name] = run.rms
        ratios, why = Ratios(run.seconds / mine, None, True, name), "no goal"
        seconds, measured = (np.median(mine), run.seconds), f"{spread(ratios.values)} x; {run.rms:.3f} px"
        yield Row(what, f"beside {name}", measured, None, why, ratios, seconds)
    listed = ", ".join(f"{name} {rms:.3f}" for name, rms in errors.items())
    lowest = found.rms < min(errors.values())
    yield Row(what, "the lowest error", f"{found.rms:.4f} px; {listed}", lowest, "another is better on this stack")


def detector_rows(given: argparse.Namespace, made: alignment.Drifting, what: str) -> Iterator[Row]:
    """Yield whether what stands still on the detector is noticed, and whether a hot row misleads."""
    side = made.intensity.sizes["y"]
    gain = 1 + 0.1 * np.random.default_rng(0).standard_normal((side, side), dtype="float32")
    flat = (made.intensity * gain).assign_attrs(made.intensity.attrs)
    with warnings.catch_warnings(record=True) as caught, xstxm.set_options(num_threads=1):
        warnings.simplefilter("always")
        xstxm.estimate_shifts(flat)
    warned = [str(warning.message) for warning in caught]
    said = "a pattern stands still"
    noticed = any(said in message for message in warned)
    measured = next((m for m in warned if said in m), (warned or ["no warning"])[0]).partition(":")[0]
    why = "it holds the frames where they are, and of frames that do not move nothing tells it from the sample"
    yield Row(what, "a flat-field pattern of 10 % is noticed", measured, noticed, why)
    hot = made.intensity.copy()
    hot[:, side // 3] = 60000.0
    stacks = made, dataclasses.replace(made, intensity=hot)
    plain, found = (alignment.find(alignment.ours("model"), stack).rms for stack in stacks)
    measured = f"{found / plain:.2f} x the error without it"
    why = because(given, small="a row is much of a small image")
    yield Row(what, "a hot row misleads by less than 20 %", measured, found <= 1.2 * plain, why)


def moving_rows(given: argparse.Namespace) -> Iterator[Row]:
    ours, theirs = alignment.time_apply(given.size, given.rounds) * 120
    note = f"; {np.median(ours) / 120 * 1e3:.2g} ms a frame"
    large = "the result is new memory, whose pages cost as much as the interpolation"
    why = because(given, small="the fixed cost of a call shows in small frames", large=large)
    yield at_least("apply shifts", "`ndimage.shift` of order 3", 30, ours, theirs, why, note=note)


def import_rows(given: argparse.Namespace) -> Iterator[Row]:
    why = "the accessor is registered on top of xarray's import"
    yield at_most("`import xstxm`", "`import xarray`", 1.2, *imports.time_imports(given.rounds), why)
    found = imports.first_fit()
    measured = f"{found['compiled']:.0f} functions compiled; {found['first']:.2f} s, the next {found['next']:.3f} s"
    why = "the cache on disk does not serve"
    yield Row("first fit of a process", "nothing is compiled", measured, found["compiled"] == 0, why)


def gpu_rows(given: argparse.Namespace) -> Iterator[Row]:
    cupy, lacks = device()
    for n_references, goal in ((5, 1.2), (8, 2.0)):
        what, peer = f"counts in a GPU to maps, {n_references} references", "a copy that moves as many bytes"
        if cupy is None:
            why = f"{lacks}: docs/gpu.md says what is needed"
            yield Row(what, f"within {goal:g} x {peer}", "not run", None, why)
            continue
        gigabytes, times = on_device(given, cupy, n_references)
        why = "the fit of a pixel takes longer than its read"
        yield at_most(f"{what}, {gigabytes:.2g} GB", peer, goal, *times, why)


def on_device(given: argparse.Namespace, cupy: ModuleType, n_references: int) -> tuple[float, np.ndarray]:
    """Return the gigabytes of counts on the device, and the seconds of their fit and of a copy of one half onto the other."""
    od, references = fits.make_case(given.size, n_references=n_references)
    counts, i0 = fits.counted(od)
    gigabytes = ON_GPU if given.size == "M" else GIGABYTES[given.size]
    tiles = max(1, round((gigabytes * 1e9 / counts.nbytes) ** 0.5))
    tiled = cupy.tile(cupy.asarray(counts.values), (1, tiles, tiles))
    variables = {"intensity": (counts.dims, tiled, counts.attrs), "i0": i0}
    stack, half = xr.Dataset(variables, coords={"energy": counts["energy"]}), len(tiled) // 2

    def fit() -> None:
        xstxm.fit(stack, references)
        cupy.cuda.get_current_stream().synchronize()

    def copy() -> None:
        cupy.copyto(tiled[half:], tiled[:half])
        cupy.cuda.get_current_stream().synchronize()

    return tiled.nbytes / 1e9, in_turn(fit, copy, rounds=given.rounds)


def device() -> tuple[ModuleType | None, str]:
    """Return CuPy where it and a GPU are there, or what is not."""
    try:
        import cupy
    except ImportError:
        return None, "CuPy is not installed"
    try:
        n_devices = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return None, f"no GPU is at hand ({' '.join(str(error).split())})"
    return (cupy, "") if n_devices else (None, "no GPU is at hand")


TOPICS = {
    "density": density_rows,
    "fit": fit_rows,
    "zarr": zarr_rows,
    "pca": pca_rows,
    "lazy": lazy_rows,
    "clusters": cluster_rows,
    "shifts": shift_rows,
    "moving": moving_rows,
    "import": import_rows,
    "gpu": gpu_rows,
}

AT_L = ["zarr", "lazy"]
"""Topics of stacks that are larger than memory."""


def measure(given: argparse.Namespace) -> Iterator[Row]:
    """Yield the rows of the topics, one after the other."""
    with threadpool_limits(1), xstxm.set_options(num_threads=1), dask.config.set(scheduler="threads"):
        for topic in given.topics:
            yield from TOPICS[topic](given)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=GIGABYTES, default="S")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gigabytes", type=float, help="lazy stacks; by default 1 at S, 4 at M, 10 at L")
    parser.add_argument("--workers", type=int, default=n_workers(), help="threads of lazy stacks")
    parser.add_argument("--folder", help="where stacks on zarr are written; by default that of temporary files")
    parser.add_argument("--topics", nargs="+", choices=TOPICS, help="by default all, at L zarr")
    parser.add_argument("--plot", metavar="FILE", help="draw the ratios with their goals, as .svg, .png or .pdf")
    peers.add_option(parser)
    given = parser.parse_args(arguments)
    given.gigabytes = given.gigabytes or GIGABYTES[given.size]
    given.topics = given.topics or (AT_L if given.size == "L" else list(TOPICS))
    if given.size == "L" and (others := sorted({*given.topics} - {*AT_L})):
        parser.error(f"size L is for {' and '.join(AT_L)}, not {', '.join(others)}: take --size M for those")
    return given


def main(arguments: list[str] | None = None) -> None:
    given = parse(arguments)
    print(facts(scipy, sklearn, skimage, dask, zarr, xr))
    side = SIDES.get(given.size)
    shape = f"120 x {side} x {side} float32, lazily" if side else "lazily"
    print(f"size {given.size}: {shape} {given.gigabytes:g} GB, {given.rounds} rounds\n\n{HEADER}", flush=True)
    rows = []
    for row in measure(given):
        print(row, flush=True)
        rows.append(row)
    if given.plot:
        plot(rows, given.plot, f"size {given.size}, {given.rounds} rounds")


if __name__ == "__main__":
    main()
