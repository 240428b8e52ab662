from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from laziness import raise_if_dask_computes
from scipy.optimize import curve_fit

import xstxm
from xstxm.conventions import QUALITY_FLAGS
from xstxm.errors import ChoiceError, EnergyRangeError, MissingVariableError, OptionError, SchemaError

ENERGY = np.concatenate([np.linspace(514, 517, 10), np.linspace(517.2, 521, 24)])
WINDOW = (514, 521)


def as_array(values, energy=ENERGY, unit="eV", dtype="float64"):
    dims = ("energy", "y", "x")[: np.ndim(values)]
    coords = {"energy": ("energy", energy, {"units": unit})}
    return xr.DataArray(np.asarray(values, dtype), dims=dims, coords=coords, attrs={"units": "1"}, name="od")


def gaussian(energy, base, height, centre, width):
    return base + height * np.exp(-0.5 * ((energy - centre) / width) ** 2)


def arctangent(energy, base, height, centre, width):
    return base + height * (0.5 + np.arctan((energy - centre) / width) / np.pi)


def cubic_top(energy, centre):
    return 1.5 - 0.3 * (energy - centre) ** 2 + 0.02 * (energy - centre) ** 3


def cubic_rise(energy, centre):
    return 0.5 + 0.2 * (energy - centre) - 0.012 * (energy - centre) ** 3


CASES = {
    "quadratic": (xstxm.peak_map, (515.5, 520.5), lambda e, c: 1.5 - 0.3 * (e - c) ** 2),
    "cubic": (xstxm.peak_map, (515.5, 520.5), cubic_top),
    "gaussian": (xstxm.peak_map, WINDOW, lambda e, c: gaussian(e, 0.2, 1.0, c, 0.8)),
    "half_step": (xstxm.edge_map, WINDOW, cubic_rise),
    "derivative": (xstxm.edge_map, WINDOW, cubic_rise),
    "arctangent": (xstxm.edge_map, WINDOW, lambda e, c: arctangent(e, 0.1, 1.0, c, 0.5)),
}
METHODS = list(CASES)


def centres(shape=(5, 8), seed=0):
    return 518 + 0.3 * np.random.default_rng(seed).standard_normal(shape)


def simulated(method, sigma=0.0, shape=(5, 8), seed=0, dtype="float64"):
    clean = CASES[method][2](ENERGY[:, None, None], centres(shape, seed))
    return as_array(clean + sigma * np.random.default_rng(seed + 1).standard_normal(clean.shape), dtype=dtype)


def located(array, method, **options):
    verb, window, _ = CASES[method]
    return verb(array, options.pop("window", window), method=method, **options)


def energy_of(result):
    return result["edge_energy"] if "edge_energy" in result else result["peak_energy"]


def stderr_of(result):
    return result["edge_energy_stderr"] if "edge_energy" in result else result["peak_energy_stderr"]


def flagged(result, name):
    return (result["quality"] & QUALITY_FLAGS[name]) > 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_maps__find_the_feature_of_every_pixel(method, dtype):
    found = located(simulated(method, dtype=dtype), method)
    xstxm.testing.assert_conforms(found, CASES[method][0].__name__)
    assert energy_of(found).dims == ("y", "x")
    assert energy_of(found).attrs["units"] == "eV"
    assert energy_of(found).dtype == np.float64
    np.testing.assert_allclose(energy_of(found), centres(), atol=1e-4 if dtype == "float32" else 1e-7)
    assert not found["quality"].any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sigma", [0.01, 0.04])
def test_maps__standard_errors_are_those_of_the_noise(method, sigma):
    shape = (40, 60)
    found = located(simulated(method, sigma, shape, seed=4), method)
    standardised = ((energy_of(found) - centres(shape, 4)) / stderr_of(found)).values
    spread = np.nanmedian(np.abs(standardised - np.nanmedian(standardised))) / 0.6745
    assert 0.9 < spread < 1.1
    assert abs(np.nanmedian(standardised)) < 0.1
    assert float(energy_of(found).notnull().mean()) > 0.95


@pytest.mark.parametrize(
    ("name", "true"),
    [("peak_height", 1.2), ("peak_amplitude", 1.0), ("peak_width", 0.8 * 2.354820045)],
)
def test_peak_map__height_amplitude_and_width_have_honest_errors(name, true):
    found = located(simulated("gaussian", 0.03, (40, 60)), "gaussian")
    standardised = (found[name] - true) / found[f"{name}_stderr"]
    assert 0.9 < float(np.abs(standardised).median()) / 0.6745 < 1.1
    assert found[name].attrs["units"] == ("eV" if name == "peak_width" else "1")


