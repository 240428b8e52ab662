from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from laziness import raise_if_dask_computes

import xstxm
from xstxm._kernels.scan_lines import line_offsets
from xstxm.errors import (
    ChoiceError,
    ChunkingError,
    IncompatibleUnitsError,
    MetadataWarning,
    MissingCoordinateError,
    MissingDimensionError,
    MissingVariableError,
    OptionError,
    PerformanceWarning,
    SchemaError,
)

ENERGIES = np.concatenate([np.arange(510, 520, 1.0), np.arange(520.7, 535, 2.1)])


@pytest.fixture(scope="module")
def sound() -> xr.Dataset:
    """Noisy counts of particles, not square, with ring current and dwell time."""
    return xstxm.testing.simulate_stack(shape=(48, 60), energies=ENERGIES, seed=5)[["intensity"]]


# ---- dark


@pytest.mark.parametrize("dark", [12.0, "12 count", xr.DataArray(12, attrs={"units": "count"})], ids=str)
def test_subtract_dark__in_any_spelling(stack, dark):
    result = xstxm.subtract_dark(stack, dark)
    np.testing.assert_allclose(result["intensity"], stack["intensity"] - 12, rtol=1e-6)
    assert result["intensity"].dtype == np.float32
    assert result["intensity"].attrs == stack["intensity"].attrs


@pytest.mark.parametrize("dims", [("energy",), ("y", "x"), ("energy", "y", "x"), ("x",)], ids=str)
def test_subtract_dark__of_any_shape_is_lazy(stack, dims):
    rng = np.random.default_rng(0)
    dark = xr.DataArray(rng.uniform(0, 50, [stack.sizes[d] for d in dims]), {d: stack[d] for d in dims}, dims)
    with raise_if_dask_computes():
        lazy = xstxm.subtract_dark(stack.chunk(y=2), dark)
    expected = (stack["intensity"] - dark).transpose("energy", "y", "x")
    np.testing.assert_allclose(lazy["intensity"], expected, rtol=1e-5)
    assert lazy["intensity"].dims == ("energy", "y", "x")


def test_subtract_dark__then_optical_density_is_optical_density_with_dark(stack, i0, density):
    raw = stack.assign(intensity=(stack["intensity"] + 40).assign_attrs(stack["intensity"].attrs))
    raw["i0"] = (i0 + 40).assign_attrs(i0.attrs)
    first = xstxm.optical_density(xstxm.subtract_dark(raw, 40.0))["optical_density"]
    np.testing.assert_allclose(first, xstxm.optical_density(raw, dark=40.0)["optical_density"], atol=1e-6)
    np.testing.assert_allclose(first, density, atol=1e-5)


def test_subtract_dark__negative_counts_stay_negative(stack):
    assert float(xstxm.subtract_dark(stack, 5000.0)["intensity"].max()) < 0


def test_subtract_dark__leaves_the_variance(stack):
    given_stack = stack.assign(intensity_variance=stack["intensity"].assign_attrs(units="count**2"))
    result = xstxm.subtract_dark(given_stack, 40.0)
    xr.testing.assert_identical(result["intensity_variance"], given_stack["intensity_variance"])


@pytest.mark.parametrize(
    ("dark", "with_i0", "error", "message"),
    [
        pytest.param("3 eV", None, IncompatibleUnitsError, "dark is in 'eV'", id="units"),
        pytest.param(
            xr.DataArray(np.ones((6, 8)), dims=("y", "x")), None, SchemaError, "8 pixels along 'x'", id="shape"
        ),
        pytest.param(
            xr.DataArray(np.ones((6, 9)), dims=("y", "x")), "count", SchemaError, "its dark is unknown", id="i0"
        ),
        pytest.param(3.0, "count/ms", SchemaError, "'i0' is in count/ms, the counts in count", id="i0 rate"),
    ],
)
def test_subtract_dark__refuses(stack, i0, dark, with_i0, error, message):
    given_stack = stack.assign(i0=i0.assign_attrs(units=with_i0)) if with_i0 else stack
    with pytest.raises(error, match=message):
        xstxm.subtract_dark(given_stack, dark)


# ---- ring current


def test_normalize_current__gives_what_a_constant_current_would(sound):
    current = sound["ring_current"]
    result = xstxm.normalize_current(sound, "0.35 A")
    np.testing.assert_allclose(result["intensity"], sound["intensity"] * 350 / current, rtol=1e-6)
    assert result["intensity"].attrs["units"] == "count"
    assert result["intensity"].attrs["reference_current"] == "350 mA"
    assert result["intensity"].dtype == np.float32
    assert "scaled to 350 mA" in result.attrs["history"]
    xr.testing.assert_identical(result["ring_current"], current)


