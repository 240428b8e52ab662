from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from laziness import raise_if_dask_computes
from scipy import ndimage

import xstxm
from xstxm._kernels.spikes import energy_pairs, fill_from_energies, find_spikes, median_around
from xstxm.errors import (
    ChoiceError,
    MetadataWarning,
    MissingDimensionError,
    MissingVariableError,
    OptionError,
    PerformanceWarning,
    SchemaError,
)

ENERGIES = np.concatenate([np.arange(510, 520, 0.5), np.arange(520.7, 535, 1.1)])


@pytest.fixture(scope="module")
def sound() -> xr.Dataset:
    """Noisy counts of particles over the V L and O K edges, not square, energies unevenly spaced."""
    return xstxm.testing.simulate_stack(shape=(40, 52), energies=ENERGIES, seed=5)[["intensity"]]


def with_spikes(stack, number=60, size=40.0, seed=0):
    """Return a copy with spikes of `size` standard deviations of the counts, and where they are."""
    rng = np.random.default_rng(seed)
    where = np.zeros(stack["intensity"].shape, dtype=bool)
    where.flat[rng.choice(where.size, number, replace=False)] = True
    copy = stack.copy(deep=True)
    counts = copy["intensity"].values
    counts[where] += (size * np.sqrt(counts[where] + 1)).astype("float32")
    return copy, where


@pytest.mark.parametrize("method", ["both", "spatial", "spectral"])
def test_despike__finds_the_spikes_and_changes_nothing_else(sound, method):
    spiked, where = with_spikes(sound)
    result = xstxm.despike(spiked, method=method)
    found = result["spike"].values
    assert found[where].mean() > 0.97
    assert (found & ~where).mean() <= (5e-4 if method == "spatial" else 0)
    np.testing.assert_array_equal(result["intensity"].values[~found], spiked["intensity"].values[~found])
    off = (result["intensity"].values - sound["intensity"].values)[found & where]
    before = (spiked["intensity"].values - sound["intensity"].values)[found & where]
    assert np.abs(off).mean() < 0.1 * np.abs(before).mean()
    assert result["intensity"].dtype == np.float32
    assert result["intensity"].attrs["units"] == "count"
    assert "spike" not in spiked


@pytest.mark.parametrize("counts", [20, 500, 5000])
@pytest.mark.parametrize("psf", ["0 nm", "40 nm"])
def test_despike__leaves_particles_and_edges_alone(counts, psf):
    stack = xstxm.testing.simulate_stack(shape=(64, 80), counts=counts, psf=psf, seed=3)
    assert not xstxm.despike(stack)["spike"].any()
    assert float(xstxm.despike(stack, method="spectral")["spike"].mean()) < 1e-5


def test_despike__leaves_a_measured_stack_alone(real_data):
    stack = xr.open_dataset(real_data / "fe-l-edge-stack" / "71214078.hdr", engine="stxm").load()
    assert float(xstxm.despike(stack)["spike"].mean()) < 1e-6
    spiked, where = with_spikes(stack, size=15)
    assert xstxm.despike(spiked)["spike"].values[where].mean() > 0.95


def test_despike__leaves_a_peak_that_is_one_energy_wide_alone(sound):
    peak = sound.copy(deep=True)
    peak["intensity"][14, 10:30, 12:40] *= np.float32(0.3)
    assert not xstxm.despike(peak)["spike"].any()
    assert not xstxm.despike(peak, method="spectral")["spike"].any()


def test_despike__leaves_a_grain_of_one_pixel_alone_unless_asked_for_frames_only(sound):
    grain = sound.copy(deep=True)
    grain["intensity"][:, 20, 30] *= np.float32(0.2)
    assert not xstxm.despike(grain)["spike"].any()
    assert xstxm.despike(grain, method="spatial")["spike"].values[:, 20, 30].mean() > 0.9


def test_despike__finds_dropouts_and_pairs(sound):
    broken = sound.copy(deep=True)
    broken["intensity"][10, 20, 30] = 0
    broken["intensity"][12, 5, 6:8] = 60000
    found = xstxm.despike(broken)["spike"].values
    np.testing.assert_array_equal(np.argwhere(found), [[10, 20, 30], [12, 5, 6], [12, 5, 7]])


