from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from laziness import raise_if_dask_computes

import xstxm
from xstxm.conventions import QUALITY_FLAGS
from xstxm.errors import EnergyRangeError, MissingVariableError, OptionError

ENERGY = np.array([500.0, 501, 502, 503, 510, 510.5, 511, 515, 520])


def as_stack(values, energy=ENERGY):
    dims = ("energy", "y", "x")[: np.ndim(values)]
    coords = {"energy": ("energy", energy, {"units": "eV"})}
    return xr.DataArray(values, dims=dims, coords=coords, attrs={"units": "1"}, name="optical_density").to_dataset()


@pytest.fixture
def od():
    rng = np.random.default_rng(0)
    amount = rng.uniform(0.2, 1.5, (4, 7))
    return as_stack(amount * np.linspace(0.6, 1.2, 9)[:, None, None] + rng.uniform(-0.01, 0.01, (9, 4, 7)))


def flagged(result, name):
    return (result["quality"] & QUALITY_FLAGS[name]) > 0


VERBS = [pytest.param(xstxm.difference_map, id="difference"), pytest.param(xstxm.ratio_map, id="ratio")]


def value_of(result):
    return result["difference"] if "difference" in result else result["ratio"]


def stderr_of(result):
    return result["difference_stderr"] if "difference" in result else result["ratio_stderr"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("chunks", [None, {"y": 2}, {"energy": 1}], ids=str)
def test_maps__are_the_difference_and_the_ratio_of_the_means(od, dtype, chunks):
    given_stack = od.astype(dtype).chunk(chunks) if chunks else od.astype(dtype)
    with raise_if_dask_computes():
        difference = xstxm.difference_map(given_stack, ("510 eV", "0.511 keV"), (500, 502))
        ratio = xstxm.ratio_map(given_stack, (510, 511), (502, 500))
    values = od["optical_density"].values
    on, off = values[4:7].mean(0), values[:3].mean(0)
    np.testing.assert_allclose(difference["difference"], on - off, atol=1e-6)
    np.testing.assert_allclose(ratio["ratio"], on / off, rtol=1e-5)
    for result, name in ((difference, "difference_map"), (ratio, "ratio_map")):
        xstxm.testing.assert_conforms(result, name)
        assert value_of(result).dtype == stderr_of(result).dtype == dtype
        assert not result["quality"].any()
    assert difference.attrs["on"] == "510-511 eV (3 energies)"


@pytest.mark.parametrize("verb", VERBS)
def test_maps__a_single_energy_is_the_nearest_measured_one(od, verb):
    found = verb(od, "514.2 eV", 500.4)
    values = od["optical_density"].values
    expected = values[7] - values[0] if verb is xstxm.difference_map else values[7] / values[0]
    np.testing.assert_allclose(value_of(found), expected)
    assert "on: 515 eV, off: 500 eV" in found.attrs["history"]


@pytest.mark.parametrize("verb", VERBS)
def test_maps__have_no_error_where_nothing_tells_it_and_say_so(od, verb):
    found = verb(od, 515, 500)
    assert not [name for name in found if name.endswith("_stderr")]
    assert "no standard error: one energy each and no optical_density_variance" in found.attrs["history"]


@pytest.mark.parametrize("windows", [((510, 511), (500, 503)), (515, (500, 503)), ((510, 511), 500)], ids=str)
@pytest.mark.parametrize("source", ["residual", "variance"])
@pytest.mark.parametrize("verb", VERBS)
def test_maps__errors_are_those_of_the_noise(verb, windows, source):
    rng = np.random.default_rng(2)
    energy = np.concatenate([np.linspace(500, 503, 12), np.linspace(510, 511, 11), [515, 520]])
    clean = 0.5 + 0.1 * (energy - 500)
    noisy = as_stack(clean[:, None, None] + 0.02 * rng.standard_normal((energy.size, 60, 80)), energy)
    if source == "variance":
        noisy["optical_density_variance"] = xr.full_like(noisy["optical_density"], 0.02**2)
    found = verb(noisy, *windows)
    true = value_of(verb(as_stack(clean, energy), *windows))
    standardised = (value_of(found) - true) / stderr_of(found)
    spread = float(np.abs(standardised).median()) / 0.6745
    assert 0.9 < spread < 1.13
    assert abs(float(standardised.mean())) < 0.05


@pytest.mark.parametrize("verb", VERBS)
def test_maps__variance_of_each_point_is_propagated(od, verb):
    rng = np.random.default_rng(1)
    variance = xr.full_like(od["optical_density"], 0).copy(data=rng.uniform(1e-5, 1e-3, (9, 4, 7)))
    found = verb(od.assign(optical_density_variance=variance), (510, 511), (500, 502))
    on, off = od["optical_density"][4:7].mean("energy"), od["optical_density"][:3].mean("energy")
    v_on, v_off = variance[4:7].sum("energy") / 9, variance[:3].sum("energy") / 9
    expected = v_on + v_off if verb is xstxm.difference_map else v_on / off**2 + on**2 * v_off / off**4
    np.testing.assert_allclose(stderr_of(found), np.sqrt(expected))


@pytest.mark.parametrize("verb", VERBS)
def test_maps__an_unknown_variance_is_an_unknown_error(od, verb):
    variance = xr.full_like(od["optical_density"], 1e-4)
    variance[0, 1, 1] = np.nan
    found = verb(od.assign(optical_density_variance=variance), (510, 511), (500, 502))
    assert stderr_of(found).isnull().sum() == 1
    assert np.isnan(stderr_of(found)[1, 1])


@given(gain=st.floats(0.1, 10), offset=st.floats(-2, 2))
def test_maps__difference_forgets_an_offset_and_ratio_forgets_the_thickness(gain, offset):
    stack = as_stack(np.linspace(0.5, 1.5, 9 * 6).reshape(9, 2, 3) ** 2)
    shifted, thicker = stack + offset, stack * gain
    windows = ((510, 511), (500, 503))
    a, b = (xstxm.difference_map(s["optical_density"].assign_attrs(units="1"), *windows) for s in (stack, shifted))
    np.testing.assert_allclose(a["difference"], b["difference"], atol=1e-12)
    a, b = (xstxm.ratio_map(s["optical_density"].assign_attrs(units="1"), *windows) for s in (stack, thicker))
    np.testing.assert_allclose(a["ratio"], b["ratio"], rtol=1e-9)
    np.testing.assert_allclose(a["ratio_stderr"], b["ratio_stderr"], rtol=1e-6)


def test_ratio_map__a_denominator_within_the_noise_is_nan_and_flagged():
    rng = np.random.default_rng(4)
    energy = np.concatenate([np.linspace(500, 503, 12), np.linspace(510, 511, 11)])
    values = 0.05 * rng.standard_normal((23, 20, 40))
    values[:, :, 20:] += 0.6
    found = xstxm.ratio_map(as_stack(values, energy), (510, 511), (500, 503))
    assert float(flagged(found, "below_noise")[:, :20].mean()) > 0.97
    assert not flagged(found, "below_noise")[:, 20:].any()
    np.testing.assert_array_equal(found["ratio"].isnull(), flagged(found, "below_noise"))
    lenient = xstxm.ratio_map(as_stack(values, energy), (510, 511), (500, 503), min_significance=1)
    assert int(flagged(lenient, "below_noise").sum()) < int(flagged(found, "below_noise").sum())


def test_ratio_map__min_denominator_guards_where_there_is_no_error(od):
    od["optical_density"][0, 0, :3] = [0.0, -0.1, 0.04]
    assert xstxm.ratio_map(od, 515, 500)["ratio"].isnull()[0, :3].values.tolist() == [True, True, False]
    found = xstxm.ratio_map(od, 515, 500, min_denominator=0.05)
    assert found["ratio"].isnull()[0, :3].all()
    assert int(flagged(found, "below_noise").sum()) == 3


@pytest.mark.parametrize("verb", VERBS)
def test_maps__leave_out_nan_and_flag_what_has_nothing(od, verb):
    od["optical_density"][4, 0, 0] = np.nan
    od["optical_density"][:3, 0, 1] = np.nan
    found = verb(od, (510, 511), (500, 502))
    values = od["optical_density"].values
    on, off = np.nanmean(values[4:7], 0)[0, 0], values[:3, 0, 0].mean()
    assert value_of(found)[0, 0].item() == pytest.approx(on - off if verb is xstxm.difference_map else on / off)
    np.testing.assert_array_equal(value_of(found).isnull(), flagged(found, "not_measured"))
    assert flagged(found, "not_measured").values.sum() == 1


@pytest.mark.parametrize("verb", VERBS)
def test_maps__order_and_repeats_of_energies(od, verb):
    expected = verb(od, (510, 511), (500, 502))
    shuffled = od.isel(energy=np.random.default_rng(0).permutation(9))
    np.testing.assert_allclose(value_of(verb(shuffled, (510, 511), (500, 502))), value_of(expected))
    repeated = od.isel(energy=[0, 0, 7])
    repeated["optical_density"][1] += 0.01
    low = repeated["optical_density"][:2].mean("energy")
    high = repeated["optical_density"][2]
    wanted = high - low if verb is xstxm.difference_map else high / low
    np.testing.assert_allclose(value_of(verb(repeated, 515, 500)), wanted)


@pytest.mark.parametrize("verb", VERBS)
def test_maps__units_mask_integers_and_other_pixel_dims(od, verb):
    counts = (1000 * od["optical_density"]).astype("uint16").rename("intensity").assign_attrs(units="count")
    mask = xr.DataArray(np.arange(7) > 2, dims="x")
    found = verb(counts.to_dataset().assign(mask=mask), (510, 511), (500, 502), signal="intensity")
    assert value_of(found).dtype == np.float32
    assert value_of(found).attrs["units"] == ("count" if verb is xstxm.difference_map else "1")
    np.testing.assert_array_equal(value_of(found).notnull().all("y"), mask)
    theta = od["optical_density"].expand_dims(theta=[0.0, 30.0]).transpose("theta", "energy", "y", "x")
    assert value_of(verb(theta, 515, 500)).dims == ("theta", "y", "x")
    assert value_of(verb(od.isel(y=0, x=0), 515, 500)).ndim == 0


def test_maps__keep_earlier_flags(od):
    before = xr.full_like(od["optical_density"].isel(energy=0, drop=True), 4, dtype="int16")
    assert (xstxm.difference_map(od.assign(quality=before), 515, 500)["quality"] == 4).all()


@pytest.mark.parametrize(
    ("on", "off", "error", "message"),
    [
        pytest.param(600, 500, EnergyRangeError, "on is 600 eV, the stack covers 500-520 eV", id="beyond the stack"),
        pytest.param((504, 509), 500, EnergyRangeError, "on from 504 to 509 eV needs 1 or more", id="empty window"),
        pytest.param(
            (500, 511), (503, 515), OptionError, r"on and off share 503-511 eV \(4 energies\): part them", id="overlap"
        ),
        pytest.param(515, 514.9, OptionError, "on and off share 515 eV", id="one energy"),
        pytest.param((500, 501, 502), 515, OptionError, "give the two limits", id="three limits"),
    ],
)
@pytest.mark.parametrize("verb", VERBS)
def test_maps__refuse(od, verb, on, off, error, message):
    with pytest.raises(error, match=message):
        verb(od, on, off)


@pytest.mark.parametrize("verb", VERBS)
def test_maps__of_one_image_or_without_the_signal(od, verb):
    with pytest.raises(OptionError, match="share"):
        verb(od.isel(energy=[0]), 500, 500)
    with pytest.raises(EnergyRangeError, match="on is 515 eV, the stack covers 500-500 eV"):
        verb(od.isel(energy=[0]), 515, 500)
    with pytest.raises(MissingVariableError, match="'intensity' is missing"):
        verb(od, 515, 500, signal="intensity")
