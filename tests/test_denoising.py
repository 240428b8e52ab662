from __future__ import annotations

import re

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from laziness import raise_if_dask_computes
from scipy.signal import savgol_filter

import xstxm
from xstxm._kernels import smoothing
from xstxm.errors import (
    ChoiceError,
    IncompatibleUnitsError,
    MetadataWarning,
    MissingDimensionError,
    MissingVariableError,
    OptionError,
    SchemaError,
)

METHODS = ["svd", "savgol", "nlm", "tv"]
SIGMA = 0.02


@pytest.fixture
def truth(spectra):
    """Optical density (energy, y, x) of 20 x 26 pixels in smooth domains of three phases, without noise."""
    y, x = np.mgrid[:20, :26]
    share = np.stack([np.sin(y / 6) ** 2, np.cos(y / 6) ** 2 * (x > 12), np.cos(y / 6) ** 2 * (x <= 12)])
    amounts = xr.DataArray(share, dims=("reference", "y", "x"))
    od = xr.dot(spectra.drop_vars("reference"), amounts, dim="reference").transpose("energy", "y", "x")
    return od.rename("optical_density").assign_attrs(units="1")


@pytest.fixture
def noisy(truth):
    """The same with Gaussian noise, float32, and its variance."""
    noise = SIGMA * np.random.default_rng(2).standard_normal(truth.shape)
    od = (truth + noise).astype("float32").rename("optical_density").assign_attrs(units="1", long_name="OD")
    variance = xr.full_like(od, SIGMA**2).assign_attrs(units="1")
    return od.to_dataset().assign(optical_density_variance=variance, other=od * 2)


def rms(array):
    return float(np.sqrt((array**2).mean()))


@pytest.mark.parametrize("method", METHODS)
def test_denoise__brings_the_data_nearer_to_the_truth(noisy, truth, method):
    result = xstxm.denoise(noisy, method)
    before, after = (rms(ds["optical_density"] - truth) for ds in (noisy, result))
    assert after < {"svd": 0.35, "savgol": 0.85, "nlm": 0.75, "tv": 0.75}[method] * before
    assert result["optical_density"].dtype == np.float32
    assert result["optical_density"].dims == truth.dims
    assert result["optical_density"].attrs == noisy["optical_density"].attrs
    xr.testing.assert_identical(result["other"], noisy["other"])
    assert result.stxm.history["operation"].tolist() == ["denoise"]


@pytest.mark.parametrize("method", METHODS)
def test_denoise__of_an_array_is_an_array(noisy, method):
    result = xstxm.denoise(noisy["optical_density"], method)
    assert isinstance(result, xr.DataArray)
    np.testing.assert_array_equal(result, xstxm.denoise(noisy, method)["optical_density"])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("chunks", [{"y": 7}, {"energy": 10}, {"x": 9, "y": 4, "energy": 42}], ids=str)
