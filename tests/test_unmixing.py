from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import example, given, settings
from hypothesis import strategies as st
from laziness import raise_if_dask_computes
from scipy.optimize import nnls
from sklearn.decomposition import NMF

import xstxm
from xstxm._kernels import alternating
from xstxm.errors import (
    ChoiceError,
    ConvergenceWarning,
    IncompatibleUnitsError,
    MetadataWarning,
    MissingVariableError,
    OptionError,
    ReferenceSpectrumError,
    SchemaError,
)

VERBS = [xstxm.nmf, xstxm.mcr]


@pytest.fixture
def mixed(spectra):
    """Optical density (energy, y, x) of 9 x 14 mixtures of A, B, C in all thicknesses, a pure pixel of each, noise."""
    rng = np.random.default_rng(3)
    amounts = rng.dirichlet([0.5, 0.5, 0.5], size=(9, 14)).transpose(2, 0, 1) * rng.uniform(0.2, 1.0, (9, 14))
    amounts[:, 4, 2:5] = np.eye(3)
    amounts = xr.DataArray(amounts, dims=("reference", "y", "x"), coords={"reference": spectra["reference"]})
    od = xr.dot(spectra, amounts, dim="reference").transpose("energy", "y", "x")
    noisy = od + 1e-3 * rng.standard_normal(od.shape)
    return noisy.drop_vars("reference", errors="ignore").rename("optical_density").assign_attrs(units="1")


@pytest.fixture
def closed(spectra):
    """Optical density whose amounts add up to one in every pixel."""
    amounts = np.random.default_rng(5).dirichlet([0.4, 0.4, 0.4], size=(7, 12)).transpose(2, 0, 1)
    amounts[:, 3, 3:6] = np.eye(3)
    amounts = xr.DataArray(amounts, dims=("reference", "y", "x"))
    od = xr.dot(spectra.drop_vars("reference"), amounts, dim="reference").transpose("energy", "y", "x")
    return od.rename("optical_density").assign_attrs(units="1")


def angles(result, spectra):
    """Smallest angle (deg) of each true spectrum to a component."""
    found, true = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (result["component_spectra"].values, spectra))
    return np.degrees(np.arccos(np.clip(true @ found.T, -1, 1))).min(1)


def product(result):
    return xr.dot(result["component_amount"], result["component_spectra"], dim="component")


@pytest.mark.parametrize("verb", VERBS)
def test_unmixing__finds_the_pure_spectra_where_there_are_pure_pixels(mixed, spectra, verb):
    result = verb(mixed, 3)
    xstxm.testing.assert_conforms(result, verb.__name__)
    assert (angles(result, spectra.values) < 1.0).all()
    assert float(result["residual_rms"].mean()) < 1.1e-3
    np.testing.assert_allclose(product(result).transpose(*mixed.dims), mixed, atol=0.01)


@pytest.mark.parametrize("verb", VERBS)
def test_unmixing__maps_are_the_nnls_fit_of_the_spectra_to_the_data_as_they_are(mixed, verb):
    result = verb(mixed, 3, n_starts=1)
    columns = result["component_spectra"].values.T
    for y, x in ((0, 0), (4, 3), (8, 13)):
        expected, _ = nnls(columns, mixed.values[:, y, x])
        np.testing.assert_allclose(result["component_amount"][:, y, x], expected, atol=1e-9)


@pytest.mark.parametrize("verb", VERBS)
def test_unmixing__spectra_have_a_maximum_of_one_and_come_by_contribution(mixed, verb):
    result = verb(mixed, 3)
    np.testing.assert_allclose(result["component_spectra"].max("energy"), 1)
    assert (np.diff(result["contribution"]) <= 0).all()
    power = (result["component_spectra"] ** 2).sum("energy") * (result["component_amount"] ** 2).sum(("y", "x"))
    np.testing.assert_allclose(result["contribution"], power / power.sum(), atol=0.02)
    np.testing.assert_array_equal(result["component"], [1, 2, 3])
    assert result["component_amount"].attrs["units"] == "1"


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("chunks", [{"y": 2}, {"x": 5, "y": 4}], ids=str)
def test_unmixing__is_the_same_for_every_chunking_and_its_maps_are_lazy(mixed, verb, chunks):
    expected = verb(mixed, 3, sample=60)
    with raise_if_dask_computes(max_computes=2):
        result = verb(mixed.chunk(chunks), 3, sample=60)
    assert result["component_amount"].chunks is not None
    np.testing.assert_array_equal(result["component_spectra"], expected["component_spectra"])
    np.testing.assert_allclose(result["component_amount"], expected["component_amount"], atol=1e-12)