def test_normalize_current__to_the_mean_by_default(sound):
    result = xstxm.normalize_current(sound)
    mean = float(sound["ring_current"].mean())
    np.testing.assert_allclose(result["intensity"], sound["intensity"] * mean / sound["ring_current"], rtol=1e-6)
    assert result["intensity"].attrs["reference_current"] == f"{mean:.6g} mA"


def test_normalize_current__by_pixel_is_lazy_and_carries_the_variance(sound):
    rng = np.random.default_rng(0)
    current = xr.DataArray(
        rng.uniform(0.3, 0.4, sound["intensity"].shape), dims=("energy", "y", "x"), attrs={"units": "A"}
    )
    stack = sound.assign_coords(ring_current=current)
    stack["intensity_variance"] = stack["intensity"].assign_attrs(units="count**2")
    with raise_if_dask_computes():
        result = xstxm.normalize_current(stack.chunk(y=9), "350 mA")
    np.testing.assert_allclose(result["intensity"], sound["intensity"] * 0.35 / current, rtol=1e-5)
    expected = sound["intensity"] * (0.35 / current) ** 2
    np.testing.assert_allclose(result["intensity_variance"], expected, rtol=1e-5)
    assert result["intensity_variance"].attrs["units"] == "count**2"


def test_normalize_current__leaves_the_optical_density_of_its_own_i0_alone(sound):
    region = {"x": (0.0, 0.2)}
    before = xstxm.optical_density(sound, xstxm.estimate_i0(sound, region))["optical_density"]
    scaled = xstxm.normalize_current(sound)
    after = xstxm.optical_density(scaled, xstxm.estimate_i0(scaled, region))["optical_density"]
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_normalize_current__without_beam_is_nan_and_told(sound):
    current = sound["ring_current"].copy(deep=True)
    current[3] = 0.0
    with pytest.warns(MetadataWarning, match="not above zero at 1 of 17 points"):
        result = xstxm.normalize_current(sound.assign_coords(ring_current=current))
    assert np.flatnonzero(result["intensity"].isnull().all(("y", "x"))).tolist() == [3]
    assert np.isfinite(result["intensity"].isel(energy=slice(4, None))).all()


@pytest.mark.parametrize(
    ("change", "reference", "error", "message"),
    [
        pytest.param(lambda s: s.drop_vars("ring_current"), None, MissingCoordinateError, "ring_current", id="none"),
        pytest.param(lambda s: xstxm.normalize_current(s, 400), None, SchemaError, "already, to 400 mA", id="twice"),
        pytest.param(lambda s: s.assign(i0=s["intensity"][:, 0, 0]), None, SchemaError, "would no longer fit", id="i0"),
        pytest.param(lambda s: s, -4, OptionError, "a ring current is above zero", id="reference"),
        pytest.param(lambda s: s, "4 eV", IncompatibleUnitsError, "reference is in 'eV'", id="units"),
        pytest.param(lambda s: s.rename(intensity="other"), None, MissingVariableError, "'intensity'", id="signal"),
    ],
)
def test_normalize_current__refuses(sound, change, reference, error, message):
    with pytest.raises(error, match=message):
        xstxm.normalize_current(change(sound), reference)


def test_normalize_current__without_any_beam_is_refused(sound):
    dark = sound.assign_coords(ring_current=sound["ring_current"] * 0)
    dark["ring_current"].attrs["units"] = "mA"
    with pytest.warns(MetadataWarning), pytest.raises(OptionError, match="a ring current is above zero"):
        xstxm.normalize_current(dark)


# ---- lines


def striped(stack, kind, size, slow="y", seed=0):
    """Return a copy with single lines and one pair of lines changed, and the changes (energy, slow)."""
    rng = np.random.default_rng(seed)
    n = stack.sizes[slow]
    change = np.zeros((stack.sizes["energy"], n))
    for row in change:
        row[rng.choice(np.arange(12, n - 4), 4, replace=False)] = rng.choice([-1, 1], 4) * size
        row[6] = row[7] = size
    error = xr.DataArray(change, dims=("energy", slow))
    values = stack["intensity"] * np.exp(error) if kind == "gain" else stack["intensity"] + error
    values = values.transpose(*stack["intensity"].dims).astype("float32").assign_attrs(stack["intensity"].attrs)
    return stack.assign(intensity=values), error


