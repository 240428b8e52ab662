from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from laziness import raise_if_dask_computes

import xstxm
from xstxm.conventions import QUALITY_FLAGS
from xstxm.errors import MissingDimensionError, OptionError

NAMES = ("sum", "difference", "asymmetry")


@pytest.fixture
def od():
    values = np.random.default_rng(0).uniform(0.3, 1.5, (2, 6, 4, 5))
    energy = ("energy", np.linspace(700, 715, 6), {"units": "eV"})
    coords = {"energy": energy, "polarization": ["left", "right"]}
    array = xr.DataArray(values, dims=("polarization", "energy", "y", "x"), coords=coords, attrs={"units": "1"})
    return array.rename("optical_density").to_dataset()


def flagged(result, name):
    return (result["quality"] & QUALITY_FLAGS[name]) > 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("chunks", [None, {"y": 2}, {"energy": 1, "polarization": 1}], ids=str)
def test_dichroism__is_sum_difference_and_their_ratio(od, dtype, chunks):
    given_stack = od.astype(dtype).chunk(chunks) if chunks else od.astype(dtype)
    with raise_if_dask_computes():
        found = xstxm.dichroism(given_stack, plus="left", minus="right")
    xstxm.testing.assert_conforms(found, "dichroism")
    left, right = od["optical_density"].values
    expected = left + right, left - right, (left - right) / (left + right)
    for name, values in zip(NAMES, expected, strict=True):
        array = found[f"dichroism_{name}"]
        assert array.dims == ("energy", "y", "x")
        assert array.dtype == dtype
        assert array.attrs["units"] == "1"
        np.testing.assert_allclose(array, values, atol=2e-6)
    assert found.attrs["plus"] == "left"
    assert "polarization" not in found.coords


def test_dichroism__exchanging_the_polarizations_turns_the_sign(od):
    one, other = xstxm.dichroism(od, plus="left"), xstxm.dichroism(od, minus="left")
    np.testing.assert_allclose(one["dichroism_sum"], other["dichroism_sum"])
    np.testing.assert_allclose(one["dichroism_difference"], -other["dichroism_difference"])
    np.testing.assert_allclose(one["dichroism_asymmetry"], -other["dichroism_asymmetry"])


def test_dichroism__the_first_of_two_is_plus_and_the_history_says_so(od):
    found = xstxm.dichroism(od)
    xr.testing.assert_identical(found.drop_attrs(), xstxm.dichroism(od, plus="left", minus="right").drop_attrs())
    assert "plus: left, minus: right" in found.attrs["history"]


@given(gain=st.floats(0.1, 10), asymmetry=st.floats(-0.9, 0.9))
def test_dichroism__asymmetry_does_not_see_the_thickness(gain, asymmetry):
    plus, minus = gain * (1 + asymmetry), gain * (1 - asymmetry)
    array = xr.DataArray([[plus], [minus]], dims=("polarization", "x"), attrs={"units": "1"}, name="od")
    found = xstxm.dichroism(array)
    np.testing.assert_allclose(found["dichroism_asymmetry"], asymmetry, atol=1e-12)


def test_dichroism__errors_are_those_of_the_noise():
    rng = np.random.default_rng(1)
    true = np.array([0.9, 0.6])[:, None, None]
    sigma = np.array([0.02, 0.05])[:, None, None]
    noisy = xr.DataArray(true + sigma * rng.standard_normal((2, 60, 80)), dims=("polarization", "y", "x"))
    variance = xr.zeros_like(noisy) + xr.DataArray(sigma[:, 0, 0] ** 2, dims="polarization")
    od = xr.Dataset({"optical_density": noisy.assign_attrs(units="1"), "optical_density_variance": variance})
    found = xstxm.dichroism(od)
    for name, value in zip(NAMES, (1.5, 0.3, 0.2), strict=True):
        standardised = (found[f"dichroism_{name}"] - value) / found[f"dichroism_{name}_stderr"]
        assert float(standardised.std()) == pytest.approx(1, abs=0.05), name
        assert found[f"dichroism_{name}_stderr"].attrs["units"] == "1"


def test_dichroism__without_a_variance_has_no_errors_and_says_so(od):
    found = xstxm.dichroism(od)
    assert not [name for name in found if name.endswith("stderr")]
    assert "no standard errors: no optical_density_variance" in found.attrs["history"]


