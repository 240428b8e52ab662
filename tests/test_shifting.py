from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from drifting import PAD, as_stack, displaced, drifting_stack, field, path, rms
from hypothesis import given, settings
from hypothesis import strategies as st
from laziness import raise_if_dask_computes

import xstxm
from xstxm.conventions import QUALITY_FLAGS
from xstxm.errors import (
    ChoiceError,
    EnergyRangeError,
    IncompatibleUnitsError,
    MissingCoordinateError,
    MissingVariableError,
    OptionError,
    SchemaError,
    UnitsError,
)

SHAPE = (26, 31)
PIXEL = 0.05


def frames(n=3, shape=SHAPE, dtype="float32", seed=0):
    """Counts of n frames of noise, as a Dataset."""
    values = np.random.default_rng(seed).uniform(50, 150, (n, *shape))
    stack = as_stack(values, np.zeros((n, 2))).drop_vars(["true_shift_y", "true_shift_x"])
    return stack.assign(intensity=stack["intensity"].copy(data=values.astype(dtype)))


def shifts_of(stack, pixels, **others):
    """Shifts in pixels (frame, 2) as a Dataset for a stack."""
    pixels = np.asarray(pixels, float)
    energy = stack["energy"].variable
    along = {
        f"shift_{axis}": ("energy", pixels[:, k] * float(stack[axis][1] - stack[axis][0]), {"units": "um"})
        for k, axis in enumerate(("y", "x"))
    }
    return xr.Dataset({**along, **others}, {"energy": energy})


def keys(distance):
    """Kernel of cubic convolution as Keys wrote it, at distances from a pixel."""
    s = np.abs(distance)
    near = 1.5 * s**3 - 2.5 * s**2 + 1
    far = -0.5 * s**3 + 2.5 * s**2 - 4 * s + 2
    return np.where(s < 1, near, np.where(s < 2, far, 0))


def cubic_matrix(n, shift):
    """Weights (n, n) of cubic interpolation at positions moved by `shift`; NaN rows where pixels are lacking."""
    position = np.arange(n) - shift
    weights = keys(position[:, None] - np.arange(n))
    weights[np.abs(weights) < 1e-12] = 0
    complete = np.abs(weights.sum(1) - 1) < 1e-9
    lacking = [np.any((keys(p - q) > 1e-12) | (keys(p - q) < -1e-12)) for p in position for q in (-2, -1, n, n + 1)]
    lacking = np.reshape(lacking, (n, 4)).any(1)
    weights[~complete | lacking] = np.nan
    return weights


def fourier_matrix(n, shift):
    """Weights (n, n) of the cosine series through the pixels, evaluated at moved positions; NaN rows outside."""
    k, pixel = np.arange(n), np.arange(n)
    norm = np.where(k == 0, 1 / n, 2 / n)
    position = pixel - shift
    analysis = norm[:, None] * np.cos(np.pi * k[:, None] * (pixel + 0.5) / n)
    weights = np.cos(np.pi * k * (position[:, None] + 0.5) / n) @ analysis
    weights[(position < -1e-9) | (position > n - 1 + 1e-9)] = np.nan
    return weights


def moved_by(matrix_of, image, shift, power=1):
    y, x = (matrix_of(n, by) ** power for n, by in zip(image.shape, shift, strict=True))
    with np.errstate(invalid="ignore"):
        return y @ image @ x.T


SHIFT = st.floats(-4, 4).map(lambda value: round(value, 3))
WHOLE = st.integers(-35, 35)


# ---- laws


