from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from laziness import raise_if_dask_computes
from scipy.optimize import nnls

import xstxm
from xstxm.errors import (
    ChoiceError,
    EnergyRangeError,
    IncompatibleUnitsError,
    MetadataWarning,
    MissingCoordinateError,
    MissingUnitsError,
    MissingVariableError,
    NoiseWarning,
    OptionError,
    SchemaError,
)

ENERGY = np.linspace(505, 545, 60)
NAMES = [f"phase {k + 1}" for k in range(5)]


def peak(centre, width):
    return 1 / (1 + ((ENERGY - centre) / width) ** 2)


def spectra():
    """Spectra of five phases whose peaks shift, condition number about 100."""
    edge = 0.4 / (1 + np.exp(-(ENERGY - 514) / 1.5))
    return np.array([
        edge + 0.8 * peak(516 + 0.8 * k, 1 + 0.1 * k) + 0.5 * peak(524 - 0.3 * k, 1.2) + 0.6 * peak(529 + 0.5 * k, 0.8)
        for k in range(5)
    ])  # fmt: skip


def references():
    axis = ("energy", ENERGY, {"units": "eV"})
    names = {"reference": NAMES, "composition": ("reference", np.linspace(0, 1, 5), {"units": "1"})}
    return xr.Dataset({"absorption": (("reference", "energy"), spectra(), {"units": "1"})}, {**names, "energy": axis})


def counted(counts, fractions, seed=0, thickness=0.9, gain=1.0):
    """Poisson counts of pixels with known fractions (y, x, phase), and an I0 that is known."""
    density = thickness * np.einsum("yxr,re->eyx", fractions, spectra())
    rng = np.random.default_rng(seed)
    values = (rng.poisson(gain * counts * np.exp(-density)) / gain).astype("float32")
    axes = {dim: (dim, 0.03 * np.arange(n), {"units": "um"}) for dim, n in zip("yx", values.shape[1:], strict=True)}
    return xr.Dataset(
        {
            "intensity": (("energy", "y", "x"), values, {"units": "count"}),
            "i0": ("energy", np.full(ENERGY.size, float(counts)), {"units": "count"}),
        },
        {"energy": ("energy", ENERGY, {"units": "eV"}), **axes},
    )


def mixtures(n=48, seed=0, concentration=8.0):
    return np.random.default_rng(seed).dirichlet(np.full(5, concentration), (n, n))


@pytest.fixture(scope="module")
def stack():
    return counted(2000, mixtures(16))


# ---- the variance of counts


def test_with_variance__of_poisson_counts_is_the_counts(stack):
    found = xstxm.with_variance(stack)
    np.testing.assert_array_equal(found["intensity_variance"], stack["intensity"])
    assert found["intensity_variance"].attrs["units"] == "count**2"
    assert found["energy"].attrs == stack["energy"].attrs
    xr.testing.assert_equal(stack.stxm.with_variance(), found)


@pytest.mark.parametrize("gain", [0.25, 1.0, 8.0])
def test_with_variance__is_the_scatter_of_counts_for_any_gain(gain):
    many = counted(300, np.full((60, 60, 5), 0.2), gain=gain)
    variance = xstxm.with_variance(many, gain=gain)["intensity_variance"]
    np.testing.assert_allclose(variance.mean(("y", "x")), many["intensity"].var(("y", "x")), rtol=0.12)


def test_with_variance__of_a_rate_takes_the_exposure_into_account(stack):
    rate = (stack["intensity"] / 5).assign_attrs(units="count/ms").to_dataset(name="intensity")
    timed = rate.assign_coords(dwell_time=((), 0.005, {"units": "s"}))
    variance = xstxm.with_variance(timed)["intensity_variance"]
    np.testing.assert_allclose(variance, stack["intensity"] / 25, rtol=1e-6)
    with pytest.raises(MissingCoordinateError, match="how many photons a rate stands for"):
        xstxm.with_variance(rate)


