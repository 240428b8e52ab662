from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from laziness import raise_if_dask_computes

import xstxm
from xstxm.conventions import QUALITY_FLAGS, flag_attrs
from xstxm.errors import ChoiceError, OptionError, SchemaError, UnitsError


def blocks(values, y, x):
    """Return (..., rows, columns, y * x) of an array (..., y, x): an independent way to cut windows."""
    *rest, ny, nx = values.shape
    cut = values.reshape(*rest, ny // y, y, nx // x, x)
    return np.moveaxis(cut, -3, -2).reshape(*rest, ny // y, nx // x, y * x)


@pytest.fixture
def even(stack) -> xr.Dataset:
    """The stack of 6 x 9 pixels without its last column."""
    return stack.isel(x=slice(8))


def test_bin_pixels__counts_are_summed_and_positions_averaged(even):
    result = xstxm.bin_pixels(even, {"y": 3, "x": 2})
    expected = blocks(even["intensity"].values, 3, 2).sum(-1)
    np.testing.assert_allclose(result["intensity"], expected, rtol=1e-6)
    assert result["intensity"].dtype == np.float32
    assert result["intensity"].attrs == even["intensity"].attrs
    np.testing.assert_allclose(result["y"], [0.05, 0.2])
    np.testing.assert_allclose(result["x"], [0.025, 0.125, 0.225, 0.325])
    assert result["y"].attrs == even["y"].attrs
    assert result.stxm.pixel_size == {"y": "0.15 um", "x": "0.1 um"}


def test_bin_pixels__what_fits_the_counts_of_a_pixel_goes_on_fitting_them(even, i0, density):
    given_stack = even.assign(i0=i0, i0_stderr=(i0 * 0 + 3).assign_attrs(units="count"))
    result = xstxm.bin_pixels(given_stack, 2)
    np.testing.assert_allclose(result["i0"], 4 * i0)
    np.testing.assert_allclose(result["i0_stderr"], 12)
    assert float(result["dwell_time"]) == 4 * float(even["dwell_time"])
    od = xstxm.optical_density(result)["optical_density"]
    truth = blocks(np.exp(-density.isel(x=slice(8)).values), 2, 2).mean(-1)
    np.testing.assert_allclose(od, -np.log(truth), atol=1e-5)
    rate = (i0 / even["dwell_time"]).assign_attrs(units="count/ms")
    np.testing.assert_allclose(xstxm.optical_density(result.drop_vars("i0"), rate)["optical_density"], od, atol=1e-5)


def test_bin_pixels__an_i0_over_pixels_is_summed_like_the_counts(even):
    i0 = (even["intensity"] * 0 + 1000.0).assign_attrs(units="count")
    assert float(xstxm.bin_pixels(even.assign(i0=i0), 2)["i0"].max()) == 4000
    by_row = even.assign(i0=i0.isel(x=0, drop=True))
    result = xstxm.bin_pixels(by_row, {"y": 3, "x": 2})["i0"]
    assert result.dims == ("energy", "y")
    assert float(result.max()) == float(result.min()) == 6000


@pytest.mark.parametrize("unit", ["count/ms", "1"])
def test_bin_pixels__rates_and_densities_are_averaged(even, unit):
    result = xstxm.bin_pixels(even.assign(intensity=even["intensity"].assign_attrs(units=unit)), 2)
    np.testing.assert_allclose(result["intensity"], blocks(even["intensity"].values, 2, 2).mean(-1), rtol=1e-6)
    assert float(result["dwell_time"]) == 4 * float(even["dwell_time"])


@pytest.mark.parametrize(("unit", "squared"), [("count", "count**2"), ("1", "1")])
def test_bin_pixels__variances_and_standard_errors_are_those_of_the_result(unit, squared):
    rng = np.random.default_rng(0)
    noise = rng.normal(100, 3, (4000, 2, 4)).astype("float32")
    energy = ("energy", np.arange(4000.0) + 500, {"units": "eV"})
    stack = xr.Dataset(
        {
            "intensity": (("energy", "y", "x"), noise, {"units": unit}),
            "intensity_variance": (("energy", "y", "x"), noise * 0 + 9, {"units": squared}),
            "intensity_stderr": (("energy", "y", "x"), noise * 0 + 3, {"units": unit}),
        },
        coords={"energy": energy},
    )
    result = xstxm.bin_pixels(stack, {"y": 2, "x": 4})
    variance = float(result["intensity_variance"][0, 0, 0])
    assert variance == pytest.approx(9 * 8 if unit == "count" else 9 / 8)
    assert float(result["intensity"].var()) == pytest.approx(variance, rel=0.1)
    assert float(result["intensity_stderr"][0, 0, 0]) == pytest.approx(np.sqrt(variance))


def test_bin_pixels__masks_need_all_marks_any_and_flags_are_joined(even):
    rng = np.random.default_rng(0)
    use, mark = rng.random((2, 6, 8)) < 0.6
    bits = rng.choice([0, 1, 4, 5, 32], (6, 8)).astype("int16")
    given_stack = even.assign(
        mask=(("y", "x"), use),
        bad_pixel=(("y", "x"), mark),
        quality=(("y", "x"), bits, flag_attrs(QUALITY_FLAGS, masks=True)),
    )
    result = xstxm.bin_pixels(given_stack, 2)
    np.testing.assert_array_equal(result["mask"], blocks(use, 2, 2).all(-1))
    np.testing.assert_array_equal(result["bad_pixel"], blocks(mark, 2, 2).any(-1))
    np.testing.assert_array_equal(result["quality"], np.bitwise_or.reduce(blocks(bits, 2, 2), axis=-1))
    assert result["quality"].dtype == np.int16
    assert result["quality"].attrs["flag_meanings"] == given_stack["quality"].attrs["flag_meanings"]


def test_bin_pixels__a_missing_pixel_makes_the_sum_missing_not_smaller(even):
    even = even.copy(deep=True)
    even["intensity"][:, 1, 1] = np.nan
    missing = xstxm.bin_pixels(even, 2)["intensity"].isnull()
    assert missing.isel(y=0, x=0).all()
    assert int(missing.sum()) == even.sizes["energy"]


@pytest.mark.parametrize("chunks", [{"y": 2, "x": 4}, {"y": 5, "x": 3}, {"energy": 1}], ids=str)
def test_bin_pixels__is_lazy_and_the_same_for_every_chunking(even, chunks):
    given_stack = even.assign(
        quality=(("y", "x"), np.arange(48, dtype="int16").reshape(6, 8) % 8, flag_attrs(QUALITY_FLAGS, masks=True)),
        mask=(("y", "x"), np.arange(48).reshape(6, 8) % 5 > 0),
    )
    with raise_if_dask_computes():
        lazy = xstxm.bin_pixels(given_stack.chunk(chunks), 2)
    xr.testing.assert_allclose(lazy.compute(), xstxm.bin_pixels(given_stack, 2))


@pytest.mark.parametrize("kind", ["array", "integers", "line", "theta", "unnamed"])
def test_bin_pixels__of_other_kinds(even, kind):
    array = even["intensity"]
    given_array = {
        "array": lambda: array,
        "integers": lambda: array.astype("uint16"),
        "line": lambda: array.isel(y=0, drop=True).rename(x="position"),
        "theta": lambda: array.expand_dims(theta=3).transpose("theta", "y", "energy", "x"),
        "unnamed": lambda: array.rename(None),
    }[kind]()
    result = xstxm.bin_pixels(given_array)
    assert result.dtype == np.float32
    assert result.dims == given_array.dims
    assert result.name == given_array.name
    total = float(given_array.astype(float).sum())
    assert float(result.astype(float).sum()) == pytest.approx(total, rel=1e-6)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
def test_bin_pixels__twice_is_once_by_the_product(a, b, rows, columns):
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 9, (2, a * b * rows, a * b * columns))
    energy = ("energy", [510.0, 511.0], {"units": "eV"})
    array = xr.DataArray(values, dims=("energy", "y", "x"), coords={"energy": energy}, attrs={"units": "count"})
    twice = xstxm.bin_pixels(xstxm.bin_pixels(array, a), b)
    np.testing.assert_allclose(twice, xstxm.bin_pixels(array, a * b))
    np.testing.assert_allclose(twice.sum(), values.sum())


def test_bin_pixels__ragged_edges_are_refused_or_trimmed_on_request(stack):
    told = r"^factor=2: it does not divide 9 pixels along 'x': trim=True leaves out the last 1 along 'x'"
    with pytest.raises(OptionError, match=told):
        xstxm.bin_pixels(stack, 2)
    trimmed = xstxm.bin_pixels(stack, 2, trim=True)
    xr.testing.assert_equal(trimmed.drop_attrs(), xstxm.bin_pixels(stack.isel(x=slice(8)), 2).drop_attrs())


@pytest.mark.parametrize(
    ("factor", "error", "message"),
    [
        pytest.param({"z": 2}, ChoiceError, "unknown pixel dimension 'z'", id="dimension"),
        pytest.param({"energy": 2}, ChoiceError, "unknown pixel dimension 'energy'", id="energy"),
        pytest.param(0, OptionError, "a whole number from 1 to 6, the pixels along 'y'", id="zero"),
        pytest.param(1.5, OptionError, "a whole number", id="fraction"),
        pytest.param({"y": 7}, OptionError, "from 1 to 6, the pixels along 'y'", id="too large"),
    ],
)
def test_bin_pixels__refuses(even, factor, error, message):
    with pytest.raises(error, match=message):
        xstxm.bin_pixels(even, factor)


def test_bin_pixels__labels_and_a_spectrum_are_refused(even):
    labels = xr.DataArray(np.zeros((6, 8), int), dims=("y", "x"), attrs={"flag_values": [0]})
    names = xr.DataArray(np.full((6, 8), "a"), dims=("y", "x"))
    with pytest.raises(SchemaError, match=r"'label', 'name' hold labels or words, .* drop_vars them first"):
        xstxm.bin_pixels(even.assign(label=labels, name=names), 2)
    with pytest.raises(SchemaError, match="no pixels to bin"):
        xstxm.bin_pixels(even["intensity"].isel(y=0, x=0), 2)


VERBS = {
    "flag_frames": lambda s: xstxm.flag_frames(s),
    "despike": lambda s: xstxm.despike(s),
    "repair_pixels": lambda s: xstxm.repair_pixels(s),
    "subtract_dark": lambda s: xstxm.subtract_dark(s, "5 count"),
    "normalize_current": lambda s: xstxm.normalize_current(s, "400 mA"),
    "level_lines": lambda s: xstxm.level_lines(s),
    "bin_pixels": lambda s: xstxm.bin_pixels(s, 2),
    "crop": lambda s: xstxm.crop(s, {"x": ("0 nm", "150 nm")}),
    "merge_stacks": lambda s: xstxm.merge_stacks([s, s]),
}


@pytest.mark.parametrize("verb", VERBS)
def test_verbs__take_a_quantified_stack_and_keep_what_is_said_of_its_axes(verb):
    import pint_xarray  # noqa: F401

    stack = xstxm.testing.simulate_stack(shape=(10, 12), energies=np.arange(510.0, 520), seed=0)[["intensity"]]
    plain, quantified = VERBS[verb](stack), VERBS[verb](stack.pint.quantify())
    xr.testing.assert_allclose(quantified.drop_attrs(), plain.drop_attrs())
    for name, coord in plain.coords.items():
        assert coord.attrs == stack[name].attrs
        assert quantified[name].attrs["units"] == coord.attrs["units"]
    assert list(plain.stxm.history["operation"]) == [verb]


# ---- crop


@pytest.mark.parametrize(
    ("region", "y", "x"),
    [
        pytest.param({"x": (0.1, 0.3)}, slice(None), slice(2, 7), id="box of columns"),
        pytest.param({"x": ("100 nm", "0.3 um"), "y": ("0.2 um", "0.05 um")}, slice(1, 5), slice(2, 7), id="units"),
        pytest.param([(0.09, 0.04), (0.31, 0.04), (0.2, 0.21)], slice(1, 5), slice(2, 7), id="polygon"),
        pytest.param({"x": 0.2, "y": 0.1}, slice(2, 3), slice(4, 5), id="point"),
    ],
)
def test_crop__keeps_the_rectangle_and_all_variables_follow(stack, region, y, x):
    given_stack = stack.assign(mask=stack["intensity"][0] > 0, i0=stack["intensity"][:, 0, 0])
    with raise_if_dask_computes():
        lazy = xstxm.crop(given_stack.chunk(y=2), region)
    xr.testing.assert_equal(lazy, given_stack.isel(y=y, x=x))
    xr.testing.assert_equal(xstxm.crop(given_stack["intensity"], region), given_stack["intensity"].isel(y=y, x=x))


@pytest.mark.parametrize("lazy", [False, True])
def test_crop__to_the_bounding_box_of_a_mask(stack, lazy):
    mask = xr.DataArray(np.zeros((6, 9), dtype=bool), dims=("y", "x"))
    mask[1, 6] = mask[4, 2] = True
    result = xstxm.crop(stack.assign(extra=mask), mask.chunk(y=2) if lazy else mask)
    xr.testing.assert_equal(result["intensity"], stack["intensity"].isel(y=slice(1, 5), x=slice(2, 7)))
    assert not result["extra"].all()


def test_crop__of_descending_positions_and_a_line(stack):
    flipped = stack.isel(y=slice(None, None, -1))
    np.testing.assert_allclose(xstxm.crop(flipped, {"y": (0.1, 0.2)})["y"], [0.2, 0.15, 0.1])
    line = stack.isel(y=0, drop=True).rename(x="position")
    assert xstxm.crop(line, {"position": (0.1, 0.2)}).sizes["position"] == 3


@pytest.mark.parametrize(
    ("region", "error", "message"),
    [
        pytest.param({"x": (5, 6)}, OptionError, "holds no pixel", id="outside"),
        pytest.param({"energy": (510, 520)}, ChoiceError, "unknown region coordinate 'energy'", id="energy"),
        pytest.param({"x": ("1 eV", "2 eV")}, UnitsError, "x is in 'eV'", id="units"),
        pytest.param(
            xr.DataArray(np.zeros((6, 9), bool), dims=("y", "x")), OptionError, "the mask is False", id="empty"
        ),
        pytest.param(
            xr.DataArray(np.zeros((6, 9), bool), dims=("y", "x")).chunk(),
            OptionError,
            "the mask is False everywhere",
            id="empty, lazy",
        ),
        pytest.param(
            xr.DataArray(np.ones((6, 8), bool), dims=("y", "x")), SchemaError, "8 pixels along 'x'", id="shape"
        ),
    ],
)
def test_crop__refuses(stack, region, error, message):
    with pytest.raises(error, match=message):
        xstxm.crop(stack, region)
