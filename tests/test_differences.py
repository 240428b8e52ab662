from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from laziness import raise_if_dask_computes

import xstxm
from xstxm.errors import EnergyRangeError, IncompatibleUnitsError, MissingVariableError, OptionError, SchemaError

STEP = 0.05


def map_of(values, error=None, units="1"):
    coords = {dim: (dim, STEP * np.arange(n), {"units": "um"}) for dim, n in zip("yx", values.shape[-2:], strict=True)}
    dims = ("time", "y", "x")[-values.ndim :]
    held = {"composition": (dims, values, {"units": units})}
    if error is not None:
        held["composition_stderr"] = (dims, np.broadcast_to(error, values.shape), {"units": units})
    return xr.Dataset(held, coords)


@pytest.fixture
def pair():
    """Return two maps of the same pixels, of known noise, the other 0.01 higher."""
    rng = np.random.default_rng(3)
    truth = rng.normal(0.5, 0.1, (40, 50))
    noisy = [map_of(truth + away + rng.normal(0, size, truth.shape), size) for away, size in ((0, 0.02), (0.01, 0.03))]
    return noisy


def test_bland_altman__is_what_its_definition_says(pair):
    one, other = pair
    one.composition[3, 4] = np.nan
    found = xstxm.bland_altman(one, other)
    xstxm.testing.assert_conforms(found, "bland_altman")
    difference = (other.composition - one.composition).values
    difference = difference[np.isfinite(difference)]
    assert int(found.n_differences) == difference.size == 1999
    assert float(found.bias) == pytest.approx(difference.mean())
    assert float(found.difference_spread) == pytest.approx(difference.std(ddof=1))
    assert float(found.difference_rms) == pytest.approx(np.sqrt((difference**2).mean()))
    limits = [float(found.difference_lower), float(found.difference_upper)]
    np.testing.assert_allclose(limits, difference.mean() + 1.959964 * np.array([-1, 1]) * difference.std(ddof=1))
    assert np.mean((difference > limits[0]) & (difference < limits[1])) == pytest.approx(0.95, abs=0.02)
    assert found.difference_lower.attrs["confidence_level"] == 0.95
    kept = np.isfinite(one.composition.values)
    expected = np.corrcoef(one.composition.values[kept], other.composition.values[kept])[0, 1]
    assert float(found.map_correlation) == pytest.approx(expected)


def test_bland_altman__errors_are_those_of_independent_noise(pair):
    found = xstxm.bland_altman(*pair)
    theory = np.hypot(0.02, 0.03) / np.sqrt(2000)
    assert float(found.bias_stderr) == pytest.approx(theory)
    assert float(found.bias_sampling_stderr) == pytest.approx(theory, rel=0.2)
    assert abs(float(found.bias) - 0.01) < 3 * theory
    assert float(found.share_beyond) == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 2000))
    limits = np.hypot(0.02, 0.03) * np.sqrt(1 / 2000 + 1.96**2 / 2 / 2000)
    assert float(found.difference_limit_sampling_stderr) == pytest.approx(limits, rel=0.15)


