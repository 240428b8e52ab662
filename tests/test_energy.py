from __future__ import annotations

import numpy as np
import pint
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from laziness import raise_if_dask_computes

import xstxm
from xstxm.errors import (
    EnergyRangeError,
    IncompatibleUnitsError,
    MissingDimensionError,
    MissingUnitsError,
    OptionError,
    SchemaError,
    UnitsError,
)

KINDS = [
    pytest.param(lambda stack: stack, id="dataset"),
    pytest.param(lambda stack: stack["intensity"], id="array"),
    pytest.param(lambda stack: stack.isel(energy=slice(None, None, -1)), id="dataset, descending energy"),
    pytest.param(lambda stack: stack.chunk(energy=1), id="dataset, dask by frame"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "limits",
    [
        pytest.param((510, 520), id="numbers"),
        pytest.param((520, 510), id="numbers, reversed"),
        pytest.param(("510 eV", "0.52 keV"), id="strings"),
        pytest.param((pint.application_registry.Quantity(510, "eV"), 520.0), id="quantity"),
    ],
)
def test_sel_energy__keeps_the_energies_between(stack, kind, limits):
    given_stack = kind(stack)
    with raise_if_dask_computes():
        kept = xstxm.sel_energy(given_stack, *limits)
    energy = given_stack["energy"].values
    np.testing.assert_array_equal(kept["energy"], energy[(energy >= 510) & (energy <= 520)])
    assert type(kept) is type(given_stack)


def test_sel_energy__wavelengths_in_either_order(stack):
    kept = xstxm.sel_energy(stack, "2.384 nm", "2.431 nm")
    assert 510 <= kept["energy"].min() <= kept["energy"].max() <= 520.1


def test_sel_energy__one_open_side(stack):
    assert xstxm.sel_energy(stack, stop="510 eV")["energy"].max() <= 510


def test_sel_energy__nothing_there(stack):
    with pytest.raises(EnergyRangeError, match="no energies between 700 and 720 eV: the stack covers 505-530 eV"):
        xstxm.sel_energy(stack, 700, 720)


def test_sel_energy__string_without_unit(stack):
    with pytest.raises(MissingUnitsError, match="'510 eV'"):
        xstxm.sel_energy(stack, "510", "520")


def test_sel_energy__no_energy_dimension(stack):
    with pytest.raises(MissingDimensionError, match="no dimension 'energy'"):
        xstxm.sel_energy(stack.rename(energy="channel"), 510, 520)


def test_interp_energy__is_linear_and_keeps_dtype_and_order(stack):
    with raise_if_dask_computes():
        moved = xstxm.interp_energy(stack.chunk(y=3), ["520 eV", "0.511 keV"])
    assert moved["intensity"].dtype == np.float32
    assert moved["intensity"].dims == ("energy", "y", "x")
    assert moved["intensity"].attrs == stack["intensity"].attrs
    np.testing.assert_array_equal(moved["energy"], [520, 511])
    expected = stack["intensity"].astype(float).interp(energy=[520, 511])
    np.testing.assert_allclose(moved["intensity"], expected, rtol=1e-6)


def test_interp_energy__on_its_own_axis_changes_nothing(stack):
    same = xstxm.interp_energy(stack, stack["energy"])
    xr.testing.assert_equal(same, stack)


def test_interp_energy__moves_coordinates_along_energy(stack):
    with_current = stack.assign_coords(ring_current=("energy", np.asarray(stack["energy"]) * 2, {"units": "mA"}))
    moved = xstxm.interp_energy(with_current, [511.2])
    np.testing.assert_allclose(moved["ring_current"], [1022.4])
    assert "ring_current" in moved.coords


def test_sel_energy__with_one_limit_says_what_was_asked(stack):
    with pytest.raises(EnergyRangeError, match=r"^no energies up to 400 eV: the stack covers 505-530 eV$"):
        xstxm.sel_energy(stack, None, 400)
    with pytest.raises(EnergyRangeError, match=r"^no energies from 600 eV on: the stack covers"):
        xstxm.sel_energy(stack, "600 eV")


def test_interp_energy__of_repeats_says_what_to_type(stack):
    repeats = stack.isel(energy=[0, 1, 1, 2])
    with pytest.raises(
        EnergyRangeError, match=r"holds an energy twice: average them with xstxm.merge_stacks"
    ) as caught:
        xstxm.interp_energy(repeats, [505.5])
    assert ".drop_duplicates('energy')" in str(caught.value)
    for once in (xstxm.merge_stacks([repeats]), repeats.drop_duplicates("energy")):
        assert xstxm.interp_energy(once, [505.5]).sizes["energy"] == 1


def test_interp_energy__never_beyond_the_stack(stack):
    with pytest.raises(EnergyRangeError, match="500 eV lies outside the stack, which covers 505-530 eV"):
        xstxm.interp_energy(stack, [500.0, 512.0])
    asked = ["0.5 keV", *np.linspace(531, 540, 10)]
    named = "500, 531, 532, 533, 534, ... eV lie outside the stack, which covers 505-530 eV: leave out what does"
    for given_stack in (stack, stack["intensity"], stack.isel(energy=slice(None, None, -1))):
        with pytest.raises(EnergyRangeError, match=named):
            xstxm.interp_energy(given_stack, asked)
    assert xstxm.interp_energy(stack, [505.0, 530.0]).sizes["energy"] == 2


def test_interp_energy__no_energies(stack):
    with pytest.raises(OptionError, match="give a list"):
        xstxm.interp_energy(stack, [])


@given(shift=st.floats(-5, 5), scale=st.floats(0.9, 1.1))
def test_calibrate_energy__moves_the_axis_and_nothing_else(shift, scale):
    energy = np.array([505.0, 510.0, 530.0])
    stack = xr.DataArray(np.ones(3), dims="energy", coords={"energy": ("energy", energy, {"units": "eV"})})
    moved = xstxm.calibrate_energy(stack, shift, scale=scale, about=510)
    np.testing.assert_allclose(moved["energy"], 510 + scale * (energy - 510) + shift)
    np.testing.assert_array_equal(moved, stack)
    assert moved["energy"].attrs == {"units": "eV"}


def test_calibrate_energy__string_shift(stack):
    moved = xstxm.calibrate_energy(stack, "-300 meV")
    np.testing.assert_allclose(moved["energy"], stack["energy"] - 0.3)


def test_calibrate_energy__refuses_a_wavelength_and_a_zero_scale(stack):
    with pytest.raises(IncompatibleUnitsError, match="shift is in 'nm'"):
        xstxm.calibrate_energy(stack, "2 nm")
    with pytest.raises(OptionError, match=r"scale=0: give a stretch of the energy axis above 0"):
        xstxm.calibrate_energy(stack, scale=0)


def test_calibrate_then_combine__is_refused_or_matched_never_dropped(stack, i0):
    moved = xstxm.calibrate_energy(stack, 0.5)
    with pytest.raises(EnergyRangeError, match=r"I0 covers 505-530 eV, the stack 505\.5-530\.5 eV"):
        xstxm.optical_density(moved, i0)


def test_calibrate_energy__refuses_to_move_references_along(stack, references):
    with pytest.raises(SchemaError, match="calibrate_energy first, with_references after"):
        xstxm.calibrate_energy(xstxm.with_references(stack, references), 0.5)


def test_interp_energy__integer_counts_are_not_truncated(stack):
    moved = xstxm.interp_energy(stack["intensity"].astype("uint16"), [505.5])
    expected = stack["intensity"].astype("uint16").astype(float).interp(energy=[505.5])
    assert moved.dtype == np.float32
    np.testing.assert_allclose(moved, expected)


def test_interp_energy__of_one_string_or_of_text_along_energy(stack):
    with pytest.raises(OptionError, match="give a list of energies"):
        xstxm.interp_energy(stack, "516 eV")
    labelled = stack.assign_coords(scan=("energy", ["a"] * 42))
    with pytest.raises(SchemaError, match="'scan' holds labels or words, which do not interpolate"):
        xstxm.interp_energy(labelled, [516.0])


def test_sel_energy__of_a_single_image_says_how_to_go_on(stack):
    with pytest.raises(MissingDimensionError, match=r'\.expand_dims\("energy"\)'):
        xstxm.sel_energy(stack.isel(energy=0), 505, 510)


def axis(*energies):
    values = np.array(energies, dtype=float)
    return xr.DataArray(np.ones(values.size), dims="energy", coords={"energy": ("energy", values, {"units": "eV"})})


def test_calibrate_energy__one_feature_is_a_shift():
    moved = xstxm.calibrate_energy(axis(505, 530, 510), features={"518.1 eV": "0.5184 keV"})
    np.testing.assert_allclose(moved["energy"], [505.3, 530.3, 510.3])
    assert not [name for name in moved["energy"].attrs if name.startswith("calibration")]
    assert "1 features: E' = 518.4 + 1 * (E - 518.1) eV" in moved.attrs["history"]


@given(scale=st.floats(0.9, 1.1), shift=st.floats(-5, 5), weighted=st.booleans())
def test_calibrate_energy__features_on_a_line_give_the_line(scale, shift, weighted):
    measured = [508.0, 517.0, 529.5]
    features = {value: 510 + scale * (value - 510) + shift for value in measured}
    errors = [0.1, 0.02, 0.3] if weighted else None
    moved = xstxm.calibrate_energy(axis(505, 530, 510), features=features, feature_errors=errors)
    np.testing.assert_allclose(moved["energy"], 510 + scale * (np.array([505, 530, 510]) - 510) + shift)
    assert moved["energy"].attrs["calibration_residual"] < 1e-9


@pytest.mark.parametrize("errors", [None, [0.1, 0.02, 0.05, 0.2]])
def test_calibrate_energy__features_are_fitted_as_numpy_does(errors):
    measured, known = np.array([508.0, 512.0, 518.0, 529.5]), np.array([508.3, 512.1, 518.4, 529.6])
    features = dict(zip(measured, known, strict=True))
    moved = xstxm.calibrate_energy(axis(505, 530, 510), features=features, feature_errors=errors)
    weights = None if errors is None else 1 / np.array(errors)
    line, covariance = np.polyfit(measured - 510, known, 1, w=weights, cov="unscaled" if errors is not None else True)
    np.testing.assert_allclose(moved["energy"], np.polyval(line, np.array([505, 530, 510]) - 510.0))
    attrs = moved["energy"].attrs
    residual = np.sqrt(np.mean((known - np.polyval(line, measured - 510)) ** 2))
    assert attrs["calibration_residual"] == pytest.approx(residual)
    scale_error = np.sqrt(covariance[0, 0]) * (line[0] if errors is not None else 1)
    assert attrs["calibration_scale_error"] == pytest.approx(scale_error)
    assert f"scale error {scale_error:.2g}" in moved.attrs["history"]


def test_calibrate_energy__errors_of_features_are_honest():
    rng = np.random.default_rng(0)
    errors, known = [0.05, 0.02, 0.1], [508.0, 518.0, 530.0]
    standardised = []
    for _ in range(400):
        measured = np.array(known) + rng.standard_normal(3) * errors
        features = dict(zip(measured, known, strict=True))
        moved = xstxm.calibrate_energy(axis(505, 530), features=features, feature_errors=errors)
        centre = np.average(measured, weights=1 / np.array(errors) ** 2)
        scale = (moved["energy"][1] - moved["energy"][0]) / 25
        at_centre = moved["energy"][0] + scale * (centre - 505) - centre
        attrs = moved["energy"].attrs
        standardised.append([at_centre / attrs["calibration_error"], (scale - 1) / attrs["calibration_scale_error"]])
    np.testing.assert_allclose(np.std(standardised, axis=0), 1, atol=0.1)


def test_calibrate_energy__a_newer_calibration_replaces_what_an_older_said():
    three = xstxm.calibrate_energy(axis(505, 530), features={508: 508.2, 518: 518.1, 530: 530.3})
    assert "calibration_residual" in three["energy"].attrs
    assert set(xstxm.calibrate_energy(three, 0.1)["energy"].attrs) == {"units"}


def test_calibrate_energy__from_peaks_found_in_the_data(stack, i0):
    od = xstxm.optical_density(stack, i0)
    peak = xstxm.peak_map(xstxm.spectrum(od, {"x": (0.1, 0.4)}), (514, 520), method="gaussian", signal="spectrum")
    measured, error = float(peak["peak_energy"]), float(peak["peak_energy_stderr"])
    moved = xstxm.calibrate_energy(od, features={measured: "518.4 eV"}, feature_errors=[error])
    np.testing.assert_allclose(moved["energy"], od["energy"] + 518.4 - measured)
    assert moved["energy"].attrs["calibration_error"] == pytest.approx(error)


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        pytest.param({"features": {}}, OptionError, "give {measured: known}", id="none"),
        pytest.param({"features": [(1, 2)]}, OptionError, "give {measured: known}", id="a list"),
        pytest.param({"features": {518: 519}, "shift": 1}, OptionError, "leave those out", id="and a shift"),
        pytest.param({"features": {518: 519, 520: 517}}, OptionError, "order is reversed", id="reversed"),
        pytest.param({"features": {"518 eV": 519, 518.0: 520}}, OptionError, "measured at one energy", id="twice"),
        pytest.param(
            {"features": {518: 519}, "feature_errors": [0.1, 0.2]}, OptionError, "one error for each of the 1", id="two"
        ),
        pytest.param({"features": {518: 519}, "feature_errors": [0]}, OptionError, "is above zero", id="no error"),
        pytest.param({"features": {"518": 519}}, MissingUnitsError, "'518 eV'", id="no unit"),
    ],
)
def test_calibrate_energy__refuses_features(asked, error, message):
    with pytest.raises(error, match=message):
        xstxm.calibrate_energy(axis(505, 530), asked.pop("shift", 0.0), **asked)