@pytest.mark.parametrize(("method", "order"), [("quadratic", 2), ("cubic", 3)])
def test_peak_map__polynomial_is_numpy_polyfit_with_its_covariance(method, order):
    array = simulated(method, 0.02)
    found = located(array, method)
    window = (ENERGY >= 515.5) & (ENERGY <= 520.5)
    for y, x in np.ndindex(5, 8):
        fit, covariance = np.polyfit(ENERGY[window] - 518, array.values[window, y, x], order, cov=True)
        roots = np.roots(np.polyder(fit))
        top = float(next(root.real for root in roots if np.polyval(np.polyder(fit, 2), root.real) < 0))
        slope = np.array([k * top ** (k - 1) if k else 0.0 for k in range(order, -1, -1)])
        stderr = np.sqrt(slope @ covariance @ slope) / abs(np.polyval(np.polyder(fit, 2), top))
        row = np.array([top**k for k in range(order, -1, -1)])
        np.testing.assert_allclose(found["peak_energy"][y, x], 518 + top, rtol=1e-9)
        np.testing.assert_allclose(found["peak_energy_stderr"][y, x], stderr, rtol=1e-5)
        np.testing.assert_allclose(found["peak_height"][y, x], np.polyval(fit, top), rtol=1e-7)
        np.testing.assert_allclose(found["peak_height_stderr"][y, x], np.sqrt(row @ covariance @ row), rtol=1e-5)


@pytest.mark.parametrize("method", ["half_step", "derivative"])
def test_edge_map__polynomial_is_numpy_polyfit(method):
    array = simulated(method, 0.02)
    found = located(array, method)
    for y, x in np.ndindex(5, 8):
        fit = np.polyfit(ENERGY - 518, array.values[:, y, x], 3)
        at = energy_of(found).values[y, x] - 518
        if method == "half_step":
            assert np.polyval(fit, at) == pytest.approx(0.5, abs=1e-9)
        else:
            assert np.polyval(np.polyder(fit, 2), at) == pytest.approx(0, abs=1e-9)
        assert np.polyval(np.polyder(fit), at) > 0


@pytest.mark.parametrize(
    ("method", "curve", "start"),
    [("gaussian", gaussian, (0.2, 1, 518, 0.8)), ("arctangent", arctangent, (0.1, 1, 518, 0.5))],
)
def test_maps__curves_are_those_of_scipy(method, curve, start):
    array = simulated(method, 0.03)
    found = located(array, method)
    for y, x in np.ndindex(5, 8):
        fit, covariance = curve_fit(curve, ENERGY, array.values[:, y, x], p0=start, xtol=1e-12, ftol=1e-12)
        np.testing.assert_allclose(energy_of(found)[y, x], fit[2], atol=2e-6)
        np.testing.assert_allclose(stderr_of(found)[y, x], np.sqrt(covariance[2, 2]), rtol=1e-3)
        if method == "gaussian":
            np.testing.assert_allclose(found["peak_amplitude"][y, x], fit[1], rtol=1e-5)
            np.testing.assert_allclose(found["peak_width"][y, x], abs(fit[3]) * 2.354820045, rtol=1e-5)