def test_despike__puts_the_median_of_the_neighbours_in(sound):
    spiked, _ = with_spikes(sound, number=8)
    result = xstxm.despike(spiked)
    rows = np.argwhere(result["spike"].values)
    assert len(rows) >= 7
    for e, y, x in rows:
        box = spiked["intensity"].values[e, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        others = box[box != spiked["intensity"].values[e, y, x]]
        assert result["intensity"].values[e, y, x] == pytest.approx(np.median(others))


def test_despike__spectral_interpolates_at_the_true_energies():
    energy = np.array([510.0, 511.0, 514.0, 515.0, 518.0, 519.0])
    ramp = np.tile((energy * 2)[:, None, None], (1, 9, 11))
    gaps = np.zeros(ramp.shape, dtype=bool)
    gaps[2, 4, 5] = gaps[3, 1, 1] = gaps[4, 1, 1] = True
    spoiled = np.where(gaps, -1e9, ramp)
    filled = fill_from_energies(spoiled, gaps, energy_pairs(energy))
    np.testing.assert_allclose(filled[~gaps], ramp[~gaps])
    assert filled[2, 4, 5] == pytest.approx(2 * 514)
    assert filled[3, 1, 1] == pytest.approx(2 * 515)
    assert filled[4, 1, 1] == 2 * 514
    assert np.isnan(fill_from_energies(spoiled, np.ones_like(gaps), energy_pairs(energy))).all()


@given(st.integers(0, 10_000), st.floats(-3, 3), st.floats(1, 100))
def test_find_spikes__does_not_depend_on_offset_scale_or_energy_order(seed, offset, scale):
    rng = np.random.default_rng(seed)
    frames = rng.normal(size=(6, 12, 15))
    frames.flat[rng.choice(frames.size, 4, replace=False)] += 30
    energy = rng.uniform(500, 520, 6)
    find = {"spatial": True, "image": True, "threshold": 6, "noise": "uniform"}
    found = find_spikes(frames, energy_pairs(energy), **find)
    np.testing.assert_array_equal(find_spikes(scale * frames + offset, energy_pairs(energy), **find), found)
    order = rng.permutation(6)
    np.testing.assert_array_equal(find_spikes(frames[order], energy_pairs(energy[order]), **find), found[order])
    np.testing.assert_array_equal(find_spikes(-frames, energy_pairs(energy), **find), found)


def test_find_spikes__false_alarms_of_pure_noise_are_rare():
    rng = np.random.default_rng(0)
    frames = rng.normal(size=(30, 200, 200)).astype("float32")
    find = {"image": True, "noise": "uniform"}
    few = find_spikes(frames, None, spatial=True, threshold=6, **find)
    many = find_spikes(frames, None, spatial=True, threshold=2.5, **find)
    assert few.mean() < 1e-5 < many.mean()


@given(st.integers(0, 10**6), st.tuples(st.integers(1, 9), st.integers(1, 9)), st.sampled_from(["float32", "float64"]))
def test_median_around__is_that_of_scipy(seed, shape, dtype):
    image = np.random.default_rng(seed).integers(-9, 9, shape).astype(dtype)
    np.testing.assert_array_equal(median_around(image), ndimage.median_filter(image, size=3, mode="mirror"))


@pytest.mark.parametrize("unit", ["count", "count/ms", "1"])
def test_despike__works_in_any_unit(sound, unit):
    spiked, where = with_spikes(sound)
    values = spiked["intensity"]
    values = values if unit == "count" else values / 250
    values = -np.log(values / 30) if unit == "1" else values.assign_coords(dwell_time=((), 250.0, {"units": "ms"}))
    found = xstxm.despike(values.assign_attrs(units=unit))
    assert isinstance(found, xr.DataArray)
    assert found.attrs["units"] == unit
    assert (found != values).values[where].mean() > 0.85
    assert (found != values).values[~where].sum() == 0


@pytest.mark.parametrize("method", ["both", "spatial", "spectral"])
@pytest.mark.parametrize("chunks", [{"y": 11, "x": 20}, {"y": 40, "x": 5}], ids=str)
def test_despike__is_lazy_and_the_same_for_every_chunking(sound, method, chunks):
    spiked, _ = with_spikes(sound)
    spiked["intensity"][:, 3, 4] = np.nan
    spiked["intensity"][9, 30:] = np.nan
    with raise_if_dask_computes():
        lazy = xstxm.despike(spiked.chunk(chunks), method=method)
    expected = xstxm.despike(spiked, method=method)
    assert expected["spike"].any()
    xr.testing.assert_equal(lazy.compute(), expected)


def test_despike__by_frame_needs_no_whole_spectra(sound):
    spiked, _ = with_spikes(sound)
    by_frame = spiked.chunk(energy=1)
    lazy = xstxm.despike(by_frame, method="spatial")
    assert lazy["intensity"].chunksizes["energy"] == (1,) * ENERGIES.size
    xr.testing.assert_equal(lazy.compute(), xstxm.despike(spiked, method="spatial"))
    with pytest.warns(PerformanceWarning, match="despike merges"):
        xstxm.despike(by_frame)


def test_despike__nan_stays_nan_and_is_no_neighbour(sound):
    spiked, where = with_spikes(sound, number=20)
    spiked["intensity"][:, 20:, :] = np.nan
    result = xstxm.despike(spiked)
    np.testing.assert_array_equal(result["intensity"].isnull(), spiked["intensity"].isnull())
    assert result["spike"].values[where][spiked["intensity"].notnull().values[where]].mean() > 0.9
    assert not (result["spike"].values & ~where).any()


def test_despike__beside_a_frame_without_data(sound):
    spiked = sound.copy(deep=True)
    spiked["intensity"][10] = np.nan
    spiked["intensity"][11, 20, 30] = 90000
    np.testing.assert_array_equal(np.argwhere(xstxm.despike(spiked)["spike"].values), [[11, 20, 30]])


def test_despike__of_an_all_nan_or_constant_frame_changes_nothing(sound):
    broken = sound.copy(deep=True)
    broken["intensity"][5] = np.nan
    broken["intensity"][9] = 1000
    xr.testing.assert_equal(xstxm.despike(broken)["intensity"], broken["intensity"])


def test_despike__carries_the_variance(sound):
    spiked, _ = with_spikes(sound, number=20)
    spiked["intensity_variance"] = spiked["intensity"].assign_attrs(units="count**2")
    inside = {"y": slice(1, -1), "x": slice(1, -1)}
    result = xstxm.despike(spiked, method="spatial")
    spike = result["spike"]
    assert spike.isel(inside).any()
    mean = spiked["intensity"].copy(
        data=ndimage.generic_filter(
            spiked["intensity"].values.astype(float), np.mean, footprint=np.array([[[1, 1, 1], [1, 0, 1], [1, 1, 1]]])
        )
    )
    np.testing.assert_allclose(
        result["intensity_variance"].isel(inside).values[spike.isel(inside).values],
        (np.pi / 2 * mean / 8).isel(inside).values[spike.isel(inside).values],
        rtol=1e-4,
    )
    xr.testing.assert_equal(result["intensity_variance"].where(~spike), spiked["intensity_variance"].where(~spike))


def test_despike__variance_of_a_spectral_replacement(sound):
    spiked = sound.copy(deep=True)
    spiked["intensity"][25, 20, 30] += 9000
    spiked["intensity_variance"] = (spiked["intensity"] * 0 + 100.0).assign_attrs(units="count**2")
    result = xstxm.despike(spiked, method="spectral")
    weight = (ENERGIES[25] - ENERGIES[24]) / (ENERGIES[26] - ENERGIES[24])
    expected = (1 - weight) * sound["intensity"][24, 20, 30] + weight * sound["intensity"][26, 20, 30]
    assert float(result["intensity"][25, 20, 30]) == pytest.approx(float(expected), rel=1e-5)
    assert float(result["intensity_variance"][25, 20, 30]) == pytest.approx(100 * ((1 - weight) ** 2 + weight**2))


def test_despike__replaced_values_have_the_variance_it_says():
    rng = np.random.default_rng(3)
    flat = rng.normal(1000, 10, (400, 5, 5)).astype("float32")
    flat[:, 2, 2] = 5000
    energy = ("energy", np.linspace(500, 600, 400), {"units": "eV"})
    stack = xr.Dataset(
        {
            "intensity": (("energy", "y", "x"), flat, {"units": "1"}),
            "intensity_variance": (("energy", "y", "x"), flat * 0 + 100),
        },
        coords={"energy": energy},
    )
    result = xstxm.despike(stack, method="spatial").isel(y=2, x=2)
    assert bool(result["spike"].all())
    assert float(result["intensity"].var()) == pytest.approx(float(result["intensity_variance"][0]), rel=0.2)


def test_despike__remembers_what_it_changed_before(sound):
    spiked, _ = with_spikes(sound, number=30)
    once = xstxm.despike(spiked)
    again = xstxm.despike(once)
    assert bool((again["spike"] | ~once["spike"]).all())
    assert f"despike(); {int(once['spike'].sum())} of {once['spike'].size} values" in once.attrs["history"]


def test_despike__of_a_series_and_of_a_line(sound):
    spiked, _ = with_spikes(sound)
    series = xr.concat([sound, spiked], xr.DataArray([0.0, 30.0], dims="theta")).transpose("energy", "y", "x", "theta")
    result = xstxm.despike(series)
    assert result["intensity"].dims == ("energy", "y", "x", "theta")
    np.testing.assert_array_equal(result["spike"][..., 1], xstxm.despike(spiked)["spike"])
    assert not result["spike"][..., 0].any()
    line = sound.isel(y=3, drop=True).rename(x="position").copy(deep=True)
    line["intensity"][9, 20] = 90000
    np.testing.assert_array_equal(np.argwhere(xstxm.despike(line, method="spectral")["spike"].values), [[9, 20]])


def test_despike__warns_that_an_optical_density_is_stale(sound):
    with pytest.warns(MetadataWarning, match="'optical_density' was made from 'intensity' before"):
        xstxm.despike(xstxm.optical_density(sound))


def test_despike__energies_that_are_there_twice(sound):
    twice = xr.concat([sound, sound], "energy").sortby("energy").copy(deep=True)
    assert not xstxm.despike(twice)["spike"].any()
    twice["intensity"][20, 20, 30] = 90000
    for method in ("both", "spectral"):
        np.testing.assert_array_equal(np.argwhere(xstxm.despike(twice, method=method)["spike"].values), [[20, 20, 30]])


def test_despike__integers_become_float32(sound):
    assert xstxm.despike(sound.astype("uint16"))["intensity"].dtype == np.float32


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        pytest.param(None, {"method": "spatal"}, ChoiceError, "did you mean 'spatial'", id="typo"),
        pytest.param(None, {"threshold": 0}, OptionError, "a multiple of the noise", id="threshold"),
        pytest.param(None, {"signal": "od"}, MissingVariableError, "'od' is missing", id="signal"),
        pytest.param(
            lambda s: s.isel(energy=[0]), {}, OptionError, "1 energies say too little .* method='spatial'", id="image"
        ),
        pytest.param(lambda s: s.isel(x=0), {}, MissingDimensionError, "method='spectral'", id="line"),
    ],
)
def test_despike__refuses(sound, change, options, error, message):
    with pytest.raises(error, match=message):
        xstxm.despike(change(sound) if change else sound, **options)