@pytest.mark.parametrize("interpolation", ["cubic", "fourier"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@given(y=WHOLE, x=WHOLE)
def test_apply_shifts__by_whole_pixels_is_an_exact_roll_with_nan_outside(interpolation, dtype, y, x):
    stack = frames(1, dtype=dtype)
    moved = xstxm.apply_shifts(stack, shifts_of(stack, [(y, x)]), interpolation=interpolation)["intensity"]
    expected = stack["intensity"].shift(y=y, x=x).values
    assert moved.dtype == dtype
    if interpolation == "cubic":
        np.testing.assert_array_equal(moved, expected)
    else:
        np.testing.assert_allclose(moved, expected, rtol=3e-6 if dtype == "float32" else 1e-12)


@given(y=SHIFT, x=SHIFT)
def test_apply_shifts__cubic_is_the_convolution_of_keys(y, x):
    stack = frames(1, dtype="float64")
    moved = xstxm.apply_shifts(stack, shifts_of(stack, [(y, x)]))["intensity"][0]
    np.testing.assert_allclose(moved, moved_by(cubic_matrix, stack["intensity"].values[0], (y, x)), rtol=1e-10)


@given(y=SHIFT, x=SHIFT)
def test_apply_shifts__fourier_is_the_cosine_series_through_the_pixels(y, x):
    stack = frames(1, dtype="float64")
    moved = xstxm.apply_shifts(stack, shifts_of(stack, [(y, x)]), interpolation="fourier")["intensity"][0]
    np.testing.assert_allclose(moved, moved_by(fourier_matrix, stack["intensity"].values[0], (y, x)), rtol=1e-9)


@pytest.mark.parametrize(("interpolation", "matrix_of"), [("cubic", cubic_matrix), ("fourier", fourier_matrix)])
@given(y=SHIFT, x=SHIFT)
def test_apply_shifts__variance_is_that_of_the_weighted_sum(interpolation, matrix_of, y, x):
    stack = frames(1, dtype="float64")
    stack["intensity_variance"] = frames(1, dtype="float64", seed=1)["intensity"]
    moved = xstxm.apply_shifts(stack, shifts_of(stack, [(y, x)]), interpolation=interpolation)
    expected = moved_by(matrix_of, stack["intensity_variance"].values[0], (y, x), power=2)
    np.testing.assert_allclose(moved["intensity_variance"][0], expected, rtol=1e-9)


def test_apply_shifts__variance_is_the_scatter_of_noise():
    draws = frames(600, shape=(24, 24), dtype="float64")
    noise = np.random.default_rng(2).normal(size=draws["intensity"].shape)
    stack = draws.assign(intensity=draws["intensity"].copy(data=noise))
    stack["intensity_variance"] = xr.ones_like(stack["intensity"])
    for interpolation in ("cubic", "fourier"):
        moved = xstxm.apply_shifts(stack, shifts_of(stack, [(0.5, -0.3)] * 600), interpolation=interpolation)
        middle = moved.isel(y=slice(5, -5), x=slice(5, -5))
        expected = middle["intensity_variance"].isel(energy=0).mean()
        np.testing.assert_allclose(middle["intensity"].var("energy").mean(), expected, rtol=0.02)


@given(y=st.floats(-3, 3), x=st.floats(-3, 3))
def test_apply_shifts__forth_and_back_returns_smooth_images(y, x):
    stack = frames(1, shape=(40, 48))
    smooth = 100 + 10 * field((40, 48), 4.0, np.random.default_rng(0))
    stack["intensity"] = stack["intensity"].copy(data=smooth[None].astype("float32"))
    there = xstxm.apply_shifts(stack, shifts_of(stack, [(y, x)]))
    back = xstxm.apply_shifts(there, shifts_of(stack, [(-y, -x)]))["intensity"]
    left = (back - stack["intensity"]).values
    assert np.isfinite(left[:, 8:-8, 8:-8]).all()
    assert np.nanmax(np.abs(left)) < 0.2  # of structure with a standard deviation of 10


@pytest.mark.parametrize(("interpolation", "left"), [("cubic", 0.02), ("fourier", 2e-3)])
def test_apply_shifts__is_the_shift_of_a_band_limited_image_away_from_the_border(interpolation, left):
    rng = np.random.default_rng(3)
    large = field((60 + 2 * PAD, 72 + 2 * PAD), 2.5, rng)[None]
    moved = path(9, walk=4, linear=3)
    images = displaced(large, np.ones((1, 9)), moved, (60, 72))
    stack = as_stack(images, moved).assign(shift_y=lambda s: s["true_shift_y"], shift_x=lambda s: s["true_shift_x"])
    aligned = xstxm.apply_shifts(stack["intensity"], stack[["shift_y", "shift_x"]], interpolation=interpolation)
    off = aligned - stack["intensity"][0]
    assert float(np.abs(off[:, 14:-14, 14:-14]).max()) < left


@settings(max_examples=12)
@given(data=st.data())
def test_apply_shifts__dask_equals_numpy_for_any_chunks(data):
    stack = frames(4)
    stack["intensity_variance"] = frames(4, seed=1)["intensity"]
    stack["used"] = frames(4, seed=2)["intensity"] > 60
    pixels = data.draw(st.lists(st.tuples(SHIFT, SHIFT), min_size=4, max_size=4))
    chunks = {dim: data.draw(st.integers(3, 31), label=dim) for dim in ("y", "x")}
    chunks["energy"] = data.draw(st.integers(1, 4))
    shifts = shifts_of(stack, pixels)
    for interpolation in ("cubic", "fourier"):
        with raise_if_dask_computes():
            lazy = xstxm.apply_shifts(stack.chunk(chunks), shifts, interpolation=interpolation)
        assert lazy.intensity.chunks is not None
        eager = xstxm.apply_shifts(stack, shifts, interpolation=interpolation)
        xr.testing.assert_equal(lazy.compute(), eager)


@given(data=st.data())
def test_apply_shifts__crop_keeps_the_pixels_that_every_frame_covers(data):
    stack = frames(3, dtype="float64")
    pixels = data.draw(st.lists(st.tuples(SHIFT, SHIFT), min_size=3, max_size=3))
    whole = xstxm.apply_shifts(stack, shifts_of(stack, pixels))
    cropped = xstxm.apply_shifts(stack, shifts_of(stack, pixels), crop=True)
    assert np.isfinite(cropped["intensity"]).all()
    xr.testing.assert_equal(cropped["intensity"], whole["intensity"].sel(y=cropped["y"], x=cropped["x"]))
    assert not (cropped["quality"] & QUALITY_FLAGS["outside_overlap"]).any()
    lost = whole["intensity"].isnull().any("energy")
    flagged = (whole["quality"] & QUALITY_FLAGS["outside_overlap"]) > 0
    np.testing.assert_array_equal(flagged, lost)
    assert cropped["quality"].size == int((~lost).sum())  # what translations cover is a rectangle


# ---- magnification and rotation


def similar(stack, pixels, magnification, degrees):
    return shifts_of(
        stack,
        pixels,
        magnification=("energy", np.asarray(magnification, float), {"units": "1"}),
        rotation=("energy", np.asarray(degrees, float), {"units": "deg"}),
    )


def test_apply_shifts__magnification_and_rotation_are_read_where_they_came_from():
    stack = frames(2, dtype="float64")
    y, x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in SHAPE), indexing="ij")
    zoom, angle, (down, right) = 1.1, np.radians(7.0), (1.3, -0.6)
    there = zoom * (np.cos(angle) * y + np.sin(angle) * x), zoom * (-np.sin(angle) * y + np.cos(angle) * x)

    def scene(y, x):
        return 100 + 10 * np.sin(y / 5) + 8 * np.cos(x / 6 + 0.4)

    stack["intensity"][0], stack["intensity"][1] = scene(y, x), scene(y, x)
    found = xstxm.apply_shifts(stack, similar(stack, [(0, 0), (down, right)], [1, zoom], [0, 7.0]))["intensity"]
    np.testing.assert_array_equal(found[0], stack["intensity"][0])
    expected = scene(there[0] - down, there[1] - right)
    inside = np.isfinite(found[1].values)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(found[1].values[inside], expected[inside], atol=0.02)


