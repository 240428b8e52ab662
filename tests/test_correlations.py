from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import xarray as xr
from electrodes import PIXEL, correlation, map_of, squares, waves
from hypothesis import given, settings

import xstxm
from xstxm._kernels import autocovariance as kernel
from xstxm.errors import MissingVariableError, NoiseWarning, OptionError, SchemaError

without_noise = pytest.mark.filterwarnings("ignore::xstxm.errors.NoiseWarning")
"""For maps without noise, of which none has to be drawn for its errors."""


def drawn(seed, kind="gaussian", length=2.5, shape=(64, 64), noise=0.05):
    """A disc of a random field with a standard deviation of 0.1, and noise."""
    rng = np.random.default_rng(seed)
    centre = (np.array(shape) / 2)[:, None, None]
    disc = np.hypot(*(np.indices(shape) - centre)) < 0.55 * max(shape)
    value = np.where(disc, 0.4 + 0.1 * waves(rng, shape, length, kind), np.nan)
    return map_of(value + noise * rng.normal(size=shape), noise)


def in_particles(seed, length=2.0, shape=(96, 96), side=16, noise=0.05, means=0.08):
    """Square particles, each with a mean of its own."""
    rng = np.random.default_rng(seed)
    label = squares(shape, side, gap=1)
    value = 0.4 + means * rng.normal(size=label.max() + 1)[label] + 0.1 * waves(rng, shape, length)
    return map_of(np.where(label > 0, value, np.nan) + noise * rng.normal(size=shape), noise, label)


def one_over_e(length, kind):
    return PIXEL * length * (2**0.5 if kind == "gaussian" else 1)


@pytest.mark.parametrize("kind", ["gaussian", "exponential"])
def test_correlation_length__finds_that_of_a_random_field(kind):
    found = [xstxm.correlation_length(drawn(seed, kind), n_resamples=4) for seed in range(20)]
    xstxm.testing.assert_conforms(found[0], "correlation_length")
    truth = one_over_e(2.5, kind)
    length = np.array([float(one["correlation_length"]) for one in found])
    assert length.mean() == pytest.approx(truth, abs=3.5 * length.std(ddof=1) / 20**0.5)
    assert length.std() < 0.25 * truth
    covered = [one["correlation_length_lower"] <= truth <= one["correlation_length_upper"] for one in found]
    assert np.sum(covered) >= 18
    area = np.median([float(one["integral_range"]) for one in found])
    assert area == pytest.approx(2 * np.pi * (2.5 * PIXEL) ** 2, rel=0.3)
    covariance = np.array([one["autocovariance"] for one in found])
    scatter = covariance.std(axis=0, ddof=1)
    expected = 0.01 * correlation(np.array([0, 1.21, 2.14, 3.04, 4.05]), 2.5, kind)
    off = np.abs(covariance[:, :5].mean(axis=0) - expected)
    assert (off < 3.5 * scatter[:5] / 20**0.5 + 0.03 * expected).all()
    sampling = np.median([one["autocovariance_sampling_stderr"] for one in found], axis=0)
    assert (np.abs(np.log(sampling[:8] / scatter[:8])) < np.log(1.8)).all()


def test_correlation_length__within_particles_does_not_mind_their_means():
    found = [
        xstxm.correlation_length(in_particles(seed), particles="particle_label", n_resamples=4) for seed in range(20)
    ]
    truth = one_over_e(2.0, "gaussian")
    length = np.array([float(one["correlation_length"]) for one in found])
    assert length.mean() == pytest.approx(truth, rel=0.03)
    covered = [one["correlation_length_lower"] <= truth <= one["correlation_length_upper"] for one in found]
    assert np.sum(covered) >= 18
    variance = np.array([float(one["autocovariance"][0]) for one in found])
    assert variance.mean() == pytest.approx(0.01, rel=0.05)
    still = xstxm.correlation_length(in_particles(0, means=0), particles="particle_label", n_resamples=4)
    np.testing.assert_allclose(found[0]["autocovariance"], still["autocovariance"], atol=1e-12)
    anywhere = xstxm.correlation_length(in_particles(0), n_resamples=4)
    assert float(anywhere["correlation_length"]) > 1.15 * float(found[0]["correlation_length"])