def test_with_variance__takes_a_variance_in_any_unit_that_fits(stack):
    given = (stack["intensity"].isel(energy=0, drop=True) * 4).assign_attrs(units="count**2")
    found = xstxm.with_variance(stack, given)["intensity_variance"]
    assert found.dims == stack["intensity"].dims
    for e in (0, 30):
        np.testing.assert_array_equal(found[e], given)


@pytest.mark.parametrize(
    ("noise", "error", "message"),
    [
        pytest.param(lambda s: "poison", ChoiceError, "did you mean 'poisson'|use 'poisson'", id="typo"),
        pytest.param(lambda s: s["intensity"].drop_attrs(), MissingUnitsError, "the variance has no units", id="no unit"),
        pytest.param(lambda s: s["intensity"], IncompatibleUnitsError, "the variance is in 'count'", id="not squared"),
        pytest.param(lambda s: (s["intensity"] - 9e9).assign_attrs(units="count**2"), OptionError, "a variance is not below zero", id="negative"),
        pytest.param(lambda s: s["intensity"][:, :5].assign_attrs(units="count**2"), SchemaError, "the variance has 5 pixels along 'y'", id="shape"),
    ],
)  # fmt: skip
def test_with_variance__refuses_what_is_no_variance_of_these_counts(stack, noise, error, message):
    with pytest.raises(error, match=message):
        xstxm.with_variance(stack, noise(stack))


def test_with_variance__says_where_counts_are_not_raw(stack):
    moved = stack.assign_coords(shift_y=("energy", np.zeros(ENERGY.size), {"units": "um"}))
    with pytest.warns(MetadataWarning, match=r"moved between pixels.*call .stxm.with_variance\(\) on the raw counts"):
        xstxm.with_variance(moved)
    scaled = xstxm.normalize_current(
        stack.drop_vars("i0").assign_coords(
            ring_current=("energy", np.linspace(300, 400, ENERGY.size), {"units": "mA"})
        ),
        400,
    )
    with pytest.warns(MetadataWarning, match="scaled to one ring current"):
        xstxm.with_variance(scaled)
    with pytest.raises(IncompatibleUnitsError, match="Poisson noise is that of counts or rates"):
        xstxm.with_variance(stack.assign(intensity=stack["intensity"].assign_attrs(units="mA")))
    with pytest.raises(SchemaError, match="to_dataset"):
        xstxm.with_variance(stack["intensity"])


def test_with_variance__of_an_array_has_no_gain(stack):
    variance = stack["intensity"].assign_attrs(units="count**2")
    with pytest.raises(OptionError, match=r"^gain=2: .*noise='poisson' only"):
        xstxm.with_variance(stack, variance, gain=2)


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        pytest.param(lambda od: 0.01, r"^noise=0.01: give a variance as an array with units, e.g. xarray.DataArray\(number, attrs=\{'units': '1'\}\)$", id="number"),
        pytest.param(lambda od: od.values, r"^noise=<ndarray .*DataArray\(values, coords=\[stack\[dim\] for dim in \('energy', 'y', 'x'\)\], attrs=\{'units': '1'\}\)$", id="numpy"),
        pytest.param(lambda od: "poisson", r"^noise='poisson': .* call .stxm.with_variance\(\) on them, or .stxm.optical_density\(noise='poisson'\), first", id="poisson"),
        pytest.param(lambda od: od * 0, r"^noise=<DataArray .*: no variance is above zero", id="zero everywhere"),
    ],
)  # fmt: skip
def test_fit__noise_that_cannot_be_taken_says_how_to_give_it(stack, noise, message):
    od = xstxm.optical_density(stack)
    with pytest.raises(OptionError, match=message):
        xstxm.fit(od, references(), noise=noise(od["optical_density"]))