@pytest.mark.parametrize("verb", VERBS)
def test_unmixing__keeps_float32_and_makes_it_of_integers(mixed, verb):
    assert verb(mixed.astype("float32"), 2)["component_amount"].dtype == np.float32
    whole = (mixed * 100).round().astype("int32").assign_attrs(mixed.attrs)
    assert verb(whole, 2)["component_amount"].dtype == np.float32


@pytest.mark.parametrize("verb", VERBS)
def test_unmixing__does_not_depend_on_the_order_of_the_energies(mixed, verb):
    expected = verb(mixed, 3)
    result = verb(mixed.isel(energy=slice(None, None, -1)), 3)
    np.testing.assert_allclose(result["component_spectra"][:, ::-1], expected["component_spectra"], atol=1e-6)
    np.testing.assert_allclose(result["component_amount"], expected["component_amount"], atol=1e-6)


@pytest.mark.parametrize("verb", VERBS)
def test_unmixing__takes_repeated_energies(mixed, verb):
    twice = mixed.isel(energy=[0, 0, *range(1, 42), 41])
    result = verb(twice, 3)
    np.testing.assert_allclose(result["component_spectra"][:, 0], result["component_spectra"][:, 1], atol=0.02)
    assert result.sizes["energy"] == 44


@pytest.mark.parametrize("kind", ["line", "theta"])
@pytest.mark.parametrize("verb", VERBS)
def test_unmixing__works_for_any_pixel_dims(mixed, verb, kind):
    shaped = mixed.isel(y=4) if kind == "line" else mixed.expand_dims(theta=[0.0, 30.0])
    result = verb(shaped, 2)
    assert result["component_amount"].dims == ("component", *(dim for dim in shaped.dims if dim != "energy"))


@pytest.mark.parametrize("verb", VERBS)
def test_unmixing__leaves_masked_and_broken_pixels_out(mixed, spectra, verb):
    broken = mixed.copy(deep=True)
    broken[:, 0, 0] = 1e3 * np.arange(42)
    broken[7, 8, 1] = np.nan
    mask = xr.ones_like(mixed.isel(energy=0, drop=True), dtype=bool)
    mask[0, 0] = False
    result = verb(broken.to_dataset().assign(mask=mask), 3)
    assert result.attrs["n_pixels"] == 9 * 14 - 2
    assert (angles(result, spectra.values) < 1.0).all()
    assert bool(result["component_amount"][:, 0, 0].isnull().all())
    assert bool(result["component_amount"][:, 8, 1].notnull().all())


@pytest.mark.parametrize("verb", VERBS)
def test_unmixing__zero_pixels_and_zero_energies_do_no_harm(mixed, spectra, verb):
    dark = mixed.copy(deep=True)
    dark[:, 0, :] = 0
    dark[:5] = 0
    result = verb(dark, 3)
    assert (angles(result, np.where(np.arange(42) < 5, 0, spectra.values)) < 1.0).all()
    assert bool((result["component_amount"][:, 0] == 0).all())
    np.testing.assert_allclose(result["component_spectra"][:, :5], 0, atol=1e-12)


