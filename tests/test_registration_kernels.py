"""Kernels of the alignment against plain numpy, scipy and dense matrices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage
import xarray as xr
from drifting import densities, field, path
from hypothesis import given, settings
from hypothesis import strategies as st

from xstxm import _frame_images
from xstxm._kernels import correlation, pyramid, resample
from xstxm._kernels import registration as registration_
from xstxm._kernels.low_rank_registration import Held, Registration

SIZES = st.tuples(st.integers(7, 40), st.integers(7, 40))


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(10, 3, shape).astype(np.float32)


# ---- splines and convolution


@given(shape=st.tuples(st.integers(24, 48), st.integers(24, 48)), seed=st.integers(0, 99))
def test_spline_coefficients__are_those_of_scipy(shape, seed):
    image = noise(shape, seed)
    expected = scipy.ndimage.spline_filter(image.astype(float), order=5, mode="mirror")
    np.testing.assert_allclose(
        resample.spline_coefficients(image), expected, rtol=1e-4, atol=2e-4 * np.abs(expected).max()
    )


@given(y=st.floats(0, 0.999), x=st.floats(0, 0.999))
def test_separable__with_quintic_weights_is_the_spline_of_scipy(y, x):
    image = noise((20, 23))
    out = np.empty((9, 11), np.float32)
    weights = resample.quintic_weights(y), resample.quintic_weights(x)
    resample.separable(resample.spline_coefficients(image), 4, 3, *weights, out)
    at = np.mgrid[6:15, 5:16] + np.array([y, x])[:, None, None]
    expected = scipy.ndimage.map_coordinates(image.astype(float), at, order=5, mode="mirror")
    np.testing.assert_allclose(out, expected, atol=2e-4)


@pytest.mark.parametrize("weights_of", [resample.quintic_weights, resample.cubic_weights])
@given(fraction=st.floats(0, 0.999))
def test_weights__add_up_to_one_and_keep_a_slope(weights_of, fraction):
    weights = np.array(weights_of(fraction), float)
    position = np.arange(len(weights)) - (len(weights) // 2 - 1)
    assert weights.sum() == pytest.approx(1, abs=1e-6)
    assert weights @ position == pytest.approx(fraction, abs=1e-6)


def test_separable__keeps_float64():
    image = np.random.default_rng(0).normal(size=(12, 13))
    out = np.empty((9, 10))
    weights = resample.cubic_weights(0.3, float), resample.cubic_weights(0.7, float)
    resample.separable(image, 0, 0, *weights, out)
    expected = sum(weights[0][j] * weights[1][i] * image[j : j + 9, i : i + 10] for j in range(4) for i in range(4))
    np.testing.assert_allclose(out, expected, rtol=1e-13)


@pytest.mark.parametrize("squared", [False, True])
def test_gather__is_the_sum_over_sixteen_pixels(squared):
    image = np.random.default_rng(1).normal(size=(14, 17))
    matrix, offset = np.array([[0.97, 0.12], [-0.12, 0.97]]), np.array([0.4, 1.1])
    out = np.empty((14, 17))
    resample.gather(image, matrix, offset, squared, out)
    for y, x in np.ndindex(out.shape):
        at = matrix @ (y, x) + offset
        first = np.floor(at).astype(int) - 1
        along = [np.array(resample.cubic_weights(float(k), float)) for k in at - np.floor(at)]
        weights = np.outer(*along) ** (2 if squared else 1)
        padded = np.pad(image, 5, constant_values=np.nan)
        pixels = padded[first[0] + 5 : first[0] + 9, first[1] + 5 : first[1] + 9]
        expected = (weights * pixels)[np.abs(weights) > 1e-12].sum()
        np.testing.assert_allclose(out[y, x], expected, rtol=1e-10, atol=1e-12)


# ---- pyramid


@given(shape=SIZES, seed=st.integers(0, 99))
def test_halve__is_a_binomial_filter_and_every_second_pixel(shape, seed):
    image = noise(shape, seed)
    kernel = np.array([1, 5, 10, 10, 5, 1]) / 32
    rows, columns = ((n - 4) // 2 for n in shape)
    expected = [
        [(np.outer(kernel, kernel) * image[2 * y : 2 * y + 6, 2 * x : 2 * x + 6]).sum() for x in range(columns)]
        for y in range(rows)
    ]
    np.testing.assert_allclose(pyramid.halve(image), np.reshape(expected, (rows, columns)), rtol=1e-5)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_reduced__is_the_mean_of_the_known_pixels(level):
    images, known = noise((3, 70, 75)), np.ones((70, 75), bool)
    known[10:14, 20:22] = False
    images[:, ~known] = 1e6
    found = pyramid.reduced(images, known, level)
    top, bottom = images.copy(), known.astype(np.float32)
    top[:, ~known] = 0
    for _ in range(level):
        top, bottom = np.stack([pyramid.halve(image) for image in top]), pyramid.halve(bottom)
    enough = bottom > 0.3
    np.testing.assert_allclose(found[:, enough], (top / np.maximum(bottom, 1e-9))[:, enough], rtol=1e-5)
    np.testing.assert_array_equal(pyramid.reduced_mask(known, level), enough)


def test_scale__takes_the_bias_off_the_logarithm_of_poisson_counts():
    counts = np.random.default_rng(0).poisson(20.0, (4, 200_000)).astype(np.float32)
    scale = pyramid.scale_of(counts, logarithmic=True, counting=True)
    images = scale.images(counts.reshape(4, 400, 500), 0)
    logarithm = images + scale.centre[:, None, None]
    np.testing.assert_allclose(-logarithm.mean((1, 2)), np.log(20), atol=0.002)  # without the half count 0.027 off


@settings(max_examples=15)
@given(data=st.data())
def test_prepare__gives_the_same_for_any_chunks(data):
    level_one = data.draw(st.booleans(), label="halved")
    side = 24 * 2 if level_one else 40
    values = np.random.default_rng(3).poisson(50, (5, side + 9, side + 20)).astype(np.float32)
    values[:, 7, 9] = 0
    values[:, 30, 11:13] = np.nan
    values[2] = np.nan
    array = xr.DataArray(values, dims=("energy", "y", "x"), attrs={"units": "count"})
    chunks = {dim: data.draw(st.integers(1 if dim == "energy" else 9, n), label=dim) for dim, n in array.sizes.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_frame_images, "WORKING_SIZE", 25 if level_one else 512)
        plain = _frame_images.prepare(array, ("energy",))
        lazy = _frame_images.prepare(array.chunk(chunks), ("energy",))
    assert plain.level == lazy.level == int(level_one)
    np.testing.assert_allclose(lazy.images, plain.images, atol=2e-6)
    np.testing.assert_array_equal(lazy.stuck, plain.stuck)
    assert plain.stuck[7, 9]
    assert plain.stuck[30, 11:13].all()
    assert np.isfinite(plain.images).all()


# ---- correlation


@pytest.mark.parametrize("exact", [True, False])
@given(y=st.floats(-6, 6), x=st.floats(-6, 6))
def test_peak__finds_a_periodic_shift(exact, y, x):
    image = field((48, 50), 2.0, np.random.default_rng(0))
    ky, kx = np.fft.fftfreq(48)[:, None], np.fft.rfftfreq(50)
    there = np.fft.irfft2(np.fft.rfft2(image) * np.exp(-2j * np.pi * (ky * y + kx * x)), s=image.shape)
    window = np.ones(image.shape)
    cross = correlation.spectrum(there, window) * correlation.spectrum(image, window).conj()
    down, right, height, clearness = correlation.peak(cross, image.shape, (10, 10), exact=exact)
    np.testing.assert_allclose([down, right], [y, x], atol=2e-3 if exact else 0.06)
    assert height == pytest.approx(1, abs=1e-3 if exact else 0.1)
    assert clearness > correlation.UNCLEAR


def test_peak__of_nothing_is_not_clear():
    flat = correlation.spectrum(np.full((30, 32), 3.0), correlation.window_of((30, 32)))
    assert correlation.peak(flat * flat.conj(), (30, 32), (9, 9))[2:] == (0.0, 0.0)


def test_join__outvotes_bad_pairs():
    place = path(20, seed=1)
    pairs = correlation.neighbours(20)
    moved = np.array([place[b] - place[a] for a, b in pairs])
    for k in (3, 25, 40):
        moved[k] += (8, -5)
    found, misfit = correlation.join(pairs, moved, np.ones(len(pairs)), 20)
    np.testing.assert_allclose(found, place - place.mean(0), atol=0.02)
    assert set(np.argsort(misfit)[-3:]) == {3, 25, 40}


# ---- the low-rank model


def registration(seed=0, n=20, shape=(64, 70), scale=0.02):
    moved = path(n, walk=1.0, linear=0.5, seed=seed)
    moved -= (moved.max(0) + moved.min(0)) / 2
    rng = np.random.default_rng(seed)
    frames = densities(shape, moved, seed) + scale * rng.normal(size=(n, *shape))
    return Registration(frames.astype(np.float32), np.ones(n), used=np.ones(shape, bool), rank=4), moved


def test_align__brings_the_frames_onto_one_grid():
    level, moved = registration(scale=0.0)
    aligned = level.align(moved)
    top, bottom, left, right = aligned.box
    still = densities((64, 70), np.zeros_like(moved), 0)[:, top:bottom, left:right].reshape(len(moved), -1)
    np.testing.assert_allclose(aligned.frames, still * aligned.root_weight, atol=0.01)
    left_over = aligned.frames - aligned.coefficients @ aligned.polynomials
    np.testing.assert_allclose(aligned.gram, left_over @ left_over.T, rtol=1e-3, atol=1e-3 * aligned.gram.max())
    np.testing.assert_allclose(aligned.polynomials @ aligned.polynomials.T, np.eye(6), atol=1e-4)


def test_step__comes_near_to_the_truth_from_a_third_of_a_pixel():
    level, moved = registration()
    start = moved + 0.3 * np.random.default_rng(5).uniform(-1, 1, moved.shape)
    found = level.step(start).theta
    before, after = (values - moved - (values - moved).mean(0) for values in (start, found))
    assert np.median(np.abs(after)) < 0.35 * np.median(np.abs(before))
    settled = level.run(start, most=6)
    off = settled.theta - moved
    assert np.median(np.abs(off - off.mean(0))) < 0.06
    assert (np.abs(off - off.mean(0)) < 5 * settled.stderr).all()


def test_run__gives_standard_errors_that_are_the_scatter():
    off, claimed = [], []
    for seed in range(12):
        level, moved = registration(seed=seed)
        fit = level.run(moved, most=5)
        off.append(fit.theta - moved - (fit.theta - moved).mean(0))
        claimed.append(fit.stderr)
    assert 0.7 < np.sqrt(np.mean((np.array(off) / np.array(claimed)) ** 2)) < 1.4


def test_run__goes_back_to_the_best_step_and_says_that_it_had_not_settled(monkeypatch):
    level, moved = registration()
    step, seen = level.step, []

    def worse_each_time(theta):
        fit = step(theta)
        seen.append((theta, level.trust))
        return replace(fit, noise=fit.noise * (1 + len(seen)), urge=9.0, step=1.0)

    monkeypatch.setattr(level, "step", worse_each_time)
    start = moved + 0.2
    fit = level.run(start, most=6)
    assert not fit.settled
    np.testing.assert_array_equal(fit.theta, seen[0][0])
    np.testing.assert_array_equal(seen[-1][0], seen[0][0])  # its model and misfits are those of the step that is kept
    np.testing.assert_array_equal(level.trust, seen[0][1])


def test_prior__is_as_tight_along_each_axis_as_asked_for():
    level, moved = registration()
    level.step_prior = np.array([1.0, 0.1])
    precision, pull = level._prior(moved)
    np.testing.assert_allclose(precision[1], 100 * precision[0])
    np.testing.assert_allclose(pull, [p @ along for p, along in zip(precision, moved.T, strict=True)])


def test_held__pulls_frames_to_their_places_whatever_their_common_offset():
    place = path(6, seed=3)
    held = Held(place, np.full(6, 0.1))
    off = 0.05 * np.array([1, -1, 0, 0, 0, 0.0])
    precision, pull = held.prior(place + 3.0 + off[:, None])
    weight = 1 / 0.1**2 / (1 + 2 * (off / 0.5) ** 2) ** 2
    expected = weight * (off - (weight @ off) / weight.sum())
    np.testing.assert_allclose(pull, np.stack([expected, expected], 1), atol=1e-9)
    np.testing.assert_allclose(precision.sum(0), 0, atol=1e-9)
    smaller = held.smaller(2.0)
    np.testing.assert_array_equal(smaller.place, place / 2)
    np.testing.assert_array_equal(smaller.sigma, held.sigma / 2)


def test_held__lets_go_of_a_frame_that_moves_away_and_has_no_hold_on_one_without_a_place():
    place = path(6, seed=3)
    held = Held(place, np.array([0.1, 0.1, 0.1, 0.1, 0.1, np.inf]))
    away = place.copy()
    away[2] += 3.0
    precision, _ = held.prior(away)
    assert precision[2, 2] < 1e-3 * precision[0, 0]
    assert precision[5, 5] == 0


def test_register__leaves_a_frame_that_is_lost_on_small_images_out_of_the_larger_ones():
    n, shape = 20, (208, 216)
    moved = path(n, walk=3.0, linear=2.0, seed=2)
    rng = np.random.default_rng(0)
    frames = densities(shape, moved, 2) + 0.02 * rng.normal(size=(n, *shape))
    frames[7] = densities(shape, np.zeros((1, 2)), 99)[0]  # another place
    assert len(registration_.levels_of(frames)) == 2
    fit = registration_.register(
        frames.astype(np.float32), np.ones(n), used=np.ones(shape, bool), reach=(60.0, 60.0), rank=4
    )
    assert set(np.flatnonzero(fit.lost)) == {7}
    assert fit.misfit[7] > registration_.MISFIT
    assert 0.01 < fit.explained[7] < np.median(fit.explained)  # of the attempt
    np.testing.assert_allclose(fit.theta[7], (fit.theta[6] + fit.theta[8]) / 2)
    rest = np.setdiff1d(np.arange(n), [7])
    off = (fit.theta - moved)[rest]
    assert np.sqrt(np.mean((off - off.mean(0)) ** 2)) < 0.02