def test_apply_shifts__variance_of_turned_frames_is_that_of_the_weighted_sum():
    stack = frames(24 * 27, shape=(24, 27), dtype="float64")
    weights_of = stack["intensity"].copy(data=np.eye(24 * 27).reshape(-1, 24, 27))
    turn = similar(
        stack, [(0.4, -0.7)] * stack.sizes["energy"], [0.97] * stack.sizes["energy"], [3] * stack.sizes["energy"]
    )
    weights = xstxm.apply_shifts(weights_of, turn).values
    variance = frames(24 * 27, shape=(24, 27), dtype="float64", seed=1)["intensity"][:1]
    found = xstxm.apply_shifts(variance.rename("intensity_variance"), turn.isel(energy=[0]))[0]
    np.testing.assert_allclose(found, np.einsum("kyx,k->yx", weights**2, variance.values.ravel()), rtol=1e-9)


def test_apply_shifts__one_nan_stays_near_its_pixel_in_a_turned_frame():
    stack = frames(1)
    stack["intensity"][0, 12, 15] = np.nan
    moved = xstxm.apply_shifts(stack, similar(stack, [(0, 0)], [1.0], [4.0]))["intensity"][0]
    lost = np.argwhere(np.isnan(moved.values[4:-4, 4:-4])) + 4
    assert 0 < len(lost) <= 20
    assert np.abs(lost - [12, 15]).max() <= 4