@pytest.mark.filterwarnings("ignore:denoise merges:xstxm.errors.PerformanceWarning")
def test_denoise__is_lazy_and_the_same_for_every_chunking(noisy, method, chunks):
    few = noisy.isel(energy=slice(0, 42, 6)) if method == "nlm" else noisy
    few = few.drop_vars("optical_density_variance") if method == "nlm" else few
    lazy = few.chunk({dim: min(size, few.sizes[dim]) for dim, size in chunks.items()})
    with raise_if_dask_computes():
        result = xstxm.denoise(lazy, method)
    xr.testing.assert_allclose(result, xstxm.denoise(few, method), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("method", METHODS)
def test_denoise__variance_is_that_of_repeated_measurements(noisy, truth, method):
    frames = truth.isel(energy=slice(0, 42, 14)) if method in ("nlm", "tv") else truth
    given = xr.full_like(frames, SIGMA**2)
    rng = np.random.default_rng(7)
    repeats, said = [], []
    for _ in range(60 if method in ("svd", "savgol") else 30):
        data = (frames + SIGMA * rng.standard_normal(frames.shape)).rename("optical_density").assign_attrs(units="1")
        options = {"n_components": 3} if method == "svd" else {}
        with_variance = data.to_dataset().assign(optical_density_variance=given)
        found = xstxm.denoise(with_variance if len(said) < 2 else data.to_dataset(), method, **options)
        repeats.append(found["optical_density"])
        said += [found["optical_density_variance"]] if "optical_density_variance" in found else []
    measured = xr.concat(repeats, "repeat").var("repeat", ddof=1)
    ratio = float(said[0].mean() / measured.mean())
    assert 0.9 < ratio < 1.1 if method in ("svd", "savgol") else 0.7 < ratio < 1.4


def test_savgol__variance_is_exactly_that_of_the_matrix(noisy):
    result = xstxm.denoise(noisy, "savgol", window="3 eV", order=1)
    impulse = xr.zeros_like(noisy["optical_density"].astype(float))
    matrix = np.empty((42, 42))
    for e in range(42):
        one = impulse.copy(deep=True)
        one[e] = 1
        matrix[:, e] = xstxm.denoise(one, "savgol", window="3 eV", order=1)[:, 0, 0]
    uneven = noisy["optical_density_variance"] * xr.DataArray(np.linspace(1, 3, 42), dims="energy")
    carried = xstxm.denoise(noisy.assign(optical_density_variance=uneven), "savgol", window="3 eV", order=1)
    np.testing.assert_allclose(
        result["optical_density"][:, 2, 3], matrix @ noisy["optical_density"].values[:, 2, 3], atol=1e-6
    )
    np.testing.assert_allclose(
        carried["optical_density_variance"][:, 0, 0], matrix**2 @ uneven.values[:, 0, 0], rtol=1e-5
    )


def test_savgol__is_that_of_scipy_on_an_even_axis(noisy):
    even = noisy["optical_density"].astype(float).isel(energy=slice(10, None))
    step = float(even["energy"][1] - even["energy"][0])
    result = xstxm.denoise(even, "savgol", window=6 * step, order=3)
    expected = savgol_filter(even, 7, 3, axis=0)
    np.testing.assert_allclose(result[3:-3], expected[3:-3], atol=1e-12)


@given(
    st.lists(st.integers(0, 400), min_size=4, max_size=25, unique=True),
    st.integers(0, 3),
    st.floats(1, 40),
    st.randoms(use_true_random=False),
)
def test_savgol__leaves_polynomials_up_to_its_order_alone_on_any_axis(places, order, window, random):
    random.shuffle(places)
    axis = 500 + np.array(places) / 10
    matrix = smoothing.local_polynomial(axis, window, order, np.ones(axis.size, dtype=bool))
    for power in range(order + 1):
        values = ((axis - 520) / 20) ** power
        np.testing.assert_allclose(matrix @ values, values, atol=1e-6)
    assert (matrix[np.abs(axis[:, None] - axis) > window / 2 + 1e-6] == 0).all()


@given(st.integers(0, 1000), st.integers(0, 3))
def test_savgol__matrix_with_gaps_is_that_of_an_axis_without_those_energies(seed, order):
    rng = np.random.default_rng(seed)
    axis, used = np.sort(rng.uniform(500, 520, 15)), rng.random(15) < 0.7
    whole = smoothing.local_polynomial(axis, 5.0, order, np.ones(15, dtype=bool))
    found = smoothing.local_polynomial(axis, 5.0, order, used, whole)
    kept = axis[used]
    # the scale of the tolerance on distances follows the axis
    np.testing.assert_allclose(
        found, smoothing.local_polynomial(kept, 5.0, order, np.ones(kept.size, dtype=bool)), atol=1e-9
    )


def test_savgol__window_is_in_energy_units_and_single_energies_stay(noisy):
    result = xstxm.denoise(noisy, "savgol", window="0.0012 keV", order=0)
    od = noisy["optical_density"]
    np.testing.assert_array_equal(result["optical_density"][:9], od[:9])  # 1 eV apart: alone in their window
    inside = result["optical_density"].sel(energy=520)
    np.testing.assert_allclose(inside, od.sel(energy=slice(519.4, 520.6)).mean("energy"), atol=1e-6)


def test_savgol__averages_repeated_energies(truth):
    doubled = truth.isel(energy=[0, 0, 1, 1, 2, 2]).copy(deep=True)
    doubled[1::2] += 0.1
    result = xstxm.denoise(doubled, "savgol", window=0.5)
    np.testing.assert_allclose(result, truth.isel(energy=[0, 0, 1, 1, 2, 2]) + 0.05, atol=1e-12)


@pytest.mark.parametrize("method", ["svd", "savgol"])
def test_denoise__does_not_depend_on_the_order_of_the_energies(noisy, method):
    down = xstxm.denoise(noisy.isel(energy=slice(None, None, -1)), method).sortby("energy")
    xr.testing.assert_allclose(down.drop_attrs(), xstxm.denoise(noisy, method).drop_attrs(), atol=2e-6)


def test_svd__is_the_truncated_svd_of_numpy(noisy):
    od = noisy["optical_density"].astype(float)
    left, values, right = np.linalg.svd(od.values.reshape(42, -1), full_matrices=False)
    expected = (left[:, :2] * values[:2]) @ right[:2]
    found = xstxm.denoise(od, "svd", n_components=2)
    np.testing.assert_allclose(found, expected.reshape(od.shape), atol=1e-10)


def test_svd__says_how_many_components_it_kept(noisy):
    assert "3 of 42 components kept" in xstxm.denoise(noisy, "svd").attrs["history"]


def test_svd__is_not_led_by_pixels_outside_the_mask(noisy, truth):
    broken = noisy.copy(deep=True)
    rng = np.random.default_rng(0)
    broken["optical_density"][:, :2] = 50 * rng.standard_normal((42, 2, 26))
    mask = xr.ones_like(truth.isel(energy=0, drop=True), dtype=bool)
    mask[:2] = False
    result = xstxm.denoise(broken.assign(mask=mask), "svd")
    inside = (result["optical_density"] - truth)[:, 2:]
    assert rms(inside) < 0.35 * SIGMA
    assert bool(result["optical_density"].notnull().all())


@pytest.mark.parametrize("method", METHODS)
def test_denoise__nan_and_inf_stay_and_do_not_spread(noisy, truth, method):
    broken = noisy.copy(deep=True)
    broken["optical_density"][5, 3, 4] = np.nan
    broken["optical_density"][20, 3, 4] = np.inf
    broken["optical_density"][:, 8, 9] = np.nan
    result = xstxm.denoise(broken, method)["optical_density"]
    np.testing.assert_array_equal(result.isnull(), broken["optical_density"].isnull())
    assert float(result[20, 3, 4]) == np.inf
    difference = np.abs(result - truth).where(np.isfinite(broken["optical_density"]))
    assert float(difference.max()) < 8 * SIGMA if method in ("svd", "savgol") else float(difference.mean()) < SIGMA


@pytest.mark.parametrize("method", ["svd", "savgol"])
def test_denoise__variance_beside_a_gap_is_that_of_the_energies_that_are_there(noisy, method):
    options = {"n_components": 2} if method == "svd" else {}
    broken = noisy.copy(deep=True)
    broken["optical_density"][20, 3, 4] = np.nan
    result = xstxm.denoise(broken, method, **options)
    there = np.delete(np.arange(42), 20)
    impulses = np.empty((41, 41))
    for column, e in enumerate(there):
        nudged = broken.copy(deep=True)
        nudged["optical_density"][e, 3, 4] += 1e-3
        # the eigenspectra come from the other pixels: this one is not finite at every energy
        step = xstxm.denoise(nudged, method, **options)["optical_density"] - result["optical_density"]
        impulses[:, column] = step.values[there, 3, 4] / 1e-3
    expected = impulses**2 @ np.full(41, SIGMA**2)
    np.testing.assert_allclose(result["optical_density_variance"].values[there, 3, 4], expected, rtol=0.02)
    assert float(result["optical_density_variance"][20, 3, 4]) == pytest.approx(SIGMA**2)


@pytest.mark.parametrize("method", METHODS)
def test_denoise__a_frame_without_data_stays_one(noisy, method):
    gap = noisy.copy(deep=True)
    gap["optical_density"][4] = np.nan
    if method == "svd":
        with pytest.raises(SchemaError, match="no pixel is finite at every energy"):
            xstxm.denoise(gap, method)
        with pytest.raises(SchemaError, match="no pixel is finite at every energy"):
            xstxm.denoise(gap.chunk(), method).compute()
        return
    result = xstxm.denoise(gap, method)["optical_density"]
    assert bool(result[4].isnull().all())
    assert int(result.isnull().sum()) == 20 * 26


@pytest.mark.parametrize("method", ["nlm", "tv"])
def test_denoise__a_constant_frame_stays_one(noisy, method):
    flat = xr.full_like(noisy["optical_density"].isel(energy=slice(3)), 0.5)
    np.testing.assert_array_equal(xstxm.denoise(flat, method), flat)


@pytest.mark.parametrize("method", METHODS)
def test_denoise__integer_counts_become_float32_and_keep_their_units(truth, method):
    counts = (4000 * np.exp(-truth)).round().astype("uint16").rename("intensity").assign_attrs(units="count")
    result = xstxm.denoise(counts.to_dataset(), method, signal="intensity")["intensity"]
    assert result.dtype == np.float32
    assert result.attrs["units"] == "count"


@pytest.mark.parametrize("method", ["nlm", "tv"])
def test_denoise__frames_are_those_of_scikit_image(noisy, method):
    from skimage import restoration

    frame = noisy["optical_density"].isel(energy=30)
    sigma = smoothing.frame_noise(frame.values)
    if method == "tv":
        expected = restoration.denoise_tv_chambolle(frame.values, weight=2 * sigma)
        found = xstxm.denoise(noisy["optical_density"], "tv", strength=2)
    else:
        expected = restoration.denoise_nl_means(
            frame.values, patch_size=3, patch_distance=4, h=2 * sigma, sigma=sigma, fast_mode=True
        )
        found = xstxm.denoise(noisy["optical_density"], "nlm", strength=2, patch_size=3, patch_distance=4)
    np.testing.assert_allclose(found.isel(energy=30), expected, atol=1e-7)


def test_frame_noise__finds_the_noise_on_a_slope():
    y, x = np.mgrid[:200, :300]
    frame = 0.01 * y - 0.02 * x + 0.3 * np.random.default_rng(0).standard_normal((200, 300))
    frame[5, 7] = np.nan
    assert smoothing.frame_noise(frame) == pytest.approx(0.3, rel=0.03)


@pytest.mark.parametrize("kind", ["line", "theta"])
@pytest.mark.parametrize("method", METHODS)
def test_denoise__any_pixel_dims_where_the_method_allows(noisy, method, kind):
    od = noisy["optical_density"].isel(energy=slice(0, 42, 3))
    shaped = od.isel(y=3) if kind == "line" else xr.concat([od, od + 0.1], xr.Variable("theta", [0.0, 30.0]))
    if kind == "line" and method in ("nlm", "tv"):
        with pytest.raises(
            MissingDimensionError, match=r"works on frames \(y, x\): pass method='svd' or method='savgol'"
        ):
            xstxm.denoise(shaped, method)
        return
    result = xstxm.denoise(shaped, method)
    assert result.dims == shaped.dims
    if kind == "theta" and method != "svd":
        np.testing.assert_allclose(result.isel(theta=0), xstxm.denoise(od, method), atol=1e-6)


@pytest.mark.parametrize(
    ("method", "options", "error", "message"),
    [
        ("svdd", {}, ChoiceError, "did you mean 'svd'"),
        ("svd", {"window": 2.0}, OptionError, "it belongs to method='savgol', 'svd' takes n_components"),
        ("savgol", {"n_components": 2}, OptionError, "it belongs to method='svd', 'savgol' takes window, order"),
        ("savgol", {"strength": 1.0}, OptionError, "it belongs to method='nlm' and method='tv'"),
        ("tv", {"patch_size": 3}, OptionError, "it belongs to method='nlm', 'tv' takes strength"),
        ("svd", {"n_components": 43}, OptionError, "from 1 to 42, the number of energies"),
        ("svd", {"n_components": 1.5}, OptionError, "whole number from 1 to 42, the number of energies"),
        ("savgol", {"window": "0.1 eV"}, OptionError, "no window of 0.1 eV holds more than 3 energies"),
        ("savgol", {"window": -1}, OptionError, "a width above zero"),
        ("savgol", {"window": "2 nm"}, IncompatibleUnitsError, "does not convert to 'eV'"),
        ("savgol", {"order": -1}, OptionError, "whole number of 0 or more"),
        ("svd", {"n_components": "two"}, OptionError, "whole number from 1 to 42, the number of energies"),
        ("tv", {"strength": "much"}, OptionError, "a number above 0"),
        ("tv", {"strength": 0}, OptionError, "a number above 0"),
    ],
    ids=str,
)
def test_denoise__refuses(noisy, method, options, error, message):
    with pytest.raises(error, match=message):
        xstxm.denoise(noisy, method, **options)


def test_denoise__refuses_one_energy_along_energy(noisy):
    one = noisy.isel(energy=[3])
    for method in ("svd", "savgol"):
        with pytest.raises(
            SchemaError, match=f"'{method}' needs two energies or more, the stack has 1: pass method='nlm' or"
        ):
            xstxm.denoise(one, method)
    assert xstxm.denoise(one, "tv").sizes["energy"] == 1


def test_denoise__refuses_what_is_missing_or_does_not_fit(noisy, stack):
    with pytest.raises(MissingVariableError, match="'optical_density' is missing"):
        xstxm.denoise(stack)
    with pytest.raises(SchemaError, match="'optical_density_variance' has dims"):
        xstxm.denoise(noisy.assign(optical_density_variance=noisy["optical_density_variance"].isel(x=0)))
    nowhere = xr.zeros_like(noisy["optical_density"].isel(energy=0, drop=True), dtype=bool)
    with pytest.raises(SchemaError, match="no pixel is left to use"):
        xstxm.denoise(noisy.assign(mask=nowhere))


@pytest.mark.parametrize(
    ("asked", "typed"),
    [
        ({"window": "0.3 eV"}, r"^window='0.3 eV': .*pass window='([^']*)'"),
        ({"order": 9}, r"^order=9: .*pass window='([^']*)'"),
    ],
)
def test_denoise__a_window_that_holds_too_little_is_told_one_that_does(noisy, asked, typed):
    with pytest.raises(OptionError, match=typed) as caught:
        xstxm.denoise(noisy, "savgol", **asked)
    window = re.search(typed, str(caught.value))[1]
    smooth = xstxm.denoise(noisy, "savgol", **{**asked, "window": window})
    assert bool((smooth["optical_density"] != noisy["optical_density"]).any())
    narrower = float(window.split()[0]) - 0.01
    with pytest.raises(OptionError, match="no window of"):
        xstxm.denoise(noisy, "savgol", **{**asked, "window": narrower})


def test_denoise__an_order_that_no_window_bears_is_told_one_that_one_does(noisy):
    few = noisy.isel(energy=slice(5))
    with pytest.raises(OptionError, match=r"^order=4: .*give at most 3, the stack has 5 different energies"):
        xstxm.denoise(few, "savgol", order=4, window=100)
    xstxm.denoise(few, "savgol", order=3, window=100)


def test_denoise__a_lazy_stack_without_a_usable_pixel_says_so_when_computed(noisy):
    lost = noisy.assign(optical_density=noisy["optical_density"].where(noisy["energy"] != 512)).chunk(y=3)
    lazy = xstxm.denoise(lost)
    with pytest.raises(SchemaError, match=r"stack\.optical_density\.count\(\['y', 'x'\]\) says how many") as caught:
        lazy.compute()
    counting = re.search(r"stack\.optical_density\.count\(\['y', 'x'\]\)", str(caught.value))[0]
    count = eval(counting, {"stack": lost}).compute()
    assert count["energy"].values[count == 0].tolist() == [512.0]


def test_denoise__warns_of_what_was_made_from_the_signal_before(stack, i0):
    made = xstxm.normalize_edge(xstxm.optical_density(stack, i0), pre_edge=(505, 510), post_edge=(526, 530))
    with pytest.warns(MetadataWarning, match="'normalized_absorption' was made from 'optical_density' before: call"):
        xstxm.denoise(made, "savgol")
    with pytest.warns(
        MetadataWarning, match="'optical_density' and 'normalized_absorption' were made from 'intensity'"
    ):
        xstxm.denoise(made, "savgol", signal="intensity")
    with pytest.warns(MetadataWarning, match="'normalized_absorption' was made"):
        xstxm.optical_density(made, i0)


def many_components(n: int = 12) -> xr.DataArray:
    rng = np.random.default_rng(3)
    energy = np.linspace(500.0, 560.0, 61)
    spectra = np.exp(-(((energy - np.linspace(505, 555, n)[:, None]) / 2.0) ** 2))
    od = np.tensordot(spectra.T, rng.uniform(0.5, 1.5, (n, 20, 24)), 1) + 0.02 * rng.standard_normal((61, 20, 24))
    coords = {"energy": ("energy", energy, {"units": "eV"})}
    return xr.DataArray(od.astype(np.float32), coords, ("energy", "y", "x"), "optical_density", {"units": "1"})


def test_svd__keeps_every_component_that_pca_suggests():
    stack = many_components()
    decomposed = xstxm.pca(stack)
    assert int(decomposed["suggested_components"]) == 12
    smooth = xstxm.denoise(stack)
    np.testing.assert_allclose(smooth, xstxm.reconstruct(decomposed, 12).transpose(*smooth.dims), atol=1e-4)
    assert "12 of 61 components kept" in smooth.attrs["history"]