@pytest.mark.parametrize("verb", VERBS)
def test_unmixing__is_recorded_and_can_be_saved(mixed, verb, tmp_path):
    result = verb(mixed.to_dataset().assign_attrs(title="a test"), 3)
    assert result.stxm.history["operation"].tolist() == [verb.__name__]
    assert result.attrs["title"] == "a test"
    result.to_netcdf(tmp_path / "result.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "result.nc", engine="h5netcdf") as again:
        xr.testing.assert_equal(again, result)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("change", "n", "error", "message"),
    [
        pytest.param(lambda od: od, 42, OptionError, "whole number from 1 to 41, below the 42 energies", id="too many"),
        pytest.param(lambda od: od, 0, OptionError, "n_components=0", id="none"),
        pytest.param(lambda od: od, 2.5, OptionError, "n_components=2.5", id="not whole"),
        pytest.param(lambda od: od.isel(energy=[3]), 1, SchemaError, "two energies or more", id="one energy"),
        pytest.param(lambda od: od * np.nan, 2, SchemaError, "126 pixels hold no finite value", id="all NaN"),
        pytest.param(
            lambda od: od.where(od["energy"] != 506),
            2,
            SchemaError,
            "at 506 eV none of the 126 pixels is",
            id="NaN frame",
        ),
        pytest.param(lambda od: od * 0 + 1, 2, OptionError, "hold 1 independent spectra", id="constant"),
        pytest.param(lambda od: od * 0, 1, SchemaError, "zero everywhere", id="zero"),
    ],
)
def test_unmixing__refuses(mixed, verb, change, n, error, message):
    bad = change(mixed).transpose(*mixed.dims).assign_attrs(mixed.attrs)
    with pytest.raises(error, match=message):
        verb(bad, n)


@pytest.mark.parametrize("verb", VERBS)
def test_unmixing__refuses_an_empty_mask_counts_and_a_missing_signal(mixed, stack, verb):
    nowhere = xr.zeros_like(mixed.isel(energy=0, drop=True), dtype=bool)
    with pytest.raises(SchemaError, match="no pixel is left to use"):
        verb(mixed.to_dataset().assign(mask=nowhere), 2)
    with pytest.raises(SchemaError, match="no finite value: check the mask"):
        verb(mixed.to_dataset().assign(mask=nowhere).chunk(), 2)
    with pytest.raises(MissingVariableError, match=r"call \.stxm\.optical_density\(\) first"):
        verb(stack, 2)
    with pytest.raises(IncompatibleUnitsError, match=r"\.stxm\.optical_density\(\) on counts"):
        verb(stack["intensity"], 2)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"init": "pur"}, ChoiceError, "did you mean 'pure'"),
        ({"n_starts": 0}, OptionError, "n_starts=0"),
        ({"max_iterations": 0}, OptionError, "max_iterations=0"),
        ({"tolerance": 0}, OptionError, "a share of the residual"),
        ({"sample": 1}, OptionError, "whole number of 2 or more"),
    ],
    ids=str,
)
def test_unmixing__refuses_options(mixed, verb, options, error, message):
    with pytest.raises(error, match=message):
        verb(mixed, 3, **options)


@pytest.mark.parametrize("verb", VERBS)
def test_unmixing__warns_where_it_did_not_converge(mixed, verb):
    with pytest.warns(ConvergenceWarning, match="raise max_iterations"):
        verb(mixed, 3, init="random", n_starts=1, max_iterations=1, tolerance=1e-9)


@pytest.mark.parametrize("verb", VERBS)
def test_unmixing__starts_are_compared(mixed, verb):
    result = verb(mixed, 3, n_starts=5, init="random", tolerance=1e-4)
    assert result.sizes["start"] == 5
    assert float(result["convergence"][-1]) <= float(result["start_rms"].min()) * 1.01
    assert (result["component_angle"] > 0).any()
    assert result["component_angle"].attrs["units"] == "deg"
    alone = verb(mixed, 3, n_starts=1)
    assert bool(alone["component_angle"].isnull().all())
    assert "NaN" in alone["component_angle"].attrs["comment"]


def test_mcr__angle_is_nan_where_no_other_start_is_as_good(mixed, monkeypatch):
    compared = xstxm.mcr(mixed, 3, n_starts=3)
    assert bool(compared["component_angle"].notnull().all())
    monkeypatch.setattr("xstxm._components.EQUAL", 0.0)
    assert bool(xstxm.mcr(mixed, 3, n_starts=3)["component_angle"].isnull().all())


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("seed", [-1, 1.5, "a", None])
def test_unmixing__refuses_a_seed_that_is_none(mixed, verb, seed):
    with pytest.raises(OptionError, match=r"^seed=.*: give a whole number from 0 to"):
        verb(mixed, 2, seed=seed)