def test_apply_shifts__turned_frames_are_the_same_with_dask():
    stack = frames(3)
    turn = similar(stack, [(0, 0), (1.2, 0.3), (-2, 1)], [1, 1.02, 0.98], [0, 2, -3])
    with raise_if_dask_computes():
        lazy = xstxm.apply_shifts(stack.chunk(energy=1, y=10, x=9), turn, crop=True)
    eager = xstxm.apply_shifts(stack, turn, crop=True)
    xr.testing.assert_equal(lazy.compute(), eager)
    assert np.isfinite(eager["intensity"]).all()


# ---- what follows the frames, and what stays


@pytest.mark.parametrize("step", [(0.05, 0.05), (-0.05, 0.05), (0.05, -0.02), (-0.1, -0.05)])
def test_apply_shifts__are_added_to_positions_in_any_direction_of_the_axes(step):
    values = np.full((1, 30, 34), 1.0)
    values[0, 12, 20] = 9
    stack = as_stack(values, np.zeros((1, 2)), step=step)
    by = {"y": 0.1, "x": -0.2}
    shifts = xr.Dataset({f"shift_{a}": ("energy", [v * 1000], {"units": "nm"}) for a, v in by.items()})
    moved = xstxm.apply_shifts(stack, shifts)["intensity"][0]
    at = moved.where(moved > 5, drop=True)
    assert float(at["y"][0]) == pytest.approx(float(stack["y"][12]) + 0.1)
    assert float(at["x"][0]) == pytest.approx(float(stack["x"][20]) - 0.2)


def test_apply_shifts__moves_frames_and_masks_and_leaves_images():
    stack = frames(2)
    stack["used"] = stack["intensity"] > 70
    stack["bits"] = ((stack["intensity"] > 100).astype("int16") * 5).assign_attrs(flag_masks=[1, 4])
    stack["hits"] = (stack["intensity"] * 10).astype("int32")
    stack["height"] = stack["intensity"][0].drop_vars("energy")
    stack["i0"] = ("energy", [1.0, 2.0], {"units": "count"})
    moved = xstxm.apply_shifts(stack, shifts_of(stack, [(0, 0), (3.2, -2.4)]))
    assert {name: moved[name].dtype.name for name in ("used", "bits", "hits")} == {
        "used": "bool", "bits": "int16", "hits": "float32",
    }  # fmt: skip
    for name in ("used", "bits"):
        expected = stack[name][1].shift(y=3, x=-2, fill_value=0)
        expected[3] = expected[:, 28] = 0  # these lie beyond the middle of the first row and the last column
        np.testing.assert_array_equal(moved[name][1], expected)
    for name in ("height", "i0"):
        xr.testing.assert_identical(moved[name].variable, stack[name].variable)


