from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from laziness import raise_if_dask_computes

import xstxm
from xstxm.conventions import QUALITY_FLAGS
from xstxm.errors import (
    ChoiceError,
    EnergyRangeError,
    IncompatibleUnitsError,
    MetadataWarning,
    MissingCoordinateError,
    MissingUnitsError,
    MissingVariableError,
    NonPositiveIntensityWarning,
    OptionError,
    SchemaError,
)
from xstxm.incident import brightest

EMPTY = {"x": (0.0, 0.05)}


def flagged(stack, name):
    return (stack["quality"] & QUALITY_FLAGS[name]) > 0


@pytest.mark.parametrize(
    "region",
    [
        pytest.param(EMPTY, id="box"),
        pytest.param({"x": ("0 nm", "50 nm")}, id="box with units"),
        pytest.param([(-0.02, -1), (0.07, -1), (0.07, 1), (-0.02, 1)], id="polygon"),
        pytest.param("brightest", id="brightest"),
    ],
)
def test_estimate_i0__finds_the_empty_pixels(stack, i0, region):
    found = xstxm.estimate_i0(stack, region, fraction=2 / 9)
    xstxm.testing.assert_conforms(found, "estimate_i0")
    np.testing.assert_allclose(found["i0"], i0, rtol=1e-6)
    np.testing.assert_allclose(found["i0_stderr"], 0, atol=1e-3)
    np.testing.assert_array_equal(found["mask"].all("y"), np.arange(9) < 2)
    assert found["i0"].attrs["units"] == "count"


def test_estimate_i0__mask(stack, i0):
    mask = xr.DataArray(np.zeros((6, 9), dtype=bool), dims=("y", "x"))
    mask[2, 1] = True
    np.testing.assert_allclose(xstxm.estimate_i0(stack, mask)["i0"], i0, rtol=1e-6)


def test_estimate_i0__is_lazy_for_a_region_and_computes_once_for_the_brightest(stack):
    lazy = stack.chunk(y=3)
    with raise_if_dask_computes():
        xstxm.estimate_i0(lazy, EMPTY)
    with raise_if_dask_computes(max_computes=1):
        xstxm.estimate_i0(lazy)


@pytest.mark.parametrize("region", ["brightest", EMPTY])
@pytest.mark.parametrize("size", [42, 10])
def test_estimate_i0__has_the_chunks_of_the_counts_along_energy(stack, region, size):
    lazy = stack.chunk(y=3, energy=size)
    assert xstxm.estimate_i0(lazy, region)["i0"].chunks == (lazy["intensity"].chunksizes["energy"],)


