"""Optical density in one pass against its definition in numpy."""

from __future__ import annotations

import tracemalloc

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from laziness import raise_if_dask_computes

import xstxm
from xstxm._kernels import density
from xstxm.conventions import QUALITY_FLAGS

pytestmark = [
    pytest.mark.filterwarnings("ignore:more than half of the pixels"),
    pytest.mark.filterwarnings("ignore:counts of zero or less"),
]
ORDERS = [("energy", "y", "x"), ("y", "x", "energy"), ("y", "energy", "x"), ("x", "energy", "y")]
LIMITS = {"thick": 1.0, "saturation": 900.0}


def labelled(values: np.ndarray, dims=("energy", "y", "x"), units: str = "count") -> xr.DataArray:
    n = values.shape[dims.index("energy")] if "energy" in dims else 0
    coords = {"energy": ("energy", 510.0 + np.arange(n), {"units": "eV"})} if n else {}
    return xr.DataArray(values, dims=dims, coords=coords, attrs={"units": units})


def defined(counts, i0, dark=0.0, variance=None, i0_variance=0.0):
    """Density, variance and flags of arrays (energy, y, x), in float64."""
    with np.errstate(all="ignore"):
        bright, empty = counts.astype(float) - dark, i0.astype(float) - dark
        od = -np.log(bright / empty)
        od[~np.isfinite(od) | ~(bright > 0) | ~(empty > 0)] = np.nan
        spread = (
            None if variance is None else np.where(np.isnan(od), np.nan, variance / bright**2 + i0_variance / empty**2)
        )
        flags = {
            "nonpositive_counts": (np.isnan(od) & ~np.isnan(bright)).any(0),
            "not_measured": np.isnan(bright).any(0),
            "too_thick": (od > LIMITS["thick"]).any(0),
            "saturated": (counts >= LIMITS["saturation"]).any(0),
        }
    return od, spread, sum(QUALITY_FLAGS[name] * raised for name, raised in flags.items())


def special(width: int = 64):
    usual = st.floats(0.125, 1e4, width=width)
    return st.one_of(usual, usual, usual, st.sampled_from([0.0, -1.0, np.nan, np.inf, -np.inf, 900.0, 1e-30]))


def assert_same_density(found, expected, dtype, slack=0.0):
    eps = np.finfo(dtype).eps
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(found, expected, rtol=3 * eps, atol=2 * eps + slack)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
@settings(max_examples=20)  # of each dtype and order
@given(data=st.data())
def test_optical_density__is_the_definition_for_any_counts(dtype, order, data):
    width = 32 if dtype == "float32" else 64
    counts = data.draw(hnp.arrays(dtype, (3, 2, 5), elements=special(width)))
    i0 = data.draw(
        hnp.arrays(dtype, data.draw(st.sampled_from([(3, 1, 1), (1, 2, 5), (3, 2, 5)])), elements=special(width))
    )
    dims = [dim for dim, n in zip(("energy", "y", "x"), i0.shape, strict=True) if n > 1]
    stack = labelled(counts).transpose(*order).to_dataset(name="intensity")
    result = xstxm.optical_density(stack, labelled(i0.squeeze(), dims), **LIMITS)
    found = result["optical_density"]
    assert (found.dims, found.dtype) == (order, np.dtype(dtype))
    od, _, flags = defined(counts, np.broadcast_to(i0, counts.shape))
    assert_same_density(found.transpose("energy", "y", "x"), od, dtype)
    np.testing.assert_array_equal(result["quality"].transpose("y", "x") & ~4, flags & ~4)
    thick = (found > 1).any("energy").transpose("y", "x")  # of the rounded value
    np.testing.assert_array_equal((result["quality"].transpose("y", "x") & 4) > 0, thick)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_logarithm__is_right_at_every_size_of_a_number(dtype):
    info = np.finfo(dtype)
    steps = np.geomspace(info.smallest_subnormal * 4, info.max / 4, 50_001).astype(dtype)
    near = (1 + np.linspace(-0.6, 0.6, 50_001)).astype(dtype)
    values = np.concatenate([steps, near, [1.0, 2 / 3, 4 / 3, info.tiny]]).astype(dtype)
    one = np.ones((1, 1), dtype)
    found = density.optical_densities(values[None], one, one, 0 * one, energy=0, dtype=dtype, thick=1.0).od
    exact = -np.log(values.astype(np.longdouble))
    error = np.abs(found[0] - exact) / np.maximum(np.abs(exact), 0.5)
    assert error.max() < 1.5 * info.eps


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "int64", "float16", ">f4", ">f8", "longdouble"])
def test_optical_density__of_any_numbers(dtype):
    counts = labelled(np.random.default_rng(0).integers(1, 200, (4, 5, 7)).astype(dtype))
    i0 = labelled(np.full(4, 200.0), ("energy",))
    od = xstxm.optical_density(counts, i0)
    assert od.dtype == {">f8": "float64", "longdouble": "longdouble"}.get(dtype, "float32")
    np.testing.assert_allclose(od.astype(float), -np.log(counts.astype(float) / 200), atol=3e-7)