def test_window_at__is_ascending_whatever_the_order_of_the_axis():
    found = xstxm.energy.window_at(axis(530, 505, 512, 508, 505)["energy"], (513, "505 eV"), "it")
    assert found.tolist() == [1, 4, 3, 2]


def weights_at(energy, new):
    """Return the weights (new, energy) of linear interpolation, from numpy's own."""
    return np.stack([np.interp(new, energy, unit) for unit in np.eye(energy.size)], axis=1)


@pytest.mark.parametrize("order", [1, -1], ids=["ascending", "descending"])
@pytest.mark.parametrize("chunks", [None, {"y": 2}], ids=str)
def test_interp_energy__of_a_variance_is_that_of_the_interpolated_value(stack, order, chunks):
    energy, new = stack["energy"].values, np.array([521.3, 510.0, 516.25])
    held = stack.assign(
        intensity_variance=(2 * stack["intensity"]).assign_attrs(units="count**2"), i0_stderr=stack["energy"] * 0.1
    )
    given_stack = held.isel(energy=slice(None, None, order))
    with raise_if_dask_computes():
        found = xstxm.interp_energy(given_stack if chunks is None else given_stack.chunk(chunks), new)
    squared = weights_at(energy, new) ** 2
    expected = np.einsum("ne,eyx->nyx", squared, held["intensity_variance"])
    np.testing.assert_allclose(found["intensity_variance"], expected, rtol=1e-5)
    np.testing.assert_allclose(found["i0_stderr"] ** 2, squared @ held["i0_stderr"].values ** 2, rtol=1e-6)
    assert found["intensity_variance"].attrs == {**held["intensity_variance"].attrs}