@pytest.mark.parametrize("slow", ["y", "x"])
@pytest.mark.parametrize(("kind", "size"), [("gain", 0.15), ("offset", 400.0)])
def test_level_lines__takes_the_lines_out(sound, kind, size, slow):
    broken, error = striped(sound, kind, size, slow)
    result = xstxm.level_lines(broken, kind=kind, slow=slow)
    found = result["line_correction"]
    found = np.log(found) if kind == "gain" else found
    before, after = float(error.std()), float((found - error).std())
    assert after < 0.35 * before
    off = (result["intensity"] - sound["intensity"]).std() / (broken["intensity"] - sound["intensity"]).std()
    assert float(off) < 0.35
    assert result["intensity"].dtype == np.float32
    assert result["line_correction"].attrs["units"] == ("1" if kind == "gain" else "count")
    assert result["line_correction"].attrs["kind"] == kind


@pytest.mark.parametrize("counts", [50, 5000])
@pytest.mark.parametrize("slow", ["y", "x"])
@pytest.mark.parametrize("kind", ["gain", "offset"])
def test_level_lines__leaves_particles_alone(counts, slow, kind):
    stack = xstxm.testing.simulate_stack(shape=(64, 80), energies=ENERGIES, counts=counts, seed=8)
    result = xstxm.level_lines(stack[["intensity"]], slow=slow, kind=kind)
    touched = result["line_correction"] != (kind == "gain")
    assert float(touched.mean()) < 0.01
    same = ~touched.broadcast_like(stack["intensity"]).transpose("energy", "y", "x")
    xr.testing.assert_equal(result["intensity"].where(same), stack["intensity"].where(same))


def test_level_lines__leaves_a_measured_stack_nearly_alone(real_data):
    stack = xr.open_dataset(real_data / "fe-l-edge-stack" / "71214078.hdr", engine="stxm").load()
    correction = xstxm.level_lines(stack)["line_correction"]
    assert float((correction != 1).mean()) < 0.002


def test_level_lines__a_particle_with_a_straight_edge_stays():
    rng = np.random.default_rng(0)
    image = np.full((1, 40, 50), 3000.0)
    image[:, 12:30, 5:45] = 800.0
    energy = ("energy", [520.0], {"units": "eV"})
    counts = rng.poisson(image).astype("float32")
    array = xr.DataArray(counts, dims=("energy", "y", "x"), coords={"energy": energy}, attrs={"units": "count"})
    xr.testing.assert_equal(xstxm.level_lines(array), array)


@given(st.integers(0, 10_000), st.floats(0.5, 20), st.floats(-5, 5))
def test_line_offsets__scale_with_the_frame_and_ignore_its_level(seed, scale, level):
    rng = np.random.default_rng(seed)
    frame = rng.normal(size=(20, 30))
    frame[rng.integers(1, 19)] += 8
    found = line_offsets(frame, 3, 5.0)
    assert np.count_nonzero(found) >= 1
    np.testing.assert_allclose(line_offsets(scale * frame + level, 3, 5.0), scale * found, atol=1e-9)
    np.testing.assert_allclose(line_offsets(frame[::-1], 3, 5.0)[::-1], found, atol=1e-9)
    np.testing.assert_allclose(line_offsets(-frame, 3, 5.0), -found, atol=1e-9)


def test_level_lines__options_act(sound):
    broken, _ = striped(sound, "gain", 0.05)
    changed = {
        name: int((xstxm.level_lines(broken, **options)["line_correction"] != 1).sum())
        for name, options in {
            "default": {},
            "eager": {"min_significance": 1.0},
            "never": {"min_significance": 1e9},
            "long": {"max_lines": 8},
        }.items()
    }
    assert changed["never"] == 0 < changed["default"] < changed["eager"]
    assert changed["long"] != changed["default"]


@pytest.mark.parametrize("kind", ["gain", "offset"])
def test_level_lines__is_lazy_and_carries_the_variance(sound, kind):
    broken, _ = striped(sound, kind, 0.2 if kind == "gain" else 500.0)
    broken["intensity_variance"] = broken["intensity"].assign_attrs(units="count**2")
    with raise_if_dask_computes():
        lazy = xstxm.level_lines(broken.chunk(energy=3), kind=kind)
    result = xstxm.level_lines(broken, kind=kind)
    xr.testing.assert_equal(lazy.compute(), result)
    factor = result["line_correction"] ** (-2 if kind == "gain" else 0)
    np.testing.assert_allclose(result["intensity_variance"], broken["intensity_variance"] * factor, rtol=1e-5)
    with raise_if_dask_computes(), pytest.warns(PerformanceWarning, match="merges 4 chunks along 'y'"):
        by_pixel = xstxm.level_lines(broken.chunk(y=12), kind=kind)
    xr.testing.assert_allclose(by_pixel.compute(), result)