@settings(max_examples=20)
@given(
    st.integers(0, 1000), st.floats(0, 50), st.sampled_from([(), ("energy",), ("y", "x"), ("x",), ("energy", "y", "x")])
)
def test_optical_density__with_dark_and_variances_is_the_definition(seed, level, dims):
    rng = np.random.default_rng(seed)
    counts = rng.uniform(100, 1000, (4, 3, 5))
    dark = labelled(level * rng.random([{"energy": 4, "y": 3, "x": 5}[dim] for dim in dims]), dims)
    i0 = labelled(rng.uniform(800, 1000, 4), ("energy",))
    variance = labelled(rng.uniform(0, 50, counts.shape), units="count**2")
    held = xr.Dataset({"intensity": labelled(counts), "intensity_variance": variance})
    source = xr.Dataset({"i0": i0, "i0_stderr": i0 * 0.02})
    result = xstxm.optical_density(held, source, dark=dark, **LIMITS)
    minus = np.broadcast_to(dark.broadcast_like(held["intensity"]).transpose("energy", "y", "x"), counts.shape)
    empty = np.broadcast_to(i0.values[:, None, None], counts.shape)
    od, spread, flags = defined(counts, empty, minus, variance.values, (0.02 * empty) ** 2)
    assert_same_density(result["optical_density"], od, float)
    np.testing.assert_allclose(result["optical_density_variance"], spread, rtol=1e-12)
    np.testing.assert_array_equal(result["quality"], flags)


@pytest.mark.parametrize("rate", [False, True])
def test_optical_density__poisson_variance_is_that_of_with_variance(stack, i0, rate):
    held = stack.assign(intensity=(stack["intensity"] / 2).assign_attrs(units="count/ms")) if rate else stack
    held = held.copy(deep=True)
    held["intensity"][3, 2, 4] = -5.0
    known = xr.Dataset({"i0": i0, "i0_stderr": 0.01 * i0})
    direct = xstxm.optical_density(held, known, dark=-30.0, noise="poisson", gain=3.0)
    before = xstxm.optical_density(xstxm.with_variance(held, gain=3.0), known, dark=-30.0)
    assert int(direct["optical_density_variance"].isnull().sum()) == 1
    for name in ("optical_density", "quality"):
        np.testing.assert_array_equal(direct[name], before[name])
    np.testing.assert_allclose(direct["optical_density_variance"], before["optical_density_variance"], rtol=1e-6)


@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param({"y": 3, "x": 5}, id="pixels"),
        pytest.param({"energy": 4}, id="energies"),
        pytest.param({"energy": (1, 5, 5), "y": (1, 6, 4)}, id="both, uneven"),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint16"])
def test_optical_density__lazily_is_bitwise_that_in_memory(order, chunks, dtype):
    rng = np.random.default_rng(2)
    counts = labelled(rng.integers(0, 1000, (11, 11, 13)).astype(dtype))
    image = labelled(rng.uniform(900, 1000, (11, 13)), ("y", "x"))
    for i0 in (counts.isel(y=0, x=0, drop=True) + 500.0, image, counts + 1.0):
        held = counts.transpose(*order).to_dataset(name="intensity")
        known = xr.Dataset({"i0": i0.assign_attrs(units="count"), "i0_variance": i0.assign_attrs(units="count**2")})
        options = {**LIMITS, "noise": "poisson", "dark": 3.0}
        with raise_if_dask_computes():
            lazy = xstxm.optical_density(held.chunk(chunks), known, **options)
        whole = xstxm.optical_density(held, known, **options)
        assert lazy["optical_density"].chunksizes == held.chunk(chunks)["intensity"].chunksizes
        xr.testing.assert_identical(lazy.drop_attrs().compute(), whole.drop_attrs())