def test_apply_shifts__tells_what_was_done():
    stack = frames(2)
    shifts = shifts_of(stack, [(0, 0), (1, 2)])
    moved = xstxm.apply_shifts(stack, shifts)
    np.testing.assert_allclose(moved["shift_y"], shifts["shift_y"])
    assert moved["shift_x"].dims == ("energy",)
    assert moved["shift_x"].attrs["units"] == "um"
    assert list(moved.stxm.history["operation"]) == ["apply_shifts"]
    assert "shift_y" not in stack.coords


def test_apply_shifts__keeps_the_flags_that_pixels_had():
    stack = frames(1)
    stack["quality"] = (("y", "x"), np.full(SHAPE, QUALITY_FLAGS["saturated"], "int16"))
    bits = xstxm.apply_shifts(stack, shifts_of(stack, [(3, 0)]))["quality"]
    assert (bits & QUALITY_FLAGS["saturated"]).all()
    assert int(((bits & QUALITY_FLAGS["outside_overlap"]) > 0).sum()) == 3 * SHAPE[1]


def test_apply_shifts__works_with_more_frame_dims_in_any_order():
    one, two = frames(3), frames(3, seed=1)
    both = xr.concat([one, two], xr.Variable("polarization", [0.0, 90.0]))
    by_energy = shifts_of(one, [(0, 0), (1.5, 0), (0, -2.25)])
    moved = xstxm.apply_shifts(both.transpose("y", "energy", "x", "polarization"), by_energy)["intensity"]
    assert moved.dims == ("y", "energy", "x", "polarization")
    for k, stack in enumerate((one, two)):
        expected = xstxm.apply_shifts(stack, by_energy)["intensity"]
        np.testing.assert_array_equal(moved.isel(polarization=k).transpose("energy", "y", "x"), expected)
    own = xr.concat([by_energy, -by_energy], xr.Variable("polarization", [0.0, 90.0]))
    for name in own:
        own[name].attrs["units"] = "um"
    moved = xstxm.apply_shifts(both, own)["intensity"]
    np.testing.assert_array_equal(moved[1], xstxm.apply_shifts(two, own.isel(polarization=1))["intensity"])


# ---- bad input


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("interpolation", ["cubic", "fourier"])
def test_apply_shifts__farther_than_the_frame_leaves_nothing(lazy, interpolation):
    stack = frames(2)
    given = stack.chunk(y=7, x=8) if lazy else stack
    shifts = shifts_of(stack, [(0, 0), (0, 400.5)])
    moved = xstxm.apply_shifts(given, shifts, interpolation=interpolation)
    assert np.isfinite(moved["intensity"][0]).all()
    assert np.isnan(moved["intensity"][1]).all()
    assert (moved["quality"] & QUALITY_FLAGS["outside_overlap"]).all()
    with pytest.raises(OptionError, match="no pixel in common: pass crop=False"):
        xstxm.apply_shifts(given, shifts, interpolation=interpolation, crop=True)