def test_estimate_i0__finds_the_brightest_pixels_in_the_memory_of_few_images():
    values = np.random.default_rng(0).normal(4000, 60, (4, 512, 512)).astype("float32")
    energy = ("energy", np.arange(500.0, 504.0), {"units": "eV"})
    counts = xr.DataArray(values, {"energy": energy}, ("energy", "y", "x"), attrs={"units": "count"}).chunk(y=64)
    brightest(counts, 0.1)  # what is imported does not count
    tracemalloc.start()
    brightest(counts, 0.1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 7 * values[0].size * 8


def test_estimate_i0__standard_error_is_that_of_the_mean(stack):
    rng = np.random.default_rng(0)
    noisy = stack.copy(data={"intensity": rng.poisson(stack["intensity"]).astype("float32")})
    found = xstxm.estimate_i0(noisy, EMPTY)
    expected = np.sqrt(noisy["intensity"][:, :, :2].mean(("y", "x")) / 12)
    np.testing.assert_allclose(found["i0_stderr"].mean(), expected.mean(), rtol=0.15)


@pytest.mark.parametrize("n_energies", [121, 21])
@pytest.mark.parametrize("chunks", [pytest.param(None, id="numpy"), pytest.param({"y": 128, "x": 128}, id="dask")])
def test_estimate_i0__brightest_pixels_are_not_those_of_luckiest_noise(n_energies, chunks):
    every = xstxm.testing.simulate_references().energy
    energies = every[np.linspace(0, every.size - 1, n_energies).astype(int)]
    off = []
    for seed in range(2):
        stack = xstxm.testing.simulate_stack(energies=energies, counts=1000, psf="0 nm", seed=seed, chunks=chunks)
        found = xstxm.estimate_i0(stack)
        off.append((found["i0"] - stack["true_i0"]) / found["i0_stderr"])
    assert abs(float(xr.concat(off, "seed").mean())) < 3 / np.sqrt(2 * n_energies)
    assert 0.5 < float((xr.concat(off, "seed") ** 2).mean()) < 1.6


@pytest.mark.parametrize("n_energies", [1, 2, 3])
@pytest.mark.parametrize("shape", [pytest.param((60, 80), id="image"), pytest.param((4800,), id="line")])
def test_estimate_i0__brightest_pixels_of_few_energies(n_energies, shape):
    dims = ("energy", "y", "x")[: len(shape) + 1]
    expected = np.where(np.arange(shape[0]) < shape[0] // 2, 400.0, 250.0).reshape(-1, *(1,) * (len(shape) - 1))
    off = []
    for seed in range(1000, 1040):
        counts = np.random.default_rng(seed).poisson(np.broadcast_to(expected, (n_energies, *shape))).astype("float32")
        energy = ("energy", 510.0 + np.arange(n_energies), {"units": "eV"})
        found = xstxm.estimate_i0(xr.DataArray(counts, dims=dims, coords={"energy": energy}, attrs={"units": "count"}))
        off += [*((found["i0"] - 400) / found["i0_stderr"]).values]
    assert abs(np.mean(off)) < 4 / np.sqrt(len(off))
    assert np.std(off) < 1.5


def test_estimate_i0__of_the_brightest_leaves_out_what_is_not_finite(stack, i0):
    broken = stack.copy(deep=True)
    broken["intensity"][4, 0, 0] = np.nan
    broken["intensity"][5, 1, 1] = np.inf
    for n_energies in (42, 1):
        some = broken.isel(energy=slice(4, 4 + n_energies))
        found = xstxm.estimate_i0(some if n_energies == 1 else broken, fraction=0.1)
        np.testing.assert_allclose(found["i0"], i0.sel(energy=found["energy"]), rtol=1e-6)
        assert not bool(found["mask"][0, 0])


def test_estimate_i0__of_one_pixel_has_the_error_of_its_counts_or_none(stack, i0):
    pixel = {"x": 0.05, "y": 0.05}
    assert bool(xstxm.estimate_i0(stack, pixel)["i0_stderr"].isnull().all())
    counted = xstxm.with_variance(stack)
    known = xstxm.estimate_i0(counted, pixel)
    np.testing.assert_allclose(known["i0_stderr"], np.sqrt(known["i0"]), rtol=1e-6)
    other = counted.assign(intensity_variance=(counted["intensity_variance"] / 1e6).assign_attrs(units="kilocount**2"))
    np.testing.assert_allclose(xstxm.estimate_i0(other, pixel)["i0_stderr"], known["i0_stderr"], rtol=1e-6)
    with raise_if_dask_computes():
        lazy = xstxm.estimate_i0(counted.chunk(y=3), pixel)
    np.testing.assert_allclose(lazy["i0_stderr"], known["i0_stderr"], rtol=1e-6)


@pytest.mark.parametrize("chunks", [None, {"y": 3}])
def test_optical_density__of_an_i0_of_one_pixel_counts_its_noise(stack, chunks):
    counts = stack.chunk(chunks) if chunks else stack
    pixel = {"x": 0.05, "y": 0.05}
    alone = xstxm.estimate_i0(counts, pixel)
    for od in (
        xstxm.optical_density(counts, alone, noise="poisson"),
        xstxm.optical_density(xstxm.with_variance(counts), xstxm.estimate_i0(xstxm.with_variance(counts), pixel)),
    ):
        expected = 1 / stack["intensity"] + 1 / alone["i0"]
        np.testing.assert_allclose(od["optical_density_variance"], expected.transpose("energy", "y", "x"), rtol=1e-5)


def test_optical_density__says_that_an_i0_of_one_pixel_has_no_error(stack):
    alone = xstxm.estimate_i0(stack, {"x": 0.05, "y": 0.05})
    with pytest.warns(MetadataWarning, match=r"error of I0 is NaN in 42 of 42 .* one pixel shows no spread"):
        od = xstxm.optical_density(xstxm.with_variance(stack), alone)
    assert bool(od["optical_density_variance"].isnull().all())


def test_optical_density__reads_the_units_of_the_errors_of_i0(stack, i0):
    held = with_variance(stack, i0).drop_vars(["i0", "i0_stderr"])
    i0 = i0.assign_attrs(units="count")
    variance, stderr = i0 * 4, 2 * np.sqrt(i0)

    def found(**errors):
        return xstxm.optical_density(held, xr.Dataset({"i0": i0, **errors}))["optical_density_variance"]

    expected = held["intensity_variance"] / stack["intensity"] ** 2 + 4 / i0
    for errors in (
        {"i0_variance": (variance / 1e6).assign_attrs(units="kilocount**2")},
        {"i0_stderr": (stderr / 1e3).assign_attrs(units="kilocount")},
    ):
        np.testing.assert_allclose(found(**errors), expected.transpose("energy", "y", "x"), rtol=1e-5)
    with pytest.raises(IncompatibleUnitsError, match=r"^i0_stderr is in 'eV'"):
        found(i0_stderr=stderr.assign_attrs(units="eV"))
    with pytest.raises(MissingUnitsError, match=r"^i0_variance has no units: .* = 'count\*\*2'"):
        found(i0_variance=variance.drop_attrs())
    with pytest.raises(OptionError, match=r"^i0_variance=.*a variance is not below zero"):
        found(i0_variance=(-variance).assign_attrs(units="count**2"))


def test_optical_density__reads_the_units_of_the_variance_of_counts(stack, i0):
    held = with_variance(stack, i0)
    kilo = held.assign(intensity_variance=(held["intensity_variance"] / 1e6).assign_attrs(units="kilocount**2"))
    expected = xstxm.optical_density(held)["optical_density_variance"]
    np.testing.assert_allclose(xstxm.optical_density(kilo)["optical_density_variance"], expected, rtol=1e-5)
    with pytest.raises(IncompatibleUnitsError, match=r"^intensity_variance is in 'count'"):
        xstxm.optical_density(held.assign(intensity_variance=held["intensity"]))
    with pytest.raises(OptionError, match=r"^intensity_variance=<DataArray .*: no variance is above zero"):
        xstxm.optical_density(held.assign(intensity_variance=(held["intensity"] * 0).assign_attrs(units="count**2")))


@pytest.mark.parametrize("noise", [None, "residual", "array"])
def test_optical_density__refuses_a_gain_that_nothing_uses(stack, i0, noise):
    variance = stack["intensity"].assign_attrs(units="count**2")
    with pytest.raises(OptionError, match=r"^gain=5: .*noise='poisson' only: pass both"):
        xstxm.optical_density(stack, i0, noise=variance if noise == "array" else noise, gain=5)


@pytest.mark.parametrize(
    ("region", "error", "message"),
    [
        pytest.param("brigtest", ChoiceError, "did you mean 'brightest'", id="typo"),
        pytest.param({"x": (5, 6)}, OptionError, "holds no pixel", id="outside"),
        pytest.param({"z": (5, 6)}, ChoiceError, "unknown region coordinate 'z'", id="no such coordinate"),
        pytest.param([(0, 0), (1, 1)], OptionError, "3 or more", id="two vertices"),
        pytest.param(xr.DataArray(np.ones((6, 9)), dims=("y", "x")), SchemaError, "a mask is boolean", id="not bool"),
        pytest.param(
            xr.DataArray(np.ones((6, 8), dtype=bool), dims=("y", "x")), SchemaError, "8 pixels along 'x'", id="shape"
        ),
        pytest.param(
            xr.DataArray(np.zeros((6, 9), dtype=bool), dims=("y", "x")),
            OptionError,
            "the mask is False",
            id="all masked",
        ),
    ],
)
def test_estimate_i0__refuses(stack, region, error, message):
    with pytest.raises(error, match=message):
        xstxm.estimate_i0(stack, region)


def test_estimate_i0__fraction_out_of_range(stack):
    with pytest.raises(OptionError, match=r"fraction=0: give a share of the pixels above 0 and of at most 1"):
        xstxm.estimate_i0(stack, fraction=0)


def test_estimate_i0__of_a_single_spectrum(stack):
    with pytest.raises(SchemaError, match="a single spectrum has no empty pixels"):
        xstxm.estimate_i0(stack.isel(y=0, x=0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "chunks", [pytest.param(None, id="numpy"), pytest.param({"y": 2, "x": 4}, id="dask by pixel"), {"energy": 1}]
)
def test_optical_density__is_minus_log_of_the_ratio(stack, i0, density, dtype, chunks):
    given_stack = stack.astype(dtype)
    given_stack = given_stack.chunk(chunks) if chunks else given_stack
    with raise_if_dask_computes():
        result = xstxm.optical_density(given_stack, i0)
    assert result["optical_density"].dtype == dtype
    assert result["optical_density"].dims == ("energy", "y", "x")
    assert result["optical_density"].attrs["units"] == "1"
    np.testing.assert_allclose(result["optical_density"], density, atol=2e-6)
    assert "optical_density" not in given_stack


@pytest.mark.parametrize("dims", [("energy",), ("energy", "y", "x"), ("y", "x")])
def test_optical_density__i0_of_any_shape(stack, dims):
    whole = stack["intensity"].astype(float) * 0 + 5000.0
    i0 = whole.isel({dim: 0 for dim in whole.dims if dim not in dims}, drop=True).assign_attrs(units="count")
    expected = -np.log(stack["intensity"].astype(float) / 5000.0)
    np.testing.assert_allclose(xstxm.optical_density(stack, i0)["optical_density"], expected, atol=2e-6)


def test_optical_density__of_an_array_is_an_array(stack, i0):
    od = xstxm.optical_density(stack["intensity"], i0)
    assert isinstance(od, xr.DataArray)
    assert od.name == "optical_density"


def test_optical_density__integer_counts_become_float32(stack, i0):
    od = xstxm.optical_density(stack["intensity"].astype("uint16"), i0)
    assert od.dtype == np.float32


def test_optical_density__descending_energy_is_the_same_stack(stack, i0, density):
    down = stack.isel(energy=slice(None, None, -1))
    od = xstxm.optical_density(down, i0)["optical_density"]
    np.testing.assert_allclose(od.sortby("energy"), density, atol=2e-6)


def test_optical_density__estimates_i0_and_says_so(stack):
    result = xstxm.optical_density(stack)
    assert "i0 estimated from the brightest 10 % of the pixels" in result.attrs["history"]
    assert "notes" not in result.attrs


def test_optical_density__uses_the_i0_of_the_stack(stack, i0, density):
    result = xstxm.optical_density(stack.assign(i0=i0))
    assert "estimated" not in result.attrs["history"]
    np.testing.assert_allclose(result["optical_density"], density, atol=2e-6)


def test_optical_density__takes_the_result_of_estimate_i0(stack, density):
    result = xstxm.optical_density(stack, xstxm.estimate_i0(stack, EMPTY))
    np.testing.assert_allclose(result["optical_density"], density, atol=2e-6)


@pytest.mark.parametrize(
    ("unit", "factor"), [("count/ms", 0.5), ("count/s", 500.0), ("kHz", 0.5), ("counts/ms", 0.5), ("count", 1.0)]
)
def test_optical_density__a_rate_meets_counts_through_the_dwell(stack, i0, density, unit, factor):
    rate = (i0 * factor).assign_attrs(units=unit.replace("kHz", "count/ms"))
    np.testing.assert_allclose(xstxm.optical_density(stack, rate)["optical_density"], density, atol=2e-6)


def test_optical_density__stack_of_rates_with_counts_as_i0(stack, i0, density):
    rates = stack.assign(intensity=(stack["intensity"] / 2).assign_attrs(units="count/ms"))
    np.testing.assert_allclose(xstxm.optical_density(rates, i0)["optical_density"], density, atol=2e-6)


def test_optical_density__dwell_per_energy(stack, i0, density):
    dwell = xr.DataArray(np.linspace(1, 3, 42), dims="energy", attrs={"units": "ms"})
    rate = (i0 / dwell).assign_attrs(units="count/ms")
    result = xstxm.optical_density(stack.assign_coords(dwell_time=dwell), rate)
    np.testing.assert_allclose(result["optical_density"], density, atol=2e-6)


def test_optical_density__i0_without_units_is_refused(stack, i0):
    with pytest.raises(MissingUnitsError, match="I0 has no units: say whether it is counts per pixel or a rate"):
        xstxm.optical_density(stack, i0.drop_attrs())


def test_optical_density__i0_in_units_of_something_else(stack, i0):
    with pytest.raises(IncompatibleUnitsError, match="I0 is in 'eV', which does not convert to 'count'"):
        xstxm.optical_density(stack, i0.assign_attrs(units="eV"))


def test_optical_density__rate_without_dwell(stack, i0):
    with pytest.raises(MissingCoordinateError, match="one of I and I0 is a rate, the other counts"):
        xstxm.optical_density(stack.drop_vars("dwell_time"), i0.assign_attrs(units="count/ms"))


def test_optical_density__i0_that_does_not_cover_the_stack(stack, i0):
    with pytest.raises(EnergyRangeError, match="I0 covers 506-530 eV, the stack 505-530 eV"):
        xstxm.optical_density(stack, i0.isel(energy=slice(1, None)))


def test_optical_density__i0_that_is_no_array(stack):
    with pytest.raises(SchemaError, match=r"I0 is of type list: read it with xstxm\.read_i0"):
        xstxm.optical_density(stack, [1, 2, 3])


def test_optical_density__without_counts(density):
    with pytest.raises(MissingVariableError, match="'intensity' is missing"):
        xstxm.optical_density(density.to_dataset())


def test_optical_density__nonpositive_counts_become_nan_and_a_flag_never_a_number(stack, i0, density):
    broken = stack.copy(deep=True)
    broken["intensity"][3, 2, 4] = 0
    broken["intensity"][5, 2, 4] = -3
    broken["intensity"][7, 1, 5] = np.nan
    with pytest.warns(NonPositiveIntensityWarning, match="counts of zero or less in 1 pixels became NaN"):
        result = xstxm.optical_density(broken, i0)
    missing = result["optical_density"].isnull()
    assert int(missing.sum()) == 3
    np.testing.assert_array_equal(np.argwhere(flagged(result, "nonpositive_counts").values), [[2, 4]])
    np.testing.assert_allclose(result["optical_density"].where(~missing), density.where(~missing), atol=2e-6)


def test_optical_density__nonpositive_i0_is_flagged_everywhere(stack, i0):
    with pytest.warns(NonPositiveIntensityWarning):
        result = xstxm.optical_density(stack, i0.where(np.arange(42) != 4, -1.0))
    assert bool(flagged(result, "nonpositive_counts").all())
    assert bool(result["optical_density"].isel(energy=4).isnull().all())


def test_optical_density__flags_what_is_too_thick_or_saturated(stack, i0):
    result = xstxm.optical_density(stack, i0, thick=0.9, saturation=3999)
    od = result["optical_density"]
    xr.testing.assert_equal(flagged(result, "too_thick").rename(None), (od > 0.9).any("energy").rename(None))
    assert bool(flagged(result, "saturated").isel(x=0).all())
    assert not bool(flagged(result, "saturated").isel(x=4).any())


def test_optical_density__keeps_flags_that_it_does_not_set(stack, i0):
    before = xr.full_like(stack["intensity"].isel(energy=0, drop=True), 8, dtype="int16")
    result = xstxm.optical_density(stack.assign(quality=before), i0)
    assert bool(flagged(result, "outside_overlap").all())


@pytest.mark.parametrize("dark", [50.0, xr.DataArray(50.0, attrs={"units": "count"})])
def test_optical_density__subtracts_the_dark_from_both(stack, i0, density, dark):
    result = xstxm.optical_density(stack + 50.0, (i0 + 50.0).assign_attrs(i0.attrs), dark=dark)
    np.testing.assert_allclose(result["optical_density"], density, atol=1e-5)


@pytest.mark.filterwarnings("ignore:more than half of the pixels")
@given(
    hnp.arrays("float64", (4, 3), elements=st.floats(0.01, 1e5)),
    hnp.arrays("float64", (4,), elements=st.floats(0.01, 1e5)),
    st.floats(0.1, 10),
)
def test_optical_density__does_not_depend_on_a_common_scale(counts, incident, scale):
    energy = ("energy", [510.0, 511.0, 512.0, 513.0], {"units": "eV"})
    stack = xr.DataArray(counts, dims=("energy", "x"), coords={"energy": energy}, attrs={"units": "count"})
    i0 = xr.DataArray(incident, dims="energy", coords={"energy": energy}, attrs={"units": "count"})
    one = xstxm.optical_density(stack, i0)
    other = xstxm.optical_density((stack * scale).assign_attrs(units="count"), (i0 * scale).assign_attrs(units="count"))
    np.testing.assert_allclose(one, other, atol=1e-9)
    np.testing.assert_allclose(np.exp(-one) * i0, stack, rtol=1e-9)


def test_optical_density__of_quantified_counts(stack, i0, density):
    import pint_xarray  # noqa: F401

    result = xstxm.optical_density(stack.pint.quantify(), i0.pint.quantify())
    np.testing.assert_allclose(result["optical_density"], density, atol=2e-6)
    assert result["optical_density"].attrs["units"] == "1"


def test_spectrum__of_a_polygon_a_point_and_a_mask(stack, i0, density):
    od = xstxm.optical_density(stack, i0)
    triangle = [(0.11, -0.01), (0.41, -0.01), (0.11, 0.3)]
    found = xstxm.spectrum(od, triangle)
    xstxm.testing.assert_conforms(found, "spectrum")
    mask = xstxm.roi.region_mask(od, triangle)
    expected = density.where(mask)
    np.testing.assert_allclose(found["spectrum"], expected.mean(("y", "x")), atol=2e-6)
    np.testing.assert_allclose(found["spectrum_std"], expected.std(("y", "x")), atol=2e-6)
    assert int(found["n_pixels"][0]) == int(mask.sum())
    point = xstxm.spectrum(od, {"x": 0.21, "y": "98 nm"})
    np.testing.assert_allclose(point["spectrum"], density.isel(y=2, x=4), atol=2e-6)


def test_spectrum__has_the_variance_of_its_mean(stack, i0):
    """Against the scatter over repeated measurements of a region, some of whose values are missing."""
    references = xstxm.testing.simulate_references()
    expected = xstxm.testing.simulate_stack(shape=(6, 8), seed=0, noise=False, counts=2000, psf="0 nm")
    region = {"x": (0, 10), "y": (0, 10)}

    def measured(seed):
        counts = np.random.default_rng(seed).poisson(expected["intensity"]).astype("float32")
        counts[3, :2] = np.nan
        counted = expected.assign(intensity=expected["intensity"].copy(data=counts)).stxm.with_variance()
        return xstxm.optical_density(counted, expected["true_i0"].rename("i0")).stxm.spectrum(region)

    drawn = [measured(seed) for seed in range(100)]
    mean, variance = (xr.concat([d[name] for d in drawn], "draw") for name in ("spectrum", "spectrum_variance"))
    assert float((mean.var("draw") / variance.mean("draw")).mean()) == pytest.approx(1, abs=0.05)
    assert variance.attrs["units"] == "1"
    fitted = xstxm.fit(drawn[0], references, signal="spectrum")
    assert fitted.attrs["noise"] == "variance"
    assert 0.6 < float(fitted["reduced_chi2"]) < 1.5
    assert "spectrum_variance" not in xstxm.spectrum(stack, region, signal="intensity")
    hole = xstxm.optical_density(expected.stxm.with_variance(), expected["true_i0"].rename("i0"))
    hole["optical_density_variance"][5, 2, 3] = np.nan
    unknown = hole.stxm.spectrum(region)["spectrum_variance"].isnull()
    assert list(np.flatnonzero(unknown)) == [5]


def test_spectrum__polygon_agrees_with_an_independent_fill(stack):
    from matplotlib.path import Path as Outline

    outline = [(0.03, 0.02), (0.38, 0.07), (0.22, 0.24), (0.3, 0.13), (0.07, 0.22)]
    mask = xstxm.roi.region_mask(stack, outline)
    x, y = np.meshgrid(stack["x"], stack["y"])
    inside = Outline(outline).contains_points(np.column_stack([x.ravel(), y.ravel()])).reshape(x.shape)
    np.testing.assert_array_equal(mask, inside)


@pytest.mark.parametrize("what", ["dark", "i0", "mask"])
def test_images__on_another_grid_are_refused_not_cut(stack, i0, what):
    image = stack["intensity"].isel(energy=0, drop=True).drop_attrs().assign_attrs(units="count")
    moved = image.assign_coords(x=image["x"] + 0.05)
    with pytest.raises(SchemaError, match="differ along 'x'"):
        {
            "dark": lambda: xstxm.optical_density(stack, i0, dark=moved),
            "i0": lambda: xstxm.optical_density(stack, moved),
            "mask": lambda: xstxm.estimate_i0(stack, moved > 0),
        }[what]()


def test_images__that_cover_half_of_the_stack_are_refused(stack, i0):
    image = stack["intensity"].isel(energy=0, drop=True).drop_attrs().assign_attrs(units="count")
    with pytest.raises(SchemaError, match="dark has 4 pixels along 'x', the stack 9"):
        xstxm.optical_density(stack, i0, dark=image.isel(x=slice(4)))


def test_optical_density__dark_as_a_string(stack, i0, density):
    result = xstxm.optical_density(stack + 50.0, (i0 + 50.0).assign_attrs(i0.attrs), dark="50 count")
    np.testing.assert_allclose(result["optical_density"], density, atol=1e-5)


def test_optical_density__integer_i0_on_another_grid_is_not_truncated(stack):
    flat = stack["intensity"] * 0 + 2.5
    coarse = xr.DataArray([3, 2], dims="energy", coords={"energy": ("energy", [505.0, 530.0], {"units": "eV"})})
    od = xstxm.optical_density(flat.assign_attrs(units="count"), coarse.assign_attrs(units="count"))
    expected = -np.log(2.5 / np.interp(stack["energy"], [505, 530], [3, 2]))
    np.testing.assert_allclose(od.isel(x=0, y=0), expected, atol=1e-6)


@pytest.mark.parametrize("unit", ["um", "eV", "ms"])
def test_optical_density__refuses_an_intensity_that_is_none(stack, i0, unit):
    with pytest.raises(IncompatibleUnitsError, match="the intensity is in"):
        xstxm.optical_density(stack.assign(intensity=stack["intensity"].assign_attrs(units=unit)), i0)
    with pytest.raises(IncompatibleUnitsError, match="I0 is in 'deg'"):
        xstxm.optical_density(stack, i0.assign_attrs(units="deg"))


def test_optical_density__i0_that_is_nan_or_counts_that_are_infinite_are_flagged(stack, i0):
    broken = stack.copy(deep=True)
    broken["intensity"][4, 3, 3] = np.inf
    with pytest.warns(NonPositiveIntensityWarning, match="in 1 pixels"):
        result = xstxm.optical_density(broken, i0)
    assert bool(result["optical_density"][4, 3, 3].isnull())
    with pytest.warns(NonPositiveIntensityWarning, match="in 54 pixels"):
        xstxm.optical_density(stack, i0.where(np.arange(42) != 4))


def test_optical_density__keeps_flags_of_others(stack, i0):
    before = xr.full_like(stack["intensity"].isel(energy=0, drop=True), 64, dtype="int16")
    result = xstxm.optical_density(stack.assign(quality=before), i0)
    assert bool(((result["quality"] & 64) > 0).all())


def test_estimate_i0__without_units_is_refused(stack):
    with pytest.raises(MissingUnitsError, match="the intensity has no units"):
        xstxm.estimate_i0(stack["intensity"].drop_attrs(deep=False))


def test_estimate_i0__leaves_out_what_the_mask_of_the_stack_leaves_out(stack, i0):
    bright = stack.copy(deep=True)
    bright["intensity"][:, 0, 8] = 1e6
    mask = xr.DataArray(np.ones((6, 9), dtype=bool), dims=("y", "x"))
    mask[0, 8] = False
    found = xstxm.estimate_i0(bright.assign(mask=mask), fraction=2 / 9)
    np.testing.assert_allclose(found["i0"], i0, rtol=1e-6)
    assert found.attrs["n_pixels"] == int(found["mask"].sum())


def test_region__point_outside_the_image_is_refused(stack):
    with pytest.raises(OptionError, match=r"^x='1 m': it lies outside the image, which covers -0.025 to 0.425 um$"):
        xstxm.spectrum(stack, {"x": "1 m", "y": 0.0}, signal="intensity")


@pytest.mark.parametrize(
    ("region", "message"),
    [
        pytest.param(
            {"x": ("5 um", "6 um")},
            r"^region=\{'x': \('5 um', '6 um'\)\}: it holds no pixel: the image covers x from 0 to 0.4 um in steps of "
            "0.05, y from 0 to 0.25 um in steps of 0.05$",
            id="box outside",
        ),
        pytest.param({"x": (0.01, 0.02)}, "holds no pixel.* in steps of 0.05", id="box between pixels"),
        pytest.param([(5, 5), (6, 5), (6, 6)], r"^region=\[\(5, 5\), .*holds no pixel", id="polygon outside"),
        pytest.param(
            np.zeros((6, 9), bool), r"^region=.*: it holds no pixel: the mask is False everywhere$", id="empty mask"
        ),
        pytest.param({"x": (0, 1, 2)}, r"^x=\(0, 1, 2\): give a position, or two limits", id="three limits"),
        pytest.param({"x": slice(0, 1)}, "^x=slice.*: give a position, or two limits", id="slice"),
        pytest.param("everything", "^region='everything': give a mask", id="a word"),
        pytest.param([(0, 1), (2,)], "give a mask", id="ragged"),
        pytest.param(np.ones((6, 9), bool).tolist(), r"^region=\[\[True, .{,150}: give a mask", id="lists of bool"),
        pytest.param(3, "^region=3: give a mask", id="number"),
    ],
)
def test_region__that_is_none_says_what_was_given_and_what_is_there(stack, region, message):
    with pytest.raises(OptionError, match=message):
        xstxm.roi.region_mask(stack, region)


def test_region__outside_the_mask_of_the_stack_is_refused(stack):
    masked = stack.assign(mask=stack["x"].expand_dims(y=stack["y"]) < 0.2)
    for verb in (xstxm.estimate_i0, lambda s, region: xstxm.spectrum(s, region, signal="intensity")):
        with pytest.raises(OptionError, match=r"^region=\{'x': \(0.3, 0.4\)\}: all of its pixels lie outside the mask"):
            verb(masked, {"x": (0.3, 0.4)})
        assert verb(masked, {"x": (0.1, 0.4)}).sizes["energy"] == 42


def test_region__of_too_many_dimensions_is_refused(stack):
    with pytest.raises(SchemaError, match="the mask has 4 dimensions, the pixels of the stack 2"):
        xstxm.roi.region_mask(stack, np.ones((1, 1, 6, 9), bool))


def test_region__point_between_two_pixels_is_one_pixel(stack):
    found = xstxm.spectrum(stack, {"x": 0.025, "y": 0.025}, signal="intensity")
    assert int(found["n_pixels"][0]) == 1


def test_region__takes_a_plain_boolean_image(stack):
    mask = np.zeros((6, 9), dtype=bool)
    mask[1, 2] = True
    assert int(xstxm.roi.region_mask(stack, mask).sum()) == 1


def test_optical_density__i0_darker_than_the_stack_warns(stack, i0):
    with pytest.warns(MetadataWarning, match="brighter than I0 at every energy: check the units of I0"):
        xstxm.optical_density(stack, (i0 / 1000).assign_attrs(units="count"))


def test_optical_density__what_was_not_measured_is_flagged(stack, i0):
    broken = stack.copy(deep=True)
    broken["intensity"][4, 3, 3] = np.nan
    result = xstxm.optical_density(broken, i0)
    np.testing.assert_array_equal(np.argwhere(flagged(result, "not_measured").values), [[3, 3]])
    assert not bool(flagged(result, "nonpositive_counts").any())


@pytest.mark.parametrize("unit", ["K", "kg", "1/nm"])
def test_optical_density__refuses_units_of_something_else(stack, unit):
    with pytest.raises(IncompatibleUnitsError, match="the intensity is in"):
        xstxm.optical_density(stack.assign(intensity=stack["intensity"].assign_attrs(units=unit)))


def with_variance(stack, i0):
    counts = stack["intensity"]
    return stack.assign(
        intensity_variance=(counts * 1.7).assign_attrs(units="count**2"),
        i0=i0,
        i0_stderr=(0.01 * i0).assign_attrs(units="count"),
    )


@pytest.mark.parametrize("dark", [None, 30.0])
def test_optical_density__carries_the_variance_of_counts_and_i0(stack, i0, dark):
    held = with_variance(stack, i0)
    with raise_if_dask_computes():
        lazy = xstxm.optical_density(held.chunk(y=2), dark=dark)
    level = dark or 0.0
    expected = held["intensity_variance"] / (stack["intensity"] - level) ** 2 + (0.01 * i0) ** 2 / (i0 - level) ** 2
    found = lazy["optical_density_variance"]
    np.testing.assert_allclose(found, expected.transpose(*found.dims), rtol=1e-5)
    assert (found.dtype, found.attrs["units"], found.dims) == (np.float32, "1", lazy["optical_density"].dims)
    xr.testing.assert_allclose(lazy.compute(), xstxm.optical_density(held, dark=dark), rtol=1e-5)


def test_optical_density__variance_of_every_kind_of_i0(stack, i0):
    held = with_variance(stack, i0).drop_vars(["i0", "i0_stderr"])
    counted = held["intensity_variance"] / stack["intensity"] ** 2

    def added(passed=None, **own):
        found = xstxm.optical_density(held.assign(own), passed)
        return (found["optical_density_variance"] - counted).mean(("y", "x")), found.stxm.history["notes"].iloc[-1]

    known, said = added(i0=i0, i0_variance=i0.assign_attrs(units="count**2"))
    np.testing.assert_allclose(known, 1 / i0, rtol=1e-3)
    assert "not known" not in said
    for unsaid in ({"i0": i0}, {"passed": i0}):
        none, said = added(**unsaid)
        np.testing.assert_allclose(none, 0, atol=1e-9)
        assert "the variance of I0 is not known and left out" in said
    passed = xr.Dataset({"i0": i0, "i0_stderr": (0.02 * i0).assign_attrs(units="count")})
    np.testing.assert_allclose(added(passed=passed)[0], 0.02**2, rtol=1e-3)
    estimated, said = added()
    assert (estimated >= 0).all()
    assert "not known" not in said


def test_optical_density__variance_where_rates_meet_counts_and_other_energies(stack, i0):
    held = with_variance(stack, i0).drop_vars(["i0", "i0_stderr"])
    rate = xr.Dataset({"i0": i0, "i0_stderr": 0.01 * i0}) / 2.0
    for name in rate:
        rate[name].attrs["units"] = "count/ms"
    counted = held["intensity_variance"] / stack["intensity"] ** 2
    found = xstxm.optical_density(held, rate)["optical_density_variance"] - counted
    np.testing.assert_allclose(found, 1e-4, rtol=2e-2)
    halfway = rate.isel(energy=slice(None, None, 2)).assign_coords(energy=rate["energy"][::2])
    short = held.isel(energy=slice(1, 2))
    between = xstxm.optical_density(short, halfway)["optical_density_variance"] - counted[1:2]
    np.testing.assert_allclose(between, 0.5e-4, rtol=2e-2)  # of two equal neighbours half


def test_optical_density__variance_is_that_of_repeated_counts():
    truth = xr.DataArray(np.full((4, 30, 40), 400.0), dims=("energy", "y", "x"), attrs={"units": "count"})
    truth = truth.assign_coords(energy=("energy", np.arange(4.0) + 510, {"units": "eV"}))
    counts = truth.copy(data=np.random.default_rng(0).poisson(400.0, truth.shape).astype("float32"))
    i0 = truth.isel(y=0, x=0, drop=True) * 2
    stack = xr.Dataset({"intensity": counts, "intensity_variance": counts.assign_attrs(units="count**2")})
    found = xstxm.optical_density(stack, i0.assign_attrs(units="count"))
    told = float(found["optical_density_variance"].mean())
    assert told == pytest.approx(float(found["optical_density"].var()), rel=0.06)


def test_optical_density__variance_is_nan_where_the_density_is_and_never_stale(stack, i0):
    held = with_variance(stack, i0).copy(deep=True)
    held["intensity"][3, 2, 4] = 0
    with pytest.warns(NonPositiveIntensityWarning):
        found = xstxm.optical_density(held)
    np.testing.assert_array_equal(found["optical_density_variance"].isnull(), found["optical_density"].isnull())
    again = xstxm.optical_density(
        with_variance(stack, i0).assign(optical_density_variance=found["optical_density_variance"])
    )
    assert again["optical_density_variance"].notnull().all()
    plain = found.drop_vars("intensity_variance").assign(intensity=stack["intensity"])
    assert "optical_density_variance" not in xstxm.optical_density(plain)


@pytest.mark.parametrize(
    ("dwell", "unit", "given", "told"),
    [
        (0.433, "count", "count/ms", None),
        (0.433, "count", "count", "a rate, units='count/ms'"),
        (3.0, "count", "count/ms", "counts, units='count'"),
        (3.0, "count/ms", "count/ms", "counts, units='count'"),
        (1.0, "count", "count", None),
    ],
)
def test_optical_density__i0_of_counts_in_place_of_a_rate_is_told(dwell, unit, given, told):
    """The true I0 of the counts is 1000 in the dwell time; what is given is that number, or the rate."""
    stack = xstxm.testing.simulate_stack(shape=(24, 32), seed=0)[["intensity"]]
    i0 = xstxm.estimate_i0(stack).i0
    stack = stack.assign_coords(dwell_time=((), dwell, {"units": "ms"}))
    if unit == "count/ms":
        stack["intensity"] = (stack["intensity"] / dwell).assign_attrs(units=unit)
    rate_is_true = told is None or told.startswith("a rate")
    i0 = (i0 / dwell if rate_is_true else i0).assign_attrs(units=given)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        xstxm.optical_density(stack, i0)
    said = [str(one.message) for one in caught if "clearest" in str(one.message)]
    assert len(said) == (told is not None)
    assert told is None or told in said[0]


@pytest.mark.parametrize("dwell", [((), 0.0, {"units": "ms"}), ((), 0.4, {}), ((), 0.4, {"units": "eV"})])
def test_optical_density__of_counts_needs_no_dwell_time(dwell):
    stack = xstxm.testing.simulate_stack(shape=(6, 8), seed=0)[["intensity"]].assign_coords(dwell_time=dwell)
    assert "optical_density" in xstxm.optical_density(stack, xstxm.estimate_i0(stack))


def test_optical_density__real_i0_in_the_wrong_units_is_told(real_data):
    folder = real_data / "fe-l-edge-stack"
    stack = xstxm.open_stack(folder / "71214078.hdr")
    with pytest.warns(MetadataWarning, match="clearest tenth of the pixels has an optical density of 0.836 at every"):
        xstxm.optical_density(stack, xstxm.read_i0(folder / "i0.xsp", units="count"))
    xstxm.optical_density(stack, xstxm.read_i0(folder / "i0.xsp", units="count/ms"))