def test_optical_density__lazily_reads_the_counts_once():
    reads = []

    def read(block_id=None):
        reads.append(block_id)
        return np.full((3, 4, 4), 500.0, "float32")

    counts = dask.array.map_blocks(
        read, chunks=((3,), (4, 4), (4,)), dtype="float32", meta=np.empty((0, 0, 0), "float32")
    )
    stack = labelled(counts).to_dataset(name="intensity")
    result = xstxm.optical_density(stack, labelled(np.full(3, 900.0), ("energy",)), noise="poisson", saturation=800)
    result.compute(scheduler="sync")
    assert len(reads) == 2


def test_optical_density__does_not_depend_on_threads_or_strides():
    rng = np.random.default_rng(3)
    counts = rng.uniform(1, 1000, (3, 301, 700)).astype("float32")
    i0 = labelled(np.full(3, 900.0), ("energy",))
    with xstxm.set_options(num_threads=1):
        one = xstxm.optical_density(labelled(counts), i0)
    with xstxm.set_options(num_threads=3):
        xr.testing.assert_identical(one.drop_attrs(), xstxm.optical_density(labelled(counts), i0).drop_attrs())
    views = {
        "every other": np.s_[:, ::2, ::3],
        "backwards": np.s_[::-1, ::-1, ::-1],
        "cropped": np.s_[:, 10:200, 30:400],
        "one column": np.s_[:, :, 5:6],
    }
    for view in views.values():
        found = xstxm.optical_density(labelled(counts[view]), i0)
        np.testing.assert_array_equal(found, one.values[view])
    turned = labelled(np.ascontiguousarray(counts.transpose(1, 2, 0)), ("y", "x", "energy")).transpose(
        "energy", "y", "x"
    )
    np.testing.assert_array_equal(xstxm.optical_density(turned, i0), one)


@pytest.mark.parametrize(
    "dims", [("energy",), ("energy", "position"), ("theta", "energy", "y", "x"), ("theta", "y", "x", "energy")]
)
def test_optical_density__of_any_dimensions(dims):
    sizes = {"energy": 5, "position": 7, "theta": 2, "y": 3, "x": 4}
    counts = labelled(np.random.default_rng(4).uniform(1, 100, [sizes[dim] for dim in dims]), dims)
    i0 = labelled(np.linspace(90, 100, 5), ("energy",))
    stack = counts.to_dataset(name="intensity")
    result = xstxm.optical_density(stack, i0, **LIMITS)
    xr.testing.assert_allclose(result["optical_density"].drop_attrs(), -np.log(counts / i0).drop_attrs(), rtol=1e-13)
    thick = (result["optical_density"] > 1).any("energy")
    np.testing.assert_array_equal((result["quality"] & 4) > 0, thick)
    assert result["quality"].dims == tuple(dim for dim in dims if dim != "energy")


@pytest.mark.parametrize("dims", [("energy",), ("energy", "y", "x")], ids=["I0 spectrum", "I0 stack"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint16"])
def test_optical_density__needs_no_memory_beyond_its_result(dims, dtype):
    counts = labelled(np.random.default_rng(5).integers(1, 900, (40, 512, 512)).astype(dtype))
    i0 = labelled(np.full([counts.sizes[dim] for dim in dims], 900, dtype), dims)
    stack = counts.to_dataset(name="intensity")
    xstxm.optical_density(stack.isel(y=slice(8)), i0.isel(y=slice(8), missing_dims="ignore"))  # compiles
    tracemalloc.start()
    with xstxm.set_options(num_threads=1):
        result = xstxm.optical_density(stack, i0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.25 * result["optical_density"].nbytes