def broken(shifts, **changes):
    return shifts.assign({name: shifts[name].copy(data=values) for name, values in changes.items()})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        pytest.param(lambda s: broken(s, shift_x=[0, np.nan, 0]), SchemaError, "some shifts are NaN: fill", id="nan"),
        pytest.param(lambda s: s.isel(energy=[0, 1]), SchemaError, "2 shifts along 'energy' and 3 frames", id="fewer"),
        pytest.param(
            lambda s: s.assign_coords(energy=s["energy"] + 5), EnergyRangeError, "of other energies, first at frame 0", id="energies"
        ),
        pytest.param(lambda s: s.drop_vars("shift_x"), MissingVariableError, "'shift_x' is missing", id="one axis"),
        pytest.param(lambda s: s.rename(energy="time"), SchemaError, "the shifts have a dimension 'time'", id="dimension"),
        pytest.param(
            lambda s: s.assign(shift_y=s["shift_y"].assign_attrs(units="eV")), IncompatibleUnitsError, "shift_y is in 'eV'", id="unit"
        ),
    ],
)  # fmt: skip
def test_apply_shifts__refuses_shifts_that_are_not_of_these_frames(change, error, message):
    stack = frames(3)
    with pytest.raises(error, match=message):
        xstxm.apply_shifts(stack, change(shifts_of(stack, np.zeros((3, 2)))))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        pytest.param(
            lambda s: s.assign(i0=s["intensity"][0].drop_vars("energy")), SchemaError, "an I0 image, which does not move", id="I0 image"
        ),
        pytest.param(lambda s: s.drop_vars("x"), MissingCoordinateError, "'x' has no coordinate", id="no x"),
        pytest.param(
            lambda s: s.assign_coords(x=("x", np.arange(31.0) ** 2, {"units": "um"})), SchemaError, "'x' is not evenly spaced", id="uneven"
        ),
        pytest.param(lambda s: s[[]], SchemaError, "no variable of the stack has frames", id="nothing"),
    ],
)  # fmt: skip
def test_apply_shifts__refuses_stacks_whose_frames_cannot_be_moved(change, error, message):
    stack = frames(3)
    with pytest.raises(error, match=message):
        xstxm.apply_shifts(change(stack), shifts_of(stack, np.zeros((3, 2))))


def test_apply_shifts__refuses_what_a_transform_cannot_do():
    stack = frames(1)
    with pytest.raises(ChoiceError, match="did you mean 'cubic'"):
        xstxm.apply_shifts(stack, shifts_of(stack, [(0, 0)]), interpolation="cubix")
    with pytest.raises(OptionError, match="moved by 'cubic' only"):
        xstxm.apply_shifts(stack, similar(stack, [(0, 0)], [1.1], [0]), interpolation="fourier")
    stack["intensity"][0, 5, 5] = np.nan
    with pytest.raises(SchemaError, match="NaN has no transform: use interpolation='cubic'"):
        xstxm.apply_shifts(stack, shifts_of(stack, [(1, 1)]), interpolation="fourier")


# ---- align


def test_align__is_estimate_and_apply():
    stack = drifting_stack((64, 80), 40)
    aligned = stack.stxm.align(max_shift="0.6 um", interpolation="fourier", crop=True)
    shifts = xstxm.estimate_shifts(stack, max_shift=0.6)
    expected = xstxm.apply_shifts(stack, shifts, interpolation="fourier", crop=True)
    xr.testing.assert_equal(aligned, expected)
    assert list(aligned.stxm.history["operation"]) == ["align"]
    xr.testing.assert_equal(
        aligned["intensity"], stack["intensity"].stxm.align(max_shift=0.6, interpolation="fourier", crop=True)
    )


def test_align__of_an_aligned_stack_changes_little():
    stack = drifting_stack()
    aligned = xstxm.align(stack)
    again = xstxm.estimate_shifts(aligned)
    left = np.stack([again["shift_y"], again["shift_x"]], -1) / PIXEL
    assert rms(left - left.mean(0)) < 0.1


def test_apply_shifts__twice_adds_up():
    stack = xstxm.testing.simulate_stack(shape=(30, 34), seed=0)[["intensity"]]
    step = xr.full_like(stack["energy"], 0.03).rename("shift")
    shifts = xr.Dataset({"shift_y": step.assign_attrs(units="um"), "shift_x": step.assign_attrs(units="um")})
    twice = stack.stxm.apply_shifts(shifts).stxm.apply_shifts(shifts)
    np.testing.assert_allclose(twice["shift_y"], 0.06)
    assert twice["shift_x"].attrs["units"] == "um"