def test_pairs__are_sums_over_all_pairs_of_pixels():
    rng = np.random.default_rng(0)
    value, label = rng.normal(size=(5, 7)), rng.integers(0, 3, (5, 7))
    value[1, 2] = np.nan
    step = (0.1, 0.05)
    noise = np.where(np.isfinite(value), rng.uniform(0.1, 0.2, value.shape), 0)
    pairs = kernel.pairs_of(kernel.regions_of(value, noise, label), step, np.array([[0.0, 0.4, 1.0, 0.4, 0.0]]))
    for g in (1, 2):
        places = [p for p in np.ndindex(label.shape) if label[p] == g and np.isfinite(value[p])]
        mean = np.mean([value[p] for p in places])
        number, products, differences, shared, squares = np.zeros((5, pairs.number.shape[1]))
        for p in places:
            for q in places:
                r = round(np.hypot(*np.multiply(np.subtract(p, q), step)) / 0.05)
                number[r] += 1
                products[r] += (value[p] - mean) * (value[q] - mean)
                differences[r] += (value[p] - value[q]) ** 2 / 2
                rho = {(0, 0): 1.0, (0, 1): 0.4}.get((p[0] - q[0], abs(p[1] - q[1])), 0.0)
                shared[r] += rho * noise[p] * noise[q]
                squares[r] += (noise[p] ** 2 + noise[q] ** 2) / 2
        np.testing.assert_allclose(pairs.number[g - 1], number, atol=1e-9)
        np.testing.assert_allclose(pairs.products[g - 1], products, atol=1e-9)
        np.testing.assert_allclose(pairs.differences[g - 1], differences, atol=1e-9)
        np.testing.assert_allclose(pairs.noise[g - 1], shared, atol=1e-9)
        np.testing.assert_allclose(pairs.noise_squares[g - 1], squares, atol=1e-9)
    whole = kernel.pairs_of(kernel.regions_of(value), step).summed()
    tiled = kernel.pairs_of(kernel.regions_of(value, tiles=1), step).summed()
    np.testing.assert_allclose(whole.differences, tiled.differences, atol=1e-9)


@without_noise
@pytest.mark.parametrize("length", [2.0, 3.5], ids=["far below", "a fifth of their width"])
def test_correlation_length__of_many_particles_is_not_too_short(length):
    """So many that their interval, of a tenth, would not hold a length that is 3 % too short."""
    label, found = squares((154, 154), 22, gap=1), []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        value = np.where(label > 0, 0.1 * waves(rng, label.shape, length / np.sqrt(2)), np.nan)
        found.append(xstxm.correlation_length(map_of(value, label=label), particles="particle_label"))
    numbers = np.array([float(one["correlation_length"]) for one in found]) / (length * PIXEL)
    assert abs(numbers.mean() - 1) < max(0.012, 3 * numbers.std() / len(found) ** 0.5)
    assert numbers.std() < 0.04
    held = [one["correlation_length_lower"] <= length * PIXEL <= one["correlation_length_upper"] for one in found]
    assert np.sum(held) >= 17


@pytest.mark.parametrize("particles", ["particle_label", None], ids=["within particles", "anywhere"])
def test_correlation_length__does_not_mind_noisy_rims(particles):
    label = squares((80, 80), 20, gap=1)
    rows, columns = np.indices(label.shape) % 20
    rim = np.minimum(np.minimum(rows - 1, columns - 1), np.minimum(19 - rows, 19 - columns)) < 3
    stderr, found = np.where(rim, 0.16, 0.04), []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        noisy = np.where(label > 0, 0.1 * waves(rng, label.shape, 2.0) + stderr * rng.normal(size=label.shape), np.nan)
        found.append(xstxm.correlation_length(map_of(noisy, stderr, label), particles=particles, n_resamples=4))
    length = np.mean([float(one["correlation_length"]) for one in found])
    assert length == pytest.approx(one_over_e(2.0, "gaussian"), rel=0.06)
    curve = np.mean([one["autocovariance"][:8] for one in found], axis=0)
    np.testing.assert_allclose(curve, 0.01 * np.exp(-(np.arange(8) ** 2) / 8), atol=0.0012)


