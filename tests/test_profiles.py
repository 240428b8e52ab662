from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from laziness import raise_if_dask_computes
from skimage.measure import profile_line

import xstxm
from xstxm.errors import MissingDimensionError, MissingUnitsError, MissingVariableError, OptionError, SchemaError


def image_of(values, step=0.05, unit="um"):
    ny, nx = np.shape(values)[-2:]
    coords = {
        "y": ("y", -3 + step * np.arange(ny), {"units": unit}),
        "x": ("x", 2 + step * np.arange(nx), {"units": unit}),
    }
    dims = ("energy", "y", "x")[-np.ndim(values) :]
    return xr.DataArray(values, dims=dims, coords=coords, attrs={"units": "1"}, name="optical_density")


@pytest.fixture
def noise():
    return image_of(np.random.default_rng(0).uniform(size=(31, 42)))


SHARES = st.tuples(*[st.floats(0, 1)] * 4)


@given(SHARES, st.tuples(*[st.floats(-2, 2)] * 3))
def test_line_profile__of_a_plane_is_the_plane(shares, plane):
    flat = image_of(np.zeros((31, 42)))
    image = (flat + plane[0] + plane[1] * flat["x"] + plane[2] * flat["y"]).rename("optical_density")
    start, stop = ((2 + 2.05 * across, -3 + 1.5 * up) for across, up in (shares[:2], shares[2:]))
    if np.hypot(stop[0] - start[0], stop[1] - start[1]) < 1e-6:
        return
    found = xstxm.line_profile(image, start, stop)
    expected = plane[0] + plane[1] * found["x"] + plane[2] * found["y"]
    np.testing.assert_allclose(found["profile"], expected, atol=1e-9)
    assert float(found["distance"][-1]) == pytest.approx(np.hypot(stop[0] - start[0], stop[1] - start[1]))


@given(SHARES)
def test_line_profile__backwards_is_the_profile_reversed(shares):
    image = image_of(np.random.default_rng(1).uniform(size=(31, 42)))
    start, stop = ((2 + 2 * across, -3 + 1.4 * up) for across, up in (shares[:2], shares[2:]))
    if np.hypot(stop[0] - start[0], stop[1] - start[1]) < 1e-6:
        return
    there, back = xstxm.line_profile(image, start, stop), xstxm.line_profile(image, stop, start)
    np.testing.assert_allclose(there["profile"], back["profile"][::-1], atol=1e-9)


def test_line_profile__agrees_with_scikit_image(noise):
    found = xstxm.line_profile(noise, (2.2, -2.8), (2.2 + 24 * 0.05, -2.8 + 18 * 0.05), width=0.15)
    expected = profile_line(noise.values, (4, 4), (22, 28), linewidth=3, order=1, reduce_func=None)
    np.testing.assert_allclose(found["profile"], expected.mean(1), rtol=1e-9)
    np.testing.assert_allclose(found["profile_std"], expected.std(1), rtol=1e-9)
    np.testing.assert_allclose(found["distance"], 0.05 * np.arange(31))
    xstxm.testing.assert_conforms(found, "line_profile")


def test_line_profile__through_pixel_centres_is_their_values(noise):
    found = xstxm.line_profile(noise, (2.1, -2.0), (3.0, -2.0))
    np.testing.assert_allclose(found["profile"], noise.values[20, 2:21])
    assert found["profile"].attrs["units"] == "1"


def test_line_profile__takes_descending_positions_in_other_units(noise):
    flipped = noise.isel(y=slice(None, None, -1)).assign_coords(x=("x", noise["x"].values * 1000, {"units": "nm"}))
    found = xstxm.line_profile(flipped, (2200, "-2800 nm"), ("3.1 um", -2.1), width="100 nm")
    expected = xstxm.line_profile(noise, (2.2, -2.8), (3.1, -2.1), width=0.1)
    xr.testing.assert_allclose(found.drop_attrs(), expected.drop_attrs())
    assert found["distance"].attrs["units"] == found["x"].attrs["units"] == "um"