def test_apply_shifts__tells_of_magnification_and_rotation_too():
    stack = frames(2)
    turn = similar(stack, [(0, 0), (1, 2)], [1, 1.02], [0, 3])
    moved = xstxm.apply_shifts(stack, turn)
    for name in ("magnification", "rotation"):
        np.testing.assert_array_equal(moved[name], turn[name])
        assert moved[name].attrs["units"] == turn[name].attrs["units"]
    with pytest.raises(SchemaError, match="a table of shifts holds no magnification and rotation"):
        xstxm.write_shifts(moved, "shifts.csv")
    back = shifts_of(stack, [(0, 0), (-1, 0)])
    for first, second in ((turn, turn), (turn, back), (back, turn)):
        with pytest.raises(SchemaError, match=r"turned ones are moved once: .*\.drop_vars\(\['shift_y', 'shift_x'"):
            xstxm.apply_shifts(xstxm.apply_shifts(stack, first), second)


@settings(max_examples=25)
@given(data=st.data(), lazy=st.booleans())
def test_apply_shifts__a_second_move_knows_what_the_first_could_not_reach(data, lazy):
    stack = frames(2, dtype="float64")
    first, second = (data.draw(st.lists(st.tuples(SHIFT, SHIFT), min_size=2, max_size=2)) for _ in range(2))
    once = xstxm.apply_shifts(stack.chunk(energy=1, y=9) if lazy else stack, shifts_of(stack, first))
    twice = xstxm.apply_shifts(once, shifts_of(stack, second))
    lost = twice["intensity"].isnull().any("energy")
    outside = (twice["quality"] & QUALITY_FLAGS["outside_overlap"]) > 0
    assert bool((outside | ~lost).all())
    assert (
        int(outside.sum()) <= int(lost.sum()) + 2 * sum(SHAPE) * 6
    )  # no more than what any frame lacked, moved by any
    for given_ in (once, once["intensity"]):
        try:
            cropped = xstxm.apply_shifts(given_, shifts_of(stack, second), crop=True)
        except OptionError:
            continue
        values = cropped["intensity"] if given_ is once else cropped
        assert np.isfinite(values).all()
        assert values.size > 0


def test_apply_shifts__a_move_back_brings_nothing_back():
    stack = frames(2)
    there = xstxm.apply_shifts(stack, shifts_of(stack, [(0, 0), (3, 0)]))
    back = xstxm.apply_shifts(there, shifts_of(stack, [(0, 0), (-3, 0)]), crop=True)
    assert np.isfinite(back["intensity"]).all()
    assert back.sizes["y"] == SHAPE[0] - 6  # three rows that the first frame never lost are given up too
    assert back.sizes["x"] == SHAPE[1]


@given(y=SHIFT, x=SHIFT)
def test_apply_shifts__overlap_of_fourier_is_its_own(y, x):
    stack = frames(2)
    moved = xstxm.apply_shifts(stack, shifts_of(stack, [(0, 0), (y, x)]), interpolation="fourier")
    outside = (moved["quality"] & QUALITY_FLAGS["outside_overlap"]) > 0
    np.testing.assert_array_equal(outside, moved["intensity"].isnull().any("energy"))


def test_apply_shifts__standard_errors_are_roots_of_moved_variances():
    stack = frames(2, dtype="float64")
    stack["intensity_variance"] = frames(2, dtype="float64", seed=1)["intensity"]
    stack["intensity_stderr"] = np.sqrt(stack["intensity_variance"])
    moved = xstxm.apply_shifts(stack, shifts_of(stack, [(0, 0), (0.4, -1.3)]))
    np.testing.assert_allclose(moved["intensity_stderr"] ** 2, moved["intensity_variance"])
    alone = xstxm.apply_shifts(stack["intensity_stderr"], shifts_of(stack, [(0, 0), (0.4, -1.3)]))
    np.testing.assert_array_equal(alone, moved["intensity_stderr"])


def test_apply_shifts__labels_are_not_interpolated():
    stack = frames(1)
    stack["labels"] = (stack["intensity"] > 100).astype("int16") * 7
    moved = xstxm.apply_shifts(stack, shifts_of(stack, [(0.4, 0.3)]))["labels"]
    assert moved.dtype == "int16"
    assert set(np.unique(moved)) == {0, 7}


