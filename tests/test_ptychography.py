"""Complex transmission to optical density and phase shift, and the fit of both: the truth, laws, laziness, messages."""

from __future__ import annotations

import builtins
import warnings

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from laziness import raise_if_dask_computes

import xstxm
from xstxm.errors import (
    EnergyRangeError,
    IncompatibleUnitsError,
    MissingDependencyError,
    MissingDimensionError,
    MissingVariableError,
    OptionError,
    PerformanceWarning,
    SchemaError,
)

ENERGIES = [512.0, 516.4, 518.4, 525.0, 529.2, 531.0, 540.0]
REFERENCES = xstxm.testing.simulate_phase_references()
PARTS = ("optical_density", "phase_shift")


def simulated(noise=0.0, seed=0, shape=(40, 52), energies=ENERGIES, **options):
    return xstxm.testing.simulate_transmission(shape=shape, energies=energies, noise=noise, seed=seed, **options)


def empty(stack):
    return stack["true_thickness"].sum("reference") == 0


def precise(stack):
    """The same stack without the rounding of complex64: made from the truth, with its own ramps."""
    rng = np.random.default_rng(3)
    y, x = (xr.DataArray(np.arange(stack.sizes[dim]), dims=dim) for dim in ("y", "x"))
    offset, by_row, by_column, factor = (
        xr.DataArray(rng.uniform(low, high, stack.sizes["energy"]), dims="energy")
        for low, high in ((-3, 3), (-1.5, 1.5), (-1.5, 1.5), (0.01, 100))
    )
    plane = offset + by_row * y + by_column * x
    wave = factor * np.exp(-stack["true_optical_density"] / 2 + 1j * (stack["true_phase_shift"] + plane))
    return stack.assign(transmission=wave.transpose("energy", "y", "x").drop_attrs(deep=False))


# ---- the truth


@pytest.mark.parametrize("how", ["brightest", "mask"])
def test_from_transmission__undoes_factors_offsets_and_ramps(how):
    stack = precise(simulated())
    found = xstxm.from_transmission(stack, "brightest" if how == "brightest" else empty(stack))
    for part in PARTS:
        np.testing.assert_allclose(found[part], stack[f"true_{part}"], atol=1e-9)
    xstxm.testing.assert_conforms(found, "from_transmission")


def test_from_transmission__of_single_precision_is_true_to_a_thousandth():
    stack = simulated()
    found = xstxm.from_transmission(stack)
    for part in PARTS:
        assert found[part].dtype == np.float32
        np.testing.assert_allclose(found[part], stack[f"true_{part}"], atol=1e-3)


def test_from_transmission__unwraps_thick_samples():
    stack = simulated()
    stack = precise(stack.assign({f"true_{part}": 8 * stack[f"true_{part}"] for part in PARTS}))
    assert abs(stack["true_phase_shift"]).max() > 1.2 * np.pi
    found = xstxm.from_transmission(stack, empty(stack))
    np.testing.assert_allclose(found["phase_shift"], stack["true_phase_shift"], atol=1e-9)
    wrapped = xstxm.from_transmission(stack, empty(stack), unwrap=False)["phase_shift"]
    turns = (wrapped - found["phase_shift"]) / (2 * np.pi)
    assert abs(turns).max() > 0.5
    np.testing.assert_allclose(turns, turns.round(), atol=1e-9)


def test_from_transmission__has_a_region_of_pieces_and_outvotes_grains_in_it():
    stack = precise(simulated())
    region = empty(stack)
    region = region & ((stack.x < stack.x[8]) | (stack.x > stack.x[-9]))  # two stripes, far from each other
    grains = ~empty(stack) & (stack.x > stack.x[-9]) & (stack.y < stack.y[16])
    assert 0 < int(grains.sum()) < 0.2 * int(region.sum())
    found = xstxm.from_transmission(stack, region | grains)
    np.testing.assert_allclose(found["phase_shift"], stack["true_phase_shift"], atol=1e-3)


