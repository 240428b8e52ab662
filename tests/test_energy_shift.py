"""Energy shift and broadening between a stack and its references."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from laziness import raise_if_dask_computes
from scipy.interpolate import CubicSpline
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import least_squares, minimize_scalar, nnls

import xstxm
from xstxm.errors import (
    ConvergenceWarning,
    EnergyRangeError,
    IncompatibleUnitsError,
    OptionError,
    ReferenceSpectrumError,
    SchemaError,
)
from xstxm.testing import assert_conforms

FINE = np.arange(500.0, 570.0, 0.01)
TABLE = np.union1d(xstxm.testing.simulate_references()["energy"], np.r_[505:508:0.5, 560:563:0.5])
REFERENCES = xstxm.testing.simulate_references(energies=TABLE)
ENERGY = TABLE[(TABLE >= 509) & (TABLE <= 556)][::2]
FWHM = np.sqrt(8 * np.log(2))


@cache
def measured_spectra(shift: float, width: float = 0.0) -> np.ndarray:
    """Absorption (reference, energy) where features lie `shift` higher, Gaussians of a width in proportion to the energy."""
    if not width:
        spectra = xstxm.testing.simulate_references(energies=ENERGY - shift)["absorption"].values
    else:
        fine = xstxm.testing.simulate_references(energies=FINE)["absorption"].values
        sigma = width / FWHM * ENERGY / ((ENERGY.min() + ENERGY.max()) / 2)
        weights = np.exp(-0.5 * ((FINE + shift - ENERGY[:, None]) / sigma[:, None]) ** 2)
        spectra = fine @ (weights / weights.sum(1, keepdims=True)).T
    spectra.flags.writeable = False  # one array for all tests
    return spectra


def density_of(spectra: np.ndarray, n: int = 60, noise: float = 0.01, seed: int = 0) -> xr.DataArray:
    """Optical density (energy, y, x) of random mixtures and an offset."""
    rng = np.random.default_rng(seed)
    amounts = rng.exponential(40, (4, n)) * (rng.random((4, n)) < 0.5)
    od = spectra.T @ amounts + 0.1 + (rng.normal(0, noise, (ENERGY.size, n)) if noise else 0)
    return xr.DataArray(
        od.reshape(ENERGY.size, -1, 6),
        dims=("energy", "y", "x"),
        coords={"energy": ("energy", ENERGY, {"units": "eV"}), "y": np.arange(n // 6) * 0.1, "x": np.arange(6) * 0.1},
        attrs={"units": "1"},
        name="optical_density",
    )


@cache
def simulated(shift: float, width: float = 0.0, *, counts: float = 3000, seed: int = 0) -> xr.Dataset:
    """Counts of particles on a beamline whose energies lie `shift` higher, and whose resolution is worse."""
    fine = xstxm.testing.simulate_references(energies=FINE)
    if width:
        fine = fine.copy(data={"absorption": gaussian_filter1d(fine["absorption"], width / FWHM / 0.01, axis=1)})
    moved = xstxm.calibrate_energy(fine, shift)
    stack = xstxm.testing.simulate_stack(shape=(60, 64), references=moved, counts=counts, psf="0 nm", seed=seed)
    stack = xstxm.sel_energy(stack, 508, 560)
    return xstxm.optical_density(stack, stack["true_i0"].rename("i0"))


# ---- what it finds


def test_estimate_energy_shift__follows_its_schema():
    found = xstxm.estimate_energy_shift(density_of(measured_spectra(0.1)).to_dataset(), REFERENCES)
    assert_conforms(found, "estimate_energy_shift")
    assert found["energy_shift"].attrs["units"] == found["trial_shift"].attrs["units"] == "eV"
    assert found["trial_rms"].attrs["units"] == "1"
    assert found.attrs["n_pixels"] == 60
    assert (float(found["broadening"]), np.isnan(found["broadening_stderr"])) == (0, True)
    assert float(found["trial_shift"][found["trial_rms"].argmin("trial_shift")]) == pytest.approx(0.1, abs=0.0126)
    assert "shift 0.1" in found.attrs["history"]


@pytest.mark.parametrize("shift", [-0.4, -0.2, -0.05, 0.0, 0.05, 0.2, 0.4])
def test_estimate_energy_shift__finds_that_of_simulated_stacks(shift):
    found = xstxm.estimate_energy_shift(simulated(shift), REFERENCES)
    error = abs(float(found["energy_shift"]) - shift)
    assert error < 3 * float(found["energy_shift_stderr"])
    assert error < 0.003
    assert 1e-4 < float(found["energy_shift_stderr"]) < 2e-3


@pytest.mark.parametrize(("shift", "width"), [(0.2, 0.2), (-0.3, 0.3), (0.05, 0.4), (0.0, 0.1)])
def test_estimate_energy_shift__finds_the_broadening_as_well(shift, width):
    found = xstxm.estimate_energy_shift(simulated(shift, width), REFERENCES, broadening="fit")
    features = 525 / 534  # the simulated width is the same everywhere
    wanted, error = width / features, float(found["broadening_stderr"])
    assert abs(float(found["broadening"]) - wanted) < 3 * error + 0.01 * width
    assert error < 0.04
    assert abs(float(found["energy_shift"]) - shift) < 3 * float(found["energy_shift_stderr"])
    held = xstxm.estimate_energy_shift(simulated(shift, width), REFERENCES, broadening=float(found["broadening"]))
    np.testing.assert_allclose(held["energy_shift"], found["energy_shift"], atol=1e-6)
    np.testing.assert_allclose(held["rms_after"], found["rms_after"], rtol=1e-9)


def test_estimate_energy_shift__is_exact_without_noise():
    found = xstxm.estimate_energy_shift(
        density_of(measured_spectra(0.137, 0.25), noise=0), REFERENCES, broadening="fit"
    )
    assert float(found["energy_shift"]) == pytest.approx(0.137, abs=3e-4)
    assert float(found["broadening"]) == pytest.approx(0.25, abs=3e-3)
    assert float(found["rms_after"]) < 1e-3 * float(found["rms_before"]) * 10


def test_estimate_energy_shift__of_a_stack_without_broadening_finds_none_within_its_error():
    found = xstxm.estimate_energy_shift(simulated(0.1), REFERENCES, broadening="fit")
    width, error = float(found["broadening"]), float(found["broadening_stderr"])
    assert width**2 < 3 * ((width + error) ** 2 - width**2)
    assert 0 < error < 0.1


def test_estimate_energy_shift__errors_are_the_scatter():
    spectra = measured_spectra(0.13, 0.3)
    scores = []
    for seed in range(24):
        od = density_of(spectra, 240, 0.05, seed=seed)
        found = xstxm.estimate_energy_shift(od, REFERENCES, broadening="fit")
        shift = (float(found["energy_shift"]) - 0.13) / float(found["energy_shift_stderr"])
        scores.append((shift, (float(found["broadening"]) - 0.3) / float(found["broadening_stderr"])))
    assert np.all(np.abs(np.mean(scores, axis=0)) < 0.45)
    assert np.all((np.std(scores, axis=0) > 0.8) & (np.std(scores, axis=0) < 1.3))


def test_estimate_energy_shift__of_one_spectrum_has_the_error_of_its_noise():
    spectra, values, errors = measured_spectra(0.1), [], []
    for seed in range(24):
        od = density_of(spectra, 6, 0.01, seed=seed)
        one = (od.sum(("y", "x")) / 6).assign_attrs(units="1").rename("optical_density")
        found = xstxm.estimate_energy_shift(one, REFERENCES)
        values.append(float(found["energy_shift"]))
        errors.append(float(found["energy_shift_stderr"]))
    scores = (np.array(values) - 0.1) / errors
    assert 0.7 < np.std(scores) < 1.3


# ---- against independent solutions


def by_brute_force(od: xr.DataArray, solve) -> float:
    splines = CubicSpline(TABLE, REFERENCES["absorption"], axis=1)
    spectra = od.values.reshape(ENERGY.size, -1)

    def total(shift):
        return solve(splines(ENERGY - shift).T, spectra)

    return minimize_scalar(total, bounds=(-0.3, 0.4), method="bounded", options={"xatol": 1e-7})


def lstsq_total(design, spectra):
    columns = np.column_stack([design, np.ones(len(design))])
    return np.linalg.lstsq(columns, spectra, rcond=None)[1].sum()


def nnls_total(design, spectra):
    columns = np.column_stack([design, np.ones(len(design)), -np.ones(len(design))])
    return sum(nnls(columns, spectrum)[1] ** 2 for spectrum in spectra.T)


def test_estimate_energy_shift__is_the_least_squares_solution_of_the_whole_stack():
    od = density_of(measured_spectra(0.13), noise=0.05)
    found, expected = xstxm.estimate_energy_shift(od, REFERENCES), by_brute_force(od, lstsq_total)
    assert float(found["energy_shift"]) == pytest.approx(expected.x, abs=2e-6)
    assert float(found["rms_after"]) == pytest.approx(np.sqrt(expected.fun / od.size), rel=1e-10)


def test_estimate_energy_shift__is_the_solution_of_all_unknowns_at_once():
    """Shift, width and the amounts of every pixel by one non-linear solver, the convolution by summing over a dense grid."""
    od = density_of(measured_spectra(0.13, 0.3), n=6, noise=0.05)
    spectra = od.values.reshape(ENERGY.size, -1)
    splines, grid = CubicSpline(TABLE, REFERENCES["absorption"], axis=1), np.arange(-2.0, 2.0, 0.005)
    relative = ENERGY / ((ENERGY.min() + ENERGY.max()) / 2)

    def design(shift, width):
        weights = np.exp(-0.5 * (grid / (width / FWHM * relative[:, None])) ** 2)
        values = splines(ENERGY[:, None] - shift + grid)
        return np.column_stack([*(values * weights).sum(-1) / weights.sum(-1), np.full(ENERGY.size, 0.01)])

    def residual(unknowns):
        return (design(*unknowns[:2]) @ unknowns[2:].reshape(5, -1) - spectra).ravel()

    start = np.linalg.lstsq(design(0.1, 0.2), spectra, rcond=None)[0]
    expected = least_squares(residual, [0.1, 0.2, *start.ravel()], x_scale="jac", xtol=1e-12, ftol=1e-12, gtol=1e-12)
    found = xstxm.estimate_energy_shift(od, REFERENCES, broadening="fit")
    assert float(found["energy_shift"]) == pytest.approx(expected.x[0], abs=2e-4)
    assert float(found["broadening"]) == pytest.approx(expected.x[1], abs=2e-3)
    assert float(found["rms_after"]) == pytest.approx(np.sqrt(2 * expected.cost / od.size), rel=1e-6)


def test_estimate_energy_shift__of_signed_amounts_is_that_of_amounts_above_zero():
    od = density_of(measured_spectra(0.13), noise=0.02)
    found, constrained = xstxm.estimate_energy_shift(od, REFERENCES), by_brute_force(od, nnls_total)
    assert abs(float(found["energy_shift"]) - constrained.x) < 3 * float(found["energy_shift_stderr"])


def test_estimate_energy_shift__jackknife_knows_of_references_that_are_not_those_of_the_sample():
    foreign = 0.05 * np.exp(-(((ENERGY - 519) / 1.5) ** 2))
    clean = density_of(measured_spectra(0.13), noise=0.02)
    od = clean + xr.DataArray(foreign, dims="energy") * clean.mean("energy")
    found = xstxm.estimate_energy_shift(od.assign_attrs(units="1"), REFERENCES)
    error, jackknife = float(found["energy_shift_stderr"]), float(found["energy_shift_jackknife"])
    off = abs(float(found["energy_shift"]) - 0.13)
    assert off > 3 * error
    assert off < 3 * jackknife
    without = xstxm.estimate_energy_shift(clean, REFERENCES)
    assert float(without["energy_shift_jackknife"]) < jackknife / 3


# ---- laws


@settings(max_examples=5)
@given(st.floats(-0.4, 0.4), st.integers(0, 100))
def test_law__a_stack_that_is_moved_is_found_moved(move, seed):
    od = density_of(measured_spectra(0.1), seed=seed)
    one = xstxm.estimate_energy_shift(od, REFERENCES)
    other = xstxm.estimate_energy_shift(xstxm.calibrate_energy(od, move), REFERENCES)
    np.testing.assert_allclose(other["energy_shift"], one["energy_shift"] + move, atol=1e-6)
    references = xstxm.calibrate_energy(REFERENCES, move)
    back = xstxm.estimate_energy_shift(od, references)
    np.testing.assert_allclose(back["energy_shift"], one["energy_shift"] - move, atol=1e-6)


@settings(max_examples=5)
@given(st.floats(0.01, 100), st.floats(-1, 1), st.integers(0, 100))
def test_law__thickness_and_offset_do_not_matter(factor, offset, seed):
    od = density_of(measured_spectra(0.1, 0.3), seed=seed)
    one = xstxm.estimate_energy_shift(od, REFERENCES, broadening="fit")
    other = xstxm.estimate_energy_shift((od * factor + offset).assign_attrs(units="1"), REFERENCES, broadening="fit")
    for name in ("energy_shift", "energy_shift_stderr", "energy_shift_jackknife", "broadening"):
        np.testing.assert_allclose(other[name], one[name], rtol=1e-3, atol=2e-6)
    np.testing.assert_allclose(other["rms_after"], factor * one["rms_after"], rtol=1e-6)


@pytest.mark.parametrize(
    "arrange",
    [
        pytest.param(lambda od: od.chunk(y=3, x=4), id="dask by pixel"),
        pytest.param(lambda od: od.isel(energy=slice(None, None, -1)), id="descending energies"),
        pytest.param(lambda od: od.transpose("x", "energy", "y"), id="energy in the middle"),
        pytest.param(lambda od: od.stack(position=("y", "x")).drop_vars(["position", "y", "x"]), id="line"),
        pytest.param(lambda od: od.assign_coords(energy=("energy", ENERGY / 1000, {"units": "keV"})), id="keV"),
    ],
)
def test_estimate_energy_shift__does_not_depend_on_layout(arrange):
    od = density_of(measured_spectra(0.1, 0.3))
    expected = xstxm.estimate_energy_shift(od, REFERENCES, broadening="fit")
    found = xstxm.estimate_energy_shift(arrange(od), REFERENCES, broadening="fit")
    unit = xstxm.units.factor(found["energy_shift"].attrs["units"], "eV")
    names = ["energy_shift", "broadening", "energy_shift_jackknife"]
    for name in names:
        np.testing.assert_allclose(found[name] * unit, expected[name], atol=1e-6)
    np.testing.assert_allclose(found["rms_after"], expected["rms_after"], rtol=1e-8)


def test_estimate_energy_shift__reads_a_lazy_stack_once():
    od = density_of(measured_spectra(0.1)).chunk(y=2)
    with raise_if_dask_computes(max_computes=1):
        xstxm.estimate_energy_shift(od, REFERENCES)


def test_estimate_energy_shift__uses_the_pixels_it_is_told():
    od = xr.concat([density_of(measured_spectra(0.1)), density_of(measured_spectra(-0.2))], dim="y")
    od = od.assign_coords(y=np.arange(20) * 0.1, x=od["x"].isel(x=slice(None)))
    od[3, 2, 1] = np.nan
    half = xr.DataArray(np.arange(20) < 10, dims="y").broadcast_like(od.isel(energy=0, drop=True))
    for found in (
        xstxm.estimate_energy_shift(od, REFERENCES, region=half),
        xstxm.estimate_energy_shift(od.to_dataset().assign(mask=half), REFERENCES),
    ):
        assert float(found["energy_shift"]) == pytest.approx(0.1, abs=0.003)
        assert found.attrs["n_pixels"] == 59


# ---- what a fit makes of it


def fraction_bias(stack: xr.Dataset, **options) -> float:
    """Largest mean error of a fraction over the sample."""
    truth = stack["true_thickness"]
    amounts = xstxm.fit(stack, REFERENCES, **options)["component_map"]
    error = amounts / amounts.sum("reference") - truth / truth.sum("reference")
    return float(np.abs(error.where(truth.sum("reference") > 40).mean(("y", "x"))).max())


def test_fit__finds_the_shift_and_is_no_longer_biased():
    moved, unmoved = simulated(0.3), simulated(0.0)
    assert fraction_bias(moved) > 0.1
    for option in ("fit", "0.3 eV"):
        assert fraction_bias(moved, energy_shift=option) < fraction_bias(unmoved) + 0.005


def test_fit__with_a_shift_and_a_broadening_says_which():
    od = density_of(measured_spectra(0.2, 0.3))
    fitted = xstxm.fit(od, REFERENCES, energy_shift="fit", broadening="fit")
    found = xstxm.estimate_energy_shift(od, REFERENCES, broadening="fit")
    for name in ("energy_shift", "energy_shift_stderr", "broadening", "broadening_stderr"):
        assert float(fitted[name]) == float(found[name])
    given_numbers = xstxm.fit(od, REFERENCES, energy_shift=found["energy_shift"], broadening=found["broadening"])
    xr.testing.assert_equal(given_numbers["component_map"], fitted["component_map"])
    assert np.isnan(given_numbers["energy_shift_stderr"])
    assert "references moved by 0.2" in given_numbers.attrs["history"]
    assert_conforms(fitted, "fit")
    np.testing.assert_allclose(fitted["reference_spectra"], measured_spectra(0.2, 0.3), atol=5e-5)
    assert "energy_shift" not in xstxm.fit(od, REFERENCES)
    held = xstxm.with_references(
        od.to_dataset(), REFERENCES, energy_shift=found["energy_shift"], broadening=found["broadening"]
    )
    xr.testing.assert_equal(xstxm.fit(held)["component_map"], fitted["component_map"])


def test_fit__with_a_given_shift_is_lazy_and_one_that_is_found_reads_the_stack_once():
    od = density_of(measured_spectra(0.2)).chunk(y=5)
    with raise_if_dask_computes():
        xstxm.fit(od, REFERENCES, energy_shift="200 meV", broadening="0.1 eV", max_optical_density=2.2)
    with raise_if_dask_computes(max_computes=1):
        fitted = xstxm.fit(od, REFERENCES, energy_shift="fit")
    assert fitted["component_map"].chunks is not None


def test_fit__with_a_shift_of_nothing_takes_the_references_as_they_are():
    od = density_of(measured_spectra(0.0))
    plain, moved = xstxm.fit(od, REFERENCES), xstxm.fit(od, REFERENCES, energy_shift=0.0)
    np.testing.assert_allclose(moved["component_map"], plain["component_map"], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        pytest.param({"broadening": "fit"}, OptionError, "pass energy_shift='fit' too", id="width alone"),
        pytest.param({"energy_shift": "5 nm"}, IncompatibleUnitsError, "energy_shift is in 'nm'", id="wavelength"),
        pytest.param({"broadening": "-0.2 eV"}, OptionError, "broadening=-0.2: give an energy", id="negative width"),
        pytest.param(
            {"energy_shift": "5 eV"},
            EnergyRangeError,
            r"the stack 509-555\.\d+ eV; a shift of 5 eV needs them to reach further: use sel_energy\(\"510 eV\", \"567",
            id="beyond the references",
        ),
    ],
)
def test_fit__refuses_moves_that_cannot_be(options, error, message):
    with pytest.raises(error, match=message):
        xstxm.fit(density_of(measured_spectra(0.0)), REFERENCES, **options)


def test_fit__cannot_move_references_that_end_where_the_stack_does():
    held = xstxm.with_references(density_of(measured_spectra(0.0)).to_dataset(), REFERENCES)
    with pytest.raises(OptionError, match=r"energy_shift='fit': moved references .* pass references= as well"):
        xstxm.fit(held, energy_shift="fit")


# ---- messages


def test_estimate_energy_shift__says_which_energies_to_keep():
    od = density_of(measured_spectra(0.1))
    short = xstxm.sel_energy(REFERENCES, 509, 556)
    with pytest.raises(
        EnergyRangeError, match=r"a shift of up to 1 eV and a broadening of up to 0\.5 eV needs"
    ) as caught:
        xstxm.estimate_energy_shift(od, short, broadening="fit")
    low, high = str(caught.value).split("sel_energy(")[1].split(")")[0].replace('"', "").split(", ")
    found = xstxm.estimate_energy_shift(xstxm.sel_energy(od, low, high), short, broadening="fit")
    assert float(found["energy_shift"]) == pytest.approx(0.1, abs=0.003)
    with pytest.raises(EnergyRangeError, match="no energy is common to all"):
        xstxm.estimate_energy_shift(od, short, max_shift="30 eV")


def test_estimate_energy_shift__at_the_limit_of_the_search_says_so():
    od = density_of(measured_spectra(0.4, 0.3))
    with pytest.warns(ConvergenceWarning, match=r"shift ends at the limit of the search, 0\.2 eV.*a larger max_shift"):
        xstxm.estimate_energy_shift(od, REFERENCES, max_shift="0.2 eV")
    with pytest.warns(ConvergenceWarning, match=r"broadening ends at the limit of the search, 0\.1 eV.*max_broadening"):
        xstxm.estimate_energy_shift(od, REFERENCES, broadening="fit", max_broadening="100 meV")


def test_estimate_energy_shift__of_a_stack_sharper_than_the_references_says_so():
    fine = xstxm.testing.simulate_references(energies=FINE)
    dull = fine.copy(data={"absorption": gaussian_filter1d(fine["absorption"], 30, axis=1)})
    with pytest.warns(ConvergenceWarning, match="the stack is sharper than the references"):
        found = xstxm.estimate_energy_shift(density_of(measured_spectra(0.1)), dull, broadening="fit")
    assert float(found["broadening"]) == 0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        pytest.param({"max_shift": 0}, OptionError, "max_shift=0: give an energy above zero", id="no search"),
        pytest.param({"broadening": -0.1}, OptionError, "broadening=-0.1: give an energy of at least 0", id="negative"),
        pytest.param(
            {"broadening": "fit", "max_broadening": "0 eV"}, OptionError, "max_broadening='0 eV'", id="no width"
        ),
        pytest.param({"max_shift": "1 nm"}, IncompatibleUnitsError, "max_shift is in 'nm'", id="wavelength"),
    ],
)
def test_estimate_energy_shift__refuses_options(change, error, message):
    with pytest.raises(error, match=message):
        xstxm.estimate_energy_shift(density_of(measured_spectra(0.1)), REFERENCES, **change)


def test_estimate_energy_shift__refuses_data_that_say_nothing():
    od = density_of(measured_spectra(0.1))
    with pytest.raises(SchemaError, match="the residual is the same at every shift"):
        xstxm.estimate_energy_shift(od * 0, REFERENCES)
    with pytest.raises(SchemaError, match="hold no finite value"):
        xstxm.estimate_energy_shift(od * np.nan, REFERENCES)
    with pytest.raises(ReferenceSpectrumError, match="needs at least 6 energies"):
        xstxm.estimate_energy_shift(od.isel(energy=slice(0, 5)), REFERENCES)
    twice = REFERENCES.isel(energy=np.r_[0, 0 : TABLE.size])
    with pytest.raises(EnergyRangeError, match="an energy twice"):
        xstxm.estimate_energy_shift(od, twice)


# ---- what a phase map makes of it


@pytest.mark.parametrize("selection", [None, "bic"])
def test_phase_map__with_a_shift_is_that_of_the_moved_references(selection):
    stack = simulated(0.3)
    found = xstxm.phase_map(stack, REFERENCES, energy_shift="fit", selection=selection)
    moved = xstxm.estimate_energy_shift(stack, REFERENCES)
    given_number = xstxm.phase_map(
        stack, REFERENCES, energy_shift=moved["energy_shift"], broadening=0.0, selection=selection
    )
    for name in ("energy_shift", "energy_shift_stderr"):
        xr.testing.assert_equal(found[name], moved[name])
    for name in ("phase_fraction", "confidence", "phase_label"):
        xr.testing.assert_equal(found[name], given_number[name])
    assert_conforms(found, "phase_map")
    assert float(found["energy_shift"]) == pytest.approx(0.3, abs=0.02)
    assert "energy_shift" not in xstxm.phase_map(stack, REFERENCES)


def test_phase_map__with_a_shift_finds_the_fractions_of_the_unmoved():
    truth = simulated(0.0)["true_thickness"]
    share = (truth / truth.sum("reference")).where(truth.sum("reference") > 40).to_numpy()

    def wrong(stack, **options):
        found = xstxm.phase_map(stack, REFERENCES, **options)["phase_fraction"].to_numpy()
        return np.abs(np.nanmean(found - share, axis=(1, 2))).max()

    moved = simulated(0.3)
    assert wrong(moved) > 0.1
    assert wrong(moved, energy_shift="fit") < wrong(simulated(0.0)) + 0.005


def test_phase_map__with_a_given_shift_is_lazy_and_one_that_is_found_reads_the_stack_once():
    stack = simulated(0.2).chunk(y=30)
    with raise_if_dask_computes():
        xstxm.phase_map(stack, REFERENCES, energy_shift="200 meV", min_amount=20, selection="bic")
    with raise_if_dask_computes(max_computes=1):
        xstxm.phase_map(stack, REFERENCES, energy_shift="fit", min_amount=20, selection="bic")