def test_apply_shifts__compares_every_axis_of_the_frames():
    one = frames(2)
    both = xr.concat([one, one], xr.Variable("polarization", [0.0, 90.0]))
    own = xr.concat([shifts_of(one, [(0, 0), (1, 1)])] * 2, xr.Variable("polarization", [0.0, 90.0]))
    with pytest.raises(SchemaError, match="the shifts and the stack differ along 'polarization'"):
        xstxm.apply_shifts(both, own.isel(polarization=[1, 0]))
    mixed = both.assign(other=one["intensity"])
    with pytest.raises(SchemaError, match="shifts have a dimension 'polarization', the frames of 'other' have"):
        xstxm.apply_shifts(mixed, own)
    moved = xstxm.apply_shifts(mixed, shifts_of(one, [(0, 0), (1, 1)]))
    np.testing.assert_array_equal(moved["other"], moved["intensity"].isel(polarization=0))


def test_align__refuses_what_cannot_be_moved_before_it_looks_for_shifts(monkeypatch):
    stack = frames(3)
    monkeypatch.setattr("xstxm.shifting.estimate_shifts", lambda *args, **options: pytest.fail("looked for shifts"))
    with pytest.raises(OptionError, match="moved by 'cubic' only"):
        xstxm.align(stack, transform="similarity", interpolation="fourier")
    flat = stack["intensity"][0].drop_vars("energy")
    with pytest.raises(SchemaError, match=r"drop_vars\(\['intensity', 'i0'\]\)"):
        xstxm.align(stack.assign(i0=flat))
    with pytest.raises(SchemaError, match=r"drop_vars\(\['raw', 'i0'\]\)"):
        xstxm.align(stack.assign(i0=flat).rename(intensity="raw"), signal="raw")
    density = (stack["intensity"] / 100).assign_attrs(units="1").rename("optical_density")
    with pytest.raises(pytest.fail.Exception, match="looked for shifts"):
        xstxm.align(density.to_dataset().assign(i0=flat), signal="optical_density")


def test_apply_shifts__takes_quantified_shifts():
    pytest.importorskip("pint_xarray")
    stack = frames(2)
    shifts = shifts_of(stack, [(0, 0), (0.5, -0.25)])
    xr.testing.assert_equal(xstxm.apply_shifts(stack, shifts.pint.quantify()), xstxm.apply_shifts(stack, shifts))


@pytest.mark.parametrize("axis", ["y", "x"])
@pytest.mark.parametrize(
    ("unit", "message"), [(None, "shift_. has no units"), ("1", "shift_. is in '1', which does not convert to 'um'")]
)
def test_apply_shifts__refuses_shifts_that_are_no_lengths(axis, unit, message):
    stack = frames(2)
    shifts = shifts_of(stack, [(0, 0), (1, 1)])
    shifts[f"shift_{axis}"].attrs = {} if unit is None else {"units": unit}
    with pytest.raises(UnitsError, match=message):
        xstxm.apply_shifts(stack, shifts)


def test_apply_shifts__fourier_moves_masks_and_flags_by_whole_pixels():
    stack = frames(2)
    stack["used"] = stack["intensity"] > 70
    stack["bits"] = ((stack["intensity"] > 100).astype("int16") * 5).assign_attrs(flag_masks=[1, 4])
    moves = [shifts_of(stack, [(0, 0), (2.3, -1.6)])] * 2
    cubic, fourier = (
        xstxm.apply_shifts(stack, by, interpolation=kind) for by, kind in zip(moves, ("cubic", "fourier"), strict=True)
    )
    for name in ("used", "bits"):
        xr.testing.assert_identical(cubic[name], fourier[name])
    np.testing.assert_array_equal(fourier["bits"][1, 4:, :-4], stack["bits"][1, 2:-2, 2:-2])