@pytest.mark.parametrize("verb", VERBS)
def test_unmixing__of_a_single_spectrum_has_one_component(mixed, verb):
    single = mixed.isel(y=0, x=0)
    with pytest.raises(OptionError, match="from 1 to 1, the pixels that are finite at every energy"):
        verb(single, 2)
    assert verb(single, 1)["component_amount"].dims == ("component",)


@pytest.mark.parametrize("verb", VERBS)
def test_unmixing__says_what_limits_the_number_of_components(mixed, verb):
    long = xr.concat([mixed, mixed.assign_coords(energy=mixed["energy"] + 50)], "energy").assign_attrs(mixed.attrs)
    long["energy"].attrs["units"] = "eV"
    with pytest.raises(
        OptionError, match=r"^n_components=61: give a whole number from 1 to 60, the most that a fit takes$"
    ):
        verb(long, 61)
    with pytest.raises(OptionError, match="from 1 to 3, the pixels that are finite at every energy"):
        verb(mixed.isel(y=0, x=slice(3)), 5)
    suggested = xstxm.pca(mixed, 4)["suggested_components"]
    assert verb(mixed, suggested).sizes["component"] == int(suggested)


def test_mcr__freedom_may_be_an_array_and_is_refused_without_references(mixed, references):
    share = xr.DataArray(0.1)
    given = xstxm.mcr(mixed, 3, references=references, freedom={"A": share}, n_starts=1)
    expected = xstxm.mcr(mixed, 3, references=references, freedom={"A": 0.1}, n_starts=1)
    xr.testing.assert_equal(given, expected)
    for freedom in (0.1, {"A": 0.1}, xr.DataArray([0.1, 0.2], dims="reference")):
        with pytest.raises(OptionError, match=r"^freedom="):
            xstxm.mcr(mixed, 3, freedom=freedom)


def test_nmf__is_the_factorisation_of_scikit_learn(mixed):
    data = np.maximum(mixed.values.reshape(42, -1).T, 0)
    with pytest.warns(ConvergenceWarning):
        result = xstxm.nmf(mixed, 3, init="nndsvda", n_starts=1, max_iterations=25, tolerance=1e-12)
    model = NMF(3, init="nndsvda", max_iter=25, tol=0, random_state=0)
    amounts = model.fit_transform(data)
    expected = model.components_ / model.components_.max(1, keepdims=True)
    order = np.argsort(-(amounts**2).sum(0) * (model.components_**2).sum(1))
    np.testing.assert_allclose(result["component_spectra"], expected[order], atol=1e-10)
    assert float(result["convergence"][-1]) == pytest.approx(model.reconstruction_err_ / np.sqrt(data.size))
    np.testing.assert_array_equal(result["iteration"], [10, 20, 25])


def test_nmf__says_how_many_values_were_negative(mixed):
    result = xstxm.nmf(mixed, 3)
    fraction = float((mixed < 0).mean())
    assert result.attrs["negative_fraction"] == pytest.approx(fraction)
    assert f"{fraction:.2%} of the sampled values were negative and counted as zero" in result.attrs["history"]


def test_nmf__warns_of_negative_values_that_are_no_noise(mixed):
    with pytest.warns(MetadataWarning, match="negative optical density carries"):
        xstxm.nmf((mixed - 0.3).assign_attrs(mixed.attrs), 3)


def naive_als(data, spectra, iterations):
    """Alternate scipy's NNLS over pixels and over energies, as one would write it down."""
    for _ in range(iterations):
        amounts = np.array([nnls(spectra.T, pixel)[0] for pixel in data.T]).T
        spectra = np.array([nnls(amounts.T, row)[0] for row in data]).T
    amounts = np.array([nnls(spectra.T, pixel)[0] for pixel in data.T]).T
    return spectra, amounts