def test_despike__of_one_image(sound):
    image = sound.isel(energy=[7]).copy(deep=True)
    image["intensity"][0, 20, 20] = 60000
    found = xstxm.despike(image, method="spatial")["spike"].values
    assert found[0, 20, 20]
    assert found.sum() <= 2


# ---- bad pixels


@pytest.fixture(scope="module")
def dead() -> xr.Dataset:
    return xstxm.testing.simulate_stack(shape=(40, 52), energies=ENERGIES, dead_pixels=9, seed=6)[["intensity", "dead"]]


def test_repair_pixels__finds_stuck_and_dead_pixels_and_invents_nothing(dead):
    result = xstxm.repair_pixels(dead)
    np.testing.assert_array_equal(result["bad_pixel"], dead["dead"])
    assert bool(result["intensity"].where(dead["dead"]).isnull().all())
    xr.testing.assert_equal(result["intensity"], dead["intensity"].where(~dead["dead"]))
    assert result["intensity"].dtype == np.float32
    assert "9 of 2080 pixels" in result.attrs["history"]


@pytest.mark.parametrize("kind", ["hot", "noisy", "dark noise", "stuck high"])
def test_repair_pixels__finds_other_kinds(sound, kind):
    rng = np.random.default_rng(0)
    n = ENERGIES.size
    spectrum = {
        "hot": sound["intensity"].values[:, 7, 9] + rng.poisson(9000, n),
        "noisy": sound["intensity"].values[:, 7, 9] + rng.normal(0, 900, n),
        "dark noise": rng.poisson(3, n),
        "stuck high": np.full(n, 65535),
    }[kind]
    broken = sound.copy(deep=True)
    broken["intensity"][:, 7, 9] = spectrum
    np.testing.assert_array_equal(np.argwhere(xstxm.repair_pixels(broken)["bad_pixel"].values), [[7, 9]])


