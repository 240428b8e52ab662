"""The fit on labelled arrays: laws, schema, laziness, messages."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from laziness import raise_if_dask_computes
from scipy.optimize import nnls

import xstxm
from xstxm.conventions import SCHEMAS
from xstxm.errors import (
    ChoiceError,
    EnergyRangeError,
    IncompatibleUnitsError,
    MissingUnitsError,
    MissingVariableError,
    OptionError,
    PerformanceWarning,
    ReferenceSpectrumError,
    SchemaError,
)
from xstxm.testing import assert_conforms

METHODS = ["lstsq", "nnls", "fcls"]
MAPS = ["component_map", "component_map_stderr", "residual_rms", "r_factor", "reduced_chi2"]


def make_references(n: int, closeness: float = 0.0, n_energies: int = 50, units: str = "1") -> xr.Dataset:
    """Edges with a peak each, on an uneven axis; the peaks come together as closeness goes to 1."""
    energy = 505 + 30 * np.linspace(0, 1, n_energies) ** 1.1
    edge = 1 / (1 + np.exp(-(energy - 512) / 1.5))
    centres = 519 + (np.linspace(511, 532, n) - 519) * (1 - closeness)
    values = np.array([edge + np.exp(-(((energy - centre) / 2.5) ** 2)) for centre in centres])
    return xr.Dataset(
        {"absorption": (("reference", "energy"), values, {"units": units})},
        coords={"reference": [f"r{k}" for k in range(n)], "energy": ("energy", energy, {"units": "eV"})},
    )


def make_density(
    references: xr.Dataset, *, seed: int = 0, shape=(4, 5), noise: float = 0.01, dtype="float64", offset=0.05
):
    """Optical density (energy, y, x) of random mixtures."""
    rng = np.random.default_rng(seed)
    n = references.sizes["reference"]
    amounts = rng.exponential(0.4, (n, *shape)) * (rng.random((n, *shape)) < 0.6)
    od = np.einsum("re,ryx->eyx", references["absorption"].values, amounts)
    od = od + offset + rng.normal(0, noise, od.shape) if noise else od + offset
    coords = {"energy": references["energy"], "y": ("y", np.arange(shape[0]) * 0.1, {"units": "um"})}
    return xr.DataArray(
        od.astype(dtype), dims=("energy", "y", "x"), coords=coords, name="optical_density", attrs={"units": "1"}
    )


@pytest.fixture
def noisy(density):
    rng = np.random.default_rng(7)
    return density + rng.normal(0, 0.01, density.shape)


@pytest.fixture(autouse=True)
def keep_attrs():
    with xr.set_options(keep_attrs=True):
        yield


# ---- result


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("background", ["none", "constant", "linear"])
def test_fit__follows_its_schema(noisy, references, method, background):
    result = xstxm.fit(noisy, references, method=method, background=background, covariance=True)
    assert_conforms(result, "fit")
    assert set(result.data_vars) == {*SCHEMAS["fit"], "component_map_covariance"}
    assert result["component_map"].dims == ("reference", "y", "x")
    assert result["component_map_covariance"].dims == ("reference", "other_reference", "y", "x")
    assert result["background"].dims == ("term", "y", "x")
    assert result["n_active"].dtype == np.int16
    assert (
        result["term"].values.tolist()
        == {"none": [], "constant": ["constant"], "linear": ["constant", "slope"]}[background]
    )
    assert result["composition"].attrs["long_name"] == "x in LixV2O5"
    xr.testing.assert_identical(result["y"], noisy["y"])


def test_fit__is_exact_without_noise(density, references, amounts):
    result = xstxm.fit(density + 0.3, references)
    np.testing.assert_allclose(result["component_map"], amounts, atol=1e-10)
    np.testing.assert_allclose(result["background"].sel(term="constant"), 0.3, atol=1e-10)
    assert float(result["r_factor"].max()) < 1e-20


def test_fit__finds_offset_and_slope_of_a_linear_background(density, references, amounts):
    energy = density["energy"]
    slope = ((energy - energy.mean()) * 0.01).drop_attrs()
    result = xstxm.fit(density + slope + 0.1, references, background="linear")
    np.testing.assert_allclose(result["component_map"], amounts, atol=1e-9)
    np.testing.assert_allclose(result["background"].sel(term="slope"), 0.01 * np.ptp(energy.values) / 2, atol=1e-9)


def test_fit__takes_background_spectra_on_another_grid(density, references, amounts):
    grid = np.linspace(500, 540, 400)
    background = xr.DataArray(
        [np.ones(400), np.sin(grid / 4)], dims=("term", "energy"), coords={"energy": ("energy", grid, {"units": "eV"})}
    )
    wave = xr.DataArray(np.interp(density["energy"], grid, np.sin(grid / 4)), dims="energy")
    result = xstxm.fit(density + 0.2 * wave, references, background=background)
    assert result["term"].values.tolist() == ["term 1", "term 2"]
    assert result.attrs["background"] == "given"
    np.testing.assert_allclose(result["background"].isel(term=1), 0.2, atol=1e-9)
    np.testing.assert_allclose(result["component_map"], amounts, atol=1e-9)


@pytest.mark.parametrize(("units", "expected"), [("1", "1"), ("1/nm", "nm"), ("cm**2/g", "g/cm**2")])
def test_fit__derives_the_units_of_amounts(units, expected):
    references = make_references(2, units=units)
    result = xstxm.fit(make_density(references), references, covariance=True)
    assert result["component_map"].attrs["units"] == expected
    assert result["component_map_stderr"].attrs["units"] == expected
    assert xstxm.units.derive(expected, expected, "*") == result["component_map_covariance"].attrs["units"]
    assert xstxm.predict(result).attrs["units"] == "1"


@pytest.mark.parametrize("dtype", ["float32", "float64", ">f4"])
def test_fit__keeps_the_dtype(noisy, references, dtype):
    result = xstxm.fit(noisy.astype(dtype), references, covariance=True)
    native = np.dtype(dtype).newbyteorder("=")
    assert {result[name].dtype for name in [*MAPS, "background", "component_map_covariance"]} == {native}
    assert xstxm.predict(result).dtype == native
    lazy = xstxm.fit(noisy.astype(dtype).chunk(x=4), references)
    assert lazy["component_map"].dtype == lazy["component_map"].compute().dtype == native


@pytest.mark.parametrize("method", METHODS)
def test_fit__statistics_follow_their_formulas(noisy, references, method):
    result = xstxm.fit(noisy, references, method=method, background="linear")
    rest = xstxm.residual(noisy, result)
    rss, n = (rest**2).sum("energy"), noisy.sizes["energy"]
    free = result["n_active"] + 2 - (method == "fcls")
    np.testing.assert_allclose(result["r_factor"], rss / (noisy**2).sum("energy"), rtol=1e-8)
    np.testing.assert_allclose(result["residual_rms"], np.sqrt(rss / n), rtol=1e-8)
    np.testing.assert_allclose(result["reduced_chi2"], rss / (n - free), rtol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_fit__covariance_has_the_stderr_on_its_diagonal_where_all_are_in_use(noisy, references, method):
    result = xstxm.fit(noisy, references, method=method, covariance=True)
    diagonal = np.sqrt(np.einsum("rryx->ryx", result["component_map_covariance"]))
    used = np.broadcast_to(result["n_active"] == 3, diagonal.shape)
    assert used.any()
    np.testing.assert_allclose(diagonal[used], result["component_map_stderr"].values[used], rtol=1e-8)
    if method == "fcls":
        np.testing.assert_allclose(result["component_map_covariance"].sum("reference"), 0, atol=1e-12)


# ---- laws


@settings(max_examples=15)
@given(
    st.integers(2, 6), st.integers(0, 1000), st.sampled_from(METHODS), st.sampled_from(["none", "constant", "linear"])
)
def test_law__references_may_come_in_any_order(n, seed, method, background):
    references = make_references(n)
    od = make_density(references, seed=seed)
    order = np.random.default_rng(seed).permutation(n)
    one = xstxm.fit(od, references, method=method, background=background)
    other = xstxm.fit(od, references.isel(reference=order), method=method, background=background)
    xr.testing.assert_allclose(one[MAPS], other.isel(reference=np.argsort(order))[MAPS], rtol=1e-6, atol=1e-9)


@settings(max_examples=15)
@given(st.floats(1e-3, 1e3), st.integers(0, 1000), st.sampled_from(["lstsq", "nnls"]))
def test_law__amounts_scale_with_the_data(factor, seed, method):
    references = make_references(4)
    od = make_density(references, seed=seed)
    one, other = xstxm.fit(od, references, method=method), xstxm.fit(od * factor, references, method=method)
    for name in ["component_map", "component_map_stderr", "background", "residual_rms"]:
        xr.testing.assert_allclose(one[name] * factor, other[name], rtol=1e-7, atol=1e-9 * factor)
    xr.testing.assert_allclose(one["r_factor"], other["r_factor"], rtol=1e-7)


@settings(max_examples=15)
@given(st.floats(-2, 2), st.integers(0, 1000), st.sampled_from(METHODS))
def test_law__a_constant_goes_into_the_background_alone(constant, seed, method):
    references = make_references(4)
    od = make_density(references, seed=seed)
    one, other = xstxm.fit(od, references, method=method), xstxm.fit(od + constant, references, method=method)
    for name in ["component_map", "component_map_stderr", "residual_rms", "n_active"]:
        xr.testing.assert_allclose(one[name], other[name], rtol=1e-6, atol=1e-9)
    xr.testing.assert_allclose(one["background"] + constant, other["background"], atol=1e-9)


@settings(max_examples=15)
@given(
    st.integers(2, 9), st.integers(0, 1000), st.sampled_from(METHODS), st.sampled_from(["none", "constant", "linear"])
)
def test_law__residual_is_orthogonal_to_what_is_free(n, seed, method, background):
    references = make_references(n)
    od = make_density(references, seed=seed)
    result = xstxm.fit(od, references, method=method, background=background)
    rest = xstxm.residual(od, result)
    assert not (np.abs(xr.dot(rest, result["background_spectra"], dim="energy")) > 1e-8).any()
    slope = xr.dot(rest, result["reference_spectra"], dim="energy")
    used = result["component_map"] > 0
    if method == "fcls":
        level = slope.where(used).mean("reference")
        assert float(np.abs((slope - level).where(used)).max()) < 1e-7
        assert bool((slope <= level + 1e-7).all())
    else:
        assert float(np.abs(slope.where(used | (method == "lstsq"))).max()) < 1e-7
        assert method == "lstsq" or bool((slope <= 1e-7).all())


@settings(max_examples=15)
@given(st.lists(st.integers(0, 49), min_size=1, max_size=30, unique=True), st.sampled_from(METHODS))
def test_law__a_masked_energy_is_a_dropped_energy(masked, method):
    references = make_references(3)
    od = make_density(references)
    keep = ~np.isin(np.arange(50), masked)
    mask = xr.DataArray(keep, dims="energy")
    masked_fit = xstxm.fit(od.where(mask), references, method=method)
    dropped_fit = xstxm.fit(od.isel(energy=keep), references.isel(energy=keep), method=method)
    xr.testing.assert_allclose(masked_fit[[*MAPS, "n_active"]], dropped_fit[[*MAPS, "n_active"]], rtol=1e-6, atol=1e-9)


def test_fit__weaker_constraints_never_fit_worse(noisy, references):
    rms = [xstxm.fit(noisy, references, method=method)["residual_rms"] for method in METHODS]
    assert bool((rms[0] <= rms[1] + 1e-12).all())
    assert bool((rms[1] <= rms[2] + 1e-12).all())


# ---- an independent solver


@pytest.mark.parametrize("lazy", [pytest.param(False, id="numpy"), pytest.param(True, id="dask by pixel")])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("closeness", [pytest.param(0.0, id="distinct"), pytest.param(0.8, id="near-collinear")])
@pytest.mark.parametrize("n", [2, 4, 7, 10, 12])
def test_fit__reaches_the_objective_of_scipy(n, closeness, dtype, lazy):
    references = make_references(n, closeness if n < 10 else closeness / 2, n_energies=70)
    od = make_density(references, dtype=dtype)
    result = xstxm.fit(od.chunk(x=2, y=3) if lazy else od, references, background="none").compute()
    design = references["absorption"].values.T
    for y, x in [(0, 0), (1, 3), (3, 4), (2, 2)]:
        data = od.values[:, y, x].astype(float)
        best = nnls(design, data, maxiter=1000)[1] ** 2
        reached = ((data - design @ result["component_map"].values[:, y, x].astype(float)) ** 2).sum()
        assert reached <= best * (1 + (1e-8 if dtype == "float64" else 1e-4))


# ---- dimensions, order, chunks


@pytest.mark.parametrize(
    "arrange",
    [
        pytest.param(lambda od: od.isel(energy=slice(None, None, -1)), id="descending energy axis"),
        pytest.param(lambda od: od.transpose("y", "x", "energy"), id="energy last"),
        pytest.param(lambda od: od.transpose("x", "energy", "y"), id="energy in the middle"),
        pytest.param(lambda od: od.chunk(y=2, x=4), id="dask by pixel"),
        pytest.param(
            lambda od: od.isel(energy=slice(None, None, -1)).chunk(x=5), id="descending energy, dask by pixel"
        ),
    ],
)
def test_fit__does_not_depend_on_layout(noisy, references, arrange):
    expected = xstxm.fit(noisy, references, covariance=True)
    got = xstxm.fit(arrange(noisy), references, covariance=True).compute()
    names = [*MAPS, "n_active", "background", "component_map_covariance"]
    for name in names:
        xr.testing.assert_allclose(got[name].transpose(*expected[name].dims), expected[name], rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fit__is_bitwise_the_same_for_any_threads_and_chunks(method, dtype):
    references = make_references(4)
    od = make_density(references, shape=(37, 61), dtype=dtype)
    od[3, 4, 5] = np.nan
    with xstxm.set_options(num_threads=1):
        expected = xstxm.fit(od, references, method=method, covariance=True)
    with xstxm.set_options(num_threads=3):
        xr.testing.assert_equal(xstxm.fit(od, references, method=method, covariance=True), expected)
    for chunks in ({"y": 10, "x": 7}, {"y": 1}, {"x": 60}):
        lazy = xstxm.fit(od.chunk(chunks), references, method=method, covariance=True)
        xr.testing.assert_equal(lazy.compute(scheduler="threads"), expected)


@pytest.mark.parametrize(
    ("select", "dims"),
    [
        pytest.param({"y": 2, "x": 3}, (), id="point spectrum"),
        pytest.param({"y": 2}, ("x",), id="line"),
        pytest.param({}, ("y", "x"), id="image stack"),
    ],
)
def test_fit__takes_any_pixel_dims(noisy, references, select, dims):
    expected = xstxm.fit(noisy, references).isel(select)
    result = xstxm.fit(noisy.isel(select), references)
    assert result["component_map"].dims == ("reference", *dims)
    xr.testing.assert_allclose(result[MAPS], expected[MAPS])
    polarized = xr.concat([noisy.isel(select), 2 * noisy.isel(select)], dim="polarization")
    assert xstxm.fit(polarized, references)["r_factor"].dims == ("polarization", *dims)


def test_verbs__are_lazy(noisy, references):
    stack = xstxm.with_references(noisy.rename("optical_density").chunk(y=3).to_dataset(), references)
    for method in METHODS:
        with raise_if_dask_computes():
            result = xstxm.fit(stack, method=method, background="linear", covariance=True)
            model, rest = xstxm.predict(result), xstxm.residual(stack, result)
        assert all(array.chunks is not None for array in (result["component_map"], result["n_active"], model, rest))


def test_fit__merges_energy_chunks_with_a_warning(noisy, references):
    with pytest.warns(PerformanceWarning, match=r"fit merges 2 chunks along 'energy'"):
        result = xstxm.fit(noisy.chunk(energy=30), references)
    xr.testing.assert_equal(result.compute()[MAPS], xstxm.fit(noisy, references)[MAPS])


# ---- pixels that cannot be fitted


def test_fit__nan_pixels_stay_nan_and_leave_the_others_alone(noisy, references):
    holes = noisy.copy()
    holes[:, 1, 2] = np.nan
    holes[5, 3, 4] = np.inf
    result, expected = xstxm.fit(holes, references), xstxm.fit(noisy, references)
    lost = xr.zeros_like(result["r_factor"], dtype=bool)
    lost[1, 2] = True
    for name in [*MAPS, "background"]:
        assert bool((result[name].isnull() == lost).all()), name
    assert int(result["n_active"][1, 2]) == 0
    touched = lost.copy()
    touched[3, 4] = True
    xr.testing.assert_equal(result[MAPS].where(~touched), expected[MAPS].where(~touched))


def test_fit__zero_density_has_no_r_factor(density, references):
    result = xstxm.fit(density * 0, references)
    assert bool(result["r_factor"].isnull().all())
    assert bool((result["component_map"] == 0).all())
    assert bool((result["residual_rms"] == 0).all())


# ---- predict and residual


def test_predict__adds_up_to_the_data_with_the_residual(noisy, references):
    result = xstxm.fit(noisy, references, background="linear")
    model, rest = xstxm.predict(result), xstxm.residual(noisy, result)
    assert model.dims == rest.dims == noisy.dims
    np.testing.assert_allclose(model + rest, noisy, atol=1e-12)
    assert rest.attrs["units"] == model.attrs["units"] == "1"


def test_predict__without_background_leaves_it_out(density, references):
    result = xstxm.fit(density + 0.3, references)
    np.testing.assert_allclose(xstxm.predict(result, background=False), density, atol=1e-10)
    np.testing.assert_allclose(xstxm.predict(result), density + 0.3, atol=1e-10)


def test_residual__refuses_other_energies(noisy, references):
    result = xstxm.fit(noisy, references)
    with pytest.raises(EnergyRangeError, match=r"the fit has 42 energies, the stack 20"):
        xstxm.residual(noisy.isel(energy=slice(20)), result)


def test_predict__refuses_what_is_no_fit(noisy):
    with pytest.raises(
        MissingVariableError, match=r"'component_map' is missing .*call \.stxm\.fit\(references\) first"
    ):
        xstxm.predict(noisy.to_dataset(name="optical_density"))


# ---- where references come from


def test_fit__reads_the_references_of_a_dataset(noisy, references):
    stack = noisy.to_dataset(name="optical_density")
    held = xstxm.fit(xstxm.with_references(stack, references))
    xr.testing.assert_equal(held, xstxm.fit(stack, references))


def test_fit__reads_another_signal(noisy, references):
    stack = xr.Dataset({"smoothed": noisy})
    xr.testing.assert_equal(xstxm.fit(stack, references, signal="smoothed"), xstxm.fit(noisy, references))


def test_fit__records_itself(noisy, references):
    result = xstxm.fit(noisy.assign_attrs(history="measured"), references, method="lstsq")
    assert result.attrs["history"].startswith("measured\n")
    assert "fit(references=<dataset" in result.attrs["history"]
    assert result.attrs["method"] == "lstsq"


def test_fit__survives_a_file(noisy, references, tmp_path):
    result = xstxm.fit(noisy, references, background="none", covariance=True)
    result.to_netcdf(tmp_path / "fit.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "fit.nc", engine="h5netcdf") as back:
        xr.testing.assert_equal(back.load(), result)


# ---- messages


def with_another(references: xr.Dataset, name: str, values: xr.DataArray) -> xr.Dataset:
    spectra = {str(known): references["absorption"].sel(reference=known) for known in references["reference"].values}
    return xstxm.reference_set(
        {**spectra, name: values.drop_vars("reference", errors="ignore").assign_attrs(units="1")}
    )


def test_fit__unknown_words_get_a_suggestion(noisy, references):
    with pytest.raises(
        ChoiceError, match=r"unknown method 'nnsl': use 'lstsq', 'nnls' or 'fcls' \(did you mean 'nnls'\?\)"
    ):
        xstxm.fit(noisy, references, method="nnsl")
    with pytest.raises(ChoiceError, match=r"unknown background 'constnat'.*did you mean 'constant'"):
        xstxm.fit(noisy, references, background="constnat")


def test_fit__missing_density_says_what_to_call(stack, references):
    with pytest.raises(
        MissingVariableError,
        match=r"'optical_density' is missing \(found: intensity\): call \.stxm\.optical_density\(\) first, "
        r'or pass signal="intensity"',
    ):
        xstxm.fit(stack, references)


def test_fit__missing_references_say_what_to_call(noisy):
    with pytest.raises(MissingVariableError, match=r"'reference_spectra' is missing .*\.stxm\.with_references\("):
        xstxm.fit(noisy.to_dataset(name="optical_density"))
    with pytest.raises(MissingVariableError, match=r"pass references="):
        xstxm.fit(noisy)


def test_fit__short_references_are_all_named(noisy, references):
    short = references.where((references["energy"] > 512) | (references["reference"] == "A"))
    with pytest.raises(
        EnergyRangeError, match=r"'B', 'C' .*the stack 505-530 eV: use sel_energy\(\"513 eV\", \"530 eV\"\)"
    ) as caught:
        xstxm.fit(noisy, short)
    assert "'A'" not in str(caught.value)


def test_fit__references_that_are_alike_are_named(noisy, references):
    doubled = with_another(references, "twin", 2 * references["absorption"].sel(reference="B"))
    with pytest.raises(
        ReferenceSpectrumError,
        match=r"references 'B' and 'twin' cannot be told apart .*condition number .*: leave out 'twin'",
    ):
        xstxm.fit(noisy, doubled)
    assert bool(np.isfinite(xstxm.fit(noisy, doubled, method="fcls")["component_map"]).all())
    half = references["absorption"].sel(reference=["A", "C"]).mean("reference")
    with pytest.raises(ReferenceSpectrumError, match=r"references 'A', 'C' and 'half' cannot be told apart"):
        xstxm.fit(noisy, with_another(references, "half", half))


def test_fit__reference_that_is_a_background_is_named(noisy, references):
    both = with_another(references, "line", 1 + 0.01 * references["energy"])
    with pytest.raises(
        ReferenceSpectrumError,
        match=r"reference 'line', the constant background and the slope background cannot be told apart .*: "
        r"pass background='none', or leave out 'line'",
    ):
        xstxm.fit(noisy, both, background="linear")
    assert bool(np.isfinite(xstxm.fit(noisy, both)["component_map"]).all())


def test_fit__constant_reference_is_refused(noisy, references):
    both = references.assign(absorption=references["absorption"].where(references["reference"] != "B", 1.0))
    with pytest.raises(ReferenceSpectrumError, match=r"'B' are constant over energy: .*background='constant'"):
        xstxm.fit(noisy, both)


def test_fit__too_few_energies_are_refused(noisy, references):
    few = noisy.isel(energy=[12, 20, 25, 33])
    with pytest.raises(
        ReferenceSpectrumError,
        match=r"a fit of 'A', 'B', 'C', the constant background needs at least 5 energies, the stack has 4: "
        r"take fewer references, or background='none'",
    ):
        xstxm.fit(few, references)
    assert xstxm.fit(few, references, background="none")["component_map"].notnull().all()


def test_fit__integers_are_refused(noisy, references):
    with pytest.raises(SchemaError, match=r"'optical_density' has dtype int16: .*\.astype\('float32'\) first"):
        xstxm.fit((noisy * 1000).astype("int16"), references)


def test_fit__density_without_units_is_refused(noisy, references):
    with pytest.raises(MissingUnitsError, match="has no units"):
        xstxm.fit(noisy.drop_attrs(), references)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda b: b.rename(term="kind"), r"wanted \('term', 'energy'\)", id="other dims"),
        pytest.param(lambda b: b.where(b["energy"] > 510), "not finite", id="NaN"),
        pytest.param(lambda b: b * 0, "the term 1 background cannot be told apart", id="zero"),
    ],
)
def test_fit__bad_background_spectra_are_refused(noisy, references, change, message):
    background = xr.DataArray([np.ones(42)], dims=("term", "energy"), coords={"energy": noisy["energy"]})
    with pytest.raises((SchemaError, ReferenceSpectrumError), match=message):
        xstxm.fit(noisy, references, background=change(background))


def test_fit__more_references_than_it_can_count_are_refused():
    references = make_references(61, n_energies=80)
    with pytest.raises(ReferenceSpectrumError, match=r"at most 60 references, found 61"):
        xstxm.fit(make_density(references), references)


def test_residual__never_cuts_pixels(density, references):
    fit = density.stxm.fit(references)
    almost = density.assign_coords(y=density["y"] + 1e-9)
    assert almost.stxm.residual(fit).shape == density.shape
    with pytest.raises(SchemaError, match="the fit has 6 pixels along 'y', the stack 5"):
        density.isel(y=slice(5)).stxm.residual(fit)
    with pytest.raises(SchemaError, match="the fit and the stack differ along 'x'"):
        density.assign_coords(x=density["x"] + 0.05).stxm.residual(fit)


def test_fit__background_as_a_bare_array(density, references):
    with pytest.raises(SchemaError, match="the background is a ndarray: give 'none'"):
        density.stxm.fit(references, background=np.ones((1, 42)))


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_fit__is_bitwise_the_same_on_workers_of_any_kind(scheduler):
    references = make_references(4)
    od = make_density(references, shape=(12, 16), dtype="float32")
    whole = xstxm.fit(od, references, covariance=True)
    lazy = xstxm.fit(od.chunk(y=3), references, covariance=True).compute(scheduler=scheduler, num_workers=2)
    xr.testing.assert_identical(lazy.drop_attrs(), whole.drop_attrs())


# ---- saturated energies


def thick_stack(stray: float = 0.03, *, shape=(40, 48), counts: float = 5000) -> tuple[xr.Dataset, xr.Dataset]:
    """Particles up to an optical density of 4 before light that passes by them is added, and their references."""
    references = xstxm.testing.simulate_references()
    references = references.assign(absorption=(2.5 * references["absorption"]).assign_attrs(units="1/nm"))
    stack = xstxm.testing.simulate_stack(
        shape=shape, references=references, counts=counts, psf="0 nm", noise=False, seed=1
    )
    expected = stack["intensity"] * (1 - stray) + stray * stack["true_i0"]
    counted = expected.copy(data=np.random.default_rng(0).poisson(expected).astype("float32"))
    return xstxm.optical_density(stack.assign(intensity=counted), stack["true_i0"].rename("i0")), references


def test_fit__without_saturated_energies_is_nearer_the_truth():
    stack, references = thick_stack()
    truth = stack["true_thickness"]
    sample = truth.sum("reference") > 40

    def wrong(**options):
        amounts = xstxm.fit(stack, references, **options)["component_map"]
        return float(((amounts - truth) ** 2).where(sample).mean() ** 0.5), float(
            (amounts.sum("reference") / truth.sum("reference")).where(sample).median()
        )

    rms, total = wrong()
    masked_rms, masked_total = wrong(max_optical_density=1.8)
    assert rms > 15
    assert masked_rms < rms / 2
    assert abs(masked_total - 1) < 0.6 * abs(total - 1)


def test_fit__tells_which_pixels_have_saturated_energies():
    stack, references = thick_stack()
    fitted = xstxm.fit(stack, references, max_optical_density=1.5)
    assert_conforms(fitted, "fit")
    flags, n_energies = fitted["quality"], fitted["n_energies"]
    lost = n_energies == 0
    assert 0 < int(lost.sum()) < lost.size / 4
    assert bool((fitted["residual_rms"].isnull() == lost).all())
    assert bool((((flags & 16) > 0) == lost).all())
    assert bool((((flags & 4) > 0) == (n_energies < 121)).all())
    assert fitted["n_energies"].dtype.kind == "i"
    assert int(xstxm.fit(stack, references)["n_energies"].min()) == 121


def test_fit__flags_what_it_cannot_fit_and_touches_no_other(noisy, references):
    whole = xstxm.fit(noisy, references)
    assert not whole["quality"].any()
    holes = noisy.copy(deep=True)
    holes[:, 2, 3] = np.nan
    found = xstxm.fit(holes, references)
    lost = found["component_map"].isnull().any("reference")
    assert int(lost.sum()) == 1
    assert bool((((found["quality"] & 32) > 0) == lost).all())
    assert bool((found["component_map"] == whole["component_map"]).where(~lost, True).all())


def test_fit__below_the_limit_is_bitwise_that_without_one(noisy, references):
    fitted = xstxm.fit(noisy, references, max_optical_density=100)
    xr.testing.assert_equal(fitted[[*MAPS, "n_active"]], xstxm.fit(noisy, references)[[*MAPS, "n_active"]])
    assert bool((fitted["n_energies"] == 42).all())
    assert int(fitted["quality"].max()) == 0


def test_fit__limit_is_judged_by_the_fit_and_not_by_the_noise_of_a_value():
    references = make_references(2)
    rng = np.random.default_rng(0)
    truth = references["absorption"].isel(reference=0).drop_vars("reference") * 1.0
    noise = xr.DataArray(rng.normal(0, 0.05, (50, 4000)), dims=("energy", "x"))
    od = (truth + noise).rename("optical_density").assign_attrs(units="1")
    plateau = float(truth[-1])  # a quarter of the spectrum lies at the limit
    fitted = xstxm.fit(od, references, method="lstsq", max_optical_density=plateau + 0.005)
    mean = fitted["component_map"].mean("x")
    error = fitted["component_map"].std("x") / np.sqrt(4000)
    truncated = xstxm.fit(od.where(od < plateau + 0.005), references, method="lstsq")["component_map"].mean("x")
    bias, bias_truncated = (np.abs(m - [1.0, 0.0]) for m in (mean, truncated))
    assert float(bias_truncated.max()) > 10 * float(error.max())
    assert float(bias.max()) < 0.2 * float(bias_truncated.max())


@pytest.mark.parametrize("chunks", [{"x": 7}, {"y": 3, "x": 20}], ids=str)
@pytest.mark.parametrize("options", [{}, {"selection": "bic"}, {"covariance": True}], ids=str)
def test_fit__saturated_energies_of_a_lazy_stack(chunks, options):
    stack, references = thick_stack(shape=(12, 20))
    expected = xstxm.fit(stack, references, max_optical_density=1.8, **options)
    with raise_if_dask_computes():
        lazy = xstxm.fit(stack.chunk(chunks), references, max_optical_density=1.8, **options)
    xr.testing.assert_allclose(lazy.compute(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore::xstxm.errors.NoiseWarning")  # stray light is no noise
def test_fit__without_saturated_energies_and_with_a_variance():
    stack, references = thick_stack(shape=(12, 20))
    plain = xstxm.fit(stack, references, max_optical_density=1.8)
    variance = xr.full_like(stack["optical_density"], 3e-4)
    weighed = xstxm.fit(stack, references, max_optical_density=1.8, noise=variance)
    np.testing.assert_allclose(weighed["component_map"], plain["component_map"], rtol=1e-2, atol=0.05)
    xr.testing.assert_equal(weighed["n_energies"], plain["n_energies"])
    variance[5] = 0
    lacking = xstxm.fit(stack, references, max_optical_density=1.8, noise=variance)
    low = np.isfinite(weighed["r_factor"]) & (stack["optical_density"][5] < 1)
    assert bool(((plain["n_energies"] - lacking["n_energies"]) == 1).where(low, True).all())


@pytest.mark.parametrize("method", METHODS)
def test_fit__what_remains_below_the_limit_tells_references_apart_or_is_nan(method):
    """Left with the energies before their peaks, references that all look alike would give wild amounts."""
    references = make_references(3)
    truth = np.array([2.0, 1.0, 0.5])
    spectrum = truth @ references["absorption"].values
    noise = np.random.default_rng(0).normal(0, 0.01, (50, 200))
    od = xr.DataArray(
        spectrum[:, None] + noise,
        dims=("energy", "x"),
        coords={"energy": references["energy"]},
        attrs={"units": "1"},
        name="optical_density",
    )
    for limit in (0.05, 0.3, 1.0, 2.0, 3.3, 4.5):
        fitted = xstxm.fit(od, references, method="lstsq", max_optical_density=limit)
        amounts, stderr = fitted["component_map"].transpose("x", "reference"), fitted["component_map_stderr"]
        known = fitted["n_energies"] > 0
        assert bool((amounts.notnull().all("reference") == known).all())
        scale = float(np.nanmax(xstxm.fit(od, references, method="lstsq")["component_map_stderr"]))
        assert not bool((stderr > 15 * scale).any())
        assert not bool((np.abs(amounts - truth) > 6 * 15 * scale).any())
        assert bool(
            (xstxm.fit(od, references, method=method, max_optical_density=limit)["n_energies"] > 0).equals(known)
        )
        assert bool(known.any()) == (limit > 4)


# ---- input that no fit can use


def test_fit__references_of_nothing_in_the_window_are_named(noisy, references):
    silent = references.assign(absorption=references["absorption"].where(references["reference"] != "C", 0.0))
    with pytest.raises(ReferenceSpectrumError, match="references 'C' are zero at all energies"):
        xstxm.fit(noisy, silent)


def test_fit__more_references_than_energies_are_refused(noisy):
    with pytest.raises(ReferenceSpectrumError, match="needs at least 45 energies, the stack has 42"):
        xstxm.fit(noisy, make_references(43, n_energies=80))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        pytest.param(
            lambda v: -v, OptionError, "noise='an array down to -0.01': a variance is not below", id="negative"
        ),
        pytest.param(lambda v: v.isel(x=slice(3)), SchemaError, "the variance has 3 pixels along 'x', the", id="shape"),
        pytest.param(lambda v: v.isel(energy=slice(9)), EnergyRangeError, "variance has 9 energies", id="energies"),
        pytest.param(lambda v: v.rename(y="z"), SchemaError, "a dimension 'z' that the stack lacks", id="dims"),
        pytest.param(
            lambda v: v.assign_attrs(units="count**2"), IncompatibleUnitsError, "the variance is in 'count", id="units"
        ),
    ],
)
def test_fit__refuses_a_variance(noisy, references, change, error, message):
    variance = (noisy * 0 + 0.01).assign_attrs(units="1")
    with pytest.raises(error, match=message):
        xstxm.fit(noisy, references, noise=change(variance))


def test_fit__leaves_out_negative_variances_of_a_lazy_stack(noisy, references):
    variance = (noisy * 0 + 1e-4).assign_attrs(units="1")
    bad = variance.copy()
    bad[3, 2, 4] = -1e-4
    lazy = xstxm.fit(noisy.chunk(x=4), references, noise=bad.chunk(x=4)).compute()
    xr.testing.assert_equal(lazy, xstxm.fit(noisy, references, noise=variance.where(bad > 0)))


def test_phase_map__refuses_a_composition_that_only_some_references_have(noisy, references):
    some = references.assign_coords(composition=("reference", [0.0, np.nan, 1.0], {"units": "1"}))
    with pytest.raises(ReferenceSpectrumError, match="no composition for 'B': give every reference one"):
        xstxm.phase_map(noisy, some)
    with pytest.raises(ReferenceSpectrumError, match="composition has nothing for 'b'"):
        xstxm.reference_set({"a": ([1, 2], [0, 1]), "b": ([1, 2], [1, 0])}, composition={"a": 0})