def test_alternate__agrees_with_a_naive_alternation(mixed, monkeypatch):
    data = mixed.values.reshape(42, -1)
    start = data[:, [5, 40, 90]].T.clip(0)
    rules = alternating.nonnegative(3, 42)
    monkeypatch.setattr(alternating, "FIRST_BOOST", 0.0)
    found = alternating.alternate(data, start, rules, max_iterations=6, tolerance=1e-15)
    spectra, amounts = naive_als(data, start, 6)
    np.testing.assert_allclose(found.spectra, spectra, atol=1e-9)
    np.testing.assert_allclose(found.amounts, amounts, atol=1e-9)
    assert found.rms[-1] == pytest.approx(np.sqrt(np.mean((data - spectra.T @ amounts) ** 2)))


@settings(max_examples=25)
@given(
    st.integers(0, 10_000),
    st.integers(1, 4),
    st.sampled_from(["lstsq", "nnls", "fcls"]),
    st.sampled_from(["nonnegative", "unimodal", "free"]),
    st.sampled_from([0.0, 0.2, np.inf]),
)
def test_alternate__never_lets_the_residual_grow_and_keeps_every_rule(seed, n, method, shape, freedom):
    rng = np.random.default_rng(seed)
    data = rng.normal(0.3, 0.5, (9, 30))
    lower = np.full((n, 9), -np.inf if shape == "free" else 0.0)
    upper, resolved = np.full((n, 9), np.inf), np.ones(n, dtype=bool)
    start = rng.uniform(0, 1, (n, 9))
    if freedom < np.inf:
        resolved[0], lower[0], upper[0] = False, start[0] - freedom, start[0] + freedom
    order = rng.permutation(9) if shape == "unimodal" else None
    rules = alternating.Rules(method, resolved, lower, upper, order)
    found = alternating.alternate(data, start, rules, max_iterations=25, tolerance=1e-12)
    slack = 1e-9 * np.sqrt(np.mean(data**2))
    assert (np.diff(found.rms) <= slack).all()
    assert found.rms[-1] == pytest.approx(np.sqrt(np.mean((data - found.spectra.T @ found.amounts) ** 2)), rel=1e-6)
    assert (found.spectra >= lower).all()
    assert (found.spectra <= upper).all()
    if method != "lstsq":
        assert (found.amounts >= 0).all()
    if method == "fcls":
        np.testing.assert_allclose(found.amounts.sum(0), 1, atol=1e-12)
    if order is not None:
        for spectrum in found.spectra[resolved][:, order]:
            top = spectrum.argmax()
            assert (np.diff(spectrum[: top + 1]) >= -1e-12).all()
            assert (np.diff(spectrum[top:]) <= 1e-12).all()


@example([5.0, -1.0, -5.0, 3.0, 4.0])  # the best top is another one where values may be negative
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=7))
def test_unimodal__is_the_nearest_of_all_that_are_not_negative(values):
    values = np.array(values)
    found = alternating.unimodal(values)
    best = min(((_rise_and_fall(values, top) - values) ** 2).sum() for top in range(len(values) + 1))
    assert ((found - values) ** 2).sum() == pytest.approx(best, abs=1e-9)


def _rise_and_fall(values, top):
    from sklearn.isotonic import isotonic_regression

    left = isotonic_regression(values[:top]) if top else values[:0]
    right = isotonic_regression(values[top:], increasing=False) if top < len(values) else values[:0]
    return np.concatenate([left, right]).clip(0)


def test_mcr__extrapolation_ends_where_plain_alternation_does_but_sooner(mixed, monkeypatch):
    data = mixed.values.reshape(42, -1)
    start = data[:, [5, 40, 90]].T.clip(0)
    rules = alternating.nonnegative(3, 42)
    fast = alternating.alternate(data, start, rules, max_iterations=60, tolerance=1e-12)
    monkeypatch.setattr(alternating, "FIRST_BOOST", 0.0)
    plain = alternating.alternate(data, start, rules, max_iterations=60, tolerance=1e-12)
    assert fast.rms[-1] < plain.rms[-1]


def test_mcr__closure_holds_and_finds_the_corners(closed, spectra):
    result = xstxm.mcr(closed, 3, method="fcls")
    np.testing.assert_allclose(result["component_amount"].sum("component"), 1, atol=1e-12)
    assert (angles(result, spectra.values) < 0.1).all()
    order = [int(np.abs(result["component_spectra"].values - row).sum(1).argmin()) for row in spectra.values]
    np.testing.assert_allclose(result["component_spectra"][order], spectra, atol=0.01)