@given(
    shift=st.floats(-200, 200),
    scale=st.floats(0.2, 5),
    gain=st.floats(0.1, 100),
    method=st.sampled_from(["quadratic", "cubic", "gaussian", "derivative", "arctangent"]),
)
def test_maps__move_with_the_energies_and_not_with_the_thickness(shift, scale, gain, method):
    array = simulated(method, 0.01, (2, 3))
    expected = located(array, method)
    moved = (gain * array).assign_coords(energy=("energy", 700 + shift + scale * (ENERGY - 518), {"units": "eV"}))
    window = tuple(700 + shift + scale * (limit - 518) for limit in CASES[method][1])
    found = located(moved, method, window=window)
    atol = 1e-5 * scale
    np.testing.assert_allclose(energy_of(found), 700 + shift + scale * (energy_of(expected) - 518), atol=atol)
    np.testing.assert_allclose(stderr_of(found), scale * stderr_of(expected), rtol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_maps__order_of_the_energies_does_not_matter(method):
    array = simulated(method, 0.01)
    shuffled = array.isel(energy=np.random.default_rng(0).permutation(ENERGY.size))
    xr.testing.assert_allclose(located(shuffled, method).drop_attrs(), located(array, method).drop_attrs(), rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_maps__energies_measured_twice_count_twice(method):
    array = simulated(method, 0.01)
    once, twice = located(array, method), located(array.isel(energy=np.repeat(np.arange(34), 2)), method)
    np.testing.assert_allclose(energy_of(twice), energy_of(once), atol=1e-5)
    assert (stderr_of(twice) < stderr_of(once)).all()


@pytest.mark.parametrize("method", METHODS)
def test_maps__leave_out_what_is_not_finite(method):
    array = simulated(method, 0.01)
    holes = array.where(np.random.default_rng(1).uniform(size=array.shape) > 0.2)
    found = located(holes, method)
    for y, x in np.ndindex(5, 8):
        alone = located(holes[:, y, x].dropna("energy").sel(energy=slice(514, 521)), method)
        inside = energy_of(found)[y, x]
        # both windows have the same ends, or the energies are scaled in another way
        np.testing.assert_allclose(inside, energy_of(alone), atol=2e-5)
        np.testing.assert_allclose(stderr_of(found)[y, x], stderr_of(alone), rtol=1e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("chunks", [{"y": 2, "x": 3}, {"x": 1}], ids=str)
def test_maps__are_lazy_and_the_same_for_every_chunking(method, chunks):
    array = simulated(method, 0.01, dtype="float32")
    array[:, 0, 0] = np.nan
    expected = located(array, method)
    with raise_if_dask_computes():
        lazy = located(array.chunk(chunks), method)
    assert {v.dtype for v in lazy.data_vars.values()} == {v.dtype for v in expected.data_vars.values()}
    xr.testing.assert_allclose(lazy.compute().drop_attrs(), expected.drop_attrs())


@pytest.mark.parametrize("method", METHODS)
def test_maps__constant_empty_and_noise_pixels_are_nan_with_the_reason(method):
    array = simulated(method, 0.01, (6, 50))
    array[:, 0, 0] = 0.7
    array[:, 0, 1] = np.nan
    array[4:, 0, 2] = np.nan
    array[:, 1] = 0.01 * np.random.default_rng(3).standard_normal((34, 50))
    found = located(array, method)
    assert energy_of(found)[0, :3].isnull().all()
    assert energy_of(found)[2:].notnull().all()
    assert flagged(found, "not_measured")[0, 1:3].all()
    assert int(flagged(found, "not_measured").sum()) == 2
    assert (flagged(found, "below_noise") | flagged(found, "outside_window"))[0, 0]
    assert float(energy_of(found)[1].isnull().mean()) > 0.8
    np.testing.assert_array_equal(energy_of(found).isnull(), found["quality"] > 0)
    np.testing.assert_array_equal(stderr_of(found).isnull(), found["quality"] > 0)


@pytest.mark.parametrize(
    ("method", "window"),
    [("quadratic", (518.5, 521)), ("cubic", (518.5, 521)), ("gaussian", (518.4, 521)), ("half_step", (518.3, 521))],
)
def test_maps__a_feature_outside_the_window_is_flagged_not_extrapolated(method, window):
    clean = CASES[method][2](ENERGY, 518.0)
    found = located(as_array(clean), method, window=window)
    assert np.isnan(energy_of(found))
    assert flagged(found, "outside_window")


def test_peak_map__a_fit_that_does_not_converge_is_flagged():
    found = xstxm.peak_map(as_array(np.exp(0.4 * (ENERGY - 514))), WINDOW, method="gaussian")
    assert np.isnan(found["peak_energy"])
    assert flagged(found, "poor_fit")


def test_maps__min_significance_acts():
    for method in METHODS:
        weak = simulated(method, 0.3, (10, 10))
        strict, kind = (located(weak, method, min_significance=least)["quality"] > 0 for least in (30, 0))
        assert int(strict.sum()) > int(kind.sum()), method


@pytest.mark.parametrize("method", ["quadratic", "cubic", "gaussian"])
def test_peak_map__a_dip_is_a_peak_turned_over(method):
    array = simulated(method, 0.01)
    peak, dip = located(array, method), located(-array, method, kind="dip")
    for name in peak.data_vars:
        sign = -1 if name in ("peak_height", "peak_amplitude") else 1
        np.testing.assert_allclose(dip[name], sign * peak[name], err_msg=name)
    assert located(array, method, kind="dip")["peak_energy"].isnull().all()


def test_edge_map__level_acts():
    array = simulated("half_step")
    low, high = (located(array, "half_step", level=level)["edge_energy"] for level in (0.4, 0.6))
    assert (low < centres()).all()
    assert (high > centres()).all()


def test_edge_map__takes_the_first_rise_through_the_level():
    wave = 0.5 - 0.2 * (ENERGY - 515) * (ENERGY - 517.5) * (ENERGY - 520) / 5
    found = xstxm.edge_map(as_array(-wave + 1), WINDOW, method="half_step")
    np.testing.assert_allclose(found["edge_energy"], 515, atol=1e-6)
    found = xstxm.edge_map(as_array(wave), WINDOW, method="half_step")
    np.testing.assert_allclose(found["edge_energy"], 517.5, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_maps__of_a_single_spectrum_and_of_any_pixel_dims(method):
    array = simulated(method, 0.01)
    expected = energy_of(located(array, method))
    assert energy_of(located(array[:, 2, 3], method)).item() == pytest.approx(expected[2, 3].item())
    theta = array.expand_dims(theta=[0.0, 30.0]).transpose("theta", "energy", "y", "x")
    assert energy_of(located(theta, method)).dims == ("theta", "y", "x")
    np.testing.assert_allclose(energy_of(located(theta, method))[1], expected)


def test_maps__keep_the_unit_of_the_axis():
    array = simulated("gaussian", 0.01)
    in_kev = array.assign_coords(energy=("energy", ENERGY / 1000, {"units": "keV"}))
    found = xstxm.peak_map(in_kev, ("514 eV", "521 eV"), method="gaussian")
    expected = xstxm.peak_map(array, WINDOW, method="gaussian")
    for name in ("peak_energy", "peak_energy_stderr", "peak_width"):
        assert found[name].attrs["units"] == "keV"
        np.testing.assert_allclose(1000 * found[name], expected[name], rtol=1e-6)


def test_peak_map__integers_become_float32_and_the_mask_is_honoured():
    counts = (1000 * simulated("quadratic")).astype("int32").rename("intensity").assign_attrs(units="count")
    mask = xr.DataArray(np.arange(8) > 2, dims="x")
    found = xstxm.peak_map(counts.to_dataset().assign(mask=mask), (515.5, 520.5), signal="intensity")
    assert found["peak_height"].dtype == np.float32
    assert found["peak_height"].attrs["units"] == "count"
    np.testing.assert_array_equal(found["peak_energy"].notnull().all("y"), mask)
    assert flagged(found, "not_measured")[:, :3].all()


def test_edge_map__after_normalize_edge(stack, i0):
    od = xstxm.optical_density(stack, i0)
    rising = od.assign(optical_density=od["optical_density"] + (od.energy > 516) * 1.0)
    rising["optical_density"].attrs["units"] = "1"
    normalised = xstxm.normalize_edge(rising, pre_edge=(505, 511), post_edge=(528, 530))
    found = xstxm.edge_map(normalised, (514, 519))
    assert found.attrs["history"].count("\n") == 2
    with pytest.raises(MissingVariableError, match=r"'normalized_absorption' is missing .*normalize_edge\(\.\.\.\)"):
        xstxm.edge_map(od, (514, 519))


@pytest.mark.parametrize("kind", ["array", "dataset"])
def test_edge_map__refuses_the_half_step_of_an_optical_density(kind):
    array = simulated("half_step").rename("optical_density")
    given_stack = array if kind == "array" else array.to_dataset()
    with pytest.raises(SchemaError, match=r"rise through 0\.5, found 'optical_density': call \.stxm\.normalize_edge"):
        xstxm.edge_map(given_stack, WINDOW, signal="optical_density")
    found = xstxm.edge_map(given_stack, WINDOW, method="derivative", signal="optical_density")
    np.testing.assert_allclose(found["edge_energy"], centres(), atol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        pytest.param(
            lambda a: xstxm.peak_map(a, (518, 518.5)),
            EnergyRangeError,
            r"window from 518 to 518\.5 eV needs 4 or more different energies, found 3 \(518\.026, 518\.191, 518\.357 eV",
            id="narrow window",
        ),
        pytest.param(
            lambda a: xstxm.edge_map(a.isel(energy=[5]), WINDOW), EnergyRangeError, "found 1", id="one energy only"
        ),
        pytest.param(
            lambda a: xstxm.peak_map(a.isel(energy=np.repeat([1, 2, 3], 5)), WINDOW),
            EnergyRangeError,
            "4 or more different energies, found 3",
            id="one energy many times",
        ),
        pytest.param(lambda a: xstxm.peak_map(a, WINDOW, method="gauss"), ChoiceError, "did you mean", id="method"),
        pytest.param(lambda a: xstxm.peak_map(a, WINDOW, kind="valley"), ChoiceError, "'peak' or 'dip'", id="kind"),
        pytest.param(lambda a: xstxm.edge_map(a, WINDOW, method="half"), ChoiceError, "half_step", id="edge method"),
        pytest.param(lambda a: xstxm.peak_map(a, 518), OptionError, "give the two limits", id="no window"),
        pytest.param(lambda a: xstxm.peak_map(a, WINDOW, min_significance=np.nan), OptionError, "at least 0", id="NaN"),
    ],
)
def test_maps__refuse(call, error, message):
    with pytest.raises(error, match=message):
        call(simulated("gaussian"))


def test_edge_map__edges_of_vanadium_oxides_rise_with_the_valence(real_data):
    found = []
    for name in ("VO", "V2O3", "VO2", "V2O5"):
        measured = xstxm.read_references(real_data / "vanadium-k-edge" / f"{name}.xdi")
        spectrum = measured["absorption"].isel(reference=0, drop=True).dropna("energy")
        normalised = xstxm.normalize_edge(
            spectrum, edge="5465 eV", pre_edge=(-100, -20), post_edge=(60, 300), post_order=2
        )
        found.append(xstxm.edge_map(normalised, ("5473.5 eV", "5486 eV")))
    energies = [float(result["edge_energy"]) for result in found]
    np.testing.assert_allclose(energies, [5474.7, 5478.0, 5480.8, 5481.4], atol=0.15)
    assert (np.diff(energies) > 0.4).all()
    assert all(0 < float(result["edge_energy_stderr"]) < 0.1 for result in found)


def test_peak_map__white_line_of_reduced_iron_lies_lower(real_data):
    folder = real_data / "fe-l-edge-stack"
    stack = xr.open_dataset(folder / "71214078.hdr", engine="stxm")
    i0 = xstxm.read_i0(folder / "i0.xsp", units="count/ms")
    od = xstxm.optical_density(stack.sel(energy=slice(704, 714)), i0)
    found = xstxm.peak_map(od, (705, 713), method="gaussian")
    boxes = {"reduced": (slice(0, 10), slice(5, 20)), "oxidised": (slice(5, 40), slice(105, 125))}
    line = {name: found["peak_energy"].isel(y=y, x=x) for name, (y, x) in boxes.items()}
    assert float(line["reduced"].median()) == pytest.approx(709.0, abs=0.15)
    assert float(line["oxidised"].median()) == pytest.approx(709.85, abs=0.1)
    assert float(line["oxidised"].notnull().mean()) > 0.9
    iron = od["optical_density"].sel(energy=slice(709, 711)).mean("energy") - od["optical_density"].sel(
        energy=slice(704, 706)
    ).mean("energy")
    assert float(flagged(found, "poor_fit").where(iron > 0.3).mean()) < 0.01


@pytest.mark.parametrize("method", METHODS)
def test_errors__come_from_the_variance_where_the_stack_holds_one(method):
    sigma, shape = 0.01 * (1 + np.linspace(0, 2, ENERGY.size)), (40, 50)
    centre = np.full(shape, 518.0)
    noise = sigma[:, None, None] * np.random.default_rng(3).standard_normal((ENERGY.size, *shape))
    values = as_array(CASES[method][2](ENERGY[:, None, None], centre) + noise)
    variance = xr.full_like(values, 1.0) * xr.DataArray(sigma**2, dims="energy")
    stack = xr.Dataset({"od": values, "od_variance": variance})
    found = located(stack, method, signal="od")
    spread, told = float(energy_of(found).std()), stderr_of(found)
    assert float(told.std() / told.mean()) < 0.25  # no longer that of the residual of each pixel
    assert float(told.mean()) == pytest.approx(spread, rel=0.1)
    xr.testing.assert_allclose(energy_of(found), energy_of(located(values, method)))
    quarter = located(stack.assign(od_variance=variance / 4), method, signal="od")
    np.testing.assert_allclose(stderr_of(quarter), told / 2, rtol=1e-6)
    lazy = located(stack.chunk(y=13), method, signal="od")
    np.testing.assert_allclose(stderr_of(lazy), told, rtol=1e-7)


def test_maps__values_without_a_variance_are_not_used():
    values = simulated("quadratic", 0.01)
    variance = xr.full_like(values, 1e-4)
    variance[:, 2, 3] = np.nan
    variance[12, 1, 1] = np.nan
    found = located(xr.Dataset({"od": values, "od_variance": variance}), "quadratic", signal="od")
    assert np.argwhere(flagged(found, "not_measured").values).tolist() == [[2, 3]]
    left_out = located(values.where(variance.notnull()), "quadratic")
    np.testing.assert_allclose(energy_of(found), energy_of(left_out))


@pytest.mark.parametrize("method", ["derivative", "arctangent"])
def test_edge_map__a_level_belongs_to_the_half_step(method):
    with pytest.raises(OptionError, match=f"level=0.5: it belongs to 'half_step', '{method}' looks for none"):
        located(simulated(method), method, level=0.5)
