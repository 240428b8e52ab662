"""What holds for all lazy verbs alike: nothing is computed early, graphs grow with the chunks, few chunks are held, the same numbers."""

from __future__ import annotations

import functools
import warnings

import dask
import numpy as np
import pytest
import xarray as xr
from laziness import Held, Nowhere, chunked, raise_if_dask_computes, watched
from test_every_verb import BAD, REFERENCES, VERBS, counts, fitted, given

import xstxm

da = pytest.importorskip("dask.array")

CORNER = {"x": (0.1, 0.3), "y": (0.1, 0.4)}
EAGER = {
    "flag_frames", "estimate_shifts", "align", "internal_references", "estimate_energy_shift", "nmf", "mcr", "cluster", "particles",
    "track_particles", "coarse_grain", "correlation_length", "heterogeneity", "two_point_correlation", "interface_density", "stress",
    "distinguishability", "design_energies", "phase_references",
}  # fmt: skip
"""Verbs that compute something, as docs/laziness.md tells of each."""


def halves(stack: xr.Dataset) -> list[xr.Dataset]:
    return [stack.isel(energy=part) for part in (slice(20), slice(20, None))]


LAZY = {name: call for name, call in VERBS.items() if name not in EAGER} | {
    "repair_pixels": lambda s: xstxm.repair_pixels(s, BAD),
    "estimate_i0": lambda s: xstxm.estimate_i0(s, CORNER),
    "optical_density": lambda s: xstxm.optical_density(s, counts()["intensity"].isel(y=0, x=0, drop=True)),
    "optical_density, I0 of a region": lambda s: xstxm.optical_density(s, xstxm.estimate_i0(s, CORNER)),
    "optical_density, with variances": lambda s: xstxm.optical_density(s, xstxm.estimate_i0(s, CORNER), noise="poisson"),
    "from_transmission": lambda s: xstxm.from_transmission(s, CORNER),
    "phase_map": lambda s: xstxm.phase_map(s, REFERENCES, min_amount=5.0),
    "phase_map, threshold open": lambda s: xstxm.phase_map(s, REFERENCES),
    "fit, variances": lambda s: xstxm.fit(xstxm.optical_density(s, xstxm.estimate_i0(s, CORNER), noise="poisson"), REFERENCES),
    "fit, bic": lambda s: xstxm.fit(s, REFERENCES, selection="bic", max_references=2),
    "fit, f-test": lambda s: xstxm.fit(s, REFERENCES, selection="f-test", max_references=2),
    "fit, thick": lambda s: xstxm.fit(s, REFERENCES, max_optical_density=0.8),
    "denoise, components open": xstxm.denoise,
    "denoise, savgol": lambda s: xstxm.denoise(s, "savgol"),
    "merge_stacks": lambda s: xstxm.merge_stacks(halves(s)),
    "noise_correlation": lambda s: xstxm.regions.noise_correlation(xstxm.residual(s, fitted()), max_lag=2),
    "bland_altman": lambda s: xstxm.bland_altman(s, given("strain")),
    "time_series": lambda s: xstxm.time_series(
        {name: s.assign_coords(time=((), k, {"units": "s"})) for name, k in (("a", 0.0), ("b", 60.0))}
    ),
}  # fmt: skip
"""One call of each lazy verb."""
OF_COUNTS = {"optical_density", "fit, variances", "merge_stacks"}
OF_MAPS = {"bland_altman", "time_series"}
CHUNKINGS = {
    "even": {"y": 12, "x": 14},
    "rows": {"y": 5},
    "odd": {"y": (1, 7, 16), "x": (13, 15)},
    "energies cut": {"energy": 9, "y": 12},
}
ROUNDING = {
    "estimate_i0": 1e-7, "optical_density, with variances": 1e-6, "fit, variances": 1e-6, "peak_map": 1e-7, "line_profile": 1e-6,
    "spectrum": 1e-6, "denoise": 1e-6, "denoise, savgol": 1e-6, "denoise, components open": 1e-6, "pca": 1e-12, "concentration": 1e-6, "evaluate_energies": 1e-5,
    "noise_correlation": 1e-6,
}  # fmt: skip
"""Largest difference, over the largest value, of verbs whose sums over pixels depend on the chunks; of all others none."""


def source(verb: str) -> xr.Dataset:
    """Return what a call of `LAZY` is given, in memory."""
    name = verb.partition(",")[0]
    if verb in OF_COUNTS:
        return counts()
    return given("strain" if name in OF_MAPS else name)


def arrays_of(result: xr.Dataset | xr.DataArray) -> dict[str, xr.DataArray]:
    if isinstance(result, xr.DataArray):
        return {str(result.name): result}
    return {str(name): array for name, array in result.data_vars.items()}