@pytest.mark.parametrize("chunks", [{"energy": 1}, {"y": 7, "x": 9}], ids=str)
def test_line_profile__of_a_lazy_stack_is_lazy_and_reads_what_is_near(chunks):
    values = np.random.default_rng(2).uniform(size=(3, 31, 42)).astype("float32")
    stack = image_of(values).assign_coords(energy=("energy", [515.0, 516, 517], {"units": "eV"})).to_dataset()
    with raise_if_dask_computes():
        found = xstxm.line_profile(stack.chunk(chunks), (2.1, -2.9), (2.3, -2.8), width=0.1)
    expected = xstxm.line_profile(stack, (2.1, -2.9), (2.3, -2.8), width=0.1)
    xr.testing.assert_allclose(found.compute(), expected)
    assert found["profile"].dims == ("energy", "distance")
    assert found["profile"].dtype == "float32"
    far = stack.copy(deep=True)
    far["optical_density"][:, 10:, 20:] = np.nan
    xr.testing.assert_allclose(xstxm.line_profile(far, (2.1, -2.9), (2.3, -2.8), width=0.1), expected)


def test_line_profile__reaches_to_the_outer_edge_of_the_image(noise):
    found = xstxm.line_profile(noise, (1.975, -3.0), (4.075, -3.0))
    assert bool(found["profile"].notnull().all())
    assert float(found["profile"][0]) == noise.values[0, 0]


def test_line_profile__leaves_out_what_of_its_width_lies_outside(noise):
    found = xstxm.line_profile(noise, (2.1, -3.0), (3.0, -3.0), width=0.15)
    np.testing.assert_allclose(found["profile"], noise.values[:2, 2:21].mean(0))


def test_line_profile__is_nan_beside_a_pixel_that_is_nan_or_masked(noise):
    stack = noise.to_dataset().assign(mask=(("y", "x"), np.ones((31, 42), dtype=bool)))
    stack["mask"][20, 10] = False
    found = xstxm.line_profile(stack, (2.1, -2.0), (3.0, -2.0))["profile"]
    assert bool(found.isnull()[8])
    assert int(found.isnull().sum()) <= 3


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        pytest.param({"start": (9.0, -3.0)}, OptionError, "outside the image, x of which is", id="start outside"),
        pytest.param({"stop": (2.0, 1.0)}, OptionError, "outside the image, y of which is", id="stop outside"),
        pytest.param({"stop": (2.1, -2.9)}, OptionError, "a line needs two places", id="no length"),
        pytest.param({"stop": 3.0}, OptionError, "give two positions", id="one number"),
        pytest.param({"width": 0.01}, OptionError, "less than a pixel", id="thin"),
        pytest.param({"width": 1e14}, OptionError, "more than the image is across", id="wider than the image"),
    ],
)
def test_line_profile__refuses_what_is_no_line(noise, change, error, says):
    asked = {"start": (2.1, -2.9), "stop": (3.0, -2.0), "width": None} | change
    with pytest.raises(error, match=says):
        xstxm.line_profile(noise, asked["start"], asked["stop"], width=asked["width"])


def test_line_profile__refuses_what_is_no_map(noise):
    ends = (2.1, -2.9), (3.0, -2.0)
    with pytest.raises(SchemaError, match="labels, between which there is nothing"):
        xstxm.line_profile((noise > 0.5).astype(int).rename("phase_label").assign_attrs(flag_values=[0, 1]), *ends)
    with pytest.raises(SchemaError, match="has no neighbour"):
        xstxm.line_profile(noise.isel(y=[0]), *ends)
    with pytest.raises(MissingDimensionError):
        xstxm.line_profile(noise.isel(y=0), *ends)
    with pytest.raises(MissingUnitsError):
        xstxm.line_profile(noise.assign_coords(x=noise["x"].values), *ends)
    with pytest.raises(MissingVariableError):
        xstxm.line_profile(noise.to_dataset(), *ends, signal="composition")