def test_correlation_length__of_white_noise_is_none():
    rng = np.random.default_rng(0)
    found = [xstxm.correlation_length(map_of(rng.normal(size=(48, 56)), 1.0), n_resamples=8) for _ in range(30)]
    covariance = np.array([one["autocovariance"] for one in found])
    assert (np.abs(covariance.mean(axis=0)) < 4 * covariance.std(axis=0) / 30**0.5).all()
    expected = np.mean([one["autocovariance_stderr"] for one in found], axis=0)
    ratio = expected / covariance.std(axis=0)
    assert 0.8 < np.median(ratio) < 1.75
    assert 0.6 < ratio.min() < ratio.max() < 2.3
    still = xstxm.correlation_length(map_of(rng.normal(size=(48, 56)), 0.0))
    np.testing.assert_allclose(still["autocovariance"][1:], 0, atol=0.03)
    assert float(still["correlation_length"]) < 1.3 * PIXEL


def test_correlation_length__errors_are_those_of_the_noise():
    rng = np.random.default_rng(0)
    still = in_particles(0, noise=0, shape=(64, 64))
    noisy = [
        still.assign(
            composition=still["composition"] + 0.05 * rng.normal(size=(64, 64)),
            composition_stderr=xr.full_like(still["composition"], 0.05),
        )
        for _ in range(30)
    ]
    found = [xstxm.correlation_length(one, particles="particle_label", n_resamples=8) for one in noisy]
    for name, near in {"correlation_length": 0.4, "integral_range": 0.6}.items():
        scatter = np.std([float(one[name]) for one in found])
        assert scatter == pytest.approx(np.mean([float(one[f"{name}_stderr"]) for one in found]), rel=near)
    scatter = np.std([one["autocovariance"] for one in found], axis=0)
    expected = np.mean([one["autocovariance_stderr"] for one in found], axis=0)
    assert (np.abs(np.log(scatter / expected)) < np.log(1.6)).all()


def test_correlation_length__knows_noise_that_neighbours_share():
    weight = np.array([0.25, 0.5, 0.25])
    shared = np.outer(*2 * [np.convolve(weight, weight)])
    lags = xr.DataArray(shared / shared.max(), dims=("lag_y", "lag_x"))
    rng = np.random.default_rng(0)
    found, plain = [], []
    for _ in range(20):
        white = np.fft.fft2(rng.normal(size=(64, 64))) * np.fft.fft2(np.outer(weight, weight), (64, 64))
        one = map_of(np.fft.ifft2(white).real / (weight @ weight), 1.0)
        found.append(xstxm.correlation_length(one, noise_correlation=lags, n_resamples=8))
        plain.append(xstxm.correlation_length(one, n_resamples=4))
    covariance = np.array([one["autocovariance"] for one in found])
    error = covariance.std(axis=0) / 20**0.5
    assert (np.abs(covariance.mean(axis=0)) < 4 * error).all()
    assert (np.mean([one["autocovariance"] for one in plain], axis=0)[1:3] > 10 * error[1:3]).all()
    expected = np.mean([one["autocovariance_stderr"] for one in found], axis=0)
    ratio = expected / covariance.std(axis=0)
    assert 0.8 < np.median(ratio) < 1.75
    assert 0.6 < ratio.min() < ratio.max() < 2.3