@pytest.mark.parametrize("counts", [5, 100, 5000])
def test_repair_pixels__of_a_sound_stack_are_none(counts):
    stack = xstxm.testing.simulate_stack(shape=(64, 80), energies=ENERGIES, counts=counts, psf="0 nm", seed=2)
    assert not xstxm.repair_pixels(stack)["bad_pixel"].any()


def test_repair_pixels__of_a_measured_stack_are_none(real_data):
    stack = xr.open_dataset(real_data / "fe-l-edge-stack" / "71214078.hdr", engine="stxm").load()
    assert not xstxm.repair_pixels(stack)["bad_pixel"].any()


def test_repair_pixels__a_grain_and_a_few_spikes_are_no_bad_pixel(sound):
    stack = sound.copy(deep=True)
    stack["intensity"][:, 20, 30] *= np.float32(0.15)
    stack["intensity"][[5, 21], 5, 5] += np.float32(20000)
    assert not xstxm.repair_pixels(stack)["bad_pixel"].any()


def test_repair_pixels__fills_from_neighbours_on_request_only(dead):
    noisy = dead.assign(intensity_variance=dead["intensity"].assign_attrs(units="count**2"))
    result = xstxm.repair_pixels(noisy, fill="neighbours")
    gaps = dead["intensity"].where(~dead["dead"])
    for y, x in np.argwhere(dead["dead"].values):
        box = gaps[:, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].values.reshape(ENERGIES.size, -1)
        np.testing.assert_allclose(result["intensity"][:, y, x], np.nanmedian(box, axis=1))
        n = np.isfinite(box).sum(1)
        np.testing.assert_allclose(result["intensity_variance"][:, y, x], np.pi / 2 * np.nanmean(box, 1) / n, rtol=1e-5)
    xr.testing.assert_equal(result["intensity"].where(~dead["dead"]), gaps)
    blank = xstxm.repair_pixels(noisy)
    np.testing.assert_array_equal(blank["intensity_variance"].isnull().any("energy"), dead["dead"])