@settings(max_examples=15)
@given(st.integers(0, 99), st.floats(-np.pi, np.pi), st.floats(-2, 2), st.floats(-2, 2), st.floats(1e-3, 1e3))
def test_from_transmission__does_not_depend_on_what_a_reconstruction_leaves_open(
    seed, offset, by_row, by_column, scale
):
    stack = simulated(noise=0.03, seed=seed, shape=(20, 26), energies=ENERGIES[:2])
    y, x = (xr.DataArray(np.arange(stack.sizes[dim]), dims=dim) for dim in ("y", "x"))
    wave = stack["transmission"].astype(complex)
    turned = stack.assign(transmission=wave * scale * np.exp(1j * (offset + by_row * y + by_column * x)))
    region = {"x": ("0 nm", "60 nm")}
    expected = xstxm.from_transmission(stack.assign(transmission=wave), region, unwrap=False)
    found = xstxm.from_transmission(turned, region, unwrap=False)
    for name in ("optical_density", "optical_density_variance", "phase_shift_variance"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6)
    moved = (found["phase_shift"] - expected["phase_shift"]) / (2 * np.pi)
    np.testing.assert_allclose(moved, moved.round(), atol=1e-6)


def test_from_transmission__has_errors_of_the_size_of_its_deviations():
    stack = simulated(noise=0.03, seed=5, shape=(60, 80))
    for region in ("brightest", empty(stack)):
        found = xstxm.from_transmission(stack, region)
        for part in PARTS:
            pull = (found[part] - stack[f"true_{part}"]) / found[f"{part}_variance"] ** 0.5
            assert float(pull.where(stack["true_optical_density"] < 1).std()) == pytest.approx(1, abs=0.04)


def test_from_transmission__knows_that_a_plane_is_uncertain_far_from_its_region():
    """Over many stacks the mean phase of the far side scatters as the variance of the plane says."""
    pulls = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        noise = rng.normal(size=(2, 1, 16, 60)) * 0.1
        wave = xr.DataArray(
            1 + noise[0] + 1j * noise[1],
            dims=("energy", "y", "x"),
            coords={"energy": ("energy", [500.0], {"units": "eV"})},
        )
        mask = xr.DataArray(np.arange(60) < 10, dims="x").broadcast_like(wave[0])
        found = xstxm.from_transmission(wave, mask).isel(energy=0, y=8, x=59)
        scatter = noise[1].std() ** 2
        pulls.append(float(found["phase_shift"]) ** 2 / float(found["phase_shift_variance"]))
        assert float(found["phase_shift_variance"]) > 2 * scatter
    assert np.mean(pulls) == pytest.approx(1, abs=0.5)


def test_from_transmission__conjugate_turns_the_sign_of_the_phase_only():
    stack = simulated(noise=0.01)
    turned = stack.assign(transmission=stack["transmission"].conj())
    expected, found = xstxm.from_transmission(stack), xstxm.from_transmission(turned, conjugate=True)
    xr.testing.assert_allclose(found[list(PARTS)].drop_attrs(), expected[list(PARTS)].drop_attrs())
    other = xstxm.from_transmission(turned)["phase_shift"]
    np.testing.assert_allclose(other, -expected["phase_shift"], atol=1e-5)


def test_from_transmission__without_a_region_takes_it_as_it_is():
    stack = simulated()
    found = xstxm.from_transmission(stack, None, unwrap=False)
    np.testing.assert_allclose(found["optical_density"], -2 * np.log(abs(stack["transmission"])), atol=1e-5)
    np.testing.assert_allclose(found["phase_shift"], np.angle(stack["transmission"]), atol=1e-5)
    assert not [name for name in found if str(name).endswith("_variance")]


def test_from_transmission__without_ramp_takes_off_a_constant():
    stack = simulated(ramp=0.0)
    found = xstxm.from_transmission(stack, {"x": 0.0}, ramp=False)
    np.testing.assert_allclose(found["phase_shift"], stack["true_phase_shift"], atol=1e-3)
    ramped = simulated(ramp=4.0)
    left = xstxm.from_transmission(ramped, empty(ramped), ramp=False, unwrap=False)["phase_shift"]
    assert abs(left - ramped["true_phase_shift"]).max() > 0.5


def test_from_transmission__converts_percent():
    stack = simulated()
    percent = (100 * stack["transmission"]).assign_attrs(units="percent")
    found, expected = (xstxm.from_transmission(wave, None) for wave in (percent, stack["transmission"]))
    assert found["optical_density"].dtype == np.float32
    np.testing.assert_allclose(found["optical_density"], expected["optical_density"], atol=1e-5)


def test_from_transmission__is_nan_where_a_lazy_region_shows_no_plane():
    stack = simulated(noise=0.02)
    line = xr.zeros_like(stack["true_label"], dtype=bool)
    line[5] = True
    found = xstxm.from_transmission(stack, line.chunk())
    assert bool(found["phase_shift"].isnull().all())
    assert bool(found["phase_shift_variance"].isnull().all())