def test_mcr__closure_takes_an_empty_component(spectra):
    amounts = np.linspace(0, 1, 12).reshape(3, 4)
    od = (spectra[0].drop_vars("reference") * xr.DataArray(amounts, dims=("y", "x"))).transpose("energy", "y", "x")
    result = xstxm.mcr(od.rename("optical_density").assign_attrs(units="1"), 2, method="fcls")
    np.testing.assert_allclose(result["component_amount"][0], amounts, atol=1e-6)
    np.testing.assert_allclose(result["component_spectra"][1], 0, atol=1e-6)


def test_mcr__unimodal_spectra_rise_and_fall_in_any_order_of_energies(mixed):
    shuffled = mixed.isel(energy=np.random.default_rng(0).permutation(42))
    result = xstxm.mcr(shuffled, 3, spectra="unimodal")
    for spectrum in result["component_spectra"].sortby("energy").values:
        top = spectrum.argmax()
        assert (np.diff(spectrum[: top + 1]) >= -1e-12).all()
        assert (np.diff(spectrum[top:]) <= 1e-12).all()


def test_mcr__fixed_references_stay_as_they_are_bit_for_bit(mixed, references, spectra):
    known = references.isel(reference=[2, 0])
    result = xstxm.mcr(mixed, 3, references=known)
    np.testing.assert_array_equal(result["component_spectra"][:2], spectra.values[[2, 0]])
    assert result["origin"].values.tolist() == ["C", "A", "resolved"]
    assert (angles(result, spectra.values) < 1.0).all()


def test_mcr__all_references_fixed_is_the_fit(mixed, references):
    result = xstxm.mcr(mixed, 3, references=references)
    fit = xstxm.fit(mixed, references, background="none")
    np.testing.assert_allclose(result["component_amount"], fit["component_map"], atol=1e-12)
    np.testing.assert_allclose(result["component_amount_stderr"], fit["component_map_stderr"], atol=1e-12)
    assert result.sizes["start"] == 1


def test_mcr__bounded_references_move_as_far_as_they_may(mixed, references, spectra):
    wrong = references.assign(absorption=(references["absorption"] * 1.0).assign_attrs(units="1"))
    wrong["absorption"][0] = wrong["absorption"][0].roll(energy=2, roll_coords=False)
    tight = xstxm.mcr(mixed, 3, references=wrong, freedom={"A": 0.05})
    loose = xstxm.mcr(mixed, 3, references=wrong, freedom={"A": 0.5})
    given = wrong["absorption"].values
    reach = np.abs(given[0]).max()
    moved = np.abs(tight["component_spectra"].values[0] - given[0]).max()
    assert moved == pytest.approx(0.05 * reach, rel=1e-9)
    np.testing.assert_array_equal(tight["component_spectra"][1:], given[1:])
    assert np.abs(loose["component_spectra"].values[0] - given[0]).max() <= 0.5 * reach * (1 + 1e-12)
    assert float(loose["convergence"][-1]) < float(tight["convergence"][-1])
    assert angles(loose, spectra.values)[0] < angles(tight, spectra.values)[0]


def test_mcr__endless_freedom_takes_the_references_as_a_start_only(mixed, references, spectra):
    result = xstxm.mcr(mixed, 3, references=references, freedom=np.inf, n_starts=1, tolerance=1e-6)
    assert result["origin"].values.tolist() == ["A", "B", "C"]
    assert not np.array_equal(result["component_spectra"], spectra)
    assert (angles(result, spectra.values) < 1.0).all()


def test_mcr__amounts_have_the_units_of_the_references(mixed, references):
    linear = references.assign(absorption=(references["absorption"] / 100).assign_attrs(units="1/nm"))
    result = xstxm.mcr(mixed, 3, references=linear.isel(reference=[0]))
    assert result["component_spectra"].attrs["units"] == "1/nm"
    assert result["component_amount"].attrs["units"] == "nm"
    largest = float(linear["absorption"][0].max())
    np.testing.assert_allclose(result["component_spectra"].max("energy"), largest)