def test_interp_energy__joins_flags_and_marks_of_both_neighbours_and_keeps_those_of_one(stack):
    attrs = {"flag_masks": np.array([1, 2, 4], "int16"), "flag_meanings": "a b c"}
    bits = xr.DataArray(np.array([1, 2, 4] * 14, "int16"), dims="energy", attrs=attrs)
    marks = xr.DataArray(np.arange(42) == 7, dims="energy")
    held = stack.assign(frame_quality=bits, spike=marks, mask=~marks)
    energy = stack["energy"].values
    new = [energy[4], (energy[6] + energy[7]) / 2, energy[7], energy[7] + 0.3, energy[30]]
    found = xstxm.interp_energy(held, new)
    assert found["frame_quality"].values.tolist() == [2, 1 | 2, 2, 2 | 4, 1]
    assert found["frame_quality"].dtype == np.int16
    assert found["spike"].values.tolist() == [False, True, True, True, False]
    assert found["mask"].values.tolist() == [True, False, False, False, True]


def test_interp_energy__refuses_numbers_that_are_names(stack):
    labels = xr.DataArray(np.arange(42), dims="energy", name="duplicate_of")
    with pytest.raises(SchemaError, match="'duplicate_of' holds labels or words, which do not interpolate"):
        xstxm.interp_energy(stack.assign(duplicate_of=labels), [516.1])