def test_from_transmission__marks_what_was_not_measured():
    stack = simulated()
    wave = stack["transmission"].copy()
    wave[2, 5, 7], wave[0, 3, 3] = 0, np.nan
    found = xstxm.from_transmission(stack.assign(transmission=wave))
    flagged = np.argwhere(found["quality"].values == 32)
    assert flagged.tolist() == [[3, 3], [5, 7]]
    assert np.isnan(found["optical_density"][2, 5, 7])
    assert np.isnan(found["phase_shift"][0, 3, 3])
    assert int(found["optical_density"].isnull().sum()) == 2


def test_from_transmission__is_lazy_where_a_region_is_given():
    stack = simulated(noise=0.01).chunk(energy=2, y=13)
    with raise_if_dask_computes():
        found = xstxm.from_transmission(stack, {"x": ("0 nm", "60 nm")})
    expected = xstxm.from_transmission(stack.compute(), {"x": ("0 nm", "60 nm")})
    xr.testing.assert_allclose(found.compute().drop_attrs(), expected.drop_attrs(), rtol=1e-4)
    with raise_if_dask_computes(1):
        lazy = xstxm.from_transmission(stack)
    assert lazy["phase_shift"].chunks is not None


def test_from_transmission__takes_arrays_masks_and_further_dimensions():
    stack = simulated(noise=0.01)
    whole = xstxm.from_transmission(stack, {"x": ("0 nm", "60 nm")})
    array = xstxm.from_transmission(stack["transmission"], {"x": ("0 nm", "60 nm")})
    xr.testing.assert_identical(array["phase_shift"], whole["phase_shift"])
    both = xr.concat([stack["transmission"], 2j * stack["transmission"]], xr.DataArray([0.0, 30.0], dims="theta"))
    turned = xstxm.from_transmission(both, {"x": ("0 nm", "60 nm")})
    np.testing.assert_allclose(turned["phase_shift"][1], turned["phase_shift"][0], atol=1e-4)
    masked = xstxm.from_transmission(stack.assign(mask=stack.x > 0.05), {"x": ("60 nm", "100 nm")})
    assert bool(masked["phase_shift"].isel(x=0).isnull().all())


def test_from_transmission__says_what_is_wrong(monkeypatch):
    stack = simulated()
    with pytest.raises(
        SchemaError, match=r"'transmission' is float32, wanted complex numbers: join amplitude and phase"
    ):
        xstxm.from_transmission(stack.assign(transmission=abs(stack["transmission"])))
    with pytest.raises(IncompatibleUnitsError, match="the transmission is in 'count'"):
        xstxm.from_transmission(stack["transmission"].assign_attrs(units="count"))
    with pytest.raises(OptionError, match="it holds no pixel"):
        xstxm.from_transmission(stack, {"x": ("3 um", "4 um")})
    with pytest.raises(OptionError, match=r"its pixels lie on one line, .* pass ramp=False"):
        xstxm.from_transmission(stack, {"x": 0.0})
    with pytest.raises(OptionError, match=r"'brightest': .*, or are too few, and show no plane of phase"):
        xstxm.from_transmission(stack, fraction=1e-4)
    with pytest.raises(OptionError, match="its pixels are only 1, which do not show noise"):
        xstxm.from_transmission(stack, {"x": 0.0, "y": 0.0}, ramp=False)
    with pytest.raises(MissingDimensionError, match="no dimension 'x'"):
        xstxm.from_transmission(stack["transmission"].isel(x=0))
    with pytest.raises(MissingVariableError, match="'transmission' is missing"):
        xstxm.from_transmission(stack.drop_vars("transmission"))
    real_import = builtins.__import__

    def without_skimage(name, *args, **kwargs):
        if name.startswith("skimage"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_skimage)
    xstxm.from_transmission(stack)  # nothing wraps
    thick = precise(stack.assign({f"true_{part}": 8 * stack[f"true_{part}"] for part in PARTS}))
    with pytest.raises(MissingDependencyError, match="unwrapping phases beyond pi needs scikit-image"):
        xstxm.from_transmission(thick, empty(thick))


# ---- one fit of both parts


@pytest.fixture(scope="module")
def noisy():
    return xstxm.from_transmission(simulated(noise=0.02, seed=1, energies=None, shape=(32, 40)))


