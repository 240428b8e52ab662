from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from xstxm import _axes
from xstxm.errors import ChoiceError, EnergyRangeError, ExtrapolationWarning, SchemaError


def axis(values, unit="eV"):
    values = np.asarray(values, dtype=float)
    return xr.DataArray(values, dims="energy", coords={"energy": ("energy", values, {"units": unit})})["energy"]


def spectrum(values, unit="eV"):
    energy = axis(values, unit)
    return xr.DataArray(np.asarray(energy) * 2.0, dims="energy", coords={"energy": energy})


def test_match_energy__equal_within_tolerance_takes_the_stack_axis():
    matched = _axes.match_energy(spectrum([510.004, 515.0, 519.996]), axis([510, 515, 520]), how="exact")
    np.testing.assert_array_equal(matched["energy"], [510, 515, 520])
    np.testing.assert_array_equal(matched, [1020.008, 1030.0, 1039.992])


def test_match_energy__never_drops_points_as_xarray_would():
    a, b = spectrum([510, 515, 520]), axis([510, 515, 520.001])
    assert (a + xr.zeros_like(b, dtype=float)).size == 2
    assert _axes.match_energy(a, b).size == 3


@given(st.permutations([510.0, 511.5, 514.0, 520.0]), st.permutations([510.0, 512.0, 513.0, 519.5]))
def test_match_energy__interpolates_in_any_order_of_either_axis(source, target):
    matched = _axes.match_energy(spectrum(source), axis(target))
    np.testing.assert_allclose(matched, np.array(target) * 2)
    np.testing.assert_array_equal(matched["energy"], target)


def test_match_energy__converts_units():
    matched = _axes.match_energy(spectrum([0.510, 0.520], "keV"), axis([512.0, 515.0]))
    np.testing.assert_allclose(matched, [1.024, 1.030])


def test_match_energy__exact_names_the_first_difference():
    with pytest.raises(
        EnergyRangeError, match=r"differ first at point 1: 515.5 and 515 eV .* bring it onto these energies first"
    ):
        _axes.match_energy(spectrum([510, 515.5, 520]), axis([510, 515, 520]), how="exact")


def test_match_energy__never_extrapolates_unasked():
    with pytest.raises(EnergyRangeError, match=r"covers 512-520 eV, .*: give one that was measured at these energies"):
        _axes.match_energy(spectrum([512, 520]), axis([600, 610]))
    with pytest.raises(EnergyRangeError, match=r"covers 512-520 eV, the stack 510-520 eV: use sel_energy\(512, 520\)"):
        _axes.match_energy(spectrum([512, 520]), axis([510, 515, 520]))
    with pytest.warns(ExtrapolationWarning, match="held constant at 1 energies"):
        held = _axes.match_energy(spectrum([512, 520]), axis([510, 515, 520]), extrapolate=True)
    assert held[0] == 1024


def test_match_energy__refuses_repeated_energies():
    with pytest.raises(EnergyRangeError, match="holds an energy twice"):
        _axes.match_energy(spectrum([510, 515, 515, 520]), axis([511, 519]))


def test_match_energy__unknown_how():
    with pytest.raises(ChoiceError, match="did you mean 'interp'"):
        _axes.match_energy(spectrum([510, 515]), axis([511]), how="interpolate")


def test_match_energy__tolerance_with_units():
    assert _axes.match_energy(spectrum([510.4]), axis([510]), how="exact", tolerance="0.5 eV").size == 1


def image(x, y=(0.0, 0.1, 0.2)):
    coords = {"y": ("y", np.array(y)), "x": ("x", np.array(x))}
    return xr.DataArray(np.ones((len(y), len(x))), dims=("y", "x"), coords=coords)


def test_match_pixels__takes_the_coordinates_of_the_stack():
    stack = image([5000.0, 5000.03, 5000.06])
    same = _axes.match_pixels(image([5000.0001, 5000.0301, 5000.0601]), stack, "dark")
    xr.testing.assert_identical(same["x"], stack["x"])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        pytest.param(image([5000.03, 5000.06, 5000.09]), "dark and the stack differ along 'x'", id="one pixel off"),
        pytest.param(image([5000.0, 5000.03]), "dark has 2 pixels along 'x', the stack 3", id="half of it"),
        pytest.param(image([5000.0, 5000.03, 5000.06]).expand_dims("z"), "dark has a dimension 'z'", id="dimension"),
    ],
)
def test_match_pixels__refuses_what_xarray_would_drop(other, message):
    with pytest.raises(SchemaError, match=message):
        _axes.match_pixels(other, image([5000.0, 5000.03, 5000.06]), "dark")