def call(verb: str, stack: xr.Dataset) -> xr.Dataset | xr.DataArray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xstxm.errors.StxmWarning)
        return LAZY[verb](stack)


@functools.cache
def in_memory(verb: str) -> dict[str, xr.DataArray]:
    """Return what a call of `LAZY` makes of a stack in memory."""
    return arrays_of(call(verb, source(verb)))


def n_tasks(verb: str, chunks: dict[str, object]) -> int:
    return len(dict(call(verb, chunked(source(verb), chunks)).__dask_graph__()))


def test_table__holds_every_lazy_verb():
    assert {*VERBS} == {verb for verb in LAZY if verb in VERBS} | EAGER
    assert not EAGER & {*LAZY}


@pytest.mark.parametrize("verb", LAZY)
def test_lazy_verbs__compute_nothing(verb):
    stack = chunked(source(verb), {"y": 12, "x": 14})
    with raise_if_dask_computes():
        found = call(verb, stack)
    assert any(array.chunks is not None for array in arrays_of(found).values())


@pytest.mark.parametrize("verb", LAZY)
@pytest.mark.parametrize("chunks", CHUNKINGS)
def test_lazy_verbs__give_the_same_numbers_whatever_the_chunks(verb, chunks):
    check_numbers(verb, chunked(source(verb), CHUNKINGS[chunks]))


@pytest.mark.parametrize("verb", {**LAZY, **VERBS})
@pytest.mark.parametrize("chunks", [{"y": 12, "x": 14}, {}], ids=["a lazy stack", "one in memory"])
def test_verbs__take_coordinates_in_chunks_of_their_own(verb, chunks):
    stack = with_coordinates_in_other_chunks(source(verb) if verb in LAZY else given(verb), chunks)
    if verb in LAZY:
        check_numbers(verb, stack)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", xstxm.errors.StxmWarning)
            VERBS[verb](stack)


def with_coordinates_in_other_chunks(stack: xr.Dataset, chunks: dict[str, object]) -> xr.Dataset:
    """Return a stack with lazy coordinates beside the energies and pixels, as a store of small ones in one chunk has."""
    lazy, own = chunked(stack, chunks) if chunks else stack, {}
    for name, dims in (("shutter", ("energy",)), ("height", ("y", "x"))):
        if {*dims} <= {*stack.dims}:
            own[name] = (dims, da.ones([stack.sizes[dim] for dim in dims], chunks=5))
    return lazy.assign_coords(own)


def check_numbers(verb: str, stack: xr.Dataset) -> None:
    """Compare what a call of `LAZY` makes of a lazy stack with what it makes of the same in memory."""
    wanted = in_memory(verb)
    for name, array in arrays_of(call(verb, stack).compute()).items():
        assert array.dtype == wanted[name].dtype
        found, exact = np.asarray(array), np.asarray(wanted[name])
        if found.dtype.kind in "fc" and verb in ROUNDING:
            scale = float(np.nanmax(np.abs(exact), initial=0))
            np.testing.assert_allclose(found, exact, rtol=0, atol=ROUNDING[verb] * scale)
        else:
            np.testing.assert_array_equal(found, exact)


@pytest.mark.parametrize("verb", LAZY)
def test_lazy_verbs__have_as_many_tasks_as_chunks(verb):
    assert n_tasks(verb, {"y": 4, "x": 2}) <= 2.2 * n_tasks(verb, {"y": 8, "x": 2})


def drain(result: xr.Dataset | xr.DataArray) -> None:
    """Compute a result block by block, and keep none."""
    arrays = [array.data for array in arrays_of(result).values() if array.chunks is not None]
    with dask.config.set(scheduler="synchronous"):
        da.store(arrays, [Nowhere() for _ in arrays], lock=False)


BY_IMAGES = {"level_lines", "from_transmission", "noise_correlation"}
"""Verbs that need images whole, as chunks of single energies are."""
OF_STACKS = [
    verb for verb in LAZY if verb not in BY_IMAGES and any("energy" in a.dims and "y" in a.dims for a in arrays_of(source(verb)).values())
]  # fmt: skip


@pytest.mark.parametrize("verb", OF_STACKS)
@pytest.mark.parametrize("size", [8, 4])
def test_lazy_verbs__hold_few_chunks_at_a_time(verb, size):
    held = Held()
    with xstxm.set_options(rechunk_limit=1.0):  # bytes: a large stack
        drain(call(verb, watched(source(verb), {"y": size, "x": size}, held)))
    assert held.most <= 3


@pytest.mark.parametrize("size", [8, 4])
def test_optical_density__that_estimates_i0_reads_again_and_holds_few_chunks(size):
    held = Held()
    stack = watched(counts(), {"y": size, "x": size}, held)
    with dask.config.set(scheduler="synchronous"):
        found = xstxm.optical_density(stack)
    drain(found)
    assert held.most <= 3