def part_of(both, part):
    """One of two parts as a stack of its own."""
    return both.isel(energy=both["part"].values == part).drop_vars("part")


def test_joint_fit__is_exact_without_noise():
    stack = simulated(energies=None, shape=(16, 20))
    truth = stack.rename(true_optical_density="optical_density", true_phase_shift="phase_shift")
    both = xstxm.join_phase_shift(truth.drop_vars("true_thickness"), REFERENCES)
    both["optical_density"] = both["optical_density"] + xr.where(both["part"] == "phase_shift", 0.3, -0.1)
    both["optical_density"].attrs["units"] = "1"
    fit = xstxm.fit(both)
    xstxm.testing.assert_conforms(fit, "fit")
    assert fit["component_map"].attrs["units"] == "nm"
    np.testing.assert_allclose(fit["component_map"], stack["true_thickness"], atol=1e-3)
    background = fit["background"].sel(term=["constant of optical_density", "constant of phase_shift"])
    np.testing.assert_allclose(background.mean(("y", "x")), [-0.1, 0.3], atol=1e-5)


@pytest.mark.parametrize("background", ["constant", "linear"])
def test_joint_fit__adds_up_the_information_of_both_parts(noisy, background):
    """The inverse covariances of the amounts add up, as each part has a background of its own."""
    both = xstxm.join_phase_shift(noisy, REFERENCES)
    options = {"method": "lstsq", "covariance": True, "background": background}
    joint, *alone = (xstxm.fit(stack, **options) for stack in (both, *(part_of(both, part) for part in PARTS)))
    inverse = [
        np.linalg.inv(fit["component_map_covariance"].transpose("y", "x", ...).values.astype(float))
        for fit in (joint, *alone)
    ]
    np.testing.assert_allclose(inverse[0], inverse[1] + inverse[2], rtol=2e-3, atol=1e-4 * inverse[0].max())
    for fit in alone:
        assert bool((joint["component_map_stderr"] < fit["component_map_stderr"]).all())


def test_joint_fit__scatters_as_its_errors_say():
    stack = simulated(noise=0.02, seed=4, energies=None, shape=(48, 60))
    both = xstxm.join_phase_shift(xstxm.from_transmission(stack), REFERENCES)
    fit = xstxm.fit(both, method="lstsq")
    inside = stack["true_optical_density"].max("energy") < 1.5
    pull = (fit["component_map"] - stack["true_thickness"]) / fit["component_map_stderr"]
    np.testing.assert_allclose(pull.where(inside).std(("y", "x")), 1, atol=0.06)
    assert float(fit["reduced_chi2"].median()) == pytest.approx(1, abs=0.05)


def test_joint_phase_map__is_surer_than_that_of_the_optical_density(noisy):
    both = xstxm.join_phase_shift(noisy, REFERENCES)
    joint, alone = both.stxm.phase_map(), xstxm.phase_map(noisy, REFERENCES)
    xstxm.testing.assert_conforms(joint, "phase_map")
    assert joint["phase_spectra"]["part"].values.tolist() == both["part"].values.tolist()
    sample = noisy["true_label"] >= 0
    errors = [phases["composition_stderr"].where(sample).median() for phases in (joint, alone)]
    assert errors[0] < 0.8 * errors[1]
    deviation = [
        abs(phases["composition"] - noisy["true_composition"]).where(sample).mean() for phases in (joint, alone)
    ]
    assert deviation[0] < deviation[1]


def test_join_phase_shift__keeps_what_lies_on_the_pixels_and_is_lazy(noisy):
    lazy = noisy.drop_vars("true_thickness").assign(mask=noisy.x > 0.02).chunk(y=16)
    with raise_if_dask_computes():
        both = xstxm.join_phase_shift(lazy, REFERENCES)
    assert {"mask", "quality", "true_composition"} <= {*both.data_vars}
    assert not {"transmission", "phase_shift"} & {*both.data_vars}
    assert both["part"].values.tolist() == ["optical_density"] * 121 + ["phase_shift"] * 121
    np.testing.assert_array_equal(both["optical_density"].isel(energy=slice(121, None)), noisy["phase_shift"])
    with warnings.catch_warnings():
        warnings.simplefilter("error", PerformanceWarning)
        assert xstxm.fit(both)["component_map"].chunks is not None