def test_dichroism__a_sum_within_the_noise_has_no_asymmetry(od):
    od["optical_density"][:, 0, 0, :2] = 0.01
    od["optical_density"][:, 0, 0, 0] = -0.2
    plain = xstxm.dichroism(od)
    assert plain["dichroism_asymmetry"].isnull().sum() == flagged(plain, "below_noise").sum() == 1
    with_variance = od.assign(optical_density_variance=xr.full_like(od["optical_density"], 0.02**2))
    found = xstxm.dichroism(with_variance)
    assert found["dichroism_asymmetry"].isnull()[0, 0, :2].all()
    assert found["dichroism_asymmetry_stderr"].isnull()[0, 0, :2].all()
    assert found["dichroism_difference"].notnull().all()
    assert flagged(found, "below_noise").sum() == 2
    assert flagged(xstxm.dichroism(with_variance, min_significance=0), "below_noise").sum() == 1
    assert flagged(xstxm.dichroism(od, min_denominator=0.05), "below_noise").sum() == 2


def test_dichroism__missing_values_mask_and_earlier_flags(od):
    od["optical_density"][1, 2, 0, 0] = np.nan
    before = xr.zeros_like(od["optical_density"].isel(energy=0, drop=True), dtype="int16")
    before[0, 1, 1] = 4
    mask = xr.DataArray(np.arange(5) < 4, dims="x")
    found = xstxm.dichroism(od.assign(quality=before, mask=mask))
    assert found["quality"].dims == ("y", "x")
    assert flagged(found, "not_measured").sum() == 1 + 4
    assert flagged(found, "too_thick").values.nonzero() == (np.array([1]), np.array([1]))


def test_dichroism__numbers_with_and_without_units(od):
    angles = od.assign_coords(polarization=("polarization", [0.0, 90.0], {"units": "deg"}))
    found = xstxm.dichroism(angles, plus="90 deg", minus=0)
    np.testing.assert_allclose(found["dichroism_difference"], -xstxm.dichroism(od)["dichroism_difference"])
    helicity = od.assign_coords(polarization=[1, -1])
    assert xstxm.dichroism(helicity, plus=-1).attrs["minus"] == "1"


def test_dichroism__chosen_from_more_than_two_and_along_another_dimension(od):
    three = xr.concat([od, od.isel(polarization=[0]).assign_coords(polarization=["linear"])], "polarization")
    xr.testing.assert_identical(
        xstxm.dichroism(three, plus="left", minus="right").drop_attrs(), xstxm.dichroism(od).drop_attrs()
    )
    field = od.rename(polarization="field")
    xr.testing.assert_identical(xstxm.dichroism(field, dim="field").drop_attrs(), xstxm.dichroism(od).drop_attrs())


@pytest.mark.parametrize(
    ("change", "asked", "error", "message"),
    [
        pytest.param(
            lambda od: od.isel(polarization=0), {}, MissingDimensionError, "no dimension 'polarization'", id="missing"
        ),
        pytest.param(lambda od: od.isel(polarization=[0]), {}, OptionError, r"holds \['left'\], not two", id="one"),
        pytest.param(
            lambda od: od.isel(polarization=[0, 1, 1]), {}, OptionError, "not two: name plus= and", id="three"
        ),
        pytest.param(
            lambda od: od.isel(polarization=[0, 1, 1]),
            {"plus": "left"},
            OptionError,
            "^minus=None: .*not two",
            id="one of three",
        ),
        pytest.param(
            lambda od: od, {"plus": "up"}, OptionError, r"not there; .* holds \['left', 'right'\]", id="label"
        ),
        pytest.param(
            lambda od: od.isel(polarization=[0, 1, 1]),
            {"plus": "left", "minus": "right"},
            OptionError,
            "there 2 times, average the repeats first",
            id="repeats",
        ),
        pytest.param(
            lambda od: od, {"plus": "left", "minus": "left"}, OptionError, "plus and minus are one", id="the same"
        ),
    ],
)
def test_dichroism__refuses(od, change, asked, error, message):
    with pytest.raises(error, match=message):
        xstxm.dichroism(change(od), **asked)