@pytest.mark.parametrize("verb", [xstxm.level_lines, lambda s: xstxm.denoise(s, "tv", signal="intensity")])
def test_verbs_of_images__name_both_dimensions_of_a_large_stack_that_is_stored_by_spectra(sound, verb):
    stack = sound[["intensity"]].chunk(y=12, x=8)
    refused = r"needs 'y' and 'x' in one chunk, found .*`xstxm convert spectra.zarr images.hdf5` .*\.chunk\(y=-1, x=-1\) first"
    with xstxm.set_options(rechunk_limit=1.0), pytest.raises(ChunkingError, match=refused) as error:
        verb(stack)
    assert error.value.dims == ("y", "x")
    found = verb(stack.chunk(y=-1, x=-1)).compute()
    np.testing.assert_array_equal(found["intensity"], verb(sound)["intensity"])


def test_level_lines__counts_of_zero_and_nan_have_no_part(sound):
    broken, _ = striped(sound, "gain", 0.2)
    broken["intensity"][:, 5, :20] = 0
    broken["intensity"][:, :, 40] = np.nan
    broken["intensity"][4] = np.nan
    broken["intensity"][6, 20] = np.nan
    result = xstxm.level_lines(broken)
    np.testing.assert_array_equal(result["intensity"].isnull(), broken["intensity"].isnull())
    assert bool((result["line_correction"][4] == 1).all())
    others = [e for e in range(ENERGIES.size) if e not in (4, 6)]
    expected = xstxm.level_lines(striped(sound, "gain", 0.2)[0])["line_correction"]
    off = np.abs(result["line_correction"][others] - expected[others])
    assert float(off.mean()) < 0.002


def test_level_lines__of_a_series_and_an_array(sound):
    broken, _ = striped(sound, "gain", 0.2)
    series = xr.concat([broken, sound], xr.DataArray([0.0, 30.0], dims="theta"))
    result = xstxm.level_lines(series)
    assert result["intensity"].dims == series["intensity"].dims
    assert result["line_correction"].dims == ("energy", "theta", "y")
    expected = xstxm.level_lines(broken["intensity"])
    assert isinstance(expected, xr.DataArray)
    np.testing.assert_array_equal(result["intensity"].isel(theta=0), expected)


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        pytest.param(None, {"kind": "gian"}, ChoiceError, "did you mean 'gain'", id="kind"),
        pytest.param(None, {"slow": "z"}, ChoiceError, "use 'y' or 'x'", id="slow"),
        pytest.param(None, {"max_lines": 0}, OptionError, "whole number of 1 or more", id="max_lines"),
        pytest.param(None, {"min_significance": -1}, OptionError, "at least 0", id="min_significance"),
        pytest.param(lambda s: s.isel(x=0), {}, MissingDimensionError, "no dimension 'x'", id="line scan"),
        pytest.param(
            lambda s: xstxm.optical_density(s),
            {"signal": "optical_density"},
            OptionError,
            "kind='offset'",
            id="density",
        ),
    ],
)
def test_level_lines__refuses(sound, change, options, error, message):
    with pytest.raises(error, match=message):
        xstxm.level_lines(change(sound) if change else sound, **options)


def test_subtract_dark__keeps_the_dtype_of_i0(stack, i0):
    held = stack.assign(i0=i0.astype("float32"))
    dark = xr.DataArray(np.full(stack.sizes["energy"], 7.0), {"energy": stack["energy"]}, "energy")
    for level in (dark, 7.0):
        found = xstxm.subtract_dark(held, level)["i0"]
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, i0 - 7, rtol=1e-6)


def test_normalize_current__of_a_current_that_is_a_data_variable(sound):
    with pytest.raises(MissingCoordinateError, match=r"it is a data variable: .set_coords\('ring_current'\) first"):
        xstxm.normalize_current(sound.reset_coords("ring_current"))


def test_level_lines__knows_a_density_by_its_units_not_by_its_name(sound):
    density = xstxm.optical_density(sound)["optical_density"].rename("mine")
    with pytest.raises(OptionError, match="a gain of the counts is an offset of the optical density"):
        xstxm.level_lines(density)
    transmitted = (sound["intensity"] / 6000).assign_attrs(units="1")
    assert xstxm.level_lines(transmitted).name == "intensity"