def test_calibrate_energy__features_and_an_array_of_shifts(stack):
    with pytest.raises(OptionError, match="leave those out"):
        xstxm.calibrate_energy(stack, xr.DataArray([0.0, 0.1], dims="energy"), features={518: 519})
    moved = xstxm.calibrate_energy(stack, features={xr.DataArray(518.0).item(): xr.DataArray(519.0)})
    np.testing.assert_allclose(moved["energy"], stack["energy"] + 1)


def test_calibrate_energy__errors_without_features(stack):
    with pytest.raises(OptionError, match="they belong to features="):
        xstxm.calibrate_energy(stack, 0.2, feature_errors=[0.1])


@pytest.mark.parametrize(
    ("features", "error", "message"),
    [
        pytest.param({"600 eV": "601 eV"}, EnergyRangeError, "at 600 eV: the stack covers", id="outside the stack"),
        pytest.param(
            {"515 eV": 0.5153}, OptionError, r"^features=\{'515 eV': 0.5153\}: .*are they in eV", id="keV for eV"
        ),
        pytest.param(
            {"515 eV": "516 eV", 516.0: 515}, OptionError, r"^features=\{'515 eV': '516 eV', 516", id="swapped"
        ),
        pytest.param(
            {"515 eV": xr.DataArray([515.0, 516.0], dims="energy")},
            UnitsError,
            r"^known energy is <DataArray \(energy: 2\)>: give one finite number, or one with a unit as '515 eV'$",
            id="array",
        ),
    ],
)
def test_calibrate_energy__refuses_features_that_cannot_be(stack, features, error, message):
    with pytest.raises(error, match=message):
        xstxm.calibrate_energy(stack, features=features)