@pytest.mark.parametrize("fill", ["nan", "neighbours"])
def test_repair_pixels__with_a_mask_is_lazy_and_the_same_for_every_chunking(dead, fill):
    with raise_if_dask_computes():
        lazy = xstxm.repair_pixels(dead.chunk(y=9, x=20, energy=7), dead["dead"], fill=fill)
    xr.testing.assert_equal(lazy.compute(), xstxm.repair_pixels(dead, dead["dead"], fill=fill))
    with raise_if_dask_computes(max_computes=1):
        found = xstxm.repair_pixels(dead.chunk(y=9, x=20), fill=fill)
    xr.testing.assert_equal(found.compute(), lazy.compute())


def test_repair_pixels__does_not_depend_on_the_order_of_the_energies(dead):
    down = dead.isel(energy=slice(None, None, -1))
    np.testing.assert_array_equal(xstxm.repair_pixels(down)["bad_pixel"], dead["dead"])


def test_repair_pixels__pixels_that_the_mask_leaves_out_are_not_judged(dead):
    used = ~dead["dead"] | (np.arange(52) < 26)
    result = xstxm.repair_pixels(dead.assign(mask=used.drop_attrs()))
    np.testing.assert_array_equal(result["bad_pixel"], dead["dead"] & used)


def test_repair_pixels__an_array_a_series_and_no_bad_pixel(dead):
    array = xstxm.repair_pixels(dead["intensity"], dead["dead"].transpose("x", "y"))
    assert isinstance(array, xr.DataArray)
    assert bool(array.isnull().any())
    none = xstxm.repair_pixels(dead, xr.zeros_like(dead["dead"]))
    xr.testing.assert_equal(none["intensity"], dead["intensity"])
    series = dead[["intensity"]].expand_dims(theta=2).transpose("theta", "energy", "y", "x")
    result = xstxm.repair_pixels(series, fill="neighbours")
    assert result["bad_pixel"].dims == ("theta", "y", "x")
    np.testing.assert_array_equal(result["bad_pixel"][1], dead["dead"])


def test_repair_pixels__all_bad_leaves_nan_not_numbers(dead):
    all_bad = xr.ones_like(dead["dead"])
    assert bool(xstxm.repair_pixels(dead, all_bad, fill="neighbours")["intensity"].isnull().all())