def test_bland_altman__limits_scatter_as_told():
    """Many draws of correlated differences: the scatter of bias and limits is what their sampling errors say."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    zero, found = map_of(np.zeros((64, 64))), []
    for _ in range(60):
        field = gaussian_filter(rng.normal(size=(64, 64)), 1.5, mode="wrap") * 1.5 * 2 * np.sqrt(np.pi)
        found.append(xstxm.bland_altman(zero, map_of(field)))
    every = xr.concat(found, "draw")
    for value, error in (("bias", "bias_sampling_stderr"), ("difference_upper", "difference_limit_sampling_stderr")):
        ratio = float(every[error].mean() / every[value].std(ddof=1))
        assert 0.75 < ratio < 1.3, value
    assert float(every["bias_sampling_stderr"].mean()) > 3 / 64, "independent pixels would have 1/64"


def test_bland_altman__counts_noise_that_neighbours_share(pair):
    lags = np.array([[0.1, 0.3, 0.1], [0.3, 1, 0.3], [0.1, 0.3, 0.1]])
    shared = xr.DataArray(lags, dims=("lag_y", "lag_x"))
    plain = xstxm.bland_altman(*pair)
    found = xstxm.bland_altman(*pair, noise_correlation=shared)
    expected = np.sqrt(2.6 * 0.02**2 + 0.03**2) / np.sqrt(2000)
    assert float(found.bias_stderr) == pytest.approx(expected, rel=0.03)
    xr.testing.assert_equal(found.drop_vars("bias_stderr"), plain.drop_vars("bias_stderr"))
    with pytest.raises(SchemaError, match="wanted all lags"):
        xstxm.bland_altman(*pair, noise_correlation=shared[:2])


def test_bland_altman__swaps_sign_with_the_maps(pair):
    found, swapped = xstxm.bland_altman(*pair), xstxm.bland_altman(*pair[::-1])
    assert float(found.bias) == pytest.approx(-float(swapped.bias))
    assert float(found.difference_lower) == pytest.approx(-float(swapped.difference_upper))
    assert float(found.share_beyond) == float(swapped.share_beyond)


def test_bland_altman__converts_units(pair):
    one, other = pair
    percent = map_of(other.composition.values * 100, other.composition_stderr.values * 100, "percent")
    expected, found = xstxm.bland_altman(one, other), xstxm.bland_altman(one, percent)
    xr.testing.assert_allclose(found.drop_attrs(), expected.drop_attrs())
    assert xstxm.bland_altman(percent, one).bias.attrs["units"] == "percent"
    with pytest.raises(IncompatibleUnitsError):
        xstxm.bland_altman(one, map_of(other.composition.values, units="nm"))


@pytest.mark.parametrize("units", ["percent", None], ids=["percent", "no unit"])
def test_bland_altman__errors_are_in_the_units_of_their_map(pair, units):
    one, other = pair
    expected = xstxm.bland_altman(one, other)
    if units == "percent":
        one = one.assign(composition_stderr=(100 * one.composition_stderr).assign_attrs(units=units))
    else:
        other = map_of(other.composition.values * 100, other.composition_stderr.values * 100, "percent")
        del other["composition_stderr"].attrs["units"]
    found = xstxm.bland_altman(one, other)
    xr.testing.assert_allclose(found.drop_attrs(), expected.drop_attrs())


def test_bland_altman__without_errors_says_nothing_of_noise(pair):
    one, other = pair
    found = xstxm.bland_altman(one.composition, other)
    assert np.isnan(found.bias_stderr)
    assert np.isnan(found.share_beyond)
    assert float(found.bias_sampling_stderr) > 0


def test_bland_altman__reads_the_variance_of_a_stack():
    stack = xstxm.testing.simulate_stack(shape=(24, 28), energies=[510.0, 518.4, 530.0])
    one = xstxm.optical_density(xstxm.with_variance(stack))
    found = xstxm.bland_altman(one, one, signal="optical_density")
    assert found.bias.dims == ("energy",)
    pixels = one.optical_density_variance.sum(("y", "x")) * 2
    np.testing.assert_allclose(found.bias_stderr, pixels**0.5 / (24 * 28), rtol=1e-5)
    assert not found.bias.any()


def test_bland_altman__compares_each_image():
    rng = np.random.default_rng(1)
    one, other = (map_of(rng.normal(size=(3, 20, 24))) for _ in range(2))
    found = xstxm.bland_altman(one, other)
    assert found.bias.dims == ("time",)
    single = xstxm.bland_altman(one.isel(time=1), other.isel(time=1))
    xr.testing.assert_allclose(found.isel(time=1), single)


def test_bland_altman__is_lazy(pair):
    expected = xstxm.bland_altman(*pair)
    chunked = [given.chunk(y=9) for given in pair]
    with raise_if_dask_computes():
        found = xstxm.bland_altman(*chunked)
    xr.testing.assert_allclose(found.compute(), expected)


def test_bland_altman__of_nothing_in_common_is_nan(pair):
    one, other = pair
    found = xstxm.bland_altman(one.where(one.x < 1), other.where(other.x > 1.5))
    assert int(found.n_differences) == 0
    assert np.isnan(found.bias)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        pytest.param(lambda m: m.rename(composition="x_li"), MissingVariableError, "name the variable", id="no map"),
        pytest.param(lambda m: m.assign_coords(x=m.x + 1), SchemaError, "differ along 'x'", id="other places"),
        pytest.param(lambda m: m.isel(x=slice(4)), SchemaError, "4 pixels along 'x'", id="other size"),
        pytest.param(lambda m: m.expand_dims("time"), SchemaError, "the same pixels", id="other dims"),
        pytest.param(
            lambda m: (m > 0.5).composition.rename("mask"),
            SchemaError,
            "holds no numbers that could differ",
            id="marks",
        ),
    ],
)
def test_bland_altman__refuses(pair, change, error, message):
    one, other = pair
    with pytest.raises(error, match=message):
        xstxm.bland_altman(one, change(other))


def test_bland_altman__refuses_options_that_make_no_sense(pair):
    with pytest.raises(OptionError, match="confidence_level=95"):
        xstxm.bland_altman(*pair, confidence_level=95)


def test_bland_altman__of_other_energies_is_refused():
    stack = xstxm.testing.simulate_stack(shape=(8, 9), energies=[510.0, 518.4]).intensity
    moved = stack.assign_coords(energy=stack.energy.copy(data=stack.energy.values + 1))
    with pytest.raises(EnergyRangeError, match="differ first at point 0"):
        xstxm.bland_altman(stack, moved)