def test_calibrate_energy__leaves_other_coordinates_as_they_are():
    stack = xstxm.testing.simulate_stack(shape=(8, 9), seed=0)
    stack = stack.assign_coords(ring_current=("energy", np.full(stack.sizes["energy"], 400.0), {"units": "mA"}))
    for held in (stack, stack["intensity"]):
        moved = xstxm.calibrate_energy(held, "-0.4 eV")
        for name in ("ring_current", "y", "x", "dwell_time"):
            if name in held.coords:
                assert moved[name].attrs == held[name].attrs
        assert moved["energy"].attrs["units"] == "eV"


@pytest.mark.parametrize("shift", ["518 eV", -25.0, "0.03 keV"])
def test_calibrate_energy__refuses_an_energy_in_place_of_a_difference(stack, shift):
    with pytest.raises(OptionError, match=r"is longer than the axis \(505-530 eV\): give a difference, or features="):
        xstxm.calibrate_energy(stack, shift)
    assert float(xstxm.calibrate_energy(stack, 24.9)["energy"][0]) == pytest.approx(529.9)
    assert float(xstxm.calibrate_energy(stack.isel(energy=[3]), 4.0)["energy"][0]) == pytest.approx(512.0)


def test_calibrate_energy__before_i0_is_matched_says_to_calibrate_both(stack, i0):
    moved = xstxm.calibrate_energy(stack, -0.5)
    message = (
        r"same energies moved by -0\.5 eV\. If the stack was calibrated, calibrate I0 alike, or bring the two together"
    )
    with pytest.raises(EnergyRangeError, match=message):
        xstxm.optical_density(moved, i0)
    both = xstxm.optical_density(moved, xstxm.calibrate_energy(i0, -0.5))["optical_density"]
    before = xstxm.calibrate_energy(xstxm.optical_density(stack, i0), -0.5)["optical_density"]
    xr.testing.assert_allclose(both, before)
    with pytest.raises(EnergyRangeError, match="use sel_energy") as caught:
        xstxm.optical_density(stack, i0.isel(energy=slice(3, None)))
    assert "moved" not in str(caught.value)