@pytest.mark.parametrize(
    ("change", "bad", "error", "message"),
    [
        pytest.param(None, np.ones(3, bool), SchemaError, "bad_pixels is ndarray, wanted a bool array", id="numpy"),
        pytest.param(None, xr.DataArray(np.ones((40, 52)), dims=("y", "x")), SchemaError, "wanted a bool", id="float"),
        pytest.param(
            None, xr.DataArray(np.ones((40, 51), bool), dims=("y", "x")), SchemaError, "51 pixels along 'x'", id="shape"
        ),
        pytest.param(lambda s: s.isel(energy=slice(7)), None, OptionError, "7 energies are too few", id="energies"),
        pytest.param(lambda s: s.isel(x=0), None, MissingDimensionError, "bad pixels belong to an image", id="line"),
    ],
)
def test_repair_pixels__refuses(sound, change, bad, error, message):
    with pytest.raises(error, match=message):
        xstxm.repair_pixels(change(sound) if change else sound, bad)


def test_find_spikes__candidates_looked_at_one_by_one_or_together_are_the_same(sound, monkeypatch):
    spiked, _ = with_spikes(sound)
    spiked["intensity"][:, 0, :] = np.nan
    spiked["intensity"][3, 39, 51] = 90000
    one_by_one = xstxm.despike(spiked)
    monkeypatch.setattr("xstxm._kernels.spikes._FEW", 0)
    xr.testing.assert_equal(xstxm.despike(spiked)["spike"], one_by_one["spike"])
    assert one_by_one["spike"][3, 39, 51]


@pytest.mark.parametrize("known", [True, False], ids=["dwell time known", "dwell time unknown"])
@pytest.mark.parametrize("mean", [0.05, 0.3, 3.0])
def test_despike__judges_few_counts_alike_whether_they_are_counts_or_rates(sound, known, mean):
    rng = np.random.default_rng(1)
    dwell = xr.DataArray(np.linspace(1.5, 4.0, ENERGIES.size), dims="energy", attrs={"units": "ms"})
    counts = sound["intensity"].reset_coords(drop=True)
    counts = counts.copy(data=rng.poisson(mean, counts.shape).astype("float32"))
    counts[7, 20, 30] = 60
    rate = (counts / dwell).astype("float32").assign_attrs(units="count/ms")
    rate = rate.assign_coords(dwell_time=dwell) if known else rate
    changed = xstxm.despike(counts) != counts
    assert changed[7, 20, 30]
    assert int(changed.sum()) < 5
    np.testing.assert_array_equal((xstxm.despike(rate) != rate).transpose(*counts.dims), changed)
    with raise_if_dask_computes():
        lazy = xstxm.despike(rate.chunk(y=11, x=20))
    xr.testing.assert_equal(lazy.compute(), xstxm.despike(rate))


def test_despike__of_rates_without_a_dwell_time_in_odd_shapes():
    line = xr.DataArray(
        np.random.default_rng(0).poisson(3.0, 40) / 2.5,
        dims="energy",
        coords={"energy": ("energy", np.arange(40.0), {"units": "eV"})},
        attrs={"units": "count/ms"},
    )
    line[20] = 100.0
    assert np.flatnonzero(xstxm.despike(line, method="spectral") != line).tolist() == [20]
    flat = xr.full_like(line, 2.0)
    xr.testing.assert_equal(xstxm.despike(flat, method="spectral"), flat)


@pytest.mark.parametrize("chunks", [None, {"y": 11, "x": 20}], ids=str)
def test_repair_pixels__finds_bad_pixels_beside_values_that_are_missing(dead, chunks):
    holes = dead.copy(deep=True)
    holes["intensity"][5] = np.nan
    holes["intensity"][:, 3, 4] = np.nan
    holes["intensity"][2:4, 10:12] = np.inf
    expected = xstxm.repair_pixels(dead)["bad_pixel"].copy()
    expected[3, 4] = False
    found = xstxm.repair_pixels(holes if chunks is None else holes.chunk(chunks))
    assert expected.any()
    np.testing.assert_array_equal(found["bad_pixel"], expected)
    assert "1 pixels not judged" in found.stxm.history["notes"].iloc[-1]


def test_repair_pixels__does_not_judge_pixels_with_too_few_values(dead):
    few = dead.where((dead["energy"] < dead["energy"][7]) | (dead["y"] > dead["y"][0]))
    found = xstxm.repair_pixels(few)
    assert not found["bad_pixel"][0].any()
    assert f"{dead.sizes['x']} pixels not judged: fewer than 8 finite values" in found.stxm.history["notes"].iloc[-1]