@without_noise
@given(
    shift=st.floats(-3, 3), scale=st.floats(0.1, 10), flip=st.booleans(), turn=st.booleans(), margin=st.integers(0, 6)
)
@settings(max_examples=15)
def test_correlation_length__does_not_mind_shift_scale_flips_and_margins(shift, scale, flip, turn, margin):
    rng = np.random.default_rng(0)
    value = 0.1 * waves(rng, (48, 48), 2.0)
    value[np.hypot(*(np.indices((48, 48)) - 24)) > 23] = np.nan
    expected = xstxm.correlation_length(map_of(value), max_lag=0.8)
    changed = np.pad(value * scale + shift, margin, constant_values=np.nan)
    changed = changed[::-1] if flip else changed
    found = xstxm.correlation_length(map_of(changed.T if turn else changed), max_lag="800 nm")
    np.testing.assert_allclose(found["lag"], expected["lag"])
    np.testing.assert_allclose(found["autocovariance"], scale**2 * expected["autocovariance"], atol=1e-9 * scale**2)
    np.testing.assert_allclose(found["correlation_length"], expected["correlation_length"], rtol=1e-6)
    np.testing.assert_allclose(found["integral_range"], expected["integral_range"], rtol=1e-6)


@without_noise
def test_correlation_length__converts_positions_and_sees_pixels_that_are_not_square():
    value = waves(np.random.default_rng(1), (96, 96), 4.0)
    full = xstxm.correlation_length(map_of(value))
    maps = map_of(value)
    nanometres = maps.assign_coords({dim: (dim, 1000 * maps[dim].values, {"units": "nm"}) for dim in "yx"})
    xr.testing.assert_allclose(xstxm.correlation_length(nanometres).drop_attrs(), full.drop_attrs())
    thinned = xstxm.correlation_length(maps.isel(x=slice(None, None, 2)))
    assert float(thinned["correlation_length"]) == pytest.approx(float(full["correlation_length"]), rel=0.03)
    np.testing.assert_allclose(thinned["lag"], full["lag"])


def test_correlation_length__of_several_fields_has_one_for_each():
    maps = {"one": drawn(0), "other": drawn(1, length=4.0)}
    found = xstxm.correlation_length(xr.DataTree.from_dict(maps))
    assert found["autocovariance"].dims == ("lag", "node")
    assert list(found["node"].values) == ["one", "other"]
    xstxm.testing.assert_conforms(found, "correlation_length")
    xr.testing.assert_allclose(found.sel(node="one", drop=True), xstxm.correlation_length(maps["one"]))


def test_correlation_length__beyond_what_particles_hold_has_no_interval():
    found = xstxm.correlation_length(in_particles(0, length=6.0), particles="particle_label", n_resamples=4)
    assert np.isfinite(found["correlation_length"])
    assert np.isnan(found["correlation_length_lower"])
    assert np.isnan(found["correlation_length_upper"])
    one = in_particles(0)
    single = one["particle_label"] * (one["particle_label"] == 1)
    alone = xstxm.correlation_length(one, particles=single, n_resamples=4)
    assert np.isfinite(alone["correlation_length"])
    assert np.isnan(alone["correlation_length_upper"])
    np.testing.assert_allclose(alone["lag"].max(), 7 * PIXEL)


def test_correlation_length__refuses():
    one = drawn(0)
    with pytest.raises(OptionError, match=r"max_lag='9 um': give a length from the pixel, 0\.04 um, to the diagonal"):
        xstxm.correlation_length(one, max_lag="9 um")
    with pytest.raises(MissingVariableError, match=r"call xstxm\.particles first"):
        xstxm.correlation_length(one, particles="particle_label")
    nowhere = (one["composition"].isnull() & (one["x"] > 9)).astype(int)
    with pytest.raises(SchemaError, match="'composition' has no particle, all labels are zero"):
        xstxm.correlation_length(one, particles=nowhere)
    with pytest.raises(SchemaError, match="no particle in the map holds a value"):
        xstxm.correlation_length(one, particles=nowhere + ((one["x"] > 2.4) & (one["y"] > 2.4)))
    with pytest.raises(SchemaError, match=r"\.isel\(time=0\)"):
        xstxm.correlation_length(one.expand_dims(time=3))
    with pytest.warns(NoiseWarning, match="noise is not taken off"):
        found = xstxm.correlation_length(one.drop_vars("composition_stderr"))
    assert np.isnan(found["autocovariance_stderr"]).all()
    constant = xstxm.correlation_length(map_of(np.ones((20, 20)), 0.0))
    assert np.isnan(constant["correlation_length"])
    np.testing.assert_allclose(constant["autocovariance"], 0, atol=1e-15)