def test_fit__takes_the_noise_as_its_message_says(stack):
    od = xstxm.optical_density(stack)["optical_density"]
    one, many = xr.DataArray(2e-3, attrs={"units": "1"}), np.full(od.shape, 2e-3, od.dtype)
    alike = xr.DataArray(many, coords=[od[dim] for dim in ("energy", "y", "x")], attrs={"units": "1"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoiseWarning)
        found = [xstxm.fit(od, references(), noise=noise)["component_map_stderr"] for noise in (one, alike)]
    np.testing.assert_allclose(*found, rtol=1e-4)


def test_fit__noise_of_other_energies_or_without_units_says_what_to_do(stack):
    od = xstxm.optical_density(stack)
    variance = xr.ones_like(od["optical_density"])
    with pytest.raises(EnergyRangeError, match=r"interp_energy\(stack.energy\)$") as raised:
        xstxm.fit(od, references(), noise=variance[::2])
    assert "how=" not in str(raised.value)
    with pytest.raises(MissingUnitsError, match=r"^the variance has no units: .*\['units'\] = '1'$"):
        xstxm.fit(od, references(), noise=variance.drop_attrs())


def test_phase_map__of_counts_says_where_their_noise_is_given(stack):
    with pytest.raises(OptionError, match=r"^noise='poisson': .*with_variance\(\)"):
        xstxm.phase_map(stack, references(), noise="poisson")
    counted = xstxm.phase_map(stack.stxm.with_variance(), references())
    at_once = xstxm.phase_map(stack.stxm.optical_density(noise="poisson"), references())
    xr.testing.assert_allclose(counted["confidence"], at_once["confidence"])


# ---- of the optical density


def test_optical_density__carries_poisson_noise_of_counts_and_i0(stack):
    flat = xr.full_like(stack["intensity"].isel(energy=0, drop=True), 2000.0).assign_attrs(units="count")
    od = xstxm.optical_density(stack.drop_vars("i0"), flat, noise="poisson", gain=2.0, dark=100.0)
    bright = stack["intensity"].astype(float)
    expected = bright / 2 / (bright - 100) ** 2 + 2000 / 2 / 1900.0**2
    np.testing.assert_allclose(od["optical_density_variance"], expected, rtol=1e-5)


def test_optical_density__poisson_equals_with_variance_before_and_residual_has_none(stack):
    at_once = xstxm.optical_density(stack, noise="poisson")
    before = xstxm.optical_density(xstxm.with_variance(stack))
    xr.testing.assert_equal(at_once["optical_density_variance"], before["optical_density_variance"])
    held = xstxm.with_variance(stack)
    assert "optical_density_variance" not in xstxm.optical_density(held, noise="residual")
    with pytest.raises(OptionError, match="an array has no room for its variance"):
        xstxm.optical_density(stack["intensity"], stack["i0"], noise="poisson")


def test_noise__survives_alignment_with_the_weights_of_the_interpolation(stack):
    by = {f"shift_{a}": ("energy", np.full(ENERGY.size, 0.015), {"units": "um"}) for a in "yx"}  # half a pixel
    shifts = xr.Dataset(by, {"energy": stack["energy"]})
    moved = xstxm.apply_shifts(xstxm.with_variance(counted(2000, np.full((40, 40, 5), 0.2))), shifts, crop=True)
    density = xstxm.optical_density(moved)
    expected = density["optical_density"].var(("y", "x")) / density["optical_density_variance"].mean(("y", "x"))
    assert 0.85 < float(expected.mean()) < 1.15


# ---- fits with weights


def weighted(stack, counts_dtype="float64"):
    return xstxm.optical_density(stack.astype(counts_dtype), noise="poisson")


def best(density, variance):
    """The amounts and objective of scipy's solver for one pixel; a free constant is two columns."""
    root = 1 / np.sqrt(variance)
    design = np.vstack([np.ones(ENERGY.size), -np.ones(ENERGY.size), spectra()]).T * root[:, None]
    amounts, norm = nnls(design, density * root)
    return amounts[2:], norm**2


def test_fit__weighs_as_scipy_does(stack):
    od = weighted(stack)
    fit = xstxm.fit(od, references())
    assert fit.attrs["noise"] == "variance"
    for y, x in [(0, 0), (3, 7), (15, 15), (8, 2)]:
        pixel = {"y": y, "x": x}
        amounts, chi2 = best(od["optical_density"][pixel].values, od["optical_density_variance"][pixel].values)
        np.testing.assert_allclose(fit["component_map"][pixel], amounts, atol=1e-8)
        n_free = 1 + int((amounts > 0).sum())
        np.testing.assert_allclose(fit["reduced_chi2"][pixel] * (ENERGY.size - n_free), chi2, rtol=1e-9)
        assert int(fit["n_active"][pixel]) == n_free - 1


def test_fit__statistics_equal_their_definition_on_the_residual_stack(stack):
    od = weighted(stack)
    fit = xstxm.fit(od, references())
    left = xstxm.residual(od, fit)
    n_free = fit["n_active"] + 1
    chi2 = (left**2 / od["optical_density_variance"]).sum("energy") / (ENERGY.size - n_free)
    np.testing.assert_allclose(fit["reduced_chi2"], chi2, rtol=1e-9)
    np.testing.assert_allclose(
        fit["r_factor"], (left**2).sum("energy") / (od["optical_density"] ** 2).sum("energy"), rtol=1e-9
    )
    np.testing.assert_allclose(fit["residual_rms"], np.sqrt((left**2).mean("energy")), rtol=1e-9)
    assert fit["reduced_chi2"].attrs["units"] == "1"


def test_fit__a_constant_variance_changes_errors_only(stack):
    od = xstxm.optical_density(stack.astype("float64"), noise="residual")
    plain = xstxm.fit(od, references(), covariance=True)
    same = xr.full_like(od["optical_density"], 4e-4).assign_attrs(units="1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoiseWarning)
        known = xstxm.fit(od, references(), noise=same, covariance=True)
    np.testing.assert_allclose(known["component_map"], plain["component_map"], atol=1e-10)
    ratio = 4e-4 / plain["reduced_chi2"]
    np.testing.assert_allclose(
        known["component_map_stderr"], plain["component_map_stderr"] * np.sqrt(ratio), atol=1e-10
    )
    np.testing.assert_allclose(known["component_map_covariance"], plain["component_map_covariance"] * ratio, rtol=1e-6)
    xr.testing.assert_equal(known["r_factor"].round(10), plain["r_factor"].round(10))


@pytest.mark.filterwarnings("ignore::xstxm.errors.NoiseWarning")
@pytest.mark.parametrize("method", ["lstsq", "nnls", "fcls"])
def test_fit__a_variance_of_the_energies_alone_equals_the_same_in_every_pixel(stack, method, monkeypatch):
    od = xstxm.optical_density(stack.astype("float64"), noise="residual")
    od["optical_density"][7, 2, 3] = np.nan
    profile = xr.DataArray(
        1e-3 * np.geomspace(0.2, 5, ENERGY.size), coords={"energy": od["energy"]}, attrs={"units": "1"}
    )
    everywhere = profile.broadcast_like(od["optical_density"]).transpose("energy", "y", "x").copy()
    options = {"method": method, "covariance": True}
    slow = xstxm.fit(od, references(), noise=everywhere, **options)
    monkeypatch.setattr("xstxm._kernels.weighted_fit.fit_weighted", None)  # not needed for one matrix
    quick = xstxm.fit(od, references(), noise=profile, **options)
    for name, expected in slow.data_vars.items():
        np.testing.assert_allclose(quick[name], expected, rtol=1e-7, atol=1e-10, err_msg=str(name))
    lazy = xstxm.fit(od.chunk(y=5), references(), noise=profile, **options)
    for name, expected in quick.data_vars.items():
        np.testing.assert_array_equal(lazy[name].compute(), expected, err_msg=str(name))


@pytest.mark.parametrize("along", ["energy", "y", "nothing"])
def test_fit__a_variance_along_some_dimensions_equals_the_whole_one(stack, along):
    od = xstxm.optical_density(stack.astype("float64"), noise="residual")
    whole = xr.full_like(od["optical_density"], 1e-3).assign_attrs(units="1")
    if along == "energy":  # an energy that cannot be used
        whole[9] = 0
    if along == "y":
        whole = whole * (1 + od["y"].drop_attrs()).assign_attrs(units="1")
    part = whole.isel({dim: 0 for dim in whole.dims if dim != along}, drop=True).assign_attrs(units="1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NoiseWarning)
        full, fit = (xstxm.fit(od, references(), noise=noise) for noise in (whole.assign_attrs(units="1"), part))
    for name, expected in full.data_vars.items():
        np.testing.assert_allclose(fit[name], expected, rtol=1e-7, atol=1e-10, err_msg=str(name))


@pytest.mark.parametrize("method", ["lstsq", "nnls", "fcls"])
def test_fit__with_weights_is_the_same_with_dask_and_lazy(stack, method):
    od = weighted(stack, "float32")
    eager = xstxm.fit(od, references(), method=method)
    with raise_if_dask_computes():
        lazy = xstxm.fit(od.chunk(y=5, x=7), references(), method=method)
    for name, expected in eager.data_vars.items():
        np.testing.assert_array_equal(lazy[name].compute(), expected, err_msg=str(name))


def test_fit__leaves_values_without_a_variance_out(stack):
    od = weighted(stack)
    broken = od.copy(deep=True)
    broken["optical_density_variance"][10, 0, 0] = 0
    broken["optical_density_variance"][11, 0, 0] = np.nan
    broken["optical_density"][12, 0, 0] = np.inf
    broken["optical_density"][:, 1, 1] = np.nan
    fit, whole = xstxm.fit(broken, references()), xstxm.fit(od, references())
    kept = od.isel(energy=np.setdiff1d(np.arange(ENERGY.size), [10, 11, 12]), y=[0], x=[0])
    for name in ("component_map", "component_map_stderr", "reduced_chi2", "r_factor"):
        np.testing.assert_allclose(
            fit[name].isel(y=0, x=0), xstxm.fit(kept, references())[name].isel(y=0, x=0), rtol=1e-9
        )
        assert np.isnan(fit[name].isel(y=1, x=1)).all()
        np.testing.assert_array_equal(fit[name].isel(y=slice(2, None)), whole[name].isel(y=slice(2, None)))
    assert int(fit["n_active"][1, 1]) == 0


@pytest.mark.parametrize(
    ("noise", "error", "message"),
    [
        pytest.param("variances", ChoiceError, "did you mean 'variance'", id="typo"),
        pytest.param("variance", MissingVariableError, r"'optical_density_variance' is missing.*noise='poisson'", id="none held"),
        pytest.param(xr.DataArray(np.ones(3), dims="energy", attrs={"units": "1"}), Exception, "energ", id="other energies"),
        pytest.param(xr.DataArray(-1.0, attrs={"units": "1"}), OptionError, "a variance is not below zero", id="negative"),
    ],
)  # fmt: skip
def test_fit__refuses_noise_that_is_not_of_this_stack(stack, noise, error, message):
    with pytest.raises(error, match=message):
        xstxm.fit(xstxm.optical_density(stack), references(), noise=noise)


def test_fit__says_when_the_noise_is_another_one(stack):
    od = xstxm.optical_density(stack, noise="poisson", gain=10.0)
    with pytest.warns(NoiseWarning, match=r"leaves 9\.\d+ times the variance.*noise='residual'"):
        xstxm.fit(od, references())
    assert xstxm.fit(od, references(), noise="residual").attrs["noise"] == "residual"


@pytest.mark.parametrize("off", [0.97, 1.0, 1.03], ids=lambda off: f"I0 x {off}")
@pytest.mark.filterwarnings("ignore::xstxm.errors.MetadataWarning")  # of an I0 that is too low
def test_fit__the_noise_is_judged_where_there_is_sample(off):
    """Light that passes by a thick particle, in a field that is mostly empty, whatever is wrong with I0."""
    references = xstxm.testing.simulate_references()
    truth = xr.zeros_like(references["absorption"].isel(reference=0, drop=True)).expand_dims(x=400).copy()
    truth[:100] = 330 * references["absorption"].isel(reference=[0, 1]).mean("reference").values
    light = 20_000 * (0.97 * np.exp(-truth) + 0.03)
    counts = truth.copy(data=np.random.default_rng(0).poisson(light).astype(float)).rename("intensity")
    stack = counts.transpose("energy", "x").assign_attrs(units="count").to_dataset().stxm.with_variance()
    i0 = xr.full_like(stack["energy"], 20_000.0 * off, dtype=float).assign_attrs(units="count").rename("i0")
    with pytest.warns(NoiseWarning, match="pixels with sample"):
        xstxm.fit(xstxm.optical_density(stack, i0), references)


def test_optical_density__of_no_pixels_has_no_variance_to_refuse():
    stack = xstxm.testing.simulate_stack(shape=(6, 8), seed=0).stxm.with_variance()
    assert xstxm.optical_density(stack.isel(y=slice(0)), stack["true_i0"].rename("i0")).sizes["y"] == 0


def test_optical_density__refuses_a_held_variance_below_zero():
    stack = xstxm.testing.simulate_stack(shape=(6, 8), seed=0).stxm.with_variance()
    stack["intensity_variance"][0, 0, 0] = -100
    with pytest.raises(OptionError, match="a variance is not below zero"):
        xstxm.optical_density(stack, stack["true_i0"].rename("i0"))


def test_fit__of_the_measured_stack_is_told_not_to_be_poisson(real_data):
    folder = real_data / "fe-l-edge-stack"
    measured = xstxm.open_stack(folder / "71214078.hdr").load()
    counts = measured.assign(intensity=measured["intensity"].astype("float64"))
    od = xstxm.optical_density(counts, noise="poisson")
    flat = xr.Dataset(
        {
            "absorption": (
                ("reference", "energy"),
                np.asarray(od["optical_density"].mean(("y", "x")))[None],
                {"units": "1"},
            )
        },
        {"reference": ["mean"], "energy": od["energy"]},
    )
    with pytest.warns(NoiseWarning, match="times the variance that was given"):
        xstxm.fit(od, flat)


# ---- are the errors right?


@pytest.mark.parametrize("counts", [40_000, 100_000, 200_000])
def test_phase_map__errors_of_fractions_away_from_the_bounds_are_the_scatter(counts):
    truth = mixtures(40, concentration=30.0)
    phases = xstxm.phase_map(weighted(counted(counts, truth, seed=counts)), references(), background="none")
    error = phases["phase_fraction"].transpose("y", "x", "phase").values - truth
    stderr = phases["phase_fraction_stderr"].transpose("y", "x", "phase").values
    away = (truth > 4 * stderr).all(-1)
    assert away.sum() > 300
    standardised = (error / stderr)[away]
    assert 0.9 < standardised.std() < 1.1
    assert 0.93 < (np.abs(standardised) < 1.96).mean() < 0.97
    composition = (phases["composition"].values - truth @ np.linspace(0, 1, 5)) / phases["composition_stderr"].values
    assert 0.9 < composition[away].std() < 1.1


@pytest.mark.parametrize("counts", [300, 2000, 20_000])
def test_phase_map__reduced_chi2_is_one_and_errors_at_the_bounds_are_large_enough(counts):
    truth = mixtures(40, seed=1)
    truth = np.where(truth < 0.2, 0, truth)
    truth /= truth.sum(-1, keepdims=True)
    od = weighted(counted(counts, truth, seed=counts))
    assert float(xstxm.fit(od, references())["reduced_chi2"].median()) == pytest.approx(1, abs=0.05)
    phases = xstxm.phase_map(od, references())
    error = phases["phase_fraction"].transpose("y", "x", "phase").values - truth
    covered = np.abs(error) < 1.96 * phases["phase_fraction_stderr"].transpose("y", "x", "phase").values
    assert covered.mean() > 0.95