def test_mcr__free_amounts_may_be_negative(mixed):
    result = xstxm.mcr(mixed, 3, method="lstsq")
    assert float(result["component_amount"].min()) < 0
    columns = result["component_spectra"].values.T
    expected = np.linalg.lstsq(columns, mixed.values.reshape(42, -1))[0]
    np.testing.assert_allclose(result["component_amount"].values.reshape(3, -1), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "nnsl"}, ChoiceError, "did you mean 'nnls'"),
        ({"spectra": "unimodel"}, ChoiceError, "did you mean 'unimodal'"),
        ({"freedom": 0.1}, OptionError, "it belongs to references: pass references=... too"),
        ({"method": "lstsq", "spectra": "free"}, OptionError, "leaves nothing to resolve by"),
    ],
    ids=str,
)
def test_mcr__refuses(mixed, options, error, message):
    with pytest.raises(error, match=message):
        xstxm.mcr(mixed, 3, **options)


def test_mcr__refuses_references_that_do_not_fit(mixed, references):
    with pytest.raises(OptionError, match="each of the 3 references is a component: ask for 3 or more"):
        xstxm.mcr(mixed, 2, references=references)
    with pytest.raises(ChoiceError, match="unknown reference in freedom 'D': use 'A', 'B' or 'C'"):
        xstxm.mcr(mixed, 3, references=references, freedom={"D": 0.1})
    with pytest.raises(OptionError, match="freedom=-1"):
        xstxm.mcr(mixed, 3, references=references, freedom=-1)
    with pytest.raises(ReferenceSpectrumError, match="constant"):
        xstxm.mcr(mixed, 3, references=references.where(references["reference"] != "A", 0.5))


def test_starts__are_thin_pure_pixels_rather_than_thick_mixtures(spectra):
    rng = np.random.default_rng(0)
    amounts = np.hstack([0.7 * np.eye(3), 1.5 * rng.dirichlet([8, 8, 8], 100).T])
    first = next(
        alternating.starts(
            spectra.values.T @ amounts, np.empty((0, 42)), alternating.nonnegative(3, 42), 1, pure_first=True, seed=0
        )
    )
    order = [int(np.abs(first / 0.7 - row).sum(1).argmin()) for row in spectra.values]
    np.testing.assert_allclose(first[order], 0.7 * spectra.values, atol=1e-9)


def test_starts__beside_a_known_spectrum_are_the_others(spectra):
    amounts = np.random.default_rng(0).dirichlet([1, 1, 1], 60).T
    amounts[:, :3] = np.eye(3)
    rules = alternating.nonnegative(3, 42)
    known = spectra.values[[1]]
    first = next(alternating.starts(spectra.values.T @ amounts, known, rules, 1, pure_first=True, seed=0))
    np.testing.assert_array_equal(first[:1], known)
    assert {int(np.abs(spectra.values - row).sum(1).argmin()) for row in first[1:]} == {0, 2}


def test_mcr__finds_the_four_phases_of_a_simulated_stack():
    od = xstxm.optical_density(xstxm.testing.simulate_stack(shape=(96, 128), seed=0))
    references = xstxm.testing.simulate_references()
    true = xstxm.references.references_at(references, od["energy"]).values
    assert (angles(xstxm.mcr(od, 4, n_starts=1), true) < 1.5).all()


def test_mcr__refuses_components_that_are_mixtures_of_each_other(mixed, references):
    twins = xr.concat([references, references.isel(reference=[0]).assign_coords(reference=["A again"])], "reference")
    with pytest.raises(SchemaError, match="the 4 components that were found are zero or mixtures of each other"):
        xstxm.mcr(mixed, 4, references=twins)


def test_alternate__gives_a_dead_component_another_chance(mixed):
    data = mixed.values.reshape(42, -1)
    start = np.vstack([data[:, [5, 40]].T.clip(0), np.zeros(42)])
    rules = alternating.nonnegative(3, 42)
    found = alternating.alternate(data, start, rules, max_iterations=50, tolerance=1e-9)
    assert found.spectra.any(1).all()
    assert found.amounts.any(1).all()
    assert found.rms[-1] < 2e-3
