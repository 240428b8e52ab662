from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.ndimage
import xarray as xr
from drifting import PIXEL, as_stack, densities, drifting_stack, errors, path, rms
from laziness import raise_if_dask_computes

import xstxm
from xstxm.conventions import FRAME_FLAGS
from xstxm.errors import (
    AlignmentWarning,
    ChoiceError,
    ConvergenceWarning,
    IncompatibleUnitsError,
    MissingCoordinateError,
    MissingDimensionError,
    MissingVariableError,
    OptionError,
    SchemaError,
)

N = 48


def estimate(*args, **options):
    """Shifts of a stack so small or poor that the last step may be a large one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return xstxm.estimate_shifts(*args, **options)


@pytest.fixture(scope="module")
def sound():
    return drifting_stack(n=N)


@pytest.fixture(scope="module")
def found(sound):
    return xstxm.estimate_shifts(sound)


def flags(shifts):
    """Positions of the frames that are flagged."""
    return set(np.flatnonzero(shifts["frame_quality"].values.ravel()).tolist())


def standardised(shifts, stack):
    stderr = np.stack([shifts["shift_y_stderr"], shifts["shift_x_stderr"]], -1).reshape(-1, 2) / PIXEL
    return rms(errors(shifts, stack) / stderr)


def replaced(stack, at, values):
    counts = stack["intensity"].copy(deep=True)
    counts[at] = values
    return stack.assign(intensity=counts)


def poisson(mean, shape, seed=9):
    return np.random.default_rng(seed).poisson(mean, shape)


# ---- accuracy


def test_estimate_shifts__finds_the_drift_and_knows_how_well(sound, found):
    xstxm.testing.assert_conforms(found, "estimate_shifts")
    assert rms(errors(found, sound)) < 0.045
    assert np.abs(errors(found, sound)).max() < 0.2
    assert not flags(found)
    assert found["shift_y"].attrs["units"] == "um"
    assert float(found["shift_y"][0]) == float(found["shift_x"][0]) == 0
    assert (found["correlation"] > 0.9).all()
    assert found.attrs["n_components"] == 4


def test_estimate_shifts__standard_errors_are_those_of_many_stacks():
    ratios = []
    for seed in range(5):
        stack = drifting_stack(n=40, seed=seed, counts=1000)
        ratios.append(standardised(estimate(stack), stack))
    assert 0.7 < rms(ratios) < 1.4


@pytest.mark.parametrize("reference", ["neighbours", "previous", "first", "mean", "515 eV", 534.0])
def test_estimate_shifts__by_correlation_is_near(sound, reference):
    if reference == "515 eV":
        reference = "514.8 eV"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AlignmentWarning)  # a frame at the peak may be unclear against one far from it
        shifts = xstxm.estimate_shifts(sound, reference)
    sure = shifts["frame_quality"].values == 0
    assert sure.sum() > 0.85 * N
    off = errors(shifts, sound)[sure]
    assert rms(off - off.mean(0)) < 0.15
    assert np.isnan(shifts["shift_y_stderr"]).all()
    assert np.isnan(shifts["residual_ratio"]).all()
    at = 0 if isinstance(reference, str) and "eV" not in reference else int(
        np.abs(sound["energy"].values - float(str(reference).removesuffix(" eV"))).argmin()
    )  # fmt: skip
    np.testing.assert_allclose([shifts["shift_y"][at], shifts["shift_x"][at]], 0, atol=1e-9)


def test_estimate_shifts__model_is_better_than_correlation(sound, found):
    by_correlation = xstxm.estimate_shifts(sound, "neighbours")
    assert rms(errors(found, sound)) < 0.85 * rms(errors(by_correlation, sound))


def test_estimate_shifts__to_the_image_of_another_detector_are_against_that_image(sound):
    first = sound["intensity"].isel(energy=0, drop=True)
    other = (3 * first + 100).assign_attrs(units="count")
    shifts = xstxm.estimate_shifts(sound, other)
    assert rms(errors(shifts, sound)) < 0.15
    moved = other.roll(y=2, x=-3)
    apart = xstxm.estimate_shifts(sound, moved.assign_attrs(units="count")) - shifts
    np.testing.assert_allclose(apart["shift_y"] / PIXEL, 2, atol=0.1)
    np.testing.assert_allclose(apart["shift_x"] / PIXEL, -3, atol=0.1)


@pytest.mark.parametrize("step", [(-PIXEL, PIXEL), (PIXEL, -PIXEL)])
def test_estimate_shifts__are_added_to_positions_on_descending_axes(step):
    moved = path(40, seed=1)
    up = drifting_stack(n=40, moved=moved, seed=1)
    turned = as_stack(up["intensity"].values, moved, step=step)
    shifts = xstxm.estimate_shifts(turned)
    assert rms(errors(shifts, turned)) < 0.06
    plain = xstxm.estimate_shifts(up)
    for axis, size in zip(("y", "x"), step, strict=True):
        np.testing.assert_allclose(shifts[f"shift_{axis}"], plain[f"shift_{axis}"] * np.sign(size), atol=1e-9)


def test_estimate_shifts__agrees_with_the_truth_of_simulate_stack():
    stack = xstxm.testing.simulate_stack(shape=(80, 96), drift="90 nm", seed=1)
    shifts = xstxm.estimate_shifts(stack)
    for axis in ("y", "x"):
        off = (shifts[f"shift_{axis}"] - stack[f"true_shift_{axis}"]) / 0.03
        assert float(off.std()) < 0.05


def changed(**kinds):
    return [pytest.param(change, id=name.replace("_", " ")) for name, change in kinds.items()]


@pytest.mark.parametrize(
    "change",
    changed(
        reversed_energies=lambda s: s.isel(energy=slice(None, None, -1)),
        integers=lambda s: s.assign(intensity=s["intensity"].astype("uint16")),
        float64=lambda s: s.assign(intensity=s["intensity"].astype(float)),
        rates=lambda s: s.assign(intensity=(s["intensity"] / 2).assign_attrs(units="count/ms")),
        transposed=lambda s: s.transpose("x", "energy", "y"),
        duplicates=lambda s: s.assign_coords(energy=("energy", np.repeat(s["energy"].values[::2], 2), {"units": "eV"})),
        nanometres=lambda s: s.assign_coords({a: (s[a] * 1000).assign_attrs(units="nm") for a in ("y", "x")}),
    ),
)
def test_estimate_shifts__does_not_mind_how_the_stack_is_written(sound, found, change):
    stack = change(sound)
    shifts = xstxm.estimate_shifts(stack)
    in_um = 1000 if stack["y"].attrs["units"] == "nm" else 1
    for axis in ("y", "x"):
        values = shifts[f"shift_{axis}"].values / in_um
        values = values[::-1] if stack["energy"][0] > stack["energy"][-1] else values
        np.testing.assert_allclose(values - values[0], found[f"shift_{axis}"], atol=0.02 * PIXEL)


def test_estimate_shifts__of_optical_density(sound, found):
    density = sound["intensity"].copy(data=-np.log((sound["intensity"].values + 0.5) / 2000)).assign_attrs(units="1")
    density = density.rename("optical_density")
    stack = sound.assign(optical_density=density)
    shifts = xstxm.estimate_shifts(stack, signal="optical_density")
    assert rms(errors(shifts, sound)) < 0.05
    xr.testing.assert_equal(shifts, xstxm.estimate_shifts(density))


def test_estimate_shifts__of_frames_with_a_polarization(sound):
    turned, plain = (drifting_stack(n=40, moved=path(40, seed=seed)) for seed in (7, 8))
    both = xr.concat([turned, plain], xr.Variable("polarization", [0.0, 90.0]))
    shifts = xstxm.estimate_shifts(both)
    assert shifts["shift_y"].dims == ("polarization", "energy")
    for k, stack in enumerate((turned, plain)):
        assert rms(errors(shifts.isel(polarization=k), stack)) < 0.09


def test_estimate_shifts__dask_equals_numpy(sound, found):
    lazy = sound.chunk(energy=7, y=40, x=50)
    with raise_if_dask_computes(max_computes=3):
        shifts = xstxm.estimate_shifts(lazy)
    for name in ("shift_y", "shift_x", "shift_y_stderr"):
        np.testing.assert_allclose(shifts[name], found[name], atol=2e-3 * PIXEL)


def test_estimate_shifts__region_and_mask_leave_pixels_out(sound):
    rng = np.random.default_rng(3)
    still = sound["intensity"].copy(deep=True)
    still[:, :, :50] = (1500 + 800 * (rng.uniform(size=(96, 50)) > 0.5)).astype("float32")  # does not move
    stack = sound.assign(intensity=still)
    right = {"x": (float(stack["x"][52]), float(stack["x"][-1]))}
    by_region = estimate(stack, region=right)
    assert rms(errors(by_region, sound)) < 0.13
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert rms(errors(xstxm.estimate_shifts(stack), sound)) > 0.3
    masked = stack.assign(mask=xstxm.roi.region_mask(stack["intensity"], right))
    xr.testing.assert_equal(estimate(masked), by_region)


def test_estimate_shifts__step_ties_frames_to_their_neighbours():
    moved = path(40, walk=0, linear=2.5, seed=2)
    stack = drifting_stack(n=40, counts=40, moved=moved, seed=2)
    free, smooth = xstxm.estimate_shifts(stack), xstxm.estimate_shifts(stack, step="3 nm")
    assert rms(errors(smooth, stack)) < 0.6 * rms(errors(free, stack))


def test_estimate_shifts__similarity_finds_magnification_and_rotation_and_apply_undoes_them():
    n, shape = 30, (110, 124)
    still = drifting_stack(shape, n, counts=1e9, moved=np.zeros((n, 2)))["intensity"].values.astype(float)
    zoom, angle = 1 + 0.01 * np.linspace(-1, 1, n), np.radians(1.0) * np.sin(np.linspace(0, 3, n))
    counts = np.empty_like(still)
    middle = (np.array(shape) - 1) / 2
    for e in range(n):
        turn = np.array([[np.cos(angle[e]), np.sin(angle[e])], [-np.sin(angle[e]), np.cos(angle[e])]]) * zoom[e]
        back = np.linalg.inv(turn)
        counts[e] = scipy.ndimage.affine_transform(still[e], back, middle - back @ middle, order=5, mode="mirror")
    rng = np.random.default_rng(4)
    stack = as_stack(rng.poisson(np.clip(counts / 1e9, 0, None) * 3000), np.zeros((n, 2)))
    stack = stack.isel(y=slice(7, -7), x=slice(7, -7))
    shifts = xstxm.estimate_shifts(stack, transform="similarity")
    assert float(np.abs(shifts["magnification"] - zoom / zoom[0]).max()) < 0.004
    assert float(np.abs(shifts["rotation"] - np.degrees(angle - angle[0])).max()) < 0.15
    aligned = xstxm.apply_shifts(stack, shifts, crop=True)["intensity"]
    pair = [aligned.isel(energy=k).values.ravel() for k in (0, 1, n - 2, n - 1)]
    plain = stack["intensity"].sel(y=aligned["y"], x=aligned["x"])
    as_it_was = [plain.isel(energy=k).values.ravel() for k in (0, 1, n - 2, n - 1)]
    assert np.corrcoef(pair[0], pair[3])[0, 1] > np.corrcoef(as_it_was[0], as_it_was[3])[0, 1] + 0.005


# ---- damaged and poor stacks


def damaged(**kinds):
    return [pytest.param(*kind, id=name.replace("_", " ")) for name, kind in kinds.items()]


@pytest.mark.parametrize(
    ("at", "values", "flag"),
    damaged(
        empty_frames=([0, 17, 18, 47], poisson(0.5, (4, 96, 112)), "no_beam"),
        a_frame_of_nan=([20], np.nan, "not_measured"),
        a_constant_frame=([20], 700.0, "constant"),
        half_dark_frames=(
            [10, 30],
            np.where(np.arange(96)[:, None] < 48, poisson(1, (2, 96, 112)), 400),
            "partly_dark",
        ),
    ),
)
def test_estimate_shifts__flags_frames_that_hold_nothing(sound, at, values, flag):
    stack = replaced(sound, at, values)
    with pytest.warns(AlignmentWarning, match=f"the shift of {len(at)} of 48 frames was not found"):
        shifts = xstxm.estimate_shifts(stack)
    assert flags(shifts) == set(at)
    assert (shifts["frame_quality"][at] == FRAME_FLAGS[flag]).all()
    off = errors(shifts, sound)
    rest = np.setdiff1d(np.arange(N), at)
    assert rms(off[rest] - off[rest].mean(0)) < 0.05
    assert np.abs(off - off[rest].mean(0)).max() < 1.0  # between their neighbours
    aligned = xstxm.apply_shifts(stack, shifts)
    assert np.isfinite(aligned["intensity"][1, 48, 56])


def sample_below(thickness):
    """A stack whose sample lies in the lower half of the frames, its densest parts that much thicker at the white line."""
    moved = path(N, seed=4)
    density = densities((96, 112), moved, 4) / (1 + np.exp((40 - np.arange(96)) / 2))[:, None]
    thick = density > np.quantile(density, 0.85, axis=(1, 2), keepdims=True)
    line = np.exp(-(((np.arange(N) - 20) / 2) ** 2))[:, None, None]
    counts = np.random.default_rng(1).poisson(2000 * np.exp(-density - thickness * thick * line))
    return as_stack(counts, moved)


@pytest.mark.parametrize("at", [[24], [24, 25], [24, 25, 26, 27]])
@pytest.mark.parametrize("reference", ["model", "neighbours"])
def test_estimate_shifts__sees_a_beam_that_is_lost_in_lines_full_of_sample(at, reference):
    stack = sample_below(0.0)
    counts = stack["intensity"].copy(deep=True)
    counts[at, 69:] = np.random.default_rng(2).poisson(1.0, counts[at, 69:].shape)
    with pytest.warns(AlignmentWarning):
        shifts = xstxm.estimate_shifts(stack.assign(intensity=counts), reference)
    assert flags(shifts) == set(at)
    assert (shifts["frame_quality"][at] == FRAME_FLAGS["partly_dark"]).all()


def test_estimate_shifts__does_not_take_thick_grains_at_a_white_line_for_a_lost_beam():
    stack = sample_below(5.0)
    white = stack["intensity"][20] / stack["intensity"].median("energy")
    assert float((white < 0.02).mean()) > 0.05  # dark, where other frames are not
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quality = xstxm.estimate_shifts(stack)["frame_quality"].values
    assert not (quality & FRAME_FLAGS["partly_dark"]).any()


def test_estimate_shifts__to_the_previous_frame_begins_behind_a_frame_without_sample(sound):
    stack = replaced(sound, [0], poisson(2000, (1, 96, 112)))
    with pytest.warns(AlignmentWarning):
        shifts = xstxm.estimate_shifts(stack, "previous")
    assert 0 in flags(shifts)
    assert len(flags(shifts)) < 6


@pytest.mark.parametrize("reference", ["neighbours", "previous", "first", "mean"])
def test_estimate_shifts__by_correlation_flags_frames_without_sample(sound, reference):
    at = [12, 33]
    stack = replaced(sound, at, poisson(2000, (2, 96, 112)))
    with pytest.warns(AlignmentWarning, match="frames was not found"):
        shifts = xstxm.estimate_shifts(stack, reference)
    assert flags(shifts) >= set(at)
    sure = shifts["frame_quality"].values == 0
    off = errors(shifts, sound)[sure]
    assert sure.sum() >= N - 6
    assert np.abs(off - off.mean(0)).max() < 0.6  # a lost frame does not take those behind it along


def test_estimate_shifts__takes_a_pattern_of_the_detector_off_or_warns():
    stack = drifting_stack(n=40, flat=0.03, moved=path(40, walk=6, linear=6, seed=3), seed=3)
    with pytest.warns(AlignmentWarning, match="a pattern stands still on the detector"):
        shifts = xstxm.estimate_shifts(stack)
    assert shifts.attrs["pattern"] > 3
    assert rms(errors(shifts, stack)) < 0.12


def test_estimate_shifts__warns_of_a_pattern_that_holds_the_frames_where_it_is():
    stack = drifting_stack(n=40, flat=0.1, moved=path(40, seed=3), seed=3)
    with (
        pytest.warns(ConvergenceWarning, match="still changed"),
        pytest.warns(AlignmentWarning, match="a pattern stands still .* could not be told from the sample"),
    ):
        shifts = xstxm.estimate_shifts(stack)
    assert shifts.attrs["pattern"] > 3


def test_estimate_shifts__does_not_mind_dead_and_hot_pixels_rows_and_gains(sound):
    counts = sound["intensity"].copy(deep=True)
    counts *= np.random.default_rng(0).uniform(0.9, 1.1, (N, 1, 1)).astype("float32")
    counts[:, 40, 30:60] = 60000.0
    counts[:, 70, 20], counts[:, 12, 90] = 0.0, np.nan
    shifts = xstxm.estimate_shifts(sound.assign(intensity=counts))
    assert rms(errors(shifts, sound)) < 0.06
    assert not flags(shifts)


def test_estimate_shifts__does_not_mind_a_tilt_of_the_illumination(sound):
    y = np.linspace(-1, 1, 96)[:, None]
    tilt = np.stack([1 + 0.1 * np.sin(k / 7) * y + 0.05 * np.cos(k / 11) * np.linspace(-1, 1, 112) for k in range(N)])
    stack = sound.assign(intensity=(sound["intensity"] * tilt.astype("float32")).assign_attrs(units="count"))
    shifts = xstxm.estimate_shifts(stack)
    assert rms(errors(shifts, sound)) < 0.05


@pytest.mark.parametrize(("n", "most"), [(24, 0.045), (16, 0.05), (12, 0.07), (10, 0.1), (6, 0.12), (3, 0.08)])
def test_estimate_shifts__of_few_frames(n, most):
    off, stderr, by_correlation = [], [], []
    for seed in range(5):
        stack = drifting_stack(n=n, seed=seed)
        shifts = estimate(stack)
        off.append(errors(shifts, stack))
        stderr.append(np.stack([shifts["shift_y_stderr"], shifts["shift_x_stderr"]], -1) / PIXEL)
        by_correlation.append(errors(estimate(stack, "neighbours"), stack))
    assert rms(np.concatenate(off)) < most
    assert 0.7 < rms(np.concatenate(off) / np.concatenate(stderr)) < 1.4
    assert rms(off) < (0.8 if n >= 12 else 1.7) * rms(by_correlation)


def test_estimate_shifts__finds_a_long_way_with_a_jump():
    moved = path(40, walk=3, linear=8, seed=4)
    moved[20:] += (5, -4)
    stack = drifting_stack((112, 128), 40, moved=moved, seed=4)
    assert rms(errors(xstxm.estimate_shifts(stack), stack)) < 0.06


def test_estimate_shifts__does_not_mind_contrast_that_inverts():
    energy = np.linspace(508, 540, 40)
    rise = 0.2 + 0.8 * (0.5 + np.arctan(energy - 520) / np.pi)
    absorption = np.stack([rise, np.full(40, 0.55), 0 * energy, 0.3 * (520 / energy) ** 3])
    stack = drifting_stack(n=40, absorption=absorption, counts=4000, seed=5)
    shifts = xstxm.estimate_shifts(stack)
    assert rms(errors(shifts, stack)) < 0.1


def test_estimate_shifts__of_an_aligned_stack_are_none(sound):
    aligned = xstxm.align(sound, crop=True)
    shifts = estimate(aligned)
    for axis in ("y", "x"):
        left = shifts[f"shift_{axis}"] - shifts[f"shift_{axis}"].median()
        assert rms(left[1:]) < 0.06 * PIXEL
        # the frame that was not interpolated differs from the others, and its error says so
        assert abs(float(left[0])) < 4 * float(shifts[f"shift_{axis}_stderr"][0])
    assert "shift_y" in aligned.coords


# ---- bad input


@pytest.mark.parametrize("reference", ["model", "neighbours"])
def test_estimate_shifts__places_frames_beyond_max_shift_between_their_neighbours(reference):
    moved = path(40, seed=1)
    moved[[0, 25]] += (0, 9)
    stack = drifting_stack(n=40, moved=moved, seed=1)
    with pytest.warns(AlignmentWarning, match="the shift of 2 of 40 frames was not found"):
        shifts = xstxm.estimate_shifts(stack, reference, max_shift=5 * PIXEL)
    assert flags(shifts) == {0, 25}
    assert (shifts["frame_quality"][[0, 25]] == FRAME_FLAGS["uncertain_shift"]).all()
    for name in ("shift_y", "shift_x"):
        assert float(shifts[name][1]) == 0  # the first sound frame stays
        np.testing.assert_allclose(shifts[name][25], (shifts[name][24] + shifts[name][26]) / 2)
        assert float(shifts[name][0]) == float(shifts[name][1])
    assert float(np.abs(errors(shifts, stack)[25, 1])) > 5  # not where it was found
    assert not flags(xstxm.estimate_shifts(stack, reference))


def test_estimate_shifts__max_shift_counts_from_the_frame_that_was_asked_for():
    moved = np.zeros((30, 2))
    moved[:, 0] = np.linspace(0, 12, 30)
    stack = drifting_stack(n=30, moved=moved)
    from_first, among_each_other = "first", "neighbours"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AlignmentWarning)
        far = {
            kind: flags(xstxm.estimate_shifts(stack, kind, max_shift=7 * PIXEL))
            for kind in (from_first, among_each_other)
        }
    assert far[from_first] >= set(range(18, 30))
    assert not far[among_each_other]


def test_estimate_shifts__measures_max_shift_and_step_in_the_pixels_of_each_axis():
    moved = path(40, seed=1)
    moved[20] += (0, 9)  # 9 pixels of 20 nm
    stack = drifting_stack(n=40, moved=moved, seed=1)
    narrow = stack.assign_coords(x=("x", stack["x"].values * 0.4, {"units": "um"}))
    assert not flags(xstxm.estimate_shifts(narrow, max_shift="300 nm"))
    with pytest.warns(AlignmentWarning):
        assert flags(xstxm.estimate_shifts(narrow, max_shift="120 nm")) == {20}
    nanometres = narrow.assign_coords(x=("x", narrow["x"].values * 1000, {"units": "nm"}))
    with pytest.warns(AlignmentWarning):
        assert flags(xstxm.estimate_shifts(nanometres, max_shift="120 nm")) == {20}
    jump = moved[20, 1] - (moved[19, 1] + moved[21, 1]) / 2
    found = {}
    for axes in ("um", "wide"):
        wide = stack if axes == "um" else stack.assign_coords(x=("x", stack["x"].values * 50, {"units": "um"}))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shifts = xstxm.estimate_shifts(wide, step="1 nm")["shift_x"] / float(wide["x"][1] - wide["x"][0])
        found[axes] = -float(shifts[20] - (shifts[19] + shifts[21]) / 2)
    assert abs(found["wide"]) < abs(found["um"]) <= abs(jump) + 0.1  # the walk is held fifty times as tight along x


def test_estimate_shifts__turns_square_pixels_only(sound):
    flat = sound.assign_coords(x=("x", sound["x"].values * 0.4, {"units": "um"}))
    with pytest.raises(SchemaError, match=r"pixels of 0.05 x 0.02 um \(y, x\).*transform='translation'"):
        xstxm.estimate_shifts(flat, transform="similarity")


@pytest.mark.parametrize("reference", ["neighbours", "previous", "mean", "first"])
def test_estimate_shifts__refuses_frames_that_do_not_resemble_each_other(reference):
    noise = as_stack(poisson(500, (12, 60, 70)), np.zeros((12, 2)))
    with pytest.raises(SchemaError, match=r"of 12 frames could be placed.*take a region with clear edges"):
        xstxm.estimate_shifts(noise, reference)


def test_estimate_shifts__by_the_model_says_how_little_frames_of_noise_tell():
    noise = as_stack(poisson(500, (12, 60, 70)), np.zeros((12, 2)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shifts = xstxm.estimate_shifts(noise)
    assert flags(shifts) or float(shifts["shift_y_stderr"].median()) > 0.3 * PIXEL


def small(stack):
    return stack.isel(y=slice(20), x=slice(30))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        pytest.param(lambda s: s.isel(energy=[3]), SchemaError, "a stack of one frame has nothing to be aligned with", id="one energy"),
        pytest.param(lambda s: s * np.nan, SchemaError, "0 of 48 frames hold an image", id="nan"),
        pytest.param(small, SchemaError, "frames of 20 x 30 pixels: alignment needs 24", id="tiny frames"),
        pytest.param(lambda s: s.drop_vars("y"), MissingCoordinateError, "'y' has no coordinate values", id="no y"),
        pytest.param(lambda s: s.isel(x=0), MissingDimensionError, "no dimension 'x'.*only images can be aligned", id="a line"),
        pytest.param(lambda s: s.isel(energy=0), MissingDimensionError, "no dimension 'energy'", id="no energy"),
        pytest.param(lambda s: s.isel(y=np.r_[0:40, 50:96]), SchemaError, "'y' is not evenly spaced", id="uneven"),
        pytest.param(lambda s: s.drop_vars("intensity"), MissingVariableError, "'intensity' is missing", id="no counts"),
        pytest.param(lambda s: s.assign(mask=xr.zeros_like(s["intensity"][0], bool)), SchemaError, "'mask' is False everywhere", id="mask"),
    ],
)  # fmt: skip
def test_estimate_shifts__refuses_stacks_that_cannot_be_aligned(sound, change, error, message):
    with xr.set_options(keep_attrs=True), pytest.raises(error, match=message):
        xstxm.estimate_shifts(change(sound))


@pytest.mark.parametrize(
    ("reference", "options", "error", "message"),
    [
        pytest.param("modell", {}, ChoiceError, "unknown reference 'modell'.*did you mean 'model'", id="typo"),
        pytest.param("600 eV", {}, OptionError, "its energies are 508 to 540", id="energy outside"),
        pytest.param("model", {"transform": "affine"}, ChoiceError, "unknown transform 'affine'", id="transform"),
        pytest.param("mean", {"step": "10 nm"}, OptionError, "go with reference='model' only", id="step"),
        pytest.param("mean", {"transform": "similarity"}, OptionError, "go with reference='model' only", id="similarity"),
        pytest.param("model", {"n_components": 0}, OptionError, "give a whole number of 1 or more", id="no components"),
        pytest.param("model", {"n_components": 2.5}, OptionError, "give a whole number of 1 or more", id="half a component"),
        pytest.param("model", {"n_components": "six"}, OptionError, "give a whole number of 1 or more", id="a word"),
        pytest.param("model", {"max_shift": -1}, OptionError, "a distance above zero", id="negative reach"),
        pytest.param("model", {"max_shift": "3 eV"}, IncompatibleUnitsError, "max_shift", id="unit"),
        pytest.param("model", {"region": {"x": (0.0, 0.1)}}, SchemaError, "no pixel in common|too small", id="tiny region"),
    ],
)  # fmt: skip
def test_estimate_shifts__refuses_options_that_make_no_sense(sound, reference, options, error, message):
    with pytest.raises(error, match=message):
        xstxm.estimate_shifts(sound, reference, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda s: s["intensity"], "a reference image has no energy", id="a stack"),
        pytest.param(lambda s: s["intensity"].isel(energy=0, y=slice(50), drop=True), "has 50 pixels along 'y', the stack 96", id="size"),
    ],
)  # fmt: skip
def test_estimate_shifts__refuses_images_of_another_grid(sound, change, message):
    with pytest.raises(SchemaError, match=message):
        xstxm.estimate_shifts(sound, change(sound))


def test_estimate_shifts__refuses_a_reference_frame_that_holds_nothing(sound):
    stack = replaced(sound, [10], np.nan)
    with pytest.raises(OptionError, match="the frame at that energy holds no image"):
        xstxm.estimate_shifts(stack, float(stack["energy"][10]))


# ---- what it is for


@pytest.fixture(scope="module")
def stacks():
    """An undrifted stack, one that drifted by 200 nm, and that one aligned, on the same pixels."""
    options = {"shape": (96, 128), "counts": 3000, "seed": 3}
    still = xstxm.testing.simulate_stack(**options)
    drifting = xstxm.testing.simulate_stack(**options, drift="200 nm")
    aligned = xstxm.align(drifting, crop=True)
    cut = {"y": aligned["y"], "x": aligned["x"]}
    return {"still": still.sel(cut), "drifting": drifting.sel(cut), "aligned": aligned, "whole": drifting}


def right_share(stack):
    references = xstxm.testing.simulate_references()
    i0 = stack["true_i0"].rename("i0")
    phases = stack.stxm.optical_density(i0).stxm.phase_map(references)
    truth = stack["true_label"]
    amounts = stack["true_thickness"]
    clear = (amounts.max("reference") > 0.8 * amounts.sum("reference")) & (amounts.sum("reference") > 30)
    return float((phases["phase_label"] == truth).where(clear).mean())


def test_align__phase_map_is_as_right_as_without_drift(stacks):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        right = {name: right_share(stack) for name, stack in stacks.items()}
    assert right["still"] > 0.9
    assert right["aligned"] > right["still"] - 0.01
    assert right["drifting"] < 0.5


def eigenimages(stack):
    """First six eigenimages (component, p), their number of signal, and the share of each that the true maps explain."""
    od = stack.stxm.optical_density(stack["true_i0"].rename("i0"))
    found = od.stxm.pca(6)
    images = found["eigenimages"].transpose("component", "y", "x")
    maps = stack["true_thickness"].transpose("reference", "y", "x").values.reshape(-1, images[0].size)
    flat = images.values.reshape(6, -1) - images.values.reshape(6, -1).mean(1, keepdims=True)
    basis = np.linalg.qr(np.vstack([np.ones(images[0].size), maps]).T)[0]
    explained = ((flat @ basis) ** 2).sum(1) / (flat**2).sum(1)
    return images.values, int(found["suggested_components"]), explained


def stripes(images):
    """Power at high frequencies along one axis and low ones along the other, over that at as high ones of any direction."""
    images = images - images.mean((1, 2), keepdims=True)
    taper = np.hanning(images.shape[1])[:, None] * np.hanning(images.shape[2])
    power = np.abs(np.fft.fft2(images * taper)) ** 2
    y, x = (np.abs(np.fft.fftfreq(n)) for n in images.shape[1:])
    along = ((y[:, None] > 0.25) & (x < 0.03)) | ((y[:, None] < 0.03) & (x > 0.25))
    around = np.hypot(y[:, None], x) > 0.25
    return power[:, along].mean(1) / power[:, around & ~along].mean(1)


def linearly(stack, shifts):
    """A stack moved by linear interpolation, whose smoothing comes and goes with the fraction of a pixel."""
    size = float(stack["x"][1] - stack["x"][0])
    by = np.stack([shifts["shift_y"], shifts["shift_x"]], -1) / size
    frames = [
        scipy.ndimage.shift(f, d, order=1, mode="nearest") for f, d in zip(stack["intensity"].values, by, strict=True)
    ]
    return stack.assign(intensity=stack["intensity"].copy(data=np.stack(frames)))


def test_align__leaves_neither_drift_nor_stripes_in_the_eigenimages(stacks):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shifts = stacks["aligned"].coords
        others = linearly(stacks["whole"], shifts).sel(y=stacks["aligned"]["y"], x=stacks["aligned"]["x"])
        found = {name: eigenimages(stack) for name, stack in (stacks | {"linear": others}).items() if name != "whole"}
    images, number, explained = found["aligned"]
    _, number_at_rest, explained_at_rest = found["still"]
    assert number == number_at_rest == 4
    assert (explained[:3] > explained_at_rest[:3] - 0.02).all()
    assert (stripes(images) < 1.3).all()
    assert found["drifting"][1] > 8  # what would be seen were it not aligned,
    assert found["drifting"][2][1] < 0.3
    assert found["linear"][1] > 6  # or not well interpolated


def test_estimate_shifts__follows_a_drift_imposed_on_a_measured_stack(real_data):
    stack = xr.open_dataset(real_data / "fe-l-edge-stack" / "71214078.hdr", engine="stxm").load()
    cut = {"y": slice(10, -10), "x": slice(10, -10)}
    counts = stack["intensity"]
    moved = path(len(counts), walk=3, linear=4)
    there = np.stack(
        [
            scipy.ndimage.shift(f.astype(float), d, order=5, mode="reflect")
            for f, d in zip(counts.values, moved, strict=True)
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its counts are not Poisson, and it has been aligned before
        before = xstxm.estimate_shifts(counts.isel(cut))
        after = xstxm.estimate_shifts(counts.copy(data=np.maximum(there, 0).astype("float32")).isel(cut))
    change = np.stack([(after[f"shift_{a}"] - before[f"shift_{a}"]) / 0.08 for a in ("y", "x")], -1) + moved
    assert rms(change - change.mean(0)) < 0.03


@pytest.mark.parametrize("reference", ["neighbours", "first", "mean"])
def test_estimate_shifts__by_correlation_takes_frames_that_are_alike(real_data, reference):
    measured = xstxm.open_stack(real_data / "fe-l-edge-stack" / "71214078.hdr").load()["intensity"]
    moved = np.random.default_rng(2).integers(-4, 5, (123, 2))
    rolled = np.stack([np.roll(f, tuple(s), (0, 1)) for f, s in zip(measured.values, moved, strict=True)])
    shifts = xstxm.estimate_shifts(measured.copy(data=rolled), reference)
    assert int((shifts["frame_quality"] != 0).sum()) == 0
    for axis, truth in zip(("y", "x"), moved.T, strict=True):
        off = shifts[f"shift_{axis}"] / 0.08 + truth
        assert float(off.std()) < 0.5


def test_estimate_shifts__flags_a_frame_with_a_hole(sound):
    holed = sound.copy(deep=True)
    holed["intensity"][20, :, :30] = np.nan
    with pytest.warns(AlignmentWarning):
        shifts = estimate(holed)
    flagged = int(shifts["frame_quality"][20]) & xstxm.conventions.FRAME_FLAGS["partly_measured"]
    assert flagged


def test_estimate_shifts__of_few_counts_begins_with_clear_peaks_only():
    faint = drifting_stack(n=N, counts=25, seed=0)
    assert rms(errors(estimate(faint), faint)) < 0.6