def test_join_phase_shift__moves_both_parts_of_the_references(noisy):
    narrow = xstxm.sel_energy(noisy, 512, 550)
    both = xstxm.join_phase_shift(narrow, REFERENCES, energy_shift="0.4 eV")
    expected = xstxm.references.references_at(REFERENCES, narrow.energy, energy_shift="0.4 eV")
    np.testing.assert_allclose(part_of(both, "optical_density")["reference_spectra"], expected)
    turned = REFERENCES.assign(absorption=REFERENCES["phase_shift"])
    expected = xstxm.references.references_at(turned, narrow.energy, energy_shift="0.4 eV")
    np.testing.assert_allclose(part_of(both, "phase_shift")["reference_spectra"], expected)


def test_join_phase_shift__converts_angles_and_lengths(noisy):
    degrees = noisy.assign(phase_shift=np.rad2deg(noisy["phase_shift"]).assign_attrs(units="deg"))
    per_um = REFERENCES.assign(phase_shift=(1000 * REFERENCES["phase_shift"]).assign_attrs(units="rad/um"))
    found, expected = xstxm.join_phase_shift(degrees, per_um), xstxm.join_phase_shift(noisy, REFERENCES)
    for name in ("optical_density", "reference_spectra"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6)
    variance = ((180 / np.pi) ** 2 * noisy["phase_shift_variance"]).assign_attrs(units="deg**2")
    found = xstxm.join_phase_shift(degrees.assign(phase_shift_variance=variance), REFERENCES)
    np.testing.assert_allclose(found["optical_density_variance"], expected["optical_density_variance"], rtol=1e-5)


def test_join_phase_shift__says_what_is_wrong(noisy):
    with pytest.raises(
        MissingVariableError, match=r"'phase_shift' is missing .*: call .stxm.from_transmission\(\) first"
    ):
        xstxm.join_phase_shift(noisy.drop_vars("phase_shift"), REFERENCES)
    with pytest.raises(MissingVariableError, match=r"'phase_shift' is missing .* xstxm.phase_references"):
        xstxm.join_phase_shift(noisy, xstxm.testing.simulate_references())
    with pytest.raises(MissingVariableError, match=r"'phase_shift_variance' is missing .*: both parts need a variance"):
        xstxm.join_phase_shift(noisy.drop_vars("phase_shift_variance"), REFERENCES)
    turned = REFERENCES.assign(phase_shift=REFERENCES["phase_shift"].assign_attrs(units="rad"))
    with pytest.raises(IncompatibleUnitsError, match="the phase shift of the references is in 'rad'"):
        xstxm.join_phase_shift(noisy, turned)
    with pytest.raises(SchemaError, match="give a Dataset that holds both"):
        xstxm.join_phase_shift(noisy["optical_density"], REFERENCES)
    with pytest.raises(EnergyRangeError, match="references cover"):
        xstxm.join_phase_shift(noisy, xstxm.sel_energy(REFERENCES, 512, 540))
    both = xstxm.join_phase_shift(noisy, REFERENCES)
    for options in ({"max_optical_density": 1.5}, {"energy_shift": 0.1}, {"broadening": "fit"}):
        with pytest.raises(OptionError, match="the stack holds phase shifts too"):
            xstxm.fit(both, **options)
    with pytest.raises(OptionError, match="leave it out, or join anew with these"):
        xstxm.phase_map(both, REFERENCES)


# ---- the simulation


def test_simulate_transmission__is_the_sample_of_simulate_stack():
    stack = simulated(noise=0.05, seed=2)
    other = xstxm.testing.simulate_stack(shape=(40, 52), energies=ENERGIES, pixel_size="10 nm", seed=2)
    xr.testing.assert_equal(stack["true_composition"], other["true_composition"])
    quiet = simulated(noise=0.0, seed=2)
    factor = abs(quiet["transmission"].where(empty(quiet))).mean(("y", "x"))
    noise = (stack["transmission"] - quiet["transmission"]) / factor
    assert float(noise.real.std()) == pytest.approx(0.05, rel=0.02)
    assert float(noise.imag.std()) == pytest.approx(0.05, rel=0.02)
    assert 0.5 < float(factor.min()) < float(factor.max()) < 2
    with pytest.raises(MissingVariableError, match=r"make it with xstxm\.phase_references"):
        simulated(references=xstxm.testing.simulate_references())
    with pytest.raises(OptionError, match="noise=-1"):
        simulated(noise=-1)
